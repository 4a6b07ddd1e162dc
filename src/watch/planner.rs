//! Makes the keeper's plan of a configuration: each service with its policy, each source with what starts the pollers
//! that look at it, at the other nodes of its cluster, and at their rolecalls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::{self, Config, Node, Releasing, Rhythm, Service};
use crate::host::clock::Clock;
use crate::host::failure::Failure;
use crate::reply::asks::Asks;
use crate::reply::routes::Answering;
use crate::source::release::ReleaseSource;
use crate::source::resolve::Resolver;
use crate::source::role_source::Peers;
use crate::source::{RoleSource as _, Source};
use crate::watch::plan::{Plan, Planned, PlannedNode, Serving};
use crate::watch::poller::{self, Spread};
use crate::watch::watched::{StartPeer, StartRelease};

/// Who asked, by node and service.
type AsksOf = BTreeMap<(String, String), Arc<Asks>>;

/// Makes one plan after the other.
pub struct Planner {
    resolver: Resolver,
    clock: Clock,
    /// Who asked each service about each node, over reloads.
    asks: AsksOf,
}

impl Planner {
    /// A planner that has made none yet.
    pub fn new(resolver: Resolver, clock: Clock) -> Self {
        Self { resolver, clock, asks: AsksOf::default() }
    }

    /// The plan of a configuration, and who is told when it is in force.
    ///
    /// # Errors
    /// As [`Source::new`].
    pub fn plan(&mut self, config: &Config) -> Result<(Plan, oneshot::Receiver<()>), Failure> {
        let mut spread = Spread::over(config);
        let answering = |service: &Service| Arc::new(service.answering.clone());
        let answering: Vec<_> = config.services.iter().map(answering).collect();
        let asks = self.asks_of(config);
        let node = |node: &Node| {
            let sources = node.sources.iter();
            let sources = sources.map(|source| self.source(source, spread.next(source)));
            let services = config.services.iter().zip(&answering);
            let services =
                services.map(|(service, answering)| serving(node, service, answering, &asks));
            Ok(PlannedNode {
                name: node.name.as_str().into(),
                cluster: node.cluster.as_deref().map(Arc::from),
                sources: sources.collect::<Result<_, Failure>>()?,
                services: services.collect(),
            })
        };
        let nodes = config.nodes.iter().map(node).collect::<Result<_, Failure>>()?;
        self.asks = asks;
        let (told, in_force) = oneshot::channel();
        let http_allow = config.http.as_ref().map(|http| http.allow.as_slice().into());
        Ok((Plan { nodes, routes: config.routes(), http_allow, in_force: told }, in_force))
    }

    /// The counts of every service about every node; those that are there go on.
    fn asks_of(&self, config: &Config) -> AsksOf {
        let pairs = config.nodes.iter().flat_map(|node| {
            config.services.iter().map(|service| (node.name.clone(), service.name.clone()))
        });
        pairs
            .map(|pair| {
                let asks = self.asks.get(&pair).cloned().unwrap_or_default();
                (pair, asks)
            })
            .collect()
    }

    /// A source, ready to be looked at; its second look comes `phase` after the first.
    fn source(&self, source: &config::Source, phase: Duration) -> Result<Planned, Failure> {
        let built = Source::new(source, &self.resolver)?;
        let (rhythm, clock) = (source.rhythm(), self.clock.clone());
        let start_peer = built.peers().map(|peers| start_peer(peers, rhythm, clock.clone()));
        let start_release = source.kind.settings().releasing().map(|releasing| {
            start_release(releasing, self.resolver.clone(), rhythm, clock.clone())
        });
        Ok(Planned {
            source: source.clone(),
            start: Box::new(move |id, report, poked| {
                tokio::spawn(poller::run(built, rhythm, phase, clock, id, report, poked))
                    .abort_handle()
            }),
            start_peer,
            start_release,
        })
    }
}

fn serving(node: &Node, service: &Service, answering: &Arc<Answering>, asks: &AsksOf) -> Serving {
    Serving {
        name: service.name.as_str().into(),
        policy: Arc::new(service.policy(node)),
        answering: Arc::clone(answering),
        asks: Arc::clone(&asks[&(node.name.clone(), service.name.clone())]),
    }
}

/// Starts pollers of the other nodes of a cluster, in the own one's rhythm: what one answer may be used for rests on
/// both.
fn start_peer(peers: Peers, rhythm: Rhythm, clock: Clock) -> StartPeer {
    Box::new(move |row, id, report, poked| {
        let peer = peers(row);
        let looking = poller::run(peer, rhythm, rhythm.interval, clock.clone(), id, report, poked);
        tokio::spawn(looking).abort_handle()
    })
}

/// Starts asking the rolecalls of other nodes to give way, in the same rhythm.
fn start_release(
    releasing: &Releasing,
    resolver: Resolver,
    rhythm: Rhythm,
    clock: Clock,
) -> StartRelease {
    let Releasing { key_file, port } = releasing.clone();
    Box::new(move |row, (from, without), id, report, poked| {
        let asked = ReleaseSource::new(row, from, port, key_file.clone(), resolver.clone());
        let asked = asked.saying(without);
        let asking = poller::run(asked, rhythm, rhythm.interval, clock.clone(), id, report, poked);
        tokio::spawn(asking).abort_handle()
    })
}
