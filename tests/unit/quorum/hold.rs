//! How long an isolated primary goes on where nobody chose it: as its own repmgr.conf leaves.

use std::time::Duration;

use rolecall::look::error::ErrorKind;
use rolecall::look::role::Role;
use rolecall::look::snapshot::SourceFacts;
use rolecall::verdict::decide::decide;
use rolecall::verdict::policy::Pool;
use rolecall::verdict::policy::{Policy, Trust};
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::State;

use super::said::{LIFE, RULES, at, fails, follows, id, primary};

/// How a node is judged at `now` that was READY with fresh votes at 0 ms, and whose every look since
/// found it alone; looked at every half second. Nothing needs to settle.
fn judged(now: u64, failover_after: Option<u64>, trust: Trust) -> State {
    let mut own = primary();
    own.answer.failover_after = failover_after.map(Duration::from_secs);
    let policy = Policy {
        roles: vec![Role::Primary],
        pool: Pool::default(),
        lag: None,
        settle: Duration::ZERO,
        trust: vec![trust],
    };
    let mut facts = SourceFacts::default();
    facts.own.record(at(0), own.clone().look());
    for peer in [2, 3] {
        facts.peers.entry(id(peer)).or_default().record(at(0), follows(1).look());
    }
    let mut standing = Standing::default().fold(at(0), &[], &[facts.clone()], &policy);
    for moment in (500..=now).step_by(500) {
        let before = facts.clone();
        facts.own.record(at(moment), own.clone().look());
        for peer in [2, 3] {
            let unheard = fails(ErrorKind::Timeout);
            facts.peers.entry(id(peer)).or_default().record(at(moment), unheard);
        }
        standing = standing.fold(at(moment), &[before], &[facts.clone()], &policy);
    }
    decide(at(now), &[facts], standing, &policy).state
}

fn trust(hold_ms: u64, hold_by_repmgr: bool) -> Trust {
    Trust {
        hold: Duration::from_millis(hold_ms),
        hold_by_repmgr,
        lock: None,
        look: Duration::from_millis(LIFE),
        knows_lag: true,
        electorate: Some(RULES),
    }
}

#[test]
fn repmgrs_patience_less_five_seconds_and_fifteen_at_most() {
    for (patience, stands, over) in [(60, 14_500, 15_500), (12, 6500, 7500), (10, 4500, 5500)] {
        assert_eq!(judged(stands, Some(patience), trust(0, true)), State::Ready, "{patience}");
        assert_ne!(judged(over, Some(patience), trust(0, true)), State::Ready, "{patience}");
    }
}

#[test]
fn nothing_where_repmgr_is_quick_or_says_nothing_or_the_operator_chose() {
    assert_ne!(judged(500, Some(9), trust(0, true)), State::Ready, "too quick");
    assert_ne!(judged(500, None, trust(0, true)), State::Ready, "unknown");
    assert_ne!(judged(500, Some(60), trust(0, false)), State::Ready, "hold = 0 was chosen");
    assert_eq!(judged(2500, Some(9), trust(3000, false)), State::Ready, "hold = 3s was chosen");
    assert_ne!(judged(3500, Some(60), trust(3000, false)), State::Ready, "and no more");
}
