//! The schedules that broke release 0.1.0, each on the real parts: nobody acts but repmgr, and only
//! links and processes fail.

use std::time::Duration;

use crate::fixtures::now;
use crate::fixtures::repmgr::WITNESS;
use crate::scenarios::LONG_ENOUGH;
use crate::stage::Stage;

/// From the loss of one link to that of the other: the second standby has just begun to miss the
/// primary when the first one is elected, and follows it at once because it is told to.
const APART: Duration = Duration::from_secs(24);

/// Two links are lost one after the other, each within repmgr's patience of the next moment.
pub fn staggered(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.cut(1, 2);
    stage.look_on(APART);
    stage.cluster.cut(1, 3);
    moved_away(stage)
}

/// repmgr promotes at the first lost ping: one attempt has no pause behind it, whatever
/// `reconnect_interval` says.
pub fn one_attempt(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.partition(&[&[1], &[2, 3]]);
    moved_away(stage)
}

/// Waits for the new primary, heals and gives the old one back.
fn moved_away(stage: &mut Stage) -> u8 {
    let new = stage.wait_new_primary(1);
    let moved = now();
    stage.look_on(LONG_ENOUGH);
    stage.cluster.heal();
    stage.look_on(LONG_ENOUGH);
    stage.cluster.rejoin(1, new);
    stage.wait_row(new);
    stage.never_ready_since(1, moved);
    new
}

/// The witness has an old notice to follow node 2, from a promotion that came to nothing; when node 2 is
/// promoted in earnest the witness's repmgrd acts on it too early, and hangs at the old primary.
pub fn stale_witness(stage: &mut Stage) -> u8 {
    stage.cluster.cut(1, 2);
    stage.cluster.wait_promoted(2);
    stage.cluster.heal();
    stage.cluster.rejoin(2, 1);
    stage.wait_ready(1);
    stage.look_on(LONG_ENOUGH);
    stage.begin_here();

    stage.fault();
    stage.cluster.partition(&[&[1], &[2, WITNESS]]);
    stage.wait_maint(1);
    let out = now();
    stage.cluster.wait_promoted(2);
    stage.look_on(2 * LONG_ENOUGH);
    let told = "select concat_ws(' ', repmgr.get_upstream_node_id(), \
                repmgr.get_upstream_last_seen(), repmgr.get_new_primary())";
    let said = stage.cluster.node(WITNESS).ask(told);
    println!("the witness follows, saw it so many seconds ago, was told to follow: {said:?}");
    stage.cluster.heal();
    stage.look_on(2 * LONG_ENOUGH);
    stage.cluster.rejoin(1, 2);
    stage.wait_row(2);
    stage.never_ready_since(1, out);
    2
}

/// A standby is down when the primary and the other standby lose each other: that one is promoted, by
/// nobody's vote. Started again, the first one follows the old primary, which it reaches.
pub fn left_out(stage: &mut Stage) -> u8 {
    stage.cluster.crash(2);
    stage.cluster.wait_inactive(2, 1);
    stage.look_on(LONG_ENOUGH);
    stage.fault();
    stage.cluster.cut(1, 3);
    stage.wait_maint(1);
    let out = now();
    stage.wait_ready(3);
    stage.wait_row(3);
    stage.look_on(LONG_ENOUGH);
    stage.cluster.start_server(2);
    stage.look_on(2 * LONG_ENOUGH);
    // Now only the operator knows better, who lets it follow the new primary.
    stage.cluster.rejoin(2, 3);
    stage.wait_ready(3);
    stage.cluster.heal();
    stage.look_on(LONG_ENOUGH);
    stage.cluster.rejoin(1, 3);
    stage.wait_row(3);
    stage.never_ready_since(1, out);
    3
}
