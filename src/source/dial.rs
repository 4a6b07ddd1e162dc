//! Connecting to a name that has several addresses, some of which may answer nothing.
//!
//! They share the time of a look (Happy Eyeballs, RFC 8305): the next one is tried once the one before has failed, or
//! has said nothing for a share of `timeout`; the first that answers is taken, and the others are dropped. The one
//! that answered last is tried first by the next look, of whatever source.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::look::error::SourceError;
use crate::source::resolve::Resolver;
use crate::source::stage::Stage;

/// Longest time that one address has before the next one is tried beside it: what RFC 8305 recommends.
const ADDRESS_ALONE: Duration = Duration::from_millis(250);

/// Of the time of a look one address has so much alone: with 16 of them the last one is tried in the end.
const SHARE_OF_LOOK: u32 = 8;

/// Connects for one server.
#[derive(Debug, Clone)]
pub struct Dialer {
    alone: Duration,
    /// What a look waits for, for who drops it.
    waits: Arc<Mutex<Waits>>,
    /// Somebody took a connection since the look began.
    reached: Arc<AtomicBool>,
}

/// What a look waits for.
#[derive(Debug, Default)]
struct Waits {
    /// The addresses that were asked and said nothing yet.
    connecting: Vec<SocketAddr>,
    /// The one that took a connection.
    reached: Option<SocketAddr>,
    /// How far it has come beside that.
    stage: Option<Stage>,
}

/// Why no address could be connected to: each with its error. Never empty.
#[derive(Debug)]
pub struct Failed(pub Vec<(SocketAddr, io::Error)>);

impl Dialer {
    /// For looks of at most `timeout`.
    pub fn new(timeout: Duration) -> Self {
        Self { alone: (timeout / SHARE_OF_LOOK).min(ADDRESS_ALONE), ..Self::unasked() }
    }

    fn unasked() -> Self {
        Self { alone: ADDRESS_ALONE, waits: Arc::default(), reached: Arc::default() }
    }

