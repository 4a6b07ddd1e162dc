//! Names become addresses here: one look-up at a time per name, with the last good addresses used
//! meanwhile, so that a dead resolver delays no look at a server whose address was known once.
//!
//! `getaddrinfo` blocks and cannot be cancelled; each look-up therefore has a thread of its own,
//! which outlives the look that asked for it and keeps neither the runtime nor the process alive.
//! These threads are few, and each source has a share of them: where no look-up can begin, whoever
//! has good addresses goes on with those, and whoever has none waits for a place.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::look::error::{ErrorKind, SourceError};

/// How long a look waits for its look-up where addresses are known already. A local cache answers
/// in under a millisecond and a name server nearby in a few; 100 ms is little of a look's timeout.
const PATIENCE: Duration = Duration::from_millis(100);

/// Names remembered at a time. A configuration names a handful of servers.
const MAX_NAMES: usize = 256;

/// Addresses kept of one name. More are not tried within the timeout of a look anyway.
const MAX_ADDRESSES: usize = 16;

/// Look-ups at a time, each a thread: a quarter of the shipped unit's `TasksMax`.
const THREADS: usize = 16;

/// Look-ups at a time of one source, so that the names of one cannot hold up those of the others.
const SHARE: usize = 4;

type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;
type Outcome = Result<Arc<[IpAddr]>, SourceError>;

/// Holds the outcome once there is one.
type Pending = watch::Receiver<Option<Outcome>>;

/// Looks names up; clones share what is known, what is under way, and the share of their source.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
    share: Arc<Semaphore>,
}

struct Shared {
    look_up: Box<LookUp>,
    names: Mutex<Names>,
    threads: Arc<Semaphore>,
}

#[derive(Default)]
struct Names {
    good: HashMap<String, Good>,
    /// The look-ups that have a thread.
    under_way: HashMap<String, Pending>,
    /// How often any name was asked for: the clock of [`Good::used`].
    uses: u64,
}

/// The last good addresses of a name.
struct Good {
    addresses: Arc<[IpAddr]>,
    /// When it was asked for last. Whoever asks least recently is forgotten first.
    used: u64,
    /// The one at which somebody answered last.
    answered: Option<IpAddr>,
}

