//! The decision: facts, policy and the present moment in, one verdict out.
//!
//! Pure and total: no clock, no I/O, computed when somebody asks. Contrary evidence is a no and
//! acts at once; missing evidence is silent, and the last yes then stands for a bounded time.

use std::time::Duration;

use crate::clock::Stamp;
use crate::observation::{Observation, Replay};
use crate::policy::{Hysteresis, LagLimit, OnLag, Policy, Trust};
use crate::reason::Reason;
use crate::role::{Role, Timeline};
use crate::snapshot::{NodeFacts, Snapshot};

/// All the memory a verdict has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Since when the sources have said yes without a break.
    pub yes_since: Option<Stamp>,
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

/// Judges a node for the service called `name`; a service the facts do not know yet is unknown.
pub fn judge(now: Stamp, facts: &NodeFacts, name: &str) -> Verdict {
    match facts.service(name) {
        Some(service) => decide(now, &facts.sources, service.standing, &service.policy),
        None => Verdict {
            state: State::Unknown,
            reason: Reason::NoLookYet,
            until: None,
            timeline: None,
            seen: None,
        },
    }
}

/// Judges a node by all its sources: any no is no, else any silence is unknown, else it is ready
/// once the yes has settled.
pub fn decide(now: Stamp, sources: &[Snapshot], standing: Standing, policy: &Policy) -> Verdict {
    let good = || sources.iter().filter_map(Snapshot::good);
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
        let expires = expiry(source, *trust);
        match finding(now, source, *trust, standing, policy) {
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
            Some(moment) if moment <= now => verdict(State::Ready, Reason::Serves(role), until),
            moment => {
                let until = [until, moment].into_iter().flatten().min();
                verdict(State::NotReady, Reason::Settling, until)
            }
        },
    }
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
        before: &[Snapshot],
        after: &[Snapshot],
        policy: &Policy,
    ) -> Self {
        let stood = self.yes_since.is_some() && all_yes(now, before, self, policy);
        let next = Self { over_lag: self.over_lag_after(after, policy), ..self };
        let yes_since = match all_yes(now, after, next, policy) {
            true if stood => self.yes_since,
            true => Some(now),
            false => None,
        };
        Self { yes_since, ..next }
    }

    fn over_lag_after(self, sources: &[Snapshot], policy: &Policy) -> bool {
        let Some(Hysteresis { max, resume }) = policy.lag.and_then(|lag| lag.bytes) else {
            return false;
        };
        let mark = if self.over_lag { resume } else { max };
        sources
            .iter()
            .filter_map(|source| source.good()?.1.replay?.lag_bytes)
            .max()
            .map_or(self.over_lag, |behind| behind > mark)
    }
}

fn each_source<'a>(
    sources: &'a [Snapshot],
    policy: &'a Policy,
) -> impl Iterator<Item = (&'a Trust, Option<&'a Snapshot>)> {
    policy.trust.iter().enumerate().map(|(index, trust)| (trust, sources.get(index)))
}

fn all_yes(now: Stamp, sources: &[Snapshot], standing: Standing, policy: &Policy) -> bool {
    !policy.trust.is_empty()
        && each_source(sources, policy).all(|(trust, source)| {
            matches!(finding(now, source, *trust, standing, policy), Finding::Yes(_))
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
        && matches!(no, Reason::LagBytes(_) | Reason::LagTime(_) | Reason::LagUnknown)
}

/// The last moment at which what a source saw may be used. A failure that is itself evidence
/// stands until the next look.
fn expiry(source: Option<&Snapshot>, trust: Trust) -> Option<Stamp> {
    let source = source?;
    match evidence(source)? {
        (began, Ok(_)) => Some(began.plus(trust.limit(source.failing().is_some()))),
        (_, Err(_)) => None,
    }
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
    source: Option<&Snapshot>,
    trust: Trust,
    standing: Standing,
    policy: &Policy,
) -> Finding {
    let failure = source.and_then(Snapshot::failing).map(|(_, error)| error);
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
    let failing = failure.is_some();
    let over = now.since(began) > trust.limit(failing) || (failing && trust.hold.is_zero());
    let limit = policy.lag.filter(|_| trust.knows_lag);
    if over { silent(Reason::Stale) } else { meaning(seen, limit, standing, policy) }
}

/// What an observation means for a service.
fn meaning(
    seen: &Observation,
    limit: Option<LagLimit>,
    standing: Standing,
    policy: &Policy,
) -> Finding {
    // A server that is not running serves nobody; Patroni then leaves out the optional keys.
    if let Some(state) = &seen.not_running {
        return Finding::No(Reason::NotRunning(state.clone()));
    }
    let Some(role) = seen.role else {
        return Finding::No(Reason::NoRole);
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
    match limit.and_then(|limit| behind(seen.replay, limit, standing)) {
        Some(reason) => Finding::No(reason),
        None => Finding::Yes(role),
    }
}

/// The limit that a replica is over, if it is over one.
fn behind(replay: Option<Replay>, limit: LagLimit, standing: Standing) -> Option<Reason> {
    if let Some(Hysteresis { max, resume }) = limit.bytes {
        let Some(bytes) = replay.and_then(|replay| replay.lag_bytes) else {
            return Some(Reason::LagUnknown);
        };
        if bytes > if standing.over_lag { resume } else { max } {
            return Some(Reason::LagBytes(bytes));
        }
    }
    if let Some(most) = limit.time {
        let Some(time) = replay.and_then(|replay| replay.lag_time) else {
            return Some(Reason::LagUnknown);
        };
        if time > most {
            return Some(Reason::LagTime(time));
        }
    }
    None
}
