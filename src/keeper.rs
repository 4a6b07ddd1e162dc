//! The keeper of the nodes: the only writer of their facts.
//!
//! It starts and stops their pollers, folds their looks in, and announces every change of a
//! verdict, also those that time alone makes when nobody asks. A look at one node costs the others
//! nothing.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::clock::{Clock, Stamp};
use crate::electorate::NodeId;
use crate::lock::{self, Cut};
use crate::metrics::Metrics;
use crate::order::{self, Order};
use crate::plan::{Plan, Present, Serving, Staged, StagedNode};
use crate::poke::Poke;
use crate::policy::Policy;
use crate::poller::Look;
use crate::quorum;
use crate::record::{About, Records, Yes};
use crate::role::Role;
use crate::snapshot::{Facts, NodeFacts, ServiceFacts, SourceFacts};
use crate::verdict::{Standing, State, Verdict};
use crate::watched::{PollerIds, Watched};

/// Looks that wait to be folded in. Every poller waits for room, so this bounds memory, not facts.
pub const LOOKS_WAITING: usize = 16;

/// Most sources that are looked at often at one time because somebody poked: looks cost CPU, and
/// whoever may run a program here can poke every node.
pub const MOST_POKED: usize = 8;

/// After a verdict's last moment, so that the timer cannot fire within it.
const JUST_AFTER: Duration = Duration::from_millis(1);

/// What was last said of a node to the services, in the order of the configuration.
pub type Said = Arc<[Announced]>;

