//! The decision: facts, policy and the present moment in, one verdict out.
//!
//! Pure and total: no clock, no I/O, computed when somebody asks. Contrary evidence is a no and
//! acts at once; missing evidence is silent, and the last yes then stands for a bounded time.

use std::time::Duration;

use crate::clock::Stamp;
use crate::lag;
use crate::observation::{ErrorKind, Observation};
use crate::policy::{OnLag, Policy, Trust};
use crate::quorum::{self, Electorate, Ruling};
use crate::reason::{Circumstance, Reason};
use crate::role::{Role, Timeline};
use crate::snapshot::{Snapshot, SourceFacts};
use crate::standby;

/// All the memory a verdict has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Since when the sources have said yes without a break.
    pub yes_since: Option<Stamp>,
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

/// What one source means for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The node may serve.
    Yes(Role),
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
    let mut until: Option<Stamp> = None;
    for (trust, source) in each_source(sources, policy) {
        let expires = expiry(now, source, trust, standing);
        match finding(now, source, trust, standing, policy) {
            // A lag that only drains must not cover up a no that another source has to say.
            Finding::No(reason) if drains(&reason, policy) => {
                drain = drain.or(Some((reason, expires)));
            }
            Finding::No(reason) => return verdict(State::NotReady, reason, expires),
            Finding::Silent(reason) => silent = silent.or(Some(reason)),
            Finding::Yes(role) => {
                yes = yes.or(Some(role));
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
        (None, Some(role)) => match settled_at(standing, policy) {
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
    let mut unusual = said.filter_map(|patroni| Circumstance::of(&patroni));
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
        finding(now, source, trust, standing, policy)
    };
    each_source(sources, policy).map(found).collect()
}

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
        let stood = self.yes_since.is_some() && (restored || all_yes(now, before, self, policy));
        let over_lag = lag::over(now, after, policy, self.over_lag);
        let mut next = Self { over_lag, ..self };
        for (trust, source) in each_source(after, policy) {
            if let Some((electorate, facts)) = trust.electorate.as_ref().zip(source) {
                next = next.evaluated(now, facts, electorate);
            }
        }
        let yes_since = match all_yes(now, after, next, policy) {
            true if stood => self.yes_since,
            true => Some(now),
            false => None,
        };
        Self { yes_since, ..next }
    }

    /// Notes what an evaluation of the rule says of contact, and whether it ends a restored word.
    fn evaluated(self, now: Stamp, facts: &SourceFacts, electorate: &Electorate) -> Self {
        let round = quorum::rule(now, facts, electorate);
        let fresh = round.ruling == Ruling::Yes { fresh: true };
        let conclusive = match round.ruling {
            Ruling::Yes { .. } | Ruling::No(_) => true,
            Ruling::Isolated(_) | Ruling::Silent(_) => round.everybody_asked,
        };
        Self {
            fresh_at: if fresh { Some(now) } else { self.fresh_at },
            evaluated_at: Some(now),
            restored_until: self.restored_until.filter(|_| !conclusive),
            ..self
        }
    }

    /// Whether a node that cannot count a majority now may go on as the primary: it was READY when a
    /// majority last attested contact with it, that is not longer ago than `hold`, and the rule has
    /// been evaluated without a pause.
    fn goes_on(
        self,
        now: Stamp,
        hold: Duration,
        settle: Duration,
        electorate: &Electorate,
    ) -> bool {
        let evaluated = self.evaluated_at.is_some_and(|at| now.since(at) <= electorate.life);
        let known = self.yes_since.zip(self.fresh_at).is_some_and(|(since, fresh_at)| {
            fresh_at >= since.plus(settle) && now < fresh_at.plus(hold)
        });
        let restored = self.restored_until.is_some_and(|until| now < until);
        (evaluated && known) || restored
    }
}

fn each_source<'a>(
    sources: &'a [SourceFacts],
    policy: &'a Policy,
) -> impl Iterator<Item = (&'a Trust, Option<&'a SourceFacts>)> {
    policy.trust.iter().enumerate().map(|(index, trust)| (trust, sources.get(index)))
}

fn all_yes(now: Stamp, sources: &[SourceFacts], standing: Standing, policy: &Policy) -> bool {
    !policy.trust.is_empty()
        && each_source(sources, policy).all(|(trust, source)| {
            matches!(finding(now, source, trust, standing, policy), Finding::Yes(_))
        })
}

fn settled_at(standing: Standing, policy: &Policy) -> Option<Stamp> {
    if policy.settle.is_zero() {
        return Some(Stamp::new(Duration::ZERO));
    }
    standing.yes_since.map(|since| since.plus(policy.settle))
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
/// cluster what its repmgr.conf leaves; for a leader of Patroni's no longer than its lock, and not at
/// all where no lock stands behind it.
fn hold(source: &SourceFacts, trust: &Trust) -> Duration {
    let leader = source.own.good().filter(|(_, seen)| seen.role == Some(Role::Primary));
    if let (Some(patroni), Some(lock)) = (leader.and_then(|(_, seen)| seen.patroni), trust.lock) {
        return match patroni.span {
            _ if patroni.failsafe || patroni.lockless() => Duration::ZERO,
            Some(span) => trust.hold.min(lock.most_hold(span)),
            None => trust.hold,
        };
    }
    let told = source.own.good().and_then(|(_, seen)| seen.repmgr.as_ref()?.failover_after);
    told.filter(|_| trust.hold_by_repmgr).map_or(trust.hold, quorum::usual_hold)
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
    source: Option<&SourceFacts>,
    trust: &Trust,
    standing: Standing,
    policy: &Policy,
) -> Finding {
    if let Some(electorate) = source.and_then(|source| candidate(source, trust)) {
        return ruled(now, source, trust, standing, policy, electorate);
    }
    let replay = source.and_then(|source| lag::replay(now, source, trust));
    let forked = source.and_then(|source| lag::forked(now, source, trust));
    let limit = source.map(|source| limit(source, trust)).unwrap_or_default();
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
        && lock.required
        && seen.leader == Some(true)
        && patroni.lockless()
    {
        return Finding::No(Reason::NoLock);
    }
    let most = policy.lag.filter(|_| trust.knows_lag);
    let behind = most.and_then(|most| lag::behind(replay, most, standing.over_lag));
    meaning(seen, forked.or(behind), policy)
}

/// What rule R means for a service: only a service for primaries may have its yes.
fn ruled(
    now: Stamp,
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
    match quorum::rule(now, facts, electorate).ruling {
        Ruling::Yes { .. } => Finding::Yes(Role::Primary),
        Ruling::No(reason) => Finding::No(reason),
        Ruling::Isolated(_) | Ruling::Silent(_)
            if standing.goes_on(now, hold(facts, trust), policy.settle, electorate) =>
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
