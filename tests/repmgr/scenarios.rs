//! What befalls a cluster, and what must come of it.

use std::time::Duration;

use crate::fence;
use crate::fixtures::repmgr::{PATIENCE, Shape, WITNESS};
use crate::fixtures::{Shutdown, eventually, now};
use crate::generated::Generated;
use crate::holes;
use crate::stage::{Setting, Stage};

/// One story of a cluster.
pub struct Scenario {
    pub name: &'static str,
    /// Also run where not everything is.
    pub quick: bool,
    pub setting: Setting,
    /// A simpler rule shows two primaries here: it must be seen to, or nothing was shown.
    pub fools_simple_rules: bool,
    /// Two READY are what the operator chose.
    pub two_by_choice: bool,
    /// Plays it on a healthy stage and returns the node whose rows count in the end.
    pub play: fn(&mut Stage) -> u8,
}

/// Four nodes, as most scenarios have them.
pub const FULL: Setting =
    Setting { shape: Shape::FULL, two_node: None, failover_after: None, fence: false };
const TWO: Setting = Setting { shape: Shape::TWO, two_node: Some("maint"), ..FULL };
/// With `[fence]`.
const FENCED: Setting = Setting { fence: true, ..FULL };

/// Most scenarios in one way or the other.
const USUAL: Scenario = Scenario {
    name: "",
    quick: false,
    setting: FULL,
    fools_simple_rules: false,
    two_by_choice: false,
    play: switchover,
};

/// Longer than an answer's life and the settling together: what is to become READY has by then.
pub const LONG_ENOUGH: Duration = Duration::from_secs(7);

/// Everything, in the order of the table.
pub const ALL: [Scenario; 26] = [
    Scenario { name: "switchover", quick: true, ..USUAL },
    Scenario {
        name: "kill -9, old primary back",
        quick: true,
        fools_simple_rules: true,
        play: killed_and_back,
        ..USUAL
    },
    Scenario {
        name: "{1} | {2,3,4}, heal",
        quick: true,
        fools_simple_rules: true,
        play: |stage| parted(stage, &[&[1], &[2, 3, WITNESS]]),
        ..USUAL
    },
    Scenario {
        name: "{1,4} | {2,3}, heal",
        fools_simple_rules: true,
        play: |stage| parted(stage, &[&[1, WITNESS], &[2, 3]]),
        ..USUAL
    },
    Scenario {
        name: "link 1-2 alone, heal (#821)",
        quick: true,
        fools_simple_rules: true,
        setting: Setting { shape: Shape::WITNESSED, ..FULL },
        play: one_link,
        ..USUAL
    },
    Scenario { name: "link 1-2 alone, four nodes", play: one_link_of_four, ..USUAL },
    Scenario { name: "1 hears nobody, is heard", play: deaf, ..USUAL },
    Scenario { name: "SIGSTOP, SIGCONT", fools_simple_rules: true, play: frozen_and_back, ..USUAL },
    Scenario { name: "pg_ctl promote by hand", play: promoted_by_hand, ..USUAL },
    Scenario { name: "cascaded standby", play: cascade, ..USUAL },
    Scenario {
        name: "slots full for 3 s",
        setting: Setting {
            shape: Shape { attempts: 12, ..Shape::FULL },
            failover_after: Some("11s"),
            ..FULL
        },
        play: slots_full,
        ..USUAL
    },
    Scenario {
        name: "two nodes, maint",
        quick: true,
        setting: TWO,
        fools_simple_rules: true,
        play: |stage| parted(stage, &[&[1], &[2]]),
        ..USUAL
    },
    Scenario { name: "two nodes, maint, no standby", setting: TWO, play: standby_gone, ..USUAL },
    Scenario {
        name: "two nodes, ready",
        setting: Setting { two_node: Some("ready"), ..TWO },
        fools_simple_rules: true,
        two_by_choice: true,
        play: two_by_choice,
        ..USUAL
    },
    Scenario {
        name: "links 24 s apart, 3 x 10 s",
        setting: Setting {
            shape: Shape { interval: 10, ..Shape::THREE },
            failover_after: Some("30s"),
            ..FULL
        },
        fools_simple_rules: true,
        play: holes::staggered,
        ..USUAL
    },
    Scenario {
        name: "one attempt, 1 x 15 s",
        setting: Setting {
            shape: Shape { attempts: 1, interval: 15, ..Shape::THREE },
            failover_after: Some("15s"),
            ..FULL
        },
        fools_simple_rules: true,
        quick: true,
        play: holes::one_attempt,
        ..USUAL
    },
    Scenario {
        name: "stale witness",
        setting: Setting { shape: Shape::WITNESSED, ..FULL },
        fools_simple_rules: true,
        play: holes::stale_witness,
        ..USUAL
    },
    Scenario {
        name: "left out while it was down",
        setting: Setting { shape: Shape::THREE, ..FULL },
        fools_simple_rules: true,
        play: holes::left_out,
        ..USUAL
    },
    Scenario { name: "rolling restart", play: rolling_restart, ..USUAL },
    Scenario { name: "rolecall restart, kill -9", quick: true, play: daemon_restarts, ..USUAL },
    Scenario {
        name: "HAProxys reloaded, cut; fence",
        quick: true,
        setting: FENCED,
        play: fence::reloaded,
        ..USUAL
    },
    Scenario { name: "HAProxys reloaded, cut; none", play: fence::reloaded, ..USUAL },
    Scenario {
        name: "host and HAProxy paused; fence",
        setting: FENCED,
        play: fence::paused,
        ..USUAL
    },
    Scenario { name: "host and HAProxy paused; none", play: fence::paused, ..USUAL },
    Scenario { name: "HAProxy frozen; fence", setting: FENCED, play: fence::frozen, ..USUAL },
    Scenario { name: "HAProxy frozen; none", play: fence::frozen, ..USUAL },
];

