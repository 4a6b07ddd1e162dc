//! The rhythm of one source: look, report, wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::config::{Config, Rhythm, Source};
use crate::host::clock::Clock;
use crate::look::error::SourceError;
use crate::look::observation::Observation;
use crate::look::stamp::Stamp;
use crate::source::role_source::RoleSource;
pub use crate::source::role_source::look;

/// Time between the beginnings of two looks of a source that was poked.
const POKED_INTERVAL: Duration = Duration::from_millis(75);

/// How long a source that was poked is looked at so often: a switchover's longest gap, measured with
/// Patroni, is from the demotion at 0.5 s to the promotion at 3.1 s.
const POKED_FOR: Duration = Duration::from_secs(3);

/// Time between the beginnings of two looks while a candidate waits to become READY, or a server for its
/// PostgreSQL: what is waited for happens at one moment, and every look later is time without writes.
const HURRIED_INTERVAL: Duration = Duration::from_millis(100);

/// What a poller is told from outside.
#[derive(Debug, Clone, Default)]
pub struct Poked(Arc<Wishes>);

#[derive(Debug, Default)]
struct Wishes {
    /// It was poked.
    look: Notify,
    renew: AtomicBool,
    hurry: AtomicBool,
    /// The hurry has begun.
    begun: Notify,
}

impl Poked {
    /// Now is a good moment to look. Who says it sees to it that this stays seldom.
    pub fn poke(&self) {
        self.0.look.notify_one();
    }

    /// From now on looks shall follow each other quickly, or no longer. Who says it bounds how long.
    pub fn hurry(&self, quick: bool) {
        if quick && !self.0.hurry.swap(quick, Ordering::Relaxed) {
            // A look that is under way is not waited for here, and its end finds the hurry.
            self.0.begun.notify_waiters();
        } else if !quick {
            self.0.hurry.store(quick, Ordering::Relaxed);
        }
    }

    /// After the next look its source shall ask for what seldom changes.
    pub fn renew(&self) {
        self.0.renew.store(true, Ordering::Relaxed);
    }
}

/// A finished look, on its way to the keeper.
#[derive(Debug)]
pub struct Look {
    /// Which poller looked.
    pub poller: PollerId,
    /// When the look began: what it saw is at least this old.
    pub began: Stamp,
    /// What it saw, or why it saw nothing.
    pub result: Result<Observation, SourceError>,
}

/// Tells a keeper's pollers apart, over reloads too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PollerId(pub u64);

/// Looks at a source for ever, one look at a time, and reports each. Ends when nobody listens.
///
/// The second look comes `phase`, at most the interval, after the first: sources that began at one
/// moment do not go on looking at one moment. One that is `poked` looks at once, or again where a look
/// is under way, and then more often for a moment.
pub async fn run<S: RoleSource>(
    mut source: S,
    rhythm: Rhythm,
    phase: Duration,
    clock: Clock,
    poller: PollerId,
    report: mpsc::Sender<Look>,
    poked: Poked,
) {
    let mut ticks = interval(rhythm.interval);
    // A look that took longer than the interval is followed by the next one at once, and the
    // rhythm goes on from there: never a burst to catch up.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    ticks.reset_after(phase.min(rhythm.interval));
    let mut pace = Pace { ticks, clock: clock.clone(), poked, since: None };
    loop {
        let began = clock.now();
        let result = look(&mut source, rhythm.timeout).await;
        if report.send(Look { poller, began, result }).await.is_err() {
            return;
        }
        if pace.poked.0.renew.swap(false, Ordering::Relaxed) {
            source.renew();
        }
        let quick = source.expects_change();
        tokio::select! {
            biased;
            () = pace.next(began, quick) => {}
            () = source.between_looks() => pace.next(began, quick).await,
        }
    }
}

/// When the next look begins.
struct Pace {
    ticks: Interval,
    clock: Clock,
    poked: Poked,
    /// When it was last poked.
    since: Option<Stamp>,
}

impl Pace {
    /// Waits for it; the last one began at `began`, and saw what will change soon where it is `quick`.
    async fn next(&mut self, began: Stamp, quick: bool) {
        let now = self.clock.now();
        let poked = self.since.is_some_and(|since| now < since.plus(POKED_FOR));
        let hurried = self.poked.0.hurry.load(Ordering::Relaxed);
        let pause = if poked { POKED_INTERVAL } else { HURRIED_INTERVAL };
        tokio::select! {
            // As in the keeper: always in this order.
            biased;
            _ = self.ticks.tick() => return,
            () = sleep(began.plus(pause).since(now)), if poked || hurried || quick => {}
            () = self.poked.0.look.notified() => self.since = Some(self.clock.now()),
            // It looks once at once, and goes on so for as long as it is told.
            () = self.poked.0.begun.notified() => {}
        }
        self.ticks.reset();
    }
}

/// Spreads the looks of all sources over the interval.
pub struct Spread {
    sources: u32,
    next: u32,
}

impl Spread {
    /// Over the looks of these sources.
    pub fn over(config: &Config) -> Self {
        let sources = config.nodes.iter().map(|node| node.sources.len()).sum::<usize>();
        Self { sources: u32::try_from(sources).unwrap_or(u32::MAX).max(1), next: 0 }
    }

    /// How long after its first look the second one of the next source comes.
    pub fn next(&mut self, source: &Source) -> Duration {
        self.next = self.next.saturating_add(1);
        source.interval * self.next / self.sources
    }
}
