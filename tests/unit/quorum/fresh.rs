//! When a yes is fresh: repmgr can promote nobody before its whole patience has passed from now on.
//! A primary that is cut off goes on for `hold` after the last fresh yes, which is shorter than that.

use std::time::Duration;

use rolecall::look::error::ErrorKind;
use rolecall::look::repmgr::Registered;
use rolecall::verdict::quorum::rule;
use rolecall::verdict::vote::FRESH;

use super::said::{
    Primary, RULES, STALE_YES, Said, Standby, Witness, YES, at, fails, follows, id, primary, ruled,
    seen, with, witness,
};

const THREE: [(i32, Registered, bool); 3] =
    [(1, Primary, true), (2, Standby, true), (3, Standby, true)];
const WITNESSED: [(i32, Registered, bool); 3] =
    [(1, Primary, true), (2, Standby, true), (3, Witness, true)];

/// A standby whose repmgrd reached node 1 so many seconds ago.
fn contact(seconds: u64) -> Said {
    let mut said = follows(1);
    said.answer.upstream_seen = Some(Duration::from_secs(seconds));
    said
}

fn told(mut said: Said, to: i32) -> Said {
    said.answer.told = Some(id(to));
    said
}

#[test]
fn a_contact_is_fresh_for_three_seconds_and_the_age_of_the_answer_counts() {
    assert_eq!(FRESH, Duration::from_secs(3));
    let facts = seen(primary(), [(2, contact(2)), (3, contact(0))]);
    assert_eq!(rule(at(1000), &facts, &RULES).ruling, YES);
    assert_eq!(rule(at(1001), &facts, &RULES).ruling, STALE_YES);
    let mut never = follows(1);
    never.answer.upstream_seen = None;
    assert_eq!(ruled(&seen(primary(), [(2, never), (3, contact(0))])).ruling, STALE_YES);
}

/// A standby that has lost the primary may be elected at any moment, and tells the others to follow it:
/// they do at their first lost ping.
#[test]
fn every_standby_that_could_be_elected_must_attest_contact() {
    for (what, facts) in [
        ("has lost the primary", seen(primary(), [(2, contact(60)), (3, contact(0))])),
        ("does not answer", with(seen(primary(), [(3, contact(0))]), 2, fails(ErrorKind::Timeout))),
        ("was never asked", seen(primary(), [(3, contact(0))])),
        ("is inactive", {
            let rows = [(1, Primary, true), (2, Standby, false), (3, Standby, true)];
            with(seen(primary().by(&rows), [(3, contact(0))]), 2, fails(ErrorKind::ServerDown))
        }),
        ("follows another", seen(primary(), [(2, follows(9)), (3, contact(0))])),
    ] {
        let round = ruled(&facts);
        assert_eq!((round.ruling, round.votes >= 2), (STALE_YES, true), "{what}");
    }
    assert_eq!(ruled(&seen(primary(), [(2, contact(0)), (3, contact(0))])).ruling, YES);
}

#[test]
fn a_voter_that_was_told_to_follow_another_attests_nothing() {
    for (to, ruling) in [(2, STALE_YES), (3, STALE_YES), (1, YES)] {
        let facts = seen(primary(), [(2, contact(0)), (3, told(contact(0), to))]);
        assert_eq!(ruled(&facts).ruling, ruling, "told {to}");
    }
    let lost = |witness| {
        let own = primary().by(&WITNESSED);
        with(seen(own, [(3, witness)]), 2, fails(ErrorKind::Timeout))
    };
    assert_eq!(ruled(&lost(witness(1, 0).by(&WITNESSED))).ruling, YES);
    assert_eq!(ruled(&lost(told(witness(1, 0).by(&WITNESSED), 2))).ruling, STALE_YES);
}

/// repmgr elects only standbys of the primary: one that cascades is never elected.
#[test]
fn a_cascading_standby_need_not_attest() {
    let mut cascading = follows(2);
    cascading.answer.upstream = Some(id(2));
    let facts = seen(primary(), [(2, contact(0)), (3, cascading.clone())]);
    assert_eq!(ruled(&facts).ruling, YES);
    // By what its receiver does alone nobody knows whom its repmgrd watches.
    let mut watches_the_primary = cascading.clone();
    watches_the_primary.answer.upstream = Some(id(1));
    watches_the_primary.answer.upstream_seen = Some(Duration::from_secs(60));
    let facts = seen(primary(), [(2, contact(0)), (3, watches_the_primary)]);
    assert_eq!(ruled(&facts).ruling, STALE_YES);
    let facts = seen(primary(), [(2, contact(0)), (3, told(cascading, 2))]);
    assert_eq!(ruled(&facts).ruling, STALE_YES);
}

/// A witness never listens to a notification while it waits for its primary.
#[test]
fn this_node_and_witnesses_may_be_the_majority_alone() {
    let own = || primary().by(&WITNESSED);
    let lost = with(seen(own(), [(3, witness(1, 0).by(&WITNESSED))]), 2, fails(ErrorKind::Timeout));
    assert_eq!(ruled(&lost).ruling, YES);
    let rows = [THREE[0], THREE[1], THREE[2], (4, Witness, true)];
    let four = seen(primary().by(&rows), [(3, contact(0).by(&rows)), (4, witness(1, 0).by(&rows))]);
    let round = ruled(&with(four, 2, fails(ErrorKind::Timeout)));
    assert_eq!((round.ruling, round.votes), (STALE_YES, 3), "two of four are no majority");
}
