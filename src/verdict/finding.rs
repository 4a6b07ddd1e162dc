//! What one source means for one service at this moment.
//!
//! Contrary evidence is a no and acts at once; missing evidence is silent, and the last yes then stands for a
//! bounded time.

use crate::look::auto_failover::Monitored;
use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::{Observation, Replay};
use crate::look::replica;
use crate::look::role::Role;
use crate::look::snapshot::SourceFacts;
use crate::look::stamp::Stamp;
use crate::verdict::policy::{Electorate, LagLimit, Policy, Trust};
use crate::verdict::pool::{self, Fit};
use crate::verdict::quorum::{self, Ruling};
use crate::verdict::reason::Reason;
use crate::verdict::standing::Standing;
use crate::verdict::trust::{candidate, each_source, evidence, hold, limit};
use crate::verdict::{lag, monitor, standby};

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

/// A finding, and for how long it can be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the source means.
    pub finding: Finding,
    /// The last moment at which what the source saw may be used; `None`: nothing was seen that ends by itself. A
    /// failure that is itself evidence stands until the next look.
    pub until: Option<Stamp>,
}

/// What each source means at this moment, in their order, and until when.
pub(crate) fn each_finding<'a>(
    now: Stamp,
    sources: &'a [SourceFacts],
    standing: Standing,
    policy: &'a Policy,
) -> impl Iterator<Item = Found> {
    each_source(sources, policy).map(move |(trust, source)| match source {
        Some(source) => Case { now, sources, source, trust, standing, policy }.found(),
        None => Found { finding: Finding::Silent(Reason::NoLookYet), until: None },
    })
}

/// What each source means at this moment, in their order.
pub fn findings(
    now: Stamp,
    sources: &[SourceFacts],
    standing: Standing,
    policy: &Policy,
) -> Vec<Finding> {
    each_finding(now, sources, standing, policy).map(|found| found.finding).collect()
}

/// Whether every source that knows a role confirms the node as the primary, and the others bear it out.
pub fn confirmed(now: Stamp, sources: &[SourceFacts], standing: Standing, policy: &Policy) -> bool {
    let found = findings(now, sources, standing, policy);
    let primary = |found: &Finding| *found == Finding::Yes(Role::Primary);
    found.iter().any(primary)
        && found.iter().all(|found| primary(found) || *found == Finding::Answers)
}

/// One source of a node, to be judged for one service at one moment.
#[derive(Clone, Copy)]
struct Case<'a> {
    now: Stamp,
    /// All sources of the node.
    sources: &'a [SourceFacts],
    /// This one.
    source: &'a SourceFacts,
    trust: &'a Trust,
    standing: Standing,
    policy: &'a Policy,
}

impl<'a> Case<'a> {
    fn found(self) -> Found {
        let Self { now, source, trust, .. } = self;
        if let Some(electorate) = candidate(source, trust) {
            let until = self.ruled_until(electorate);
            return Found { finding: self.ruled(electorate), until };
        }
        match evidence(&source.own) {
            Some((began, Ok(seen))) => {
                let wanted = self.policy.pool.replication_state;
                let follows = pool::following(now, seen, source, trust, wanted);
                // How it follows may end its yes before the look is too old.
                let borne = follows.as_ref().ok().copied().flatten();
                let until =
                    [Some(began.plus(limit(source, trust))), borne, self.watched_until(seen)];
                let finding =
                    self.no_body().unwrap_or_else(|| self.shown(began, seen, follows.err()));
                Found { finding, until: until.into_iter().flatten().min() }
            }
            Some((_, Err(reason))) => Found { finding: Finding::No(reason), until: None },
            None => {
                let finding = self.no_body().unwrap_or_else(|| self.silent(Reason::NoLookYet));
                Found { finding, until: None }
            }
        }
    }

