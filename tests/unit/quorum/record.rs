//! What a restart and a reload carry over of a repmgr node's confirmation, and what they must not.

use std::sync::Arc;

use rolecall::facts::{NodeFacts, ServiceFacts};
use rolecall::look::kind::{Shows, SourceKind};
use rolecall::look::snapshot::SourceFacts;
use rolecall::reply::routes::Answering;
use rolecall::reply::wording::Wording;
use rolecall::verdict::policy::Policy;
use rolecall::verdict::standing::Standing;
use rolecall::watch::record::{About, Records, Yes, restored, still_same};

use super::handover::policy;
use super::said::{LIFE, Primary, Said, at, fails, id, primary};

const ABOUT: About<'_> = ("n1", "primary");
const GOOD_UNTIL: u64 = 9000;

fn yes() -> Yes {
    Yes { node: id(1), since: at(1000), handed_over: Some(at(2000)), good_until: at(GOOD_UNTIL) }
}

/// A folder of records that ends with this value.
struct Kept {
    _dir: tempfile::TempDir,
    records: Records,
}

fn kept(yes: Option<&Yes>) -> Kept {
    let dir = tempfile::tempdir().unwrap();
    let mut records = Records::in_dir(dir.path(), "this boot".to_owned());
    if let Some(yes) = yes {
        records.keep(ABOUT, &policy(), yes);
    }
    Kept { _dir: dir, records }
}

/// A node that is alone in its cluster, and so its own majority.
fn alone(number: i32, system: &str) -> SourceFacts {
    let mut said: Said = primary().by(&[(number, Primary, true)]);
    (said.answer.me, said.answer.system) = (Some(id(number)), system.into());
    let mut facts = SourceFacts::default();
    facts.record_own(at(5000), at(5000), said.look());
    facts
}

fn silent() -> SourceFacts {
    let mut facts = SourceFacts::default();
    facts.own.record(at(5000), fails(rolecall::look::error::ErrorKind::Timeout));
    facts
}

/// A damaged time must not let a node skip its settling.
#[test]
fn the_hand_over_of_a_record_lies_between_its_beginning_and_now() {
    for (handed_over, now, good) in
        [(2000, 2000, true), (2000, 1999, false), (1000, 1500, true), (999, 1500, false)]
    {
        let yes = Yes { handed_over: Some(at(handed_over)), ..yes() };
        let kept = kept(Some(&yes));
        let found = kept.records.restore(at(now), ABOUT, &policy());
        assert_eq!(found, good.then_some(yes), "handed over at {handed_over}, read at {now}");
    }
}

#[test]
fn a_restart_goes_on_from_the_record_of_this_node_and_of_no_other() {
    let kept = kept(Some(&yes()));
    let begins = |records, policy: &Policy, sources: &[SourceFacts]| {
        restored(at(5000), records, ABOUT, policy, sources)
    };
    let records = Some(&kept.records);
    let expected = Standing {
        confirmed_since: Some(at(1000)),
        handed_over: Some(at(2000)),
        restored_until: Some(at(GOOD_UNTIL)),
        ..Standing::default()
    };
    assert_eq!(begins(records, &policy(), &[alone(1, "7001")]), expected);
    let nothing = Standing::default();
    assert_eq!(begins(records, &policy(), &[alone(2, "7001")]), nothing, "another node");
    assert_eq!(begins(records, &policy(), &[silent()]), nothing, "nobody knows which node");
    assert_eq!(begins(None, &policy(), &[alone(1, "7001")]), nothing, "no record");
    let mut without_rule = policy();
    without_rule.trust[0].electorate = None;
    assert_eq!(begins(records, &without_rule, &[alone(1, "7001")]), nothing, "not by the rule");
}

#[test]
fn a_reload_hands_the_memory_on_to_the_same_servers_only() {
    let before = [alone(1, "7001")];
    assert!(still_same(&before, &[alone(1, "7001")]));
    assert!(!still_same(&before, &[alone(2, "7001")]), "another node");
    assert!(!still_same(&before, &[alone(1, "7009")]), "another cluster's node of this number");
    assert!(!still_same(&before, &[silent()]), "a server that has not said who it is");
    assert!(!still_same(&before, &[]), "none");
}

/// A yes is written down as it was counted; who gave way has no record that could speak again.
#[test]
fn a_yes_that_was_counted_is_kept_until_the_node_gives_way() {
    let mut kept = kept(None);
    let confirmed = Standing {
        confirmed_since: Some(at(1000)),
        handed_over: Some(at(2000)),
        ..Standing::default()
    };
    let node = |standing, source| NodeFacts {
        name: ABOUT.0.into(),
        cluster: None,
        kinds: [SourceKind { word: "repmgr", shows: Shows::Server }].into(),
        sources: vec![source],
        services: vec![ServiceFacts {
            name: ABOUT.1.into(),
            policy: Arc::new(policy()),
            standing,
            answering: Arc::new(Answering {
                allow: vec![],
                wording: Wording::plain(),
                last_word: None,
            }),
            asks: Arc::default(),
            orders: [].into(),
            last_word: None,
        }],
    };
    let now = at(5001);
    let known = |kept: &Kept| kept.records.restore(now, ABOUT, &policy());
    kept.records.keep_counted(now, &node(Standing::default(), alone(1, "7001")));
    assert_eq!(known(&kept), None, "it is not confirmed");
    kept.records.keep_counted(now, &node(confirmed, silent()));
    assert_eq!(known(&kept), None, "nothing is counted");
    kept.records.keep_counted(now, &node(confirmed, alone(1, "7001")));
    let counted = Yes { good_until: at(5000 + LIFE), ..yes() };
    assert_eq!(known(&kept), Some(counted));
    kept.records.forget(ABOUT);
    assert_eq!(known(&kept), None, "it gave way");
    kept.records.forget(ABOUT);
}
