//! The decision: facts, policy and the present moment in, one verdict out.
//!
//! Pure and total: no clock, no I/O, computed when somebody asks. Contrary evidence is a no and
//! acts at once; missing evidence is silent, and the last yes then stands for a bounded time.

use std::time::Duration;

use crate::host::clock::Stamp;
use crate::look::observation::{ErrorKind, Observation, Replay};
use crate::verdict::lag;

use crate::facts::{Snapshot, SourceFacts};
use crate::look::role::{Role, Timeline};
use crate::verdict::policy::{LagLimit, OnLag, Policy, Trust};
use crate::verdict::quorum::{self, Electorate, Ruling};
use crate::verdict::reason::{Circumstance, Reason};
use crate::verdict::standby;

pub use crate::verdict::standing::Standing;

/// What one source means for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The node may serve.
    Yes(Role),
    /// Nothing speaks against it, and for it neither: the source knows no role.
    Answers,
    /// It may not: contrary evidence.
    No(Reason),
    /// Evidence is missing.
    Silent(Reason),
}

/// What is said about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Send traffic here.
    Ready,
    /// Keep the sessions, send no new ones.
    Drain,
    /// Send no traffic here.
    NotReady,
    /// Nothing that may be used is known; send no traffic here.
    Unknown,
}

impl State {
    /// The word for this state in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::NotReady => "not_ready",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

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
    for (trust, source) in each_source(sources, policy) {
        let expires = expiry(now, source, trust, standing);
        match finding(now, sources, source, trust, standing, policy) {
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
    let said = sources.iter().filter_map(|source| source.own.good()?.1.patroni);
    let mut unusual = said.filter_map(|patroni| Circumstance::of(role, &patroni));
    unusual.next().map_or(Reason::Serves(role), |unusual| Reason::ServesIn(role, unusual))
}

/// What each source means at this moment, in their order.
pub fn findings(
    now: Stamp,
    sources: &[SourceFacts],
    standing: Standing,
    policy: &Policy,
) -> Vec<Finding> {
    let found = |(trust, source): (&Trust, Option<&SourceFacts>)| {
        finding(now, sources, source, trust, standing, policy)
    };
    each_source(sources, policy).map(found).collect()
}

/// Each source's facts with how they are trusted; `None` where nothing is known of it yet.
pub fn each_source<'a>(
    sources: &'a [SourceFacts],
    policy: &'a Policy,
) -> impl Iterator<Item = (&'a Trust, Option<&'a SourceFacts>)> {
    policy.trust.iter().enumerate().map(|(index, trust)| (trust, sources.get(index)))
}

/// Whether every source that knows a role confirms the node as the primary, and the others bear it out.
pub fn confirmed(now: Stamp, sources: &[SourceFacts], standing: Standing, policy: &Policy) -> bool {
    let found = findings(now, sources, standing, policy);
    let primary = |found: &Finding| *found == Finding::Yes(Role::Primary);
    found.iter().any(primary)
        && found.iter().all(|found| primary(found) || *found == Finding::Answers)
}

fn drains(no: &Reason, policy: &Policy) -> bool {
    policy.lag.is_some_and(|limit| limit.on_lag == OnLag::Drain)
        && matches!(
            no,
            Reason::LagBytes(_) | Reason::LagTime(_) | Reason::LagUnknown | Reason::LagLimit
        )
}

/// The last moment at which what a source saw may be used. A failure that is itself evidence
/// stands until the next look.
fn expiry(
    now: Stamp,
    source: Option<&SourceFacts>,
    trust: &Trust,
    standing: Standing,
) -> Option<Stamp> {
    let source = source?;
    if let Some(electorate) = candidate(source, trust) {
        let ends = quorum::expiries(now, source, electorate);
        let hold = standing.fresh_at.map(|fresh_at| fresh_at.plus(hold(source, trust)));
        let over = [hold, standing.restored_until].into_iter().flatten().filter(|end| *end >= now);
        return ends.chain(over).min();
    }
    match evidence(&source.own)? {
        (began, Ok(_)) => Some(began.plus(limit(source, trust))),
        (_, Err(_)) => None,
    }
}

/// How old what a source saw may be.
fn limit(source: &SourceFacts, trust: &Trust) -> Duration {
    let hold = hold(source, trust);
    if source.own.failing().is_some() { hold } else { hold.max(trust.look) }
}

/// How long the last yes stands once looks fail: as configured; for an isolated primary of a repmgr
/// cluster what its repmgr.conf leaves; for a leader of Patroni's as long as its lock is proven to be
/// held, and not at all where no lock stands behind it.
pub fn hold(source: &SourceFacts, trust: &Trust) -> Duration {
    let leader = source.own.good().filter(|(_, seen)| seen.role == Some(Role::Primary));
    let leader = leader.and_then(|(began, seen)| Some((began, seen.patroni?)));
    if let (Some((began, says)), Some(lock)) = (leader, trust.lock) {
        return lock.hold(trust.hold, began, &says, &source.lease);
    }
    match source.own.good().and_then(|(_, seen)| seen.repmgr.as_ref()?.failover_after) {
        Some(patience) if trust.hold_by_repmgr => quorum::usual_hold(patience),
        // Whatever was chosen, it is over before repmgr can have promoted another.
        Some(patience) => trust.hold.min(quorum::most_hold(patience)),
        None => trust.hold,
    }
}

/// The rule, where it decides: for a repmgr node that was not in recovery when it last answered.
fn candidate<'a>(source: &SourceFacts, trust: &'a Trust) -> Option<&'a Electorate> {
    let (_, seen) = source.own.good()?;
    trust.electorate.as_ref().filter(|_| seen.role == Some(Role::Primary))
}

