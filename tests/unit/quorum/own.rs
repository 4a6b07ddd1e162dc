//! Conditions 1 and 2: the own answer, and how long any answer counts.

use super::said::{
    LIFE, Primary, RULES, STALE_YES, Said, Standby, Witness, YES, at, fails, follows, id, isolated,
    orphan, outvoted, primary, ruled, seen, vote, with,
};
use rolecall::look::error::ErrorKind;
use rolecall::look::repmgr::Registered;
use rolecall::look::role::Role;
use rolecall::look::snapshot::SourceFacts;
use rolecall::verdict::quorum::{Ruling, expiries, rule};
use rolecall::verdict::reason::Reason;
use rolecall::verdict::vote::Vote;

#[test]
fn a_healthy_primary_has_every_vote() {
    let round = ruled(&seen(primary(), [(2, follows(1)), (3, follows(1))]));
    assert_eq!((round.ruling, round.votes, round.electors), (YES, 3, 3));
    assert!(round.everybody_asked);
    assert_eq!(round.good_until, Some(at(LIFE)));
}

// 1. The own answer.

#[test]
fn the_own_answer_must_say_the_one_active_primary() {
    let rows = |rows: &[(i32, Registered, bool)]| primary().by(rows);
    let told = |local: i32| {
        let mut said = primary();
        said.answer.local_id = Some(id(local));
        said
    };
    let mut unknown = primary();
    unknown.answer.me = None;
    let mut read_only = primary();
    read_only.read_only = true;
    let own_row = |registered, active| Reason::OwnRow { registered, active };
    let cases = [
        (follows(2), Reason::OtherRole(Role::Replica)),
        (unknown, Reason::NodeUnknown),
        (rows(&[(2, Standby, true)]), Reason::NotRegistered(id(1))),
        (rows(&[(1, Witness, true), (2, Primary, true)]), Reason::Witness),
        (told(2), Reason::OtherNode { configured: id(1), told: id(2) }),
        (rows(&[(1, Standby, true), (2, Primary, true)]), own_row(Standby, true)),
        (rows(&[(1, Primary, false), (2, Primary, true)]), own_row(Primary, false)),
        (rows(&[(1, Primary, true), (2, Primary, true)]), Reason::SeveralPrimaries),
        (read_only, Reason::ReadOnly),
    ];
    for (own, reason) in cases {
        // Every vote there is would be for it.
        let facts = seen(own, [(2, follows(1)), (3, follows(1))]);
        assert_eq!(ruled(&facts).ruling, Ruling::No(reason));
    }
    assert_eq!(ruled(&seen(told(1), [(2, follows(1)), (3, follows(1))])).ruling, YES);
}

#[test]
fn before_the_first_own_answer_nothing_is_said() {
    assert_eq!(ruled(&SourceFacts::default()).ruling, Ruling::Silent(Reason::NoLookYet));
    assert!(!ruled(&SourceFacts::default()).everybody_asked);
}

#[test]
fn an_own_server_that_refuses_is_no_and_one_that_is_silent_is_silent() {
    let healthy = seen(primary(), [(2, follows(1)), (3, follows(1))]);
    for kind in ErrorKind::ALL {
        let mut facts = healthy.clone();
        facts.own.record(at(1), fails(*kind));
        match ruled(&facts).ruling {
            Ruling::No(Reason::Failed(error)) => {
                assert_eq!(error.kind, *kind);
                assert!(kind.is_contrary(), "{kind:?}");
            }
            Ruling::Silent(Reason::Failed(error)) => {
                assert_eq!(error.kind, *kind);
                assert!(!kind.is_contrary(), "{kind:?}");
            }
            other => panic!("{kind:?}: {other:?}"),
        }
        assert_eq!(ruled(&facts).good_until, None);
    }
}

#[test]
fn a_silent_node_still_counts_what_its_peers_say() {
    let silent = |peers: [(i32, Said); 2]| {
        let mut facts = seen(primary(), peers);
        facts.own.record(at(1), fails(ErrorKind::SlotsFull));
        ruled(&facts).ruling
    };
    assert!(matches!(silent([(2, follows(1)), (3, follows(1))]), Ruling::Silent(_)));
    assert!(matches!(silent([(2, orphan()), (3, orphan())]), Ruling::Silent(_)));
    let names_3 = [(2, Standby, true), (3, Primary, true)];
    assert_eq!(silent([(2, follows(3).by(&names_3)), (3, orphan().by(&names_3))]), outvoted(1, 3));
    assert_eq!(silent([(2, orphan().by(&names_3)), (3, primary())]), outvoted(1, 3));
}

#[test]
fn an_own_answer_past_its_life_is_silent() {
    let mut facts = seen(primary(), []);
    for number in [2, 3] {
        facts.peers.entry(id(number)).or_default().record(at(500), follows(1).look());
    }
    assert_eq!(rule(at(LIFE - 1), &facts, &RULES).ruling, YES);
    assert_eq!(rule(at(LIFE), &facts, &RULES).ruling, Ruling::Silent(Reason::Stale));
}

// 2. Leases.

#[test]
fn an_answer_counts_for_its_life_and_no_longer() {
    let mut facts = seen(primary(), [(2, follows(1))]);
    facts.own.record(at(1000), primary().look());
    assert_eq!(rule(at(LIFE - 1), &facts, &RULES).votes, 2);
    assert_eq!(rule(at(LIFE - 1), &facts, &RULES).good_until, Some(at(LIFE)));
    assert_eq!(rule(at(LIFE), &facts, &RULES).ruling, isolated(1, 3));
    assert_eq!(rule(at(LIFE), &facts, &RULES).peers[&id(2)], Vote::Unreachable);
    let ends: Vec<_> = expiries(at(LIFE - 1), &facts, &RULES).collect();
    assert_eq!(ends, [at(1000 + LIFE), at(LIFE)]);
    assert_eq!(expiries(at(LIFE), &facts, &RULES).count(), 1);
}

#[test]
fn a_look_that_failed_replaces_the_answer_at_once() {
    let healthy = seen(primary(), [(2, follows(1)), (3, follows(1))]);
    for kind in ErrorKind::ALL {
        let facts = with(healthy.clone(), 2, fails(*kind));
        assert_eq!(vote(&facts, 2), Vote::Unreachable, "{kind:?}");
        assert_eq!(ruled(&facts).ruling, STALE_YES);
    }
}

#[test]
fn everybody_is_asked_once_every_server_was_looked_at() {
    let facts = seen(primary(), [(2, follows(1))]);
    assert!(!ruled(&facts).everybody_asked);
    assert!(ruled(&with(facts, 3, fails(ErrorKind::Timeout))).everybody_asked);
}

#[test]
fn who_is_not_in_the_own_table_has_no_vote() {
    let facts = seen(primary(), [(4, follows(1)), (5, follows(1))]);
    assert_eq!(ruled(&facts).ruling, isolated(1, 3));
}
