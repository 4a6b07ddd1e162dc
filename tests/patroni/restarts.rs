//! Patroni of the leader is silent for a while, and PostgreSQL is well: no session is to notice.

use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::now;
use crate::fixtures::patroni::{LOOP_WAIT, PATIENCE, RETRY_TIMEOUT, TTL};
use crate::fixtures::{Beat, eventually};
use crate::stage::Stage;

/// What a lease bridges at least: with so short a loop its start is `loop_wait + retry_timeout` before the last
/// read, which is up to a `loop_wait` old and known to two looks; then what HAProxy remembers, and the margin.
pub const LEASE: Duration = Duration::from_secs(TTL - 2 * LOOP_WAIT - RETRY_TIMEOUT - 5);

/// Longer than the last good look may be old when the silence begins.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Any round that was under way so long ago has been decided, and rolecall has looked twice since.
const DECIDED: Duration = Duration::from_secs(LOOP_WAIT + RETRY_TIMEOUT + 2);

/// How long Patroni is frozen.
const FROZEN: Duration = Duration::from_secs(7);

/// What several silences came to.
#[derive(Default)]
struct Count {
    times: usize,
    cut: usize,
    needless: usize,
    longest: Duration,
}

/// Patroni is stopped and started again, in a paused cluster, in which it leaves its server alone. What is
/// shorter than `bridged` must cost no session and no READY.
pub fn paused(stage: &mut Stage, times: usize, bridged: Duration) -> u8 {
    stage.cluster.pause(true);
    many(stage, times, bridged, |stage| {
        stage.cluster.node_mut(1).stop_patroni();
        stage.cluster.node_mut(1).start();
    })
}

/// Patroni alone is killed, and started again at once.
pub fn killed(stage: &mut Stage, times: usize) -> u8 {
    many(stage, times, LEASE, |stage| {
        stage.cluster.node_mut(1).kill_patroni();
        stage.cluster.node_mut(1).start();
    })
}

/// Patroni stands still for a while.
pub fn frozen(stage: &mut Stage, times: usize) -> u8 {
    many(stage, times, LEASE, |stage| {
        stage.cluster.node(1).freeze_patroni();
        stage.look_on(FROZEN);
        stage.cluster.node(1).thaw_patroni();
    })
}

fn many(stage: &mut Stage, times: usize, bridged: Duration, silence: fn(&mut Stage)) -> u8 {
    lease_is_known(stage, 1);
    stage.fault();
    let mut count = Count::default();
    for _ in 0..times {
        let session = stage.session();
        let (began, before) = (now(), taken_back(stage));
        silence(stage);
        let gap = longest_gap(stage, 1, began, now());
        // Or the next silence would add to this one.
        lease_is_known(stage, 1);
        stage.wait_ready(1);
        stage.wait_row(1);
        // HAProxy's check must have passed before the next one (`UP 1/2` has no reserve).
        stage.haproxy.wait("postgres_rw/pg1", PATIENCE, "is up", |s| s.status == "UP");
        let lost = is_lost(&session.stop());
        let said_no = taken_back(stage) > before;
        count.times += 1;
        count.cut += usize::from(lost);
        count.needless += usize::from(said_no);
        count.longest = count.longest.max(gap);
        assert!(
            !said_no || gap + LAST_LOOK >= bridged,
            "a silence of {gap:?} took READY back, and {bridged:?} are bridged"
        );
        assert!(said_no || !lost, "a session was cut, and rolecall said READY throughout");
    }
    let Count { times, cut, needless, longest } = count;
    stage.note = format!(
        "; {cut} of {times} sessions cut, READY taken back {needless} times, longest silence {longest:.1?}"
    );
    stage.never_ready(2, None);
    1
}

/// Waits until the lease of node `id` counts from a round of Patroni's loop that is seen from now on: one that
/// was decided before another one ended. On a busy machine a round takes longer than it should.
pub fn lease_is_known(stage: &Stage, id: u8) {
    let node = stage.cluster.node(id);
    node.wait_round();
    stage.look_on(DECIDED);
    node.wait_round();
    stage.look_on(LAST_LOOK);
}

/// The longest time without Patroni's word that it leads a running server, once it says so again.
pub fn longest_gap(stage: &Stage, id: u8, began: Stamp, over: Stamp) -> Duration {
    eventually(PATIENCE, "Patroni is back", || {
        let since = stage.usual_of(id, began);
        let leads = since.iter().filter(|seen| seen.strict).map(|seen| seen.at);
        let back = since.last().is_some_and(|last| last.strict && last.at > over);
        let moments: Vec<Stamp> = std::iter::once(began).chain(leads).collect();
        let gaps = moments.windows(2).map(|pair| pair[1].since(pair[0]));
        gaps.max().filter(|_| back).ok_or("not back")
    })
}

fn taken_back(stage: &Stage) -> usize {
    stage.taken_back("not_ready") + stage.taken_back("unknown")
}

fn is_lost(beats: &[Beat]) -> bool {
    beats.iter().any(|beat| beat.answer.is_err())
}
