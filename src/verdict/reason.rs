//! Why a verdict is what it is: the text of the log and the label of a metric are the same value.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::look::error::SourceError;
use crate::look::measure;
use crate::look::observation::Lack;
use crate::look::patroni::Patroni;
use crate::look::repmgr::{NodeId, Registered};
use crate::look::role::{Role, Timeline};
use crate::look::tags::Unmet;
use crate::verdict::monitor::Objection;
use crate::verdict::policy::Hysteresis;
use crate::verdict::state::{Wish, Word};

/// Why a verdict is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The node has a role that is asked for, and nothing speaks against it.
    Serves(Role),
    /// The same, and Patroni is not as usual.
    ServesIn(Role, Circumstance),
    /// The port that clients reach answers; what the node is, another source says.
    Answers,
    /// An operator's standing order says so.
    Ordered(Ordered),
    /// rolecall stops, and says this meanwhile.
    Stopping(Word),
    /// Paused, the consensus store is lost, and `require_lock` is on.
    NoLock,
    /// Paused, the consensus store is lost, and the node did not hold the lock when there was a store.
    NotHolder,
    /// Patroni says that the replica is over the limit it was asked with.
    LagLimit(Hysteresis<u64>),
    /// No look has finished yet.
    NoLookYet,
    /// The yes is too young to count.
    Settling,
    /// The node has another role than is asked for.
    OtherRole(Role),
    /// The server said no without naming a role.
    NoRole,
    /// Patroni does not hold the leader lock for this node.
    NotLeader,
    /// Patroni reports the server in another state than running.
    NotRunning(Arc<str>),
    /// `default_transaction_read_only` is on.
    ReadOnly,
    /// The tag `noloadbalance` is set.
    NoLoadBalance,
    /// It is a replica, and nobody knows now whether it is of the kind that is asked for.
    KindUnknown,
    /// A tag has not the value that is asked for.
    OtherTag(Unmet),
    /// More bytes behind than allowed.
    LagBytes(Excess<u64>),
    /// Longer behind than allowed.
    LagTime(Excess<Duration>),
    /// A limit is set and how far behind the replica is cannot be known.
    LagUnknown,
    /// A limit is set and the server does not tell how far behind it is.
    LagNotTold(Lack),
    /// The last good look is older than it may be: the poller hangs, or the host slept.
    Stale,
    /// The last look failed.
    Failed(SourceError),
    /// repmgr: a standby replays an older timeline than its primary writes.
    OldTimeline(Timeline),
    /// repmgr: nobody said which node this is.
    NodeUnknown,
    /// repmgr: the node has no row in its own table.
    NotRegistered(NodeId),
    /// repmgr: the node is a witness, which never serves.
    Witness,
    /// repmgr: the server is another node than is configured.
    OtherNode {
        /// As configured.
        configured: NodeId,
        /// As repmgrd told the server.
        told: NodeId,
    },
    /// repmgr: the server is writable and its own row does not say active primary.
    OwnRow {
        /// What the row says it is.
        registered: Registered,
        /// Whether the row is active.
        active: bool,
    },
    /// repmgr: the server is in recovery and its own row does not say active standby.
    NoStandby {
        /// What the row says it is.
        registered: Registered,
        /// Whether the row is active.
        active: bool,
    },
    /// The replica streams from nobody.
    NotStreaming,
    /// The replica must stream, and whether it does is not known.
    StreamUnknown,
    /// repmgr: the standby's upstream has said nothing for this long.
    UpstreamSilent(Duration),
    /// repmgr: replay is paused.
    ReplayPaused,
    /// repmgr: `recovery_min_apply_delay` keeps the standby behind.
    ApplyDelay(Duration),
    /// repmgr: the own table names several active primaries.
    SeveralPrimaries,
    /// repmgr: too few nodes vote for this one.
    NoMajority {
        /// Votes for it, its own among them.
        votes: usize,
        /// Nodes that count.
        electors: usize,
    },
    /// repmgr: another node replays a newer timeline than this one writes.
    NewerTimeline {
        /// The other node.
        node: NodeId,
        /// Its timeline.
        timeline: Timeline,
    },
    /// repmgr: this node's table has this one as a failed primary.
    DeposedBy(NodeId),
    /// repmgr: this node says of itself that it is the primary, too.
    Rival(NodeId),
    /// pg_auto_failover: what the monitor says speaks against the node.
    Monitor(Objection),
}

