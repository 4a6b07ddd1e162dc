//! The agent port: one line for every connection, written on accept.
//!
//! The line is written before anything is read and without a task for the connection. Then the
//! writing side is shut down and what the other side sent is read to its end within a short bound:
//! a socket closed with unread bytes sends a reset, which can overtake the line. HAProxy itself
//! closes with a reset once it has its line; that is normal.
//!
//! Only a port that HAProxy's agent-send is read at makes a task for a connection (`asking`).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::facts::Facts;
use crate::host::clock::Clock;
use crate::host::descriptors::Shares;
use crate::host::seats::Seats;
use crate::host::seldom::Seldom;
use crate::look::stamp::Stamp;
use crate::port::asking::{Asker, turn_away};
use crate::port::awake::{Awake, GLANCES};
use crate::reply::routes::allowed;
use crate::report::metrics::Metrics;
use crate::report::spoken::Spoken;

/// How long a connection is read to its end.
const LINGER: Duration = Duration::from_secs(1);
/// How often all lingering connections are looked at. A timer set anew for each connection costs more
/// than the answer; this one runs on by itself, and every answer looks at the oldest connections too.
const SWEEP: Duration = GLANCES;
/// Lingering connections looked at before an answer, so that their number falls under any load.
const SWEPT_PER_ANSWER: usize = 2;
/// Bytes read from one connection before it is closed all the same.
const LINGER_BYTES: usize = 4096;
/// Connections answered before other work of the thread has its turn.
const BATCH: usize = 64;
/// Pause after an error of accept that waiting may cure (no file descriptors, no memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One open port.
pub struct Port {
    /// The bound socket, listening and non-blocking.
    pub listener: TcpListener,
    /// What the answer rests on, and what is answered at this port.
    pub facts: watch::Receiver<Facts>,
    /// The present moment.
    pub clock: Clock,
    /// What is counted here beside the answers.
    pub counted: Metrics,
    /// Room for connections, the same for all ports.
    pub room: Room,
}

/// Room for the connections of all agent ports.
#[derive(Clone)]
pub struct Room {
    /// Those whose questions are read, by their addresses.
    pub asking: Seats<Option<IpAddr>>,
    /// Those that are read to their end. Without a permit the line is still written, and the connection
    /// closed at once. A HAProxy that checks 1,000 times a second keeps about ten here.
    pub lingering: Arc<Semaphore>,
}

impl Room {
    /// As much as the process can have open.
    pub fn of(shares: &Shares) -> Self {
        let lingering = Arc::new(Semaphore::new(shares.lingering));
        Self { asking: Seats::new(shares.asking), lingering }
    }
}

