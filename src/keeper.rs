//! The keeper of a node: the only writer of its facts.
//!
//! It starts and stops the node's pollers, folds their looks in, and announces every change of a
//! verdict, also those that time alone makes when nobody asks.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use crate::answering::Answering;
use crate::clock::{Clock, Stamp};
use crate::config::Source;
use crate::electorate::NodeId;
use crate::policy::Policy;
use crate::poller::{Look, PollerId};
use crate::quorum;
use crate::record::{Records, Yes};
use crate::role::Role;
use crate::snapshot::{NodeFacts, ServiceFacts, SourceFacts};
use crate::verdict::{Standing, State, Verdict, judge};
use crate::watched::{Poller, PollerIds, StartPeer, Watched};

/// Looks that wait to be folded in. Every poller waits for room, so this bounds memory, not facts.
pub const LOOKS_WAITING: usize = 16;

/// After a verdict's last moment, so that the timer cannot fire within it.
const JUST_AFTER: Duration = Duration::from_millis(1);

/// What a keeper shall watch and judge from now on.
pub struct Plan {
    /// The sources, in the order of the policies' `trust`. One that asks the same place as a source
    /// already watched keeps its facts, and its poller where the rhythm is the same too.
    pub sources: Vec<Planned>,
    /// The services; one whose name is known already keeps its memory.
    pub services: Vec<Serving>,
    /// Told when the plan is in force: each of its sources has finished, failed or timed out once.
    pub in_force: oneshot::Sender<()>,
}

/// A service that shall be answered for.
#[derive(Debug, Clone)]
pub struct Serving {
    /// Its name.
    pub name: Arc<str>,
    /// How its verdicts are made.
    pub policy: Arc<Policy>,
    /// Where it is asked, and in what words it is answered.
    pub answering: Arc<Answering>,
}

/// Starts the poller of one source under the given name, reporting to the given channel.
pub type Start = Box<dyn FnOnce(PollerId, mpsc::Sender<Look>) -> AbortHandle + Send>;

/// A source that shall be watched.
pub struct Planned {
    /// As configured.
    pub source: Source,
    /// Starts its poller; not called where the source is watched already.
    pub start: Start,
    /// For repmgr: starts the pollers of the other nodes.
    pub start_peer: Option<StartPeer>,
}

/// What was last said of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The service.
    pub service: Arc<str>,
    /// What is said.
    pub verdict: Verdict,
}

/// The single writer of one node's facts.
pub struct Keeper {
    node: Arc<str>,
    clock: Clock,
    facts: watch::Sender<NodeFacts>,
    announced: watch::Sender<Vec<Announced>>,
    watched: Vec<Watched>,
    /// A plan whose new sources have not all looked yet; the present one stays in force meanwhile.
    staged: Option<Staged>,
    ids: PollerIds,
    /// Where a repmgr node's yes is kept over a restart.
    records: Option<Records>,
}

struct Staged {
    sources: Vec<Coming>,
    services: Vec<Serving>,
    in_force: oneshot::Sender<()>,
}

/// A source of a plan that is not in force yet.
enum Coming {
    /// It is watched already, but nothing rests on it yet.
    New(Box<Watched>),
    /// The one watched at this place is equal, and will be taken over.
    Kept(usize),
}

impl Coming {
    fn new_mut(&mut self) -> Option<&mut Watched> {
        match self {
            Self::New(watched) => Some(watched),
            Self::Kept(_) => None,
        }
    }

    fn has_looked(&self) -> bool {
        match self {
            Self::New(watched) => watched.facts.own.last_look().is_some(),
            Self::Kept(_) => true,
        }
    }
}

impl Keeper {
    /// A keeper that watches nothing yet.
    pub fn new(
        node: Arc<str>,
        clock: Clock,
        facts: watch::Sender<NodeFacts>,
        announced: watch::Sender<Vec<Announced>>,
        records: Option<Records>,
    ) -> Self {
        Self {
            node,
            clock,
            facts,
            announced,
            watched: Vec::new(),
            staged: None,
            ids: PollerIds::default(),
            records,
        }
    }

