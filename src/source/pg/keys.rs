//! The keys of SCRAM: kept for each server, and made where it delays nobody.
//!
//! To make them takes as long as the server likes: it names the iterations, and a new salt makes the old
//! keys worthless. An honest server has one salt for years, so its keys are made once. They are made on
//! a thread of their own, for one server at a time. Each source has a fifth of that thread, and within
//! it the server comes first for which least work came to nothing: whoever asks for ever new keys and
//! proves nothing waits behind those that do not.

use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::scram::{Keys, Parameters};
use crate::config::secret::Secret;
use crate::host::clock::Clock;
use crate::look::stamp::Stamp;

/// How long a source rests after its keys were made, as a multiple of what that took: it has a fifth of
/// one CPU at most.
pub const REST: u32 = 4;

/// The keys of one server, and what it has cost. Clones are of the same server.
#[derive(Clone)]
pub(super) struct Keyring {
    ring: Arc<Mutex<Ring>>,
    source: Arc<Mutex<Used>>,
}

#[derive(Default)]
struct Ring {
    kept: Option<(Wanted, Keys)>,
    /// Iterations since the server last proved itself.
    wasted: u64,
}

/// What a source has used of the thread.
#[derive(Default)]
struct Used {
    rests_until: Option<Stamp>,
    all: Duration,
}

/// What keys are made of.
#[derive(Clone, PartialEq, Eq)]
struct Wanted {
    password: Secret,
    asked: Parameters,
}

/// Keys that are to be made.
struct Job {
    wanted: Wanted,
    keyring: Keyring,
    done: oneshot::Sender<Keys>,
}

impl Job {
    fn run(self) {
        let keys = Keys::of(self.wanted.password.expose(), &self.wanted.asked);
        let mut ring = locked(&self.keyring.ring);
        ring.wasted += u64::from(self.wanted.asked.iterations);
        // Kept also where the look that asked is over: the next one asks for the same.
        ring.kept = Some((self.wanted, keys));
        drop(ring);
        // Nobody may be waiting any more.
        let _ = self.done.send(keys);
    }
}

impl Keyring {
    /// For the first server of a source.
    pub fn new() -> Self {
        Self { ring: Arc::default(), source: Arc::default() }
    }

    /// For another server of the same source.
    pub fn beside(&self) -> Self {
        Self { ring: Arc::default(), source: Arc::clone(&self.source) }
    }

    /// The keys, made where they are not kept. `None` where no thread can make them now.
    ///
    /// Whoever is dropped meanwhile loses nothing: they are made all the same.
    pub async fn keys(&self, password: &Secret, asked: &Parameters) -> Option<Keys> {
        let wanted = Wanted { password: password.clone(), asked: asked.clone() };
        let (done, made) = oneshot::channel();
        {
            let ring = locked(&self.ring);
            if let Some((_, keys)) = ring.kept.as_ref().filter(|(kept, _)| *kept == wanted) {
                return Some(*keys);
            }
        }
        let job = Job { wanted, keyring: self.clone(), done };
        if let Err(job) = WORKSHOP.take(job) {
            // Once for a server: no room is no reason to know nothing of it.
            if locked(&self.ring).wasted > 0 {
                return None;
            }
            job.run();
        }
        made.await.ok()
    }

    /// The server has proved that it knows the password: what it cost was not wasted.
    pub fn proved(&self) {
        locked(&self.ring).wasted = 0;
    }
}

/// The one thread that makes keys, and what it has to do.
struct Workshop {
    bench: Mutex<Bench>,
    called: Condvar,
}

#[derive(Default)]
struct Bench {
    /// One for a server at most.
    jobs: Vec<Job>,
    manned: bool,
}

static WORKSHOP: LazyLock<Workshop> =
    LazyLock::new(|| Workshop { bench: Mutex::default(), called: Condvar::new() });

impl Workshop {
    /// Has it done; the job comes back where the host gives no thread. A job of the same server that has
    /// not begun is given up: its look is over.
    fn take(&'static self, job: Job) -> Result<(), Job> {
        let mut bench = locked(&self.bench);
        if !bench.manned {
            let thread = std::thread::Builder::new().name("scram".into());
            if thread.spawn(|| self.work()).is_err() {
                return Err(job);
            }
            bench.manned = true;
        }
        bench.jobs.retain(|other| !Arc::ptr_eq(&other.keyring.ring, &job.keyring.ring));
        bench.jobs.push(job);
        self.called.notify_one();
        Ok(())
    }

