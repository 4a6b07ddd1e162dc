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
///
/// `hold` bridges the time in which nobody answers. It does not bridge what a starting Patroni says
/// before it has read who holds the lock: `503`, as of an old leader, for about 0.1 s. A look that meets
/// it is a no.
pub fn restarts(stage: &mut Stage, hold: Duration) -> u8 {
    stage.cluster.pause(true);
    stage.fault();
    let (mut cut, mut longest) = (0, Duration::ZERO);
    for _ in 0..RESTARTS {
        let session = stage.session();
        let (began, before) = (now(), stage.taken_back("unknown"));
        let said_no = stage.taken_back("not_ready");
        stage.cluster.node_mut(1).stop_patroni();
        stage.cluster.node_mut(1).start();
        let back = eventually(PATIENCE, "Patroni is back", || {
            let since = stage.usual_of(1, began);
            let gone = since.iter().position(|u| !u.strict).ok_or("not gone")?;
            since[gone..].iter().find(|u| u.strict).map(|u| u.at).ok_or("not back")
        });
        let gap = back.since(began);
        longest = longest.max(gap);
        // rolecall must have seen it too, or the next silence would add to this one.
        stage.look_on(Duration::from_secs(2));
        stage.wait_ready(1);
        stage.wait_row(1);
        // HAProxy's check must have passed before the next one (`UP 1/2` has no reserve).
        stage.haproxy.wait("postgres_rw/pg1", PATIENCE, "is up", |s| s.status == "UP");
        let lost = session.stop().iter().any(|b| b.answer.is_err());
        cut += usize::from(lost);
        let ran_out = stage.taken_back("unknown") > before;
        // The last good look was up to an interval and its own time before the end began.
        let bridged = gap + Duration::from_secs(2) < hold;
        assert!(!(ran_out && bridged), "a gap of {gap:?} was not bridged by a hold of {hold:?}");
        let reason = ran_out || stage.taken_back("not_ready") > said_no;
        assert!(reason || !lost, "a session was cut, and rolecall said READY throughout");
    }
    let (no, unknown) = (stage.taken_back("not_ready"), stage.taken_back("unknown"));
    stage.note = format!(
        "; {cut} of {RESTARTS} sessions cut, longest gap {longest:.1?}, {unknown} past hold, {no} by a 503"
    );
    stage.never_ready(2, None);
    1
}
