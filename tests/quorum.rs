//! Rule R, condition by condition. How it holds together is shown by `tests/repmgr_model`.

use std::sync::Arc;
use std::time::Duration;

use rolecall::clock::Stamp;
use rolecall::electorate::{Answer, Attached, NodeId, Registered, Row, Table};
use rolecall::observation::{ErrorKind, Observation, SourceError};
use rolecall::quorum::{Electorate, FRESH, Round, Ruling, TwoNode, Vote, expiries, rule};
use rolecall::reason::Reason;
use rolecall::role::{Role, Timeline};
use rolecall::snapshot::SourceFacts;

use Registered::{Primary, Standby, Witness};

const LIFE: u64 = 1700;

const RULES: Electorate =
    Electorate { life: Duration::from_millis(LIFE), two_node: TwoNode::Maint, trust_refused: true };

fn at(ms: u64) -> Stamp {
    Stamp::new(Duration::from_millis(ms))
}

fn id(number: i32) -> NodeId {
    NodeId(number)
}

/// `(node_id, type, active)`
fn table(rows: &[(i32, Registered, bool)]) -> Table {
    let row = |(number, registered, active): &(i32, Registered, bool)| Row {
        id: id(*number),
        name: format!("node{number}").into(),
        registered: *registered,
        active: *active,
        places: Arc::default(),
        shares_address: false,
    };
    rows.iter().map(row).collect()
}

/// An answer of a server on timeline 1, with the table of a healthy cluster of three.
#[derive(Clone)]
struct Said {
    role: Role,
    timeline: u32,
    read_only: bool,
    answer: Answer,
}

fn healthy() -> Table {
    table(&[(1, Primary, true), (2, Standby, true), (3, Standby, true)])
}

fn primary() -> Said {
    let answer = Answer {
        me: Some(id(1)),
        system: "7001".into(),
        table: healthy(),
        local_id: None,
        upstream: None,
        upstream_seen: None,
        attached: Attached::Nobody,
        repmgrd_running: true,
        repmgrd_paused: false,
    };
    Said { role: Role::Primary, timeline: 1, read_only: false, answer }
}

/// A standby that streams from this node, which its repmgrd has just reached.
fn follows(upstream: i32) -> Said {
    let mut said = primary();
    said.role = Role::Replica;
    said.answer.attached = Attached::To(id(upstream));
    said.answer.upstream = Some(id(upstream));
    said.answer.upstream_seen = Some(Duration::ZERO);
    said
}

/// A standby without a receiver.
fn orphan() -> Said {
    let mut said = follows(1);
    said.answer.attached = Attached::Nobody;
    said.answer.upstream_seen = Some(Duration::from_secs(60));
    said
}

fn witness(upstream: i32, seen: u64) -> Said {
    let mut said = primary();
    said.answer.system = "7002".into();
    said.answer.upstream = Some(id(upstream));
    said.answer.upstream_seen = Some(Duration::from_secs(seen));
    said
}

impl Said {
    fn by(mut self, rows: &[(i32, Registered, bool)]) -> Self {
        self.answer.table = table(rows);
        self
    }

    fn on(mut self, timeline: u32) -> Self {
        self.timeline = timeline;
        self
    }

    fn look(self) -> Result<Observation, SourceError> {
        Ok(Observation {
            timeline: Some(Timeline(self.timeline)),
            read_only: self.read_only,
            repmgr: Some(Arc::new(self.answer)),
            ..Observation::of(self.role)
        })
    }
}

fn fails(kind: ErrorKind) -> Result<Observation, SourceError> {
    Err(SourceError::new(kind, "in a test"))
}

/// What node 1 has seen, all of it asked for at 0 ms.
fn seen(own: Said, peers: impl IntoIterator<Item = (i32, Said)>) -> SourceFacts {
    let mut facts = SourceFacts::default();
    facts.own.record(at(0), own.look());
    for (number, said) in peers {
        facts.peers.entry(id(number)).or_default().record(at(0), said.look());
    }
    facts
}

fn with(
    mut facts: SourceFacts,
    number: i32,
    look: Result<Observation, SourceError>,
) -> SourceFacts {
    facts.peers.entry(id(number)).or_default().record(at(0), look);
    facts
}

fn ruled(facts: &SourceFacts) -> Round {
    rule(at(1), facts, &RULES)
}

fn vote(facts: &SourceFacts, number: i32) -> Vote {
    ruled(facts).peers[&id(number)].clone()
}

const YES: Ruling = Ruling::Yes { fresh: true };
const STALE_YES: Ruling = Ruling::Yes { fresh: false };

fn isolated(votes: usize, electors: usize) -> Ruling {
    Ruling::Isolated(Reason::NoMajority { votes, electors })
}

