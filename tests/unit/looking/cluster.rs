//! One node of a repmgr cluster under a held clock: its keeper as the daemon makes it, by a
//! configuration that is read as an operator's is, and servers that answer what a test says.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rolecall::config::schema::{Flags, read};
use rolecall::config::{Config, Kind, Source};
use rolecall::facts::Facts;
use rolecall::host::clock::Clock;
use rolecall::look::release::Release;
use rolecall::look::repmgr::NodeId;
use rolecall::look::snapshot::SourceFacts;
use rolecall::look::stamp::Stamp;
use rolecall::reply::routes::Routes;
use rolecall::report::announced::Said;
use rolecall::report::metrics::Metrics;
use rolecall::source::releasing::{Key, QUESTIONS_WAITING, Question, nonce};
use rolecall::verdict::order::Order;
use rolecall::verdict::policy::Policy;
use rolecall::verdict::state::State;
use rolecall::watch::keeper::Keeper;
use rolecall::watch::plan::{Plan, Planned, PlannedNode, Serving};
use rolecall::watch::poke::Poke;
use rolecall::watch::poller;
use rolecall::watch::record::Records;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::LOGGING;
use super::servers::{Asked, Server, Servers, after_failover, before_failover, healthy};
use super::world::{ms, pass, settle};

/// The keeper of some nodes, and what it is told.
pub struct Cluster {
    pub clock: Clock,
    pub facts: watch::Receiver<Facts>,
    pub announced: watch::Receiver<Vec<Said>>,
    pub servers: Servers,
    pub orders: watch::Sender<Vec<Arc<Order>>>,
    pub stopping: CancellationToken,
    pub metrics: Metrics,
    pub pokes: mpsc::Sender<Poke>,
    plans: mpsc::Sender<Plan>,
    questions: mpsc::Sender<Question>,
    dir: Arc<tempfile::TempDir>,
}

impl Cluster {
    /// A keeper that watches nothing yet.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory for the records and the secret");
        let key = dir.path().join("key");
        std::fs::write(&key, "a secret of the test").unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self::in_dir(Arc::new(dir))
    }

    fn in_dir(dir: Arc<tempfile::TempDir>) -> Self {
        LazyLock::force(&LOGGING);
        let clock = Clock::held();
        let (facts_out, facts) = watch::channel(Facts::default());
        let (announced_out, announced) = watch::channel(Vec::new());
        let (plans, plans_in) = mpsc::channel(1);
        let (pokes, pokes_in) = mpsc::channel(4);
        let (questions, questions_in) = mpsc::channel(QUESTIONS_WAITING);
        let (orders, orders_in) = watch::channel(Vec::new());
        let (stopping, metrics) = (CancellationToken::new(), Metrics::default());
        let records = Some(Records::in_dir(dir.path(), "this boot".to_owned()));
        let keeper = Keeper::new(clock.clone(), facts_out, announced_out, records, metrics.clone())
            .asked(questions_in)
            .under(Some(orders_in))
            .until(stopping.clone());
        tokio::spawn(keeper.run(plans_in, pokes_in));
        let servers = Servers::default();
        Self {
            clock,
            facts,
            announced,
            servers,
            orders,
            stopping,
            metrics,
            pokes,
            plans,
            questions,
            dir,
        }
    }

    /// What an operator would write for the node of this number; `service`: another one than the usual.
    pub fn config(&self, number: i32, service: &str) -> Config {
        let key = self.key_file();
        let text = format!(
            "[source]\nkind = \"repmgr\"\nnode_id = {number}\nhold = \"0s\"\n\
             conninfo = \"host=n{number} dbname=repmgr user=rolecall\"\n\
             release_key_file = \"{}\"\n{service}",
            key.display()
        );
        read("cluster.toml", &text, &Flags::default(), None)
            .unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
            .config
    }

    pub fn key_file(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    /// The file of the record of a service's yes.
    pub fn record(&self, node: &str) -> PathBuf {
        self.dir.path().join(format!("{node}.primary.yes"))
    }

    /// The node of this number, by the name `n1` and so on.
    pub fn node(&self, number: i32, service: &str) -> PlannedNode {
        self.planned(number, &self.config(number, service))
    }

    pub fn planned(&self, number: i32, config: &Config) -> PlannedNode {
        let node = &config.nodes[0];
        let services = config.services.iter().map(|service| Serving {
            name: service.name.as_str().into(),
            policy: Arc::new(service.policy(node)),
            answering: Arc::new(service.answering.clone()),
            asks: Arc::default(),
        });
        PlannedNode {
            name: format!("n{number}").into(),
            cluster: None,
            sources: vec![self.source(number, node.sources[0].clone())],
            services: services.collect(),
        }
    }

    fn source(&self, number: i32, source: Source) -> Planned {
        let rhythm = source.rhythm();
        let (servers, clock) = (self.servers.clone(), self.clock.clone());
        let start = move |asked: Asked| {
            let (servers, clock) = (servers.clone(), clock.clone());
            move |id, report, poked| {
                let asking = servers.asking(asked);
                let phase = rhythm.interval;
                let running = poller::run(asking, rhythm, phase, clock, id, report, poked);
                tokio::spawn(running).abort_handle()
            }
        };
        let (peer, release, told) = (start.clone(), start.clone(), self.servers.clone());
        Planned {
            source,
            start: Box::new(start(Asked::Own(number))),
            start_peer: Some(Box::new(move |row, id, report, poked| {
                peer(Asked::Peer(row.id.0))(id, report, poked)
            })),
            start_release: Some(Box::new(move |row, (_, without), id, report, poked| {
                told.tell(row.id.0, without);
                release(Asked::Release(row.id.0))(id, report, poked)
            })),
        }
    }

    /// Watches these nodes, and returns when that is in force.
    pub async fn plan(&self, nodes: Vec<PlannedNode>) {
        let (told, in_force) = oneshot::channel();
        let plan = Plan { nodes, routes: Routes::default(), http_allow: None, in_force: told };
        self.plans.send(plan).await.expect("the keeper lives");
        in_force.await.expect("comes into force");
        settle().await;
    }

    /// The daemon is restarted within the same boot: what was written down is all that is left.
    pub fn restarted(self) -> Self {
        let dir = Arc::clone(&self.dir);
        drop(self);
        Self::in_dir(dir)
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        pass(time).await;
    }

    pub fn policy(&self, at: usize) -> Arc<Policy> {
        Arc::clone(&self.facts.borrow().nodes[at].services[0].policy)
    }

    pub fn source_facts(&self, at: usize) -> SourceFacts {
        self.facts.borrow().nodes[at].sources[0].clone()
    }

    /// What a node's service answers now, and why.
    pub fn says(&self, at: usize) -> (State, &'static str) {
        let facts = self.facts.borrow();
        let node = &facts.nodes[at];
        let verdict = node.verdict(self.clock.now(), &node.services[0]);
        (verdict.state, verdict.reason.label())
    }

    /// How long it takes until the node is READY, at most `most`; the keeper announces it.
    pub async fn until_ready(&self, at: usize, most: Duration) -> Duration {
        let from = self.clock.now();
        let mut announced = self.announced.clone();
        while self.says(at).0 != State::Ready {
            let left = most.saturating_sub(self.clock.now().since(from));
            let waited = tokio::time::timeout(left, announced.changed()).await;
            assert!(waited.is_ok(), "not READY after {most:?}: {:?}", self.says(at));
        }
        settle().await;
        self.clock.now().since(from)
    }

    /// A candidate of another host asks a node here to give way, with the secret of the cluster.
    pub async fn ask(&self, node: i32) -> Option<Release> {
        let key = Key::read(&self.key_file()).expect("the secret");
        let nonce = nonce().expect("randomness");
        let code = key.ask(NodeId(node), NodeId(2), None, &nonce);
        let body = self.asked(node, &nonce, code).await?;
        Some(key.read_answer(&body, &nonce).expect("proven, and to this question"))
    }

    /// The same, with this code.
    pub async fn asked(&self, node: i32, nonce: &str, code: String) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        let (node, from, nonce) = (NodeId(node), NodeId(2), nonce.to_owned());
        let question = Question { node, from, nonce, without: None, code, reply };
        self.questions.send(question).await.expect("the keeper lives");
        answer.await.expect("every question is answered")
    }
}

