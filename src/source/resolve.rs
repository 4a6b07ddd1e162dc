//! Names become addresses here: one look-up at a time per name, with the last good addresses used
//! meanwhile, so that a dead resolver delays no look at a server whose address was known once.
//!
//! `getaddrinfo` blocks and cannot be cancelled; each look-up therefore has a thread of its own,
//! which outlives the look that asked for it and keeps neither the runtime nor the process alive.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::observation::{ErrorKind, SourceError};

/// How long a look waits for its look-up where addresses are known already. A local cache answers
/// in under a millisecond and a name server nearby in a few; 100 ms is little of a look's timeout.
const PATIENCE: Duration = Duration::from_millis(100);

/// Names remembered at a time. A configuration names a handful of servers.
const MAX_NAMES: usize = 256;

/// Addresses kept of one name. More are not tried within the timeout of a look anyway.
const MAX_ADDRESSES: usize = 16;

type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;
type Outcome = Result<Arc<[IpAddr]>, SourceError>;

/// Holds the outcome once there is one.
type Pending = watch::Receiver<Option<Outcome>>;

/// Looks names up; clones share what is known and what is under way.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    look_up: Box<LookUp>,
    names: Mutex<HashMap<String, Known>>,
}

/// What is known of one name.
#[derive(Default)]
struct Known {
    good: Option<Arc<[IpAddr]>>,
    /// The look-up under way; holds its outcome once it has ended.
    under_way: Option<Pending>,
}

/// A look-up, and what was known before.
struct Asked {
    under_way: Pending,
    good: Option<Arc<[IpAddr]>>,
    /// How long one waits who has good addresses.
    patience: Duration,
}

impl Resolver {
    /// Asks the host's resolver (`getaddrinfo`: `/etc/hosts`, DNS and what else nsswitch.conf names).
    pub fn system() -> Self {
        Self::with(|host| Ok((host, 0).to_socket_addrs()?.map(|found| found.ip()).collect()))
    }

    /// Asks `look_up`, which may block for as long as it likes and is called from a thread of its own.
    pub fn with(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { look_up: Box::new(look_up), names: Mutex::default() }))
    }

    /// The addresses of `host`, best first, at least one and at most 16.
    ///
    /// An address is its own answer and is never looked up. Where good addresses are known, they are
    /// the answer when the look-up fails, takes longer than 100 ms, or was under way before; it goes
    /// on by itself and the next call has its result. Where none are known this waits for as long as
    /// the look-up takes: the caller's deadline bounds it.
    ///
    /// Errors with [`ErrorKind::Unresolved`] where the name has no address and never had one.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, SourceError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let Asked { under_way, good, patience } = self.under_way(host)?;
        let ended = outcome(host, under_way);
        let Some(good) = good else { return Ok(ended.await?.to_vec()) };
        let fresh = timeout(patience, ended).await.ok().and_then(Result::ok);
        Ok(fresh.unwrap_or(good).to_vec())
    }

    /// What is known of `host` now: the last good addresses, and a look-up that is begun refreshes
    /// them for the next call. Where none are known it waits 100 ms for them at most. Empty where
    /// that brings none.
    pub async fn glance(&self, host: &str) -> Vec<IpAddr> {
        if let Ok(address) = host.parse() {
            return vec![address];
        }
        let Ok(asked) = self.under_way(host) else { return Vec::new() };
        if let Some(good) = asked.good {
            return good.to_vec();
        }
        let found = timeout(PATIENCE, outcome(host, asked.under_way)).await;
        found.ok().and_then(Result::ok).map(|found| found.to_vec()).unwrap_or_default()
    }

    /// Begins a look-up of `host`, or joins the one that is under way.
    fn under_way(&self, host: &str) -> Result<Asked, SourceError> {
        let mut names = self.0.names();
        make_room(&mut names, host)?;
        let known = names.entry(host.to_owned()).or_default();
        let good = known.good.clone();
        if let Some(earlier) = &known.under_way {
            return Ok(Asked { under_way: earlier.clone(), good, patience: Duration::ZERO });
        }
        let started = self.start(host)?;
        known.under_way = Some(started.clone());
        Ok(Asked { under_way: started, good, patience: PATIENCE })
    }

    /// Starts the one look-up of `host`; its thread waits for the names' lock before it records.
    fn start(&self, host: &str) -> Result<Pending, SourceError> {
        let (done, under_way) = watch::channel(None);
        let (shared, name) = (Arc::clone(&self.0), host.to_owned());
        std::thread::Builder::new()
            .name("resolve".into())
            .spawn(move || {
                let outcome = shared.ask(&name);
                shared.record(&name, &outcome);
                done.send_replace(Some(outcome));
            })
            .map_err(|error| unresolved(host, error))?;
        Ok(under_way)
    }
}

impl Shared {
    /// The names; a panic elsewhere leaves them as true as they were.
    fn names(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, host: &str) -> Outcome {
        let mut addresses = (self.look_up)(host).map_err(|error| unresolved(host, error))?;
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() {
            return Err(unresolved(host, "it has no address"));
        }
        Ok(addresses.into())
    }

    fn record(&self, host: &str, outcome: &Outcome) {
        let mut names = self.names();
        let known = names.entry(host.to_owned()).or_default();
        known.under_way = None;
        if let Ok(addresses) = outcome {
            known.good = Some(Arc::clone(addresses));
        }
    }
}

/// Waits for the look-up to end.
async fn outcome(host: &str, mut under_way: Pending) -> Outcome {
    let outcome = under_way.wait_for(Option::is_some).await.ok();
    let outcome = outcome.and_then(|outcome| outcome.clone());
    outcome.unwrap_or_else(|| Err(unresolved(host, "the look-up broke off")))
}

