//! Conditions 3 to 5: who counts, whose answer it is, and for whom it votes.

use std::time::Duration;

use super::said::{
    LIFE, Primary, RULES, Standby, Witness, YES, at, fails, follows, healthy, id, isolated, orphan,
    outvoted, primary, ruled, seen, vote, with, witness,
};
use rolecall::look::error::ErrorKind;
use rolecall::look::release::{LeftOut, Release};
use rolecall::look::repmgr::Attached;
use rolecall::look::role::Timeline;
use rolecall::look::snapshot::SourceFacts;
use rolecall::verdict::policy::Electorate;
use rolecall::verdict::quorum::{Ruling, left_out, rule};
use rolecall::verdict::reason::Reason;
use rolecall::verdict::vote::Vote;

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
                // It attests no contact, and nobody does in its stead.
                assert_eq!(ruled(&facts).ruling, Ruling::Yes { fresh: false });
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

/// It may be the other one's server that refuses.
#[test]
fn a_refusal_at_an_address_of_two_rows_takes_neither_out_of_the_count() {
    let own = primary().by(&[(1, Primary, true), (2, Standby, false), (3, Standby, false)]);
    let refused = |shared: bool| {
        let mut own = own.clone();
        let mut rows = own.answer.table.to_vec();
        rows[1].shares_address = shared;
        rows[2].shares_address = shared;
        own.answer.table = rows.into();
        let facts = with(seen(own, []), 2, fails(ErrorKind::ServerDown));
        ruled(&with(facts, 3, fails(ErrorKind::ServerDown)))
    };
    assert_eq!((refused(false).votes, refused(false).electors), (1, 1));
    assert_eq!(refused(true).ruling, isolated(1, 3));
}

/// A row that leads nowhere is never looked at: it has no vote, is not down, and counts.
#[test]
fn a_row_that_leads_nowhere_stays_in_the_count() {
    let mut own = primary().by(&[(1, Primary, true), (2, Standby, false)]);
    let mut rows = own.answer.table.to_vec();
    rows[1].places = [].into();
    own.answer.table = rows.into();
    assert_eq!(ruled(&seen(own, [])).ruling, isolated(1, 2));
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
    let mut never = witness(1, 0).by(&rows);
    never.answer.upstream = None;
    let cases = [
        ("follows this node", witness(1, 0).by(&rows), Vote::ForMe { fresh: true }),
        ("and its table is older", witness(1, 2).by(&names_2), Vote::ForMe { fresh: true }),
        ("has lost this node and names it", witness(1, 4).by(&rows), Vote::Neutral),
        ("has lost this node and names another", witness(1, 4).by(&names_2), Vote::Neutral),
        ("has lost another and names this node", witness(2, 4).by(&rows), Vote::Neutral),
        ("has lost another and names it", witness(2, 4).by(&names_2), Vote::Neutral),
        ("follows another", witness(2, 0).by(&rows), Vote::ForOther(id(2))),
        ("follows nobody that is known", never, Vote::Neutral),
    ];
    for (what, said, expected) in cases {
        let facts = seen(primary().by(&rows), [(3, said)]);
        assert_eq!(vote(&facts, 3), expected, "{what}");
    }
}

