//! A keeper and scripted sources under a held clock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use rolecall::config::{Command, Kind, Rhythm, Source};
use rolecall::facts::Facts;
use rolecall::host::clock::Clock;
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::patroni::Patroni;
use rolecall::look::patroni::Times;
use rolecall::look::role::{Role, Timeline};
use rolecall::reply::routes::{Answering, Routes};
use rolecall::reply::wording::Wording;
use rolecall::report::announced::Said;
use rolecall::report::metrics::Metrics;
use rolecall::source::RoleSource;
use rolecall::verdict::decide::{Verdict, decide};
use rolecall::verdict::order::Order;
use rolecall::verdict::policy::Lock;
use rolecall::verdict::policy::Pool;
use rolecall::verdict::policy::{Policy, Trust};
use rolecall::verdict::state::State;
use rolecall::watch::keeper::{Keeper, Orders};
use rolecall::watch::plan::{Plan, Planned, PlannedNode, Serving};
use rolecall::watch::poke::Poke;
use rolecall::watch::poller;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use super::LOGGING;

pub const INTERVAL: Duration = Duration::from_millis(500);
pub const TIMEOUT: Duration = Duration::from_millis(1500);
pub const HOLD: Duration = Duration::from_secs(3);
pub const BESIDE: Duration = Duration::from_secs(3);

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a scripted source does at one look.
#[derive(Clone)]
pub enum Does {
    Says(Role),
    Fails(ErrorKind),
    /// Takes this long, then says it.
    Drips(Duration, Role),
    Hangs,
    /// A Patroni's leader, whose lock another node can have after this time.
    Leads(Duration),
    /// The same, with no lock behind it.
    LeadsWithoutLock,
}

/// A source that follows a script, then repeats its last line. Counts the looks that are under way.
#[derive(Clone)]
pub struct Scripted {
    script: Arc<Mutex<VecDeque<Does>>>,
    pub under_way: Arc<AtomicUsize>,
    pub begun: Arc<AtomicUsize>,
    pub renewed: Arc<AtomicUsize>,
}

impl Scripted {
    pub fn new(script: impl IntoIterator<Item = Does>) -> Self {
        Self {
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            under_way: Arc::default(),
            begun: Arc::default(),
            renewed: Arc::default(),
        }
    }

    pub fn now_does(&self, does: Does) {
        *self.script.lock().unwrap() = VecDeque::from([does]);
    }
}

struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl RoleSource for Scripted {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let _under_way = UnderWay(self.under_way.clone());
        let does = {
            let mut script = self.script.lock().unwrap();
            let next = script.pop_front().expect("a script is never empty");
            if script.is_empty() {
                script.push_back(next.clone());
            }
            next
        };
        match does {
            Does::Says(role) => {
                Ok(Observation { timeline: Some(Timeline(7)), ..Observation::of(role) })
            }
            Does::Fails(kind) => Err(SourceError::new(kind, "as scripted")),
            Does::Drips(time, role) => {
                sleep(time).await;
                Ok(Observation::of(role))
            }
            Does::Hangs => std::future::pending().await,
            Does::Leads(span) => {
                let times =
                    Times { ttl: span, loop_wait: Duration::ZERO, retry_timeout: Duration::ZERO };
                let patroni = Some(Patroni { times: Some(times), ..Patroni::default() });
                Ok(Observation { patroni, leader: Some(true), ..Observation::of(Role::Primary) })
            }
            Does::LeadsWithoutLock => {
                let lockless = Patroni { paused: true, unlocked: true, ..Patroni::default() };
                let patroni = Some(lockless);
                Ok(Observation { patroni, leader: Some(true), ..Observation::of(Role::Primary) })
            }
        }
    }

    fn renew(&mut self) {
        self.renewed.fetch_add(1, Ordering::SeqCst);
    }
}

/// A running keeper under a held clock.
pub struct World {
    pub clock: Clock,
    pub facts: watch::Receiver<Facts>,
    pub announced: watch::Receiver<Vec<Said>>,
    pub plans: mpsc::Sender<Plan>,
    pub pokes: mpsc::Sender<Poke>,
    /// Of the one node, where there is one.
    name: Arc<str>,
}

impl World {
    pub fn new(node: &str) -> Self {
        Self::under(node, None)
    }

    /// The same, and what gives its orders.
    pub fn ordered(node: &str) -> (Self, watch::Sender<Vec<Arc<Order>>>) {
        let (orders, kept) = watch::channel(Vec::new());
        (Self::under(node, Some(kept)), orders)
    }

