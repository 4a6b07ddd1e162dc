use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::look::error::{ErrorKind, SourceError};
use crate::look::patroni::Patroni;
use crate::look::replica::kind;
use crate::look::role::ROLES;
use crate::verdict::policy::{Electorate, Lock, TwoNode};
use Role::{AsyncReplica, Primary, QuorumReplica, Replica, StandbyLeader, SyncReplica};

fn second() -> Duration {
    Duration::from_secs(1)
}

fn at(seconds: u64) -> Stamp {
    Stamp::new(Duration::from_secs(1000 + seconds))
}

/// The kinds of source, as far as they differ here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Patroni,
    Repmgr,
    Postgres,
    Command,
}

fn trust(by: By) -> Trust {
    let lock = Lock { required: false, beside: second(), memory: second(), chosen: false };
    let electorate = Electorate {
        life: second(),
        memory: second(),
        two_node: TwoNode::Maint,
        trust_refused: true,
    };
    Trust {
        hold: second(),
        hold_by_repmgr: false,
        look: second(),
        knows_lag: matches!(by, By::Repmgr | By::Postgres),
        lock: (by == By::Patroni).then_some(lock),
        electorate: (by == By::Repmgr).then_some(electorate),
    }
}

/// A replica as Patroni 4.1 tells of it.
fn replica(streaming: Option<bool>) -> Observation {
    let replay = |streaming| Replay { streaming, paused: false, lag_bytes: None, lag_time: None };
    Observation {
        replay: streaming.map(replay),
        tags: Some(Arc::default()),
        patroni: Some(Patroni { version: Some((4, 1)), ..Patroni::default() }),
        ..Observation::of(Replica)
    }
}

fn says(seen: &Observation, change: impl FnOnce(&mut Patroni)) -> Observation {
    let mut patroni = seen.patroni.unwrap();
    change(&mut patroni);
    Observation { patroni: Some(patroni), ..seen.clone() }
}

#[test]
fn a_role_is_asked_for_by_its_own_word_or_by_that_of_all_replicas() {
    for (role, kind, asked, fit_by_patroni, fit_by_postgres) in [
        (Primary, None, Primary, Fit::Yes(Primary), Fit::Yes(Primary)),
        (Primary, None, Replica, Fit::No, Fit::No),
        (Replica, None, Replica, Fit::Yes(Replica), Fit::Yes(Replica)),
        (Replica, None, Primary, Fit::No, Fit::No),
        // PostgreSQL bears out what it cannot tell; Patroni itself does not know meanwhile.
        (Replica, None, AsyncReplica, Fit::Unknown, Fit::Yes(Replica)),
        (Replica, None, SyncReplica, Fit::Unknown, Fit::Yes(Replica)),
        (Replica, None, QuorumReplica, Fit::Unknown, Fit::Yes(Replica)),
        (Replica, None, StandbyLeader, Fit::No, Fit::Yes(Replica)),
        (Replica, Some(AsyncReplica), AsyncReplica, Fit::Yes(Replica), Fit::Yes(Replica)),
        (Replica, Some(AsyncReplica), SyncReplica, Fit::No, Fit::Yes(Replica)),
        // What it was before the store was lost.
        (Replica, Some(SyncReplica), SyncReplica, Fit::Yes(SyncReplica), Fit::Yes(Replica)),
        (Replica, Some(SyncReplica), AsyncReplica, Fit::No, Fit::Yes(Replica)),
        (SyncReplica, Some(SyncReplica), AsyncReplica, Fit::No, Fit::No),
        (SyncReplica, Some(SyncReplica), QuorumReplica, Fit::No, Fit::No),
        (QuorumReplica, None, SyncReplica, Fit::Yes(QuorumReplica), Fit::Yes(QuorumReplica)),
        (StandbyLeader, None, AsyncReplica, Fit::No, Fit::No),
    ] {
        let what = format!("{role}, {kind:?}, asked {asked}");
        assert_eq!(fit(role, kind, &[asked], false), fit_by_patroni, "{what}");
        assert_eq!(fit(role, kind, &[asked], true), fit_by_postgres, "{what}");
    }
}

