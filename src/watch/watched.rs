//! A source that is watched: its poller, for repmgr the pollers of the other nodes, and their facts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use crate::config::Source;
use crate::host::seldom::Seldom;
use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::Observation;
use crate::look::place::Place;
use crate::look::repmgr::{NodeId, Registered, Row, named, row};
use crate::look::role::Role;
use crate::look::snapshot::{Snapshot, SourceFacts};
use crate::look::stamp::Stamp;
use crate::source::releasing::Without;
use crate::verdict::failover::{self, Trouble};
use crate::watch::poller::{Look, Poked, PollerId};

/// Other nodes that are looked at; a repmgr cluster has a handful, and each costs every server a
/// connection a look.
const MOST_PEERS: usize = 64;

/// Least time between two pokes of a source that are passed on.
pub(crate) const BETWEEN_POKES: Duration = Duration::from_secs(5);

/// How long something must have been wrong with a repmgrd before it is warned of: a switchover pauses
/// all of them for a few seconds.
const TELL_AFTER: Duration = Duration::from_secs(30);

/// Starts the poller of another node of the source's repmgr cluster.
pub type StartPeer =
    Box<dyn Fn(&Row, PollerId, mpsc::Sender<Look>, Poked) -> AbortHandle + Send + Sync>;

/// Starts asking the rolecall of another data node to give way to the node of the given number.
pub type StartRelease = Box<
    dyn Fn(&Row, (NodeId, Without), PollerId, mpsc::Sender<Look>, Poked) -> AbortHandle
        + Send
        + Sync,
>;

/// What is wanted of the looks at a source, by what is known of it.
#[derive(Debug, Default)]
pub struct Pace {
    /// It is a candidate for the primary that is not READY yet: quick looks.
    pub quick: bool,
    /// The rolecalls of the other data nodes are asked to give way.
    pub asks: bool,
    /// Those whom its confirmation leaves out are told so in any case.
    pub left_out: Vec<NodeId>,
}

/// Hands out names of pollers, each once.
#[derive(Debug, Default)]
pub struct PollerIds(u64);

impl PollerIds {
    /// A name that no other poller has.
    pub fn take(&mut self) -> PollerId {
        self.0 += 1;
        PollerId(self.0)
    }
}

/// A running poller; it ends with this value.
pub struct Poller {
    /// Its name.
    pub id: PollerId,
    /// Its task.
    pub task: AbortHandle,
    /// Makes it look at once.
    pub poked: Poked,
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Another node that is looked at, and where.
struct Peer {
    poller: Poller,
    places: Arc<[Place]>,
}

impl Peer {
    fn start(
        row: &Row,
        ids: &mut PollerIds,
        start: impl FnOnce(PollerId, Poked) -> AbortHandle,
    ) -> Self {
        let (id, poked) = (ids.take(), Poked::default());
        let task = start(id, poked.clone());
        Self { poller: Poller { id, task, poked }, places: row.places.clone() }
    }
}

/// A source that is watched. Its pollers end with it.
pub struct Watched {
    /// As configured.
    pub source: Source,
    /// What was seen.
    pub facts: SourceFacts,
    poller: Poller,
    start_peer: Option<StartPeer>,
    /// For repmgr with a secret: starts asking the rolecall of another node to give way.
    start_release: Option<StartRelease>,
    /// Those who are asked, and what they are told.
    askers: BTreeMap<NodeId, (Peer, Without)>,
    /// To whom this node has given way since its server was last there.
    gave_way: Option<NodeId>,
    /// A service has a limit on how far behind a replica may be.
    pub lag_matters: bool,
    peers: BTreeMap<NodeId, Peer>,
    /// When a poke was last passed on.
    poked: Option<Stamp>,
    /// Warnings of looks that fail: servers can make them fail in ever other ways.
    warnings: Seldom,
    /// What is wrong with the repmgrd of which node, since when, and whether that was said.
    troubles: BTreeMap<NodeId, (Trouble, Stamp, bool)>,
}

impl Watched {
    /// A source whose poller runs and has not reported yet; `facts` are what another poller of the
    /// same source saw before.
    pub fn new(
        source: Source,
        poller: Poller,
        start_peer: Option<StartPeer>,
        start_release: Option<StartRelease>,
        facts: SourceFacts,
    ) -> Self {
        let (lag_matters, peers, askers, poked) = (false, BTreeMap::new(), BTreeMap::new(), None);
        let (troubles, gave_way) = (BTreeMap::new(), None);
        Self {
            source,
            facts,
            poller,
            start_peer,
            start_release,
            askers,
            gave_way,
            lag_matters,
            peers,
            poked,
            troubles,
            warnings: Seldom::default(),
        }
    }

