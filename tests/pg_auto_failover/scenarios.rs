//! What befalls a cluster, and what must come of it.

use std::time::Duration;

use crate::fixtures::auto_failover::MONITOR;
use crate::stage::{Setting, Stage};

/// One story of a cluster.
pub struct Scenario {
    pub name: &'static str,
    /// Also run where not everything is.
    pub quick: bool,
    pub setting: Setting,
    /// Two nodes out of recovery must be seen, or nothing was shown.
    pub fools_the_advice: bool,
    /// Plays it on a healthy stage and returns the node whose rows count in the end.
    pub play: fn(&mut Stage) -> u8,
}

const TWO: Setting = Setting { nodes: 2, monitor_lost: "maint" };
const THREE: Setting = Setting { nodes: 3, ..TWO };
const STANDBYS: Setting = Setting { monitor_lost: "standbys", ..TWO };

/// Most scenarios in one way or the other.
const USUAL: Scenario =
    Scenario { name: "", quick: false, setting: TWO, fools_the_advice: false, play: switched };

/// Longer than anything that was READY is held.
const LONG: Duration = Duration::from_secs(30);

/// Everything, in the order of the table.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "restart, switchover, cut",
        quick: true,
        fools_the_advice: true,
        play: restarted_switched_cut,
        ..USUAL
    },
    Scenario { name: "switchover and back", ..USUAL },
    Scenario { name: "silent cut, heal", fools_the_advice: true, play: cut, ..USUAL },
    Scenario { name: "monitor restarted", play: monitor_restarted, ..USUAL },
    Scenario { name: "reset cut", fools_the_advice: true, play: rejected, ..USUAL },
    Scenario {
        name: "cut from the monitor only",
        fools_the_advice: true,
        play: cut_from_the_monitor,
        ..USUAL
    },
    Scenario {
        name: "keeper killed, then cut",
        fools_the_advice: true,
        play: keeper_killed_then_cut,
        ..USUAL
    },
    Scenario {
        name: "host killed, started by hand",
        fools_the_advice: true,
        play: host_killed_by_hand,
        ..USUAL
    },
    Scenario { name: "host killed, started by keeper", play: host_killed_by_keeper, ..USUAL },
    Scenario { name: "maintenance of the primary", play: maintenance, ..USUAL },
    Scenario { name: "primary dropped", play: dropped, ..USUAL },
    Scenario { name: "monitor restored", play: monitor_restored, ..USUAL },
    Scenario { name: "monitor gone, maint", play: monitor_gone, ..USUAL },
    Scenario {
        name: "monitor gone, standbys",
        setting: STANDBYS,
        play: monitor_gone_standbys,
        ..USUAL
    },
    Scenario {
        name: "cut from the monitor, standbys",
        setting: STANDBYS,
        fools_the_advice: true,
        play: cut_from_the_monitor,
        ..USUAL
    },
    Scenario { name: "three: switchover", setting: THREE, play: switched_of_three, ..USUAL },
    Scenario {
        name: "three: silent cut",
        setting: THREE,
        fools_the_advice: true,
        play: cut_of_three,
        ..USUAL
    },
    Scenario { name: "three: host killed", setting: THREE, play: host_lost, ..USUAL },
];

/// On one cluster, since it takes half a minute to make one.
fn restarted_switched_cut(stage: &mut Stage) -> u8 {
    stage.members_are_printed();
    monitor_restarted(stage);
    stage.wait_replica(2, "READY");
    stage.cluster.autoctl(&["perform", "switchover"]);
    stage.wait_new_primary(1);
    stage.cluster.wait_state(1, "secondary");
    stage.cluster.wait_state(2, "primary");
    stage.wait_replica(1, "READY");
    stage.wait_replica(2, "MAINT");
    stage.fault();
    stage.cluster.cut(2, 1);
    stage.cluster.cut(2, MONITOR);
    stage.wait_new_primary(2)
}

/// To node 2 and back.
fn switched(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.wait_replica(2, "READY");
    stage.cluster.autoctl(&["perform", "switchover"]);
    stage.wait_new_primary(1);
    stage.cluster.wait_state(1, "secondary");
    stage.cluster.wait_state(2, "primary");
    stage.wait_replica(1, "READY");
    stage.wait_replica(2, "MAINT");
    stage.cluster.autoctl(&["perform", "switchover"]);
    stage.wait_new_primary(2);
    stage.cluster.wait_state(2, "secondary");
    1
}

