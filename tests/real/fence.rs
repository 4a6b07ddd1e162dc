//! `[fence]` with real servers: whose sessions end on a node that is out, and whose never.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use crate::fixtures::{
    AGENT_PORT, Ground, HTTP_PORT, Heard, PG_PORT, PgError, Postgres, Rolecall, Session, Shutdown,
    ask, eventually, lacks_postgres,
};
use crate::fixtures::{process, web};
use serde_json::Value;

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");
/// As it is shipped.
const GRANT: &str = include_str!("../../packaging/sql/fence.sql");
/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The address of HAProxy, and one of somebody else.
const HAPROXY: u8 = 5;
const OTHER: u8 = 6;

/// A server, and the rolecall beside it, whose source says what the test writes down.
struct Beside {
    rolecall: Rolecall,
    server: Postgres,
    word: PathBuf,
    http: SocketAddr,
    agent: SocketAddr,
    ground: Ground,
}

/// How the role `rolecall` comes to its right.
#[derive(Clone, Copy)]
enum Right {
    Function,
    Grant,
    None,
}

impl Beside {
    fn start(right: Right) -> Option<Self> {
        Self::with(right, |ground| {
            format!("clients = [\"{}\", \"127.0.0.1\"]", ground.host(HAPROXY))
        })
    }

    fn with(right: Right, whose: impl Fn(&Ground) -> String) -> Option<Self> {
        if lacks_postgres() {
            return None;
        }
        let ground = Ground::new();
        let mut server = Postgres::init(&ground, "pg1", ground.host(1));
        server.start();
        server.execute("create role rolecall login");
        server.execute("create role app login");
        match right {
            Right::Function => run_script(&ground, &server),
            Right::Grant => {
                server.execute("grant pg_signal_backend, pg_read_all_stats to rolecall");
            }
            Right::None => {}
        }
        Some(Self::of(ground, server, whose))
    }

    fn of(ground: Ground, server: Postgres, whose: impl Fn(&Ground) -> String) -> Self {
        let word = ground.write("word", "primary\n");
        let (http, agent) = (ground.addr(1, HTTP_PORT), ground.addr(1, AGENT_PORT));
        let config = format!(
            "[haproxy]\nagent_inter = \"400ms\"\ncheck_fall = 3\n\
             [source]\nkind = \"command\"\ncommand = [\"/bin/cat\", \"{word}\"]\ninterval = \"100ms\"\nhold = \"500ms\"\n\
             [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n\
             [http]\nlisten = \"{http}\"\n\
             [control]\nsocket = \"{dir}/control.sock\"\nstate = \"{dir}/orders.json\"\n\
             [fence]\n{whose}\nconninfo = \"{conninfo}\"\n",
            word = word.display(),
            dir = ground.dir().display(),
            whose = whose(&ground),
            conninfo = asked(&server),
        );
        let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
        rolecall.start();
        Self { rolecall, server, word, http, agent, ground }
    }

    /// What the source says from now on, and waits until it is answered so.
    fn says(&self, word: &str, answer: &str) {
        // Whole at every moment.
        let new = self.ground.write("new", &format!("{word}\n"));
        std::fs::rename(new, &self.word).unwrap();
        self.answers(answer);
    }

    fn answers(&self, answer: &str) {
        eventually(PATIENCE, answer, || match ask(self.agent, PATIENCE).heard {
            Heard::Said(line) if line.trim() == answer => Ok(()),
            other => Err(other),
        });
    }

    fn session(&self, from: u8, user: &str) -> Session {
        let from = self.ground.host(from);
        let session = Session::connect_from(from, self.server.addr(), user, PATIENCE);
        session.unwrap_or_else(|e| {
            panic!("a session of {user} from {from}: {e}\n{}", self.rolecall.log())
        })
    }

    fn fence(&self) -> Value {
        self.status()["fence"].clone()
    }

    /// Waits until so many more attempts were made at the server.
    fn attempts(&self, more: usize) {
        let count = || self.server.log_text().matches("authorized: user=rolecall").count();
        let before = count();
        eventually(PATIENCE, "more attempts", || match count() - before {
            done if done >= more => Ok(()),
            done => Err((done, self.rolecall.log())),
        });
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(ROLECALL);
        command.arg("--config").arg(self.ground.dir().join("rolecall.toml")).args(arguments);
        command.output().unwrap()
    }

    fn metric(&self, name: &str) -> u64 {
        let page = self.get("/metrics");
        let line = format!("rolecall_{name}{{node=\"local\"");
        let value =
            page.lines().find(|l| l.starts_with(&line)).and_then(|l| l.split(' ').next_back());
        value.unwrap_or_else(|| panic!("no {name}: {page}")).parse().unwrap()
    }