    fn under(node: &str, orders: Option<Orders>) -> Self {
        LazyLock::force(&LOGGING);
        let clock = Clock::held();
        let (facts_out, facts) = watch::channel(Facts::default());
        let (announced_out, announced) = watch::channel(Vec::new());
        let (plans, plans_in) = mpsc::channel(1);
        let keeper = Keeper::new(clock.clone(), facts_out, announced_out, None, Metrics::default())
            .under(orders);
        let (pokes, pokes_in) = mpsc::channel(4);
        tokio::spawn(keeper.run(plans_in, pokes_in));
        Self { clock, facts, announced, plans, pokes, name: node.into() }
    }

    /// Watches these sources, told apart by their names, for one service that wants primaries.
    pub async fn plan(&self, sources: &[(&str, &Scripted)]) -> oneshot::Receiver<()> {
        self.plan_every(INTERVAL, sources).await
    }

    /// The same, at another interval.
    pub async fn plan_every(
        &self,
        interval: Duration,
        sources: &[(&str, &Scripted)],
    ) -> oneshot::Receiver<()> {
        self.plan_nodes(vec![self.node(&self.name, interval, sources)]).await
    }

    /// Watches these nodes.
    pub async fn plan_nodes(&self, nodes: Vec<PlannedNode>) -> oneshot::Receiver<()> {
        let (told, in_force) = oneshot::channel();
        let plan = Plan { nodes, routes: Routes::default(), http_allow: None, in_force: told };
        self.plans.send(plan).await.expect("the keeper lives");
        in_force
    }

    /// A node with these sources and one service that wants primaries.
    pub fn node(
        &self,
        name: &str,
        interval: Duration,
        sources: &[(&str, &Scripted)],
    ) -> PlannedNode {
        let trust = vec![
            Trust {
                hold: HOLD,
                look: INTERVAL + TIMEOUT,
                knows_lag: false,
                electorate: None,
                hold_by_repmgr: false,
                lock: Some(Lock { required: false, beside: BESIDE, memory: BESIDE, chosen: true })
            };
            sources.len()
        ];
        let policy = Policy {
            roles: vec![Role::Primary],
            pool: Pool::default(),
            lag: None,
            settle: Duration::ZERO,
            trust,
        };
        let answering = Answering { allow: vec![], wording: Wording::plain(), last_word: None };
        let sources = sources.iter().map(|(name, script)| {
            let script = (*script).clone();
            let clock = self.clock.clone();
            let rhythm = Rhythm { interval, timeout: TIMEOUT };
            Planned {
                source: configured(name, interval),
                start: Box::new(move |id, report, poked| {
                    tokio::spawn(poller::run(script, rhythm, interval, clock, id, report, poked))
                        .abort_handle()
                }),
                start_peer: None,
                start_release: None,
            }
        });
        PlannedNode {
            name: name.into(),
            cluster: None,
            sources: sources.collect(),
            services: vec![Serving {
                name: "primary".into(),
                policy: Arc::new(policy),
                answering: Arc::new(answering),
                asks: Arc::default(),
            }],
        }
    }

    pub async fn watching(sources: &[(&str, &Scripted)]) -> Self {
        Self::watching_as("n1", sources).await
    }

    pub async fn watching_as(node: &str, sources: &[(&str, &Scripted)]) -> Self {
        let world = Self::new(node);
        world.plan(sources).await.await.expect("comes into force");
        world
    }

    /// What somebody who asks now is told of the first node.
    pub fn verdict(&self) -> Verdict {
        self.verdict_of(0)
    }

    /// What somebody who asks now is told of this node.
    pub fn verdict_of(&self, at: usize) -> Verdict {
        let facts = self.facts.borrow();
        let node = &facts.nodes[at];
        let service = &node.services[0];
        decide(self.clock.now(), &node.sources, service.standing, &service.policy)
    }

    /// The first node's state and the reason for it.
    pub fn says(&self) -> (State, &'static str) {
        self.says_of(0)
    }

    /// A node's state and the reason for it.
    pub fn says_of(&self, at: usize) -> (State, &'static str) {
        if self.facts.borrow().nodes.is_empty() {
            return (State::Unknown, "nothing is in force");
        }
        let verdict = self.verdict_of(at);
        (verdict.state, verdict.reason.label())
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        pass(time).await;
    }
}

/// Lets time pass: the runtime's clock jumps from timer to timer, and each fires at its own time.
pub async fn pass(time: Duration) {
    sleep(time).await;
    settle().await;
}

/// Lets every task that can run do so.
pub async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

pub fn configured(name: &str, interval: Duration) -> Source {
    let kind = Kind::Command(Command { argv: vec![name.to_owned()] });
    Source {
        kind,
        interval,
        timeout: TIMEOUT,
        hold: HOLD,
        hold_chosen: true,
        beside: BESIDE,
        memory: BESIDE,
    }
}
