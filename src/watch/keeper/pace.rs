//! How often the keeper has a source looked at, and whom a candidate for the primary asks beside.

use std::time::Duration;

use tokio::sync::mpsc;

use super::Keeper;
use crate::facts::ServiceFacts;
use crate::look::role::Role;
use crate::verdict::quorum;
use crate::watch::poller::Look;
use crate::watch::watched::Pace;

/// How long after its promotion a candidate that is not READY yet looks quickly and asks the other
/// rolecalls to give way: repmgr has written the row and the others have followed in 2 to 5 s, and what
/// cannot be confirmed for longer has another reason.
const HURRY_FOR: Duration = Duration::from_secs(30);

impl Keeper {
    /// Has a candidate for the primary of a repmgr cluster look quickly until it is READY, and ask the
    /// other rolecalls: to give way, whether they were left out by another one, and as long as this node
    /// leaves them out.
    pub(super) fn set_pace(&mut self, at: usize, report: &mpsc::Sender<Look>) {
        let now = self.clock.now();
        let facts = self.facts.borrow();
        let known = &facts.nodes[at];
        let waits = |service: &ServiceFacts| {
            let asked = service.policy.roles.contains(&Role::Primary);
            let by_rule = service.policy.trust.iter().any(|trust| trust.electorate.is_some());
            asked && by_rule && !service.standing.counts(now, &known.sources, &service.policy)
        };
        let waits = known.services.iter().any(waits);
        let confirmed = |service: &ServiceFacts| service.standing.confirmed_since.is_some();
        let settles = known.services.iter().any(confirmed);
        drop(facts);
        for watched in &mut self.nodes[at].watched {
            let source = &watched.facts;
            let young = source.writable_since.is_some_and(|since| now < since.plus(HURRY_FOR));
            let quick = waits && (young || settles);
            let asks = quick || (waits && source.is_barred());
            let left_out =
                watched.source.electorate().map(|rules| quorum::left_out(now, source, &rules));
            let pace = Pace { quick, asks, left_out: left_out.unwrap_or_default() };
            watched.pace(&pace, &mut self.ids, report);
        }
    }
}