fn switchover(stage: &mut Stage) -> u8 {
    let session = stage.session();
    stage.fault();
    stage.cluster.switchover(2);
    let done = now();
    stage.wait_ready(2);
    stage.wait_row(2);
    stage.cluster.wait_watched(1, 2);
    stage.look_on(LONG_ENOUGH);
    stage.never_ready_since(1, done);
    let cut = session.stop().last().is_some_and(|b| b.answer.is_err());
    assert!(cut, "the session lived on at the old primary");
    stage.tell_waited("repmgr standby switchover", 2);
    2
}

/// What `rolecall haproxy` prints goes through it, too.
fn killed_and_back(stage: &mut Stage) -> u8 {
    let generated = Generated::start(stage);
    for front in &generated {
        front.wait_writes(stage, 1);
    }
    generated[1].wait_reads(stage);
    stage.fault();
    stage.cluster.crash(1);
    let new = stage.wait_new_primary(1);
    let back = now();
    stage.cluster.start_server(1);
    stage.look_on(LONG_ENOUGH);
    for front in &generated {
        front.wait_writes(stage, new);
    }
    drop(generated);
    stage.never_ready_since(1, back);
    stage.cluster.rejoin(1, new);
    stage.wait_row(new);
    if !stage.release.old {
        remembers(stage, new);
    }
    stage.never_ready_since(1, back);
    new
}

/// What happened is known after the daemons were killed and started again, and that for a moment it is not.
fn remembers(stage: &mut Stage, new: u8) {
    for (id, wanted) in [
        (1, [["not_ready", "server_down"], ["not_recorded", "-"]]),
        (new, [["ready", "serves"], ["not_recorded", "-"]]),
    ] {
        let one = stage.roles.get_mut(&id).expect("a rolecall");
        one.kill9();
        one.start();
        eventually(PATIENCE, &format!("node{id} remembers {wanted:?}"), || {
            let told = stage.history(id);
            let mut rest = told.iter();
            let in_order = wanted.iter().all(|change| rest.any(|told| told == change));
            if in_order { Ok(()) } else { Err(told) }
        });
    }
}

/// The primary is on the first side.
fn parted(stage: &mut Stage, sides: &[&[u8]]) -> u8 {
    stage.fault();
    stage.cluster.partition(sides);
    let new = stage.wait_new_primary(1);
    let moved = now();
    stage.cluster.heal();
    stage.look_on(LONG_ENOUGH);
    stage.cluster.rejoin(1, new);
    stage.wait_row(new);
    stage.never_ready_since(1, moved);
    new
}

/// Node 2 loses the primary, nobody else does, and repmgr promotes it.
fn one_link(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.cut(1, 2);
    stage.cluster.wait_promoted(2);
    stage.look_on(LONG_ENOUGH);
    stage.cluster.heal();
    stage.look_on(LONG_ENOUGH);
    stage.always_ready(1);
    stage.cluster.rejoin(2, 1);
    stage.always_ready(1);
    1
}

/// As [`one_link`], with a standby that sees everybody and has received more.
fn one_link_of_four(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.cut(1, 2);
    stage.look_on(3 * LONG_ENOUGH);
    stage.cluster.heal();
    stage.look_on(LONG_ENOUGH);
    stage.always_ready(1);
    1
}

