//! What is known of the nodes: facts with their time. Judged where they are used, never here.

pub mod fence;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::host::clock::Stamp;
use crate::look::lease::Lease;
use crate::look::observation::{ErrorKind, Observation, SourceError};
use crate::look::release::{LeftOut, Release};
use crate::look::repmgr::{NodeId, Registered, Row};
use crate::look::role::{Role, Timeline};
use crate::reply::asks::Asks;
use crate::reply::routes::{Answering, Asked, Routes};
use crate::verdict::decide::{Standing, State, Verdict, decide};
use crate::verdict::last_word::LastWord;
use crate::verdict::order::{self, About};
use crate::verdict::policy::Policy;
use crate::verdict::reason::Reason;

/// The newest facts of one source. [`Snapshot::record`] is its only mutator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    good: Option<(Stamp, Observation)>,
    failing: Option<(Stamp, SourceError)>,
}

impl Snapshot {
    /// The last look that showed something that still holds, and when it began.
    pub fn good(&self) -> Option<(Stamp, &Observation)> {
        self.good.as_ref().map(|(began, seen)| (*began, seen))
    }

    /// The last look, where it failed, and when it began.
    pub fn failing(&self) -> Option<(Stamp, &SourceError)> {
        self.failing.as_ref().map(|(began, error)| (*began, error))
    }

    /// When the last finished look began; `None` before the first has finished.
    pub fn last_look(&self) -> Option<Stamp> {
        self.failing.as_ref().map(|f| f.0).or(self.good.as_ref().map(|g| g.0))
    }

    /// Folds a finished look in.
    ///
    /// A failure leaves the last good look standing for the verdict to hold on to, unless the
    /// failure is itself evidence against the node: then nothing older may speak for it again.
    pub fn record(&mut self, began: Stamp, look: Result<Observation, SourceError>) {
        match look {
            Ok(seen) => {
                self.good = Some((began, seen));
                self.failing = None;
            }
            Err(error) => {
                if error.kind.is_contrary() {
                    self.good = None;
                }
                // Evidence against a leader alone: what a replica was seen to be stands.
                if let Some((_, seen)) =
                    self.good.as_mut().filter(|_| error.kind == ErrorKind::NoBody)
                {
                    seen.leader = Some(false);
                }
                self.failing = Some((began, error));
            }
        }
    }
}

/// The facts of one source: of the node's own server, and for repmgr of each other node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceFacts {
    /// The node's own server.
    pub own: Snapshot,
    /// The other nodes of its repmgr cluster, while the node is a candidate for the primary.
    pub peers: BTreeMap<NodeId, Snapshot>,
    /// What the rolecalls of the other data nodes last said when they were asked to give way, and when
    /// they were asked; `None`: nothing that counts.
    pub releases: BTreeMap<NodeId, (Stamp, Option<Release>)>,
    /// What the own server of a repmgr node last said of itself; kept when it is gone.
    pub identity: Option<Identity>,
    /// The confirmation of another node that this one was told of, and that left it out because its server
    /// was down: forgotten once its server is on that timeline.
    pub left_out: Option<LeftOut>,
    /// Since when every own look has found the server out of recovery: the moment at which the first
    /// of them had finished.
    pub writable_since: Option<Stamp>,
    /// For Patroni: for how long its lock is proven to be held.
    pub lease: Lease,
    /// For Patroni: whether the node held the lock when a look last found a running server and a consensus
    /// store behind the answer. `None`: there was no such look.
    pub holder: Option<bool>,
    /// Since when this process has watched the own table of a repmgr node, and no data node has left it.
    pub table_since: Option<Stamp>,
}

/// Which server of a repmgr cluster a node's own server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// repmgr's number.
    pub node: NodeId,
    /// `system_identifier`
    pub system: Arc<str>,
    /// The timeline it was last seen on.
    pub timeline: Option<Timeline>,
}

impl SourceFacts {
    /// The facts of a source that looks at one server only.
    pub fn of(own: Snapshot) -> Self {
        Self { own, ..Self::default() }
    }

