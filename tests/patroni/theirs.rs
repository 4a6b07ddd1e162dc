//! HAProxy with Patroni's own template on the same cluster, and its clients.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::patroni::{PATIENCE, REST_PORT};
use crate::fixtures::rows::{Row, Taken, writer_every};
use crate::fixtures::{
    FRONT_PORT, Ground, Haproxy, PG_PORT, Recorder, Sample, Session, haproxies, now, sampler,
};
use crate::stage::{READ_PORT, Stage};

/// Longest single wait of a client.
const WITHIN: Duration = Duration::from_secs(1);

/// Its writer's rows have the numbers after this one: more than the other writer ever writes.
const ITS_ROWS: u64 = 1_000_000_000;

/// One client that came to read.
#[derive(Debug, Clone, Copy)]
struct Visit {
    at: Stamp,
    served: bool,
}

/// HAProxy with the template, and its clients; and those who read through rolecall's.
pub struct Beside {
    pub writes: Recorder<Row>,
    pub reads: Readers,
    pub own_reads: Readers,
    pub servers: Recorder<Sample>,
    pub haproxy: Haproxy,
    ground: Ground,
}

/// As Patroni's repository has it (`extras`, `haproxy.cfg`), with replicas as its documentation has them.
fn template(stage: &Stage, own: &Ground) -> String {
    let nodes = stage.cluster.nodes().iter().map(|node| node.id);
    let servers: Vec<String> = nodes
        .map(|id| {
            let (at, rest) = (stage.ground.addr(id, PG_PORT), stage.ground.addr(id, REST_PORT));
            let (host, port) = (rest.ip(), rest.port());
            format!("    server n{id} {at} maxconn 100 check addr {host} port {port}\n")
        })
        .collect();
    let servers = servers.concat();
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

/// Several clients that read, each 75 ms after it came last and over a connection of its own. One alone is no
/// measure of a pool: once in sixty rows a single one stood still for a second, which nobody
/// has explained.
pub struct Readers([Recorder<Visit>; 3]);

impl Readers {
    fn start(front: SocketAddr) -> Self {
        let reader = |_| {
            Recorder::start(Duration::from_millis(75), move || {
                let session = Session::connect_as(front, "app", "postgres", WITHIN);
                let served = session.and_then(|mut session| session.value("select 1")).is_ok();
                Some(Visit { at: now(), served })
            })
        };
        Self([0; 3].map(reader))
    }

    /// Waits until each of them is served.
    fn wait(&self) {
        for reader in &self.0 {
            reader.wait(PATIENCE, "a reader is served", |visit| visit.served);
        }
    }

    /// When somebody was served.
    pub fn served(&self) -> Vec<Stamp> {
        let all = self.0.iter().flat_map(Recorder::all);
        let mut served: Vec<Stamp> = all.filter(|visit| visit.served).map(|v| v.at).collect();
        served.sort_unstable();
        served
    }
}

/// Longest time from one client that was served to the next, since `from`.
pub fn longest(served: impl Iterator<Item = Stamp>, from: Stamp) -> Duration {
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

/// When rows were taken.
pub fn taken(rows: &[Row]) -> impl Iterator<Item = Stamp> {
    rows.iter().filter(|row| matches!(row.taken, Taken::By { .. })).map(|row| row.at)
}

impl Beside {
    /// Starts it and waits until both its pools serve.
    pub fn start(stage: &Stage) -> Self {
        let ground = Ground::new();
        let cfg = ground.write("template.cfg", &template(stage, &ground));
        let program: &Path = &haproxies()[0].1;
        let haproxy = Haproxy::start(&ground, program, &cfg, &[]);
        let beside = Self {
            writes: writer_every(ground.addr(1, FRONT_PORT), ITS_ROWS, stage.every),
            reads: Readers::start(ground.addr(1, READ_PORT)),
            own_reads: Readers::start(stage.read_front()),
            servers: sampler(haproxy.stats()),
            haproxy,
            ground,
        };
        beside.wait_writes();
        beside.reads.wait();
        beside.own_reads.wait();
        beside
    }

    /// Where its clients come to who write, and who only read.
    pub fn fronts(&self) -> [SocketAddr; 2] {
        [FRONT_PORT, READ_PORT].map(|port| self.ground.addr(1, port))
    }

    /// Waits until somebody writes through it.
    pub fn wait_writes(&self) {
        let taken = |row: &Row| matches!(row.taken, Taken::By { .. });
        self.writes.wait(PATIENCE, "the template's writer writes", taken);
    }

    /// Waits until everybody reads through it.
    pub fn wait_reads(&self) {
        self.reads.wait();
    }

    /// Longest time without reads since `from`: behind rolecall, and behind the template.
    pub fn without_reads(&self, from: Stamp) -> (Duration, Duration) {
        let of = |readers: &Readers| longest(readers.served().into_iter(), from);
        (of(&self.own_reads), of(&self.reads))
    }

    /// The same of writes.
    pub fn without_writes(&self, stage: &Stage, from: Stamp) -> (Duration, Duration) {
        let of = |rows: &Recorder<Row>| longest(taken(&rows.all()), from);
        (of(&stage.rows), of(&self.writes))
    }
}
