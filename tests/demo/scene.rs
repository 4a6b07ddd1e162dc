//! Two servers with their rolecalls and HAProxy, whoever made them, and who looks on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::client::Clients;
use crate::fixtures::{
    AGENT_PORT, FRONT_PORT, Ground, HTTP_PORT, Haproxy, Heard, Recorder, Rolecall, Session, Stats,
    ask, now,
};
use crate::needs::Needs;
use crate::screen::{self, say};

/// The file that the demo is about.
const CFG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/haproxy/haproxy.cfg");

/// The host of HAProxy; those of the servers count from 1.
const FRONT: u8 = 8;
/// How often everything is looked at; what the timeline's figures are good to.
const EVERY: Duration = Duration::from_millis(10);
/// How often a client comes to write.
const WRITE_EVERY: Duration = Duration::from_millis(20);
/// Longest wait for one look. All of it is on this host.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// What one observer saw, and when it began to look; recorded only where it is something new.
pub type Changes = Recorder<(Stamp, &'static str)>;

/// A server that is to be watched.
pub struct Place {
    /// What it is called on the screen.
    pub name: &'static str,
    /// Where it listens.
    pub addr: SocketAddr,
    /// The keys of its rolecall's `[source]`.
    pub source: String,
}

/// One server and what is known of it.
pub struct Node {
    name: &'static str,
    addr: SocketAddr,
    rolecall: Rolecall,
    agent: SocketAddr,
    /// `primary`, `standby` or `no answer`, by SQL.
    pub role: Changes,
    /// What its rolecall says.
    pub answer: Changes,
    /// What HAProxy makes of it.
    pub state: Changes,
}

/// Two servers with a rolecall each, HAProxy in front, and clients.
pub struct Scene {
    pub one: Node,
    pub two: Node,
    clients: Option<Clients>,
    pub front: SocketAddr,
    page: SocketAddr,
    _haproxy: Haproxy,
}

impl Scene {
    /// Starts the rolecalls, HAProxy and the clients for two servers that run.
    pub fn set(ground: &Ground, needs: &Needs, servers: [Place; 2]) -> Self {
        say("a rolecall for each ...");
        let [first, second] = servers;
        let agent = |place: &Place| SocketAddr::new(place.addr.ip(), AGENT_PORT);
        let (agent1, agent2) = (agent(&first), agent(&second));
        let rolecall1 = rolecall(ground, needs, &first, agent1);
        let rolecall2 = rolecall(ground, needs, &second, agent2);

        say(&format!("HAProxy {} with haproxy/haproxy.cfg as shipped ...", needs.haproxy_version));
        let (front, page) = (ground.addr(FRONT, FRONT_PORT), ground.addr(FRONT, HTTP_PORT));
        let variables = [
            ("ROLECALL_PG1", first.addr.to_string()),
            ("ROLECALL_PG2", second.addr.to_string()),
            ("ROLECALL_AGENT_PORT", AGENT_PORT.to_string()),
            ("ROLECALL_BIND_RW", front.to_string()),
        ];
        let haproxy =
            Haproxy::start(ground, &needs.haproxy, &configuration(ground, page), &variables);
        let node = |place: Place, rolecall, agent, server: &str| Node {
            role: role(place.addr),
            answer: answer(agent),
            state: state(haproxy.stats(), format!("postgres_rw/{server}")),
            name: place.name,
            addr: place.addr,
            rolecall,
            agent,
        };
        let one = node(first, rolecall1, agent1, "pg1");
        let two = node(second, rolecall2, agent2, "pg2");
        say("every 20 ms a client that writes a row through HAProxy ...");
        let clients = Some(Clients::start(front, WRITE_EVERY));
        Self { one, two, clients, front, page, _haproxy: haproxy }
    }

    /// When `node` first took a row after `since`.
    pub fn wrote(&self, node: &Node, since: Stamp) -> Option<Stamp> {
        self.clients.as_ref()?.first_by(node.addr, since)
    }

    /// When `node` last took a row before `until`.
    pub fn last_write(&self, node: &Node, until: Stamp) -> Option<Stamp> {
        let rows = self.clients.as_ref()?.rows_by(node.addr);
        rows.into_iter().rfind(|at| *at < until)
    }

    /// How many rows `node` has taken since `since`.
    pub fn rows_by(&self, node: &Node, since: Stamp) -> usize {
        let rows = self.clients.as_ref().map(|clients| clients.rows_by(node.addr));
        rows.into_iter().flatten().filter(|at| *at >= since).count()
    }

    /// Shows what everybody says now; the clients' word is from after `since`.
    pub fn show(&self, since: Stamp) {
        let row = |name, of: fn(&Node) -> &Changes| {
            screen::row(name, latest(of(&self.one)), latest(of(&self.two)));
        };
        screen::row("", self.one.name, self.two.name);
        row("by SQL it is a", |node| &node.role);
        row("its rolecall says", |node| &node.answer);
        row("HAProxy shows it", |node| &node.state);
        let takes = |node| if self.wrote(node, since).is_some() { "yes" } else { "no" };
        screen::row("takes clients' writes", takes(&self.one), takes(&self.two));
    }

    /// Ends what looks on and what writes, for the reader to look alone.
    pub fn rest(&mut self) {
        self.clients = None;
    }

    /// HAProxy's status page.
    pub fn page(&self) -> String {
        format!("http://{}/", self.page)
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

/// A rolecall that runs; the rest of its configuration is the defaults, which go with the shipped file.
fn rolecall(ground: &Ground, needs: &Needs, place: &Place, agent: SocketAddr) -> Rolecall {
    let config = format!(
        "[source]\n{}\n\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n",
        place.source
    );
    let name = format!("rolecall-{}", place.name);
    let records = ground.dir().join(format!("{name}-run"));
    std::fs::create_dir(&records).expect("a folder in a new directory");
    let mut rolecall = Rolecall::new(ground, &name, &needs.rolecall, &config)
        .env("RUNTIME_DIRECTORY", &records.display().to_string());
    rolecall.start();
    rolecall
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