/// By how much a replica is over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess<T> {
    /// How far behind it is.
    pub behind: T,
    /// The limit.
    pub limit: Hysteresis<T>,
}

impl fmt::Display for Excess<u64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { behind, limit } = *self;
        let [size, max, resume] = [behind, limit.max, limit.resume].map(measure::size);
        if behind > limit.max {
            return write!(f, "{size} behind, more than max_lag {max}");
        }
        write!(f, "{size} behind, more than resume_lag {resume} (max_lag is {max})")
    }
}

impl fmt::Display for Excess<Duration> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { behind, limit } = *self;
        let (time, max) = (measure::about(behind), measure::time(limit.max));
        if behind > limit.max {
            return write!(f, "{time} behind, more than max_lag_time {max}");
        }
        let resume = measure::time(limit.resume);
        write!(f, "{time} behind, more than {resume}, three quarters of max_lag_time {max}")
    }
}

/// How much a reason wants a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// Somebody should look at it in working hours.
    Warning,
    /// Somebody has to be woken up: two servers may take writes, or nobody will.
    Critical,
}

impl Alarm {
    /// As `/status` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What is unusual about a node that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Circumstance {
    /// Paused, and no lock stands behind the leader: two nodes may say this.
    Lockless,
    /// The consensus store is lost, and all members agreed to go on.
    Failsafe,
    /// Nobody holds the lock now; a new leader says so for a moment.
    Unlocked,
    /// An operator told Patroni to change nothing.
    Paused,
    /// Settings wait for a restart.
    PendingRestart,
    /// pg_auto_failover: its monitor does not vouch for it now.
    Unwatched,
}

impl Circumstance {
    /// Of what Patroni says, the most telling for who serves as this role: only leaders there must not be two of.
    pub fn of(role: Role, patroni: &Patroni) -> Option<Self> {
        let all = [
            (patroni.lockless() && role == Role::Primary, Self::Lockless),
            (patroni.failsafe, Self::Failsafe),
            (patroni.unlocked, Self::Unlocked),
            (patroni.paused, Self::Paused),
            (patroni.pending_restart, Self::PendingRestart),
        ];
        all.into_iter().find_map(|(is, circumstance)| is.then_some(circumstance))
    }

    fn label(self) -> &'static str {
        match self {
            Self::Lockless => "serves_lockless",
            Self::Failsafe => "serves_in_failsafe",
            Self::Unlocked => "serves_unlocked",
            Self::Paused => "serves_paused",
            Self::PendingRestart => "serves_pending_restart",
            Self::Unwatched => "serves_unwatched",
        }
    }
}

impl fmt::Display for Circumstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lockless => {
                "but Patroni is paused and no leader lock protects it: another node may say the \
                 same"
            }
            Self::Failsafe => {
                "in failsafe mode: the consensus store is lost, and all members have agreed to go \
                 on"
            }
            Self::Unlocked => "but no node holds the leader lock",
            Self::Paused => "and Patroni is paused",
            Self::PendingRestart => "and settings are waiting for a restart of PostgreSQL",
            Self::Unwatched => {
                "but the monitor of pg_auto_failover does not answer, or has heard nothing of it"
            }
        })
    }
}

