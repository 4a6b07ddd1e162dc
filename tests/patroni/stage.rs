//! A Patroni cluster with a rolecall for each node, HAProxy in front, and everybody who looks on.

mod counts;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rolecall::look::stamp::Stamp;

pub use crate::front::READ_PORT;
pub use crate::setting::{Callbacks, Clock, Names, Setting, config};

use crate::certificates;
use crate::fixtures::ledger::{moved, promotions, waited};
use crate::fixtures::names;
use crate::fixtures::patroni::{Cluster, PATIENCE, Shape, Template, numbers};
use crate::fixtures::process::Proc;
use crate::fixtures::release::Release;
use crate::fixtures::rows::{Row, Taken, writer_every};
use crate::fixtures::timing::Took;
use crate::fixtures::{
    AGENT_PORT, Beat, Check, FRONT_PORT, Ground, Haproxy, Heard, PG_PORT, PgError, Recorder,
    Rolecall, Sample, Session, checker, eventually, haproxies, held, now, open_session, sampler,
};
use crate::front::{CLIENT, REPLICA_PORT, addresses, fronts, with_servers};
use crate::setting::hook;
use crate::watch::{Usual, Writable, usual_check, writable};

/// The program that is built.
pub const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");
/// The file as it is shipped.
const CFG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/haproxy/patroni.cfg");
/// How often every agent port is asked.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// Longer than an agent may ever take; its answer is to be there at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Everything; stopped from the top down.
pub struct Stage {
    pub rows: Recorder<Row>,
    pub answers: BTreeMap<u8, Recorder<Check>>,
    replica_answers: BTreeMap<u8, Recorder<Check>>,
    pub writable: BTreeMap<u8, Recorder<Writable>>,
    pub servers: Recorder<Sample>,
    /// HAProxy with the shipped file.
    pub haproxy: Haproxy,
    /// One for each node.
    roles: Vec<Rolecall>,
    /// Patroni, PostgreSQL and etcd.
    pub cluster: Cluster,
    // After the cluster: it waits for an answer without a bound until its Patroni is gone.
    usual: BTreeMap<u8, Recorder<Usual>>,
    began: Stamp,
    fault: Option<Stamp>,
    /// What else the scenario counted; ends its line.
    pub note: String,
    pub version: Vec<u32>,
    /// How often each writer writes a row.
    pub every: Duration,
    _names: Option<Proc>,
    /// The file of HAProxy.
    pub cfg: PathBuf,
    pub ground: Ground,
}

/// The release that is built.
pub fn built() -> Release {
    Release::built(ROLECALL, CFG)
}

/// The release that the environment names.
pub fn other() -> Option<Release> {
    Release::other(CFG)
}

impl Stage {
    /// Starts it all and waits until node 1 is READY and takes rows, and node 2 is a replica.
    pub fn start(template: &Template, program: &Path, version: &str, setting: Setting) -> Self {
        Self::start_with(template, program, version, setting, &built())
    }

