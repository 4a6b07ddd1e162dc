//! The newest facts of one source: what its looks showed, with the moments at which they began.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::look::error::{ErrorKind, SourceError};
use crate::look::lease::Lease;
use crate::look::observation::Observation;
use crate::look::release::{LeftOut, Release};
use crate::look::replica;
use crate::look::repmgr::{Answer, NodeId, Registered, Row};
use crate::look::role::{Role, Timeline};
use crate::look::stamp::Stamp;

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
    /// What kind of replica the node was when a look last found that out.
    pub kind: Option<Role>,
    /// When the last look began that found nothing amiss with how the replica follows. `None`: no look did since
    /// the node was no primary any more.
    pub followed_at: Option<Stamp>,
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
        if let Ok(seen) = &look {
            let replica = seen.role.is_some_and(|role| role.fills(Role::Replica));
            self.kind = replica::kind(seen).or(self.kind.filter(|_| replica));
            let followed = match replica::follows(seen) {
                Some(true) => Some(began),
                _ => self.followed_at,
            };
            self.followed_at = followed.filter(|_| seen.role != Some(Role::Primary));
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
    pub(crate) fn is_barred(&self) -> bool {
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

/// An answer with the observation it came with.
#[derive(Clone, Copy)]
pub struct Heard<'a> {
    /// When it was asked for.
    pub began: Stamp,
    /// What PostgreSQL said of itself.
    pub seen: &'a Observation,
    /// What it said of the cluster.
    pub said: &'a Answer,
}

impl Heard<'_> {
    /// Whether the server was in recovery, or is none that could be the primary.
    pub fn in_recovery(&self) -> bool {
        self.seen.role != Some(Role::Primary)
    }
}

/// The last good answer, however old it is.
pub fn heard(snapshot: &Snapshot) -> Option<Heard<'_>> {
    let (began, seen) = snapshot.good()?;
    Some(Heard { began, seen, said: seen.repmgr.as_deref()? })
}

/// The answer that may be used now: asked for less than its life ago, and no later look failed.
pub fn usable(snapshot: &Snapshot, now: Stamp, life: Duration) -> Option<Heard<'_>> {
    heard(snapshot).filter(|h| snapshot.failing().is_none() && now.since(h.began) < life)
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
