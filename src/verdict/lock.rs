//! Patroni's leader lock: how it is trusted, and how long a leader may be held by it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::look::lease::Lease;
use crate::look::measure;
use crate::look::patroni::{MOST_TTL, Patroni, Times};
use crate::look::role::Role;
use crate::look::stamp::Stamp;
use crate::verdict::policy::{Lock, Policy, Trust};

/// `ttl - loop_wait - retry_timeout` of a Patroni that nobody tuned: after that long another node may
/// be the leader.
pub(crate) const USUAL_SPAN: Duration = Duration::from_secs(10);

/// The times of a Patroni that nobody tuned.
pub const USUAL_TIMES: Times = Times {
    ttl: Duration::from_secs(30),
    loop_wait: Duration::from_secs(10),
    retry_timeout: Duration::from_secs(10),
};

/// The least that Patroni's times can leave of its lock where nobody knows them: by its own rule
/// `loop_wait + 2 x retry_timeout <= ttl` that is `retry_timeout`, which is 3 s at least (`config.py` of
/// 4.1.5).
pub(crate) const SHORTEST_SPAN: Duration = Duration::from_secs(3);

impl Lock {
    /// The longest hold of a leader by times alone: over, before another node can have the lock, which is
    /// `span` after its last renewal at the earliest.
    pub fn most_hold(&self, span: Duration) -> Duration {
        span.saturating_sub(self.beside + Duration::from_millis(1))
    }

    /// How long the yes of a look that began at `began` stands once looks fail: to the end of the lease,
    /// where that is known; else `hold`, or less where the times leave less.
    pub fn hold(&self, hold: Duration, began: Stamp, says: &Patroni, lease: &Lease) -> Duration {
        if says.failsafe || says.lockless() {
            return Duration::ZERO;
        }
        let leased = lease.ends(began, says, self.memory).map(|ends| ends.since(began));
        let bound = match leased {
            Some(leased) if lease.shows_rounds() => leased,
            _ => leased.unwrap_or_default().max(self.by_times(hold, began, says, lease)),
        };
        if self.chosen { bound.min(hold) } else { bound }
    }

    /// The same where no lease is proven.
    fn by_times(&self, hold: Duration, began: Stamp, says: &Patroni, lease: &Lease) -> Duration {
        match says.times {
            // A bound that is not known must not become no bound.
            None => hold.min(self.most_hold(SHORTEST_SPAN)),
            Some(times) if lease.hangs(began, times) => Duration::ZERO,
            Some(times) => hold.min(self.most_hold(times.span())).min(times.longest(self.memory)),
        }
    }

    /// The longest that any yes may stand once looks fail, where Patroni's times are not known.
    pub(crate) fn longest_hold(&self, hold: Duration) -> Duration {
        if self.chosen { hold } else { hold.max(MOST_TTL.saturating_sub(self.memory)) }
    }
}

/// A `hold` for leaders that no lease can be as long as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The service.
    pub service: Arc<str>,
    /// What is configured.
    pub hold: Duration,
    /// Patroni's `ttl`.
    pub ttl: Duration,
    /// What HAProxy remembers.
    pub memory: Duration,
    /// How long a lease can be at most; longer than this nothing is held.
    pub most: Duration,
}

impl Cut {
    /// What is wrong with the hold of a service, where a source's lock has these times.
    pub fn of(service: &Arc<str>, policy: &Policy, trust: &Trust, times: Times) -> Option<Self> {
        let lock = trust.lock.filter(|_| policy.roles.contains(&Role::Primary))?;
        let (ttl, memory, most) = (times.ttl, lock.memory, times.longest(lock.memory));
        let cut = Self { service: service.clone(), hold: trust.hold, ttl, memory, most };
        (lock.chosen && trust.hold > most).then_some(cut)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`hold` is {}, but Patroni's ttl of {}, minus the time that HAProxy remembers an \
             answer ({}) and a margin, leaves {}",
            measure::time(self.hold),
            measure::time(self.ttl),
            measure::time(self.memory),
            measure::time(self.most)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::policy::Pool;

    const SECOND: Duration = Duration::from_secs(1);

    fn lock(chosen: bool) -> Lock {
        Lock { required: false, beside: 3 * SECOND, memory: 2 * SECOND, chosen }
    }

    fn times(ttl: u32) -> Times {
        Times { ttl: ttl * SECOND, loop_wait: 10 * SECOND, retry_timeout: 10 * SECOND }
    }

    fn cut(roles: &[Role], hold: u32, chosen: bool, ttl: u32) -> Option<Cut> {
        let trust = Trust {
            hold: hold * SECOND,
            hold_by_repmgr: false,
            look: 2 * SECOND,
            knows_lag: true,
            lock: Some(lock(chosen)),
            electorate: None,
        };
        let trusts = vec![trust.clone()];
        let policy = Policy {
            roles: roles.to_vec(),
            pool: Pool::default(),
            lag: None,
            settle: Duration::ZERO,
            trust: trusts,
        };
        Cut::of(&"rw".into(), &policy, &trust, times(ttl))
    }

    #[test]
    fn a_hold_that_was_chosen_for_leaders_fits_into_the_lock() {
        assert_eq!(cut(&[Role::Primary], 27, true, 30), None);
        let over = cut(&[Role::Primary], 28, true, 30).expect("30 - 2 - 0.5 is less");
        assert_eq!(over.most, Duration::from_millis(27_500));
        assert_eq!(
            over.to_string(),
            "`hold` is 28 s, but Patroni's ttl of 30 s, minus the time that HAProxy remembers an answer (2 s) and a \
             margin, leaves 27.5 s"
        );
        assert_eq!(cut(&[Role::Primary], 1, true, 0).expect("nothing fits").most, Duration::ZERO);
        assert_eq!(cut(&[Role::Primary], 0, true, 0), None, "nothing is held");
        assert_eq!(cut(&[Role::Primary], 28, false, 30), None, "nobody chose it");
        assert_eq!(cut(&[Role::Replica], 60, true, 10), None, "replicas have no lock");
        assert!(cut(&[Role::Primary], 60, true, 90).is_some(), "ZooKeeper may give 40 s");
    }

    #[test]
    fn where_no_lease_is_known_the_times_bound_the_hold() {
        let held = |says: Patroni| {
            lock(false).hold(30 * SECOND, Stamp::default(), &says, &Lease::default())
        };
        let usual = Patroni { times: Some(times(30)), ..Patroni::default() };
        assert_eq!(held(usual), Duration::from_millis(6999));
        assert_eq!(held(Patroni { failsafe: true, ..usual }), Duration::ZERO, "the store is lost");
        assert_eq!(
            held(Patroni { times: None, ..usual }),
            Duration::ZERO,
            "the shortest span is 3 s"
        );
    }

    /// What a process that knows nothing yet has to wait for, before it may take a yes of the one before for ended.
    #[test]
    fn the_longest_hold_is_the_chosen_one_else_what_any_lease_can_be() {
        assert_eq!(lock(true).longest_hold(5 * SECOND), 5 * SECOND);
        assert_eq!(lock(false).longest_hold(5 * SECOND), MOST_TTL.saturating_sub(2 * SECOND));
        assert_eq!(lock(false).longest_hold(2 * MOST_TTL), 2 * MOST_TTL);
    }
}
