//! A real PgBouncer between HAProxy and PostgreSQL, seen by a source of kind `tcp`: stopped, hung, paused,
//! full. And that nobody logs the looks.

use std::path::PathBuf;
use std::time::Duration;

use crate::fixtures::process::{Proc, command};
use crate::fixtures::programs::find;
use crate::fixtures::{
    AGENT_PORT, Ground, HTTP_PORT, Heard, Postgres, Rolecall, Session, ask, eventually, lacks,
    lacks_postgres, web,
};
use rustix::process::Signal;

/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

const POOL_PORT: u16 = 26432;

/// Clients whom PgBouncer takes.
const PLACES: usize = 3;

/// Looks after which something is said to last.
const LOOKS: u64 = 5;

struct Stage {
    pooler: Option<Proc>,
    rolecall: Rolecall,
    server: Postgres,
    program: PathBuf,
    ini: PathBuf,
    ground: Ground,
}

impl Stage {
    fn start(program: PathBuf, keys: &str) -> Self {
        let ground = Ground::new();
        let mut server = Postgres::init(&ground, "pg1", ground.host(1));
        server.start();
        let (host, port) = (server.addr().ip(), server.addr().port());
        let users = ground.write("users.txt", "\"postgres\" \"\"\n");
        let ini = format!(
            "[databases]\npostgres = host={host} port={port}\n[pgbouncer]\n\
             listen_addr = {host}\nlisten_port = {POOL_PORT}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\nadmin_users = postgres\nmax_client_conn = {PLACES}\n",
            users.display()
        );
        let ini = ground.write("pgbouncer.ini", &ini);
        let config = format!(
            "[[source]]\nkind = \"postgres\"\nconninfo = \"{}\"\n\
             [[source]]\nkind = \"tcp\"\naddress = \"{host}:{POOL_PORT}\"\ntimeout = \"500ms\"\n\
             hold = \"1s\"\n{keys}\n[http]\nlisten = \"{}\"\n\
             [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{}\"\n",
            server.conninfo(),
            ground.addr(1, HTTP_PORT),
            ground.addr(1, AGENT_PORT),
        );
        let rolecall = env!("CARGO_BIN_EXE_rolecall");
        let rolecall = Rolecall::new(&ground, "rolecall", rolecall, &config);
        let mut stage = Self { pooler: None, rolecall, server, program, ini, ground };
        stage.start_pooler();
        stage.rolecall.start();
        stage
    }

    fn start_pooler(&mut self) {
        let mut pooler = command(&self.program, self.ground.user());
        pooler.arg(&self.ini).current_dir("/");
        let log = self.ground.dir().join("pgbouncer.log");
        self.pooler = Some(Proc::start("pgbouncer", pooler, &log));
        eventually(PATIENCE, "PgBouncer answers", || self.client("postgres").map(|_| ()));
    }

    fn pooler(&self) -> &Proc {
        self.pooler.as_ref().expect("a running PgBouncer")
    }

    fn pooler_log(&self) -> String {
        std::fs::read_to_string(self.pooler().log()).expect("its log")
    }

    /// A session through PgBouncer; to the database `pgbouncer` it is its console.
    fn client(&self, database: &str) -> Result<Session, String> {
        let at = (self.ground.host(1), POOL_PORT).into();
        Session::connect_as(at, "postgres", database, PATIENCE).map_err(|e| e.to_string())
    }

    fn console(&self, order: &str) {
        self.client("pgbouncer").expect("the console").query(order).expect(order);
    }

    fn get(&self, path: &str) -> String {
        let asked = format!("GET {path}");
        web::request(self.ground.addr(1, HTTP_PORT), &asked, "", Some(PATIENCE)).expect(path).body
    }

