//! Condition 8b at its edges: which evidence that another node has given way still counts.

use std::time::Duration;

use rolecall::look::error::ErrorKind;
use rolecall::look::release::Release;
use rolecall::look::repmgr::Registered;
use rolecall::look::role::{Role, Timeline};
use rolecall::look::snapshot::SourceFacts;
use rolecall::verdict::handover::{Way, complete, ways};
use rolecall::verdict::policy::Policy;
use rolecall::verdict::quorum::rule;

use super::said::{
    self, LIFE, Primary, RULES, SETTLE, Said, Standby, at, fails, follows, id, primary,
};

/// When the own look that first found node 1 out of recovery had finished.
const CANDIDATE: u64 = 20_000;

const ROWS: [(i32, Registered, bool); 3] =
    [(1, Primary, true), (2, Primary, false), (3, Standby, true)];

/// A service for primaries that settles.
pub fn policy() -> Policy {
    said::policy(0, &[Role::Primary])
}

/// Node 1 as a candidate that has watched its table since 0, and knows of nobody.
fn candidate() -> SourceFacts {
    let mut facts = SourceFacts::default();
    facts.record_own(at(CANDIDATE), at(CANDIDATE - 10), primary().by(&ROWS).on(2).look());
    facts.table_since = Some(at(0));
    facts
}

/// An answer in recovery of a node that knows its own number.
fn in_recovery(number: i32) -> Said {
    let mut said = follows(1).by(&ROWS).on(2);
    said.answer.local_id = Some(id(number));
    said
}

fn release(node: i32) -> Release {
    Release {
        node: id(node),
        system: "7001".into(),
        timeline: Some(Timeline(1)),
        claims: false,
        recovery: None,
        left_out: None,
        last_ready: Duration::from_secs(9),
        life: Duration::from_millis(LIFE),
        memory: Duration::from_millis(2500),
    }
}

/// The candidate, where node 2 was asked at this moment, answered that it is in recovery, and node 3 as well.
fn seen_in_recovery(asked: u64) -> SourceFacts {
    let mut facts = candidate();
    for number in [2, 3] {
        let look = in_recovery(number).look();
        facts.peers.entry(id(number)).or_default().record(at(asked), look);
    }
    facts
}

/// The candidate, where the servers of nodes 2 and 3 are gone and their rolecalls, asked at this moment,
/// have released.
fn released(asked: u64) -> SourceFacts {
    let mut facts = candidate();
    for number in [2, 3] {
        let gone = fails(ErrorKind::ServerDown);
        facts.peers.entry(id(number)).or_default().record(at(asked), gone);
        facts.releases.insert(id(number), (at(asked), Some(release(number))));
    }
    facts
}

/// The candidate, where the servers of nodes 2 and 3 do not know their own numbers yet, and their rolecalls, asked
/// at this moment, have looked at them so long before.
fn told_in_recovery(asked: u64, age: u64) -> SourceFacts {
    let mut facts = candidate();
    for number in [2, 3] {
        let unsure = follows(1).by(&ROWS).on(2).look();
        facts.peers.entry(id(number)).or_default().record(at(asked), unsure);
        let recovery = Some(Duration::from_millis(age));
        let said =
            Release { recovery, claims: true, timeline: Some(Timeline(2)), ..release(number) };
        facts.releases.insert(id(number), (at(asked), Some(said)));
    }
    facts
}

fn holds(now: u64, facts: &SourceFacts) -> bool {
    complete(at(now), std::slice::from_ref(facts), &policy())
}

/// Two candidates that ask each other at the moment of their promotions must not both go ahead.
#[test]
fn evidence_is_younger_than_the_candidacy() {
    type Evidence = fn(u64) -> SourceFacts;
    for (what, evidence) in
        [("in recovery", seen_in_recovery as Evidence), ("released", released as Evidence)]
    {
        assert!(holds(CANDIDATE + 50, &evidence(CANDIDATE + 1)), "{what}: asked afterwards");
        assert!(!holds(CANDIDATE + 50, &evidence(CANDIDATE)), "{what}: at the same moment");
        assert!(!holds(CANDIDATE + 50, &evidence(CANDIDATE - 1)), "{what}: asked before");
    }
}