/// What was last said of a node to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The node.
    pub node: Arc<str>,
    /// The service.
    pub service: Arc<str>,
    /// What is said.
    pub verdict: Verdict,
    /// Since when it is this state that is said.
    pub since: Stamp,
}

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
    /// The orders that stand; `None`: nobody gives any.
    orders: Option<Orders>,
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
        Self { clock, facts, announced, nodes, staged, ids, records, metrics, orders }
    }

    /// Follows these orders.
    #[must_use]
    pub fn under(self, orders: Option<Orders>) -> Self {
        Self { orders, ..self }
    }

    /// Keeps the facts until the senders of plans are gone.
    pub async fn run(mut self, mut plans: mpsc::Receiver<Plan>, mut pokes: mpsc::Receiver<Poke>) {
        let (report, mut looks) = mpsc::channel(LOOKS_WAITING);
        let mut orders = self.orders.clone();
        loop {
            let next = self.nodes.iter().filter_map(|node| node.next).min();
            tokio::select! {
                look = looks.recv() => if let Some(look) = look { self.fold(look, &report) },
                plan = plans.recv() => match plan {
                    Some(plan) => self.stage(plan, &report),
                    None => return,
                },
                () = changed(&mut orders) => self.obey(),
                Some(poke) = pokes.recv() => self.poke(poke.node.as_deref()),
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
        let mut changed = false;
        for at in 0..self.nodes.len() {
            self.drop_orders(at);
            changed |= self.announce(at);
        }
        if changed {
            self.publish_announced();
        }
    }

    /// Ends the orders about a node that a no ends.
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
                    warn!(
                        node = &*node.name,
                        service = &*service.name,
                        by = &*order.by,
                        "the order ready {} is dropped: {} of {} is not ready: {}",
                        order.target,
                        service.name,
                        node.name,
                        seen.reason
                    );
                }
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
            for watched in &mut taken {
                watched.lag_matters = lag_matters;
            }
            let kept = Node {
                name: node.name.clone(),
                watched: taken,
                said,
                cuts: Vec::new(),
                next: None,
            };
            published.push(self.begin(now, node, kept.sources()));
            self.nodes.push(kept);
        }
        self.facts.send_replace(Facts { nodes: published, routes, http_allow });
        for at in 0..self.nodes.len() {
            self.announce(at);
            self.warn_of_cuts(at);
        }
        self.publish_announced();
        // Nobody waits any more where the daemon is stopping.
        let _ = in_force.send(());
    }

    /// The first facts of a node under a new plan, with the memory that its services have.
    fn begin(&self, now: Stamp, node: StagedNode, sources: Vec<SourceFacts>) -> NodeFacts {
        let facts = self.facts.borrow();
        let before = node.before.and_then(|at| facts.nodes.get(at));
        let seen_before = before.map_or(&[][..], |before| &before.sources);
        let standing_orders = self.standing_orders();
        let services = node.services.into_iter().map(|serving| {
            let Serving { name, policy, answering, asks } = serving;
            let known = before.and_then(|before| before.known(&name, &policy));
            let standing = match known.filter(|_| still_same(seen_before, &sources)) {
                Some(known) => known.standing,
                None => {
                    restored(now, self.records.as_ref(), (&node.name, &name), &policy, &sources)
                }
            };
            let standing = standing.fold(now, seen_before, &sources, &policy);
            let orders = order::about(&standing_orders, &name, &node.name);
            ServiceFacts { name, policy, standing, answering, asks, orders }
        });
        let services = services.collect();
        NodeFacts { name: node.name, cluster: node.cluster, kinds: node.kinds, sources, services }
    }

    fn fold(&mut self, look: Look, report: &mpsc::Sender<Look>) {
        let poller = look.poller;
        let known = self.nodes.iter_mut().enumerate().find_map(|(at, node)| {
            let watched = node.watched.iter_mut().find(|watched| watched.has(poller))?;
            Some((at, &*node.name, watched))
        });
        if let Some((at, name, watched)) = known {
            log_failing(name, watched, &look);
            self.metrics.looked(name, watched.source.kind.as_str(), self.clock.now(), &look);
            watched.record(look, &mut self.ids, report);
            self.publish(at);
            self.warn_of_cuts(at);
            if self.announce(at) {
                self.publish_announced();
            }
        } else if let Some((name, watched)) = self.staged.as_mut().and_then(|s| s.added(poller)) {
            log_failing(name, watched, &look);
            self.metrics.looked(name, watched.source.kind.as_str(), self.clock.now(), &look);
            watched.record(look, &mut self.ids, report);
            self.enforce_when_looked();
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
                    debug!(node = &*node.name, "poked");
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
        self.keep_yes(now, at);
    }

    /// Says of each hold that Patroni's lock cuts, once, what is in force instead.
    fn warn_of_cuts(&mut self, at: usize) {
        let Some(cuts) = lock::cuts(&self.facts.borrow().nodes[at]) else { return };
        let node = &mut self.nodes[at];
        for cut in cuts.iter().filter(|cut| !node.cuts.contains(cut)) {
            let most = humantime::format_duration(cut.most);
            warn!(
                node = &*node.name,
                service = &*cut.service,
                hint = "lower `hold` to that, or raise ttl in Patroni's configuration",
                "{} of {}: {cut}; a leader is held for {most} at most",
                cut.service,
                node.name
            );
        }
        node.cuts = cuts;
    }

    /// Writes down each yes that was counted by rule R on this process's own answers.
    fn keep_yes(&mut self, now: Stamp, at: usize) {
        let Some(records) = &mut self.records else { return };
        let facts = self.facts.borrow();
        let node = &facts.nodes[at];
        for service in &node.services {
            for (trust, source) in service.policy.trust.iter().zip(&node.sources) {
                let Some(electorate) = &trust.electorate else { continue };
                let round = quorum::rule(now, source, electorate);
                let counted = round.good_until.zip(service.standing.yes_since).zip(me(source));
                if let Some(((good_until, since), me)) = counted {
                    let yes = Yes { node: me, since, good_until };
                    records.keep((&node.name, &service.name), &service.policy, &yes);
                }
            }
        }
    }

    /// Announces the verdicts that time alone may have changed by now.
    fn announce_due(&mut self) {
        let now = self.clock.now();
        let mut changed = false;
        for at in 0..self.nodes.len() {
            if self.nodes[at].next.is_some_and(|next| next <= now) {
                changed |= self.announce(at);
            }
        }
        if changed {
            self.publish_announced();
        }
    }

    /// Logs every verdict about a node that is not the one last announced, and notes when the next
    /// change is due if nothing new is seen. Tells whether there is something to publish.
    fn announce(&mut self, at: usize) -> bool {
        let now = self.clock.now();
        let facts = self.facts.borrow();
        let known = &facts.nodes[at];
        let judge = |service: &ServiceFacts| Announced {
            node: known.name.clone(),
            service: service.name.clone(),
            verdict: known.verdict(now, service),
            since: now,
        };
        let mut current: Vec<_> = known.services.iter().map(judge).collect();
        let role = known.sources.iter().find_map(|source| source.own.good()?.1.role);
        drop(facts);
        let node = &mut self.nodes[at];
        let mut changed = node.said.len() != current.len();
        for new in &mut current {
            let old = node.said.iter().find(|old| old.service == new.service);
            let from = old.map_or(State::Unknown, |old| old.verdict.state);
            match old {
                Some(old) if from == new.verdict.state => new.since = old.since,
                _ => {
                    log_change(now, from, role, new);
                    self.metrics.changed(&new.node, &new.service, new.verdict.state);
                }
            }
            let same_reason = old.is_some_and(|old| old.verdict.reason == new.verdict.reason);
            changed |= !same_reason || from != new.verdict.state;
            if !same_reason && new.verdict.reason.is_lockless() {
                log_lockless(new);
            }
        }
        node.next =
            current.iter().filter_map(|new| new.verdict.until).filter(|until| *until >= now).min();
        if changed {
            node.said = current.into();
        }
        changed
    }

    fn publish_announced(&self) {
        self.announced.send_replace(self.nodes.iter().map(|node| node.said.clone()).collect());
    }
}

