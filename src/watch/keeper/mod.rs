//! The keeper of the nodes: the only writer of their facts.
//!
//! It starts and stops their pollers, folds their looks in, and announces every change of a
//! verdict, also those that time alone makes when nobody asks. A look at one node costs the others
//! nothing.

mod announcing;
mod giving_way;
mod pace;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::facts::{Facts, NodeFacts, ServiceFacts, cuts};
use crate::host::clock::Clock;
use crate::look::snapshot::SourceFacts;
use crate::look::stamp::Stamp;
use crate::report::announced::{self, Said};
use crate::report::history::History;
use crate::report::metrics::Metrics;
use crate::source::releasing::Question;
use crate::verdict::lock::Cut;
use crate::verdict::order::{self, Order};
use crate::verdict::state::State;
use crate::watch::plan::{Plan, Present, Serving, Staged, StagedNode};
use crate::watch::poke::Poke;
use crate::watch::poller::Look;
use crate::watch::record::{self, Records};
use crate::watch::watched::{PollerIds, Watched};
use giving_way::next_question;

/// Looks that wait to be folded in. Every poller waits for room, so this bounds memory, not facts.
pub(crate) const LOOKS_WAITING: usize = 16;

/// Most sources that are looked at often at one time because somebody poked: looks cost CPU, and
/// whoever may run a program here can poke every node.
pub const MOST_POKED: usize = 8;

/// After a verdict's last moment, so that the timer cannot fire within it.
const JUST_AFTER: Duration = Duration::from_millis(1);

/// The single writer of the facts of all nodes.
pub struct Keeper {
    clock: Clock,
    facts: watch::Sender<Facts>,
    announced: watch::Sender<Vec<Said>>,
    /// In the order of the published facts.
    nodes: Vec<Node>,
    /// A plan whose new sources have not all looked yet; the present one stays in force meanwhile.
    staged: Option<Staged>,
    ids: PollerIds,
    /// Where a repmgr node's yes is kept over a restart.
    records: Option<Records>,
    metrics: Metrics,
    /// Where every change is noted.
    history: History,
    /// The orders that stand; `None`: nobody gives any.
    orders: Option<Orders>,
    /// The daemon stops: each service has its last word.
    stopping: CancellationToken,
    /// Candidates that ask a node here to give way.
    questions: Option<mpsc::Receiver<Question>>,
    /// When this process began to watch: a predecessor may have said READY until then.
    began: Stamp,
}

/// The orders that stand, as they change.
pub type Orders = watch::Receiver<Vec<Arc<Order>>>;

/// A node that is watched.
struct Node {
    name: Arc<str>,
    watched: Vec<Watched>,
    said: Said,
    /// The holds that Patroni's lock cuts, as they were last warned of.
    cuts: Vec<Cut>,
    /// When the next of its verdicts changes if nothing new is seen.
    next: Option<Stamp>,
}

impl Node {
    fn sources(&self) -> Vec<SourceFacts> {
        self.watched.iter().map(|watched| watched.facts.clone()).collect()
    }
}

impl Keeper {
    /// A keeper that watches nothing yet.
    pub fn new(
        clock: Clock,
        facts: watch::Sender<Facts>,
        announced: watch::Sender<Vec<Said>>,
        records: Option<Records>,
        metrics: Metrics,
    ) -> Self {
        let ids = PollerIds::default();
        let (nodes, staged, orders) = (Vec::new(), None, None);
        let stopping = CancellationToken::new();
        let (questions, began) = (None, clock.now());
        let history = History::default();
        Self {
            clock,
            facts,
            announced,
            nodes,
            staged,
            ids,
            records,
            metrics,
            history,
            orders,
            stopping,
            questions,
            began,
        }
    }

    /// Answers these candidates.
    #[must_use]
    pub fn asked(self, questions: mpsc::Receiver<Question>) -> Self {
        Self { questions: Some(questions), ..self }
    }

