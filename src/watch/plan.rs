//! What shall be watched and judged from now on, and what of it has looked already.
//!
//! A plan is staged first: what it adds looks, while the present plan stays in force. Sources that
//! are watched already keep their pollers and facts, under whatever node they stand now.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::config::Source;
use crate::reply::asks::Asks;
use crate::reply::routes::{Answering, Routes};
use crate::verdict::policy::Policy;
use crate::watch::poller::{Look, Poked, PollerId};
use crate::watch::watched::{Poller, PollerIds, StartPeer, StartRelease, Watched};

/// What a keeper shall watch and judge from now on.
pub struct Plan {
    /// The nodes, in the order of the configuration.
    pub nodes: Vec<PlannedNode>,
    /// What is asked at which address.
    pub routes: Routes,
    /// Who may ask over HTTP; `None`: nobody.
    pub http_allow: Option<Arc<[IpNet]>>,
    /// Told when the plan is in force: each of its sources has finished, failed or timed out once.
    pub in_force: oneshot::Sender<()>,
}

/// A node that shall be watched.
pub struct PlannedNode {
    /// Its name.
    pub name: Arc<str>,
    /// The cluster it belongs to, where that is said.
    pub cluster: Option<Arc<str>>,
    /// The sources, in the order of the policies' `trust`. One that asks the same place as a source
    /// already watched keeps its facts, and its poller where the rhythm is the same too.
    pub sources: Vec<Planned>,
    /// The services; one whose name is known already keeps its memory.
    pub services: Vec<Serving>,
}

/// A service that shall be answered for.
#[derive(Debug, Clone)]
pub struct Serving {
    /// Its name.
    pub name: Arc<str>,
    /// How its verdicts are made.
    pub policy: Arc<Policy>,
    /// By whom it is asked, and in what words it is answered.
    pub answering: Arc<Answering>,
    /// Who asked it about the node, also under earlier plans.
    pub asks: Arc<Asks>,
}

/// Starts the poller of one source under the given name, reporting to the given channel; it can be poked.
pub type Start = Box<dyn FnOnce(PollerId, mpsc::Sender<Look>, Poked) -> AbortHandle + Send>;

/// A source that shall be watched.
pub struct Planned {
    /// As configured.
    pub source: Source,
    /// Starts its poller; not called where the source is watched already.
    pub start: Start,
    /// For repmgr: starts the pollers of the other nodes.
    pub start_peer: Option<StartPeer>,
    /// For repmgr with a secret: starts asking the rolecall of another node to give way.
    pub start_release: Option<StartRelease>,
}

/// A plan whose new sources have not all looked yet.
pub struct Staged {
    /// The nodes, in the order of the plan.
    pub nodes: Vec<StagedNode>,
    /// What is asked at which address.
    pub routes: Routes,
    /// Who may ask over HTTP; `None`: nobody.
    pub http_allow: Option<Arc<[IpNet]>>,
    /// Told when the plan is in force.
    pub in_force: oneshot::Sender<()>,
}

/// A node of a plan that is not in force yet.
pub struct StagedNode {
    /// Its name.
    pub name: Arc<str>,
    /// The cluster it belongs to.
    pub cluster: Option<Arc<str>>,
    /// Its services.
    pub services: Vec<Serving>,
    /// Which of the present nodes it goes on from.
    pub before: Option<usize>,
    sources: Vec<Coming>,
}

/// A source of a plan that is not in force yet.
enum Coming {
    /// It is watched already, but nothing rests on it yet.
    New(Box<Watched>),
    /// The one watched at this place is equal, and will be taken over.
    Kept(Place),
}

/// Which source of which of the present nodes.
type Place = (usize, usize);

/// A node as it is watched at present, as far as a plan compares itself with it.
pub struct Present<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its sources.
    pub watched: &'a [Watched],
}