    /// Keeps the facts until the senders of plans are gone.
    pub async fn run(mut self, mut plans: mpsc::Receiver<Plan>) {
        let (report, mut looks) = mpsc::channel(LOOKS_WAITING);
        loop {
            let until = self.announce();
            tokio::select! {
                look = looks.recv() => if let Some(look) = look { self.fold(look, &report) },
                plan = plans.recv() => match plan {
                    Some(plan) => self.stage(plan, &report),
                    None => return,
                },
                () = self.reached(until) => {}
            }
        }
    }

    async fn reached(&self, until: Option<Stamp>) {
        match until {
            Some(until) => tokio::time::sleep(until.plus(JUST_AFTER).since(self.clock.now())).await,
            None => pending().await,
        }
    }

    /// Starts what a plan adds; it comes into force once all of that has looked.
    fn stage(&mut self, plan: Plan, report: &mpsc::Sender<Look>) {
        let mut kept = vec![false; self.watched.len()];
        let sources = plan
            .sources
            .into_iter()
            .map(|planned| {
                let same_place = |(at, watched): (usize, &Watched)| {
                    !kept[at] && watched.source.kind == planned.source.kind
                };
                let known = self.watched.iter().enumerate().position(same_place);
                if let Some(at) = known {
                    kept[at] = true;
                    if self.watched[at].source.rhythm() == planned.source.rhythm() {
                        return Coming::Kept(at);
                    }
                }
                let id = self.ids.take();
                let poller = Poller { id, task: (planned.start)(id, report.clone()) };
                let facts = known.map(|at| self.watched[at].facts.clone()).unwrap_or_default();
                let Planned { source, start_peer, .. } = planned;
                let mut watched = Watched::new(source, poller, start_peer, facts);
                // A node that is silent now must not hold without looking at its peers.
                watched.follow_table(&mut self.ids, report);
                Coming::New(Box::new(watched))
            })
            .collect();
        self.staged = Some(Staged { sources, services: plan.services, in_force: plan.in_force });
        self.enforce_when_looked();
    }

    fn enforce_when_looked(&mut self) {
        let ready = |staged: &mut Staged| staged.sources.iter().all(Coming::has_looked);
        let Some(staged) = self.staged.take_if(ready) else { return };
        let now = self.clock.now();
        let mut old: Vec<_> = std::mem::take(&mut self.watched).into_iter().map(Some).collect();
        self.watched = staged
            .sources
            .into_iter()
            .filter_map(|source| match source {
                Coming::New(watched) => Some(*watched),
                Coming::Kept(at) => old.get_mut(at).and_then(Option::take),
            })
            .collect();
        let lag_matters = staged.services.iter().any(|serving| serving.policy.lag.is_some());
        for watched in &mut self.watched {
            watched.lag_matters = lag_matters;
        }
        let sources = self.sources();
        let records = &self.records;
        self.facts.send_modify(|facts| {
            let services = staged.services.into_iter().map(|serving| {
                let Serving { name, policy, answering } = serving;
                let before = match facts.known(&name, &policy) {
                    Some(known) => known.standing,
                    None => restored(now, records.as_ref(), &name, &policy, &sources),
                };
                let standing = before.fold(now, &facts.sources, &sources, &policy);
                ServiceFacts { name, policy, standing, answering }
            });
            *facts = NodeFacts { services: services.collect(), sources };
        });
        // Nobody waits any more where the daemon is stopping.
        let _ = staged.in_force.send(());
    }

    fn sources(&self) -> Vec<SourceFacts> {
        self.watched.iter().map(|watched| watched.facts.clone()).collect()
    }