/// The newest evidence of a source: what it saw, or the failure that is itself evidence.
fn evidence(source: &Snapshot) -> Option<(Stamp, Result<&Observation, Reason>)> {
    match source.failing() {
        Some((began, error)) if error.kind.is_contrary() => {
            Some((began, Err(Reason::Failed(error.clone()))))
        }
        _ => source.good().map(|(began, seen)| (began, Ok(seen))),
    }
}

/// What one source means for one service at this moment.
fn finding(
    now: Stamp,
    sources: &[SourceFacts],
    source: Option<&SourceFacts>,
    trust: &Trust,
    standing: Standing,
    policy: &Policy,
) -> Finding {
    if let Some(electorate) = source.and_then(|source| candidate(source, trust)) {
        return ruled(now, sources, source, trust, standing, policy, electorate);
    }
    let replay = source.and_then(|source| lag::replay(now, source, trust));
    let forked = source.and_then(|source| lag::forked(now, source, trust));
    let limit = source.map(|source| limit(source, trust)).unwrap_or_default();
    let was_holder = source.and_then(|source| source.holder);
    let source = source.map(|source| &source.own);
    let failure = source.and_then(Snapshot::failing).map(|(_, error)| error);
    if let Some(error) = failure.filter(|error| error.kind == ErrorKind::NoBody)
        && policy.roles.contains(&Role::Primary)
    {
        return Finding::No(Reason::Failed(error.clone()));
    }
    let silent = |otherwise| {
        Finding::Silent(failure.map_or(otherwise, |error| Reason::Failed(error.clone())))
    };
    let Some((began, evidence)) = source.and_then(evidence) else {
        return silent(Reason::NoLookYet);
    };
    let seen = match evidence {
        Ok(seen) => seen,
        Err(reason) => return Finding::No(reason),
    };
    let over = now.since(began) > limit || (failure.is_some() && limit.is_zero());
    if over {
        return silent(Reason::Stale);
    }
    if let (Some(patroni), Some(lock)) = (&seen.patroni, trust.lock)
        && seen.leader == Some(true)
        && patroni.lockless()
    {
        if lock.required {
            return Finding::No(Reason::NoLock);
        }
        // Two may say that they lead, and of these only one had the lock when there was one.
        if was_holder == Some(false) {
            return Finding::No(Reason::NotHolder);
        }
    }
    let most = policy.lag.filter(|_| trust.knows_lag).map(|most| match replay {
        Some(Replay { lag_bytes: Some(_), .. }) => most,
        _ if patroni_knows_lag(now, sources, policy) => LagLimit { bytes: None, ..most },
        _ => most,
    });
    let behind = most.and_then(|most| lag::behind(replay, most, standing.over_lag));
    meaning(seen, forked.or(behind), policy)
}

