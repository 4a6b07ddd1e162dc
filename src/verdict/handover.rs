//! Condition 8b of rule R: whether every other data node has given way to this candidate, so that
//! nothing needs to settle.
//!
//! A node Y that rule R confirms (conditions 1 to 7) is READY either once the confirmation has settled
//! (8a) or once, for *each* other row X of Y's own table that is no witness, there is evidence that may
//! still be used, was asked for after Y's own server had been seen out of recovery, and is certainly of
//! X itself:
//!
//! * (R) X's server answered that it is in recovery, to Y or to X's own rolecall, which told Y when; or
//! * (Q) X's rolecall released ([`crate::look::release`]): its server is gone, it claims nothing, and no HAProxy
//!   can remember a READY of it any more; and X's server, if it answers all the same, takes no writes;
//!
//! and (T) this process has watched Y's table for `settle`, and no data node has left it meanwhile.
//!
//! # Why two nodes never take writes
//! Let `L` be an answer's life, `M` how long an HAProxy remembers a word, `S >= L + M` the settling, and
//! let X and Y both be out of recovery with a READY that some HAProxy still believes, at one moment `t`:
//! by words `x <= y <= t <= x + M`.
//!
//! 1. *Y by 8a.* If X is by 8a too, their majorities of the same rows meet in a voter that left X at some
//!    `v`, with `x < v + L`, and Y's confirmation began after `v`: `y >= v + S > x - L + S >= x + M`. If X
//!    is by 8b, its evidence about Y was asked for at some `s > x - L`. By (R) Y was in recovery then, by
//!    (Q) it had no confirmation: Y's began after `s`, so again `y >= s + S > x + M`.
//! 2. *Y by 8b*, with evidence about X of some `s` in `(y - L, y]`, after Y's candidacy had begun. By (Q)
//!    what X said before `s` has ended by `s`, for it was last said more than `M` earlier. A later word
//!    of X rests on a confirmation that began after `s`: by 8a `x >= s + S > y`; by 8b on evidence
//!    about Y that is younger than X's candidacy, which is younger than `s`, when Y was out of recovery (no
//!    R) and a candidate (no Q). By (R) X was in recovery at `s`, so it was promoted in `(s, t]`, and a
//!    word after that is as before; an older word would need X to have been READY, demoted, seen in
//!    recovery and promoted again within `M`, which nobody does.
//! 3. (T) makes X a row of Y's table at that moment, and Y one of X's.
//!
//! 8b never lifts conditions 1 to 7: the majority stands behind the candidate in any case.

use std::collections::BTreeMap;

use crate::look::repmgr::{NodeId, Registered, Row};
use crate::look::role::Role;
use crate::look::snapshot::{Heard, SourceFacts, heard, usable};
use crate::look::stamp::Stamp;
use crate::verdict::policy::{Electorate, Policy};
use crate::verdict::quorum::{self, Round};
use crate::verdict::trust::each_source;
use crate::verdict::vote::is_that_node;

/// How another data node gave way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// (R): it answered that it is in recovery, to this node or to its own rolecall.
    InRecovery,
    /// (Q): its rolecall released.
    Released,
}

impl Way {
    /// In words, for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InRecovery => "has given way: its server is in recovery",
            Self::Released => "has given way: its rolecall has confirmed it",
        }
    }
}

/// Whether 8b holds for every repmgr source of a node that is confirmed now. False where there is none:
/// nothing has to settle then.
pub fn complete(now: Stamp, sources: &[SourceFacts], policy: &Policy) -> bool {
    let mut of_repmgr = each_source(sources, policy)
        .filter_map(|(trust, source)| trust.electorate.as_ref().zip(source))
        .peekable();
    of_repmgr.peek().is_some()
        && of_repmgr.all(|(electorate, facts)| {
            let settled = |since: Stamp| since.plus(policy.settle) <= now;
            facts.table_since.is_some_and(settled) && everybody(now, facts, electorate)
        })
}

/// Whether there is evidence about each other data node of the own table.
fn everybody(now: Stamp, facts: &SourceFacts, electorate: &Electorate) -> bool {
    let Some((own, me)) = candidate(facts) else { return false };
    let round = quorum::rule(now, facts, electorate);
    let mut data = own.said.table.iter().filter(|row| is_other_data(row, me));
    data.all(|row| of(now, facts, electorate, &round, own, row).is_some())
}

/// How each other data node of the own table has given way to this candidate, for those who have.
pub fn ways(
    now: Stamp,
    facts: &SourceFacts,
    electorate: &Electorate,
    round: &Round,
) -> BTreeMap<NodeId, Way> {
    let Some((own, me)) = candidate(facts) else { return BTreeMap::new() };
    let data = own.said.table.iter().filter(|row| is_other_data(row, me));
    data.filter_map(|row| Some((row.id, of(now, facts, electorate, round, own, row)?))).collect()
}

fn candidate(facts: &SourceFacts) -> Option<(Heard<'_>, NodeId)> {
    let own = heard(&facts.own)?;
    Some((own, own.said.me?))
}

fn is_other_data(row: &Row, me: NodeId) -> bool {
    row.id != me && row.registered != Registered::Witness
}

fn of(
    now: Stamp,
    facts: &SourceFacts,
    electorate: &Electorate,
    round: &Round,
    own: Heard<'_>,
    row: &Row,
) -> Option<Way> {
    let since = facts.writable_since?;
    if round.peers.get(&row.id)?.is_contrary() {
        return None;
    }
    let answer = facts.peers.get(&row.id).and_then(|peer| usable(peer, now, electorate.life));
    if let Some(peer) = answer.filter(|peer| peer.began > since) {
        let certain = peer.said.local_id == Some(row.id) && is_that_node(row, peer, own);
        if certain && peer.seen.role == Some(Role::Replica) {
            return Some(Way::InRecovery);
        }
    }
    let (asked, release) = facts.releases.get(&row.id)?;
    let young = *asked > since && now.since(*asked) < electorate.life;
    let release = release.as_ref().filter(|_| young)?;
    // Its look began that long before the answer, so no earlier than that long before the question.
    let follows = release.in_recovery(row.id, &own.said.system, own.seen.timeline);
    if follows
        .is_some_and(|age| asked.since(since) > age && now.since(*asked) + age < electorate.life)
    {
        return Some(Way::InRecovery);
    }
    release.lets(row.id, &own.said.system, own.seen.timeline).then_some(Way::Released)
}