    /// Notes every change there.
    #[must_use]
    pub fn noting(self, history: History) -> Self {
        Self { history, ..self }
    }

    /// Follows these orders.
    #[must_use]
    pub fn under(self, orders: Option<Orders>) -> Self {
        Self { orders, ..self }
    }

    /// Lets each service say its last word from this moment on.
    #[must_use]
    pub fn until(self, stopping: CancellationToken) -> Self {
        Self { stopping, ..self }
    }

    /// Keeps the facts until the senders of plans are gone.
    pub async fn run(mut self, mut plans: mpsc::Receiver<Plan>, mut pokes: mpsc::Receiver<Poke>) {
        let (report, mut looks) = mpsc::channel(LOOKS_WAITING);
        let mut orders = self.orders.clone();
        let mut questions = self.questions.take();
        let mut at_the_end = false;
        loop {
            let next = self.nodes.iter().filter_map(|node| node.next).min();
            tokio::select! {
                // In this order always, so that a simulation goes the same way twice. Looks are first and
                // cannot keep the others waiting: a poller has one on its way at most, and then waits.
                biased;
                look = looks.recv() => if let Some(look) = look { self.fold(look, &report) },
                plan = plans.recv() => match plan {
                    Some(plan) => self.stage(plan, &report),
                    None => return,
                },
                () = changed(&mut orders) => self.obey(),
                () = self.stopping.cancelled(), if !at_the_end => {
                    at_the_end = true;
                    self.say_last_words();
                }
                Some(poke) = pokes.recv() => self.poke(poke.node.as_deref()),
                Some(question) = next_question(&mut questions) => self.give_way(question),
                () = self.reached(next) => self.announce_due(),
            }
        }
    }

    fn standing_orders(&self) -> Vec<Arc<Order>> {
        self.orders.as_ref().map(|orders| orders.borrow().clone()).unwrap_or_default()
    }

    /// Publishes other orders, and what is said by them.
    fn obey(&mut self) {
        let orders = self.standing_orders();
        self.facts.send_modify(|facts| {
            for node in &mut facts.nodes {
                for service in &mut node.services {
                    service.orders = order::about(&orders, &service.name, &node.name);
                }
            }
        });
        for at in 0..self.nodes.len() {
            self.drop_orders(at);
        }
        self.announce_all();
    }

    /// Publishes what is said from now on, whatever is seen.
    fn say_last_words(&mut self) {
        self.facts.send_modify(|facts| {
            for service in facts.nodes.iter_mut().flat_map(|node| &mut node.services) {
                service.last_word = service.answering.last_word;
            }
        });
        self.announce_all();
    }

    /// Ends the orders about a node that a no ends, and lets those speak that waited for the opposite.
    fn drop_orders(&self, at: usize) {
        let now = self.clock.now();
        let facts = self.facts.borrow();
        let node = &facts.nodes[at];
        for service in node.services.iter().filter(|service| !service.orders.is_empty()) {
            let seen = node.seen(now, service);
            if seen.state != State::NotReady {
                continue;
            }
            for order in service.orders.iter().filter(|order| order.ends_at_a_no()) {
                if order.drop_it() {
                    announced::log_dropped(&node.name, &service.name, order, &seen);
                }
            }
        }
        let orders = node.services.iter().flat_map(|service| service.orders.iter());
        for order in orders.filter(|order| order.waits() && order.stands(now)) {
            if seen_fit(now, &facts, order) && order.seen_fit() {
                announced::log_seen_fit(order);
            }
        }
    }

    async fn reached(&self, next: Option<Stamp>) {
        match next {
            Some(next) => tokio::time::sleep(next.plus(JUST_AFTER).since(self.clock.now())).await,
            None => pending().await,
        }
    }