/// Whether Patroni, asked with the limit, says of the replica whether it is over it. PostgreSQL itself
/// cannot once its receiver is gone, as it is wherever the primary is; Patroni knows from its store how far
/// the last primary came.
fn patroni_knows_lag(now: Stamp, sources: &[SourceFacts], policy: &Policy) -> bool {
    each_source(sources, policy).any(|(trust, source)| {
        let Some(source) = source else { return false };
        let Some((began, Ok(seen))) = evidence(&source.own) else { return false };
        let says = seen.patroni.is_some_and(|patroni| patroni.over_lag.is_some());
        says && now.since(began) <= limit(source, trust)
    })
}

/// What rule R means for a service: only a service for primaries may have its yes.
fn ruled(
    now: Stamp,
    sources: &[SourceFacts],
    source: Option<&SourceFacts>,
    trust: &Trust,
    standing: Standing,
    policy: &Policy,
    electorate: &Electorate,
) -> Finding {
    if !policy.roles.contains(&Role::Primary) {
        return Finding::No(Reason::OtherRole(Role::Primary));
    }
    let Some(facts) = source else { return Finding::Silent(Reason::NoLookYet) };
    let round = quorum::rule(now, facts, electorate);
    match round.ruling {
        // A node that is READY stays so, for nothing has changed for it; one that is not does not become
        // it while somebody is registered on a newer timeline: its own rows would be thrown away.
        Ruling::Yes { .. } => match round.newer_rival {
            Some(rival) if !standing.counts(now, sources, policy) => {
                Finding::No(Reason::Rival(rival))
            }
            _ => Finding::Yes(Role::Primary),
        },
        Ruling::No(reason) => Finding::No(reason),
        Ruling::Isolated(_) | Ruling::Silent(_)
            if standing.goes_on(now, hold(facts, trust), sources, policy, electorate) =>
        {
            Finding::Yes(Role::Primary)
        }
        Ruling::Isolated(reason) | Ruling::Silent(reason) => Finding::Silent(reason),
    }
}

/// What an observation means for a service; `behind`: what its
/// primary has that a replica has not.
fn meaning(seen: &Observation, behind: Option<Reason>, policy: &Policy) -> Finding {
    // A server that is not running serves nobody; Patroni then leaves out the optional keys.
    if let Some(state) = &seen.not_running {
        return Finding::No(Reason::NotRunning(state.clone()));
    }
    if seen.answers {
        return Finding::Answers;
    }
    let unfit = standby::unfit(seen, policy.lag.and_then(|limit| limit.time));
    let Some(role) = seen.role else {
        return Finding::No(unfit.unwrap_or(Reason::NoRole));
    };
    if !policy.roles.iter().any(|asked| role.fills(*asked)) {
        return Finding::No(Reason::OtherRole(role));
    }
    if role == Role::Primary {
        return match seen {
            Observation { leader: Some(false), .. } => Finding::No(Reason::NotLeader),
            Observation { read_only: true, .. } => Finding::No(Reason::ReadOnly),
            _ => Finding::Yes(role),
        };
    }
    if seen.no_load_balance {
        return Finding::No(Reason::NoLoadBalance);
    }
    let over = seen.patroni.is_some_and(|patroni| patroni.over_lag == Some(true));
    let over = policy.lag.is_some_and(|limit| limit.bytes.is_some()) && over;
    match unfit.or(behind).or(over.then_some(Reason::LagLimit)) {
        Some(reason) => Finding::No(reason),
        None => Finding::Yes(role),
    }
}
