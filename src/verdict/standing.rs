//! The memory that a verdict has: since when the node has been confirmed as the primary, and what a
//! short break of that costs.
//!
//! For repmgr a confirmation has to settle before it counts: it must have stood for longer than any
//! older answer, and any older word in HAProxy, can live (condition 8a of rule R), or every other data
//! node must have given way (8b, [`crate::verdict::handover`]).

use std::time::Duration;

use crate::look::snapshot::SourceFacts;
use crate::look::stamp::Stamp;
use crate::verdict::policy::{Electorate, Policy};

/// All the memory a verdict has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Since when every source has confirmed the node as the primary without a break. A replica's
    /// yes needs no memory, and is none here: a promotion begins a new confirmation.
    pub confirmed_since: Option<Stamp>,
    /// repmgr: when every other data node had given way, so that the confirmation counts from then on.
    pub handed_over: Option<Stamp>,
    /// repmgr: the confirmation that was broken last, while it may still go on.
    pub lapse: Option<Lapse>,
    /// repmgr: when rule R last counted a majority.
    pub majority_at: Option<Stamp>,
    /// repmgr: when a majority last stood behind the node and attested fresh contact with it.
    pub fresh_at: Option<Stamp>,
    /// repmgr: when the rule was last evaluated; after a pause longer than an answer lives, nothing
    /// that was said before counts.
    pub evaluated_at: Option<Stamp>,
    /// repmgr: a word kept over a restart of the daemon stands until then, or until the rule has
    /// been evaluated on answers of this process.
    pub restored_until: Option<Stamp>,
    /// The replica went over its lag limit and is not back under the lower mark.
    pub over_lag: bool,
}

/// A confirmation that was broken after it had counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lapse {
    /// Since when it had stood.
    pub(super) since: Stamp,
    /// As [`Standing::handed_over`] was.
    pub(super) handed_over: Option<Stamp>,
    /// It goes on if the node is confirmed again before this moment.
    pub(super) until: Stamp,
}

impl Standing {
    /// Forgets every claim to be the primary: another node was told that it may go ahead.
    #[must_use]
    pub fn released(self) -> Self {
        Self { confirmed_since: None, handed_over: None, lapse: None, restored_until: None, ..self }
    }

    /// Whether this node has no claim to be the primary that could still speak: none that stands, was
    /// restored, or may go on after a lapse.
    pub fn claims_nothing(self) -> bool {
        self == self.released()
    }

    /// From when on the confirmation counts: settled, or handed over. `None`: there is none.
    pub fn counts_from(self, sources: &[SourceFacts], policy: &Policy) -> Option<Stamp> {
        let settle = settle(sources, policy);
        let settled = self.confirmed_since?.plus(settle);
        Some(self.handed_over.map_or(settled, |handed_over| handed_over.min(settled)))
    }

    /// Whether the confirmation counts now.
    pub fn counts(self, now: Stamp, sources: &[SourceFacts], policy: &Policy) -> bool {
        self.counts_from(sources, policy).is_some_and(|from| from <= now)
    }

    /// Whether a node that cannot count a majority now may go on as the primary: it was READY when a
    /// majority last attested contact with it, that is not longer ago than `hold`, and the rule has
    /// been evaluated without a pause.
    pub fn goes_on(
        self,
        now: Stamp,
        hold: Duration,
        sources: &[SourceFacts],
        policy: &Policy,
        electorate: &Electorate,
    ) -> bool {
        let evaluated = self.evaluated_at.is_some_and(|at| now.since(at) <= electorate.life);
        let known = self
            .counts_from(sources, policy)
            .zip(self.fresh_at)
            .is_some_and(|(counted, fresh_at)| fresh_at >= counted && now < fresh_at.plus(hold));
        let restored = self.restored_until.is_some_and(|until| now < until);
        (evaluated && known) || restored
    }
}

/// How long a confirmation must have stood: as configured here, and by the longest that the rolecall of
/// another node says its own word may live.
fn settle(sources: &[SourceFacts], policy: &Policy) -> Duration {
    if policy.settle.is_zero() {
        return Duration::ZERO;
    }
    let told = sources.iter().filter_map(SourceFacts::longest_word).max();
    policy.settle.max(told.unwrap_or_default())
}