/// What the others send to node 1 is lost: it can ask nobody, and nobody's answer comes.
fn deaf(stage: &mut Stage) -> u8 {
    stage.fault();
    for peer in [2, 3, WITNESS] {
        stage.cluster.cut_one_way(peer, 1);
    }
    let new = stage.wait_new_primary(1);
    let moved = now();
    stage.cluster.heal();
    stage.look_on(LONG_ENOUGH);
    stage.cluster.rejoin(1, new);
    stage.never_ready_since(1, moved);
    new
}

fn frozen_and_back(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.freeze(1);
    let new = stage.wait_new_primary(1);
    let back = now();
    stage.cluster.thaw(1);
    stage.look_on(LONG_ENOUGH);
    stage.cluster.rejoin(1, new);
    stage.never_ready_since(1, back);
    new
}

fn promoted_by_hand(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.promote_by_hand(3);
    stage.cluster.wait_promoted(3);
    stage.look_on(LONG_ENOUGH);
    stage.cluster.rejoin(3, 1);
    stage.look_on(LONG_ENOUGH);
    stage.always_ready(1);
    1
}

/// Node 3 follows node 2, which is lost and comes back.
fn cascade(stage: &mut Stage) -> u8 {
    stage.cluster.follow(3, 2);
    stage.fault();
    stage.look_on(LONG_ENOUGH);
    stage.cluster.crash(2);
    stage.look_on(LONG_ENOUGH);
    stage.cluster.start_server(2);
    stage.cluster.wait_watched(2, 1);
    stage.look_on(LONG_ENOUGH);
    stage.always_ready(1);
    1
}

fn slots_full(stage: &mut Stage) -> u8 {
    stage.fault();
    let taken = stage.cluster.fill_slots(1);
    assert!(taken.len() > 10, "only {} slots were free", taken.len());
    stage.look_on(Duration::from_secs(3));
    drop(taken);
    stage.wait_row(1);
    stage.look_on(LONG_ENOUGH);
    stage.always_ready(1);
    1
}

/// The price of `two_node = "ready"`: both are READY until the link heals, and only then does the old
/// primary learn that it is deposed.
fn two_by_choice(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.partition(&[&[1], &[2]]);
    stage.wait_ready(2);
    stage.look_on(LONG_ENOUGH);
    stage.cluster.heal();
    stage.wait_maint(1);
    stage.wait_row(2);
    let yielded = now();
    stage.cluster.rejoin(1, 2);
    stage.wait_ready(2);
    stage.never_ready_since(1, yielded);
    2
}

/// The price of `two_node = "maint"`.
fn standby_gone(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.freeze(2);
    stage.wait_maint(1);
    stage.cluster.thaw(2);
    stage.wait_ready(1);
    stage.wait_row(1);
    1
}

/// Everything but the primary's server, which no session survives.
fn rolling_restart(stage: &mut Stage) -> u8 {
    let session = stage.session();
    stage.fault();
    for id in [3, 2, WITNESS, 1] {
        let node = stage.cluster.node_mut(id);
        node.stop_repmgrd();
        if id != 1 {
            node.postgres.stop(Shutdown::Fast);
            node.postgres.start();
        }
        node.start_repmgrd();
        stage.roles.get_mut(&id).expect("a node's rolecall").restart();
        if id != 1 {
            stage.cluster.wait_watched(id, 1);
        }
    }
    stage.haproxy.reload();
    stage.look_on(LONG_ENOUGH);
    stage.always_ready(1);
    lives(&session.stop());
    1
}

fn daemon_restarts(stage: &mut Stage) -> u8 {
    let session = stage.session();
    stage.fault();
    for _ in 0..3 {
        let one = stage.roles.get_mut(&1).expect("node 1's rolecall");
        one.restart();
        stage.look_on(Duration::from_secs(2));
        let one = stage.roles.get_mut(&1).expect("node 1's rolecall");
        one.kill9();
        one.start();
        stage.look_on(Duration::from_secs(2));
    }
    stage.always_ready(1);
    lives(&session.stop());
    1
}

/// Asserts that it was one session all the while.
pub fn lives(beats: &[crate::fixtures::Beat]) {
    assert!(beats.len() > 10, "too few signs of life: {}", beats.len());
    let backend = beats[0].answer.clone().expect("the session's first answer");
    let lost = beats.iter().find(|b| b.answer.as_ref() != Ok(&backend));
    assert!(lost.is_none(), "the session through HAProxy was lost: {lost:?}");
}