impl Reason {
    /// The word for this reason in logs and metrics; never changes once released.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Serves(_) => "serves",
            Self::ServesIn(_, circumstance) => circumstance.label(),
            Self::Answers => "answers",
            Self::Ordered(Ordered { wish: Wish::Ready, .. }) => "ordered_ready",
            Self::Ordered(Ordered { wish: Wish::Drain, .. }) => "ordered_drain",
            Self::Ordered(Ordered { wish: Wish::Maint, .. }) => "ordered_maint",
            Self::Stopping(_) => "stopping",
            Self::NoLock => "no_lock",
            Self::NotHolder => "not_holder",
            Self::LagLimit(_) => "lag_limit",
            Self::NoLookYet => "no_look_yet",
            Self::Settling => "settling",
            Self::OtherRole(_) => "other_role",
            Self::NoRole => "no_role",
            Self::NotLeader => "not_leader",
            Self::NotRunning(_) => "not_running",
            Self::ReadOnly => "read_only",
            Self::NoLoadBalance => "no_load_balance",
            Self::KindUnknown => "kind_unknown",
            Self::OtherTag(_) => "other_tag",
            Self::LagBytes(_) => "lag_bytes",
            Self::LagTime(_) => "lag_time",
            Self::LagUnknown => "lag_unknown",
            Self::LagNotTold(_) => "lag_not_told",
            Self::Stale => "stale",
            Self::Failed(error) => error.kind.label(),
            Self::OldTimeline(_) => "old_timeline",
            Self::NodeUnknown => "node_unknown",
            Self::NotRegistered(_) => "not_registered",
            Self::Witness => "witness",
            Self::OtherNode { .. } => "other_node",
            Self::OwnRow { .. } => "own_row",
            Self::NoStandby { .. } => "no_standby",
            Self::NotStreaming => "not_streaming",
            Self::StreamUnknown => "stream_unknown",
            Self::UpstreamSilent(_) => "upstream_silent",
            Self::ReplayPaused => "replay_paused",
            Self::ApplyDelay(_) => "apply_delay",
            Self::SeveralPrimaries => "several_primaries",
            Self::NoMajority { .. } => "no_majority",
            Self::NewerTimeline { .. } => "newer_timeline",
            Self::DeposedBy(_) => "deposed",
            Self::Rival(_) => "rival",
            Self::Monitor(Objection::NoRow) => "monitor_no_row",
            Self::Monitor(Objection::State { writable: false, .. }) => "monitor_state",
            Self::Monitor(Objection::State { writable: true, .. }) => "monitor_condemned",
            Self::Monitor(Objection::NotRunning) => "monitor_not_running",
            Self::Monitor(Objection::Rival(_)) => "monitor_rival",
            Self::Monitor(Objection::NewerTimeline { .. }) => "monitor_newer_timeline",
            Self::Monitor(Objection::OtherServer(_)) => "monitor_other_server",
        }
    }

    /// Whether a node is ready though nothing keeps another one from being so.
    pub(crate) fn is_lockless(&self) -> bool {
        matches!(self, Self::ServesIn(_, Circumstance::Lockless))
    }

    /// How much this wants a person, whatever the state is that it stands behind: a standby at the port for
    /// writes wants nobody, a second primary does though HAProxy is told MAINT.
    pub fn alarm(&self) -> Option<Alarm> {
        match self {
            Self::ReadOnly
            | Self::OwnRow { .. }
            | Self::SeveralPrimaries
            | Self::NoMajority { .. }
            | Self::NewerTimeline { .. }
            | Self::DeposedBy(_)
            | Self::Rival(_)
            | Self::Monitor(
                Objection::State { writable: true, .. }
                | Objection::Rival(_)
                | Objection::NewerTimeline { .. },
            ) => Some(Alarm::Critical),
            Self::ServesIn(
                _,
                Circumstance::Lockless
                | Circumstance::Failsafe
                | Circumstance::Unlocked
                | Circumstance::Unwatched,
            )
            | Self::NoLock
            | Self::NotHolder
            | Self::NotRunning(_)
            | Self::LagLimit(_)
            | Self::LagBytes(_)
            | Self::LagTime(_)
            | Self::LagUnknown
            | Self::LagNotTold(_)
            | Self::OldTimeline(_)
            | Self::NodeUnknown
            | Self::NotRegistered(_)
            | Self::OtherNode { .. }
            | Self::NoStandby { .. }
            | Self::NotStreaming
            | Self::StreamUnknown
            | Self::UpstreamSilent(_)
            | Self::ReplayPaused
            | Self::Stale
            | Self::Monitor(Objection::NoRow | Objection::NotRunning | Objection::OtherServer(_))
            | Self::Failed(_) => Some(Alarm::Warning),
            _ => None,
        }
    }
}

