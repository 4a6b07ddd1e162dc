//! Virtual time: a cluster, a rolecall on each of its nodes, one HAProxy or two, and what happens to them.
//!
//! The time is Tokio's, paused: keepers, pollers and timers of rolecall itself run in it, and it jumps
//! to whatever is due next. What the world does (packets, repmgrd, checks, faults) waits in a queue of
//! its own. One seed makes every choice, and everything runs on one thread: a run goes the same way
//! again.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use rolecall::look::error::ErrorKind;
use rolecall::source::releasing::Question;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::answers::Look;
use crate::cluster::{Cluster, Event, Id, MOST};
use crate::file::File;
use crate::gate::Gate;
use crate::network::Query;
use crate::oracle::Totals;
use crate::process::Process;
use crate::proxy::{Asked, Haproxy, Proxy, SHIPPED};
use crate::reference::{Mutant, Reference};
use crate::repmgrd::Repmgrd;
use crate::rng::Rng;
use crate::steps::Step;
use crate::text::Judge;
use crate::walk::RULES;

/// How often a standby is given the chance to replay, to drop and to attach.
const WAL: u64 = 300;

/// How a run differs from others; milliseconds.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct Settings {
    /// repmgr.conf: `reconnect_attempts`, `reconnect_interval`, `monitor_interval_secs`.
    pub attempts: u64,
    pub reconnect: u64,
    pub monitor: u64,
    pub haproxy: Haproxy,
    pub proxies: usize,
    /// What an operator wrote on every node.
    pub file: File,
    /// The socket of a dead rolecall stays open, as a systemd socket unit holds it.
    pub socket_held: bool,
    /// The rolecalls have a secret, by which they let each other go ahead.
    pub release: bool,
    /// A virtual machine may be paused with its clock, by chance: not all that follows can be helped.
    pub machines_stand_still: bool,
    /// Whom a standby streams from is told by the asking host's names alone, as 0.1.0 did.
    pub names_alone: bool,
    /// `None`: rolecall itself.
    pub mutant: Option<Mutant>,
    /// repmgrd decides by itself; else only the script does.
    pub automatic: bool,
    /// The longest that a server takes for an answer, and whether one is late by chance.
    pub slow: u64,
    pub late: bool,
    /// The rule's text is asked beside rolecall.
    pub shadow: bool,
    pub trace: bool,
}

impl Settings {
    /// repmgr 3 x 10 s and the shipped files, with the patience that repmgr really has.
    pub fn usual() -> Self {
        let settings = Self {
            attempts: 3,
            reconnect: 10_000,
            monitor: 2000,
            haproxy: SHIPPED,
            proxies: 1,
            file: File::default(),
            socket_held: false,
            release: true,
            machines_stand_still: false,
            names_alone: false,
            mutant: None,
            automatic: false,
            slow: 20,
            late: false,
            shadow: false,
            trace: false,
        };
        settings.with_patience(3, 10_000)
    }

    /// repmgr sleeps only between its attempts.
    pub fn with_patience(self, attempts: u64, reconnect: u64) -> Self {
        let patience = (attempts - 1) * reconnect;
        let file = File { failover_after: Some(patience).filter(|ms| *ms > 0), ..self.file };
        Self { attempts, reconnect, file, ..self }
    }
}

#[derive(Debug)]
pub enum Due {
    /// From outside: the script, or chance.
    Do(Step),
    Fault,
    Caretaker,
    /// By the cluster itself.
    Happens(Event),
    Monitor(Id),
    Notify(Id, Option<Id>),
    Wal(Id),
    /// A question reaches its server; the answer takes so long back.
    Serve(Query, u64),
    Arrive(oneshot::Sender<Look>, Look),
    /// The first asks the second to give way.
    GiveWay(Id, Id, Question, oneshot::Receiver<Option<String>>, oneshot::Sender<Option<String>>),
    GaveWay(oneshot::Sender<Option<String>>, Option<String>),
    Open(Arc<Gate>),
    Check(Asked),
    Answered(Asked, u64),
    Checked(Asked, Option<bool>),
}

struct Entry {
    time: u64,
    /// What comes from outside is first, so that a script goes as the chance went that made it.
    inside: bool,
    sequence: u64,
    due: Due,
}

