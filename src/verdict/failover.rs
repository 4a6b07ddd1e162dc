//! Whether repmgr's next failover will come: what is wrong with the repmgrd of each node that answers.
//!
//! A standby whose repmgrd is paused, missing or hung is never promoted, and nobody notices until the
//! primary is lost. A switchover that is broken off leaves repmgrd paused on every node (seen on 5.3.3).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::look::repmgr::{Answer, NodeId, Registered, row};
use crate::look::snapshot::{Snapshot, SourceFacts};

/// A repmgrd that has not reached its upstream for longer than this, while the server itself is
/// attached to it, hangs: five times its usual `monitor_interval_secs`.
const HUNG_AFTER: Duration = Duration::from_secs(10);

/// What is wrong with the repmgrd of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// `repmgrd_is_running()` is false: nobody watches from there.
    Missing,
    /// `repmgrd_is_paused()` is true: it watches, and does nothing.
    Paused,
    /// It has not reached its upstream lately, though its server streams from it; or it is a
    /// witness's and has not.
    Hung,
}

impl Trouble {
    /// The word for this in metrics and the status; never changes once released.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Paused => "paused",
            Self::Hung => "hung",
        }
    }

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => {
                "repmgrd does not run on this node, so it will not start the next failover"
            }
            Self::Paused => {
                "repmgrd is paused on this node, so it will not start the next failover"
            }
            Self::Hung => {
                "repmgrd on this node has not reached its upstream for more than 10 s, although \
                 the upstream is well, so it may not start the next failover"
            }
        }
    }

    /// What an operator can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Missing => "start repmgrd on that node, and see its log",
            Self::Paused => "run `repmgr service unpause` once no switchover is in progress",
            Self::Hung => {
                "see the log of repmgrd on that node; restart repmgrd if it logs nothing or \
                 follows a server that is not the primary"
            }
        }
    }
}

/// What is wrong on each node whose last look succeeded: the own one, and those that it looks at.
pub(crate) fn troubles(facts: &SourceFacts) -> BTreeMap<NodeId, Trouble> {
    let said = |snapshot: &'_ Snapshot| match snapshot.failing() {
        None => snapshot.good().and_then(|(_, seen)| seen.repmgr.clone()),
        Some(_) => None,
    };
    let own = said(&facts.own).and_then(|said| Some((said.me?, said)));
    let peers = facts.peers.iter().filter_map(|(id, peer)| Some((*id, said(peer)?)));
    own.into_iter().chain(peers).filter_map(|(id, said)| Some((id, of(id, &said)?))).collect()
}

fn of(id: NodeId, said: &Answer) -> Option<Trouble> {
    // Of whom the own table knows nothing, nothing can be expected.
    let row = row(&said.table, id)?;
    if !said.repmgrd_running {
        return Some(Trouble::Missing);
    }
    if said.repmgrd_paused {
        return Some(Trouble::Paused);
    }
    let watches = match row.registered {
        Registered::Witness => true,
        Registered::Standby => said.attached != crate::look::repmgr::Attached::Nobody,
        // A primary's repmgrd watches its own server, and tells nobody when it last did.
        Registered::Primary => false,
    };
    let reached = said.upstream_seen.is_some_and(|ago| ago <= HUNG_AFTER);
    (watches && !reached).then_some(Trouble::Hung)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::look::error::{ErrorKind, SourceError};
    use crate::look::observation::Observation;
    use crate::look::repmgr::{Attached, Row};
    use crate::look::role::Role;
    use crate::look::stamp::Stamp;

    fn answer(me: i32) -> Answer {
        let row = |(id, registered)| Row {
            id: NodeId(id),
            name: "n".into(),
            registered,
            active: true,
            places: Vec::new().into(),
            shares_address: false,
        };
        let kinds = [Registered::Primary, Registered::Standby, Registered::Witness];
        Answer {
            me: Some(NodeId(me)),
            system: "7".into(),
            table: (1..).zip(kinds).map(row).collect(),
            local_id: None,
            upstream: Some(NodeId(1)),
            upstream_seen: Some(Duration::ZERO),
            told: None,
            attached: Attached::To(NodeId(1)),
            repmgrd_running: true,
            repmgrd_paused: false,
            failover_after: None,
        }
    }

    fn trouble(id: i32, change: impl FnOnce(&mut Answer)) -> Option<Trouble> {
        let mut answer = answer(id);
        change(&mut answer);
        of(NodeId(id), &answer)
    }

    #[test]
    fn each_trouble_is_seen_where_it_can_be() {
        let long = Some(Duration::from_secs(11));
        for id in [1, 2, 3] {
            assert_eq!(trouble(id, |_| ()), None);
            assert_eq!(trouble(id, |a| a.repmgrd_running = false), Some(Trouble::Missing));
            assert_eq!(trouble(id, |a| a.repmgrd_paused = true), Some(Trouble::Paused));
        }
        assert_eq!(trouble(1, |a| a.upstream_seen = None), None, "a primary has no upstream");
        for id in [2, 3] {
            assert_eq!(trouble(id, |a| a.upstream_seen = long), Some(Trouble::Hung));
            assert_eq!(trouble(id, |a| a.upstream_seen = None), Some(Trouble::Hung));
        }
        let lost = |a: &mut Answer| (a.upstream_seen, a.attached) = (long, Attached::Nobody);
        assert_eq!(trouble(2, lost), None, "its server has lost the primary, too");
        assert_eq!(trouble(9, |a| a.repmgrd_running = false), None, "not registered");
    }

    #[test]
    fn of_every_node_that_answers() {
        let at = Stamp::new(Duration::ZERO);
        let paused = |me| {
            let said = Arc::new(Answer { repmgrd_paused: true, ..answer(me) });
            Ok(Observation { repmgr: Some(said), ..Observation::of(Role::Primary) })
        };
        let mut facts = SourceFacts::default();
        facts.own.record(at, paused(1));
        facts.peers.entry(NodeId(2)).or_default().record(at, paused(2));
        let silent = Err(SourceError::new(ErrorKind::Timeout, "in a test"));
        facts.peers.entry(NodeId(3)).or_default().record(at, paused(3));
        facts.peers.entry(NodeId(3)).or_default().record(at, silent);
        let found: Vec<_> = troubles(&facts).into_iter().collect();
        assert_eq!(found, [(NodeId(1), Trouble::Paused), (NodeId(2), Trouble::Paused)]);
    }
}