/// A node may be promoted after it has given way: its evidence is a lease.
#[test]
fn evidence_is_good_for_the_life_of_an_answer() {
    let asked = CANDIDATE + 1;
    for (what, facts) in [("in recovery", seen_in_recovery(asked)), ("released", released(asked))] {
        assert!(holds(asked + LIFE - 1, &facts), "{what}: it lives");
        assert!(!holds(asked + LIFE, &facts), "{what}: too old");
    }
}

/// A server that was started again does not know its number for a second: its own rolecall does, and what that saw
/// counts from the moment of its look, which may have been before the candidacy.
#[test]
fn what_a_rolecall_saw_of_its_own_server_counts_from_its_look() {
    let asked = CANDIDATE + 200;
    assert!(holds(asked + 1, &told_in_recovery(asked, 0)));
    assert!(holds(asked + 1, &told_in_recovery(asked, 199)));
    assert!(!holds(asked + 1, &told_in_recovery(asked, 200)), "at the moment of the candidacy");
    assert!(!holds(asked + 1, &told_in_recovery(asked, u64::MAX)), "before it");
    assert!(holds(asked + LIFE - 101, &told_in_recovery(asked, 100)), "it lives");
    assert!(!holds(asked + LIFE - 100, &told_in_recovery(asked, 100)), "too old");
    let change = |change: fn(&mut Release)| {
        let mut facts = told_in_recovery(asked, 0);
        for (_, said) in facts.releases.values_mut() {
            change(said.as_mut().expect("it was said"));
        }
        holds(asked + 1, &facts)
    };
    assert!(change(|_| ()));
    assert!(!change(|said| said.recovery = None), "it claims something, and is not in recovery");
    assert!(!change(|said| said.node = id(1)), "another node's");
    assert!(!change(|said| said.timeline = Some(Timeline(3))), "on a newer timeline");
    // What the server itself says comes first.
    let mut facts = told_in_recovery(asked, 0);
    facts.peers.entry(id(2)).or_default().record(at(asked), primary().by(&ROWS).on(1).look());
    assert!(!holds(asked + 1, &facts), "it takes writes");
}

/// (T), to the millisecond.
#[test]
fn the_table_was_watched_for_settle() {
    let mut facts = seen_in_recovery(CANDIDATE + 1);
    facts.table_since = Some(at(CANDIDATE + 50 - SETTLE));
    assert!(holds(CANDIDATE + 50, &facts));
    assert!(!holds(CANDIDATE + 49, &facts));
}

/// `ask` and `status` show who has given way, and how.
#[test]
fn who_has_given_way_is_told_and_how() {
    let mut facts = released(CANDIDATE + 1);
    facts.releases.remove(&id(3));
    facts.peers.entry(id(3)).or_default().record(at(CANDIDATE + 1), in_recovery(3).look());
    let now = at(CANDIDATE + 50);
    let told = |facts: &SourceFacts| {
        let told = ways(now, facts, &RULES, &rule(now, facts, &RULES));
        told.into_iter().map(|(node, way)| (node.0, way)).collect::<Vec<_>>()
    };
    assert_eq!(told(&facts), [(2, Way::Released), (3, Way::InRecovery)]);
    facts.releases.clear();
    assert_eq!(told(&facts), [(3, Way::InRecovery)], "of node 2 nothing is known");
    assert_eq!(told(&SourceFacts::default()), [], "nobody is a candidate");
    assert_eq!(Way::InRecovery.as_str(), "has given way: its server is in recovery");
    assert_eq!(Way::Released.as_str(), "has given way: its rolecall has confirmed it");
}