    fn fold(&mut self, look: Look, report: &mpsc::Sender<Look>) {
        let poller = look.poller;
        let staged = self.staged.iter_mut().flat_map(|staged| &mut staged.sources);
        let staged = staged.filter_map(Coming::new_mut);
        let mut known = self.watched.iter_mut().chain(staged);
        // A poller that was stopped may have one look on its way.
        let Some(watched) = known.find(|watched| watched.has(poller)) else { return };
        log_failing(&self.node, watched, &look);
        watched.record(look, &mut self.ids, report);

        if self.watched.iter().any(|watched| watched.has(poller)) {
            let now = self.clock.now();
            let sources = self.sources();
            self.facts.send_modify(|facts| {
                for service in &mut facts.services {
                    let standing = service.standing;
                    service.standing =
                        standing.fold(now, &facts.sources, &sources, &service.policy);
                }
                facts.sources = sources;
            });
            self.keep_yes(now);
        }
        self.enforce_when_looked();
    }

    /// Writes down each yes that was counted by rule R on this process's own answers.
    fn keep_yes(&mut self, now: Stamp) {
        let Some(records) = &mut self.records else { return };
        let facts = self.facts.borrow();
        for service in &facts.services {
            for (trust, source) in service.policy.trust.iter().zip(&facts.sources) {
                let Some(electorate) = &trust.electorate else { continue };
                let round = quorum::rule(now, source, electorate);
                let counted = round.good_until.zip(service.standing.yes_since).zip(me(source));
                if let Some(((good_until, since), node)) = counted {
                    records.keep(&service.name, &service.policy, &Yes { node, since, good_until });
                }
            }
        }
    }

    /// Announces every verdict that is not the one last announced, and tells when the next change
    /// is due if nothing new is seen.
    fn announce(&self) -> Option<Stamp> {
        let now = self.clock.now();
        let facts = self.facts.borrow();
        let current: Vec<_> = facts
            .services
            .iter()
            .map(|service| Announced {
                service: service.name.clone(),
                verdict: judge(now, &facts, &service.name),
            })
            .collect();
        drop(facts);
        self.announced.send_if_modified(|before| {
            let mut changed = before.len() != current.len();
            for new in &current {
                let old = before.iter().find(|old| old.service == new.service);
                let from = old.map_or(State::Unknown, |old| old.verdict.state);
                if old.is_none() || from != new.verdict.state {
                    self.log_change(now, from, new);
                }
                changed |= old.is_none_or(|old| {
                    old.verdict.state != new.verdict.state
                        || old.verdict.reason != new.verdict.reason
                });
            }
            if changed {
                before.clone_from(&current);
            }
            changed
        });
        current.iter().filter_map(|new| new.verdict.until).filter(|until| *until >= now).min()
    }

    fn log_change(&self, now: Stamp, from: State, new: &Announced) {
        let verdict = &new.verdict;
        let (node, service) = (&*self.node, &*new.service);
        info!(
            node,
            service,
            from = %from,
            verdict = %verdict.state,
            role = role_seen(&self.facts.borrow()).map(Role::as_str),
            reason = verdict.reason.label(),
            timeline = verdict.timeline.map(|timeline| timeline.0),
            age_ms = verdict.seen.map(|seen| now.since(seen).as_millis()).map(saturated),
            // A reader of the journal sees the message alone, so it says all that a person needs.
            "verdict changed: {service} of {node} is {}: {}",
            verdict.state,
            verdict.reason
        );
    }
}

/// The role that was last seen.
fn role_seen(facts: &NodeFacts) -> Option<Role> {
    facts.sources.iter().find_map(|source| source.own.good()?.1.role)
}

fn saturated(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}

fn me(source: &SourceFacts) -> Option<NodeId> {
    source.own.good()?.1.repmgr.as_ref()?.me
}

/// The memory of a service that begins: empty, or what a predecessor's record says of this node.
fn restored(
    now: Stamp,
    records: Option<&Records>,
    service: &str,
    policy: &Policy,
    sources: &[SourceFacts],
) -> Standing {
    let by_rule = policy.trust.iter().any(|trust| trust.electorate.is_some());
    let yes = records.filter(|_| by_rule).and_then(|r| r.restore(now, service, policy));
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
            let hint = error.kind.hint();
            let label = error.kind.label();
            warn!(node, source, peer, error = label, hint, "look failed: {source} of {node}: {error}");
        }
        Ok(_) if before.is_some() => info!(node, source, peer, "looks succeed again"),
        Ok(_) => {}
    }
}
