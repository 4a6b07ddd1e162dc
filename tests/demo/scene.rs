//! The two servers, their rolecalls and HAProxy, and who looks on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rolecall::clock::Stamp;

use crate::client::Clients;
use crate::fixtures::{
    AGENT_PORT, FRONT_PORT, Ground, HTTP_PORT, Haproxy, Heard, PG_PORT, Postgres, Recorder,
    Rolecall, Session, Stats, ask, now,
};
use crate::needs::Needs;
use crate::screen;

/// The file that the demo is about.
const CFG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/haproxy/haproxy.cfg");

/// How often everything is looked at; what the timeline's figures are good to.
const EVERY: Duration = Duration::from_millis(10);
/// How often a client comes to write.
const WRITE_EVERY: Duration = Duration::from_millis(20);
/// Longest wait for one look. All of it is on this host.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// What one observer saw, and when it began to look; recorded only where it is something new.
type Changes = Recorder<(Stamp, &'static str)>;

/// One PostgreSQL server and what is known of it.
pub struct Node {
    /// The server.
    pub server: Postgres,
    rolecall: Rolecall,
    agent: SocketAddr,
    /// `primary`, `standby` or `no answer`, by SQL.
    pub role: Changes,
    /// What its rolecall says.
    pub answer: Changes,
    /// What HAProxy makes of it.
    pub state: Changes,
}

/// Everything on stage.
pub struct Scene {
    pub pg1: Node,
    pub pg2: Node,
    clients: Option<Clients>,
    pub front: SocketAddr,
    page: SocketAddr,
    _haproxy: Haproxy,
    /// Last: it is dropped after everything that stands on it.
    ground: Ground,
}

impl Scene {
    /// Starts everything, HAProxy last.
    pub fn set(needs: &Needs, say: impl Fn(&str)) -> Self {
        let ground = Ground::new();
        say("pg1, then pg2 as its standby by streaming replication ...");
        let mut first = Postgres::init(&ground, "pg1", ground.host(1));
        first.start();
        let mut second = Postgres::standby_of(&ground, "pg2", ground.host(2), &first);
        second.start();
        first.execute(crate::client::TABLE);
        first.wait_caught_up(&second);

        say("a rolecall for each ...");
        let start = |n: u8, server: &Postgres| {
            let agent = ground.addr(n, AGENT_PORT);
            let name = format!("rolecall{n}");
            let config = config(server, agent);
            let mut rolecall = Rolecall::new(&ground, &name, &needs.rolecall, &config);
            rolecall.start();
            (rolecall, agent)
        };
        let (rolecall1, agent1) = start(1, &first);
        let (rolecall2, agent2) = start(2, &second);

        say(&format!("HAProxy {} with haproxy/haproxy.cfg as shipped ...", needs.haproxy_version));
        let (front, page) = (ground.addr(3, FRONT_PORT), ground.addr(3, HTTP_PORT));
        let variables = [
            ("ROLECALL_PG1", ground.addr(1, PG_PORT).to_string()),
            ("ROLECALL_PG2", ground.addr(2, PG_PORT).to_string()),
            ("ROLECALL_AGENT_PORT", AGENT_PORT.to_string()),
            ("ROLECALL_BIND_RW", front.to_string()),
        ];
        let haproxy =
            Haproxy::start(&ground, &needs.haproxy, &configuration(&ground, page), &variables);
        let node = |server: Postgres, rolecall, agent| Node {
            role: role(server.addr()),
            answer: answer(agent),
            state: state(haproxy.stats(), format!("postgres_rw/{}", server.name())),
            server,
            rolecall,
            agent,
        };
        let pg1 = node(first, rolecall1, agent1);
        let pg2 = node(second, rolecall2, agent2);
        say("every 20 ms a client that writes a row through HAProxy ...");
        let clients = Some(Clients::start(front, WRITE_EVERY));
        Self { pg1, pg2, clients, front, page, _haproxy: haproxy, ground }
    }

    /// When `node` first took a row after `since`.
    pub fn wrote(&self, node: &Node, since: Stamp) -> Option<Stamp> {
        self.clients.as_ref()?.first_by(node.server.addr(), since)
    }

    /// When `node` last took a row before `until`.
    pub fn last_write(&self, node: &Node, until: Stamp) -> Option<Stamp> {
        let rows = self.clients.as_ref()?.rows_by(node.server.addr());
        rows.into_iter().rfind(|at| *at < until)
    }

    /// How many rows `node` has taken.
    pub fn rows_by(&self, node: &Node) -> usize {
        self.clients.as_ref().map_or(0, |clients| clients.rows_by(node.server.addr()).len())
    }

    /// Shows what everybody says now; the clients' word is from after `since`.
    pub fn show(&self, since: Stamp) {
        let row = |name, of: fn(&Node) -> &Changes| {
            screen::row(name, latest(of(&self.pg1)), latest(of(&self.pg2)));
        };
        screen::row("", "pg1", "pg2");
        row("by SQL it is a", |node| &node.role);
        row("its rolecall says", |node| &node.answer);
        row("HAProxy shows it", |node| &node.state);
        let takes = |node| if self.wrote(node, since).is_some() { "yes" } else { "no" };
        screen::row("takes clients' writes", takes(&self.pg1), takes(&self.pg2));
    }

    /// Ends what looks on and what writes, for the reader to look alone.
    pub fn rest(&mut self) {
        self.clients = None;
    }

    /// HAProxy's status page.
    pub fn page(&self) -> String {
        format!("http://{}/", self.page)
    }

    /// Where the logs are.
    pub fn dir(&self) -> &Path {
        self.ground.dir()
    }
}

impl Node {
    /// Its agent port.
    pub fn agent(&self) -> SocketAddr {
        self.agent
    }

    /// The process id of its rolecall.
    pub fn rolecall_pid(&self) -> u32 {
        self.rolecall.pid()
    }
}

/// When `changes` turned to `wanted` after `since`; for the last time, where it did so often.
pub fn turned(changes: &Changes, wanted: &str, since: Stamp) -> Option<Stamp> {
    let (at, seen) = changes.all().pop()?;
    (at > since && seen == wanted).then_some(at)
}

/// What was seen last.
pub fn latest(changes: &Changes) -> &'static str {
    changes.all().last().map_or("?", |(_, seen)| seen)
}