    /// The same with this release.
    pub fn start_with(
        template: &Template,
        program: &Path,
        version: &str,
        setting: Setting,
        release: &Release,
    ) -> Self {
        let ground = Ground::new();
        let tls = setting.tls.then(|| certificates::make(&ground));
        let hook = setting.callbacks.are_shipped();
        let hook = hook.then(|| self::hook(&ground, &release.program, setting.nodes));
        let shape = Shape {
            nodes: setting.nodes,
            program: program.to_owned(),
            failsafe: setting.failsafe,
            tls,
            hook,
            store: setting.store,
            stepped_clock: setting.clock == Clock::Own,
        };
        let ids = 1..=setting.nodes;
        let cluster = Cluster::start(&ground, template, shape);
        let roles = ids.clone().map(|id| {
            let name = format!("rolecall{id}");
            let sockets = [AGENT_PORT, REPLICA_PORT].map(|port| held(ground.addr(id, port)));
            let text = config(&ground, id, setting, release);
            let records = ground.dir().join(format!("records{id}"));
            std::fs::create_dir(&records).expect("mkdir");
            let mut one = Rolecall::new(&ground, &name, &release.program, &text)
                .env("RUNTIME_DIRECTORY", &records.display().to_string())
                .sockets(sockets.into());
            one.start();
            one
        });
        let roles = roles.collect();
        let mut programs = haproxies();
        let names = (setting.names == Names::Resolved).then(|| names::serve(&ground, 2));
        let cfg = with_servers(&ground, &release.cfg, setting.nodes);
        let haproxy = if names.is_some() {
            let shipped = std::fs::read_to_string(CFG).expect("haproxy/patroni.cfg");
            let cfg = ground.write("haproxy.cfg", &names::with_resolvers(&shipped));
            let env = names::named(&ground, addresses(&ground, setting.nodes, &fronts(&ground)));
            Haproxy::start(&ground, &programs.pop().expect("a HAProxy").1, &cfg, &env)
        } else {
            let env = addresses(&ground, setting.nodes, &fronts(&ground));
            Haproxy::start(&ground, &programs.swap_remove(0).1, &cfg, &env)
        };
        let look = |port| {
            let agent = |id| (id, checker(ground.addr(id, port), SAMPLE_EVERY, ANSWER_WITHIN));
            ids.clone().map(agent).collect()
        };
        let (answers, replica_answers) = (look(AGENT_PORT), look(REPLICA_PORT));
        let usual = cluster.nodes().iter().map(|n| (n.id, usual_check(n.rest()))).collect();
        let writable = |id| (id, writable(ground.addr(id, PG_PORT)));
        let writable = ids.clone().map(writable).collect();
        let servers = sampler(haproxy.stats());
        let rows = writer_every(ground.addr(CLIENT, FRONT_PORT), 0, setting.every);
        let mut stage = Self {
            rows,
            answers,
            replica_answers,
            writable,
            servers,
            haproxy,
            roles,
            cluster,
            usual,
            began: now(),
            fault: None,
            note: String::new(),
            version: numbers(version),
            every: setting.every,
            _names: names,
            cfg,
            ground,
        };
        stage.wait_ready(1);
        stage.wait_row(1);
        for id in 2..=setting.nodes {
            stage.wait_replica(id, true);
        }
        // A server is `UP 1/2` until a companion check has passed: no fault is to come before.
        for server in ["postgres_rw/pg1", "postgres_ro/pg2"] {
            stage.haproxy.wait(server, PATIENCE, "is up", |s| s.status == "UP");
        }
        stage.began = now();
        stage
    }

    /// Where everything of it is, and that it stays there.
    pub fn keep(&mut self) -> &Path {
        self.ground.keep();
        self.ground.dir()
    }

    /// Adds to what the table says of this play.
    pub fn note_that(&mut self, what: std::fmt::Arguments<'_>) {
        self.note.push_str(&what.to_string());
    }

    /// The moment from which the table counts.
    pub fn fault(&mut self) {
        self.fault = Some(now());
    }

    /// Waits until the agent of node `id` says READY.
    pub fn wait_ready(&self, id: u8) {
        self.answers[&id].wait(PATIENCE, &format!("n{id} is READY"), |c| c.heard.is_ready());
    }

    /// Waits until the agent of node `id` says MAINT.
    pub fn wait_maint(&self, id: u8) {
        self.answers[&id].wait(PATIENCE, &format!("n{id} is in MAINT"), |c| is_maint(&c.heard));
    }

    /// Waits until the replica service of node `id` is READY, or in MAINT.
    pub fn wait_replica(&self, id: u8, ready: bool) {
        let what = format!("n{id} is a replica in service: {ready}");
        let wanted = |c: &Check| if ready { c.heard.is_ready() } else { is_maint(&c.heard) };
        self.replica_answers[&id].wait(PATIENCE, &what, wanted);
    }

    /// Whether the newest answer of node `id` is READY.
    pub fn is_ready_now(&self, id: u8) -> bool {
        self.is_ready_after(id, self.began)
    }

    /// Whether it is, and was given after this moment.
    pub fn is_ready_after(&self, id: u8, moment: Stamp) -> bool {
        let last = self.answers[&id].last();
        last.is_some_and(|check| check.at >= moment && check.heard.is_ready())
    }

    /// Waits until node `id` takes a row.
    pub fn wait_row(&self, id: u8) {
        let taken = |r: &Row| matches!(r.taken, Taken::By { by, .. } if by == id);
        self.rows.wait(PATIENCE, &format!("a row taken by n{id}"), taken);
    }

    /// Waits until node `id` has taken a row since the fault, and tells what took how long.
    pub fn took(&self, id: u8) -> Took {
        let fault = self.fault.expect("a fault");
        let wanted =
            |row: &Row| row.began >= fault && matches!(row.taken, Taken::By { by, .. } if by == id);
        self.rows.wait_since(0, PATIENCE, "a row of the new leader", wanted);
        let left = promotions(id, &self.cluster.node(id).log_text());
        let moved = moved(&self.rows.all(), &left, id, fault)
            .expect("the promotion of a node that takes rows");
        // Whoever asks its agent may hear it a moment after the first client was let in.
        let said = |c: &Check| c.at >= fault && c.heard.is_ready();
        let ready = self.answers[&id].wait_since(0, PATIENCE, "the new one's READY", said).at;
        Took::of(fault, ready, &moved)
    }

