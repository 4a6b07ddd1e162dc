//! A paused cluster: Patroni looks on and leaves everything as it is.

use crate::scenarios::LONG_ENOUGH;
use crate::stage::Stage;

/// Node 2 is promoted by hand and takes writes. The lock is node 1's.
pub fn promoted_by_hand(stage: &mut Stage) -> u8 {
    stage.cluster.pause(true);
    stage.fault();
    promote(stage);
    stage.look_on(2 * LONG_ENOUGH);
    stage.always_ready(1);
    stage.never_ready(2, None);
    1
}

/// Promotes node 2 by SQL.
pub fn promote(stage: &Stage) {
    let done = stage.cluster.node(2).sql("select pg_promote(true, 60)");
    assert_eq!(done, "t", "n2 is not promoted");
}
