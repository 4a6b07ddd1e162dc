//! What befalls a cluster where its clients notice: those of rolecall's HAProxy beside those of Patroni's own
//! template.

use std::time::Duration;

use serde_json::json;

use crate::fixtures::now;
use crate::scenarios::LONG_ENOUGH;
use crate::stage::Stage;
use crate::theirs::Beside;

/// What is allowed beside the template's, whose server stays up while PostgreSQL is dead: rolecall's hurried look
/// (100 ms), HAProxy's next question (`agent-inter`, 500 ms), and 400 ms for a machine on which four clusters
/// play at a time. The most that was seen at a load of 34 on two cores was 0.56 s.
const BUSY: Duration = Duration::from_secs(1);

/// Longest time without reads while another replica serves: three readers come every 75 ms each.
const REDISPATCHED: Duration = Duration::from_millis(300);

/// Notes what was seen of both, and holds rolecall's to the template's.
fn no_longer(stage: &mut Stage, what: &str, (own, theirs): (Duration, Duration)) {
    let (own_s, theirs_s) = (own.as_secs_f64(), theirs.as_secs_f64());
    stage.note_that(format_args!("; no {what} {own_s:.2} (template {theirs_s:.2})"));
    assert!(own <= theirs + BUSY, "no {what} for {own:?}, with the template for {theirs:?}");
}

/// What befalls PostgreSQL of the leader while its Patroni is well: it is back soon, and still the leader.
fn restarted(stage: &mut Stage, befall: fn(&Stage)) -> u8 {
    let beside = Beside::start(stage);
    stage.fault();
    let from = now();
    befall(stage);
    stage.wait_row(1);
    beside.wait_writes();
    stage.look_on(LONG_ENOUGH);
    stage.never_ready(2, None);
    let writes = beside.without_writes(stage, from);
    no_longer(stage, "writes", writes);
    let reads = beside.without_reads(from);
    no_longer(stage, "reads", reads);
    1
}

/// `kill -9` of everything that is PostgreSQL.
pub fn crashed(stage: &mut Stage) -> u8 {
    restarted(stage, |stage| stage.cluster.node(1).kill_postgres())
}

/// A fast stop behind Patroni's back.
pub fn stopped_fast(stage: &mut Stage) -> u8 {
    restarted(stage, |stage| stage.cluster.node(1).stop_postgres_fast())
}

/// `POST /restart`, as `patronictl restart` does.
pub fn restarted_by_patroni(stage: &mut Stage) -> u8 {
    restarted(stage, |stage| stage.cluster.tell(1, "POST /restart", &json!({})))
}

/// PostgreSQL of the replica is killed: those who read reach somebody.
pub fn crashed_replica(stage: &mut Stage) -> u8 {
    let beside = Beside::start(stage);
    stage.wait_read(2);
    stage.fault();
    let from = now();
    stage.cluster.node(2).kill_postgres();
    stage.wait_replica(2, false);
    let gone = now().since(from);
    stage.wait_replica(2, true);
    stage.wait_read(2);
    beside.wait_reads();
    stage.look_on(LONG_ENOUGH);
    stage.always_ready(1);
    let (own, theirs) = beside.without_reads(from);
    let gone = gone.as_secs_f64();
    let (own_s, theirs_s) = (own.as_secs_f64(), theirs.as_secs_f64());
    stage.note_that(format_args!(
        "; MAINT after {gone:.2}, no reads {own_s:.2} (template {theirs_s:.2})"
    ));
    // Another replica takes who was refused at once. Where there is none HAProxy has that client wait for a second; who
    // comes after MAINT is given to the leader.
    let alone = stage.cluster.nodes().len() == 2;
    let most = if alone { Duration::from_secs(1) + BUSY } else { REDISPATCHED };
    assert!(own <= most, "no reads for {own:?}");
    1
}

/// As `systemctl stop patroni` on the leader.
pub fn stopped_patroni(stage: &mut Stage) -> u8 {
    let beside = Beside::start(stage);
    stage.fault();
    let from = now();
    stage.cluster.node_mut(1).stop_patroni();
    stage.wait_ready(2);
    stage.wait_row(2);
    beside.wait_writes();
    stage.look_on(LONG_ENOUGH);
    let writes = beside.without_writes(stage, from);
    no_longer(stage, "writes", writes);
    let back = now();
    stage.cluster.node_mut(1).start();
    stage.wait_replica(1, true);
    stage.look_on(LONG_ENOUGH);
    stage.never_ready(1, Some(back));
    2
}