/// What a row of repmgr.nodes says of its node.
fn row(registered: Registered, active: bool) -> String {
    let active = if active { "active" } else { "inactive" };
    format!("{active} {}", registered.as_str())
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLookYet => f.write_str("the first poll has not ended yet"),
            Self::Settling => {
                f.write_str("the node has its majority, and waits for `settle` before READY")
            }
            Self::Serves(role) | Self::OtherRole(role) => write!(f, "is {role}"),
            Self::NoRole => f.write_str("the node has no role now"),
            Self::Answers => f.write_str("the port of PostgreSQL answers"),
            Self::ServesIn(role, circumstance) => write!(f, "is {role}, {circumstance}"),
            Self::Ordered(ordered) => write!(f, "{ordered}"),
            Self::Stopping(word) => {
                write!(f, "rolecall is stopping, and `on_stop` is {}", word.as_str())
            }
            Self::NoLock => {
                f.write_str("Patroni is paused, and no leader lock protects its primary")
            }
            Self::NotHolder => f.write_str(
                "Patroni is paused, the consensus store is lost, and this node did not hold the \
                 leader lock before that",
            ),
            Self::LagLimit(limit) => write!(
                f,
                "Patroni says that the lag exceeds max_lag {}, or has not fallen to resume_lag {} since",
                measure::size(limit.max),
                measure::size(limit.resume)
            ),
            Self::NotLeader => f.write_str("this node does not hold the leader lock"),
            Self::NotRunning(state) => write!(f, "PostgreSQL is {state}"),
            Self::ReadOnly => {
                f.write_str("default_transaction_read_only is on, so the server refuses writes")
            }
            Self::NoLoadBalance => f.write_str("the node has the tag noloadbalance"),
            Self::KindUnknown => {
                f.write_str("is a replica, and it is not known now whether it is synchronous")
            }
            Self::OtherTag(unmet) => unmet.fmt(f),
            Self::LagBytes(over) => over.fmt(f),
            Self::LagTime(over) => over.fmt(f),
            Self::LagUnknown => f.write_str("replication lag is unknown"),
            Self::LagNotTold(Lack::Part(said)) => {
                write!(f, "the server does not tell its replication lag: {said}")
            }
            Self::LagNotTold(Lack::Hidden) => {
                f.write_str("rolecall's user may not see the replication lag")
            }
            Self::Stale => f.write_str("the last successful poll is too old"),
            Self::Failed(error) => write!(f, "{}: {error}", error.kind.label()),
            Self::OldTimeline(timeline) => {
                write!(
                    f,
                    "the standby replays timeline {timeline}, but its primary is on a newer one"
                )
            }
            Self::NodeUnknown => {
                f.write_str("it is not known which node of repmgr.nodes this server is")
            }
            Self::NotRegistered(who) => write!(f, "{who} has no row in its own repmgr.nodes"),
            Self::Witness => f.write_str("the node is a witness"),
            Self::OtherNode { configured, told } => {
                write!(
                    f,
                    "rolecall is configured for {configured}, but repmgrd says this is {told}"
                )
            }
            Self::OwnRow { registered, active } => {
                let row = row(*registered, *active);
                write!(f, "the server is writable, but its own row in repmgr.nodes is {row}")
            }
            Self::NoStandby { registered, active } => {
                let row = row(*registered, *active);
                write!(f, "the server is in recovery, but its own row in repmgr.nodes is {row}")
            }
            Self::NotStreaming => f.write_str("its WAL receiver does not stream"),
            Self::StreamUnknown => f.write_str("it is not known whether the replica streams"),
            Self::UpstreamSilent(time) => {
                write!(f, "its upstream has sent nothing for {}", measure::about(*time))
            }
            Self::ReplayPaused => f.write_str("replay is paused on this standby"),
            Self::ApplyDelay(time) => {
                write!(f, "recovery_min_apply_delay is {}", measure::time(*time))
            }
            Self::SeveralPrimaries => {
                f.write_str("its own repmgr.nodes contains several active primaries")
            }
            Self::NoMajority { votes, electors } => {
                write!(f, "no majority: {votes} of {electors} nodes vote for this one")
            }
            Self::NewerTimeline { node, timeline } => {
                write!(f, "{node} follows a newer timeline ({timeline})")
            }
            Self::DeposedBy(node) => write!(
                f,
                "{node} has this node registered as a failed primary (repmgr.nodes: inactive)"
            ),
            Self::Rival(node) => write!(f, "{node} says that it is the primary too"),
            Self::Monitor(objection) => objection.fmt(f),
        }
    }
}

/// What a reason tells of the order that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// What is ordered.
    pub wish: Wish,
    /// By whom.
    pub by: Arc<str>,
    /// Why; may be empty.
    pub why: Arc<str>,
}

impl fmt::Display for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ordered {} by {}", self.wish.as_str(), self.by)?;
        if self.why.is_empty() { Ok(()) } else { write!(f, ": {}", self.why) }
    }
}
