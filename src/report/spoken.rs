//! When this process last said READY for primaries to anybody, at any of its ports.
//!
//! A HAProxy goes on believing a READY for a time, so another node may only go ahead of this one once
//! its last READY is older than that. Whoever answers notes it here before it lets go of the facts that
//! the answer was decided by; whoever publishes other facts therefore reads a time that no answer from
//! the old ones is younger than. An answer that is decided and not written yet is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::look::stamp::Stamp;

/// Shared by every port; clones are one.
#[derive(Debug, Clone, Default)]
pub struct Spoken(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Nanoseconds since the boot, one more; zero: never.
    last_ready: AtomicU64,
    under_way: AtomicUsize,
}

/// An answer that may be READY and is not written yet; it ends with this value.
#[derive(Debug)]
pub struct UnderWay(Spoken);

impl Spoken {
    /// A READY for primaries is said at `now`.
    pub fn ready(&self, now: Stamp) {
        let at = u64::try_from(now.since_boot().as_nanos()).unwrap_or(u64::MAX - 1);
        self.0.last_ready.fetch_max(at + 1, Ordering::SeqCst);
    }

    /// An answer begins that is written later than it is decided. To be called before the facts are
    /// read, and kept until the answer is written.
    pub fn begin(&self) -> UnderWay {
        self.0.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(self.clone())
    }

    /// Whether an answer is decided and not written yet.
    pub(crate) fn is_under_way(&self) -> bool {
        self.0.under_way.load(Ordering::SeqCst) > 0
    }

    /// How long ago READY was last said; `None`: never by this process.
    pub fn ago(&self, now: Stamp) -> Option<Duration> {
        let at = self.0.last_ready.load(Ordering::SeqCst).checked_sub(1)?;
        Some(now.since(Stamp::new(Duration::from_nanos(at))))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Stamp {
        Stamp::new(Duration::from_millis(ms))
    }

    #[test]
    fn the_last_ready_has_an_age_and_no_older_one_hides_it() {
        let spoken = Spoken::default();
        assert_eq!(spoken.ago(at(9)), None);
        spoken.ready(at(0));
        assert_eq!(spoken.ago(at(9)), Some(Duration::from_millis(9)));
        spoken.ready(at(5));
        spoken.ready(at(3));
        assert_eq!(spoken.clone().ago(at(9)), Some(Duration::from_millis(4)));
        // Whatever a clock says, it is no panic.
        let last = Stamp::new(Duration::MAX);
        spoken.ready(last);
        assert!(spoken.ago(last).is_some());
        assert_eq!(spoken.ago(at(9)), Some(Duration::ZERO));
    }

    #[test]
    fn an_answer_is_under_way_until_it_is_dropped() {
        let spoken = Spoken::default();
        let (one, other) = (spoken.begin(), spoken.begin());
        drop(one);
        assert!(spoken.is_under_way());
        drop(other);
        assert!(!spoken.is_under_way());
    }
}
