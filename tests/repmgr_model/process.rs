//! A rolecall on each node of the simulation: its own keeper, plans, pollers, records and policies,
//! by a configuration that is read as an operator's is. Only the clock, the network and the servers
//! are the simulation's.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use rolecall::config::{self, Config, Rhythm};
use rolecall::facts::Facts;
use rolecall::host::clock::Clock;
use rolecall::look::role::Role;
use rolecall::reply::routes::Routes;
use rolecall::report::metrics::Metrics;
use rolecall::source::releasing::{QUESTIONS_WAITING, Question};
use rolecall::verdict::state::State;
use rolecall::watch::keeper::Keeper;
use rolecall::watch::plan::{Plan, Planned, PlannedNode, Serving};
use rolecall::watch::poller;
use rolecall::watch::record::Records;
use rolecall::watch::watched::{StartPeer, StartRelease};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::cluster::{Host, Id};
use crate::file::File;
use crate::gate::Gate;
use crate::network::{Asking, AskingToGiveWay};
use crate::sim::{Due, Sim, World, at, current};
use crate::text::Judge;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Running,
    /// SIGSTOP, or the whole host stands still.
    Stopped,
    Dead,
}

pub type Gates = Arc<Mutex<Vec<Arc<Gate>>>>;

pub struct Process {
    pub state: Life,
    /// Which process it is: what an older one still does is nobody's.
    pub number: u32,
    /// The first plan is in force: connections are accepted.
    pub accepts: bool,
    /// It last said READY of a server that it has seen out of recovery.
    pub ready: bool,
    pub clock: Clock,
    pub file: File,
    pub facts: watch::Receiver<Facts>,
    pub judge: Option<Judge>,
    dir: PathBuf,
    key: Option<PathBuf>,
    metrics: Metrics,
    questions: Option<mpsc::Sender<Question>>,
    plans: Option<mpsc::Sender<Plan>>,
    keeper: Option<AbortHandle>,
    gates: Gates,
    stopped_at: u64,
}

impl Process {
    pub fn dead(dir: PathBuf, file: File, key: Option<PathBuf>, judge: Option<Judge>) -> Self {
        let (_, facts) = watch::channel(Facts::default());
        Self {
            state: Life::Dead,
            number: 0,
            accepts: false,
            ready: false,
            clock: Clock::held(),
            file,
            facts,
            judge,
            dir,
            key,
            metrics: Metrics::default(),
            questions: None,
            plans: None,
            keeper: None,
            gates: Gates::default(),
            stopped_at: 0,
        }
    }

    pub fn answers(&self) -> bool {
        self.state == Life::Running && self.accepts
    }

    /// Whether its port says READY at this moment, as the agent decides it.
    pub fn says_ready(&self) -> bool {
        let facts = self.facts.borrow();
        let Some(node) = facts.nodes.first() else { return false };
        node.verdict(self.clock.now(), &node.services[0]).state == State::Ready
    }

    /// What an agent port writes now, noted as the port does.
    pub fn says_to_haproxy(&self) -> bool {
        let facts = self.facts.borrow();
        let Some(node) = facts.nodes.first() else { return false };
        let (now, service) = (self.clock.now(), &node.services[0]);
        let verdict = node.verdict(now, service);
        if service.lets_write(&verdict) {
            self.metrics.spoken.ready(now);
        }
        verdict.state == State::Ready
    }

    /// A question at its HTTP port.
    pub fn ask_to_give_way(&self, question: Question) {
        if let Some(questions) = &self.questions {
            // One too many is dropped, and with it the way back.
            let _ = questions.try_send(question);
        }
    }

    /// A gate that closes when this process is stopped.
    pub fn gate(&self) -> Arc<Gate> {
        gate(&self.gates)
    }

    fn saw_a_primary(&self) -> bool {
        let facts = self.facts.borrow();
        let source = facts.nodes.first().map(|node| &node.sources[0]);
        let seen = source.and_then(|source| source.own.good());
        seen.is_some_and(|(_, seen)| seen.role == Some(Role::Primary))
    }

    /// Whether the other nodes gave way to it, so that nothing had to settle: condition 8b, which the
    /// text that is judged by has not.
    pub fn handed_over(&self) -> bool {
        let facts = self.facts.borrow();
        let services = facts.nodes.first().map(|node| &node.services);
        services.is_some_and(|services| services[0].standing.handed_over.is_some())
    }

    fn end(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
        }
        (self.plans, self.questions) = (None, None);
        self.gates = Gates::default();
        (self.state, self.accepts, self.ready) = (Life::Dead, false, false);
    }
}