    /// Looks, and asks the other rolecalls, as is wanted from now on.
    pub fn pace(&mut self, pace: &Pace, ids: &mut PollerIds, report: &mpsc::Sender<Look>) {
        self.poller.poked.hurry(pace.quick);
        for peer in self.peers.values() {
            peer.poller.poked.hurry(pace.quick);
        }
        self.ask_releases(pace, ids, report);
    }

    fn ask_releases(&mut self, pace: &Pace, ids: &mut PollerIds, report: &mpsc::Sender<Look>) {
        let Some(start) = &self.start_release else { return };
        let seen = self.facts.own.good().map(|(_, seen)| seen);
        let rows = seen.map(|seen| others(seen, false)).unwrap_or_default();
        let wanted = |row: &&Row| {
            row.registered != Registered::Witness && (pace.asks || pace.left_out.contains(&row.id))
        };
        let rows: Vec<_> = rows.into_iter().filter(wanted).collect();
        self.askers.retain(|id, (asker, _)| {
            rows.iter().any(|row| row.id == *id && row.places == asker.places)
        });
        let Some(me) = seen.and_then(|seen| seen.repmgr.as_ref()?.me) else { return };
        let timeline = seen.and_then(|seen| seen.timeline);
        for row in rows {
            let (asker, without) = self.askers.entry(row.id).or_insert_with(|| {
                let without = Without::default();
                let begin =
                    |id, poked| start(row, (me, without.clone()), id, report.clone(), poked);
                (Peer::start(row, ids, begin), without)
            });
            without.say(timeline.filter(|_| pace.left_out.contains(&row.id)));
            asker.poller.poked.hurry(pace.quick);
        }
    }

    /// Notes that this node gives way to another one; whether that is news.
    pub(crate) fn gives_way(&mut self, to: NodeId) -> bool {
        self.gave_way.replace(to) != Some(to)
    }

    /// Whether a poke was passed on so lately that another one is not.
    pub(crate) fn poked_lately(&self, now: Stamp) -> bool {
        self.poked.is_some_and(|last| now < last.plus(BETWEEN_POKES))
    }

    /// Looks at once, and often for a moment. The other nodes of a repmgr cluster keep their rhythm: a
    /// node that becomes a candidate looks at them at once by itself.
    pub fn poke(&mut self, now: Stamp) {
        self.poked = Some(now);
        self.poller.poked.poke();
    }

    /// Says of each repmgrd that has been missing, paused or hung for 30 s that the next
    /// failover may not come, and when it is well again.
    pub(crate) fn log_troubles(&mut self, node: &str, now: Stamp) {
        let found = failover::troubles(&self.facts);
        let gone = |id: &NodeId| self.facts.peers.get(id).is_some_and(|p| p.failing().is_some());
        self.troubles.retain(|id, (trouble, _, told)| {
            let stays = found.get(id) == Some(trouble) || gone(id);
            if !stays && *told && !found.contains_key(id) {
                info!(node, peer = id.0, "repmgrd of {id} is well again");
            }
            stays
        });
        for (id, trouble) in found {
            let (_, since, told) = self.troubles.entry(id).or_insert((trouble, now, false));
            if !*told && now.since(*since) >= TELL_AFTER {
                *told = true;
                let (label, hint) = (trouble.label(), trouble.hint());
                warn!(node, peer = id.0, trouble = label, hint, "{id}: {}", trouble.as_str());
            }
        }
    }

    /// Has what seldom changes asked for anew.
    pub fn renew(&self) {
        self.poller.poked.renew();
    }

    /// Whether one of its pollers has this name.
    pub fn has(&self, poller: PollerId) -> bool {
        self.poller.id == poller || self.peer(poller).is_some() || self.asker(poller).is_some()
    }

    /// What there is to say of a look, which is not folded in yet.
    pub fn news(&mut self, now: Stamp, look: &Look) -> News {
        let source = self.source.kind.as_str();
        let (before, peer) = self.failing(look.poller);
        let asked = self.asker(look.poller);
        let error = look.result.as_ref().err().cloned();
        let other = asked.is_none() && error.as_ref().map(|error| error.kind) != before;
        let told = if other { self.warnings.may(now) } else { None };
        News { source, peer, asked, told, error }
    }

    /// How the looks of this poller fail now, and the other node's number where it is not the own.
    pub fn failing(&self, poller: PollerId) -> (Option<ErrorKind>, Option<i32>) {
        let peer = self.peer(poller);
        let snapshot = match peer {
            Some(id) => self.facts.peers.get(&id),
            None => Some(&self.facts.own),
        };
        let failing = snapshot.and_then(Snapshot::failing).map(|(_, error)| error.kind);
        (failing, peer.map(|id| id.0))
    }

    fn asker(&self, poller: PollerId) -> Option<NodeId> {
        self.askers.iter().find(|(_, (asker, _))| asker.poller.id == poller).map(|(id, _)| *id)
    }

