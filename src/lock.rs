//! Patroni's leader lock: how it is trusted, and how long a leader may be held by it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;

use crate::policy::{Policy, Trust};
use crate::role::Role;
use crate::snapshot::NodeFacts;

/// `ttl - loop_wait - retry_timeout` of a Patroni that nobody tuned: after that long another node may
/// be the leader.
pub const USUAL_SPAN: Duration = Duration::from_secs(10);

/// The least that Patroni's times can leave of its lock where nobody knows them: by its own rule
/// `loop_wait + 2 x retry_timeout <= ttl` that is `retry_timeout`, which is 3 s at least (`config.py` of
/// 4.1.5).
pub const SHORTEST_SPAN: Duration = Duration::from_secs(3);

/// How Patroni's leader lock is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// No yes for a leader that no lock stands behind.
    pub required: bool,
    /// What is added to `hold` until HAProxy has forgotten the last READY: timeout, interval and what
    /// HAProxy remembers.
    pub beside: Duration,
}

impl Lock {
    /// The longest hold of a leader: over, before another node can have the lock, which is `span`
    /// after its last renewal at the earliest.
    pub fn most_hold(&self, span: Duration) -> Duration {
        span.saturating_sub(self.beside + Duration::from_millis(1))
    }
}

/// A `hold` for leaders that the lock does not leave room for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The service.
    pub service: Arc<str>,
    /// What is configured.
    pub hold: Duration,
    /// The same with all that stands beside it.
    pub needs: Duration,
    /// What Patroni's times leave.
    pub span: Duration,
    /// What `hold` may be at most; this is in force.
    pub most: Duration,
}

impl Cut {
    /// What is wrong with the hold of a service, where a source's lock is worth `span`.
    pub fn of(service: &Arc<str>, policy: &Policy, trust: &Trust, span: Duration) -> Option<Self> {
        let lock = trust.lock.filter(|_| policy.roles.contains(&Role::Primary))?;
        let needs = trust.hold + lock.beside;
        let most = lock.most_hold(span);
        let cut = Self { service: service.clone(), hold: trust.hold, needs, span, most };
        (!trust.hold.is_zero() && needs >= span).then_some(cut)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "hold is {}, and with timeout, interval and what HAProxy remembers {}: not less than \
             Patroni's ttl - loop_wait - retry_timeout, {}",
            format_duration(self.hold),
            format_duration(self.needs),
            format_duration(self.span)
        )
    }
}

/// The holds of a node's services that are cut by what Patroni's times are now known to be; `None`
/// where nothing is known of them.
pub fn cuts(node: &NodeFacts) -> Option<Vec<Cut>> {
    let mut cuts = None;
    for service in &node.services {
        for (trust, source) in service.policy.trust.iter().zip(&node.sources) {
            let span = source.own.good().and_then(|(_, seen)| seen.patroni?.span);
            if let Some(span) = span {
                let cut = Cut::of(&service.name, &service.policy, trust, span);
                cuts.get_or_insert_with(Vec::new).extend(cut);
            }
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(roles: &[Role], hold: u64, span: u64) -> Option<Cut> {
        let seconds = Duration::from_secs;
        let lock = Some(Lock { required: false, beside: seconds(3) });
        let trust = Trust {
            hold: seconds(hold),
            hold_by_repmgr: false,
            look: seconds(2),
            knows_lag: true,
            lock,
            electorate: None,
        };
        let trusts = vec![trust.clone()];
        let policy =
            Policy { roles: roles.to_vec(), lag: None, settle: Duration::ZERO, trust: trusts };
        Cut::of(&"rw".into(), &policy, &trust, seconds(span))
    }

    #[test]
    fn a_hold_for_leaders_must_end_before_the_lock_does() {
        assert_eq!(cut(&[Role::Primary], 6, 10), None);
        let over = cut(&[Role::Primary], 7, 10).expect("7 + 3 is not less than 10");
        assert_eq!(over.most, Duration::from_millis(6999));
        assert_eq!(
            over.to_string(),
            "hold is 7s, and with timeout, interval and what HAProxy remembers 10s: not less than \
             Patroni's ttl - loop_wait - retry_timeout, 10s"
        );
        assert_eq!(cut(&[Role::Primary], 6, 0).expect("nothing fits").most, Duration::ZERO);
        assert_eq!(cut(&[Role::Primary], 0, 0), None, "nothing is held");
        assert_eq!(cut(&[Role::Replica], 60, 10), None, "replicas have no lock");
    }
}
