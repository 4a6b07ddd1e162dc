//! The counterexamples to earlier forms of the rule, step by step: rolecall's rule has at most one
//! yes in each, the rule with the one part taken back has two.

use rolecall::look::stamp::Stamp;
use rolecall::verdict::policy::{Electorate, TwoNode};
use rolecall::verdict::quorum::{Ruling, rule};

use crate::cluster::{Cluster, Event as E, Id};
use crate::reference::Mutant;
use crate::walk::{RULES, mutant_yeses, yeses};

/// The state after these events, each of which must be possible.
fn after(start: Cluster, events: &[E]) -> Cluster {
    let mut cluster = start;
    for event in events {
        assert!(cluster.apply(*event), "{event:?} cannot happen in {cluster:?}");
    }
    cluster
}

/// Which nodes say yes, by their numbers in the model.
fn yes(cluster: &Cluster) -> Vec<Id> {
    ids(yeses(cluster, true))
}

fn ids(mask: u8) -> Vec<Id> {
    (0..8).filter(|id| mask & (1 << id) != 0).collect()
}

fn without(cluster: &Cluster, mutant: Mutant) -> Vec<Id> {
    ids(mutant_yeses(cluster, mutant))
}

fn between(a: Id, b: Id) -> [E; 2] {
    [E::Cut(a, b), E::Cut(b, a)]
}

#[test]
fn a_healthy_cluster_has_one() {
    for (size, witness) in [(2, false), (3, true), (3, false), (4, true), (5, false)] {
        assert_eq!(yes(&Cluster::healthy(size, witness)), [0]);
    }
}

#[test]
fn c1_an_inactive_standby_does_not_shrink_the_electorate() {
    let two = [E::Crash(1), E::Failure(1), E::Part(1), E::Start(1), E::Elect(1), E::WriteRow(1)];
    let two = after(Cluster::healthy(2, false), &two);
    assert_eq!(yes(&two), [1]);
    assert_eq!(without(&two, Mutant::InactiveLeaves), [0, 1]);

    let three = [
        E::Crash(2),
        E::Failure(2),
        E::Replicate(1),
        E::Part(0b010),
        E::Elect(1),
        E::WriteRow(1),
        E::Start(2),
        E::Recovery(2),
        E::Attach(2),
    ];
    let three = after(Cluster::healthy(3, false), &three);
    assert_eq!(yes(&three), [0]);
    assert_eq!(without(&three, Mutant::InactiveLeaves), [0, 1]);
}

#[test]
fn c1_a_standby_that_refuses_is_out_of_the_count() {
    let stopped = after(Cluster::healthy(2, false), &[E::Crash(1), E::Failure(1)]);
    assert_eq!(yes(&stopped), [0]);
    let lost = after(Cluster::healthy(2, false), &[E::HostDown(1)]);
    assert!(yes(&lost).is_empty());
}

#[test]
fn c2_an_orphan_on_a_newer_timeline_does_not_support_the_deposed_primary() {
    let events = [
        E::Part(0b001),
        E::Elect(1),
        E::Follow(2, 1),
        E::Crash(2),
        E::Failure(2),
        E::Start(2),
        E::WriteRow(1),
        E::Heal(0, 2),
        E::Heal(2, 0),
    ];
    assert!(yes(&after(Cluster::healthy(3, false), &events)).is_empty());
}

#[test]
fn c3_nobody_votes_twice() {
    let mut cascade = between(0, 1).to_vec();
    cascade.extend([E::Elect(1), E::WriteRow(1), E::FollowByHand(3, 2)]);
    let cascade = after(Cluster::healthy(4, false), &cascade);
    assert_eq!(yes(&cascade), [0]);
    assert_eq!(without(&cascade, Mutant::ChainByOthersWord), [0, 1]);

    let mut switched = vec![E::Switch(1)];
    switched.extend(between(1, 2));
    switched.extend([E::PromoteByHand(2), E::WriteRow(2), E::Replicate(0)]);
    let switched = after(Cluster::healthy(4, true), &switched);
    assert!(yes(&switched).len() < 2);
    assert_eq!(without(&switched, Mutant::ChainByOthersWord), [1, 2]);

    let mut failed = vec![E::Switch(2), E::Replicate(0), E::Crash(0)];
    failed.extend(between(1, 2));
    let failed = after(Cluster::healthy(4, true), &failed);
    assert!(yes(&failed).len() < 2);
}

