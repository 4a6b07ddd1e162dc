//! Whether this process itself was stopped: by SIGSTOP, a debugger, or a host that slept.
//!
//! What it knows is old then, for a reason that says nothing about any node. Whoever asks right after is
//! let wait for the first looks, as at the start, and is not told an age that is our own.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::facts::Facts;
use crate::host::clock::Clock;
use crate::look::stamp::Stamp;

/// How often it glances at the clock where nothing else happens.
pub(crate) const GLANCES: Duration = Duration::from_millis(250);
/// Without a glance for so long it was stopped.
pub(crate) const STOPPED: Duration = Duration::from_secs(1);
/// Longest wait for the first looks after that; then what is known is answered, whatever that is.
pub(crate) const FIRST_LOOKS: Duration = Duration::from_secs(2);

/// The last glance at the clock.
pub struct Awake(Stamp);

impl Awake {
    /// It is awake now.
    pub fn new(now: Stamp) -> Self {
        Self(now)
    }

    /// Whether it was stopped since the last glance.
    pub(crate) fn overslept(&self, now: Stamp) -> bool {
        now.since(self.0) >= STOPPED
    }

    /// Glances; where it was stopped until now, waits until every source was looked at since, or until
    /// `stop`. Whether it was.
    pub(crate) async fn look_first(
        &mut self,
        clock: &Clock,
        facts: &mut watch::Receiver<Facts>,
        stop: &CancellationToken,
    ) -> bool {
        let now = clock.now();
        if !self.was_stopped(now) {
            return false;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = looked_again(facts, now) => {}
        }
        *self = Self::new(clock.now());
        true
    }

    /// The same, and glances.
    fn was_stopped(&mut self, now: Stamp) -> bool {
        let overslept = self.overslept(now);
        self.0 = now;
        overslept
    }
}

/// What was taken at `began` and took so long that most likely it was this process that was stopped
/// meanwhile waits for the first looks, too.
pub(crate) async fn look_first_if_slow(
    began: Stamp,
    clock: &Clock,
    facts: &watch::Receiver<Facts>,
) {
    let now = clock.now();
    if now.since(began) >= STOPPED {
        looked_again(&mut facts.clone(), now).await;
    }
}

/// Waits until every source of every node was looked at after `woke`.
async fn looked_again(facts: &mut watch::Receiver<Facts>, woke: Stamp) {
    let all = |facts: &Facts| {
        let mut sources = facts.nodes.iter().flat_map(|node| &node.sources);
        sources.all(|source| source.own.last_look().is_some_and(|began| began >= woke))
    };
    // At its bound, or where the keeper has ended, what is known must do.
    let _ = timeout(FIRST_LOOKS, facts.wait_for(all)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_two_glances_is_a_stop() {
        let at = |ms| Stamp::new(Duration::from_millis(ms));
        let mut awake = Awake::new(at(0));
        assert!(!awake.was_stopped(at(999)));
        assert!(!awake.was_stopped(at(1998)));
        assert!(awake.was_stopped(at(2998)));
        assert!(!awake.was_stopped(at(2998)));
    }
}
