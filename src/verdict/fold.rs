//! How the memory of a verdict changes when the facts do.
//!
//! # Why a short lapse needs no settling again
//! Let X have been READY, and let `u` be the last moment at which rule R counted a majority for it; X
//! lapses and has a majority again at `r`. Every vote that X counted at `u` was asked for after
//! `u - life`. Another node Y needs a majority of the same rows, so it needs one of these voters, which
//! left X after `u - life`: Y has been confirmed since `u - life` at the earliest, and is READY by 8a no
//! sooner than `u - life + settle`, where `settle` is the least that the rule allows. X counts at `r` what
//! was asked for after `r - life`; so with `r <= u + settle - 2 x life` nobody else has been READY since `u`, and it is as if X had never
//! lapsed. By 8b Y is READY only after X was seen in recovery or has released; both end this privilege
//! here. Where X's own server refused connections and came back, nobody else can even have been promoted
//! before `fresh + hold`: at `fresh` all who could be elected were in contact, and `hold` is shorter than
//! repmgr's patience.

use crate::look::error::{ErrorKind, SourceError};
use crate::look::role::Role;
use crate::look::snapshot::SourceFacts;
use crate::look::stamp::Stamp;
use crate::verdict::finding::confirmed;
use crate::verdict::policy::{Electorate, Policy};
use crate::verdict::quorum::{self, Ruling};
use crate::verdict::standing::{Lapse, Standing};
use crate::verdict::trust::{each_source, hold};
use crate::verdict::{handover, lag};

impl Standing {
    /// The memory after the facts went from `before` to `after` at the moment `now`.
    ///
    /// `before` is judged too: a yes that had lapsed unseen (its poller hung, the host slept) was
    /// not continuous.
    #[must_use]
    pub fn fold(
        self,
        now: Stamp,
        before: &[SourceFacts],
        after: &[SourceFacts],
        policy: &Policy,
    ) -> Self {
        let restored = self.restored_until.is_some_and(|until| now < until);
        let stood =
            self.confirmed_since.is_some() && (restored || confirmed(now, before, self, policy));
        let broken = self.broken(before, after, policy);
        let over_lag = lag::over(now, after, policy, self.over_lag);
        let mut next = Self { over_lag, ..self };
        if !stood {
            (next.confirmed_since, next.handed_over) = (None, None);
        }
        for (trust, source) in each_source(after, policy) {
            if let Some((electorate, facts)) = trust.electorate.as_ref().zip(source) {
                next = next.evaluated(now, facts, electorate);
            }
        }
        if !confirmed(now, after, next, policy) {
            return Self { confirmed_since: None, handed_over: None, lapse: broken, ..next };
        }
        if !stood {
            let goes_on = broken.filter(|lapse| now < lapse.until);
            next.confirmed_since = Some(goes_on.map_or(now, |lapse| lapse.since));
            next.handed_over = goes_on.and_then(|lapse| lapse.handed_over);
        }
        next.lapse = None;
        if !next.counts(now, after, policy) && handover::complete(now, after, policy) {
            next.handed_over = Some(now);
        }
        next
    }

    /// The confirmation that this one leaves where it is broken by `after`, and may go on; or the one
    /// that an earlier break left. `None` where the server is no longer a candidate by its own word.
    fn broken(
        self,
        before: &[SourceFacts],
        after: &[SourceFacts],
        policy: &Policy,
    ) -> Option<Lapse> {
        let demoted = |(_, source): (_, Option<&SourceFacts>)| {
            let seen = source.and_then(|source| source.own.good());
            seen.is_some_and(|(_, seen)| seen.role != Some(Role::Primary) && !seen.answers)
        };
        if each_source(after, policy).any(demoted) {
            return None;
        }
        let Some(since) = self.confirmed_since else { return self.lapse };
        let (counted, majority_at) = (self.counts_from(before, policy)?, self.majority_at?);
        if majority_at < counted {
            return None;
        }
        // Another node may settle for no longer than it must, whatever is configured here.
        let rules = policy.trust.iter().filter_map(|trust| trust.electorate.as_ref());
        let bounds =
            rules.map(|rule| rule.least_settle().min(policy.settle).saturating_sub(2 * rule.life));
        let short = majority_at.plus(bounds.min()?);
        let until = self
            .nobody_promoted_before(before, after, policy)
            .map_or(short, |held| held.max(short));
        Some(Lapse { since, handed_over: self.handed_over, until })
    }

    /// Where the own server refuses connections: until when repmgr can have promoted nobody else.
    fn nobody_promoted_before(
        self,
        before: &[SourceFacts],
        after: &[SourceFacts],
        policy: &Policy,
    ) -> Option<Stamp> {
        let mut held = None;
        for ((trust, before), after) in each_source(before, policy).zip(after) {
            let Some(before) = before.filter(|_| trust.electorate.is_some()) else { continue };
            let refuses = |(_, error): (_, &SourceError)| error.kind == ErrorKind::ServerDown;
            if !after.own.failing().is_some_and(refuses) {
                return None;
            }
            let end = self.fresh_at?.plus(hold(before, trust));
            held = Some(held.map_or(end, |held: Stamp| held.min(end)));
        }
        held
    }

    /// Notes what an evaluation of the rule says of contact, and whether it ends a restored word.
    fn evaluated(self, now: Stamp, facts: &SourceFacts, electorate: &Electorate) -> Self {
        let round = quorum::rule(now, facts, electorate);
        let majority = matches!(round.ruling, Ruling::Yes { .. });
        let fresh = round.ruling == Ruling::Yes { fresh: true };
        let conclusive = match round.ruling {
            Ruling::Yes { .. } | Ruling::No(_) => true,
            Ruling::Isolated(_) | Ruling::Silent(_) => round.everybody_asked,
        };
        Self {
            majority_at: if majority { Some(now) } else { self.majority_at },
            fresh_at: if fresh { Some(now) } else { self.fresh_at },
            evaluated_at: Some(now),
            restored_until: self.restored_until.filter(|_| !conclusive),
            ..self
        }
    }
}