impl Cluster {
    /// Node 1 as the primary of three, READY, for a while.
    pub async fn steady() -> Self {
        Self::steady_as("n1").await
    }

    /// The same, by this name.
    pub async fn steady_as(name: &str) -> Self {
        let cluster = Self::new();
        cluster.stand_behind_node_1();
        cluster.plan(vec![PlannedNode { name: name.into(), ..cluster.node(1, "") }]).await;
        let settle = cluster.policy(0).settle;
        cluster.until_ready(0, settle + Duration::from_secs(1)).await;
        cluster.pass(Duration::from_secs(1)).await;
        cluster
    }

    /// All servers as they are in a healthy cluster.
    pub fn stand_behind_node_1(&self) {
        let table = healthy();
        self.servers.answer(Asked::Own(1), Server::primary(1, &table).look());
        for number in [2, 3] {
            self.servers.answer(Asked::Peer(number), Server::standby(number, 1, &table).look());
        }
    }

    /// Node 1 has been a standby for longer than anything has to settle, and was promoted by its next
    /// look; the old primary is node 2, of which nothing is known. Node 3 follows.
    pub async fn promoted() -> Self {
        let cluster = Self::new();
        let standby = Server::standby(1, 2, &before_failover());
        cluster.servers.answer(Asked::Own(1), standby.look());
        cluster.plan(vec![cluster.node(1, "")]).await;
        cluster.pass(cluster.policy(0).settle + Duration::from_secs(1)).await;
        let table = after_failover();
        cluster.servers.answer(Asked::Own(1), Server::primary(1, &table).on(2).look());
        let third = Server::standby(3, 1, &table).on(2);
        cluster.servers.answer(Asked::Peer(3), third.look());
        while cluster.source_facts(0).writable_since.is_none() {
            cluster.pass(ms(1)).await;
        }
        cluster
    }

    /// Since when the node has been a candidate.
    pub fn candidate_since(&self) -> Stamp {
        self.source_facts(0).writable_since.expect("it is a candidate")
    }
}

/// The rhythm of a source that nobody chose.
pub fn rhythm(cluster: &Cluster) -> (Duration, Duration) {
    let config = cluster.config(1, "");
    let source = &config.nodes[0].sources[0];
    assert!(matches!(source.kind, Kind::Repmgr(_)));
    (source.interval, source.timeout)
}
