//! Two HAProxy processes that no answer reaches: their sessions on the old primary, with `[fence]` and without.
//!
//! The nodes' agents say READY on one node at a time throughout. What is counted is rows that the old
//! primary took after the new one was READY, by clients that keep their sessions, as pools do.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rolecall::clock::Stamp;
use rustix::process::Signal;

use crate::fixtures::netns::host;
use crate::fixtures::repmgr::{CLIENT, PATIENCE, WITNESS};
use crate::fixtures::rows::{Row, Taken, keeping_writer};
use crate::fixtures::{FRONT_PORT, Ground, Haproxy, Recorder, haproxies, now};
use crate::scenarios::lives;
use crate::stage::{Stage, addresses_at, front, shipped_cfg};

/// Clients that keep a session at each HAProxy.
const CLIENTS: usize = 3;
/// Where clients reach the second HAProxy.
const SECOND_PORT: u16 = FRONT_PORT + 50;
/// Longer than a fence, an answer and a check take together after what stood still goes on.
const AFTER: Duration = Duration::from_secs(8);

/// A second HAProxy beside the stage's, and clients at both.
struct Pair {
    second: Haproxy,
    clients: Vec<Recorder<Row>>,
    _ground: Ground,
}

impl Pair {
    fn start(stage: &Stage) -> Self {
        let ground = Ground::new();
        let client = stage.cluster.net().space(CLIENT);
        let (_, program) = haproxies().swap_remove(0);
        let at = SocketAddr::from((host(CLIENT), SECOND_PORT));
        let shipped = shipped_cfg();
        let cfg = Path::new(&shipped);
        let second = Haproxy::start_in(Some(client), &ground, &program, cfg, &addresses_at(at));
        second.wait("postgres_rw/db1", PATIENCE, "is up", |s| s.status == "UP");
        let keep = |at| client.inside(move || keeping_writer(at));
        let clients: Vec<_> =
            [front(), at].into_iter().cycle().take(2 * CLIENTS).map(keep).collect();
        for client in &clients {
            client.wait_since(0, PATIENCE, "a row of a client", |row| by(row, 1).is_some());
        }
        Self { second, clients, _ground: ground }
    }

    /// Rows that node 1 took after the moment `ready`, by the server's clock.
    fn strays(&self, stage: &Stage, new: u8, ready: Stamp) -> usize {
        // Both clocks are this host's; between the two readings lies what makes the count too high.
        let before = now();
        let server = stage.cluster.node(new).ask("select extract(epoch from clock_timestamp())");
        let server: f64 = server.expect("the time").parse().expect("a number");
        let ready = server - before.since(ready).as_secs_f64();
        let rows = self.clients.iter().flat_map(Recorder::all);
        rows.filter(|row| by(row, 1).is_some_and(|at| at > ready)).count()
    }

    /// Looks on, and holds what was counted to what was configured.
    fn judge(self, stage: &mut Stage, story: &str, new: u8, ready: Stamp) {
        stage.look_on(AFTER);
        let strays = self.strays(stage, new, ready);
        let fence = stage.setting.fence;
        println!(
            "{story}, fence {fence}: {strays} rows on the old primary after the new one was READY"
        );
        if fence {
            assert_eq!(strays, 0, "{story}: rows on the old primary");
        } else {
            assert!(strays > 0, "{story}: the story shows nothing without a fence");
        }
    }
}

/// The moment at which node `id` took a row, if it did.
fn by(row: &Row, id: u8) -> Option<f64> {
    match row.taken {
        Taken::By { by, server_time } if by == id => Some(server_time),
        _ => None,
    }
}

/// The old primary is cut off from the other nodes, not from HAProxy.
fn cut_off(stage: &Stage) {
    stage.cluster.partition(&[&[1], &[2, 3, WITNESS]]);
}

fn heal(stage: &mut Stage, new: u8, ready: Stamp) -> u8 {
    stage.cluster.heal();
    stage.cluster.rejoin(1, new);
    stage.never_ready_since(1, ready);
    new
}

/// Both of them are reloaded, and their old workers, which check nobody any more, keep the sessions.
pub fn reloaded(stage: &mut Stage) -> u8 {
    let pair = Pair::start(stage);
    let session = stage.session();
    stage.haproxy.reload();
    pair.second.reload();
    // On a healthy primary the fence leaves them alone.
    stage.look_on(Duration::from_secs(3));
    lives(&session.stop());
    stage.fault();
    cut_off(stage);
    let new = stage.wait_new_ready(1);
    let ready = now();
    pair.judge(stage, "both HAProxys reloaded, then cut", new, ready);
    heal(stage, new, ready)
}

/// The primary's host and one HAProxy stand still together and go on after the failover.
pub fn paused(stage: &mut Stage) -> u8 {
    let pair = Pair::start(stage);
    stage.fault();
    pair.second.freeze();
    stage.roles[&1].signal(Signal::STOP);
    stage.cluster.freeze(1);
    let new = stage.wait_new_ready(1);
    let ready = now();
    stage.wait_row(new);
    stage.cluster.thaw(1);
    stage.roles[&1].signal(Signal::CONT);
    pair.second.thaw();
    pair.judge(stage, "host and HAProxy paused together", new, ready);
    heal(stage, new, ready)
}

/// One HAProxy stands still while the others fail over; the kernel keeps its sessions.
pub fn frozen(stage: &mut Stage) -> u8 {
    let pair = Pair::start(stage);
    stage.fault();
    pair.second.freeze();
    cut_off(stage);
    let new = stage.wait_new_ready(1);
    let ready = now();
    stage.wait_row(new);
    pair.second.thaw();
    pair.judge(stage, "a HAProxy frozen and thawed", new, ready);
    heal(stage, new, ready)
}