#[test]
fn c4_two_nodes_that_may_both_write_do() {
    let split = after(Cluster::healthy(2, false), &[E::Part(1), E::Elect(1), E::WriteRow(1)]);
    assert_eq!(yes(&split), [1]);
    let allowed = Electorate { two_node: TwoNode::Ready, ..RULES };
    let now = Stamp::new(std::time::Duration::ZERO);
    for id in [0, 1] {
        let ruling = rule(now, &split.instant_view(id), &allowed).ruling;
        assert!(matches!(ruling, Ruling::Yes { .. }), "{ruling:?}");
    }
}

#[test]
fn c5_only_one_deposed_primary_leaves_the_count() {
    let events = [
        E::Crash(0),
        E::Elect(1),
        E::WriteRow(1),
        E::Follow(2, 1),
        E::Replicate(2),
        E::Rejoin(0, 1),
        E::Replicate(0),
        E::Part(0b100),
        E::Elect(2),
        E::WriteRow(2),
    ];
    let events = after(Cluster::healthy(3, false), &events);
    assert_eq!(yes(&events), [1]);
    assert_eq!(without(&events, Mutant::EveryDeposedLeaves), [1, 2]);
}

#[test]
fn a_returned_old_primary_says_no() {
    let failover =
        [E::Crash(0), E::Elect(1), E::WriteRow(1), E::Follow(2, 1), E::Replicate(2), E::Start(0)];
    let cluster = after(Cluster::healthy(3, false), &failover);
    assert!(cluster.writable(0));
    assert_eq!(yes(&cluster), [1]);
}

/// repmgr issue #821.
#[test]
fn one_lost_link_does_not_move_the_primary() {
    for (size, witness) in [(3, true), (4, true), (5, false)] {
        let mut events = between(0, 1).to_vec();
        events.extend([E::Elect(1), E::WriteRow(1)]);
        let cut = after(Cluster::healthy(size, witness), &events);
        assert_eq!(yes(&cut), [0]);
        assert_eq!(yes(&after(cut, &[E::HealAll])), [0]);
    }
}

/// What the manual warns of: the commands that take away what the rule rests on.
#[test]
fn what_stays_unsafe() {
    let unregistered = [
        E::Cut(0, 2),
        E::Cut(2, 0),
        E::Unregister(2, 0),
        E::Elect(2),
        E::WriteRow(2),
        E::Crash(3),
        E::Rejoin(3, 2),
        E::Replicate(3),
    ];
    assert_eq!(yes(&after(Cluster::healthy(4, false), &unregistered)), [0, 2]);

    // The operator rejoins a node to a primary that is not READY.
    let rejoined = [
        E::Part(0b100),
        E::PromoteByHand(2),
        E::Switch(1),
        E::Replicate(0),
        E::HealAll,
        E::Part(0b110),
        E::WriteRow(2),
        E::Elect(0),
        E::Crash(1),
        E::Rejoin(1, 2),
        E::Replicate(1),
        E::WriteRow(0),
    ];
    assert_eq!(yes(&after(Cluster::healthy(4, true), &rejoined)), [0, 2]);

    let registered_while_another_lags =
        [E::Register(2, 0), E::Part(0b010), E::Elect(1), E::WriteRow(1)];
    let start = Cluster::with_a_new_clone(3, false);
    assert_eq!(yes(&after(start, &registered_while_another_lags)), [0, 1]);
}