impl Entry {
    fn key(&self) -> (u64, bool, u64) {
        (self.time, self.inside, self.sequence)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

pub struct Sim {
    pub now: u64,
    pub cluster: Cluster,
    pub settings: Settings,
    /// What the world draws from, and what the faults are drawn from: a script that repeats faults
    /// leaves the world as it was.
    pub rng: Rng,
    pub chance: Rng,
    pub totals: Totals,
    pub processes: Vec<Process>,
    pub proxies: Vec<Proxy>,
    /// No new fault until then: something by hand goes on that must not meet a cut.
    pub quiet_until: u64,
    pub nobody_since: u64,
    /// What was done from outside so far.
    pub script: Vec<(u64, Step)>,
    pub repmgrd: [Repmgrd; MOST],
    pub impaired: [Option<ErrorKind>; MOST],
    pub slow: [u64; MOST],
    pub replay_paused: [u64; MOST],
    /// The nodes as they were when somebody took a backup.
    pub backups: [Option<crate::cluster::Node>; MOST],
    /// Asking host, answering node, and whom the sender's name leads to there.
    pub misled: Vec<(Id, Id, Id)>,
    /// When each node was last promoted, and whether it has been READY since.
    pub promoted: [u64; MOST],
    pub served: [bool; MOST],
    /// When each server was last started.
    pub started: [u64; MOST],
    pub me: Weak<World>,
    pub origin: Instant,
    queue: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    /// What the world waits for; something that is due before it wakes the world.
    awaited: u64,
    pub sooner: Arc<Notify>,
    dir: tempfile::TempDir,
}

pub type World = Mutex<Sim>;

pub fn at(id: Id) -> usize {
    usize::from(id)
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The world at the present moment.
pub fn current(world: &World) -> MutexGuard<'_, Sim> {
    let mut sim = world.lock().unwrap();
    let now = sim.origin.elapsed().as_millis();
    sim.pass(u64::try_from(now).unwrap());
    sim
}

impl Sim {
    /// Within a paused runtime.
    #[expect(clippy::disallowed_methods, reason = "the beginning of the simulated time")]
    pub fn new(cluster: Cluster, settings: Settings, seed: u64) -> Arc<World> {
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let sim = Self {
            now: 0,
            cluster,
            settings,
            rng: Rng::new(seed),
            chance: Rng::new(!seed),
            totals: Totals::default(),
            processes: Vec::new(),
            proxies: vec![Proxy::default(); settings.proxies],
            quiet_until: 0,
            nobody_since: 0,
            script: Vec::new(),
            repmgrd: std::array::from_fn(|_| Repmgrd::default()),
            impaired: [None; MOST],
            slow: [0; MOST],
            replay_paused: [0; MOST],
            backups: [None; MOST],
            misled: Vec::new(),
            promoted: [0; MOST],
            served: [false; MOST],
            started: [0; MOST],
            me: Weak::new(),
            origin: Instant::now(),
            queue: BinaryHeap::new(),
            sequence: 0,
            awaited: 0,
            sooner: Arc::default(),
            dir: tempfile::tempdir_in(dir).expect("a directory for the records"),
        };
        let world = Arc::new(Mutex::new(sim));
        world.lock().unwrap().me = Arc::downgrade(&world);
        world.lock().unwrap().begin();
        world
    }

    fn begin(&mut self) {
        let key = self.dir.path().join("key");
        std::fs::write(&key, "a secret of the simulation").expect("the cluster's secret");
        let only_owner = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&key, only_owner).expect("the mode of the secret");
        for id in self.cluster.ids() {
            let phase = self.rng.between(0, self.settings.monitor);
            self.after(phase, Due::Monitor(id));
            if self.cluster.witness == Some(id) {
                continue;
            }
            let phase = self.rng.between(0, WAL);
            self.after(phase, Due::Wal(id));
            let dir = self.dir.path().join(id.to_string());
            std::fs::create_dir(&dir).expect("a directory for a node's records");
            let key = self.settings.release.then(|| self.dir.path().join("key"));
            let process = Process::dead(dir, self.settings.file, key, self.judge(id));
            self.processes.push(process);
            self.start_process(id);
        }
        for proxy in 0..self.settings.proxies {
            self.start_worker(proxy);
        }
    }

    fn judge(&self, id: Id) -> Option<Judge> {
        let Settings { mutant, shadow, file, haproxy, .. } = &self.settings;
        let config = file.config(id, haproxy, None);
        let policy = config.services[0].policy(&config.nodes[0]);
        let rules = Reference { electorate: RULES, mutant: *mutant };
        let judge = Judge::new(rules, policy.settle, policy.trust[0].hold);
        (*shadow || mutant.is_some()).then_some(judge)
    }

    pub fn after(&mut self, delay: u64, due: Due) {
        self.sequence += 1;
        let time = self.now + delay;
        if time < self.awaited {
            self.awaited = time;
            self.sooner.notify_one();
        }
        let inside = !matches!(due, Due::Do(_) | Due::Fault | Due::Caretaker);
        self.queue.push(Reverse(Entry { time, inside, sequence: self.sequence, due }));
    }

    /// Does this so many milliseconds from now.
    pub fn later(&mut self, delay: u64, step: Step) {
        self.after(delay, Due::Do(step));
    }

    /// Does all that is due; the moment of what comes next, `None` at the end.
    pub fn advance(&mut self, until: u64) -> Option<u64> {
        while let Some(Reverse(entry)) = self.queue.peek() {
            if entry.time > self.now {
                break;
            }
            let Some(Reverse(entry)) = self.queue.pop() else { break };
            self.handle(entry.due);
        }
        if self.now >= until {
            return None;
        }
        let next = self.queue.peek().map_or(until, |Reverse(entry)| entry.time.min(until));
        self.awaited = next;
        Some(next)
    }

    fn handle(&mut self, due: Due) {
        match due {
            Due::Do(step) => self.step(step),
            Due::Fault => self.fault(),
            Due::Caretaker => self.caretaker(),
            Due::Happens(event) => self.event(event),
            Due::Monitor(id) => {
                let next = self.monitor(id);
                self.after(next, Due::Monitor(id));
            }
            Due::Notify(id, upstream) => self.notify_followers(id, upstream),
            Due::Wal(id) => {
                self.after(WAL, Due::Wal(id));
                self.wal(id);
            }
            Due::Serve(question, back) => self.serve(question, back),
            Due::Arrive(answer, look) => drop(answer.send(look)),
            Due::GiveWay(from, to, question, replied, answer) => {
                self.give_way(from, to, question, replied, answer);
            }
            Due::GaveWay(answer, body) => drop(answer.send(body)),
            Due::Open(gate) => gate.open(),
            Due::Check(asked) => self.check(asked),
            Due::Answered(asked, back) => self.answered(asked, back),
            Due::Checked(asked, ready) => self.checked(asked, ready),
        }
    }
}