/// After a switchover the old primary streams from the new one a second before its row says so.
#[test]
fn a_deposed_primary_that_follows_is_counted_among_all_nodes() {
    let rows = [(1, Primary, true), (2, Primary, false), (3, Standby, true)];
    let facts = seen(primary().by(&rows), [(2, follows(1))]);
    assert_eq!(vote(&facts, 2), Vote::Deposed);
    let round = ruled(&facts);
    assert_eq!((round.ruling, round.votes, round.electors), (Ruling::Yes { fresh: false }, 2, 3));

    // Beside four others its vote would be one of five: two are no majority, with it or without.
    let five = [
        (1, Primary, true),
        (2, Primary, false),
        (3, Standby, true),
        (4, Standby, true),
        (5, Standby, true),
    ];
    let round = ruled(&seen(primary().by(&five), [(2, follows(1))]));
    assert_eq!((round.ruling, round.votes, round.electors), (isolated(1, 4), 1, 4));

    // It left the count; who is not attached does not come back into it.
    let mut alone = follows(1).by(&rows);
    alone.answer.attached = Attached::Nobody;
    let facts = seen(primary().by(&rows), [(2, alone)]);
    assert_eq!(vote(&facts, 2), Vote::Neutral);
    assert_eq!(ruled(&facts).ruling, isolated(1, 2));

    // Its answer bounds the confirmation like every other one that it was counted from.
    let mut facts = seen(primary().by(&rows), [(2, follows(1))]);
    facts.own.record(at(500), primary().by(&rows).look());
    assert_eq!(rule(at(501), &facts, &RULES).good_until, Some(at(LIFE)));
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

/// Its server was down when node 3 was confirmed, and follows node 1 again now that it is started.
#[test]
fn a_standby_that_was_left_out_votes_for_no_older_primary() {
    let mut facts = seen(primary().on(4), [(2, follows(1).on(4))]);
    assert!(matches!(vote(&facts, 2), Vote::ForMe { .. }));
    let said = |timeline| Release {
        node: id(2),
        system: "7001".into(),
        timeline: Some(Timeline(4)),
        claims: true,
        recovery: None,
        left_out: Some(LeftOut { by: id(3), timeline: Timeline(timeline) }),
        last_ready: Duration::ZERO,
        life: Duration::from_millis(LIFE),
        memory: Duration::ZERO,
    };
    facts.releases.insert(id(2), (at(0), Some(said(5))));
    assert_eq!(vote(&facts, 2), Vote::LeftOut(id(3), Timeline(5)));
    assert!(vote(&facts, 2).is_contrary());
    let reason = Reason::NewerTimeline { node: id(3), timeline: Timeline(5) };
    assert_eq!(ruled(&facts).ruling, Ruling::No(reason));
    // By the primary of its own timeline, before that went on.
    facts.releases.insert(id(2), (at(0), Some(said(4))));
    assert!(matches!(vote(&facts, 2), Vote::ForMe { .. }));
    facts.releases.insert(id(2), (at(0), None));
    assert!(matches!(vote(&facts, 2), Vote::ForMe { .. }));
}

/// What this node was told of itself.
#[test]
fn that_it_was_left_out_is_known_until_it_follows() {
    let mut facts = SourceFacts::default();
    facts.record_own(at(0), at(0), follows(1).on(4).look());
    facts.is_left_out(id(1), Timeline(4));
    assert_eq!(facts.left_out, None, "by the primary that it follows");
    facts.is_left_out(id(3), Timeline(6));
    facts.is_left_out(id(1), Timeline(5));
    let newest = Some(LeftOut { by: id(3), timeline: Timeline(6) });
    assert_eq!(facts.left_out, newest);
    facts.record_own(at(1), at(1), fails(ErrorKind::ServerDown));
    facts.record_own(at(2), at(2), follows(1).on(5).look());
    assert_eq!(facts.left_out, newest);
    facts.record_own(at(3), at(3), follows(3).on(6).look());
    assert_eq!(facts.left_out, None);
}

/// Who is confirmed tells those whom it leaves out, and nobody else.
#[test]
fn a_confirmed_primary_leaves_out_whose_servers_are_down() {
    let own = primary().by(&[(1, Primary, true), (2, Standby, false), (3, Standby, true)]);
    let facts = with(seen(own.clone(), [(3, follows(1))]), 2, fails(ErrorKind::ServerDown));
    assert_eq!(left_out(at(1), &facts, &RULES), [id(2)]);
    let silent = with(seen(own.clone(), [(3, follows(1))]), 2, fails(ErrorKind::Timeout));
    assert_eq!(left_out(at(1), &silent, &RULES), []);
    let lost = with(seen(own, []), 2, fails(ErrorKind::ServerDown));
    assert_eq!(left_out(at(1), &lost, &RULES), [], "it is not confirmed");
}

/// `ask` and `status` print them: an operator must be able to tell them apart, and read who is meant.
#[test]
fn every_vote_has_words_of_its_own() {
    let told: Vec<String> = [
        Vote::ForMe { fresh: true },
        Vote::ForMe { fresh: false },
        Vote::ForOther(id(3)),
        Vote::Rival(Timeline(7)),
        Vote::WritableUnregistered,
        Vote::NewerTimeline(Timeline(7)),
        Vote::LeftOut(id(3), Timeline(7)),
        Vote::Deposed,
        Vote::Neutral,
        Vote::UnknownUpstream,
        Vote::Foreign,
        Vote::Unreachable,
        Vote::Refused,
    ]
    .iter()
    .map(ToString::to_string)
    .collect();
    let mut different = told.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), told.len(), "{told:?}");
    assert!(told[2].contains("node 3") && told[3].contains('7') && told[5].contains('7'));
}

/// `ask` and `status` show what each node contributes, and no two of them alike.
#[test]
fn every_vote_is_told_in_words_of_its_own() {
    let votes = [
        (Vote::ForMe { fresh: true }, "votes for this node, confirmed by a fresh answer"),
        (Vote::ForMe { fresh: false }, "votes for this node"),
        (Vote::ForOther(id(3)), "votes for node 3"),
        (Vote::Rival(Timeline(4)), "says it is the primary, on timeline 4"),
        (Vote::WritableUnregistered, "accepts writes, but is not registered as the primary"),
        (Vote::NewerTimeline(Timeline(5)), "follows the newer timeline 5"),
        (
            Vote::LeftOut(id(3), Timeline(6)),
            "was down when node 3 was confirmed on the newer timeline 6, and votes for no node on an older one",
        ),
        (
            Vote::Deposed,
            "is an old primary that follows this node, but is not registered as its standby yet",
        ),
        (Vote::Neutral, "votes for no node"),
        (
            Vote::UnknownUpstream,
            "votes for no known node: add the name of its upstream to `addresses`",
        ),
        (Vote::Foreign, "is not counted: the answer comes from another cluster or another node"),
        (Vote::Unreachable, "did not answer, so it has no vote"),
        (Vote::Refused, "is down and inactive, so it is not counted among the nodes"),
    ];
    for (vote, words) in votes {
        assert_eq!(vote.to_string(), words);
    }
}
