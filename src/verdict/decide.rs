//! The decision: facts, policy and the present moment in, one verdict out.
//!
//! Pure and total: no clock, no I/O, computed when somebody asks. Contrary evidence is a no and
//! acts at once; missing evidence is silent, and the last yes then stands for a bounded time.

use crate::look::role::{Role, Timeline};
use crate::look::snapshot::SourceFacts;
use crate::look::stamp::Stamp;
use crate::verdict::finding::{Finding, Found, each_finding};
use crate::verdict::policy::{OnLag, Policy};
use crate::verdict::reason::{Circumstance, Reason};
use crate::verdict::standing::Standing;
use crate::verdict::state::State;

/// The answer to one service's question about a node, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What is said.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// The last moment at which this is said if nothing new is seen; `None`: for ever.
    pub until: Option<Stamp>,
    /// The timeline the node was last seen on.
    pub timeline: Option<Timeline>,
    /// When the oldest look that this rests on began.
    pub seen: Option<Stamp>,
}

/// Judges a node by all its sources: any no is no, else any silence is unknown, else it is ready
/// once the yes has settled.
pub fn decide(now: Stamp, sources: &[SourceFacts], standing: Standing, policy: &Policy) -> Verdict {
    let good = || sources.iter().filter_map(|source| source.own.good());
    let verdict = |state, reason, until| Verdict {
        state,
        reason,
        until,
        timeline: good().find_map(|(_, seen)| seen.timeline),
        seen: good().map(|(began, _)| began).min(),
    };

    let mut drain = None;
    let mut silent = None;
    let mut yes = None;
    let mut as_primary = false;
    let mut until: Option<Stamp> = None;
    for Found { finding, until: expires } in each_finding(now, sources, standing, policy) {
        match finding {
            // A lag that only drains must not cover up a no that another source has to say.
            Finding::No(reason) if drains(&reason, policy) => {
                drain = drain.or(Some((reason, expires)));
            }
            Finding::No(reason) => return verdict(State::NotReady, reason, expires),
            Finding::Silent(reason) => silent = silent.or(Some(reason)),
            Finding::Answers => until = [until, expires].into_iter().flatten().min(),
            Finding::Yes(role) => {
                yes = yes.or(Some(role));
                as_primary |= role == Role::Primary;
                until = [until, expires].into_iter().flatten().min();
            }
        }
    }
    if let Some((reason, expires)) = drain {
        return verdict(State::Drain, reason, expires);
    }
    match (silent, yes) {
        (Some(reason), _) => verdict(State::Unknown, reason, None),
        (None, None) => verdict(State::Unknown, Reason::NoLookYet, None),
        // Only of primaries there must never be two.
        (None, Some(role)) if !as_primary || policy.settle.is_zero() => {
            verdict(State::Ready, serves(role, sources), until)
        }
        (None, Some(role)) => match standing.counts_from(sources, policy) {
            Some(moment) if moment <= now => verdict(State::Ready, serves(role, sources), until),
            moment => {
                let until = [until, moment].into_iter().flatten().min();
                verdict(State::NotReady, Reason::Settling, until)
            }
        },
    }
}

/// Why a node is ready, with what is unusual about it.
fn serves(role: Role, sources: &[SourceFacts]) -> Reason {
    let monitored = |source: &SourceFacts| source.own.good()?.1.monitored.clone();
    if sources.iter().filter_map(monitored).any(|said| said.lost.is_some()) {
        return Reason::ServesIn(role, Circumstance::Unwatched);
    }
    let said = sources.iter().filter_map(|source| source.own.good()?.1.patroni);
    let mut unusual = said.filter_map(|patroni| Circumstance::of(role, &patroni));
    unusual.next().map_or(Reason::Serves(role), |unusual| Reason::ServesIn(role, unusual))
}

fn drains(no: &Reason, policy: &Policy) -> bool {
    policy.lag.is_some_and(|limit| limit.on_lag == OnLag::Drain)
        && matches!(
            no,
            Reason::LagBytes(_)
                | Reason::LagTime(_)
                | Reason::LagUnknown
                | Reason::LagNotTold(_)
                | Reason::LagLimit(_)
        )
}
