//! For how long what a source saw may be used, and whether rule R decides for it.

use std::time::Duration;

use crate::look::auto_failover::Monitored;
use crate::look::observation::Observation;
use crate::look::role::Role;
use crate::look::snapshot::{Snapshot, SourceFacts};
use crate::look::stamp::Stamp;
use crate::verdict::policy::{Electorate, Policy, Trust, most_hold, usual_hold};
use crate::verdict::reason::Reason;

/// Each source's facts with how they are trusted; `None` where nothing is known of it yet.
pub(crate) fn each_source<'a>(
    sources: &'a [SourceFacts],
    policy: &'a Policy,
) -> impl Iterator<Item = (&'a Trust, Option<&'a SourceFacts>)> {
    policy.trust.iter().enumerate().map(|(index, trust)| (trust, sources.get(index)))
}

/// The rule, where it decides: for a repmgr node that was not in recovery when it last answered.
pub fn candidate<'a>(source: &SourceFacts, trust: &'a Trust) -> Option<&'a Electorate> {
    let (_, seen) = source.own.good()?;
    trust.electorate.as_ref().filter(|_| seen.role == Some(Role::Primary))
}

/// What the monitor says of a server that was not in recovery when it last answered.
fn primary_by_monitor(source: &SourceFacts) -> Option<&Monitored> {
    let (_, seen) = source.own.good()?;
    seen.monitored.as_deref().filter(|_| seen.role == Some(Role::Primary))
}

/// The newest evidence of a source: what it saw, or the failure that is itself evidence.
pub fn evidence(source: &Snapshot) -> Option<(Stamp, Result<&Observation, Reason>)> {
    match source.failing() {
        Some((began, error)) if error.kind.is_contrary() => {
            Some((began, Err(Reason::Failed(error.clone()))))
        }
        _ => source.good().map(|(began, seen)| (began, Ok(seen))),
    }
}

/// How old what a source saw may be.
pub fn limit(source: &SourceFacts, trust: &Trust) -> Duration {
    let hold = hold(source, trust);
    if source.own.failing().is_some() { hold } else { hold.max(trust.look) }
}

/// How long the last yes stands once looks fail: as configured; for an isolated primary of a repmgr
/// cluster what its repmgr.conf leaves; for a primary of pg_auto_failover what the times of its monitor leave; for a leader of Patroni's as long as its lock is proven to be
/// held, and not at all where no lock stands behind it.
pub fn hold(source: &SourceFacts, trust: &Trust) -> Duration {
    let leader = source.own.good().filter(|(_, seen)| seen.role == Some(Role::Primary));
    let leader = leader.and_then(|(began, seen)| Some((began, seen.patroni?)));
    if let (Some((began, says)), Some(lock)) = (leader, trust.lock) {
        return lock.hold(trust.hold, began, &says, &source.lease);
    }
    if let Some(said) = primary_by_monitor(source) {
        return trust.hold.min(said.most_hold);
    }
    match source.own.good().and_then(|(_, seen)| seen.repmgr.as_ref()?.failover_after) {
        Some(patience) if trust.hold_by_repmgr => usual_hold(patience),
        // Whatever was chosen, it is over before repmgr can have promoted another.
        Some(patience) => trust.hold.min(most_hold(patience)),
        None => trust.hold,
    }
}