/// The right to one look-up: of the share of its source, and of the threads of all.
type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Resolver {
    /// Asks the host's resolver (`getaddrinfo`: `/etc/hosts`, DNS and what else nsswitch.conf names).
    pub fn system() -> Self {
        Self::with(|host| Ok((host, 0).to_socket_addrs()?.map(|found| found.ip()).collect()))
    }

    /// Asks `look_up`, which may block for as long as it likes and is called from a thread of its own.
    pub fn with(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        let shared = Shared {
            look_up: Box::new(look_up),
            names: Mutex::default(),
            threads: Arc::new(Semaphore::new(THREADS)),
        };
        Self { shared: Arc::new(shared), share: Arc::new(Semaphore::new(SHARE)) }
    }

    /// The same resolver for another source: what is known is shared, the share of the look-ups that
    /// may be under way (4 of 16) is its own.
    #[must_use]
    pub fn for_source(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), share: Arc::new(Semaphore::new(SHARE)) }
    }

    /// The addresses of `host`, best first, at least one and at most 16.
    ///
    /// An address is its own answer and is never looked up. Where good addresses are known, they are
    /// the answer when the look-up fails, cannot begin, takes longer than 100 ms, or was under way
    /// before; it goes on by itself and the next call has its result. Where none are known this waits
    /// for as long as the look-up and its place take: the caller's deadline bounds it.
    ///
    /// Errors with [`ErrorKind::Unresolved`] where the name has no address and never had one.
    pub(crate) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, SourceError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let Some(good) = self.shared.names().good(host) else {
            return Ok(self.first(host).await?.to_vec());
        };
        let Some(started) = self.refresh(host) else { return Ok(self.ordered(host, &good)) };
        let fresh = timeout(PATIENCE, outcome(host, started)).await.ok().and_then(Result::ok);
        Ok(self.ordered(host, &fresh.unwrap_or(good)))
    }

    /// Somebody answered at this address of `host`: it comes first from now on.
    pub fn answered(&self, host: &str, address: IpAddr) {
        if let Some(good) = self.shared.names().good.get_mut(host) {
            good.answered = Some(address);
        }
    }

    /// The addresses of `host`, the one at which somebody answered last before the others.
    fn ordered(&self, host: &str, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let answered = self.shared.names().good.get(host).and_then(|good| good.answered);
        let mut ordered = addresses.to_vec();
        ordered.sort_by_key(|address| Some(*address) != answered);
        ordered
    }

    /// What is known of `host` now: the last good addresses, and a look-up that is begun refreshes
    /// them for the next call. Where none are known it waits 100 ms for them at most. Empty where
    /// that brings none.
    pub(crate) async fn glance(&self, host: &str) -> Vec<IpAddr> {
        if let Ok(address) = host.parse() {
            return vec![address];
        }
        let good = self.shared.names().good(host);
        if let Some(good) = good {
            self.refresh(host);
            return good.to_vec();
        }
        let found = timeout(PATIENCE, self.first(host)).await;
        found.ok().and_then(Result::ok).map(|found| found.to_vec()).unwrap_or_default()
    }

    /// Looks up a name of which nothing is known.
    async fn first(&self, host: &str) -> Outcome {
        let earlier = self.shared.names().under_way.get(host).cloned();
        let under_way = match earlier {
            Some(earlier) => earlier,
            None => match self.place().await {
                Some(place) => self.begin(host, place).map_err(|error| unresolved(host, error))?,
                None => return Err(unresolved(host, "no name lookup can be started")),
            },
        };
        outcome(host, under_way).await
    }

    /// Begins a look-up of a name that has good addresses. `None` where one is under way already, or
    /// where none can begin now: too many are under way, or the host gives no thread.
    fn refresh(&self, host: &str) -> Option<Pending> {
        if self.shared.names().under_way.contains_key(host) {
            return None;
        }
        let share = Arc::clone(&self.share).try_acquire_owned().ok()?;
        let thread = Arc::clone(&self.shared.threads).try_acquire_owned().ok()?;
        self.begin(host, (share, thread)).ok()
    }

    /// Waits for a place. The semaphores are never closed.
    async fn place(&self) -> Option<Place> {
        let share = Arc::clone(&self.share).acquire_owned().await.ok()?;
        let thread = Arc::clone(&self.shared.threads).acquire_owned().await.ok()?;
        Some((share, thread))
    }

    /// Starts the one look-up of `host`, or joins it where another has started it meanwhile.
    ///
    /// # Errors
    /// The host gives no thread.
    fn begin(&self, host: &str, place: Place) -> io::Result<Pending> {
        let mut names = self.shared.names();
        if let Some(earlier) = names.under_way.get(host) {
            return Ok(earlier.clone());
        }
        let (done, under_way) = watch::channel(None);
        let (shared, name) = (Arc::clone(&self.shared), host.to_owned());
        // The thread waits for the names' lock before it records.
        std::thread::Builder::new().name("resolve".into()).spawn(move || {
            let outcome = shared.ask(&name);
            shared.names().record(&name, &outcome);
            done.send_replace(Some(outcome));
            drop(place);
        })?;
        names.under_way.insert(host.to_owned(), under_way.clone());
        Ok(under_way)
    }
}

impl Shared {
    /// The names; a panic elsewhere leaves them as true as they were.
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, host: &str) -> Outcome {
        let mut addresses = (self.look_up)(host).map_err(|error| unresolved(host, error))?;
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() {
            return Err(unresolved(host, "the name has no address"));
        }
        Ok(addresses.into())
    }
}

impl Names {
    fn good(&mut self, host: &str) -> Option<Arc<[IpAddr]>> {
        self.uses += 1;
        let good = self.good.get_mut(host)?;
        good.used = self.uses;
        Some(Arc::clone(&good.addresses))
    }