    fn get(&self, path: &str) -> String {
        web::request(self.http, &format!("GET {path}"), "", Some(PATIENCE)).unwrap().body
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status")).unwrap()
    }
}

/// How rolecall reaches the server.
fn asked(server: &Postgres) -> String {
    format!(
        "host={} port={PG_PORT} user=rolecall dbname=postgres sslmode=disable",
        server.addr().ip()
    )
}

fn run_script(ground: &Ground, server: &Postgres) {
    let script = ground.write("fence.sql", GRANT);
    let mut psql = server.tool("psql");
    psql.args(["-X", "-q", "-d", &server.conninfo(), "-f"]).arg(script);
    process::run(psql);
}

/// A session that was ended by an administrator.
fn wait_ended(mut session: Session) {
    eventually(PATIENCE, "the session is ended", || match session.value("select 1") {
        Err(PgError::Server(code, _)) if code == "57P01" => Ok(()),
        Err(PgError::Io(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

fn lives(session: &mut Session) {
    assert_eq!(session.value("select 1").expect("a session that nobody may end"), "1");
}

/// The whole of it, once by the function and once by the user's own right.
fn keeps_no_session(right: Right) {
    let Some(beside) = Beside::start(right) else { return };
    beside.server.execute("alter system set log_connections = on");
    beside.server.execute("select pg_reload_conf()");
    beside.answers("READY");
    // A standby streams from an address that is a client's.
    let mut standby =
        Postgres::standby_of(&beside.ground, "pg2", beside.ground.host(2), &beside.server);
    standby.start();
    let streams = "select coalesce(max(pid), 0) from pg_stat_replication where state = 'streaming'";
    let walsender = eventually(PATIENCE, "the standby streams", || {
        let pid = beside.server.sql(streams);
        if pid == "0" { Err(pid) } else { Ok(pid) }
    });
    let app = beside.session(HAPROXY, "app");
    let mut kept = [
        beside.session(OTHER, "app"),
        beside.session(HAPROXY, "postgres"),
        beside.session(HAPROXY, "rolecall"),
    ];
    assert_eq!(beside.fence()["acts"], false);
    assert_eq!(beside.metric("fence_sessions_ended_total"), 0);

    beside.says("replica", "MAINT");
    wait_ended(app);
    // Again, for whoever comes while the node is out.
    for _ in 0..2 {
        wait_ended(beside.session(HAPROXY, "app"));
    }
    // What each of them did is in the status by the time of the next.
    beside.attempts(3);
    kept.iter_mut().for_each(lives);
    assert_eq!(beside.server.sql(streams), walsender, "replication was cut");
    let fence = beside.fence();
    assert_eq!(fence["acts"], true, "{fence}");
    assert_eq!(fence["because"]["reason"], "other_role", "{fence}");
    assert!(fence["ended"].as_u64() >= Some(3), "{fence}");
    assert!(beside.metric("fence_sessions_ended_total") >= 3);
    assert_eq!(beside.metric("fence_acts"), 1);
    let status = beside.command(&["status"]);
    let shown = String::from_utf8_lossy(&status.stdout).into_owned();
    assert_eq!(status.status.code(), Some(1), "{shown}");
    assert!(shown.contains("fence: it has been ending sessions for "), "{shown}");
    let log = beside.rolecall.log();
    let said = log.lines().filter(|line| line.contains(" client sessions and ends new ones"));
    assert_eq!(said.count(), 1, "said once, not at each look: {log}");

    beside.says("primary", "READY");
    let mut app = beside.session(HAPROXY, "app");
    eventually(PATIENCE, "it rests", || {
        let fence = beside.fence();
        if fence["acts"] == false { Ok(()) } else { Err(fence) }
    });
    lives(&mut app);
    assert_eq!(beside.metric("fence_acts"), 0);
    beside.rolecall.wait_log(PATIENCE, &["the fence has stopped"]);
    // A reload and a restart of rolecall are nobody's business.
    let mut beside = beside;
    beside.rolecall.reload();
    beside.rolecall.restart();
    beside.answers("READY");
    lives(&mut app);
    kept.iter_mut().for_each(lives);
}

#[test]
fn a_node_that_is_out_keeps_no_session_of_the_clients() {
    keeps_no_session(Right::Function);
}

#[test]
fn the_users_own_right_ends_the_sessions_as_the_function_does() {
    keeps_no_session(Right::Grant);
}

#[test]
fn roles_are_named_instead_of_addresses() {
    let whose = |_: &Ground| "roles = [\"app\", \"it's\", \"postgres\"]".to_owned();
    let Some(beside) = Beside::with(Right::Function, whose) else { return };
    beside.server.execute("create role other login");
    beside.server.execute("create role \"it's\" login");
    let ended = [beside.session(OTHER, "app"), beside.session(HAPROXY, "it's")];
    let mut kept = [beside.session(HAPROXY, "other"), beside.session(HAPROXY, "postgres")];
    beside.says("replica", "MAINT");
    ended.into_iter().for_each(wait_ended);
    kept.iter_mut().for_each(lives);
}

/// Whatever rolecall believes: its source says here that the node is out, and the server is in recovery.
#[test]
fn a_standby_is_never_touched() {
    if lacks_postgres() {
        return;
    }
    let ground = Ground::new();
    let mut primary = Postgres::init(&ground, "pg1", ground.host(1));
    primary.start();
    primary.execute("create role rolecall login");
    primary.execute("create role app login");
    run_script(&ground, &primary);
    let mut standby = Postgres::standby_of(&ground, "pg2", ground.host(2), &primary);
    standby.start();
    primary.wait_caught_up(&standby);
    standby.execute("alter system set log_connections = on");
    standby.execute("select pg_reload_conf()");
    let haproxy = ground.host(HAPROXY);
    let beside = Beside::of(ground, standby, |_| format!("clients = \"{haproxy}\""));
    let mut app = beside.session(HAPROXY, "app");
    beside.says("replica", "MAINT");
    beside.attempts(5);
    lives(&mut app);
    assert_eq!(beside.fence()["acts"], false, "there is nothing to end on a standby");
    assert_eq!(beside.fence()["failed"], 0);
    beside.server.promote();
    wait_ended(app);
}

#[test]
fn a_role_that_may_not_is_told_so_by_check_status_and_log() {
    let Some(beside) = Beside::start(Right::None) else { return };
    let mut app = beside.session(HAPROXY, "app");
    let check = beside.command(&["check"]);
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert_eq!(check.status.code(), Some(78), "{said}");
    let grant = "GRANT pg_signal_backend, pg_read_all_stats TO \"rolecall\"";
    assert!(said.contains(grant) && said.contains("fence.sql"), "{said}");
    beside.says("replica", "MAINT");
    eventually(PATIENCE, "several attempts have failed", || {
        match beside.metric("fence_attempts_failed_total") {
            failed if failed >= 3 => Ok(()),
            failed => Err(failed),
        }
    });
    lives(&mut app);
    let fence = beside.fence();
    assert_eq!(fence["error"]["reason"], "grant", "{fence}");
    let log = beside.rolecall.log();
    let warned = log.lines().filter(|line| line.contains("the fence cannot end sessions")).count();
    assert_eq!(warned, 1, "warned of once: {log}");

    // Half of it is not enough: the addresses would be hidden.
    beside.server.execute("grant pg_signal_backend to rolecall");
    let said = String::from_utf8_lossy(&beside.command(&["check"]).stderr).into_owned();
    assert!(said.contains("GRANT pg_read_all_stats TO"), "{said}");
    lives(&mut app);
    beside.server.execute("grant pg_read_all_stats to rolecall");
    assert_eq!(beside.command(&["check"]).status.code(), Some(0));
    wait_ended(app);
    beside.rolecall.wait_log(PATIENCE, &["the fence can end sessions again"]);
}

#[test]
fn a_server_that_is_gone_is_no_evidence_and_delays_no_answer() {
    let Some(mut beside) = Beside::start(Right::Function) else { return };
    beside.says("replica", "MAINT");
    beside.server.stop(Shutdown::Fast);
    eventually(PATIENCE, "attempts fail", || {
        let fence = beside.fence();
        if fence["error"]["reason"] == "server_down" { Ok(()) } else { Err(fence) }
    });
    let check = beside.command(&["check"]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(0), "nothing is known of it: {said}");
    assert!(said.contains("warning: fence:"), "{said}");
    beside.server.start();
    wait_ended(beside.session(HAPROXY, "app"));
    // One that hangs has the attempt's own deadline, and the answers do not wait for it.
    beside.server.pause();
    eventually(PATIENCE, "an attempt is given up", || {
        let fence = beside.fence();
        if fence["error"]["reason"] == "timeout" { Ok(()) } else { Err(fence) }
    });
    beside.says("primary", "READY");
    beside.server.resume();
}

/// Silence ends sessions once the yes has run out and every HAProxy can have heard of it, not before.
#[test]
fn silence_past_hold_ends_sessions_and_a_lapse_that_nobody_hears_of_does_not() {
    let Some(beside) = Beside::start(Right::Function) else { return };
    let mut app = beside.session(HAPROXY, "app");
    // The source fails for less than `hold`: READY all the while.
    let away = beside.word.with_extension("away");
    let fails = || beside.status()["nodes"][0]["sources"][0]["error"].is_object();
    std::fs::rename(&beside.word, &away).unwrap();
    eventually(PATIENCE, "a look fails", || if fails() { Ok(()) } else { Err(()) });
    std::fs::rename(&away, &beside.word).unwrap();
    eventually(PATIENCE, "looks succeed", || if fails() { Err(()) } else { Ok(()) });
    beside.answers("READY");
    lives(&mut app);
    std::fs::rename(&beside.word, &away).unwrap();
    wait_ended(app);
    beside.answers("MAINT");
    eventually(PATIENCE, "the status says why", || {
        let fence = beside.fence();
        if fence["because"]["reason"] == "command" { Ok(()) } else { Err(fence) }
    });
}

#[test]
fn orders_by_hand_are_the_operators_own_business() {
    let Some(beside) = Beside::start(Right::Function) else { return };
    beside.answers("READY");
    beside.server.execute("alter system set log_connections = on");
    beside.server.execute("select pg_reload_conf()");
    let mut app = beside.session(HAPROXY, "app");
    // What is ordered of a healthy primary ends nothing here.
    for order in ["maint", "drain"] {
        assert_eq!(beside.command(&[order, "all"]).status.code(), Some(0));
        eventually(PATIENCE, "the order counts", || match ask(beside.agent, PATIENCE).heard {
            Heard::Said(line) if line != "READY\n" => Ok(()),
            other => Err(other),
        });
        // Several looks and decisions pass.
        let before = beside.metric("looks_total");
        eventually(PATIENCE, "more looks", || match beside.metric("looks_total") - before {
            more if more >= 10 => Ok(()),
            more => Err(more),
        });
        lives(&mut app);
    }
    // Forced, READY speaks against everything, and so against the fence.
    let forced = ["ready", "all", "--for", "1h", "--force"];
    assert_eq!(beside.command(&forced).status.code(), Some(0));
    beside.answers("READY");
    let new = beside.ground.write("new", "replica\n");
    std::fs::rename(new, &beside.word).unwrap();
    eventually(PATIENCE, "the look that says replica", || {
        let status = beside.status();
        if status["nodes"][0]["role"] == "replica" { Ok(()) } else { Err(status) }
    });
    lives(&mut app);
    assert_eq!(beside.fence()["acts"], false);
    assert_eq!(beside.command(&["auto", "all"]).status.code(), Some(0));
    wait_ended(app);
}

/// One rule, whichever way it goes.
#[test]
fn the_function_is_the_statement_that_rolecall_sends() {
    let source = include_str!("../../src/source/pg/sessions.rs");
    let (_, after) = source.split_once("const STATEMENT: &str = \"").expect("the statement");
    let (statement, _) = after.split_once("\";").expect("its end");
    assert!(GRANT.contains(statement), "packaging/sql/fence.sql has another one");
}

/// Only the rolecall beside a server may do it.
#[test]
fn a_rolecall_that_is_not_beside_the_node_is_refused() {
    let ground = Ground::new();
    for (sources, said) in [
        (
            "[source]\nkind = \"postgres\"\nconninfo = \"host=192.0.2.1 user=x\"\n",
            "192.0.2.1 is not an address of this host",
        ),
        ("[source]\nurl = \"http://192.0.2.1:8008\"\n", "192.0.2.1 is not an address of this host"),
        (
            "[[node]]\nname = \"local\"\nsource = { kind = \"static\", role = \"primary\" }\nlisten = { primary = \"127.0.0.1:1\" }\n",
            "cannot be used together with [[node]]",
        ),
    ] {
        let conninfo =
            if sources.contains("postgres") { "" } else { "conninfo = \"host=/nowhere user=x\"\n" };
        let file = ground.write(
            "elsewhere.toml",
            &format!("{sources}[fence]\nclients = \"10.0.0.1\"\n{conninfo}"),
        );
        let check = Command::new(ROLECALL).arg("--config").arg(file).arg("check").output().unwrap();
        let text = String::from_utf8_lossy(&check.stderr).into_owned();
        assert_eq!(check.status.code(), Some(78), "{text}");
        assert!(text.contains(said) && text.contains("hint:"), "{text}");
    }
}
