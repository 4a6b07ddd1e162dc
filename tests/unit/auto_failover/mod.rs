//! Rule M: a node of pg_auto_failover is judged by its monitor's rows and its own server.
//!
//! [`recorded`] goes through what was recorded of real clusters, [`model`] through the states of a monitor, its keepers
//! and its operators; this file has the table of what each fact alone does.

mod model;
mod recorded;

use std::sync::Arc;
use std::time::Duration;

use rolecall::look::auto_failover::{Known, Monitored, NodeState, Row, row};
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::role::{Role, Timeline};
use rolecall::look::snapshot::{Snapshot, SourceFacts};
use rolecall::look::stamp::Stamp;
use rolecall::verdict::decide::{Verdict, decide};
use rolecall::verdict::policy::{Policy, Pool, Trust};
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::State;

/// `system_identifier` of every server here.
const SYSTEM: i64 = 7;

/// The configured `hold`, and what the monitor leaves of it.
const HOLD: Duration = Duration::from_secs(20);
const MOST_HOLD: Duration = Duration::from_secs(25);

/// Interval and timeout.
const LOOK: Duration = Duration::from_secs(2);

fn at(seconds: f64) -> Stamp {
    Stamp::new(Duration::from_secs_f64(seconds))
}

fn a_row(id: i64, reported: NodeState, goal: NodeState) -> Row {
    Row {
        id,
        name: format!("n{id}").into(),
        host: format!("10.0.0.{id}").into(),
        port: 5432,
        reported,
        goal,
        running: true,
        reported_ago: Duration::from_millis(700),
        healthy: true,
        checked_ago: Duration::from_secs(3),
        candidate: true,
        timeline: Timeline(1),
        system: Some(SYSTEM),
    }
}

fn settled(id: i64, state: NodeState) -> Row {
    a_row(id, state, state)
}

fn primary_and_secondary() -> Vec<Row> {
    vec![settled(1, NodeState::Primary), settled(2, NodeState::Secondary)]
}

/// What a look shows of node 1 that began at this moment, as the source makes it of these rows.
fn said(rows: Vec<Row>, began: Stamp) -> Monitored {
    said_of(1, rows, began)
}

/// The same of another node.
fn said_of(id: i64, rows: Vec<Row>, began: Stamp) -> Monitored {
    let me = row(&rows, id).map(|row| row.id);
    let mut known = Known::default();
    let vouched = known.hear(began, me, rows);
    let old = || SourceError::new(ErrorKind::MonitorOld, "in a test");
    Monitored {
        known,
        lost: (me.is_some() && !vouched).then(old),
        most_hold: MOST_HOLD,
        system: SYSTEM,
        followed: None,
    }
}

fn seen(role: Role, said: Monitored) -> Observation {
    Observation {
        timeline: Some(Timeline(1)),
        monitored: Some(Arc::new(said)),
        ..Observation::of(role)
    }
}

fn policy(role: Role) -> Policy {
    let trust = Trust {
        hold: HOLD,
        look: LOOK,
        knows_lag: true,
        electorate: None,
        hold_by_repmgr: false,
        lock: None,
    };
    let trust = vec![trust];
    Policy { roles: vec![role], pool: Pool::default(), lag: None, settle: Duration::ZERO, trust }
}

fn verdict(now: Stamp, began: Stamp, seen: Observation, asked: Role) -> Verdict {
    let mut snapshot = Snapshot::default();
    snapshot.record(began, Ok(seen));
    decide(now, &[SourceFacts::of(snapshot)], Standing::default(), &policy(asked))
}

/// The word for why node 1 is not READY as the primary; `None` where it is.
fn objection(change: impl FnOnce(&mut Vec<Row>, &mut Observation)) -> Option<&'static str> {
    let mut rows = primary_and_secondary();
    let mut seen = Observation { timeline: Some(Timeline(1)), ..Observation::of(Role::Primary) };
    change(&mut rows, &mut seen);
    let seen = Observation { monitored: Some(Arc::new(said(rows, at(10.0)))), ..seen };
    let verdict = verdict(at(10.1), at(10.0), seen, Role::Primary);
    (verdict.state != State::Ready).then(|| verdict.reason.label())
}

#[test]
fn each_fact_alone_takes_a_primary_out() {
    assert_eq!(objection(|_, _| ()), None);
    let mut table: Vec<(&str, Option<&str>)> = vec![
        ("single", objection(|rows, _| *rows = vec![settled(1, NodeState::Single)])),
        ("no row", objection(|rows, _| drop(rows.remove(0)))),
        ("reported", objection(|rows, _| rows[0].reported = NodeState::Secondary)),
        ("goal", objection(|rows, _| rows[0].goal = NodeState::Draining)),
        ("not running", objection(|rows, _| rows[0].running = false)),
        ("rival", objection(|rows, _| rows[1].goal = NodeState::WaitPrimary)),
        ("left behind", objection(|rows, _| rows[1].timeline = Timeline(2))),
        ("older server", objection(|rows, _| rows[0].timeline = Timeline(2))),
        ("other system", objection(|rows, _| rows[0].system = Some(8))),
        ("system not said yet", objection(|rows, _| rows[0].system = None)),
        ("in recovery", objection(|_, seen| seen.role = Some(Role::Replica))),
        ("read only", objection(|_, seen| seen.read_only = true)),
    ];
    table.push((
        "condemned, read only",
        objection(|rows, seen| {
            rows[0].reported = NodeState::StopReplication;
            rows[0].goal = NodeState::StopReplication;
            seen.read_only = true;
        }),
    ));
    let expected = [
        ("single", None),
        ("no row", Some("monitor_no_row")),
        ("reported", Some("monitor_condemned")),
        ("goal", Some("monitor_condemned")),
        ("not running", Some("monitor_not_running")),
        ("rival", Some("monitor_rival")),
        ("left behind", Some("monitor_newer_timeline")),
        ("older server", Some("monitor_other_server")),
        ("other system", Some("monitor_other_server")),
        ("system not said yet", None),
        ("in recovery", Some("other_role")),
        ("read only", Some("read_only")),
        ("condemned, read only", Some("monitor_state")),
    ];
    assert_eq!(table, expected);
}