/// Forgets a name that nobody looks up now where a new one would be one too many.
fn make_room(names: &mut HashMap<String, Known>, host: &str) -> Result<(), SourceError> {
    if names.len() < MAX_NAMES || names.contains_key(host) {
        return Ok(());
    }
    let idle = names.iter().find(|(_, known)| known.under_way.is_none());
    let Some(idle) = idle.map(|(name, _)| name.clone()) else {
        return Err(unresolved(host, format_args!("{MAX_NAMES} look-ups are under way")));
    };
    names.remove(&idle);
    Ok(())
}

fn unresolved(host: &str, why: impl std::fmt::Display) -> SourceError {
    SourceError::new(ErrorKind::Unresolved, format_args!("cannot resolve {host:?}: {why}"))
}

impl reqwest::dns::Resolve for Resolver {
    /// The port is zero, for which reqwest puts the one of its URL.
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str()).await?;
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// A resolver whose every look-up takes its outcome from the test, and waits for it.
    fn led() -> (Resolver, mpsc::Sender<io::Result<Vec<IpAddr>>>, Arc<AtomicUsize>) {
        let (outcomes, taken) = mpsc::channel();
        let (taken, asked) = (Mutex::new(taken), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let resolver = Resolver::with(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let outcome = taken.lock().unwrap().recv();
            outcome.unwrap_or_else(|_| Err(io::Error::other("the test is over")))
        });
        (resolver, outcomes, asked)
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn no_such_name() -> io::Result<Vec<IpAddr>> {
        Err(io::Error::other("no such name"))
    }

    #[tokio::test]
    async fn an_address_is_never_looked_up() {
        let resolver = Resolver::with(|host| panic!("looked up {host}"));
        for host in ["127.0.0.1", "::1"] {
            assert_eq!(resolver.lookup(host).await, Ok(vec![host.parse().unwrap()]));
        }
    }

    #[tokio::test]
    async fn the_host_knows_itself() {
        let found = Resolver::system().lookup("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_unresolved_and_named() {
        for outcome in [no_such_name(), Ok(vec![])] {
            let (resolver, outcomes, _) = led();
            outcomes.send(outcome).unwrap();
            let error = resolver.lookup("db1").await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unresolved);
            assert!(error.detail.starts_with("cannot resolve \"db1\": "), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_resolver_delays_only_the_first_look_and_is_asked_once() {
        let (resolver, outcomes, asked) = led();
        outcomes.send(Ok(vec![address(1)])).unwrap();
        assert_eq!(resolver.lookup("db1").await, Ok(vec![address(1)]));

        let clock = crate::clock::Clock::held();
        for delay in [PATIENCE, Duration::ZERO, Duration::ZERO] {
            let before = clock.now();
            assert_eq!(resolver.lookup("db1").await, Ok(vec![address(1)]));
            let took = clock.now().since(before);
            assert!(took >= delay && took <= delay + Duration::from_millis(2), "{took:?}");
        }
        while asked.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_glance_waits_only_where_nothing_is_known() {
        let (resolver, outcomes, _) = led();
        let clock = crate::clock::Clock::held();
        let before = clock.now();
        assert!(resolver.glance("db1").await.is_empty());
        assert!(clock.now().since(before) >= PATIENCE);
        outcomes.send(Ok(vec![address(1)])).unwrap();
        while resolver.glance("db1").await != [address(1)] {
            tokio::task::yield_now().await;
        }
        let before = clock.now();
        assert_eq!(resolver.glance("db1").await, [address(1)]);
        assert_eq!(clock.now().since(before), Duration::ZERO);
        assert_eq!(resolver.glance("::1").await, ["::1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn a_late_answer_is_used_as_soon_as_it_is_there() {
        let (resolver, outcomes, _) = led();
        outcomes.send(Ok(vec![address(1)])).unwrap();
        resolver.lookup("db1").await.unwrap();
        assert_eq!(resolver.lookup("db1").await, Ok(vec![address(1)]), "still under way");
        outcomes.send(Ok(vec![address(2)])).unwrap();
        drop(outcomes);
        while resolver.lookup("db1").await != Ok(vec![address(2)]) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_failed_look_up_leaves_the_last_good_addresses() {
        let (resolver, outcomes, _) = led();
        outcomes.send(Ok(vec![address(1)])).unwrap();
        resolver.lookup("db1").await.unwrap();
        outcomes.send(no_such_name()).unwrap();
        assert_eq!(resolver.lookup("db1").await, Ok(vec![address(1)]));
    }

    #[tokio::test]
    async fn a_dropped_caller_leaves_its_look_up_to_the_next_one() {
        let (resolver, outcomes, asked) = led();
        let first = timeout(Duration::from_millis(5), resolver.lookup("db1")).await;
        assert!(first.is_err(), "without good addresses it waits");
        outcomes.send(Ok(vec![address(1)])).unwrap();
        assert_eq!(resolver.clone().lookup("db1").await, Ok(vec![address(1)]));
        // The answer may have come before the second call, which then asked for itself.
        assert!(asked.load(Ordering::SeqCst) <= 2);
    }

    #[tokio::test]
    async fn names_and_addresses_are_bounded() {
        let resolver = Resolver::with(|_| Ok((0..=255).map(address).collect()));
        for number in 0..=MAX_NAMES {
            let found = resolver.lookup(&format!("db{number}")).await.unwrap();
            assert_eq!(found.len(), MAX_ADDRESSES);
        }
        assert!(resolver.0.names().len() <= MAX_NAMES);
    }
}
