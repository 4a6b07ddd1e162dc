//! What an operator can do about a reason.

use crate::look::error::ErrorKind;
use crate::look::observation::Lack;
use crate::verdict::reason::{Circumstance, Reason};

impl Reason {
    /// What an operator can do about it, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Failed(error) => Some(ErrorKind::hint(error.kind)),
            Self::ReadOnly => Some(
                "turn default_transaction_read_only off where it is on: ALTER SYSTEM, or ALTER \
                 ROLE or ALTER DATABASE for rolecall's user and database",
            ),
            Self::LagUnknown => Some(
                "its WAL receiver does not stream: see the replica's log and its \
                 primary_conninfo. `max_lag_time` also needs a transaction that was replayed \
                 since the start",
            ),
            Self::LagNotTold(Lack::Part(_)) => Some(
                "remove `max_lag` and `max_lag_time` from the service, because such a server \
                 tells only its role; or grant rolecall's user what is missing",
            ),
            Self::LagNotTold(Lack::Hidden) => Some("GRANT pg_read_all_stats to rolecall's user"),
            Self::KindUnknown => Some(
                "use the role `replica` in the service, which accepts every kind; Patroni 3.1 and \
                 later tell the kind, except while the consensus store is lost",
            ),
            Self::OtherTag(_) => Some(
                "nothing to do if the node belongs to another pool; otherwise correct `tags` in \
                 the member's patroni.yml and reload Patroni",
            ),
            Self::StreamUnknown => Some(
                "use Patroni 3.0.4 or later, or GRANT pg_read_all_stats to rolecall's user; or \
                 remove `replication_state` from the service",
            ),
            Self::OldTimeline(_) => Some(
                "let the standby follow the primary: repmgr standby follow, or repmgr node rejoin",
            ),
            Self::NodeUnknown => {
                Some("set `node_id` or `node_name` to the value in repmgr.nodes, or start repmgrd")
            }
            Self::NotRegistered(_) => {
                Some("register the node: repmgr primary register or repmgr standby register")
            }
            Self::OtherNode { .. } => {
                Some("correct `node_id` or `conninfo`: one of them belongs to another node")
            }
            Self::OwnRow { .. } => Some(
                "check whether somebody promoted it by hand; once it is the only primary, run \
                 repmgr primary register --force",
            ),
            Self::NoStandby { .. } => Some(
                "nothing to do while the node is being rejoined; otherwise run repmgr standby \
                 register --force, or start repmgrd",
            ),
            Self::UpstreamSilent(_) => {
                Some("see the standby's log and its primary_conninfo, or run repmgr standby follow")
            }
            Self::NotStreaming => Some(
                "see the replica's log and its primary_conninfo (repmgr standby follow); to \
                 accept the replica as it is, set `replication_state = \"any\"` in the service",
            ),
            Self::ReplayPaused => Some("SELECT pg_wal_replay_resume()"),
            Self::ApplyDelay(_) => {
                Some("use another standby for reads, or remove recovery_min_apply_delay")
            }
            Self::SeveralPrimaries => {
                Some("see `repmgr cluster show`, and register the nodes again")
            }
            Self::NoMajority { .. } => Some(
                "bring the lost nodes back, or rejoin them (repmgr node rejoin); `rolecall ask` \
                 shows the vote of each node",
            ),
            Self::NewerTimeline { .. } | Self::DeposedBy(_) | Self::Rival(_) => {
                Some("another node was promoted: make this one its standby with repmgr node rejoin")
            }
            Self::NotHolder => Some(
                "bring the consensus store back; if this node must take writes and no other node \
                 does: rolecall ready --force, for as long as necessary",
            ),
            Self::NoLock | Self::ServesIn(_, Circumstance::Lockless) => {
                Some("bring the consensus store back, or end the pause with patronictl resume")
            }
            Self::Ordered(_) => Some(
                "rolecall status shows the order and its target; `rolecall auto TARGET` removes it",
            ),
            Self::Stopping(_) => {
                Some("start rolecall again; `on_stop` of the service sets this answer")
            }
            Self::LagLimit(_) => {
                Some("patronictl list shows the lag; see what delays replay on the replica")
            }
            Self::ServesIn(_, Circumstance::Failsafe) => {
                Some("bring the consensus store back: in failsafe mode no failover can happen")
            }
            Self::ServesIn(_, Circumstance::Unlocked) => Some(
                "run patronictl list: if it shows members and no leader, check which of them may \
                 become the leader (nofailover, lag, synchronous mode); if it shows an error, \
                 bring the consensus store back",
            ),
            Self::ServesIn(_, Circumstance::PendingRestart) => Some("patronictl restart"),
            Self::ServesIn(_, Circumstance::Unwatched) => Some("start the monitor again"),
            Self::Monitor(objection) => Some(objection.hint()),
            Self::Stale => Some("rolecall's polls do not end in time: see its log"),
            _ => None,
        }
    }
}