fn outvoted(votes: usize, electors: usize) -> Ruling {
    Ruling::No(Reason::NoMajority { votes, electors })
}

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
            Ruling::No(Reason::Failed(error)) => assert_eq!(error.kind, ErrorKind::ServerDown),
            Ruling::Silent(Reason::Failed(error)) => {
                assert_eq!(error.kind, *kind);
                assert_ne!(*kind, ErrorKind::ServerDown);
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
        assert_eq!(ruled(&facts).ruling, YES);
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

// 3. Who counts.

#[test]
fn one_deposed_primary_leaves_the_count_and_a_second_one_stays() {
    let one = primary().by(&[(1, Primary, true), (2, Standby, true), (3, Primary, false)]);
    let round = ruled(&seen(one, [(2, follows(1))]));
    assert_eq!((round.ruling, round.votes, round.electors), (YES, 2, 2));

    let two = primary().by(&[(1, Primary, true), (2, Primary, false), (3, Primary, false)]);
    assert_eq!(ruled(&seen(two, [])).ruling, isolated(1, 2));
}

#[test]
fn an_inactive_row_leaves_the_count_only_while_its_server_refuses() {
    for kind in [Standby, Witness] {
        let own = primary().by(&[(1, Primary, true), (2, kind, false)]);
        for error in ErrorKind::ALL {
            let facts = with(seen(own.clone(), []), 2, fails(*error));
            if *error == ErrorKind::ServerDown {
                assert_eq!(vote(&facts, 2), Vote::Refused);
                assert_eq!(ruled(&facts).ruling, YES);
                assert_eq!(rule(at(LIFE), &facts, &RULES).peers[&id(2)], Vote::Unreachable);
            } else {
                assert_eq!(ruled(&facts).ruling, isolated(1, 2), "{error:?}");
            }
        }
    }
    let active = primary().by(&[(1, Primary, true), (2, Standby, true)]);
    let facts = with(seen(active, []), 2, fails(ErrorKind::ServerDown));
    assert_eq!(ruled(&facts).ruling, isolated(1, 2));
}

#[test]
fn a_deposed_primary_that_refuses_leaves_the_count_once() {
    let own = primary().by(&[(1, Primary, true), (2, Standby, true), (3, Primary, false)]);
    let facts = with(seen(own, []), 3, fails(ErrorKind::ServerDown));
    assert_eq!(ruled(&facts).ruling, isolated(1, 2));
}

#[test]
fn a_refusal_counts_for_nothing_where_it_is_not_trusted() {
    let own = primary().by(&[(1, Primary, true), (2, Standby, false)]);
    let facts = with(seen(own, []), 2, fails(ErrorKind::ServerDown));
    let rules = Electorate { trust_refused: false, ..RULES };
    assert_eq!(rule(at(1), &facts, &rules).ruling, isolated(1, 2));
}

// 4. Whose answer it is.

#[test]
fn another_clusters_answer_is_none() {
    let mut other = follows(1);
    other.answer.system = "7009".into();
    let facts = seen(primary(), [(2, other)]);
    assert_eq!(vote(&facts, 2), Vote::Foreign);
    assert_eq!(ruled(&facts).ruling, isolated(1, 3));
}

#[test]
fn a_witness_is_a_cluster_of_its_own() {
    let own = primary().by(&[(1, Primary, true), (2, Standby, true), (3, Witness, true)]);
    let said = witness(1, 0).by(&[(1, Primary, true), (2, Standby, true), (3, Witness, true)]);
    assert_eq!(vote(&seen(own, [(3, said)]), 3), Vote::ForMe { fresh: true });
}

#[test]
fn an_answer_from_another_nodes_server_is_none() {
    let mut other = follows(1);
    other.answer.local_id = Some(id(3));
    assert_eq!(vote(&seen(primary(), [(2, other.clone())]), 2), Vote::Foreign);
    assert_eq!(vote(&seen(primary(), [(3, other)]), 3), Vote::ForMe { fresh: true });
}

#[test]
fn a_row_that_shares_its_address_has_no_vote() {
    let mut own = primary();
    let mut rows = healthy().to_vec();
    rows[1].shares_address = true;
    rows[2].shares_address = true;
    own.answer.table = rows.into();
    let facts = seen(own, [(2, follows(1)), (3, follows(1))]);
    assert_eq!(
        ruled(&facts).peers.into_values().collect::<Vec<_>>(),
        [Vote::Foreign, Vote::Foreign]
    );
}

// 5. Votes.

#[test]
fn whom_a_standby_votes_for() {
    let fresh = Vote::ForMe { fresh: true };
    let stale = Vote::ForMe { fresh: false };
    let names_3 = [(1, Primary, false), (2, Standby, true), (3, Primary, true)];
    let names_nobody = [(1, Standby, true), (2, Standby, true), (3, Standby, true)];
    let mut unknown = follows(1);
    unknown.answer.attached = Attached::Unknown("10.9.9.9:5432".into());
    let cases = [
        ("streams from this node", follows(1), fresh),
        ("whatever its table says", follows(1).by(&names_3), Vote::ForMe { fresh: true }),
        ("attached to nobody, names this node", orphan(), stale.clone()),
        ("attached to nobody, names another", orphan().by(&names_3), Vote::Neutral),
        ("attached to nobody, names nobody", orphan().by(&names_nobody), Vote::Neutral),
        ("streams from another primary", follows(3).by(&names_3), Vote::ForOther(id(3))),
        ("streams from a standby of this node", follows(3), stale),
        (
            "streams from a standby that it knows no primary of",
            follows(3).by(&names_nobody),
            Vote::Neutral,
        ),
        ("streams from an address that is in no row", unknown, Vote::UnknownUpstream),
        ("is on a newer timeline", follows(1).on(2), Vote::NewerTimeline(Timeline(2))),
    ];
    for (what, said, expected) in cases {
        assert_eq!(vote(&seen(primary(), [(2, said)]), 2), expected, "{what}");
    }
}

#[test]
fn an_unknown_upstream_is_neutral_and_not_contrary() {
    let mut unknown = follows(1);
    unknown.answer.attached = Attached::Unknown("10.9.9.9:5432".into());
    let facts = seen(primary(), [(2, unknown), (3, orphan().by(&[(3, Primary, true)]))]);
    assert_eq!(ruled(&facts).ruling, isolated(1, 3));
}

#[test]
fn whom_a_witness_votes_for() {
    let rows = [(1, Primary, true), (2, Standby, true), (3, Witness, true)];
    let names_2 = [(1, Primary, false), (2, Primary, true), (3, Witness, true)];
    let cases = [
        ("follows this node", witness(1, 0).by(&rows), Vote::ForMe { fresh: true }),
        ("and its table is older", witness(1, 2).by(&names_2), Vote::ForMe { fresh: true }),
        (
            "has lost its upstream and names this node",
            witness(2, 4).by(&rows),
            Vote::ForMe { fresh: false },
        ),
        (
            "has lost its upstream and names another",
            witness(1, 4).by(&names_2),
            Vote::ForOther(id(2)),
        ),
        ("follows another", witness(2, 0).by(&rows), Vote::ForOther(id(2))),
    ];
    for (what, said, expected) in cases {
        let facts = seen(primary().by(&rows), [(3, said)]);
        assert_eq!(vote(&facts, 3), expected, "{what}");
    }
}

#[test]
fn a_deposed_primary_votes_only_once_it_is_registered_again() {
    let rows = [(1, Primary, true), (2, Primary, false), (3, Standby, true)];
    let facts = seen(primary().by(&rows), [(2, follows(1))]);
    assert_eq!(vote(&facts, 2), Vote::Deposed);
    assert_eq!(ruled(&facts).ruling, isolated(1, 2));
}

#[test]
fn a_writable_server_never_votes() {
    let rows = [(1, Primary, false), (2, Primary, true), (3, Standby, true)];
    let rival = seen(primary(), [(2, primary().by(&rows).on(2))]);
    assert_eq!(vote(&rival, 2), Vote::Rival(Timeline(2)));
    let by_hand = seen(primary(), [(2, primary().on(2))]);
    assert_eq!(vote(&by_hand, 2), Vote::WritableUnregistered);
    assert_eq!(ruled(&by_hand).ruling, outvoted(1, 3));
}

// 6. The majority.

#[test]
fn one_contrary_vote_makes_missing_votes_a_no() {
    let names_3 = [(2, Standby, true), (3, Primary, true)];
    let facts = seen(primary(), [(2, follows(3).by(&names_3))]);
    assert_eq!(ruled(&facts).ruling, outvoted(1, 3));
}

#[test]
fn two_nodes_write_alone_only_where_that_was_chosen() {
    let two = [(1, Primary, true), (2, Standby, true)];
    let lost = with(seen(primary().by(&two), []), 2, fails(ErrorKind::Timeout));
    let ready = Electorate { two_node: TwoNode::Ready, ..RULES };
    assert_eq!(ruled(&lost).ruling, isolated(1, 2));
    assert_eq!(rule(at(1), &lost, &ready).ruling, STALE_YES);

    let promoted = primary().by(&[(1, Primary, false), (2, Primary, true)]).on(2);
    let rival = seen(primary().by(&two), [(2, promoted)]);
    assert_eq!(rule(at(1), &rival, &ready).ruling, Ruling::No(Reason::Rival(id(2))));

    // Three nodes of which one is deposed are two that vote.
    let three = primary().by(&[(1, Primary, true), (2, Standby, true), (3, Primary, false)]);
    let lost = with(seen(three, []), 2, fails(ErrorKind::Timeout));
    assert_eq!(rule(at(1), &lost, &ready).ruling, STALE_YES);
    let healthy = seen(primary(), []);
    assert_eq!(rule(at(1), &healthy, &ready).ruling, isolated(1, 3));
}

#[test]
fn a_yes_is_fresh_while_a_majority_attests_contact() {
    let contact = |seen: u64| {
        let mut said = follows(1);
        said.answer.upstream_seen = Some(Duration::from_secs(seen));
        said
    };
    let facts = seen(primary(), [(2, contact(2)), (3, contact(60))]);
    assert_eq!(rule(at(1000), &facts, &RULES).ruling, YES);
    // The age of the answer adds to what it says.
    assert_eq!(rule(at(1001), &facts, &RULES).ruling, STALE_YES);
    assert_eq!(FRESH, Duration::from_secs(3));
    let mut never = follows(1);
    never.answer.upstream_seen = None;
    let facts = seen(primary(), [(2, never.clone()), (3, never)]);
    assert_eq!(ruled(&facts).ruling, STALE_YES);
}

// 7. The belt: four rows of which one is deposed, so that two votes of three are no majority of all.

fn four(peer: Said) -> Round {
    let rows = [(1, Primary, true), (2, Standby, true), (3, Standby, true), (4, Primary, false)];
    ruled(&seen(primary().by(&rows), [(2, follows(1)), (3, peer)]))
}

#[test]
fn the_belt_is_loose_where_nothing_speaks_against_the_node() {
    let round = four(orphan().by(&[(3, Standby, true)]));
    assert_eq!((round.ruling, round.votes, round.electors), (YES, 2, 3));
}

#[test]
fn a_peer_on_a_newer_timeline_stops_it() {
    let reason = Reason::NewerTimeline { node: id(3), timeline: Timeline(2) };
    assert_eq!(four(follows(1).on(2)).ruling, Ruling::No(reason));
}

#[test]
fn a_peer_that_has_it_as_a_failed_primary_stops_it() {
    let rows = [(1, Primary, false), (3, Standby, true), (4, Primary, true)];
    assert_eq!(four(orphan().by(&rows)).ruling, Ruling::No(Reason::DeposedBy(id(3))));
    // Where nobody is the primary instead, nobody deposed it.
    assert_eq!(four(orphan().by(&[(1, Primary, false), (3, Standby, true)])).ruling, YES);
}

#[test]
fn a_rival_on_no_older_timeline_stops_it() {
    let rows = [(1, Primary, false), (3, Primary, true)];
    let rival = |timeline| primary().by(&rows).on(timeline);
    assert_eq!(four(rival(1)).ruling, Ruling::No(Reason::Rival(id(3))));
    assert_eq!(four(rival(2)).ruling, Ruling::No(Reason::Rival(id(3))));
    assert_eq!(four(rival(0)).ruling, YES);
}

#[test]
fn a_rival_on_an_older_timeline_with_a_majority_behind_it_stops_it() {
    let rows: Vec<_> = [(1, Primary, true), (2, Primary, false)]
        .into_iter()
        .chain((3..=5).map(|number| (number, Standby, true)))
        .collect();
    let rival = [(1, Primary, false), (3, Primary, true)];
    let facts = seen(
        primary().by(&rows).on(2),
        [(3, primary().by(&rival)), (4, follows(3).by(&rival)), (5, follows(3).by(&rival))],
    );
    assert_eq!(ruled(&facts).ruling, Ruling::No(Reason::DeposedBy(id(4))));
    let rival = [(3, Primary, true)];
    let facts = seen(
        primary().by(&rows).on(2),
        [(3, primary().by(&rival)), (4, follows(3).by(&rival)), (5, follows(3).by(&rival))],
    );
    assert_eq!(ruled(&facts).ruling, Ruling::No(Reason::Rival(id(3))));
}

/// Else two nodes could keep each other out for ever after a partition heals.
#[test]
fn the_belt_gives_way_to_a_majority_of_all_rows() {
    let rows = [(1, Primary, false), (3, Primary, true)];
    let rival = primary().by(&rows).on(2);
    let own = primary();
    let facts = seen(own, [(2, follows(1)), (3, rival)]);
    assert_eq!(ruled(&facts).ruling, YES);
}