    /// Prints how long new connections waited for node `id` since the fault.
    pub fn tell_waited(&self, why: &str, id: u8) {
        let fault = self.fault.expect("a fault");
        let rows: Vec<Row> = self.rows.all().into_iter().filter(|r| r.began >= fault).collect();
        let (waited, refused) = waited(&rows, id).expect("rows that nobody took, and then some");
        println!("{why}: new connections waited {waited:.1?}, {refused} were turned away");
    }

    /// Looks on for so long.
    pub fn look_on(&self, span: Duration) {
        let from = now();
        self.answers[&1].wait(PATIENCE + span, "more answers", |c| c.at.since(from) >= span);
    }

    /// Opens a session through HAProxy that is asked something all the time, and has answered.
    pub fn session(&self) -> Recorder<Beat> {
        let session = open_session(self.write_front());
        session.wait_since(0, PATIENCE, "the session answers", |b| b.answer.is_ok());
        session
    }

    /// Stops the rolecall of node `id` and starts it again.
    pub fn restart_rolecall(&mut self, id: u8) {
        self.role_mut(id).restart();
    }

    /// The rolecall of node `id`.
    pub fn role(&self, id: u8) -> &Rolecall {
        &self.roles[usize::from(id) - 1]
    }

    /// The same, to be started or ended.
    pub fn role_mut(&mut self, id: u8) -> &mut Rolecall {
        &mut self.roles[usize::from(id) - 1]
    }

    /// How often rolecall of node 1 has taken its READY back for `to`: `not_ready`, `unknown`.
    pub fn taken_back(&self, to: &str) -> usize {
        let words = ["service=\"primary\"", "from=ready", &format!("to={to} ")];
        let log = self.roles[0].log();
        log.lines().filter(|l| words.iter().all(|w| l.contains(w))).count()
    }

    /// Waits until a new read-only client reaches node `id`.
    pub fn wait_read(&self, id: u8) {
        let front = self.read_front();
        let host = self.ground.host(id).to_string();
        eventually(PATIENCE, &format!("reads reach n{id}"), || {
            let mut session = Session::connect_as(front, "app", "postgres", ANSWER_WITHIN)?;
            let by = session.value("select host(inet_server_addr())")?;
            if by == host { Ok(()) } else { Err(PgError::Server(by, "answered".into())) }
        });
    }

    /// Where those who write come to.
    pub fn write_front(&self) -> SocketAddr {
        self.ground.addr(CLIENT, FRONT_PORT)
    }

    /// Where those who only read come to.
    pub fn read_front(&self) -> SocketAddr {
        self.ground.addr(CLIENT, READ_PORT)
    }

    /// How the usual check saw node `id` from `from` on.
    pub fn usual_of(&self, id: u8, from: Stamp) -> Vec<Usual> {
        self.usual[&id].all().into_iter().filter(|u| u.at >= from).collect()
    }

    fn answers_since(&self, id: u8, from: Option<Stamp>) -> Vec<Check> {
        let from = from.or(self.fault).unwrap_or(self.began);
        self.answers[&id].all().into_iter().filter(|c| c.at >= from).collect()
    }

    /// Node `id` was READY at every moment since the fault.
    pub fn always_ready(&self, id: u8) {
        let answers = self.answers_since(id, None);
        assert!(answers.len() > 10, "too few answers of n{id}: {}", answers.len());
        let other = answers.iter().find(|c| !c.heard.is_ready());
        assert!(other.is_none(), "n{id} was not READY throughout: {other:?}");
    }

    /// The replica service of node `id` was READY at every moment since the fault.
    pub fn replica_always_ready(&self, id: u8) {
        let from = self.fault.unwrap_or(self.began);
        let answers = self.replica_answers[&id].all().into_iter().filter(|c| c.at >= from);
        let answers: Vec<Check> = answers.collect();
        assert!(answers.len() > 10, "too few answers of n{id}: {}", answers.len());
        let other = answers.iter().find(|c| !c.heard.is_ready());
        assert!(other.is_none(), "n{id} was not READY for reads: {other:?}");
    }

    /// Node `id` was never READY since `from`, since the fault where that is not given.
    pub fn never_ready(&self, id: u8, from: Option<Stamp>) {
        let answers = self.answers_since(id, from);
        assert!(answers.len() > 10, "too few answers of n{id}: {}", answers.len());
        let ready = answers.iter().find(|c| c.heard.is_ready());
        assert!(ready.is_none(), "n{id} was READY: {ready:?}");
    }
}

fn is_maint(heard: &Heard) -> bool {
    *heard == Heard::Said("MAINT\n".to_owned())
}
