//! What is known of the nodes: facts with their time, published as one value. Nothing that
//! is judged is kept here: [`NodeFacts::verdict`] has it decided anew for whoever asks.
//!
//! The keeper alone makes them; whoever answers reads them. [`fence`] decides by them whether sessions are to be
//! ended. Pure: it names `look`, `verdict` and `reply`, no I/O, no runtime, no clock.

pub mod fence;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::look::kind::SourceKind;
use crate::look::role::Role;
use crate::look::snapshot::SourceFacts;
use crate::look::stamp::Stamp;
use crate::reply::asks::Asks;
use crate::reply::routes::{Answering, Route, Routes};
use crate::verdict::decide::{Verdict, decide};
use crate::verdict::last_word::LastWord;
use crate::verdict::lock::Cut;
use crate::verdict::order::{self, About};
use crate::verdict::policy::Policy;
use crate::verdict::reason::Reason;
use crate::verdict::standing::Standing;
use crate::verdict::state::State;

/// Everything that verdicts rest on, published as one value by the keeper: nodes, policies,
/// wordings and addresses change at one moment in a reload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// In the order of the configuration.
    pub nodes: Vec<NodeFacts>,
    /// What is asked at which address.
    pub routes: Routes,
    /// Who may ask over HTTP, empty: everybody; `None`: nobody, there is no such port.
    pub http_allow: Option<Arc<[IpNet]>>,
}

impl Facts {
    /// The node and the service that are asked for where nothing else is said. Where several nodes
    /// may be meant the node is any of them: only how the service is answered may be read then.
    pub fn asked(&self, asked: Route) -> Option<(&NodeFacts, &ServiceFacts)> {
        let node = self.nodes.get(asked.node.unwrap_or(0))?;
        Some((node, node.services.get(asked.service)?))
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&NodeFacts> {
        self.nodes.iter().find(|node| &*node.name == name)
    }
}

/// Everything a verdict about one node rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node's name.
    pub name: Arc<str>,
    /// The cluster it belongs to, where that is said.
    pub cluster: Option<Arc<str>>,
    /// The kinds of its sources, in the order of these.
    pub kinds: Arc<[SourceKind]>,
    /// One for each source, in the order of the configuration.
    pub sources: Vec<SourceFacts>,
    /// One for each service, in the order of the configuration.
    pub services: Vec<ServiceFacts>,
}

/// What is kept for one service of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    /// The service's name.
    pub name: Arc<str>,
    /// How its verdicts are made.
    pub policy: Arc<Policy>,
    /// The memory its verdicts have.
    pub standing: Standing,
    /// By whom it is asked, and in what words it is answered.
    pub answering: Arc<Answering>,
    /// Who asked it about this node.
    pub asks: Arc<Asks>,
    /// The operators' orders about it.
    pub orders: About,
    /// What it says instead of everything else, now that rolecall stops.
    pub last_word: Option<LastWord>,
}

impl ServiceFacts {
    /// Whether this verdict lets clients write: READY from a service for primaries, or DRAIN, which
    /// leaves them their sessions.
    pub fn lets_write(&self, verdict: &Verdict) -> bool {
        matches!(verdict.state, State::Ready | State::Drain)
            && self.policy.roles.contains(&Role::Primary)
    }
}

impl NodeFacts {
    /// What one of its services is told of it at this moment, by what is seen, by orders and by what
    /// is to be said at the end.
    pub fn verdict(&self, now: Stamp, service: &ServiceFacts) -> Verdict {
        let verdict = order::apply(now, self.seen(now, service), &service.orders, &service.policy);
        match service.last_word {
            Some(last) => last.on(verdict),
            None => verdict,
        }
    }

    /// Whether a verdict that lets clients in rests on a look of a source whose later looks fail. An order and a
    /// last word rest on no look.
    pub fn is_held(&self, service: &ServiceFacts, verdict: &Verdict) -> bool {
        let lets_in = matches!(verdict.state, State::Ready | State::Drain);
        let by_looks = !matches!(verdict.reason, Reason::Ordered(_) | Reason::Stopping(_));
        let failing = |source: &SourceFacts| source.own.failing().is_some();
        lets_in && by_looks && self.sources.iter().take(service.policy.trust.len()).any(failing)
    }

    /// Each of its sources, with its kind.
    pub(crate) fn each_source(&self) -> impl Iterator<Item = (SourceKind, &SourceFacts)> {
        self.kinds.iter().copied().zip(&self.sources)
    }

    /// The same by what is seen alone.
    pub fn seen(&self, now: Stamp, service: &ServiceFacts) -> Verdict {
        decide(now, &self.sources, service.standing, &service.policy)
    }

    /// The facts of the service of this name.
    pub fn service(&self, name: &str) -> Option<&ServiceFacts> {
        self.services.iter().find(|service| &*service.name == name)
    }

    /// The facts of the service of this name, else of one with the same policy: a reload gave it
    /// another name.
    pub fn known(&self, name: &str, policy: &Policy) -> Option<&ServiceFacts> {
        let same = |service: &&ServiceFacts| *service.policy == *policy;
        self.service(name).or_else(|| self.services.iter().find(same))
    }
}

/// The holds of a node's services that are cut by what Patroni's times are now known to be; `None`
/// where nothing is known of them.
pub fn cuts(node: &NodeFacts) -> Option<Vec<Cut>> {
    let mut cuts = None;
    for service in &node.services {
        for (trust, source) in service.policy.trust.iter().zip(&node.sources) {
            let times = source.own.good().and_then(|(_, seen)| seen.patroni?.times);
            if let Some(times) = times {
                let cut = Cut::of(&service.name, &service.policy, trust, times);
                cuts.get_or_insert_with(Vec::new).extend(cut);
            }
        }
    }
    cuts
}

/// Whether the last look of every poller of every node began less than twice the time ago that
/// interval and timeout allow: the watchdog watches the part that can hang.
pub fn beats(now: Stamp, facts: &Facts) -> bool {
    !facts.nodes.is_empty() && facts.nodes.iter().all(|node| beats_of(now, node))
}

fn beats_of(now: Stamp, node: &NodeFacts) -> bool {
    let Some(service) = node.services.first() else { return false };
    let trust = &service.policy.trust;
    node.sources.len() == trust.len()
        && node.sources.iter().zip(trust).all(|(source, trust)| {
            source.own.last_look().is_some_and(|began| now.since(began) <= trust.look * 2)
        })
}

/// How long the last words of all services are said. The ports close together: one of a service that
/// has none would else be refused while another one's still speaks.
pub fn longest_last_word(facts: &Facts) -> Duration {
    let services = facts.nodes.iter().flat_map(|node| &node.services);
    let words = services.filter_map(|service| service.answering.last_word);
    words.map(|word| word.lasts).max().unwrap_or_default()
}