    fn failure(self) -> Option<&'a SourceError> {
        self.source.own.failing().map(|(_, error)| error)
    }

    /// Silent because looks fail; where they do not, because of this.
    fn silent(self, otherwise: Reason) -> Finding {
        let failed = self.failure().map(|error| Reason::Failed(error.clone()));
        Finding::Silent(failed.unwrap_or(otherwise))
    }

    /// For primaries: Patroni said that it is no leader, and nothing else that can be read.
    fn no_body(self) -> Option<Finding> {
        let said = self.failure().filter(|error| error.kind == ErrorKind::NoBody)?;
        let for_primaries = self.policy.roles.contains(&Role::Primary);
        for_primaries.then(|| Finding::No(Reason::Failed(said.clone())))
    }

    /// What the last good look means; `adrift`: why a replica does not follow as it must.
    fn shown(self, began: Stamp, seen: &Observation, adrift: Option<Reason>) -> Finding {
        let Self { now, sources, source, trust, standing, policy } = self;
        let limit = limit(source, trust);
        if now.since(began) > limit || (self.failure().is_some() && limit.is_zero()) {
            return self.silent(Reason::Stale);
        }
        if let (Some(patroni), Some(lock)) = (&seen.patroni, trust.lock)
            && seen.leader == Some(true)
            && patroni.lockless()
        {
            if lock.required {
                return Finding::No(Reason::NoLock);
            }
            // Two may say that they lead, and of these only one had the lock when there was one.
            if source.holder == Some(false) {
                return Finding::No(Reason::NotHolder);
            }
        }
        if let Some(said) = &seen.monitored
            && seen.role.is_some_and(|role| self.asks_for(role))
            && let Some(finding) = self.monitored(began, seen, said)
        {
            return finding;
        }
        let replay = lag::replay(now, source, trust);
        let most = policy.lag.filter(|_| trust.knows_lag).map(|most| match replay {
            Some(Replay { lag_bytes: Some(_), .. }) => most,
            _ if patroni_knows_lag(now, sources, policy) => LagLimit { bytes: None, ..most },
            _ => most,
        });
        let lack = seen.lack.as_ref();
        let behind = most.and_then(|most| lag::behind(replay, lack, most, standing.over_lag));
        let kind = replica::kind(seen).or(source.kind);
        let fit = seen.role.map(|role| pool::fit(role, kind, &policy.roles, trust.knows_lag));
        meaning(seen, fit, adrift.or_else(|| lag::forked(now, source, trust)).or(behind), policy)
    }

    /// Whether the service takes servers of this role, as PostgreSQL tells it.
    fn asks_for(self, role: Role) -> bool {
        let Self { policy, trust, .. } = self;
        pool::fit(role, None, &policy.roles, trust.knows_lag) != Fit::No
    }

    /// What rule M says against the node, or that nobody vouches for it any more.
    fn monitored(self, began: Stamp, seen: &Observation, said: &Monitored) -> Option<Finding> {
        let role = seen.role?;
        if let Err(objection) = monitor::objects(said, role, seen.timeline, seen.read_only) {
            return Some(Finding::No(Reason::Monitor(objection)));
        }
        let stands = self.vouched_until(said).is_some_and(|until| self.now <= until);
        // That they follow is no older than two looks, which a silent monitor makes as long as they may be: a candidate
        // leaves before it is promoted.
        let young = self.now.since(began) <= 2 * self.trust.look;
        let goes_on = young && role == Role::Primary && said.followed == Some(true);
        (!stands && !goes_on).then(|| self.silent(Reason::Failed(monitor::unvouched(said))))
    }

    /// Until when what the monitor said last may be used.
    fn vouched_until(self, said: &Monitored) -> Option<Stamp> {
        let hold = hold(self.source, self.trust);
        let most = if said.lost.is_some() { hold } else { hold.max(self.trust.look) };
        Some(said.known.vouched_at?.plus(most))
    }

    /// The same, where the yes ends by it.
    fn watched_until(self, seen: &Observation) -> Option<Stamp> {
        let said = seen.monitored.as_deref()?;
        self.vouched_until(said).filter(|until| *until >= self.now)
    }

    /// What rule R means for a service: only a service for primaries may have its yes.
    fn ruled(self, electorate: &Electorate) -> Finding {
        let Self { now, sources, source, trust, standing, policy } = self;
        if !policy.roles.contains(&Role::Primary) {
            return Finding::No(Reason::OtherRole(Role::Primary));
        }
        let round = quorum::rule(now, source, electorate);
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
                if standing.goes_on(now, hold(source, trust), sources, policy, electorate) =>
            {
                Finding::Yes(Role::Primary)
            }
            Ruling::Isolated(reason) | Ruling::Silent(reason) => Finding::Silent(reason),
        }
    }

    /// When the answers that rule R counts, or the word that goes on without them, end at the soonest.
    fn ruled_until(self, electorate: &Electorate) -> Option<Stamp> {
        let Self { now, source, trust, standing, .. } = self;
        let ends = quorum::expiries(now, source, electorate);
        let hold = standing.fresh_at.map(|fresh_at| fresh_at.plus(hold(source, trust)));
        let over = [hold, standing.restored_until].into_iter().flatten().filter(|end| *end >= now);
        ends.chain(over).min()
    }
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

/// What an observation means for a service; `fit`: whether its role is asked for, where it has one; `behind`: what
/// keeps a replica from showing what its primary has.
fn meaning(
    seen: &Observation,
    fit: Option<Fit>,
    behind: Option<Reason>,
    policy: &Policy,
) -> Finding {
    // A server that is not running serves nobody; Patroni then leaves out the optional keys.
    if let Some(state) = &seen.not_running {
        return Finding::No(Reason::NotRunning(state.clone()));
    }
    if seen.answers {
        return Finding::Answers;
    }
    let unfit =
        standby::unfit(seen, policy.lag.and_then(|limit| limit.time).map(|limit| limit.max));
    let (Some(role), Some(fit)) = (seen.role, fit) else {
        return Finding::No(unfit.unwrap_or(Reason::NoRole));
    };
    let role = match fit {
        Fit::Yes(role) => role,
        Fit::No => return Finding::No(Reason::OtherRole(role)),
        Fit::Unknown => return Finding::Silent(Reason::KindUnknown),
    };
    // As Patroni's own API has it, the tags of a pool hold for a primary that is taken into it, too.
    let other_tag = seen.tags.as_ref().and_then(|tags| policy.pool.tags.unmet_by(tags));
    if let Some(unmet) = other_tag {
        return Finding::No(Reason::OtherTag(unmet));
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
    let over = policy.lag.and_then(|limit| limit.bytes).filter(|_| over);
    match unfit.or(behind).or(over.map(Reason::LagLimit)) {
        Some(reason) => Finding::No(reason),
        None => Finding::Yes(role),
    }
}
