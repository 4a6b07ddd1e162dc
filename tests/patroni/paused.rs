//! A paused cluster: Patroni looks on and leaves everything as it is.

use std::time::Duration;

use crate::fixtures::patroni::PATIENCE;
use crate::fixtures::{eventually, now};
use crate::scenarios::LONG_ENOUGH;
use crate::stage::Stage;

/// How often Patroni is restarted.
const RESTARTS: usize = 10;

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

/// Patroni of the leader is stopped and started again, PostgreSQL runs on. Counts the sessions that it
/// cost.
pub fn restarts(stage: &mut Stage, hold: Duration) -> u8 {
    stage.cluster.pause(true);
    stage.fault();
    let (mut cut, mut longest) = (0, Duration::ZERO);
    for _ in 0..RESTARTS {
        let session = stage.session();
        let began = now();
        stage.cluster.node_mut(1).stop_patroni();
        stage.cluster.node_mut(1).start();
        let back = eventually(PATIENCE, "Patroni is back", || {
            let since = stage.usual_of(1, began);
            let gone = since.iter().position(|u| !u.strict).ok_or("not gone")?;
            since[gone..].iter().find(|u| u.strict).map(|u| u.at).ok_or("not back")
        });
        let gap = back.since(began);
        longest = longest.max(gap);
        stage.wait_ready(1);
        stage.wait_row(1);
        let beats = session.stop();
        assert!(beats[0].answer.is_ok(), "no session: {:?}", beats[0]);
        let lost = beats.iter().any(|b| b.answer.is_err());
        cut += usize::from(lost);
        // The last good look was up to an interval before the end began.
        let sure = gap + Duration::from_millis(500) < hold;
        assert!(!(lost && sure), "a session was cut by a gap of {gap:?}, hold {hold:?}");
        // HAProxy's check must have passed before the next one (`UP 1/2` has no reserve).
        stage.haproxy.wait("postgres_rw/pg1", PATIENCE, "is up", |s| s.status == "UP");
    }
    stage.note = format!("; {cut} of {RESTARTS} sessions cut, longest gap {longest:.1?}");
    stage.never_ready(2, None);
    1
}
