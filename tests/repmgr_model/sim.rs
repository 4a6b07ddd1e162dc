//! Virtual time: a cluster, a rolecall on each of its nodes, one HAProxy, and what happens to them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use rolecall::clock::Stamp;
use rolecall::observation::ErrorKind;
use rolecall::snapshot::SourceFacts;

use crate::answers::Look;
use crate::cluster::{Cluster, Event, Id, MOST};
use crate::daemon::{Daemon, Process, Server};
use crate::driver::{Driver, Rolecall, Text};
use crate::reference::{Mutant, Reference};
use crate::rng::Rng;
use crate::walk::RULES;

/// Between the beginnings of two looks, and for one look; milliseconds, as all times here.
pub const INTERVAL: u64 = 500;
pub const TIMEOUT: u64 = 800;
/// HAProxy's agent and companion checks: from one to the next, and how long one may take.
const CHECK_EVERY: u64 = 900;
const CHECK_TIMEOUT: u64 = 100;
const AGENT_INTER: u64 = CHECK_EVERY + CHECK_TIMEOUT;
const FALL: u32 = 2;
/// An answer's life is that of [`RULES`]; the least settle that goes with it.
const SETTLE: u64 = 1700 + AGENT_INTER * FALL as u64 + 100;
/// repmgrd's `monitor_interval_secs`.
const MONITOR: u64 = 1000;
/// How often a standby is given the chance to replay, to drop and to attach.
const WAL: u64 = 300;

/// How a run differs from others.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// repmgrd's detection time, `reconnect_attempts` times `reconnect_interval`.
    pub detection: u64,
    pub hold: u64,
    /// `None`: rolecall itself.
    pub mutant: Option<Mutant>,
    /// repmgrd decides by itself; else only the script does.
    pub automatic: bool,
    /// The longest that a server takes for an answer, beside the rare slow one.
    pub slow: u64,
    pub shadow: bool,
    pub trace: bool,
}

/// What is done to the world from outside.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Event(Event),
    /// Happens only while the node takes no writes.
    IfNotWritable(Id, Event),
    /// The server answers rolecall's looks with this.
    Impair(Id, ErrorKind),
    Repair(Id),
    /// The server takes so long for an answer.
    Slow(Id, u64),
    /// Replay stands still until then.
    PauseReplay(Id, u64),
    StopDaemon(Id),
    ContinueDaemon(Id),
    KillDaemon(Id),
    StartDaemon(Id),
    CutHaproxy(Id, bool),
    Fault,
    Caretaker,
}

#[derive(Debug)]
pub enum Due {
    Do(Step),
    Monitor(Id),
    Wal(Id),
    Poll(Loop),
    Serve(Loop, u64),
    Arrive(Loop, u64, Look),
    /// The number tells the last one that was set from those it replaced.
    Wake(Id, u64),
    Agent(Id),
    AgentAnswer(Id),
    Companion(Id),
    CompanionAnswer(Id),
}

/// One of a daemon's polling loops.
#[derive(Debug, Clone, Copy)]
pub struct Loop {
    pub daemon: Id,
    pub target: Id,
    pub number: u32,
}

/// What came of a run; milliseconds.
#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    pub double_daemons: u64,
    pub double_haproxy: u64,
    pub one_ready: u64,
    pub first_double: Option<u64>,
    pub faults: u32,
    pub promotions: u32,
}

pub struct Sim {
    pub now: u64,
    pub cluster: Cluster,
    pub settings: Settings,
    pub rng: Rng,
    pub totals: Totals,
    pub daemons: Vec<Daemon>,
    pub servers: [Server; MOST],
    /// No new fault until then: something by hand goes on that must not meet a cut.
    pub quiet_until: u64,
    pub nobody_since: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    due: BTreeMap<u64, Due>,
    pub sequence: u64,
    pub loops: u32,
    pub waiting: Vec<(Id, Due)>,
    /// When the repmgrd of each node last reached its upstream, and which it was: as its server's
    /// shared memory has it, which a restart of the server clears, and as the process itself knows.
    pub contact: [Option<(Id, u64)>; MOST],
    pub reached: [Option<(Id, u64)>; MOST],
    pub impaired: [Option<ErrorKind>; MOST],
    pub slow: [u64; MOST],
    pub replay_paused: [u64; MOST],
}

