//! Virtual time: a cluster, a rolecall on each of its nodes, one HAProxy, and what happens to them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use rolecall::clock::Stamp;
use rolecall::observation::ErrorKind;
use rolecall::snapshot::SourceFacts;

use crate::answers::{Look, failed};
use crate::cluster::{Cluster, Event, Host, Id, MOST};
use crate::daemon::{Daemon, Process, Server};
use crate::driver::{Driver, Rolecall, Text};
use crate::reference::{Mutant, Reference};
use crate::rng::Rng;
use crate::walk::RULES;

/// Between the beginnings of two looks, and for one look; milliseconds, as all times here.
const INTERVAL: u64 = 500;
const TIMEOUT: u64 = 800;
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
enum Due {
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
struct Loop {
    daemon: Id,
    target: Id,
    number: u32,
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
    sequence: u64,
    loops: u32,
    waiting: Vec<(Id, Due)>,
    /// When the repmgrd of each node last reached its upstream, and which it was.
    contact: [Option<(Id, u64)>; MOST],
    impaired: [Option<ErrorKind>; MOST],
    slow: [u64; MOST],
    replay_paused: [u64; MOST],
}

fn at(id: Id) -> usize {
    usize::from(id)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn stamp(now: u64) -> Stamp {
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

    fn process(&self, id: Id) -> Daemon {
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

    fn after(&mut self, delay: u64, due: Due) {
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

    /// What a daemon does itself waits while it is stopped.
    fn of_daemon(&mut self, id: Id, due: Due) {
        if self.daemons[at(id)].process == Process::Stopped {
            self.waiting.push((id, due));
            return;
        }
        match due {
            Due::Poll(lane) if self.is_current(lane) => {
                let delay = self.delay(lane.target);
                self.after(delay, Due::Serve(lane, self.now));
            }
            Due::Arrive(lane, began, look) if self.is_current(lane) => {
                let next = (began + INTERVAL).saturating_sub(self.now);
                self.after(next, Due::Poll(lane));
                let began = stamp(began);
                let new = self.daemons[at(id)].looked(stamp(self.now), lane.target, began, look);
                for target in new {
                    self.start_loop(id, target);
                }
                self.judge(id);
            }
            Due::Wake(_, number) if self.daemons[at(id)].wake == number => {
                self.judge(id);
            }
            _ => {}
        }
    }

    fn is_current(&self, lane: Loop) -> bool {
        let daemon = &self.daemons[at(lane.daemon)];
        daemon.process == Process::Running && daemon.loops.get(&lane.target) == Some(&lane.number)
    }

    /// Half of the time that an answer takes.
    fn delay(&mut self, target: Id) -> u64 {
        let most = self.slow[at(target)];
        let usual = self.rng.between(1, 2 + self.settings.slow);
        if most > 0 {
            return most / 2;
        }
        if self.settings.automatic && self.rng.one_in(60) {
            usual + self.rng.between(20, 400)
        } else {
            usual
        }
    }

    /// The server looks at itself, halfway between question and answer.
    fn serve(&mut self, lane: Loop, began: u64) {
        let Loop { daemon, target, .. } = lane;
        let half = self.now - began;
        let mut look = self.cluster.look(daemon, target, self.seen(target));
        if let (Ok(_), Some(kind)) = (&look, self.impaired[at(target)]) {
            look = Err(failed(kind));
        }
        let timed_out =
            2 * half > TIMEOUT || matches!(&look, Err(error) if error.kind == ErrorKind::Timeout);
        if timed_out {
            look = Err(failed(ErrorKind::Timeout));
        }
        let wait = if timed_out { (began + TIMEOUT).saturating_sub(self.now) } else { half };
        self.after(wait, Due::Arrive(lane, began, look));
    }

    /// `get_upstream_last_seen()`: whole seconds.
    fn seen(&self, id: Id) -> Option<Duration> {
        let (to, when) = self.contact[at(id)]?;
        let same = self.cluster.node(id).upstream == Some(to);
        same.then(|| Duration::from_secs((self.now - when) / 1000))
    }

    fn start_loop(&mut self, daemon: Id, target: Id) {
        self.loops += 1;
        let lane = Loop { daemon, target, number: self.loops };
        self.daemons[at(daemon)].loops.insert(target, self.loops);
        self.after(0, Due::Poll(lane));
    }

    /// Asks for the word, as the keeper does after every change and every moment that is due.
    fn judge(&mut self, id: Id) {
        let now = stamp(self.now);
        let daemon = &mut self.daemons[at(id)];
        if !daemon.answers() {
            return;
        }
        let word = daemon.driver.word(now, &daemon.facts);
        if let Some(shadow) = &mut daemon.shadow {
            let allowed = shadow.word(now, &daemon.facts).ready;
            assert!(allowed || !word.ready, "READY against the text at {} ms", self.now);
        }
        if self.settings.trace && daemon.ready != word.ready {
            println!(
                "{:>8} node {} says {}",
                self.now,
                id + 1,
                if word.ready { "READY" } else { "MAINT" }
            );
        }
        daemon.ready = word.ready;
        // Whatever was set before counts no more, as the keeper's timer is one.
        daemon.wake = self.sequence + 1;
        if let Some(until) = word.until.filter(|until| *until >= now) {
            let wait = u64::try_from(until.since(now).as_millis()).unwrap() + 1;
            self.after(wait, Due::Wake(id, self.sequence + 1));
        }
    }

    fn said_to_haproxy(&mut self, id: Id) -> Option<bool> {
        let cut = self.servers[at(id)].cut || self.cluster.node(id).host != Host::Up;
        if cut || !self.daemons[at(id)].answers() {
            return None;
        }
        self.judge(id);
        Some(self.daemons[at(id)].ready)
    }

    pub fn start_daemon(&mut self, id: Id) {
        let fresh = self.process(id);
        let daemon = &mut self.daemons[at(id)];
        if daemon.process != Process::Dead || self.cluster.node(id).host != Host::Up {
            return;
        }
        let record = daemon.record;
        *daemon = Daemon { process: Process::Running, record, ..fresh };
        self.start_loop(id, id);
    }

    fn kill_daemon(&mut self, id: Id) {
        let daemon = &mut self.daemons[at(id)];
        daemon.process = Process::Dead;
        daemon.wake = 0;
        daemon.loops.clear();
        (daemon.ready, daemon.accepts) = (false, false);
        self.waiting.retain(|(of, _)| *of != id);
    }

    fn stop_daemon(&mut self, id: Id) {
        let daemon = &mut self.daemons[at(id)];
        if daemon.process == Process::Running {
            daemon.process = Process::Stopped;
        }
    }

    fn continue_daemon(&mut self, id: Id) {
        let daemon = &mut self.daemons[at(id)];
        if daemon.process != Process::Stopped || self.cluster.node(id).host != Host::Up {
            return;
        }
        daemon.process = Process::Running;
        self.judge(id);
        for (of, due) in std::mem::take(&mut self.waiting) {
            if of == id {
                // A moment for each, so that HAProxy may ask between them.
                self.after(1, due);
            } else {
                self.waiting.push((of, due));
            }
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
                self.contact[at(id)] = None;
                let wait = self.rng.between(800, 1100);
                self.later(wait, Step::Event(Event::WriteRow(id)));
            }
            Event::Crash(id) | Event::Start(id) => self.contact[at(id)] = None,
            Event::HostDown(id) => {
                self.contact[at(id)] = None;
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

    /// A round of repmgrd's monitoring.
    fn monitor(&mut self, id: Id) {
        let node = self.cluster.node(id);
        if node.host != Host::Up || !node.repmgrd {
            return;
        }
        let (upstream, witness) = (node.upstream, self.cluster.witness == Some(id));
        if self.cluster.has_contact(id)
            && let Some(upstream) = upstream
        {
            self.contact[at(id)] = Some((upstream, self.now));
            if witness && self.rng.one_in(15) {
                self.event(Event::Sync(id));
            }
        }
        if !self.settings.automatic {
            return;
        }
        self.event(Event::Failure(id));
        self.event(Event::Recovery(id));
        let lost = match self.contact[at(id)] {
            Some((_, when)) => self.now - when >= self.settings.detection,
            None => !self.cluster.has_contact(id) && self.rng.one_in(10),
        };
        if !lost {
            return;
        }
        let to = self.rng.between(0, u64::from(self.cluster.size));
        let to = Id::try_from(to).unwrap();
        if witness {
            self.event(Event::WitnessFollow(id, to));
        } else if self.rng.one_in(2) {
            self.event(Event::Elect(id));
        } else if self.cluster.writable(to) {
            self.event(Event::Follow(id, to));
        }
    }

    fn wal(&mut self, id: Id) {
        if self.now >= self.replay_paused[at(id)] && self.cluster.node(id).streaming {
            self.event(Event::Replicate(id));
        }
        if !self.settings.automatic {
            return;
        }
        if self.rng.one_in(60) {
            self.event(Event::Drop(id));
        }
        if self.rng.one_in(3) {
            self.event(Event::Attach(id));
        }
    }
}