impl Port {
    /// Answers until `stop`, then answers those who already wait and ends. No error of accept ends
    /// it sooner.
    ///
    /// # Errors
    /// The listener could not be registered with the runtime.
    pub async fn serve(self, stop: CancellationToken) -> std::io::Result<()> {
        #[expect(
            deprecated,
            reason = "its contract, that the descriptor is owned and stays the same, holds for a \
                      TcpListener; the replacement wants `unsafe` to say so"
        )]
        let listener = AsyncFd::new(self.listener)?;
        let addr = listener.get_ref().local_addr()?;
        let spoken = self.counted.spoken.clone();
        let asker = Asker::new(addr, self.facts.clone(), self.clock.clone(), self.counted);
        let awake = Awake::new(self.clock.now());
        let mut door = Door {
            addr,
            asker: Arc::new(asker),
            asking: JoinSet::new(),
            facts: self.facts,
            clock: self.clock,
            spoken,
            lingering: VecDeque::new(),
            room: self.room,
            failing: Seldom::default(),
            awake,
            told_unread: false,
            held: None,
        };
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = pin!(stop.cancelled());
        loop {
            tokio::select! {
                // In this order, so that no flood of checks puts off the stop; the sweep it may put off
                // is made up for by the answers themselves.
                biased;
                () = &mut stopped => {
                    door.answer_batch(listener.get_ref());
                    while door.asking.join_next().await.is_some() {}
                    return Ok(());
                }
                ready = poll_fn(|cx| listener.poll_read_ready(cx)) => {
                    let mut ready = ready?;
                    door.wake(&stop).await;
                    match door.answer_batch(listener.get_ref()) {
                        Waiting::None => ready.clear_ready(),
                        Waiting::Some => tokio::task::yield_now().await,
                        Waiting::Failed(error) => {
                            door.tell_failed(error);
                            door.lingering.clear();
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
                Some(_) = door.asking.join_next() => {}
                _ = sweeps.tick() => {
                    door.wake(&stop).await;
                    door.sweep();
                }
            }
        }
    }
}

/// Whether more connections wait after a batch.
enum Waiting {
    None,
    Some,
    Failed(Errno),
}

struct Door {
    addr: SocketAddr,
    asker: Arc<Asker>,
    /// Those whose questions are read.
    asking: JoinSet<()>,
    facts: watch::Receiver<Facts>,
    clock: Clock,
    spoken: Spoken,
    lingering: VecDeque<Lingering>,
    room: Room,
    /// Warnings that accept fails.
    failing: Seldom,
    awake: Awake,
    /// It was said that something was sent here, which nobody reads.
    told_unread: bool,
    /// One that is answered once this process has looked.
    held: Option<(OwnedFd, Option<IpAddr>)>,
}

struct Lingering {
    socket: OwnedFd,
    until: Stamp,
    read: usize,
    _room: OwnedSemaphorePermit,
}

impl Door {
    fn answer_batch(&mut self, listener: &TcpListener) -> Waiting {
        if let Some((socket, peer)) = self.held.take()
            && self.answer_or_hold(socket, peer)
        {
            return Waiting::Some;
        }
        for _ in 0..BATCH {
            match rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC) {
                Ok((socket, peer)) => {
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    // One that had to make room closes in the turn of its own.
                    if self.answer_or_hold(socket, peer.map(|peer| peer.ip())) {
                        return Waiting::Some;
                    }
                }
                Err(Errno::AGAIN) => return Waiting::None,
                // The connection was gone before it was accepted, or a signal came.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => return Waiting::Failed(error),
            }
        }
        Waiting::Some
    }

    /// Where this process was stopped until now, waits for what is seen since.
    async fn wake(&mut self, stop: &CancellationToken) {
        if self.awake.look_first(&self.clock, &mut self.facts, stop).await {
            info!("rolecall was suspended; it polls before it answers");
        }
    }

    fn tell_failed(&mut self, error: Errno) {
        if let Some(untold) = self.failing.may(self.clock.now()) {
            let hint = "if file descriptors run out, raise LimitNOFILE= of the unit";
            warn!(%error, hint, untold, "agent checks cannot be accepted; trying again");
        }
    }

    /// Answers, or holds the connection where this process was stopped since the batch began: then looks
    /// come first. Whether the others shall wait for their turn.
    fn answer_or_hold(&mut self, socket: OwnedFd, peer: Option<IpAddr>) -> bool {
        let now = self.clock.now();
        if self.awake.overslept(now) {
            self.held = Some((socket, peer));
            return true;
        }
        self.answer(now, socket, peer)
    }

    /// Answers, or has the question read. Whether somebody else had to make room for that.
    fn answer(&mut self, now: Stamp, socket: OwnedFd, peer: Option<IpAddr>) -> bool {
        self.sweep_oldest(now);
        {
            let facts = self.facts.borrow();
            // A reload has taken the service away, and its port closes in a moment.
            let Some(asked) = facts.routes.at(self.addr) else { return false };
            let Some((node, service)) = facts.asked(asked) else { return false };
            if !allowed(&service.answering.allow, peer) {
                turn_away(&service.asks, &service.name, peer);
                return false;
            }
            if asked.agent_send {
                drop(facts);
                return self.read_question(now, socket, peer);
            }
            let verdict = node.verdict(now, service);
            if service.lets_write(&verdict) {
                self.spoken.ready(now);
            }
            let line = service.answering.wording.line(verdict.state, &verdict.reason);
            if !send(&socket, &line) {
                return false;
            }
            service.asks.answered(now, peer, verdict.state);
        }
        self.linger(now, socket);
        false
    }

    /// Ends the writing side of a connection that has its line, and has it read to its end.
    fn linger(&mut self, now: Stamp, socket: OwnedFd) {
        if let Ok(room) = Arc::clone(&self.room.lingering).try_acquire_owned()
            && rustix::net::shutdown(&socket, Shutdown::Write).is_ok()
        {
            let until = now.plus(LINGER);
            self.lingering.push_back(Lingering { socket, until, read: 0, _room: room });
        }
    }

    /// Has a question read and answered beside all others. Whether one of these had to make room.
    fn read_question(&mut self, now: Stamp, socket: OwnedFd, peer: Option<IpAddr>) -> bool {
        while self.asking.try_join_next().is_some() {}
        let stream = std::net::TcpStream::from(socket);
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        // The runtime takes no more sockets only where the process has none left.
        let Ok(stream) = stream else { return false };
        let make_room = CancellationToken::new();
        let end = make_room.clone();
        let from = peer.map(|peer| peer.to_canonical());
        let place = self.room.asking.take(from, || false, move || end.cancel());
        let another_went = place.made_room;
        let asker = Arc::clone(&self.asker);
        self.asking.spawn(async move {
            tokio::select! {
                () = Arc::clone(&asker).answer(now, stream, peer, &place) => {}
                () = make_room.cancelled() => asker.made_room(peer),
            }
        });
        another_went
    }

    fn sweep_oldest(&mut self, now: Stamp) {
        for _ in 0..SWEPT_PER_ANSWER {
            let Some(mut oldest) = self.lingering.pop_front() else { return };
            let open = oldest.still_open(now);
            self.tell_unread(oldest.read > 0);
            if open {
                self.lingering.push_back(oldest);
            }
        }
    }

    /// Says once that what was sent here is passed over.
    fn tell_unread(&mut self, sent: bool) {
        if sent && !std::mem::replace(&mut self.told_unread, true) {
            let hint = "if HAProxy's agent-send sends it, set agent_send = true for the service, \
                        or remove agent-send; an address of a [[node]] never reads it";
            warn!(addr = %self.addr, hint, "rolecall does not read what is sent to this port: it \
                                            answers whoever connects");
        }
    }

    fn sweep(&mut self) {
        let now = self.clock.now();
        let mut sent = false;
        self.lingering.retain_mut(|connection| {
            let open = connection.still_open(now);
            sent |= connection.read > 0;
            open
        });
        self.tell_unread(sent);
    }
}

impl Lingering {
    fn still_open(&mut self, now: Stamp) -> bool {
        let mut discarded = [0; 512];
        loop {
            match rustix::net::recv(&self.socket, &mut discarded[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return false,
                Ok((count, _)) => self.read += count,
                Err(Errno::AGAIN) => return now < self.until,
                Err(_) => return false,
            }
            if self.read > LINGER_BYTES {
                return false;
            }
        }
    }
}

/// Writes one line, which always fits the send buffer of a new socket; a peer that is gone needs none.
fn send(socket: &OwnedFd, line: &[u8]) -> bool {
    rustix::net::send(socket, line, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
}