    fn looks(&self, result: &str) -> u64 {
        let name =
            format!("rolecall_looks_total{{node=\"local\",source=\"tcp\",result=\"{result}\"}} ");
        let page = self.get("/metrics");
        page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |n| n.parse().unwrap())
    }

    fn says(&self) -> String {
        match ask(self.ground.addr(1, AGENT_PORT), PATIENCE).heard {
            Heard::Said(line) => line,
            other => panic!("{other:?}"),
        }
    }

    fn wait(&self, line: &str, reason: &str) {
        eventually(PATIENCE, &format!("{line} because of {reason}"), || {
            let page = self.get("/metrics");
            let reason = format!("reason=\"{reason}\"}} 1");
            let said = self.says();
            if said.trim_end() == line && page.contains(&reason) { Ok(()) } else { Err(said) }
        });
    }

    /// READY over some looks that see an answer.
    fn stays_ready(&self) {
        let before = self.looks("good");
        eventually(PATIENCE, "more looks", || {
            assert_eq!(self.says(), "READY\n", "{}", self.rolecall.log());
            match self.looks("good") - before {
                more if more >= LOOKS => Ok(()),
                more => Err(more),
            }
        });
    }
}

/// What a log says from `mark` on, without what PgBouncer tells of itself every minute.
fn since(log: &str, mark: usize) -> Vec<&str> {
    log[mark..].lines().filter(|line| !line.contains("stats:")).collect()
}

#[test]
fn a_pgbouncer_that_is_dead_hung_paused_or_full_is_seen_as_it_is_to_clients() {
    if lacks_postgres() || lacks(&["pgbouncer"]) {
        return;
    }
    let program = find("pgbouncer").expect("it is here");
    let mut stage = Stage::start(program, "");
    stage.wait("READY", "serves");

    // Nobody's log has a line of it.
    let marks = (stage.pooler_log().len(), stage.server.log_text().len());
    stage.stays_ready();
    let (pooler, server) = (stage.pooler_log(), stage.server.log_text());
    assert_eq!(since(&pooler, marks.0), [""; 0]);
    assert_eq!(since(&server, marks.1), [""; 0]);

    // Paused: clients wait, as somebody wants.
    stage.console("PAUSE");
    stage.stays_ready();
    stage.console("RESUME");

    // Full: who is in works, and a MAINT would cut them all.
    // A look has one of the places for a moment.
    let mut clients: Vec<Session> = (0..PLACES)
        .map(|_| eventually(PATIENCE, "a place is free", || stage.client("postgres")))
        .collect();
    let refused = stage.client("postgres").map(|_| ());
    stage.stays_ready();
    assert!(refused.is_err(), "PgBouncer is not full");
    let alive = clients.iter_mut().map(|session| session.value("select 1").expect("a session"));
    assert!(alive.eq(std::iter::repeat_n("1".to_owned(), PLACES)));
    drop(clients);

    // Hung: the last yes stands for `hold`, and then nothing is known.
    stage.pooler().signal(Signal::STOP);
    stage.wait("MAINT", "timeout");
    stage.pooler().signal(Signal::CONT);
    stage.wait("READY", "serves");

    // Dead: at once.
    stage.pooler.take().expect("a running PgBouncer").kill9();
    stage.wait("MAINT", "port_refused");
    stage.start_pooler();
    stage.wait("READY", "serves");
}

/// With a user's name PgBouncer answers as it answers clients, and whatever that is, it lives.
#[test]
fn a_login_that_is_only_begun_is_answered_too() {
    if lacks_postgres() || lacks(&["pgbouncer"]) {
        return;
    }
    let program = find("pgbouncer").expect("it is here");
    for user in ["postgres", "nobody_knows_me"] {
        let stage = Stage::start(program.clone(), &format!("user = \"{user}\""));
        stage.wait("READY", "serves");
        let clients: Result<Vec<Session>, _> =
            (0..PLACES).map(|_| stage.client("postgres")).collect();
        // A look may have one of the places for a moment.
        stage.stays_ready();
        drop(clients);
        stage.console("PAUSE");
        stage.stays_ready();
    }
}