    /// A failed look-up takes nothing from anybody: only good addresses need a place here.
    fn record(&mut self, host: &str, outcome: &Outcome) {
        self.under_way.remove(host);
        let Ok(addresses) = outcome else { return };
        if self.good.len() >= MAX_NAMES && !self.good.contains_key(host) {
            let unused = self.good.iter().min_by_key(|(_, good)| good.used);
            if let Some(unused) = unused.map(|(name, _)| name.clone()) {
                self.good.remove(&unused);
            }
        }
        let answered = self.good.get(host).and_then(|good| good.answered);
        let good = Good { addresses: Arc::clone(addresses), used: self.uses, answered };
        self.good.insert(host.to_owned(), good);
    }
}

/// Waits for the look-up to end.
async fn outcome(host: &str, mut under_way: Pending) -> Outcome {
    let outcome = under_way.wait_for(Option::is_some).await.ok();
    let outcome = outcome.and_then(|outcome| outcome.clone());
    outcome.unwrap_or_else(|| Err(unresolved(host, "the name lookup failed")))
}

fn unresolved(host: &str, why: impl std::fmt::Display) -> SourceError {
    SourceError::new(ErrorKind::Unresolved, format_args!("cannot resolve {host:?}: {why}"))
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

        let clock = crate::host::clock::Clock::held();
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
        let clock = crate::host::clock::Clock::held();
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
        assert!(resolver.shared.names().good.len() <= MAX_NAMES);
    }

    /// A resolver that knows every `db` and hangs at every other name until `release` is dropped.
    fn hanging() -> (Resolver, mpsc::Sender<()>) {
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let resolver = Resolver::with(move |host| {
            if !host.starts_with("db") {
                let _ = held.lock().unwrap().recv();
            }
            Ok(vec![address(1)])
        });
        (resolver, release)
    }

    #[tokio::test]
    async fn hanging_names_of_one_source_leave_the_look_ups_of_the_others() {
        let (resolver, release) = hanging();
        let row = resolver.for_source();
        let hang = |number| {
            let row = row.clone();
            tokio::spawn(async move { row.lookup(&format!("hangs{number}")).await })
        };
        let hanging: Vec<_> = (0..62).map(hang).collect();
        while resolver.shared.names().under_way.len() < SHARE {
            tokio::task::yield_now().await;
        }
        for number in 0..80 {
            let found = resolver.for_source().lookup(&format!("db{number}")).await;
            assert_eq!(found, Ok(vec![address(1)]));
            assert_eq!(resolver.shared.names().under_way.len(), SHARE);
        }
        drop(release);
        for hanging in hanging {
            assert_eq!(hanging.await.unwrap(), Ok(vec![address(1)]));
        }
    }

    #[tokio::test]
    async fn where_no_look_up_can_begin_good_addresses_are_used_at_once() {
        let (resolver, _, _) = led();
        resolver.shared.names().record("db1", &Ok([address(1)].into()));
        let all = Arc::clone(&resolver.shared.threads);
        let _taken = all.acquire_many_owned(u32::try_from(THREADS).unwrap()).await.unwrap();
        let clock = crate::host::clock::Clock::Boot;
        let began = clock.now();
        assert_eq!(resolver.lookup("db1").await, Ok(vec![address(1)]));
        assert_eq!(resolver.glance("db1").await, [address(1)]);
        assert!(clock.now().since(began) < PATIENCE, "it waited");
    }

    #[tokio::test]
    async fn names_without_an_address_never_push_out_one_that_has() {
        let resolver = Resolver::with(|host| match host {
            "db1" => Ok(vec![address(1)]),
            _ => no_such_name(),
        });
        resolver.lookup("db1").await.unwrap();
        for number in 0..2 * MAX_NAMES {
            assert!(resolver.lookup(&format!("bad{number}")).await.is_err());
        }
        let known = resolver.shared.names().good("db1");
        assert_eq!(known.as_deref(), Some(&[address(1)][..]));
    }

    #[test]
    fn the_threads_are_a_small_part_of_what_the_shipped_unit_grants() {
        let unit = include_str!("../../packaging/systemd/rolecall.service");
        let tasks = unit.lines().find_map(|line| line.strip_prefix("TasksMax=")).unwrap();
        assert!(THREADS <= tasks.parse::<usize>().unwrap() / 4, "TasksMax={tasks}");
        const { assert!(SHARE < THREADS) };
    }
}
