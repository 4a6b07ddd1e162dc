//! Etcd takes connections and answers nobody.

use std::time::Duration;

use crate::fixtures::patroni::{LOOP_WAIT, PATIENCE, RETRY_TIMEOUT, TTL};
use crate::fixtures::{eventually, now};
use crate::paused::promote;
use crate::scenarios::{LONG_ENOUGH, is_cut};
use crate::stage::Stage;

/// When every lock of before has run out.
const LOCKS_END: Duration = Duration::from_secs(TTL + LOOP_WAIT + RETRY_TIMEOUT);

/// Nobody may take writes, and nobody is READY.
pub fn without_failsafe(stage: &mut Stage) -> u8 {
    let session = stage.session();
    stage.fault();
    stage.cluster.store.freeze();
    stage.wait_maint(1);
    stage.look_on(LONG_ENOUGH);
    stage.cluster.store.thaw();
    let new = wait_anybody(stage);
    stage.wait_row(new);
    stage.look_on(LONG_ENOUGH);
    is_cut(&session.stop());
    new
}

/// The leader has the word of every member, and goes on: clients notice nothing. Once the store is back its
/// Patroni may say 503 for a moment, until it has the lock anew, and that is a no for one look.
pub fn with_failsafe(stage: &mut Stage) -> u8 {
    let session = stage.session();
    stage.fault();
    stage.cluster.store.freeze();
    stage.look_on(LOCKS_END + LONG_ENOUGH);
    stage.always_ready(1);
    let beats = session.stop();
    stage.cluster.store.thaw();
    stage.look_on(LONG_ENOUGH);
    stage.wait_ready(1);
    stage.never_ready(2, None);
    let lost = beats.iter().find(|b| b.answer.is_err());
    assert!(lost.is_none(), "the session was lost: {lost:?}");
    1
}

/// Paused, Patroni knows no lock any more and goes by the server's role, on both nodes. Node 2 was out while
/// there was a store and stays so, also where its rolecall is restarted meanwhile.
pub fn paused_and_two_writable(stage: &mut Stage) -> u8 {
    stage.cluster.pause(true);
    stage.fault();
    promote(stage);
    stage.look_on(LONG_ENOUGH);
    stage.cluster.store.freeze();
    eventually(PATIENCE, "Patroni of n2 says that it leads", || {
        let said = stage.cluster.node(2).get("/primary").map_err(|e| e.to_string())?;
        if said.status == 200 { Ok(()) } else { Err(said.body) }
    });
    stage.look_on(LONG_ENOUGH);
    stage.restart_rolecall(2);
    stage.look_on(LONG_ENOUGH);
    stage.always_ready(1);
    stage.never_ready(2, None);
    1
}

/// The same where a lock is required: nobody is READY until somebody holds it again. Node 2 is promoted
/// after that, so that every row of before is older.
pub fn paused_and_lock_required(stage: &mut Stage) -> u8 {
    stage.cluster.pause(true);
    stage.fault();
    stage.cluster.store.freeze();
    stage.wait_maint(1);
    let lost = now();
    promote(stage);
    stage.look_on(LOCKS_END);
    stage.never_ready(1, Some(lost));
    stage.never_ready(2, Some(lost));
    stage.cluster.store.thaw();
    // Both are fit for it: it is whoever asks first.
    let new = wait_anybody(stage);
    stage.wait_row(new);
    stage.look_on(LONG_ENOUGH);
    new
}

/// Waits until one of the nodes, none of which is READY, is.
pub fn wait_anybody(stage: &Stage) -> u8 {
    eventually(PATIENCE, "somebody is READY", || {
        [1, 2].into_iter().find(|id| stage.is_ready_now(*id)).ok_or("nobody")
    })
}