/// Of 22 x 22 pairs of states 25 are those of a primary.
#[test]
fn both_states_must_take_writes() {
    let mut ready = 0;
    for reported in NodeState::ALL {
        for goal in NodeState::ALL {
            let rows = vec![a_row(1, *reported, *goal)];
            let seen = seen(Role::Primary, said(rows, at(1.0)));
            let yes = verdict(at(1.0), at(1.0), seen, Role::Primary).state == State::Ready;
            assert_eq!(
                yes,
                reported.takes_writes() && goal.takes_writes(),
                "{reported:?}>{goal:?}"
            );
            ready += u32::from(yes);
        }
    }
    assert_eq!(ready, 25);
}

#[test]
fn a_replica_serves_while_both_states_are_secondary() {
    for reported in NodeState::ALL {
        for goal in NodeState::ALL {
            let rows = vec![a_row(1, *reported, *goal), settled(2, NodeState::Primary)];
            let seen = seen(Role::Replica, said(rows, at(1.0)));
            let yes = verdict(at(1.0), at(1.0), seen, Role::Replica).state == State::Ready;
            assert_eq!(yes, [*reported, *goal] == [NodeState::Secondary; 2]);
        }
    }
}

/// While the monitor is lost the last yes stands for `hold`, or less where the monitor waits for less.
#[test]
fn a_lost_monitor_ends_a_yes_after_hold() {
    let lost = SourceError::new(ErrorKind::NoMonitor, "in a test");
    let state = |now: f64, change: fn(&mut Monitored)| {
        let mut said =
            Monitored { lost: Some(lost.clone()), ..said(primary_and_secondary(), at(100.0)) };
        change(&mut said);
        let verdict = verdict(at(now), at(now - 0.1), seen(Role::Primary, said), Role::Primary);
        (verdict.state, verdict.reason.label())
    };
    let ready = (State::Ready, "serves_unwatched");
    let unknown = (State::Unknown, "no_monitor");
    assert_eq!(state(120.0, |_| ()), ready);
    assert_eq!(state(120.01, |_| ()), unknown);
    let short: fn(&mut Monitored) = |said| said.most_hold = Duration::from_secs(5);
    assert_eq!((state(105.0, short), state(105.01, short)), (ready, unknown));
    // A formation of Citus leaves nothing.
    let none: fn(&mut Monitored) = |said| said.most_hold = Duration::ZERO;
    assert_eq!(state(100.2, none), unknown);
    let never: fn(&mut Monitored) = |said| said.known.vouched_at = None;
    assert_eq!(state(100.2, never), unknown);
    // What spoke against it last still does.
    let condemned: fn(&mut Monitored) = |said| {
        let mut rows = said.known.rows.to_vec();
        rows[0].goal = NodeState::DemoteTimeout;
        said.known.rows = rows.into();
    };
    assert_eq!(state(100.2, condemned), (State::NotReady, "monitor_condemned"));
}

/// With `monitor_lost = "standbys"` it goes on while each candidate was seen to follow by a look that is no older than
/// two looks may be: beside a monitor that hangs each takes its whole time.
#[test]
fn a_primary_whose_candidates_follow_goes_on() {
    let lost = SourceError::new(ErrorKind::NoMonitor, "in a test");
    let state = |followed: bool, age: f64, role: Role| {
        let said = Monitored {
            lost: Some(lost.clone()),
            followed: Some(followed),
            ..said(primary_and_secondary(), at(100.0))
        };
        let now = 10_000.0;
        verdict(at(now), at(now - age), seen(role, said), Role::Primary).state
    };
    assert_eq!(state(true, 4.0, Role::Primary), State::Ready);
    assert_eq!(state(true, 4.01, Role::Primary), State::Unknown);
    assert_eq!(state(false, 0.1, Role::Primary), State::Unknown);
    assert_eq!(state(true, 0.1, Role::Replica), State::NotReady);
}

/// A verdict says until when it stands by its monitor, too.
#[test]
fn a_verdict_ends_with_what_its_monitor_said() {
    let lost = SourceError::new(ErrorKind::NoMonitor, "in a test");
    let said = Monitored { lost: Some(lost), ..said(primary_and_secondary(), at(100.0)) };
    let verdict = verdict(at(110.0), at(110.0), seen(Role::Primary, said), Role::Primary);
    assert_eq!((verdict.state, verdict.until), (State::Ready, Some(at(120.0))));
}
