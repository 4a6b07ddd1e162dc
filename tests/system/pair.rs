//! A primary, its standby, a rolecall for each and HAProxy in front, on the shipped configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fixtures::{
    AGENT_PORT, Beat, FRONT_PORT, Ground, Haproxy, Postgres, ROWS, Recorder, Rolecall, Sample,
    Write, Written, haproxies, held, lacks_postgres, missing, open_session, sampler, writer,
};
use crate::shipped_cfg::{CFG, PG1, PG2, SOON, addresses};

/// The program under test.
pub const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");

/// How often a row is written: often enough to see a gap of a tenth of a second.
const WRITE_EVERY: Duration = Duration::from_millis(25);

/// rolecall's configuration for one node of the pair; `own` is the beginning of its files' names.
fn config(own: &Path, server: &Postgres, agent: SocketAddr, hold: &str) -> String {
    format!(
        r#"
[source]
kind = "postgres"
conninfo = "{}"
interval = "200ms"
timeout = "500ms"
hold = "{hold}"

[control]
socket = "{own}.sock"
state = "{own}.json"

[[service]]
name = "primary"
roles = ["primary"]
listen = "{agent}"
"#,
        server.conninfo(),
        own = own.display()
    )
}

/// Everything; stopped from the top down.
pub struct Pair {
    pub samples: Recorder<Sample>,
    pub haproxy: Haproxy,
    pub roles: [Rolecall; 2],
    pub nodes: [Postgres; 2],
    pub ground: Ground,
}

impl Pair {
    /// Starts it all and waits until HAProxy has node 1 up and node 2 in maintenance.
    pub fn start(program: &Path, hold: &str) -> Self {
        Self::start_on(program, hold, |_| CFG.into())
    }

    /// As [`Self::start`], on another configuration of HAProxy.
    pub fn start_on(program: &Path, hold: &str, cfg: impl FnOnce(&Ground) -> PathBuf) -> Self {
        let ground = Ground::new();
        let mut primary = Postgres::init(&ground, "pg1", ground.host(1));
        primary.start();
        primary.execute(ROWS);
        let mut standby = Postgres::standby_of(&ground, "pg2", ground.host(2), &primary);
        standby.start();
        let rolecall = |name: &str, n: u8, node: &Postgres| {
            let agent = ground.addr(n, AGENT_PORT);
            let text = config(&ground.dir().join(name), node, agent, hold);
            let mut one = Rolecall::new(&ground, name, ROLECALL, &text).sockets(vec![held(agent)]);
            one.start();
            one
        };
        let roles = [rolecall("rolecall1", 1, &primary), rolecall("rolecall2", 2, &standby)];
        let haproxy = Haproxy::start(&ground, program, &cfg(&ground), &addresses(&ground));
        let samples = sampler(haproxy.stats());
        let pair = Self { samples, haproxy, roles, nodes: [primary, standby], ground };
        pair.wait_up(PG1);
        pair.wait_maint(PG2);
        pair
    }

    /// Where clients connect.
    pub fn front(&self) -> SocketAddr {
        self.ground.addr(3, FRONT_PORT)
    }

    /// The agent port of node `n`, 1 or 2.
    pub fn agent(&self, n: u8) -> SocketAddr {
        self.ground.addr(n, AGENT_PORT)
    }

    /// Begins to write through HAProxy.
    pub fn writer(&self) -> Recorder<Write> {
        writer(self.front(), WRITE_EVERY)
    }

    /// Opens a session through HAProxy that is asked something all the time.
    pub fn session(&self) -> Recorder<Beat> {
        open_session(self.front())
    }

    /// Waits until a row is taken by node `n`, counting from the writer's `mark`.
    pub fn wait_row(&self, writes: &Recorder<Write>, mark: usize, n: u8) -> Write {
        let host = self.ground.host(n);
        writes.wait_since(mark, SOON, &format!("a row taken by pg{n}"), |w| w.is_by(host))
    }

    /// Waits until HAProxy has `server` fully up: a check has passed since it came.
    pub fn wait_up(&self, server: &str) {
        self.haproxy.wait(server, SOON, "is up", |s| s.status == "UP");
    }

    /// Waits until HAProxy has `server` in maintenance because its agent said so.
    pub fn wait_maint(&self, server: &str) {
        let said = |s: &crate::fixtures::Server| s.is_maint() && s.agent_status == "CHECKED";
        self.haproxy.wait(server, SOON, "is in maintenance", said);
    }

    /// Asserts that no server was ever shown DOWN.
    pub fn never_down(&self) {
        let samples = self.samples.all();
        assert!(samples.len() > 10, "too few samples: {}", samples.len());
        for sample in samples {
            let down = sample.servers.iter().find(|(_, s)| s.is_down());
            assert!(down.is_none(), "shown DOWN: {down:?}");
        }
    }
}

/// Asserts that no row went to a server in recovery, and that from the first row that node 2 took
/// on no other node took one.
pub fn no_row_went_astray(pair: &Pair, writes: &[Write]) {
    let wrong = writes.iter().find(|w| matches!(w.written, Written::WrongServer(_)));
    assert!(wrong.is_none(), "a standby was asked to write: {wrong:?}");
    let (first, second) = (pair.ground.host(1), pair.ground.host(2));
    let moved = writes.iter().position(|w| w.is_by(second)).unwrap_or(writes.len());
    let back = writes[moved..].iter().find(|w| w.is_by(first));
    assert!(back.is_none(), "the old primary took a row after the new one: {back:?}");
}

/// A HAProxy to run and PostgreSQL's server, or `None` after saying what is missing.
pub fn programs() -> Option<PathBuf> {
    if lacks_postgres() {
        return None;
    }
    let found = haproxies().into_iter().next();
    if found.is_none() {
        missing("haproxy");
    }
    found.map(|(_, program)| program)
}
