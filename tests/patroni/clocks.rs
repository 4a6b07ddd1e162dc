//! The wall clock of the leader's host is set. Patroni goes by it twice: its API says 200 until `ttl` after the last
//! renewal, and its loop sleeps until the next round (`schedule_next_run`), so a clock that is set back stops it.

use crate::fixtures::now;
use crate::lost_dcs::wait_anybody;
use crate::restarts::lease_is_known;
use crate::scenarios::{LONG_ENOUGH, is_cut};
use crate::stage::Stage;

const HOUR: i64 = 3600;

/// The loop stops for 7 s, which the lease bridges: nobody notices.
pub fn back_a_little(stage: &mut Stage) -> u8 {
    lease_is_known(stage, 1);
    let session = stage.session();
    stage.fault();
    step(stage, -7);
    stage.look_on(2 * LONG_ENOUGH);
    stage.always_ready(1);
    let lost = session.stop().into_iter().find(|beat| beat.answer.is_err());
    assert!(lost.is_none(), "the session was lost: {lost:?}");
    stage.never_ready(2, None);
    1
}

/// The loop stops until the store has let the lock go, and the API says 200 for an hour: READY ends before the lock
/// does.
pub fn back_an_hour(stage: &mut Stage) -> u8 {
    lease_is_known(stage, 1);
    let session = stage.session();
    stage.fault();
    step(stage, -HOUR);
    stage.wait_maint(1);
    let said = stage.cluster.node(1).get("/primary").expect("Patroni's API goes on");
    assert_eq!(said.status, 200, "its API was to know nothing of it: {}", said.body);
    let new = wait_anybody(stage);
    stage.wait_row(new);
    stage.look_on(LONG_ENOUGH);
    is_cut(&session.stop());
    new
}

/// The lock has ended by Patroni's own word, until its next round, which comes at once.
pub fn forward(stage: &mut Stage) -> u8 {
    stage.fault();
    for hours in [1, 2] {
        step(stage, hours * HOUR);
        stage.look_on(LONG_ENOUGH);
    }
    stage.wait_ready(1);
    stage.wait_row(1);
    stage.never_ready(2, None);
    1
}

/// Patroni stands still until another has the lock, and its clock goes back meanwhile: when it runs on its lock has not
/// ended by its clock.
pub fn back_while_frozen(stage: &mut Stage) -> u8 {
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

fn step(stage: &Stage, seconds: i64) {
    let clock = stage.cluster.node(1).clock.as_ref();
    clock.expect("the setting has a clock that can be set").step(seconds);
}
