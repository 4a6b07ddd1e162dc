//! The questions of agent-send: one line is read, then answered.
//!
//! HAProxy's configuration can end the line, its command line cannot, so silence ends it too. What
//! is asked is looked up in the facts of the moment it is answered at. A question that names nothing
//! here is answered with `unknown`: whatever else were said would be about something else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::facts::Facts;
use crate::host::clock::Clock;
use crate::host::seats::Seat;
use crate::look::stamp::Stamp;
use crate::port::awake::look_first_if_slow;
use crate::port::question::named;
use crate::port::strangers;
use crate::reply::asks::Asks;
use crate::reply::routes::allowed;
use crate::reply::strays::{Stray, Unknown};
use crate::report::metrics::Metrics;
use crate::verdict::state::State;

/// Bytes of a question, without the end of its line.
const QUESTION: usize = 64;
/// Silence that ends a question.
const SILENCE: Duration = Duration::from_millis(100);
/// Time for a whole question, which may come in drips.
const WITHIN: Duration = Duration::from_secs(1);
/// Time in which the connection is read to its end afterwards.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes read then.
const LINGER_BYTES: usize = 4096;

/// Who answers the questions of one port.
pub struct Asker {
    addr: SocketAddr,
    facts: watch::Receiver<Facts>,
    clock: Clock,
    counted: Metrics,
}

impl Asker {
    /// Nobody has asked at `addr` yet.
    pub fn new(
        addr: SocketAddr,
        facts: watch::Receiver<Facts>,
        clock: Clock,
        counted: Metrics,
    ) -> Self {
        Self { addr, facts, clock, counted }
    }

    /// Reads one question, of a connection that was taken at `began`, and answers it.
    pub async fn answer(
        self: Arc<Self>,
        began: Stamp,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: Option<IpAddr>,
        place: &Seat<Option<IpAddr>>,
    ) {
        let question = read(&mut stream).await;
        look_first_if_slow(began, &self.clock, &self.facts).await;
        place.spoke();
        let _written_later = self.counted.spoken.begin();
        self.say(stream, self.line(&question, peer)).await;
    }

    /// One that had asked nothing yet was closed for somebody else: it is counted. It is told nothing,
    /// for HAProxy an agent that says nothing changes nothing.
    pub(crate) fn made_room(&self, peer: Option<IpAddr>) {
        drop(self.unknown(&[], Unknown::TooMany, peer));
    }

    /// Writes the line and reads the connection to its end, so that no unread byte becomes a reset
    /// that overtakes it. No line: the connection is closed.
    async fn say(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, line: Option<Vec<u8>>) {
        let Some(line) = line else { return };
        let said = async {
            stream.write_all(&line).await?;
            stream.shutdown().await?;
            to_the_end(&mut stream).await
        };
        // A peer that is gone, or that never ends, needs nothing more.
        let _ = timeout(LINGER, said).await;
    }

    /// The line that answers a question; `None` where nothing may be said.
    fn line(&self, question: &[u8], peer: Option<IpAddr>) -> Option<Vec<u8>> {
        let now = self.clock.now();
        let facts = self.facts.borrow();
        // A reload may have taken the service away meanwhile, and its port closes in a moment.
        let asked = facts.routes.at(self.addr)?;
        let (node, service) = match named(question, &facts, asked) {
            Ok(named) => named,
            Err(why) => {
                drop(facts);
                return self.unknown(question, why, peer);
            }
        };
        // Whoever may ask this port may not ask by it for what another port would not tell.
        if !allowed(&service.answering.allow, peer) {
            turn_away(&service.asks, &service.name, peer);
            return None;
        }
        let verdict = node.verdict(now, service);
        if service.lets_write(&verdict) {
            self.counted.spoken.ready(now);
        }
        service.asks.answered(now, peer, verdict.state);
        Some(service.answering.wording.line(verdict.state, &verdict.reason).into_owned())
    }

    /// The line for a question that names nothing, which is counted, and warned of once.
    fn unknown(&self, question: &[u8], why: Unknown, peer: Option<IpAddr>) -> Option<Vec<u8>> {
        let facts = self.facts.borrow();
        let (_, service) = facts.asked(facts.routes.at(self.addr)?)?;
        self.counted.unknown_question(&service.name, why);
        let question = question.get(..question.len().min(QUESTION)).unwrap_or_default();
        let question = String::from_utf8_lossy(question).trim_end().escape_debug().to_string();
        let at = self.clock.now();
        let stray =
            Stray { service: Arc::clone(&service.name), question, why, by: peer, at, count: 1 };
        strangers::names_nothing(self.counted.strays.heard(stray.clone()), self.addr, &stray);
        Some(service.answering.wording.line(State::Unknown, &why).into_owned())
    }
}

/// Counts somebody who may not ask.
pub(crate) fn turn_away(asks: &Asks, service: &str, peer: Option<IpAddr>) {
    let first = asks.sent_away() == 1;
    strangers::not_allowed(first, "agent check", &format_args!("service {service}"), peer);
}

/// Reads what still comes, to its end or to the bound.
async fn to_the_end(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut left = LINGER_BYTES;
    let mut discarded = [0; 512];
    loop {
        let count = stream.read(&mut discarded).await?;
        match left.checked_sub(count) {
            Some(rest) if count > 0 => left = rest,
            _ => return Ok(()),
        }
    }
}

/// Reads a question to the end of its line, to a silence, to its bounds or to the end of what comes.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    // One byte more than it may have shows that it is too long.
    let mut question = [0; QUESTION + 1];
    let mut len = 0;
    let reading = async {
        while let Some(room) = question.get_mut(len..).filter(|room| !room.is_empty()) {
            match timeout(SILENCE, stream.read(room)).await {
                Ok(Ok(count)) if count > 0 => {
                    let came = &room[..count];
                    len += count;
                    if came.contains(&b'\n') {
                        return;
                    }
                }
                Ok(Ok(_) | Err(_)) | Err(_) => return,
            }
        }
    };
    // What came until then is what is asked.
    let _ = timeout(WITHIN, reading).await;
    question[..len].to_vec()
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::*;

    /// A peer that sent a few bytes, or goes on for ever; counts how often it is read.
    struct Peer {
        sent: usize,
        reads: usize,
    }

    impl AsyncRead for Peer {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            let count = self.sent.min(into.remaining());
            into.put_slice(&vec![b'x'; count]);
            self.sent -= count;
            self.reads += 1;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn the_end_of_what_comes_is_read_once_and_what_never_ends_is_bounded() {
        for (sent, reads) in [(0, 1), (7, 2), (512, 2), (usize::MAX, LINGER_BYTES / 512 + 1)] {
            let mut peer = Peer { sent, reads: 0 };
            to_the_end(&mut peer).await.unwrap();
            assert_eq!(peer.reads, reads, "{sent} bytes came");
        }
    }
}