    /// Starts what a plan adds; it comes into force once all of that has looked.
    fn stage(&mut self, plan: Plan, report: &mpsc::Sender<Look>) {
        let present =
            self.nodes.iter().map(|node| Present { name: &node.name, watched: &node.watched });
        let present: Vec<_> = present.collect();
        self.staged = Some(Staged::new(plan, &present, &mut self.ids, report));
        self.enforce_when_looked();
    }

    fn enforce_when_looked(&mut self) {
        let Some(staged) = self.staged.take_if(|staged| staged.has_looked()) else { return };
        let Staged { nodes, routes, http_allow, in_force } = staged;
        let now = self.clock.now();
        let mut old = Vec::new();
        let mut watched = Vec::new();
        for node in std::mem::take(&mut self.nodes) {
            old.push((node.name, node.said));
            watched.push(node.watched.into_iter().map(Some).collect());
        }
        let mut published = Vec::new();
        for mut node in nodes {
            let said = old.iter().find(|(name, _)| *name == node.name);
            let said = said.map(|(_, said)| said.clone()).unwrap_or_default();
            let mut taken = node.take_sources(&mut watched);
            let lag_matters = node.services.iter().any(|serving| serving.policy.lag.is_some());
            for (at, watched) in taken.iter_mut().enumerate() {
                watched.lag_matters = lag_matters;
                let url = watched.source.kind.settings().lock_url();
                if let (Some(records), Some(url)) = (&self.records, url) {
                    let held = watched.facts.holder;
                    watched.facts.holder = held.or_else(|| records.held((&node.name, at, url)));
                }
            }
            let kept = Node {
                name: node.name.clone(),
                watched: taken,
                said,
                cuts: Vec::new(),
                next: None,
            };
            published.push(self.begin(now, node, &kept));
            self.nodes.push(kept);
        }
        self.history.watch(now, &published);
        self.facts.send_replace(Facts { nodes: published, routes, http_allow });
        for at in 0..self.nodes.len() {
            self.drop_orders(at);
            self.announce(at);
            self.warn_of_cuts(at);
        }
        self.publish_announced();
        // Nobody waits any more where the daemon is stopping.
        let _ = in_force.send(());
    }

    /// The first facts of a node under a new plan, with the memory that its services have.
    fn begin(&self, now: Stamp, node: StagedNode, kept: &Node) -> NodeFacts {
        let sources = kept.sources();
        let kinds = kept.watched.iter().map(|watched| watched.source.kind.known_as()).collect();
        let facts = self.facts.borrow();
        let before = node.before.and_then(|at| facts.nodes.get(at));
        let seen_before = before.map_or(&[][..], |before| &before.sources);
        let standing_orders = self.standing_orders();
        let services = node.services.into_iter().map(|serving| {
            let Serving { name, policy, answering, asks } = serving;
            let known = before.and_then(|before| before.known(&name, &policy));
            let standing = match known.filter(|_| record::still_same(seen_before, &sources)) {
                Some(known) => known.standing,
                None => record::restored(
                    now,
                    self.records.as_ref(),
                    (&node.name, &name),
                    &policy,
                    &sources,
                ),
            };
            let standing = standing.fold(now, seen_before, &sources, &policy);
            let orders = order::about(&standing_orders, &name, &node.name);
            let last_word = answering.last_word.filter(|_| self.stopping.is_cancelled());
            ServiceFacts { name, policy, standing, answering, asks, orders, last_word }
        });
        let services = services.collect();
        NodeFacts { name: node.name, cluster: node.cluster, kinds, sources, services }
    }