fn gate(gates: &Gates) -> Arc<Gate> {
    let gate = Arc::new(Gate::default());
    let mut gates = gates.lock().unwrap();
    gates.retain(|gate| Arc::strong_count(gate) > 1);
    gates.push(Arc::clone(&gate));
    gate
}

impl Sim {
    pub fn start_process(&mut self, id: Id) {
        if self.cluster.node(id).host != Host::Up {
            return;
        }
        let me = self.me.clone();
        let Some(process) = self.processes.get_mut(at(id)) else { return };
        if process.state != Life::Dead {
            return;
        }
        process.number += 1;
        let number = process.number;
        let (facts_out, facts) = watch::channel(Facts::default());
        let (announced_out, mut announced) = watch::channel(Vec::new());
        let (plans, plans_in) = mpsc::channel(1);
        let (pokes, pokes_in) = mpsc::channel(1);
        let records = Some(Records::in_dir(&process.dir, "this boot".to_owned()));
        let clock = process.clock.clone();
        process.metrics = Metrics::default();
        let (questions, questions_in) = mpsc::channel(QUESTIONS_WAITING);
        process.questions = Some(questions);
        let metrics = process.metrics.clone();
        let keeper = Keeper::new(clock, facts_out, announced_out, records, metrics);
        let keeper = keeper.asked(questions_in);
        let gate = gate(&process.gates);
        let running = async move {
            keeper.run(plans_in, pokes_in).await;
            drop(pokes);
        };
        process.keeper = Some(tokio::spawn(gate.around(running)).abort_handle());
        (process.plans, process.facts) = (Some(plans), facts.clone());
        process.state = Life::Running;
        if let Some(judge) = &mut process.judge {
            judge.restart();
            let world = me.clone();
            let mut facts = facts;
            tokio::spawn(async move {
                while facts.changed().await.is_ok() {
                    let Some(world) = world.upgrade() else { return };
                    current(&world).judged(id, number);
                }
            });
        }
        tokio::spawn(async move {
            while announced.changed().await.is_ok() {
                let Some(world) = me.upgrade() else { return };
                current(&world).announced(id, number);
            }
        });
        self.plan(id);
    }

    /// Another configuration; one that is not running reads it when it starts.
    pub fn reload_process(&mut self, id: Id, file: File) {
        let Some(process) = self.processes.get_mut(at(id)) else { return };
        process.file = file;
        if process.state != Life::Dead {
            self.plan(id);
        }
    }

    fn plan(&mut self, id: Id) {
        let (me, haproxy) = (self.me.clone(), self.settings.haproxy);
        let process = &mut self.processes[at(id)];
        let number = process.number;
        let (told, in_force) = oneshot::channel();
        let config = process.file.config(id, &haproxy, process.key.as_deref());
        if let Some(judge) = &mut process.judge {
            let policy = config.services[0].policy(&config.nodes[0]);
            judge.reload(policy.settle, policy.trust[0].hold);
        }
        let key = process.key.clone();
        let node = planned(id, &config, key.as_deref(), &process.clock, &process.gates, &me);
        let plan =
            Plan { nodes: vec![node], routes: Routes::default(), http_allow: None, in_force: told };
        // One that is stopped has not taken the last plan yet; the operator's next reload would wait.
        if process.plans.as_ref().is_none_or(|plans| plans.try_send(plan).is_err()) {
            return;
        }
        tokio::spawn(async move {
            if in_force.await.is_ok()
                && let Some(world) = me.upgrade()
            {
                let mut sim = current(&world);
                let process = &mut sim.processes[at(id)];
                process.accepts |= process.number == number;
                sim.announced(id, number);
            }
        });
    }

    /// What the keeper announces; a process that stands still says nothing to anybody.
    pub fn announced(&mut self, id: Id, number: u32) {
        let mutant = self.settings.mutant.is_some();
        let process = &mut self.processes[at(id)];
        if process.number != number || process.state == Life::Dead {
            return;
        }
        let ready = if mutant { process.judge_says() } else { process.says_ready() };
        let ready = ready && process.saw_a_primary();
        self.said(id, ready);
    }

    pub fn kill_process(&mut self, id: Id) {
        if let Some(process) = self.processes.get_mut(at(id)) {
            process.end();
        }
    }

