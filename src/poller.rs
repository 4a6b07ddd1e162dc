//! The rhythm of one source: look, report, wait.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock::{Clock, Stamp};
use crate::config::Rhythm;
use crate::observation::{ErrorKind, Observation, SourceError};
use crate::source::RoleSource;

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

/// Looks once, within the deadline. The source's future is dropped when its time is up.
pub async fn look<S: RoleSource>(
    source: &mut S,
    deadline: Duration,
) -> Result<Observation, SourceError> {
    match timeout(deadline, source.observe()).await {
        Ok(result) => result,
        Err(_) => Err(SourceError::new(
            ErrorKind::Timeout,
            format_args!("no answer within {}", humantime::format_duration(deadline)),
        )),
    }
}

/// Looks at a source for ever, one look at a time, and reports each. Ends when nobody listens.
///
/// The second look comes `phase`, at most the interval, after the first: sources that began at one
/// moment do not go on looking at one moment.
pub async fn run<S: RoleSource>(
    mut source: S,
    rhythm: Rhythm,
    phase: Duration,
    clock: Clock,
    poller: PollerId,
    report: mpsc::Sender<Look>,
) {
    let mut ticks = interval(rhythm.interval);
    // A look that took longer than the interval is followed by the next one at once, and the
    // rhythm goes on from there: never a burst to catch up.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    ticks.reset_after(phase.min(rhythm.interval));
    loop {
        let began = clock.now();
        let result = look(&mut source, rhythm.timeout).await;
        if report.send(Look { poller, began, result }).await.is_err() {
            return;
        }
        tokio::select! {
            _ = ticks.tick() => {}
            () = source.between_looks() => {
                ticks.tick().await;
            }
        }
    }
}