    fn peer(&self, poller: PollerId) -> Option<NodeId> {
        self.peers.iter().find(|(_, peer)| peer.poller.id == poller).map(|(id, _)| *id)
    }

    /// Folds a look in, and follows the own table with the pollers of the other nodes.
    pub fn record(
        &mut self,
        now: Stamp,
        look: Look,
        ids: &mut PollerIds,
        report: &mpsc::Sender<Look>,
    ) {
        if let Some(id) = self.peer(look.poller) {
            self.facts.peers.entry(id).or_default().record(look.began, look.result);
            return;
        }
        if let Some(id) = self.asker(look.poller) {
            let release = look.result.ok().and_then(|said| said.release);
            self.facts.releases.insert(id, (look.began, release.as_deref().cloned()));
            return;
        }
        let answered = look.result.is_ok();
        self.facts.record_own(now, look.began, look.result);
        // The last table stays in use while the own server does not answer.
        if answered {
            self.gave_way = None;
            self.follow_table(ids, report);
        }
    }

    /// Looks at the other nodes of the own table: at all while this one is a candidate. What was
    /// seen of a node whose row names other places now stays until one of them has answered: it is a
    /// lease, and ends by itself.
    pub(crate) fn follow_table(&mut self, ids: &mut PollerIds, report: &mpsc::Sender<Look>) {
        let Some(start_peer) = &self.start_peer else { return };
        let wanted = self
            .facts
            .own
            .good()
            .map(|(_, seen)| others(seen, self.lag_matters))
            .unwrap_or_default();
        let stays = |id: &NodeId, peer: &mut Peer| {
            wanted.iter().any(|row| row.id == *id && row.places == peer.places)
        };
        self.peers.retain(stays);
        for row in wanted {
            self.peers.entry(row.id).or_insert_with(|| {
                Peer::start(row, ids, |id, poked| start_peer(row, id, report.clone(), poked))
            });
        }
        self.facts.peers.retain(|id, _| self.peers.contains_key(id));
        self.facts.releases.retain(|id, _| self.peers.contains_key(id));
    }
}

/// What there is to say of a look once it is folded in.
pub struct News {
    source: &'static str,
    /// Whose server was looked at; `None`: the own one.
    peer: Option<i32>,
    /// Whose rolecall was asked to give way, where this is about that.
    asked: Option<NodeId>,
    /// It is otherwise than before, and said: so many such were not since the last one that was.
    told: Option<u64>,
    error: Option<SourceError>,
}

impl News {
    /// A failing source is warned of once, and again when it fails in another way.
    pub fn log(self, node: &str) {
        let Self { source, peer, asked, told, error } = self;
        match (error, asked) {
            // Asked for a moment only, and of a host that may well be gone with its server.
            (Some(error), Some(id)) => {
                debug!(
                    node,
                    peer = id.0,
                    error = error.kind.label(),
                    "another node has not given way: {error}"
                );
            }
            (Some(error), None) if told.is_none() => {
                let label = error.kind.label();
                debug!(node, source, peer, error = label, "poll failed again: {error}");
            }
            (Some(error), None) => {
                let (label, hint) = (error.kind.label(), error.kind.hint());
                // It is another node's server, and nothing is wrong with this one.
                let whose = match peer {
                    Some(peer) => format!("node {peer}, asked by {node}"),
                    None => node.to_owned(),
                };
                let untold = told.filter(|untold| *untold > 0);
                warn!(
                    node,
                    source,
                    peer,
                    error = label,
                    hint,
                    untold,
                    "poll failed: {source} of {whose}: {error}"
                );
            }
            (None, None) if told.is_some() => info!(node, source, peer, "polls succeed again"),
            (None, _) => {}
        }
    }
}

/// The other nodes to look at: all of them where the node says it is the registered primary, but for
/// those whose rows lead to one address: no answer from there counts, for it could be counted twice, and
/// whoever writes rows could aim any number of looks at one server. For a standby that must know how far
/// behind it is, the primary alone; else none.
pub fn others(seen: &Observation, lag_matters: bool) -> Vec<&Row> {
    let Some(said) = seen.repmgr.as_deref() else { return Vec::new() };
    if seen.role != Some(Role::Primary) {
        let primary = named(&said.table).filter(|_| lag_matters && said.me.is_some());
        let primary = primary.and_then(|id| row(&said.table, id));
        return primary.filter(|row| row.leads_to_its_server()).into_iter().collect();
    }
    let Some(me) = said.me.filter(|me| {
        said.table.iter().any(|row| row.id == *me && row.registered == Registered::Primary)
    }) else {
        return Vec::new();
    };
    let others = said.table.iter().filter(|row| row.id != me);
    let others = others.filter(|row| row.leads_to_its_server() && !row.shares_address);
    others.take(MOST_PEERS).collect()
}