/// `role` is the one that was last seen. A reader of the journal sees no fields, so the message says
/// all that a person needs.
fn log_change(now: Stamp, from: State, role: Option<Role>, new: &Announced) {
    let Announced { node, service, verdict, .. } = new;
    info!(
        node = &**node,
        service = &**service,
        from = %from,
        to = %verdict.state,
        verdict = %verdict.state,
        role = role.map(Role::as_str),
        reason = verdict.reason.label(),
        timeline = verdict.timeline.map(|timeline| timeline.0),
        age_ms = verdict.seen.map(|seen| now.since(seen).as_millis()).map(saturated),
        "verdict changed: {service} of {node} is {}: {}",
        verdict.state,
        verdict.reason
    );
}

/// The one situation in which two nodes can be READY with Patroni, if nobody asked for more.
fn log_lockless(new: &Announced) {
    let Announced { node, service, verdict, .. } = new;
    warn!(
        node = &**node,
        service = &**service,
        hint = verdict.reason.hint(),
        "{service} of {node} is {} without a lock: {}; with `require_lock = true` it would not be",
        verdict.state,
        verdict.reason
    );
}

fn saturated(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}

fn me(source: &SourceFacts) -> Option<NodeId> {
    source.own.good()?.1.repmgr.as_ref()?.me
}

/// Whether what is remembered of repmgr nodes is about these: a yes that has settled must not be
/// handed on to another server.
fn still_same(before: &[SourceFacts], sources: &[SourceFacts]) -> bool {
    fn servers(sources: &[SourceFacts]) -> Vec<(NodeId, &str)> {
        let said = sources.iter().filter_map(|source| source.own.good()?.1.repmgr.as_deref());
        said.filter_map(|said| Some((said.me?, &*said.system))).collect()
    }
    servers(before) == servers(sources)
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

/// The memory of a service that begins: empty, or what a predecessor's record says of this node.
fn restored(
    now: Stamp,
    records: Option<&Records>,
    about: About<'_>,
    policy: &Policy,
    sources: &[SourceFacts],
) -> Standing {
    let by_rule = policy.trust.iter().any(|trust| trust.electorate.is_some());
    let yes = records.filter(|_| by_rule).and_then(|r| r.restore(now, about, policy));
    let same_node = |yes: &Yes| sources.iter().any(|source| me(source) == Some(yes.node));
    match yes.filter(same_node) {
        Some(Yes { since, good_until, .. }) => Standing {
            yes_since: Some(since),
            restored_until: Some(good_until),
            ..Standing::default()
        },
        None => Standing::default(),
    }
}

/// A failing source is warned of once, and again when it fails in another way.
fn log_failing(node: &str, watched: &Watched, look: &Look) {
    let source = watched.source.kind.as_str();
    let (before, peer) = watched.failing(look.poller);
    match &look.result {
        Err(error) if before == Some(error.kind) => {
            debug!(node, source, peer, error = error.kind.label(), "look failed again: {error}");
        }
        Err(error) => {
            let (label, hint) = (error.kind.label(), error.kind.hint());
            warn!(
                node,
                source,
                peer,
                error = label,
                hint,
                "look failed: {source} of {node}: {error}"
            );
        }
        Ok(_) if before.is_some() => info!(node, source, peer, "looks succeed again"),
        Ok(_) => {}
    }
}