    /// A boot of the host clears what a process left for the next one.
    pub fn forget_records(&mut self, id: Id) {
        let Some(process) = self.processes.get_mut(at(id)) else { return };
        for file in std::fs::read_dir(&process.dir).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(file.path());
        }
        if let Some(judge) = &mut process.judge {
            judge.forget();
        }
    }

    pub fn stop_process(&mut self, id: Id) {
        let now = self.now;
        let Some(process) = self.processes.get_mut(at(id)) else { return };
        if process.state != Life::Running {
            return;
        }
        process.state = Life::Stopped;
        process.stopped_at = now;
        for gate in process.gates.lock().unwrap().iter() {
            gate.close();
        }
    }

    /// It goes on. `stood`: the whole virtual machine stood still for so long, its clock with it; what
    /// was waited for there then still has its time to go.
    pub fn continue_process(&mut self, id: Id, stood: Option<u64>) {
        let Some(process) = self.processes.get_mut(at(id)) else { return };
        process.clock.stood_still(Duration::from_millis(stood.unwrap_or_default()));
        if process.state != Life::Stopped || self.cluster.node(id).host != Host::Up {
            return;
        }
        process.state = Life::Running;
        let interval = process.file.interval.unwrap_or(500);
        let (stopped_at, number) = (process.stopped_at, process.number);
        let gates: Vec<_> = process.gates.lock().unwrap().clone();
        for gate in gates {
            let rest = gate.rests_since().filter(|_| stood.is_some());
            match rest.map_or(0, |began| (began + interval).saturating_sub(stopped_at)) {
                0 => gate.open(),
                wait => self.after(wait, Due::Open(gate)),
            }
        }
        self.announced(id, number);
    }
}

/// The node of a configuration as the daemon plans it, with sources that ask the simulation.
fn planned(
    id: Id,
    config: &Config,
    key_file: Option<&Path>,
    clock: &Clock,
    gates: &Gates,
    world: &Weak<World>,
) -> PlannedNode {
    let node = &config.nodes[0];
    let source = |source: &config::Source| {
        let rhythm = source.rhythm();
        let asking = move |to: Id, gates: &Gates, world: &Weak<World>| {
            let gate = gate(gates);
            Asking { world: world.clone(), from: id, to, gate }
        };
        let (own_clock, own_gates, own_world) = (clock.clone(), gates.clone(), world.clone());
        let (clocks, gates_of, worlds) = (clock.clone(), gates.clone(), world.clone());
        let (clock, gates, world) = (clock.clone(), gates.clone(), world.clone());
        let start_peer: StartPeer = Box::new(move |row, poller, report, poked| {
            let asking = asking(Id::try_from(row.id.0 - 1).unwrap(), &gates, &world);
            let gate = Arc::clone(&asking.gate);
            let (phase, clock) = (rhythm.interval, clock.clone());
            let looking = poller::run(asking, rhythm, phase, clock, poller, report, poked);
            tokio::spawn(gate.around(looking)).abort_handle()
        });
        Planned {
            source: source.clone(),
            start: Box::new(move |poller, report, poked| {
                let asking = asking(id, &own_gates, &own_world);
                let gate = Arc::clone(&asking.gate);
                let phase = rhythm.interval;
                let looking = poller::run(asking, rhythm, phase, own_clock, poller, report, poked);
                tokio::spawn(gate.around(looking)).abort_handle()
            }),
            start_peer: Some(start_peer),
            start_release: key_file.map(|key_file| {
                start_release(
                    id,
                    key_file.to_owned(),
                    rhythm,
                    clocks.clone(),
                    gates_of.clone(),
                    &worlds,
                )
            }),
        }
    };
    PlannedNode {
        name: node.name.as_str().into(),
        cluster: None,
        sources: node.sources.iter().map(source).collect(),
        services: config
            .services
            .iter()
            .map(|service| Serving {
                name: service.name.as_str().into(),
                policy: Arc::new(service.policy(node)),
                answering: Arc::new(service.answering.clone()),
                asks: Arc::default(),
            })
            .collect(),
    }
}

/// Starts asking the rolecall of another node to give way.
fn start_release(
    from: Id,
    key_file: PathBuf,
    rhythm: Rhythm,
    clock: Clock,
    gates: Gates,
    world: &Weak<World>,
) -> StartRelease {
    let world = world.clone();
    Box::new(move |row, (_, without), poller, report, poked| {
        let (to, key_file) = (Id::try_from(row.id.0 - 1).unwrap(), key_file.clone());
        let gate = gate(&gates);
        let world = world.clone();
        let gate_of = Arc::clone(&gate);
        let asking = AskingToGiveWay { world, from, to, key_file, without, gate: gate_of };
        let (phase, clock) = (rhythm.interval, clock.clone());
        let looking = poller::run(asking, rhythm, phase, clock, poller, report, poked);
        tokio::spawn(gate.around(looking)).abort_handle()
    })
}