    /// Folds a look at the node's own server in that has finished at `now`.
    pub fn record_own(&mut self, now: Stamp, began: Stamp, look: Result<Observation, SourceError>) {
        let look = self.lease.fold(began, now, look);
        if let Ok(Observation { patroni: Some(patroni), leader, .. }) = &look
            && !patroni.lockless()
        {
            self.holder = Some(*leader == Some(true));
        }
        let writable = look.as_ref().is_ok_and(|seen| seen.role == Some(Role::Primary));
        self.writable_since = self.writable_since.filter(|_| writable).or(writable.then_some(now));
        if let Ok(seen) = &look
            && let Some(said) = &seen.repmgr
        {
            let before = self.own.good().and_then(|(_, seen)| seen.repmgr.as_deref());
            let whole = before.is_some_and(|before| keeps_data_nodes(&before.table, &said.table));
            self.table_since = self.table_since.filter(|_| whole).or(Some(now));
            let (system, timeline) = (Arc::clone(&said.system), seen.timeline);
            self.left_out = self.left_out.filter(|left_out| timeline < Some(left_out.timeline));
            self.identity = said.me.map(|node| Identity { node, system, timeline });
        }
        self.own.record(began, look);
    }

    /// Notes that another node is confirmed without this one; the newest timeline counts.
    pub fn is_left_out(&mut self, by: NodeId, timeline: Timeline) {
        let own = self.identity.as_ref().and_then(|identity| identity.timeline);
        let known = self.left_out.map(|left_out| left_out.timeline).max(own);
        if Some(timeline) > known {
            self.left_out = Some(LeftOut { by, timeline });
        }
    }

    /// Whether another data node says that its vote is not for the primary of this one's timeline.
    pub fn is_barred(&self) -> bool {
        let Some(identity) = &self.identity else { return false };
        self.releases.iter().any(|(id, (_, release))| {
            let release = release.as_ref();
            release
                .and_then(|said| said.newer_without(*id, &identity.system, identity.timeline))
                .is_some()
        })
    }

    /// How long the word of another node's rolecall may live, by the longest that one of them has said.
    pub fn longest_word(&self) -> Option<Duration> {
        let said = self.releases.values().filter_map(|(_, release)| release.as_ref());
        said.map(Release::longest_word).max()
    }
}

/// Whether every data node of one table is one of the other, too.
fn keeps_data_nodes(before: &[Row], after: &[Row]) -> bool {
    let data = |row: &&Row| row.registered != Registered::Witness;
    before.iter().filter(data).all(|old| after.iter().filter(data).any(|row| row.id == old.id))
}

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
    pub fn asked(&self, asked: Asked) -> Option<(&NodeFacts, &ServiceFacts)> {
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
    /// The kinds of its sources, as the configuration calls them.
    pub kinds: Arc<[&'static str]>,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Stamp {
        Stamp::new(Duration::from_millis(ms))
    }

    #[test]
    fn a_silent_failure_leaves_the_last_good_look() {
        let mut snapshot = Snapshot::default();
        snapshot.record(at(1), Ok(Observation::of(Role::Primary)));
        snapshot.record(at(2), Err(SourceError::new(ErrorKind::Timeout, "slow")));
        assert_eq!(snapshot.good().map(|g| g.0), Some(at(1)));
        assert_eq!(snapshot.last_look(), Some(at(2)));
    }

    #[test]
    fn a_good_look_ends_the_failing() {
        let mut snapshot = Snapshot::default();
        snapshot.record(at(1), Err(SourceError::new(ErrorKind::Timeout, "slow")));
        snapshot.record(at(2), Ok(Observation::of(Role::Primary)));
        assert_eq!(snapshot.failing(), None);
        assert_eq!(snapshot.last_look(), Some(at(2)));
    }

    #[test]
    fn contrary_evidence_ends_the_good_for_good() {
        let mut snapshot = Snapshot::default();
        snapshot.record(at(1), Ok(Observation::of(Role::Primary)));
        snapshot.record(at(2), Err(SourceError::new(ErrorKind::ServerDown, "refused")));
        snapshot.record(at(3), Err(SourceError::new(ErrorKind::Timeout, "slow")));
        assert_eq!(snapshot.good(), None);
    }
}