#[test]
fn what_kind_a_replica_is_patroni_says_while_it_sees_its_store() {
    let plain = replica(None);
    for (seen, known) in [
        (plain.clone(), Some(AsyncReplica)),
        (says(&plain, |says| says.version = Some((3, 1))), Some(AsyncReplica)),
        // Versions that never say it.
        (says(&plain, |says| says.version = Some((3, 0))), None),
        (says(&plain, |says| says.version = None), None),
        (says(&plain, |says| says.unlocked = true), None),
        (Observation { patroni: None, ..plain.clone() }, None),
        (Observation { role: Some(Primary), ..plain.clone() }, None),
        (Observation { role: None, ..plain.clone() }, None),
        (Observation { role: Some(StandbyLeader), ..plain.clone() }, None),
        (
            Observation { role: Some(SyncReplica), ..says(&plain, |says| says.unlocked = true) },
            Some(SyncReplica),
        ),
        (Observation::of(QuorumReplica), Some(QuorumReplica)),
    ] {
        assert_eq!(kind(&seen), known, "{seen:?}");
    }
}

/// The kind of F10: one rule for every source, and what each of them knows.
#[test]
fn a_replica_that_streams_from_nobody_is_judged_by_one_rule() {
    use By::{Command, Patroni, Postgres, Repmgr};
    use ReplicationState::{Any, Streaming, Usual};
    let out = Some("not_streaming");
    let (streams, stands, silent) = (replica(Some(true)), replica(Some(false)), replica(None));
    let unlocked = says(&stands, |says| says.unlocked = true);
    let kept = |value: &str| {
        let tags = [("nostream".to_owned(), value.to_owned())].into_iter().collect();
        Observation { tags: Some(Arc::new(tags)), ..stands.clone() }
    };
    let leader = Observation { role: Some(StandbyLeader), ..stands.clone() };
    let sync = Observation { role: Some(SyncReplica), ..stands.clone() };
    for (seen, usual, strict) in [
        (streams, None, None),
        (stands.clone(), out, out),
        (sync, out, out),
        // In archive recovery because nobody leads, or because the operator said so.
        (unlocked, None, out),
        (kept("true"), None, out),
        (kept("false"), out, out),
        (silent, None, Some("stream_unknown")),
        // Whom no rule is about.
        (leader, None, None),
        (Observation { role: Some(Primary), ..stands.clone() }, None, None),
        (Observation { role: None, ..stands.clone() }, None, None),
    ] {
        for by in [Patroni, Repmgr, Postgres, Command] {
            let never = SourceFacts::default();
            let label = |wanted| {
                following(at(0), &seen, &never, &trust(by), wanted).err().map(|no| no.label())
            };
            // PostgreSQL alone does not know whether there is anybody to stream from, a command nothing.
            let judges = matches!(by, Patroni | Repmgr);
            assert_eq!(label(Usual), usual.filter(|_| judges), "{by:?}: {seen:?}");
            let knows = by != Command || seen.replay.is_some();
            assert_eq!(label(Streaming), strict.filter(|_| knows), "{by:?}: {seen:?}");
            assert_eq!(label(Any), None, "{by:?}: {seen:?}");
        }
    }
}

/// One life of a replica: what a look at each second showed, and whether it may serve then.
fn life(looks: &[(u64, Result<Observation, SourceError>)]) -> SourceFacts {
    let mut facts = SourceFacts::default();
    for (second, look) in looks {
        facts.record_own(at(*second), at(*second), look.clone());
    }
    facts
}

