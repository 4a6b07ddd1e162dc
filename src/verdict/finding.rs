//! What one source means for one service at this moment.
//!
//! Contrary evidence is a no and acts at once; missing evidence is silent, and the last yes then stands for a
//! bounded time.

use crate::look::error::ErrorKind;
use crate::look::observation::{Observation, Replay};
use crate::look::replica;
use crate::look::role::Role;
use crate::look::snapshot::{Snapshot, SourceFacts};
use crate::look::stamp::Stamp;
use crate::verdict::policy::{Electorate, LagLimit, Policy, Trust};
use crate::verdict::pool::{self, Fit};
use crate::verdict::quorum::{self, Ruling};
use crate::verdict::reason::Reason;
use crate::verdict::standing::Standing;
use crate::verdict::trust::{candidate, each_source, evidence, hold, limit};
use crate::verdict::{lag, standby};

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

/// Whether every source that knows a role confirms the node as the primary, and the others bear it out.
pub fn confirmed(now: Stamp, sources: &[SourceFacts], standing: Standing, policy: &Policy) -> bool {
    let found = findings(now, sources, standing, policy);
    let primary = |found: &Finding| *found == Finding::Yes(Role::Primary);
    found.iter().any(primary)
        && found.iter().all(|found| primary(found) || *found == Finding::Answers)
}

/// The last moment at which what a source saw may be used. A failure that is itself evidence
/// stands until the next look.
pub fn expiry(
    now: Stamp,
    source: Option<&SourceFacts>,
    trust: &Trust,
    standing: Standing,
    policy: &Policy,
) -> Option<Stamp> {
    let source = source?;
    if let Some(electorate) = candidate(source, trust) {
        let ends = quorum::expiries(now, source, electorate);
        let hold = standing.fresh_at.map(|fresh_at| fresh_at.plus(hold(source, trust)));
        let over = [hold, standing.restored_until].into_iter().flatten().filter(|end| *end >= now);
        return ends.chain(over).min();
    }
    match evidence(&source.own)? {
        (began, Ok(seen)) => {
            let wanted = policy.pool.replication_state;
            // How it follows may end its yes before the look is too old.
            let borne = pool::following(now, seen, source, trust, wanted).ok().flatten();
            [Some(began.plus(limit(source, trust))), borne].into_iter().flatten().min()
        }
        (_, Err(_)) => None,
    }
}

/// What one source means for one service at this moment.
pub fn finding(
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
    let facts = source;
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
    let lack = seen.lack.as_ref();
    let behind = most.and_then(|most| lag::behind(replay, lack, most, standing.over_lag));
    let wanted = policy.pool.replication_state;
    let adrift = facts.and_then(|facts| pool::following(now, seen, facts, trust, wanted).err());
    let kind = replica::kind(seen).or(facts.and_then(|facts| facts.kind));
    let fit = seen.role.map(|role| pool::fit(role, kind, &policy.roles, trust.knows_lag));
    meaning(seen, fit, adrift.or(forked).or(behind), policy)
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
    let unfit = standby::unfit(seen, policy.lag.and_then(|limit| limit.time));
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
    let over = policy.lag.is_some_and(|limit| limit.bytes.is_some()) && over;
    match unfit.or(behind).or(over.then_some(Reason::LagLimit)) {
        Some(reason) => Finding::No(reason),
        None => Finding::Yes(role),
    }
}
