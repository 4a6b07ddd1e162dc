//! Conditions 6 and 7: the majority, and the belt.

use super::said::{
    Primary, RULES, STALE_YES, Said, Standby, YES, at, fails, follows, id, isolated, orphan,
    outvoted, primary, ruled, seen, with,
};
use rolecall::look::error::ErrorKind;
use rolecall::look::role::Timeline;
use rolecall::verdict::policy::{Electorate, TwoNode};
use rolecall::verdict::quorum::{Round, Ruling, rule};
use rolecall::verdict::reason::Reason;

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

// 7. The belt: four rows of which one is deposed, so that two votes of three are no majority of all.

fn four(peer: Said) -> Round {
    let rows = [(1, Primary, true), (2, Standby, true), (3, Standby, true), (4, Primary, false)];
    ruled(&seen(primary().by(&rows), [(2, follows(1)), (3, peer)]))
}

#[test]
fn the_belt_is_loose_where_nothing_speaks_against_the_node() {
    let round = four(orphan().by(&[(3, Standby, true)]));
    assert_eq!((round.ruling, round.votes, round.electors), (STALE_YES, 2, 3));
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
    assert_eq!(four(orphan().by(&[(1, Primary, false), (3, Standby, true)])).ruling, STALE_YES);
}

#[test]
fn a_rival_on_no_older_timeline_stops_it() {
    let rows = [(1, Primary, false), (3, Primary, true)];
    let rival = |timeline| primary().by(&rows).on(timeline);
    assert_eq!(four(rival(1)).ruling, Ruling::No(Reason::Rival(id(3))));
    assert_eq!(four(rival(2)).ruling, Ruling::No(Reason::Rival(id(3))));
    assert_eq!(four(rival(0)).ruling, STALE_YES);
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

/// Of two nodes the old primary comes back writable, alone and on its old timeline: the new one goes on.
#[test]
fn a_returned_old_primary_does_not_stop_the_new_one_of_two() {
    let returned = primary().by(&[(1, Standby, true), (2, Primary, true)]).on(1);
    let own = primary().by(&[(1, Primary, true), (2, Primary, false)]).on(2);
    assert_eq!(ruled(&seen(own, [(2, returned)])).ruling, YES);
}

/// Else two nodes could keep each other out for ever after a partition heals.
#[test]
fn the_belt_gives_way_to_a_majority_of_all_rows() {
    let rows = [(1, Primary, false), (3, Primary, true)];
    let rival = primary().by(&rows).on(2);
    let own = primary();
    let round = ruled(&seen(own, [(2, follows(1)), (3, rival)]));
    // Who is not READY yet does not become it: tests/unit/quorum/standing.rs.
    assert_eq!((round.ruling, round.newer_rival), (STALE_YES, Some(id(3))));
    // One on the own timeline throws nothing away that this node wrote.
    let rival = primary().by(&rows).on(1);
    assert_eq!(ruled(&seen(primary(), [(2, follows(1)), (3, rival)])).newer_rival, None);
}
