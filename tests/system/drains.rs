//! Orders and last words on real servers with a session open: a replica that drains, a primary that is
//! taken out.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::fixtures::{
    AGENT_PORT, FRONT_PORT, Ground, Haproxy, PG_PORT, Postgres, Rolecall, Server, Session,
    Shutdown, Write, Written, eventually, held, now, say,
};
use crate::pair::{Pair, ROLECALL, no_row_went_astray, programs};
use crate::shipped_cfg::{CFG, PG1, PG2, SOON};

/// The file with a pool of replicas, as it is shipped. Whoever answers at the agent ports, its checks
/// are the same.
const POOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/haproxy/patroni.cfg");
/// The replica in it.
const REPLICA: &str = "postgres_ro/pg2";
/// Where the replicas' service is asked, and where clients read.
const REPLICA_PORT: u16 = AGENT_PORT + 1;
const READ_PORT: u16 = FRONT_PORT + 1;
/// For how long new connections are tried while a replica drains: longer than HAProxy's check takes to
/// bring a server down, 2 x 1 s and its timeout.
const DRAINS_FOR: Duration = Duration::from_secs(4);

/// How often one is tried.
const TRY_EVERY: Duration = Duration::from_millis(25);

/// A primary and its replica, a rolecall for each, HAProxy with both pools.
struct Stage {
    haproxy: Haproxy,
    roles: [Rolecall; 2],
    _nodes: [Postgres; 2],
    ground: Ground,
}

fn config(ground: &Ground, n: u8, server: &Postgres, keys: &str) -> String {
    let (dir, agent) = (ground.dir().display(), ground.addr(n, AGENT_PORT));
    let replica = ground.addr(n, REPLICA_PORT);
    format!(
        r#"
[source]
kind = "postgres"
conninfo = "{}"
interval = "200ms"

[control]
socket = "{dir}/control{n}.sock"
state = "{dir}/orders{n}.json"

[[service]]
name = "primary"
roles = ["primary"]
listen = "{agent}"

[[service]]
name = "replica"
roles = ["replica"]
listen = "{replica}"
reply = "full"
{keys}
"#,
        server.conninfo()
    )
}

impl Stage {
    /// `keys` are further ones of the replicas' service; `None` after saying what is missing.
    fn start(keys: &str) -> Option<Self> {
        let program = programs()?;
        let ground = Ground::new();
        let mut primary = Postgres::init(&ground, "pg1", ground.host(1));
        primary.start();
        let mut replica = Postgres::standby_of(&ground, "pg2", ground.host(2), &primary);
        replica.start();
        let rolecall = |n: u8, node: &Postgres| {
            let text = config(&ground, n, node, keys);
            let sockets = [AGENT_PORT, REPLICA_PORT].map(|port| held(ground.addr(n, port)));
            let mut one = Rolecall::new(&ground, &format!("rolecall{n}"), ROLECALL, &text)
                .sockets(sockets.into());
            one.start();
            one
        };
        let roles = [rolecall(1, &primary), rolecall(2, &replica)];
        let at = |n, port| ground.addr(n, port).to_string();
        let variables = [
            ("ROLECALL_PG1", at(1, PG_PORT)),
            ("ROLECALL_PG2", at(2, PG_PORT)),
            ("ROLECALL_AGENT_PORT", AGENT_PORT.to_string()),
            ("ROLECALL_REPLICA_PORT", REPLICA_PORT.to_string()),
            ("ROLECALL_BIND_RW", at(3, FRONT_PORT)),
            ("ROLECALL_BIND_RO", at(3, READ_PORT)),
        ];
        let haproxy = Haproxy::start(&ground, &program, Path::new(POOL), &variables);
        let stage = Self { haproxy, roles, _nodes: [primary, replica], ground };
        stage.haproxy.wait(PG1, SOON, "is up", |s| s.status == "UP");
        stage.wait(|s| s.status == "UP", "is up");
        Some(stage)
    }

    /// Waits until HAProxy has the replica as `wanted`.
    fn wait(&self, wanted: impl Fn(&Server) -> bool, what: &str) -> Server {
        self.haproxy.wait(REPLICA, SOON, what, wanted)
    }

    /// Opens a session where clients read; the address of its server, its backend, and the session.
    fn read(&self) -> (String, String, Session) {
        let mut session = Session::connect(self.ground.addr(3, READ_PORT), SOON).expect("a server");
        let host = session.value("select host(inet_server_addr())").expect("its address");
        let backend = session.value("select pg_backend_pid()").expect("its backend");
        (host, backend, session)
    }

