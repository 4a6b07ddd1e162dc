//! Patroni's own HAProxy template on the same cluster, and what its clients notice beside rolecall's.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rolecall::look::stamp::Stamp;
use serde_json::json;

use crate::fixtures::patroni::REST_PORT;
use crate::fixtures::rows::{Row, Taken};
use crate::fixtures::{FRONT_PORT, Ground, Haproxy, PG_PORT, Recorder, Session, haproxies, now};
use crate::scenarios::LONG_ENOUGH;
use crate::stage::{READ_PORT, Stage};

/// Longest single wait of a client.
const WITHIN: Duration = Duration::from_secs(1);

/// What is allowed beside the template's: four clusters play at a time on this machine, and a look whose Patroni
/// is that slow takes as long.
const BUSY: Duration = Duration::from_millis(1500);

/// One client that came.
#[derive(Debug, Clone, Copy)]
struct Visit {
    at: Stamp,
    served: bool,
}

/// HAProxy with the template, and its clients.
pub struct Beside {
    writes: Recorder<Visit>,
    reads: Recorder<Visit>,
    own_reads: Recorder<Visit>,
    _haproxy: Haproxy,
    _ground: Ground,
}

/// As Patroni's repository has it (`extras`, `haproxy.cfg`), with replicas as its documentation has them.
fn template(stage: &Stage, own: &Ground) -> String {
    let servers: String = [1, 2]
        .map(|id| {
            let (at, rest) = (stage.ground.addr(id, PG_PORT), stage.ground.addr(id, REST_PORT));
            let (host, port) = (rest.ip(), rest.port());
            format!("    server n{id} {at} maxconn 100 check addr {host} port {port}\n")
        })
        .concat();
    let pool = |name: &str, port: u16| {
        format!(
            "listen {name}\n    bind {}\n    option httpchk OPTIONS /{name}\n\
             \x20   http-check expect status 200\n\
             \x20   default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions\n{servers}\n",
            own.addr(1, port)
        )
    };
    format!(
        "global\n    maxconn 100\n    user \"${{ROLECALL_HAPROXY_USER}}\"\n\
         \x20   group \"${{ROLECALL_HAPROXY_GROUP}}\"\n\
         \x20   stats socket \"${{ROLECALL_STATS_SOCKET}}\" mode 660 level admin\n\
         defaults\n    mode tcp\n    retries 2\n    timeout client 30m\n    timeout connect 4s\n\
         \x20   timeout server 30m\n    timeout check 5s\n\n{}{}",
        pool("primary", FRONT_PORT),
        pool("replica", READ_PORT)
    )
}

/// Clients every 25 ms, each over a connection of its own.
fn visitor(front: SocketAddr, sql: &'static str) -> Recorder<Visit> {
    Recorder::start(Duration::from_millis(25), move || {
        let session = Session::connect_as(front, "app", "postgres", WITHIN);
        let served = session.and_then(|mut session| session.value(sql)).is_ok();
        Some(Visit { at: now(), served })
    })
}

/// Longest time from one client that was served to the next, since `from`.
fn longest(served: impl Iterator<Item = Stamp>, from: Stamp) -> Duration {
    let mut last = None;
    let mut longest = Duration::ZERO;
    for at in served {
        if let Some(last) = last.filter(|_| at >= from) {
            longest = longest.max(at.since(last));
        }
        last = Some(at);
    }
    assert!(last.is_some_and(|last| last >= from), "nobody was served again");
    longest
}

impl Beside {
    /// Starts it and waits until both its pools serve.
    pub fn start(stage: &Stage) -> Self {
        let ground = Ground::new();
        let cfg = ground.write("template.cfg", &template(stage, &ground));
        let program: &Path = &haproxies()[0].1;
        let haproxy = Haproxy::start(&ground, program, &cfg, &[]);
        // No row of the ledger's, whose numbers begin with 1.
        let write = "insert into rows (n) values (0) returning 'taken'";
        let writes = visitor(ground.addr(1, FRONT_PORT), write);
        let reads = visitor(ground.addr(1, READ_PORT), "select 1");
        let own_reads = visitor(stage.read_front(), "select 1");
        for visits in [&writes, &reads, &own_reads] {
            visits.wait_since(0, crate::fixtures::patroni::PATIENCE, "is served", |v| v.served);
        }
        Self { writes, reads, own_reads, _haproxy: haproxy, _ground: ground }
    }

    /// Longest time without reads since `from`: behind rolecall, and behind the template.
    fn without_reads(&self, from: Stamp) -> (Duration, Duration) {
        let of = |visits: &Recorder<Visit>| {
            let all = visits.all();
            longest(all.iter().filter(|visit| visit.served).map(|visit| visit.at), from)
        };
        (of(&self.own_reads), of(&self.reads))
    }

    /// The same of writes.
    fn without_writes(&self, stage: &Stage, from: Stamp) -> (Duration, Duration) {
        let rows: Vec<Row> = stage.rows_so_far();
        let taken = rows.iter().filter(|row| matches!(row.taken, Taken::By { .. }));
        let theirs = self.writes.all();
        let theirs = theirs.iter().filter(|visit| visit.served).map(|visit| visit.at);
        (longest(taken.map(|row| row.at), from), longest(theirs, from))
    }
}

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
    beside.writes.wait(LONG_ENOUGH * 6, "the template serves", |visit| visit.served);
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
    beside.reads.wait(LONG_ENOUGH * 6, "the template serves", |visit| visit.served);
    stage.look_on(LONG_ENOUGH);
    stage.always_ready(1);
    let (own, theirs) = beside.without_reads(from);
    let gone = gone.as_secs_f64();
    let (own_s, theirs_s) = (own.as_secs_f64(), theirs.as_secs_f64());
    stage.note_that(format_args!(
        "; MAINT after {gone:.2}, no reads {own_s:.2} (template {theirs_s:.2})"
    ));
    // A look and a question of HAProxy's: there is no other replica that it could give to those who read.
    let most = Duration::from_secs(1) + BUSY;
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
    beside.writes.wait(LONG_ENOUGH * 6, "the template serves", |visit| visit.served);
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