impl Staged {
    /// Starts what `plan` adds to the nodes that are there.
    pub fn new(
        plan: Plan,
        present: &[Present<'_>],
        ids: &mut PollerIds,
        report: &mpsc::Sender<Look>,
    ) -> Self {
        let mut kept = Vec::new();
        let mut stage = |node: PlannedNode| {
            let before = predecessor(&node, present);
            let sources = node.sources.into_iter();
            let sources = sources.map(|source| coming(source, present, &mut kept, ids, report));
            StagedNode {
                sources: sources.collect(),
                name: node.name,
                cluster: node.cluster,
                services: node.services,
                before,
            }
        };
        let nodes = plan.nodes.into_iter().map(&mut stage).collect();
        Self { nodes, routes: plan.routes, http_allow: plan.http_allow, in_force: plan.in_force }
    }

    /// Whether each of its sources has finished, failed or timed out once.
    pub(crate) fn has_looked(&self) -> bool {
        let looked = |source: &Coming| match source {
            Coming::New(watched) => watched.facts.own.last_look().is_some(),
            Coming::Kept(_) => true,
        };
        self.nodes.iter().flat_map(|node| &node.sources).all(looked)
    }

    /// The source that this poller looks at, where it is one that the plan adds, and its node.
    pub fn added(&mut self, poller: PollerId) -> Option<(&str, &mut Watched)> {
        self.nodes.iter_mut().find_map(|node| {
            let added = node.sources.iter_mut().find_map(|source| match source {
                Coming::New(watched) => Some(&mut **watched).filter(|w| w.has(poller)),
                Coming::Kept(_) => None,
            });
            added.map(|watched| (&*node.name, watched))
        })
    }
}

impl StagedNode {
    /// Its sources; those that it keeps are taken out of `present`.
    pub(crate) fn take_sources(&mut self, present: &mut [Vec<Option<Watched>>]) -> Vec<Watched> {
        let take = |source| match source {
            Coming::New(watched) => Some(*watched),
            Coming::Kept((node, at)) => present.get_mut(node)?.get_mut(at)?.take(),
        };
        self.sources.drain(..).filter_map(take).collect()
    }
}

/// The present node that a planned one goes on from: what a service remembers of a node is about
/// the servers that were looked at, whatever the node is called.
fn predecessor(node: &PlannedNode, present: &[Present<'_>]) -> Option<usize> {
    let alike = |old: &Present<'_>| {
        let pairs = old.watched.iter().zip(&node.sources);
        let same_sources = old.watched.len() == node.sources.len()
            && pairs.into_iter().all(|(old, new)| new.source.kind.goes_on_from(&old.source.kind));
        (same_sources, old.name == &*node.name)
    };
    let known = present.iter().map(alike).enumerate().filter(|(_, alike)| *alike != (false, false));
    known.max_by_key(|(_, alike)| *alike).map(|(at, _)| at)
}

/// Whether the source that is watched looks just as the planned one: then its poller goes on.
fn same_look(source: &Source, watched: &Watched) -> bool {
    watched.source.kind == source.kind && watched.source.rhythm() == source.rhythm()
}

/// Takes a source over where one that is equal is watched, else starts its poller; what one that looks
/// at the same server saw is kept.
fn coming(
    planned: Planned,
    present: &[Present<'_>],
    kept: &mut Vec<Place>,
    ids: &mut PollerIds,
    report: &mpsc::Sender<Look>,
) -> Coming {
    let Planned { source, start, start_peer, start_release } = planned;
    let places = present.iter().enumerate().flat_map(|(node, present)| {
        present.watched.iter().enumerate().map(move |(at, watched)| ((node, at), watched))
    });
    let known = places
        .filter(|(place, watched)| {
            !kept.contains(place) && source.kind.goes_on_from(&watched.source.kind)
        })
        .max_by_key(|(_, watched)| same_look(&source, watched));
    if let Some((place, watched)) = known {
        kept.push(place);
        if same_look(&source, watched) {
            watched.renew();
            return Coming::Kept(place);
        }
    }
    let id = ids.take();
    let poked = Poked::default();
    let task = start(id, report.clone(), poked.clone());
    let poller = Poller { id, task, poked };
    let facts = known.map(|(_, watched)| watched.facts.clone()).unwrap_or_default();
    let mut watched = Watched::new(source, poller, start_peer, start_release, facts);
    // A node that is silent now must not hold without looking at its peers.
    watched.follow_table(ids, report);
    Coming::New(Box::new(watched))
}