fn judged(facts: &SourceFacts, second: u64) -> Result<Option<Stamp>, &'static str> {
    let (_, seen) = facts.own.good().expect("a look");
    let usual = ReplicationState::Usual;
    let judged = following(at(second), seen, facts, &trust(By::Patroni), usual);
    judged.map_err(|reason| reason.label())
}

#[test]
fn who_streamed_may_lose_its_stream_for_a_minute() {
    let lost = life(&[
        (0, Ok(replica(Some(true)))),
        (1, Ok(replica(Some(false)))),
        (2, Ok(replica(Some(false)))),
    ]);
    assert_eq!(
        judged(&lost, 60),
        Ok(Some(at(60))),
        "the minute begins with the last look that saw it stream"
    );
    assert_eq!(judged(&lost, 61), Err("not_streaming"));
    let fails = Err(SourceError::new(ErrorKind::Timeout, "hung"));
    let again = life(&[(0, Ok(replica(Some(true)))), (30, fails), (31, Ok(replica(Some(true))))]);
    assert_eq!(judged(&again, 200), Ok(None));
    // While nobody leads the minute has not begun.
    let alone = says(&replica(Some(false)), |says| says.unlocked = true);
    let failover =
        life(&[(0, Ok(replica(Some(true)))), (50, Ok(alone)), (51, Ok(replica(Some(false))))]);
    assert_eq!(judged(&failover, 110), Ok(Some(at(110))));
    assert_eq!(judged(&failover, 111), Err("not_streaming"));
}

#[test]
fn who_never_streamed_since_it_was_a_primary_has_no_minute() {
    let first = life(&[(0, Ok(replica(Some(false))))]);
    assert_eq!(judged(&first, 0), Err("not_streaming"));
    let primary = Observation { role: Some(Primary), ..replica(None) };
    let demoted =
        life(&[(0, Ok(replica(Some(true)))), (1, Ok(primary)), (2, Ok(replica(Some(false))))]);
    assert_eq!(judged(&demoted, 2), Err("not_streaming"));
}

#[test]
fn a_kind_is_remembered_while_the_node_is_a_replica() {
    let sync = Observation { role: Some(SyncReplica), ..replica(None) };
    let lost = says(&replica(None), |says| says.unlocked = true);
    let primary = Observation { role: Some(Primary), ..lost.clone() };
    let kind = |looks: &[&Observation]| {
        let looks: Vec<_> = (0..).zip(looks.iter().map(|seen| Ok((*seen).clone()))).collect();
        life(&looks).kind
    };
    assert_eq!(kind(&[&lost]), None);
    assert_eq!(kind(&[&sync, &lost]), Some(SyncReplica));
    assert_eq!(kind(&[&sync, &lost, &replica(None)]), Some(AsyncReplica));
    assert_eq!(kind(&[&sync, &primary, &lost]), None);
}

fn any_role() -> impl Strategy<Value = Role> {
    prop::sample::select(ROLES.to_vec())
}

proptest! {
    /// Whatever is asked, another role beside it takes nobody out, and a source that knows less keeps nobody out
    /// whom another one takes.
    #[test]
    fn more_roles_take_more_nodes(
        role in any_role(),
        kind in prop::option::of(prop::sample::select(vec![SyncReplica, QuorumReplica, AsyncReplica])),
        asked in prop::collection::vec(any_role(), 1..4),
        more in any_role(),
    ) {
        let yes = |fit: Fit| matches!(fit, Fit::Yes(_));
        let wider: Vec<Role> = asked.iter().copied().chain([more]).collect();
        for alone in [false, true] {
            let fits = fit(role, kind, &asked, alone);
            prop_assert!(!yes(fits) || yes(fit(role, kind, &wider, alone)));
            if yes(fits) && !alone {
                prop_assert!(yes(fit(role, kind, &asked, true)));
            }
            // Who takes every replica asks for no kind.
            if asked.contains(&Replica) {
                prop_assert!(fits != Fit::Unknown);
            }
        }
    }
}