    fn fold(&mut self, look: Look, report: &mpsc::Sender<Look>) {
        let poller = look.poller;
        let known = self.nodes.iter_mut().enumerate().find_map(|(at, node)| {
            let mut watched = node.watched.iter_mut().enumerate();
            let (source, watched) = watched.find(|(_, watched)| watched.has(poller))?;
            Some((at, node.name.clone(), source, watched))
        });
        if let Some((at, name, source, watched)) = known {
            let news = watched.news(self.clock.now(), &look);
            let took = self.clock.now().since(look.began);
            self.metrics.looked(&name, watched.source.kind.as_str(), took, &look.result);
            watched.record(self.clock.now(), look, &mut self.ids, report);
            // Facts before words: whatever the log does, what was seen is answered from now on.
            self.publish(at);
            news.log(&name);
            self.nodes[at].watched[source].log_troubles(&name, self.clock.now());
            self.set_pace(at, report);
            self.warn_of_cuts(at);
            if self.announce(at) {
                self.publish_announced();
            }
        } else if let Some((name, watched)) = self.staged.as_mut().and_then(|s| s.added(poller)) {
            let (name, news) = (name.to_owned(), watched.news(self.clock.now(), &look));
            let took = self.clock.now().since(look.began);
            self.metrics.looked(&name, watched.source.kind.as_str(), took, &look.result);
            watched.record(self.clock.now(), look, &mut self.ids, report);
            self.enforce_when_looked();
            news.log(&name);
        }
        // Else its poller was stopped while the look was on its way.
    }

    /// Looks at once at the node of this name, or at all of them, and often for a moment.
    fn poke(&mut self, name: Option<&str>) {
        let now = self.clock.now();
        let watched = self.nodes.iter().flat_map(|node| &node.watched);
        let mut poked = watched.filter(|watched| watched.poked_lately(now)).count();
        let named = |node: &&mut Node| name.is_none_or(|name| *node.name == *name);
        for node in self.nodes.iter_mut().filter(named) {
            for watched in node.watched.iter_mut().filter(|watched| !watched.poked_lately(now)) {
                if poked < MOST_POKED {
                    debug!(node = &*node.name, "a wake-up arrived: polling now");
                    watched.poke(now);
                    poked += 1;
                }
            }
        }
    }

    /// Publishes what is known now of one node.
    fn publish(&mut self, at: usize) {
        let now = self.clock.now();
        let sources = self.nodes[at].sources();
        self.facts.send_modify(|facts| {
            let node = &mut facts.nodes[at];
            for service in &mut node.services {
                let standing = service.standing;
                service.standing = standing.fold(now, &node.sources, &sources, &service.policy);
            }
            node.sources = sources;
        });
        self.drop_orders(at);
        if let Some(records) = &mut self.records {
            let node = &self.nodes[at];
            for (source, watched) in node.watched.iter().enumerate() {
                if let Some((url, held)) =
                    watched.source.kind.settings().lock_url().zip(watched.facts.holder)
                {
                    records.keep_held((&node.name, source, url), held);
                }
            }
            records.keep_counted(now, &self.facts.borrow().nodes[at]);
        }
    }

    /// Says of each hold that Patroni's lock cuts, once, what is in force instead.
    fn warn_of_cuts(&mut self, at: usize) {
        let Some(cuts) = cuts(&self.facts.borrow().nodes[at]) else { return };
        let node = &mut self.nodes[at];
        for cut in cuts.iter().filter(|cut| !node.cuts.contains(cut)) {
            announced::log_cut(&node.name, cut);
        }
        node.cuts = cuts;
    }
}

/// Whether all that an order is about would serve now without it.
fn seen_fit(now: Stamp, facts: &Facts, order: &Order) -> bool {
    facts.nodes.iter().all(|node| {
        let about = |service: &&ServiceFacts| order.target.covers(&service.name, &node.name);
        let fit = |service| matches!(node.seen(now, service).state, State::Ready | State::Drain);
        node.services.iter().filter(about).all(fit)
    })
}

/// Ends when the orders have changed; never where nobody gives any.
async fn changed(orders: &mut Option<Orders>) {
    match orders {
        Some(of) => {
            if of.changed().await.is_err() {
                // They stand as they were: what gives them ended, which is noticed elsewhere.
                pending::<()>().await;
            }
        }
        None => pending().await,
    }
}
