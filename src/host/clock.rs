//! Moments, and the one place that reads a clock.
//!
//! Ages are measured by `CLOCK_BOOTTIME`, which runs on while the host sleeps: an answer that was
//! good before a laptop lid or a suspended virtual machine is old after it. Wall time is never used,
//! it can step either way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::look::stamp::Stamp;

/// Seconds since 1970, as the host has them: for those outside who compare it with their own clock.
/// No age is measured by it, it can step.
pub(crate) fn wall_clock() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}

/// The same to the nanosecond, for the lines of a log.
pub(crate) fn wall_time() -> SystemTime {
    let t = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    UNIX_EPOCH + Duration::new(seconds, u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// The reader of the clock.
#[derive(Debug, Clone)]
pub enum Clock {
    /// `CLOCK_BOOTTIME` of the host.
    Boot,
    /// Tokio's own time, which a test can hold still, with jumps and halts that no timer sees.
    Held(Held),
}

/// The state of a held clock.
#[derive(Debug, Clone)]
pub struct Held {
    origin: tokio::time::Instant,
    jumped_ms: Arc<AtomicU64>,
    stood_ms: Arc<AtomicU64>,
}

impl Clock {
    /// A clock that follows Tokio's time from now on; with Tokio's time paused it stands still.
    #[expect(clippy::disallowed_methods, reason = "this is the one reader")]
    pub fn held() -> Self {
        Self::Held(Held {
            origin: tokio::time::Instant::now(),
            jumped_ms: Arc::default(),
            stood_ms: Arc::default(),
        })
    }

    /// The present moment.
    pub fn now(&self) -> Stamp {
        match self {
            Self::Boot => {
                let t = clock_gettime(ClockId::Boottime);
                let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
                let nanos = u32::try_from(t.tv_nsec).unwrap_or(0);
                Stamp::new(Duration::new(seconds, nanos))
            }
            Self::Held(held) => {
                let of = |ms: &AtomicU64| Duration::from_millis(ms.load(Ordering::Relaxed));
                let ran = held.origin.elapsed() + of(&held.jumped_ms);
                Stamp::new(ran.saturating_sub(of(&held.stood_ms)))
            }
        }
    }

    /// Lets a held clock jump as `CLOCK_BOOTTIME` does when a host wakes: the timers did not run.
    /// Does nothing to the host's clock.
    pub fn jump(&self, ahead: Duration) {
        if let Self::Held(held) = self {
            let ms = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
            held.jumped_ms.fetch_add(ms, Ordering::Relaxed);
        }
    }

    /// Takes this time out of a held clock, as a hypervisor does that stops a virtual machine with its
    /// clocks and lets it go on: whatever runs in there cannot know that the time has passed. Does
    /// nothing to the host's clock.
    pub fn stood_still(&self, meanwhile: Duration) {
        if let Self::Held(held) = self {
            let ms = u64::try_from(meanwhile.as_millis()).unwrap_or(u64::MAX);
            held.stood_ms.fetch_add(ms, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_clock_moves_on() {
        let first = Clock::Boot.now();
        let second = Clock::Boot.now();
        assert!(second >= first);
        assert_eq!(first.since(second.plus(Duration::from_secs(1))), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_clock_stands_still_and_can_jump() {
        let clock = Clock::held();
        let first = clock.now();
        assert_eq!(clock.now(), first);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(clock.now().since(first), Duration::from_secs(2));
        clock.jump(Duration::from_secs(60));
        assert_eq!(clock.now().since(first), Duration::from_secs(62));
        tokio::time::advance(Duration::from_secs(45)).await;
        clock.stood_still(Duration::from_secs(45));
        assert_eq!(clock.now().since(first), Duration::from_secs(62));
    }
}