/// Node 1 from everybody but its clients.
fn cut(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.cut(1, 2);
    stage.cluster.cut(1, MONITOR);
    let new = stage.wait_new_primary(1);
    stage.cluster.heal(1, 2);
    stage.cluster.heal(1, MONITOR);
    stage.cluster.wait_state(1, "secondary");
    new
}

/// The same, with resets.
fn rejected(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.reject(1, 2);
    stage.cluster.reject(1, MONITOR);
    let new = stage.wait_new_primary(1);
    stage.look_on(LONG);
    new
}

/// Node 2 still follows it.
fn cut_from_the_monitor(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.cut(1, MONITOR);
    let new = stage.wait_new_primary(1);
    stage.cluster.heal(1, MONITOR);
    stage.cluster.wait_state(1, "secondary");
    new
}

/// As for an upgrade: nobody notices.
fn monitor_restarted(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.monitor.stop();
    stage.look_on(Duration::from_secs(3));
    stage.cluster.monitor.start();
    stage.cluster.wait_state(1, "primary");
    stage.look_on(Duration::from_secs(5));
    stage.always_ready(1);
    1
}

/// For longer than `hold`: nobody takes writes until it is back.
fn monitor_gone(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.monitor.crash();
    stage.wait_maint(1);
    stage.look_on(LONG);
    stage.cluster.monitor.start();
    stage.wait_ready(1);
    stage.wait_row(1);
    1
}

/// The primary goes on, until its standby is lost, too; the monitor refuses at first, and then its host is silent.
fn monitor_gone_standbys(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.monitor.crash();
    stage.look_on(LONG);
    for node in [1, 2] {
        stage.cluster.cut(node, MONITOR);
    }
    stage.look_on(2 * LONG);
    stage.always_ready(1);
    stage.cluster.cut(1, 2);
    stage.wait_maint(1);
    stage.cluster.heal(1, 2);
    for node in [1, 2] {
        stage.cluster.heal(node, MONITOR);
    }
    stage.cluster.monitor.start();
    stage.wait_ready(1);
    1
}

/// The monitor reaches the server and does not fail over; then it does not reach it.
fn keeper_killed_then_cut(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.node_mut(1).kill_keeper();
    stage.look_on(LONG);
    stage.always_ready(1);
    stage.cluster.cut(1, 2);
    stage.cluster.cut(1, MONITOR);
    let new = stage.wait_new_primary(1);
    stage.look_on(LONG);
    new
}

/// Every process of its host, and its server started as it lies there.
fn host_killed_by_hand(stage: &mut Stage) -> u8 {
    let new = host_lost(stage);
    stage.cluster.node(1).start_server();
    stage.wait_writable(1);
    stage.look_on(LONG);
    new
}

fn host_killed_by_keeper(stage: &mut Stage) -> u8 {
    let new = host_lost(stage);
    stage.cluster.node_mut(1).start();
    stage.cluster.wait_state(1, "secondary");
    stage.wait_replica(1, "READY");
    new
}

fn host_lost(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.node_mut(1).crash();
    stage.wait_new_primary(1)
}

/// An operator takes the primary out, and gives it back.
fn maintenance(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.autoctl_of(1, &["enable", "maintenance", "--allow-failover"]);
    let new = stage.wait_new_primary(1);
    stage.cluster.autoctl_of(1, &["disable", "maintenance"]);
    stage.cluster.wait_state(1, "secondary");
    stage.wait_replica(1, "READY");
    new
}

/// By an operator, while its server lives and its keeper cannot stop it.
fn dropped(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.node_mut(1).kill_keeper();
    stage.cluster.autoctl(&["drop", "node", "--name", "node1", "--force"]);
    let new = stage.wait_new_primary(1);
    stage.look_on(LONG);
    new
}

/// Its rows are those of before a switchover.
fn monitor_restored(stage: &mut Stage) -> u8 {
    let rows = stage.cluster.monitor_rows();
    stage.fault();
    stage.cluster.autoctl(&["perform", "switchover"]);
    stage.wait_new_primary(1);
    stage.cluster.wait_state(1, "secondary");
    stage.cluster.wait_state(2, "primary");
    stage.cluster.restore_monitor(&rows);
    stage.look_on(2 * LONG);
    2
}

/// To another node of three.
fn switched_of_three(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.autoctl(&["perform", "switchover"]);
    let new = stage.wait_new_primary(1);
    stage.cluster.wait_state(1, "secondary");
    stage.cluster.wait_state(new, "primary");
    new
}

fn cut_of_three(stage: &mut Stage) -> u8 {
    stage.fault();
    for other in [2, 3, MONITOR] {
        stage.cluster.cut(1, other);
    }
    let new = stage.wait_new_primary(1);
    stage.look_on(LONG);
    new
}
