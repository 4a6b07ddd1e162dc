//! A source that knows no role beside one that does: what it adds, and what it never makes.

use std::time::Duration;

use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::{Observation, Replay};
use rolecall::look::patroni::Patroni;
use rolecall::look::role::Role;
use rolecall::look::snapshot::{Snapshot, SourceFacts};
use rolecall::look::stamp::Stamp;
use rolecall::verdict::decide::decide;
use rolecall::verdict::finding::confirmed;
use rolecall::verdict::policy::Pool;
use rolecall::verdict::policy::{Hysteresis, LagLimit, OnLag, Policy, Trust};
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::State;

type Look = Result<Observation, SourceError>;

fn at(ms: u64) -> Stamp {
    Stamp::new(Duration::from_millis(ms))
}

fn fails(kind: ErrorKind) -> Look {
    Err(SourceError::new(kind, "in a test"))
}

/// A node with one source for each of these, each with hold 3 s.
fn policy(role: Role, sources: usize) -> Policy {
    let trust = Trust {
        hold: Duration::from_secs(3),
        look: Duration::from_secs(2),
        knows_lag: true,
        electorate: None,
        hold_by_repmgr: false,
        lock: None,
    };
    let trust = vec![trust; sources];
    Policy { roles: vec![role], pool: Pool::default(), lag: None, settle: Duration::ZERO, trust }
}

/// The looks of each source, all begun at zero and, where there is a second one, at 1 s.
fn facts(looks: &[&[Look]]) -> Vec<SourceFacts> {
    let of = |looks: &&[Look]| {
        let mut snapshot = Snapshot::default();
        for (look, began) in looks.iter().zip([0, 1000]) {
            snapshot.record(at(began), look.clone());
        }
        SourceFacts::of(snapshot)
    };
    looks.iter().map(of).collect()
}

#[test]
fn who_answers_bears_a_role_out_and_is_none() {
    for role in [Role::Primary, Role::Replica, Role::SyncReplica, Role::StandbyLeader] {
        let yes = || -> Look { Ok(Observation::of(role)) };
        let answers = || -> Look { Ok(Observation::answers()) };
        let starting: Look =
            Ok(Observation { not_running: Some("starting up".into()), ..Observation::answers() });
        let policy = policy(role, 2);
        let said = |now: u64, port: &[Look]| {
            let sources = facts(&[&[yes(), yes()], port]);
            let verdict = decide(at(now), &sources, Standing::default(), &policy);
            (verdict.state, verdict.reason.label())
        };
        assert_eq!(said(1001, &[answers(), answers()]), (State::Ready, "serves"));
        let refused = fails(ErrorKind::PortRefused);
        assert_eq!(said(1001, &[answers(), refused]), (State::NotReady, "port_refused"));
        assert_eq!(said(1001, &[answers(), starting]), (State::NotReady, "not_running"));
        // Silence is held for as long as any other, then nothing is known.
        let silent = [answers(), fails(ErrorKind::Timeout)];
        assert_eq!(said(3000, &silent), (State::Ready, "serves"));
        assert_eq!(said(3001, &silent), (State::Unknown, "timeout"));
        assert_eq!(said(1001, &[]), (State::Unknown, "no_look_yet"));
    }
}

#[test]
fn a_port_alone_makes_nobody_ready() {
    for role in [Role::Primary, Role::Replica] {
        let policy = policy(role, 1);
        let sources = facts(&[&[Ok(Observation::answers())]]);
        let verdict = decide(at(1), &sources, Standing::default(), &policy);
        assert_eq!(verdict.state, State::Unknown);
        assert!(!confirmed(at(1), &sources, Standing::default(), &policy));
    }
    let policy = policy(Role::Primary, 2);
    let primary: Look = Ok(Observation::of(Role::Primary));
    let both = facts(&[&[primary], &[Ok(Observation::answers())]]);
    assert!(confirmed(at(1), &both, Standing::default(), &policy));
}

/// PostgreSQL cannot say how far behind a replica is whose receiver is gone; Patroni, asked with the
/// limit, can.
#[test]
fn lag_is_known_from_whoever_knows_it() {
    let limit = LagLimit {
        bytes: Some(Hysteresis { max: 100, resume: 50 }),
        time: None,
        on_lag: OnLag::Maint,
    };
    let mut policy = policy(Role::Replica, 2);
    policy.lag = Some(limit);
    policy.trust[0].knows_lag = false;
    let patroni = |over| -> Look {
        let says = Patroni { over_lag: over, ..Patroni::default() };
        Ok(Observation { patroni: Some(says), ..Observation::of(Role::Replica) })
    };
    let postgres = |bytes: Option<u64>, time: Option<u64>| -> Look {
        let (lag_bytes, lag_time) = (bytes, time.map(Duration::from_secs));
        let replay = Replay { streaming: bytes.is_some(), paused: false, lag_bytes, lag_time };
        Ok(Observation { replay: Some(replay), ..Observation::of(Role::Replica) })
    };
    let said = |policy: &Policy, one: Look, other: Look| {
        let sources = facts(&[&[one], &[other]]);
        decide(at(1), &sources, Standing::default(), policy).reason.label()
    };
    assert_eq!(said(&policy, patroni(Some(false)), postgres(None, Some(9))), "serves");
    assert_eq!(said(&policy, patroni(Some(true)), postgres(None, Some(9))), "lag_limit");
    assert_eq!(said(&policy, patroni(None), postgres(None, Some(9))), "lag_unknown");
    // Where PostgreSQL knows it, that counts as well.
    assert_eq!(said(&policy, patroni(Some(false)), postgres(Some(101), Some(0))), "lag_bytes");
    assert_eq!(said(&policy, patroni(Some(true)), postgres(Some(0), Some(0))), "lag_limit");
    // Patroni knows no time.
    policy.lag = Some(LagLimit { time: Some(Hysteresis::time(Duration::from_secs(8))), ..limit });
    assert_eq!(said(&policy, patroni(Some(false)), postgres(None, Some(8))), "serves");
    assert_eq!(said(&policy, patroni(Some(false)), postgres(None, Some(9))), "lag_time");
    assert_eq!(said(&policy, patroni(Some(false)), postgres(None, None)), "lag_unknown");
    // What Patroni said counts for as long as all that it says.
    policy.trust[0].look = Duration::ZERO;
    policy.trust[0].hold = Duration::ZERO;
    policy.lag = Some(limit);
    assert_ne!(said(&policy, patroni(Some(false)), postgres(None, Some(9))), "serves");
}