pub fn at(id: Id) -> usize {
    usize::from(id)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn stamp(now: u64) -> Stamp {
    Stamp::new(ms(now))
}

impl Sim {
    pub fn new(cluster: Cluster, settings: Settings, seed: u64) -> Self {
        let mut sim = Self {
            now: 0,
            cluster,
            settings,
            rng: Rng::new(seed),
            totals: Totals::default(),
            daemons: Vec::new(),
            servers: [Server::default(); MOST],
            quiet_until: 0,
            nobody_since: 0,
            queue: BinaryHeap::new(),
            due: BTreeMap::new(),
            sequence: 0,
            loops: 0,
            waiting: Vec::new(),
            contact: [None; MOST],
            reached: [None; MOST],
            impaired: [None; MOST],
            slow: [0; MOST],
            replay_paused: [0; MOST],
        };
        for id in cluster.ids() {
            let phase = sim.rng.between(0, MONITOR);
            sim.after(phase, Due::Monitor(id));
            if cluster.witness == Some(id) {
                continue;
            }
            let phase = sim.rng.between(0, WAL);
            sim.after(phase, Due::Wal(id));
            let daemon = sim.process(id);
            sim.daemons.push(daemon);
            sim.start_daemon(id);
            let phase = sim.rng.between(0, CHECK_EVERY);
            sim.after(phase, Due::Agent(id));
            let phase = sim.rng.between(0, CHECK_EVERY);
            sim.after(phase, Due::Companion(id));
        }
        sim
    }

    pub fn process(&self, id: Id) -> Daemon {
        let Settings { mutant, hold, shadow, .. } = self.settings;
        let rules = Reference { electorate: RULES, mutant };
        let text = |rules| Box::new(Text::new(rules, ms(SETTLE), ms(hold))) as Box<dyn Driver>;
        let driver = match mutant {
            None => Box::new(Rolecall::new(&rules, ms(SETTLE), ms(hold), ms(INTERVAL + TIMEOUT))),
            Some(_) => text(rules),
        };
        Daemon {
            id,
            process: Process::Dead,
            wake: 0,
            loops: BTreeMap::new(),
            facts: SourceFacts::default(),
            accepts: false,
            ready: false,
            record: None,
            driver,
            shadow: (shadow && mutant.is_none()).then(|| text(rules)),
        }
    }

    pub fn after(&mut self, delay: u64, due: Due) {
        self.sequence += 1;
        self.queue.push(Reverse((self.now + delay, self.sequence)));
        self.due.insert(self.sequence, due);
    }

    /// Does this so many milliseconds from now.
    pub fn later(&mut self, delay: u64, step: Step) {
        self.after(delay, Due::Do(step));
    }

    pub fn run(&mut self, until: u64) {
        while let Some(&Reverse((time, sequence))) = self.queue.peek() {
            if time > until {
                break;
            }
            self.queue.pop();
            self.pass(time);
            if let Some(due) = self.due.remove(&sequence) {
                self.handle(due);
            }
        }
        self.pass(until);
    }

    fn pass(&mut self, time: u64) {
        let passed = time - self.now;
        let ready = self.daemons.iter().filter(|d| d.answers() && d.ready).count();
        let behind = self.servers.iter().filter(|server| server.takes_writes()).count();
        if ready > 1 {
            self.totals.double_daemons += passed;
        }
        if behind > 1 {
            self.totals.double_haproxy += passed;
        }
        if (ready > 1 || behind > 1) && passed > 0 {
            self.totals.first_double.get_or_insert(self.now);
        }
        if behind == 1 {
            self.totals.one_ready += passed;
        }
        if ready > 0 {
            self.nobody_since = time;
        }
        self.now = time;
    }

    fn handle(&mut self, due: Due) {
        match due {
            Due::Do(step) => self.step(step),
            Due::Monitor(id) => {
                self.after(MONITOR, Due::Monitor(id));
                self.monitor(id);
            }
            Due::Wal(id) => {
                self.after(WAL, Due::Wal(id));
                self.wal(id);
            }
            Due::Agent(id) => {
                self.after(CHECK_EVERY, Due::Agent(id));
                let delay = self.rng.between(0, CHECK_TIMEOUT);
                self.after(delay, Due::AgentAnswer(id));
            }
            Due::Companion(id) => {
                self.after(CHECK_EVERY, Due::Companion(id));
                let delay = self.rng.between(0, CHECK_TIMEOUT);
                self.after(delay, Due::CompanionAnswer(id));
            }
            Due::AgentAnswer(id) => {
                if let Some(ready) = self.said_to_haproxy(id) {
                    self.servers[at(id)].agent_said(ready);
                }
            }
            Due::CompanionAnswer(id) => {
                let said = self.said_to_haproxy(id);
                let on_maint = self.settings.mutant == Some(Mutant::CompanionOnMaint);
                let passed = said.is_some_and(|ready| ready || on_maint);
                self.servers[at(id)].companion(passed, FALL);
            }
            Due::Poll(lane) => self.of_daemon(lane.daemon, Due::Poll(lane)),
            Due::Serve(lane, began) => self.serve(lane, began),
            Due::Arrive(lane, began, look) => {
                self.of_daemon(lane.daemon, Due::Arrive(lane, began, look));
            }
            Due::Wake(id, number) => self.of_daemon(id, Due::Wake(id, number)),
        }
    }

    pub fn step(&mut self, step: Step) {
        if self.settings.trace && !matches!(step, Step::Fault | Step::Caretaker) {
            println!("{:>8} {step:?}", self.now);
        }
        match step {
            Step::Event(event) => self.event(event),
            Step::IfNotWritable(id, event) if !self.cluster.writable(id) => self.event(event),
            Step::IfNotWritable(..) => {}
            Step::Impair(id, kind) => self.impaired[at(id)] = Some(kind),
            Step::Repair(id) => self.impaired[at(id)] = None,
            Step::Slow(id, most) => self.slow[at(id)] = most,
            Step::PauseReplay(id, until) => self.replay_paused[at(id)] = until,
            Step::StopDaemon(id) => self.stop_daemon(id),
            Step::ContinueDaemon(id) => self.continue_daemon(id),
            Step::KillDaemon(id) => self.kill_daemon(id),
            Step::StartDaemon(id) => self.start_daemon(id),
            Step::CutHaproxy(id, cut) => self.servers[at(id)].cut = cut,
            Step::Fault => self.fault(),
            Step::Caretaker => self.caretaker(),
        }
    }

    /// Lets an event happen in the cluster, with what it means for the daemons and for repmgrd.
    pub fn event(&mut self, event: Event) {
        if !self.cluster.apply(event) {
            return;
        }
        match event {
            Event::Elect(id) | Event::PromoteByHand(id) => {
                self.totals.promotions += 1;
                (self.contact[at(id)], self.reached[at(id)]) = (None, None);
                let wait = self.rng.between(800, 1100);
                self.later(wait, Step::Event(Event::WriteRow(id)));
            }
            Event::Crash(id) | Event::Start(id) => self.contact[at(id)] = None,
            Event::StopRepmgrd(id) => self.reached[at(id)] = None,
            Event::HostDown(id) => {
                (self.contact[at(id)], self.reached[at(id)]) = (None, None);
                if self.cluster.witness != Some(id) {
                    self.kill_daemon(id);
                    // It is kept in memory that a boot clears.
                    self.daemons[at(id)].record = None;
                }
            }
            Event::HostUp(id) if self.cluster.witness != Some(id) => self.start_daemon(id),
            Event::Freeze(id) if self.cluster.witness != Some(id) => self.stop_daemon(id),
            Event::Thaw(id) if self.cluster.witness != Some(id) => self.continue_daemon(id),
            _ => {}
        }
        if self.settings.trace && matches!(event, Event::Elect(_) | Event::Follow(..)) {
            println!("{:>8} {event:?}", self.now);
        }
    }
}