    /// The same, for another server.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { alone: self.alone, ..Self::unasked() }
    }

    /// How long one has alone before the next is tried beside it.
    pub fn alone(&self) -> Duration {
        self.alone
    }

    /// Whether somebody took a connection since [`Self::forget`].
    pub(crate) fn is_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// A look waits for this now.
    pub(crate) fn waits_for(&self, stage: Stage) {
        self.waits().stage = Some(stage);
    }

    /// Somebody did, by a way that is no dialling.
    pub(crate) fn has_reached(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// Connects to the first of these addresses that answers. No deadline of its own.
    ///
    /// # Errors
    /// Every address failed.
    pub async fn connect(
        &self,
        resolver: &Resolver,
        host: &str,
        addresses: &[IpAddr],
        port: u16,
    ) -> Result<TcpStream, Failed> {
        let stream = self.race(resolver, host, addresses, port, TcpStream::connect).await?;
        // Losing a few milliseconds is all that can come of an error here.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// The same, with whatever way of connecting `reach` is. What it has begun is dropped where another address
    /// was faster.
    ///
    /// # Errors
    /// Every address failed.
    pub(crate) async fn race<T, F: Future<Output = io::Result<T>>>(
        &self,
        resolver: &Resolver,
        host: &str,
        addresses: &[IpAddr],
        port: u16,
        reach: impl Fn(SocketAddr) -> F,
    ) -> Result<T, Failed> {
        let mut untried = addresses.iter().map(|ip| SocketAddr::new(*ip, port));
        let mut trying = FuturesUnordered::new();
        let mut failed = Vec::new();
        let mut alone = std::pin::pin!(sleep(self.alone));
        self.waits().connecting.clear();
        loop {
            // Whenever one has failed, or had its time alone.
            if let Some(addr) = untried.next() {
                self.waits().connecting.push(addr);
                let reaching = reach(addr);
                trying.push(async move { (addr, reaching.await) });
                alone.set(sleep(self.alone));
            }
            let more = untried.len() > 0;
            let (addr, ended) = tokio::select! {
                biased;
                Some(ended) = trying.next() => ended,
                () = &mut alone, if more => continue,
                else => return Err(Failed(failed)),
            };
            self.waits().connecting.retain(|waited| *waited != addr);
            match ended {
                Ok(reached) => {
                    resolver.answered(host, addr.ip());
                    let mut waits = self.waits();
                    waits.connecting.clear();
                    waits.reached = Some(addr);
                    drop(waits);
                    self.has_reached();
                    return Ok(reached);
                }
                Err(error) => failed.push((addr, error)),
            }
        }
    }

    /// What is said of a look that was dropped: which addresses had answered nothing, or how far it had come with
    /// the one that had. `it` is who is asked.
    pub fn silent(&self, it: &str) -> Option<String> {
        let waits = self.waits();
        let shown: Vec<_> = waits.connecting.iter().map(ToString::to_string).collect();
        if !shown.is_empty() {
            let or = match waits.stage {
                Some(Stage::Encrypted) => ", or the TLS handshake there does not end",
                _ => "",
            };
            return Some(format!(
                "connecting to {it}, nothing answers at {}{or}",
                shown.join(" and ")
            ));
        }
        let at = waits.reached.map_or_else(String::new, |addr| format!(" (at {addr})"));
        waits.stage.map(|stage| format!("{it}{at} {stage}"))
    }

    /// Forgets what was waited for.
    pub fn forget(&self) {
        self.reached.store(false, Ordering::Relaxed);
        *self.waits() = Waits::default();
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failed {
    /// The failure that counts: a refusal is evidence only where no address leaves a doubt. `of` makes an
    /// error of one.
    pub(crate) fn into_error(
        self,
        of: impl Fn(SocketAddr, &io::Error) -> SourceError,
    ) -> Option<SourceError> {
        let mut counts: Option<SourceError> = None;
        for (addr, error) in &self.0 {
            if counts.as_ref().is_none_or(|counts| counts.kind.is_contrary()) {
                counts = Some(of(*addr, error));
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use socket2::{Domain, Socket, Type};
    use tokio::net::TcpListener;

    use super::*;
    use crate::host::clock::Clock;

    /// Of a look as the shipped files have it.
    const LOOK: Duration = Duration::from_millis(800);

    /// An address at which a connection is begun and never answered, as at a host that drops what it is sent:
    /// somebody listens there, whose queue is full, so that the kernel drops what comes.
    struct Silent {
        addr: SocketAddr,
        _held: Vec<Socket>,
    }

    fn address(last: u8) -> Ipv4Addr {
        // One for each test of each process that may run beside it.
        let [_, _, c, d] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, 78u8.wrapping_add(last), c, d.clamp(1, 254))
    }

    fn silent(ip: Ipv4Addr, port: u16) -> Silent {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((ip, port)).into()).unwrap();
        listener.listen(0).unwrap();
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let mut held = vec![listener];
        // Those that fill the queue; what is over stays unanswered.
        for _ in 0..4 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&addr.into());
            held.push(socket);
        }
        Silent { addr, _held: held }
    }

    fn resolver(addresses: &[IpAddr]) -> Resolver {
        let addresses = addresses.to_vec();
        Resolver::with(move |_| Ok(addresses.clone()))
    }

    async fn connect(
        dialer: &Dialer,
        resolver: &Resolver,
        port: u16,
    ) -> Result<SocketAddr, Failed> {
        let found = resolver.lookup("db1").await.unwrap();
        let stream = dialer.connect(resolver, "db1", &found, port).await?;
        Ok(stream.peer_addr().unwrap())
    }

    /// The kind of F7: of two addresses the first one drops what it is sent.
    #[tokio::test]
    async fn an_address_that_is_silent_costs_a_share_and_once() {
        let alive = TcpListener::bind((address(0), 0)).await.unwrap();
        let addr = alive.local_addr().unwrap();
        let dead = silent(address(1), addr.port());
        let resolver = resolver(&[dead.addr.ip(), addr.ip()]);
        let dialer = Dialer::new(LOOK);
        let clock = Clock::Boot;
        let before = clock.now();
        assert_eq!(connect(&dialer, &resolver, addr.port()).await.unwrap(), addr);
        let took = clock.now().since(before);
        assert!(took >= LOOK / SHARE_OF_LOOK && took < LOOK / 2, "{took:?}");
        assert_eq!(dialer.silent("db1"), None, "somebody answered");
        dialer.waits_for(Stage::Query);
        let said = format!("db1 (at {addr}) let the user in, and did not answer the query");
        assert_eq!(dialer.silent("db1"), Some(said));
        dialer.forget();
        assert_eq!(dialer.silent("db1"), None);

        // The one that answered comes first from then on, for every source.
        let before = clock.now();
        let other = Dialer::new(LOOK);
        assert_eq!(connect(&other, &resolver.for_source(), addr.port()).await.unwrap(), addr);
        let took = clock.now().since(before);
        assert!(took < LOOK / SHARE_OF_LOOK, "{took:?}");

        // And when it goes, the other one is tried at once.
        drop(alive);
        let ended = tokio::time::timeout(LOOK / 2, connect(&dialer, &resolver, addr.port())).await;
        assert!(ended.is_err(), "nobody is there");
        let said = format!("connecting to db1, nothing answers at {}", dead.addr);
        assert_eq!(dialer.silent("db1"), Some(said.clone()));
        dialer.waits_for(Stage::Encrypted);
        let said = format!("{said}, or the TLS handshake there does not end");
        assert_eq!(dialer.silent("db1"), Some(said));
    }

    #[tokio::test]
    async fn an_address_that_fails_lets_the_next_one_begin_at_once() {
        let alive = TcpListener::bind((address(2), 0)).await.unwrap();
        let addr = alive.local_addr().unwrap();
        let dialer = Dialer::new(Duration::from_secs(20));
        let unused: IpAddr = address(3).into();
        let resolver = resolver(&[unused, addr.ip()]);
        let clock = Clock::Boot;
        let before = clock.now();
        assert_eq!(connect(&dialer, &resolver, addr.port()).await.unwrap(), addr);
        assert!(clock.now().since(before) < ADDRESS_ALONE);
    }

    #[tokio::test]
    async fn every_address_is_tried_within_a_look_and_each_failure_is_told() {
        let last = TcpListener::bind((address(4), 0)).await.unwrap();
        let addr = last.local_addr().unwrap();
        let dead: Vec<Silent> = (5..9).map(|n| silent(address(n), addr.port())).collect();
        let mut found: Vec<IpAddr> = dead.iter().map(|silent| silent.addr.ip()).collect();
        found.push(addr.ip());
        let (dialer, resolver) = (Dialer::new(LOOK), resolver(&found));
        let reached = tokio::time::timeout(LOOK, connect(&dialer, &resolver, addr.port()));
        assert_eq!(reached.await.expect("in time").unwrap(), addr);
        drop(last);
        let failed = dialer.connect(&resolver, "db1", &[addr.ip()], addr.port()).await;
        let Failed(all) = failed.unwrap_err();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].1.kind(), io::ErrorKind::ConnectionRefused);
    }
}
