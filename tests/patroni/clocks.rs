//! The wall clock of the leader's host is set. Patroni's API goes by it: it says 200 until `ttl` after its last renewal.

use std::time::Duration;

use crate::fixtures::now;
use crate::fixtures::patroni::TTL;
use crate::lost_dcs::wait_anybody;
use crate::restarts::lease_is_known;
use crate::scenarios::{LONG_ENOUGH, is_cut};
use crate::stage::Stage;

const HOUR: i64 = 3600;

/// While the loop makes its rounds nobody notices a clock that goes back. One that goes forward ends the lock by
/// Patroni's own word, until its next round has renewed it.
pub fn stepped(stage: &mut Stage) -> u8 {
    let session = stage.session();
    stage.fault();
    for seconds in [-7, -HOUR] {
        step(stage, seconds);
        stage.look_on(2 * LONG_ENOUGH);
    }
    stage.always_ready(1);
    let lost = session.stop().into_iter().find(|beat| beat.answer.is_err());
    assert!(lost.is_none(), "the session was lost: {lost:?}");
    for seconds in [HOUR, 2 * HOUR] {
        step(stage, seconds);
        stage.look_on(LONG_ENOUGH);
    }
    stage.wait_ready(1);
    stage.wait_row(1);
    stage.never_ready(2, None);
    1
}

/// Patroni stands still until another has the lock, and its clock goes back meanwhile: when it runs on its lock has not
/// ended by its clock.
pub fn stepped_while_frozen(stage: &mut Stage) -> u8 {
    let session = stage.session();
    stage.fault();
    stage.cluster.node(1).freeze_patroni();
    stage.wait_ready(2);
    stage.wait_row(2);
    step(stage, -HOUR);
    let back = now();
    stage.cluster.node(1).thaw_patroni();
    stage.wait_replica(1, true);
    stage.look_on(LONG_ENOUGH);
    stage.never_ready(1, Some(back));
    is_cut(&session.stop());
    2
}

/// Patroni's loop hangs, and its clock goes back: its API says 200 for an hour, with no lock behind it.
pub fn loop_hangs(stage: &mut Stage) -> u8 {
    lease_is_known(stage, 1);
    let session = stage.session();
    stage.fault();
    stage.cluster.node(1).hang_loop();
    step(stage, -HOUR);
    stage.wait_maint(1);
    let ended = now();
    stage.look_on(Duration::from_secs(TTL));
    let said = stage.cluster.node(1).get("/primary").expect("Patroni's API goes on");
    assert_eq!(said.status, 200, "its loop was to hang: {}", said.body);
    stage.never_ready(1, Some(ended));
    is_cut(&session.stop());
    stage.cluster.node(1).free_loop();
    let new = wait_anybody(stage);
    stage.wait_row(new);
    stage.look_on(LONG_ENOUGH);
    new
}

fn step(stage: &Stage, seconds: i64) {
    let clock = stage.cluster.node(1).clock.as_ref();
    clock.expect("the setting has a clock that can be set").step(seconds);
}