    /// Asserts that while the replica drains its session goes on and every new one is another's; prints
    /// the longest wait of those.
    fn drains(&self, why: &str, (_, backend, session): &mut (String, String, Session)) {
        let (mut longest, mut tries) = (Duration::ZERO, 0);
        let from = now();
        while now().since(from) < DRAINS_FOR {
            tries += 1;
            // A rhythm, so that the tests beside this one have the processors too.
            std::thread::sleep(TRY_EVERY);
            let began = now();
            let (host, ..) = self.read();
            longest = longest.max(now().since(began));
            assert_eq!(host, self.ground.host(1).to_string(), "a new session at a drained server");
            let lives = session.value("select pg_backend_pid()");
            assert_eq!(lives.expect("the open session"), *backend);
        }
        assert!(drained(&self.haproxy.server(REPLICA)), "the drain was lifted");
        say(&format!("{why}: {tries} new connections waited {longest:?} at most"));
    }
}

/// Gives an order to the rolecall `name` of this ground.
fn order(ground: &Ground, name: &str, arguments: &[&str]) {
    let mut command = Command::new(ROLECALL);
    command.arg("--config").arg(ground.dir().join(format!("{name}.toml"))).args(arguments);
    let output = command.output().expect("rolecall");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn drained(server: &Server) -> bool {
    server.status.starts_with("DRAIN")
}

#[test]
fn a_drained_replica_keeps_its_session_and_gets_no_new_one() {
    let Some(stage) = Stage::start("") else { return };
    let mut open = stage.read();
    assert_eq!(open.0, stage.ground.host(2).to_string());
    order(&stage.ground, "rolecall2", &["drain", "replica", "--reason", "minor upgrade"]);
    let told = stage.wait(drained, "is drained").last_agent;
    assert!(told.contains("ordered drain") && told.contains("minor upgrade"), "{told}");
    stage.drains("drain of a replica", &mut open);

    order(&stage.ground, "rolecall2", &["maint", "replica"]);
    stage.wait(Server::is_maint, "is in maintenance");
    assert!(open.2.value("select 1").is_err(), "maint ends the session");
    order(&stage.ground, "rolecall2", &["auto", "replica"]);
    stage.wait(Server::is_up, "is up");
    assert_eq!(stage.read().0, stage.ground.host(2).to_string());
}

#[test]
fn a_rolecall_that_stops_drains_its_replica_for_stop_for() {
    let Some(mut stage) = Stage::start("on_stop = \"drain\"\nstop_for = \"60s\"") else { return };
    let mut open = stage.read();
    assert_eq!(open.0, stage.ground.host(2).to_string());
    let told = now();
    stage.roles[1].signal(Signal::TERM);
    let said = stage.wait(drained, "is drained").last_agent;
    assert!(said.contains("rolecall is stopping"), "{said}");
    stage.drains("on_stop = drain", &mut open);
    assert!(now().since(told) < Duration::from_secs(60), "too slow to have shown anything");

    // Told twice it is gone at once. HAProxy's check then takes the server down: nobody says any
    // more what it is. That ends the session, too.
    stage.roles[1].signal(Signal::TERM);
    assert!(stage.roles[1].wait().success());
    let gone = |s: &Server| s.is_down() && s.agent_status != "CHECKED";
    stage.wait(gone, "is down once nobody answers for it");
    assert!(open.2.value("select 1").is_err(), "the session is cut");
    stage.roles[1].start();
    stage.wait(Server::is_up, "is up again");
    assert_eq!(stage.read().0, stage.ground.host(2).to_string());
}

/// The shipped file, but that a drained primary keeps its sessions: else its check would take it down.
fn lenient(ground: &Ground) -> PathBuf {
    let shipped = std::fs::read_to_string(CFG).expect("haproxy.cfg");
    let lenient = shipped.replace("(READY|ready)", "(READY|ready|DRAIN|drain)");
    assert_ne!(shipped, lenient);
    ground.write("lenient.cfg", &lenient)
}

#[test]
fn a_drained_primary_loses_its_sessions_once_it_is_none() {
    let Some(program) = programs() else { return };
    let mut pair = Pair::start_on(&program, "3s", lenient);
    let session = pair.session();
    session.wait_since(0, SOON, "the session's first answer", |b| b.answer.is_ok());
    let writes = pair.writer();
    pair.wait_row(&writes, 0, 1);
    order(&pair.ground, "rolecall1", &["drain", "primary", "--for", "10m"]);
    pair.haproxy.wait(PG1, SOON, "is drained", drained);
    let mark = writes.mark();
    let turned_away = |w: &Write| matches!(w.written, Written::Failed(_));
    writes.wait_since(mark, SOON, "a new connection is turned away", turned_away);
    let beats = session.mark();
    eventually(SOON, "forty answers more", || match session.mark() - beats {
        count if count < 40 => Err(count),
        _ => Ok(()),
    });
    let cut = session.since(0).into_iter().find(|b| b.answer.is_err());
    assert!(cut.is_none(), "the drain cut the session: {cut:?}");

    // The order would keep sessions; a node that is no primary any more must lose them all the same.
    pair.nodes[0].stop(Shutdown::Fast);
    pair.nodes[1].promote();
    pair.wait_maint(PG1);
    session.wait_since(beats, SOON, "no session is left", |b| b.answer.is_err());
    pair.wait_row(&writes, writes.mark(), 2);
    pair.wait_up(PG2);
    no_row_went_astray(&pair, &writes.stop());
}