    fn work(&self) {
        let clock = Clock::Boot;
        let mut bench = locked(&self.bench);
        loop {
            let now = clock.now();
            match bench.next(now) {
                Next::Job(at) => {
                    let job = bench.jobs.swap_remove(at);
                    drop(bench);
                    let source = Arc::clone(&job.keyring.source);
                    job.run();
                    let took = clock.now().since(now);
                    let mut used = locked(&source);
                    used.all += took;
                    used.rests_until = Some(now.plus(took * (1 + REST)));
                    drop(used);
                    bench = locked(&self.bench);
                }
                Next::At(then) => {
                    let waited = self.called.wait_timeout(bench, then.since(now));
                    bench = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                Next::Nothing => {
                    bench = self.called.wait(bench).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// What is to be done.
enum Next {
    Job(usize),
    /// Nothing until then.
    At(Stamp),
    Nothing,
}

impl Bench {
    /// Of the sources that do not rest, those first whose look still waits; of these the one that has used
    /// least, and of its servers the one that would have wasted least.
    fn next(&self, now: Stamp) -> Next {
        let mut first = Next::Nothing;
        let mut least = None;
        for (at, job) in self.jobs.iter().enumerate() {
            let used = locked(&job.keyring.source);
            if let Some(then) = used.rests_until.filter(|then| *then > now) {
                match first {
                    Next::Nothing => first = Next::At(then),
                    Next::At(other) if then < other => first = Next::At(then),
                    Next::At(_) | Next::Job(_) => {}
                }
                continue;
            }
            let wasted = locked(&job.keyring.ring).wasted + u64::from(job.wanted.asked.iterations);
            let rank = (job.done.is_closed(), used.all, wasted);
            if least.is_none_or(|least| rank < least) {
                (least, first) = (Some(rank), Next::Job(at));
            }
        }
        first
    }
}

/// What is under a lock; a panic elsewhere leaves it as true as it was.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(salt: u8, iterations: u32) -> Parameters {
        Parameters { salt: vec![salt; 16], iterations }
    }

    /// What a look has ordered that is over.
    fn job(keyring: &Keyring, iterations: u32) -> Job {
        awaited(keyring, iterations).0
    }

    fn awaited(keyring: &Keyring, iterations: u32) -> (Job, oneshot::Receiver<Keys>) {
        let wanted = Wanted { password: Secret::new("p"), asked: asked(1, iterations) };
        let (done, made) = oneshot::channel();
        (Job { wanted, keyring: keyring.clone(), done }, made)
    }

    #[tokio::test]
    async fn keys_are_made_once_and_again_for_another_salt_or_password() {
        let (one, word) = (Keyring::new(), Secret::new("pencil"));
        let first = one.keys(&word, &asked(1, 4096)).await.unwrap();
        assert!(first == Keys::of("pencil", &asked(1, 4096)));
        let wasted = || locked(&one.ring).wasted;
        assert_eq!(wasted(), 4096);
        assert!(one.keys(&word, &asked(1, 4096)).await == Some(first));
        assert_eq!(wasted(), 4096, "kept");
        assert!(one.keys(&word, &asked(2, 4096)).await != Some(first));
        assert!(one.keys(&Secret::new("pen"), &asked(2, 4096)).await != Some(first));
        assert_eq!(wasted(), 3 * 4096);
        one.proved();
        assert_eq!(wasted(), 0);
    }

    #[test]
    fn who_wasted_least_comes_first_and_a_source_rests() {
        let now = Stamp::new(Duration::from_secs(100));
        let greedy = Keyring::new();
        locked(&greedy.ring).wasted = 100_000;
        let (fresh, other) = (greedy.beside(), Keyring::new());
        let at = |jobs: Vec<Job>| {
            let bench = Bench { jobs, manned: true };
            match bench.next(now) {
                Next::Job(at) => Ok(at),
                Next::At(then) => Err(Some(then)),
                Next::Nothing => Err(None),
            }
        };
        assert_eq!(at(vec![]), Err(None));
        assert_eq!(at(vec![job(&greedy, 1), job(&fresh, 4096)]), Ok(1));
        assert_eq!(at(vec![job(&fresh, 100_000), job(&greedy.beside(), 4096)]), Ok(1));
        // A source that has used less goes first, whatever its servers did.
        locked(&greedy.source).all = Duration::from_millis(1);
        assert_eq!(at(vec![job(&fresh, 1), job(&other, 100_000)]), Ok(1));
        // Whom nobody waits for any more goes last: many looks that were given up delay none that waits.
        let (used_more, _made) = awaited(&greedy, 100_000);
        assert_eq!(at(vec![job(&fresh, 1), used_more, job(&other, 1)]), Ok(1));
        let then = now.plus(Duration::from_millis(5));
        locked(&other.source).rests_until = Some(then);
        assert_eq!(at(vec![job(&fresh, 1), job(&other, 1)]), Ok(0));
        assert_eq!(at(vec![job(&other, 1)]), Err(Some(then)));
    }

    /// The kind of H8: ever new salts at the most iterations must not keep a server from its keys.
    #[tokio::test]
    async fn a_server_has_its_keys_beside_a_hundred_that_ask_for_ever_new_ones() {
        let honest = Keyring::new();
        let word = Secret::new("pencil");
        let greedy = (0..128).map(|_| {
            let (ring, word) = (honest.beside(), word.clone());
            tokio::spawn(async move {
                for salt in 0.. {
                    let _ = ring.keys(&word, &asked(salt, 100_000)).await;
                    // Whatever makes them: the honest one shall have its turn.
                    tokio::task::yield_now().await;
                }
            })
        });
        let greedy: Vec<_> = greedy.collect();
        tokio::task::yield_now().await;
        let (clock, most) = (Clock::Boot, Duration::from_secs(20));
        let before = clock.now();
        let made = tokio::time::timeout(most, honest.keys(&word, &asked(1, 4096))).await;
        assert!(made.is_ok_and(|made| made.is_some()), "{:?}", clock.now().since(before));
        greedy.iter().for_each(tokio::task::JoinHandle::abort);
        assert!(locked(&honest.ring).wasted == 4096, "made once");
    }
}