/// The whole configuration of a rolecall: the rest is its defaults.
fn config(server: &Postgres, agent: SocketAddr) -> String {
    format!(
        "[source]\nkind = \"postgres\"\nconninfo = \"{}\"\n\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n",
        server.conninfo()
    )
}

/// A folder with the shipped file and a status page beside it: HAProxy reads a folder in order.
fn configuration(ground: &Ground, page: SocketAddr) -> PathBuf {
    let folder = ground.dir().join("haproxy");
    std::fs::create_dir(&folder).expect("a folder in a new directory");
    std::os::unix::fs::symlink(CFG, folder.join("1-shipped.cfg")).expect("a link in it");
    let status = format!(
        "frontend status\n    mode http\n    timeout client 10s\n    bind {page}\n    \
         stats enable\n    stats uri /\n    stats refresh 1s\n"
    );
    ground.write("haproxy/2-status.cfg", &status);
    folder
}

fn changes(mut look: impl FnMut() -> &'static str + Send + 'static) -> Changes {
    let mut last = "";
    Recorder::start(EVERY, move || {
        let at = now();
        let seen = look();
        let new = seen != last;
        last = seen;
        new.then_some((at, seen))
    })
}

fn role(server: SocketAddr) -> Changes {
    let mut session = None;
    changes(move || {
        if session.is_none() {
            session = Session::connect(server, LOOK_WITHIN).ok();
        }
        let answer = session.as_mut().map(|s| s.value("select pg_is_in_recovery()"));
        match answer {
            Some(Ok(answer)) if answer == "f" => "primary",
            Some(Ok(_)) => "standby",
            _ => {
                session = None;
                "no answer"
            }
        }
    })
}

fn answer(agent: SocketAddr) -> Changes {
    changes(move || match ask(agent, LOOK_WITHIN).heard {
        Heard::Said(line) if line == "READY\n" => "READY",
        Heard::Said(line) if line == "MAINT\n" => "MAINT",
        Heard::Said(_) => "something else",
        _ => "no answer",
    })
}

fn state(stats: Stats, server: String) -> Changes {
    changes(move || {
        let servers = stats.servers().unwrap_or_default();
        match servers.get(&server) {
            Some(server) if server.is_up() => "UP",
            Some(server) if server.is_maint() => "MAINT",
            Some(server) if server.is_down() => "DOWN",
            _ => "no answer",
        }
    })
}
