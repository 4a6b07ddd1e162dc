//! Why a verdict is what it is: the text of the log and the label of a metric are the same value.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::Lack;
use crate::look::patroni::Patroni;
use crate::look::repmgr::{NodeId, Registered};
use crate::look::role::{Role, Timeline};
use crate::look::tags::Unmet;
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
    LagLimit,
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
    LagBytes(u64),
    /// Longer behind than allowed.
    LagTime(Duration),
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
        }
    }
}

impl fmt::Display for Circumstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lockless => {
                "though Patroni is paused and no lock stands behind it: another may say so too"
            }
            Self::Failsafe => "by failsafe mode, without the consensus store",
            Self::Unlocked => "though Patroni knows nobody who holds the leader lock",
            Self::Paused => "and Patroni is paused",
            Self::PendingRestart => "and settings wait for a restart",
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
            Self::LagLimit => "lag_limit",
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
            | Self::Rival(_) => Some(Alarm::Critical),
            Self::ServesIn(
                _,
                Circumstance::Lockless | Circumstance::Failsafe | Circumstance::Unlocked,
            )
            | Self::NoLock
            | Self::NotHolder
            | Self::NotRunning(_)
            | Self::LagLimit
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
            | Self::Failed(_) => Some(Alarm::Warning),
            _ => None,
        }
    }

    /// What an operator can do about it, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Failed(error) => Some(ErrorKind::hint(error.kind)),
            Self::ReadOnly => Some(
                "reset default_transaction_read_only where it is on: ALTER SYSTEM, or ALTER ROLE \
                 and ALTER DATABASE of the user and the database rolecall asks with",
            ),
            Self::LagUnknown => Some(
                "its WAL receiver does not stream: see the replica's log and primary_conninfo. A `max_lag_time` \
                 also needs a commit that was replayed since the start",
            ),
            Self::LagNotTold(Lack::Part(_)) => Some(
                "leave `max_lag` and `max_lag_time` out of the service for such a server, whose role is known \
                 without them; a missing right is granted to rolecall's user",
            ),
            Self::LagNotTold(Lack::Hidden) => Some("GRANT pg_read_all_stats to rolecall's user"),
            Self::KindUnknown => Some(
                "Patroni says it from 3.1 on, and not while the consensus store is lost; a service with the role \
                 `replica` takes every kind",
            ),
            Self::OtherTag(_) => Some(
                "none where it is another pool's; else correct `tags` in the member's patroni.yml and reload it",
            ),
            Self::StreamUnknown => Some(
                "Patroni says it from 3.0.4 on, PostgreSQL to a user with pg_read_all_stats; \
                 or leave `replication_state` out",
            ),
            Self::OldTimeline(_) => {
                Some("let it follow the primary: repmgr standby follow, or node rejoin")
            }
            Self::NodeUnknown => Some(
                "set `node_id` or `node_name` as its row in repmgr.nodes has them, or start repmgrd",
            ),
            Self::NotRegistered(_) => Some("register it: repmgr primary|standby register"),
            Self::OtherNode { .. } => {
                Some("correct `node_id` or `conninfo`: one of them is another node's")
            }
            Self::OwnRow { .. } => Some(
                "somebody promoted it by hand? once it is the only primary: repmgr primary register --force",
            ),
            Self::NoStandby { .. } => Some(
                "it is being rejoined? else: repmgr standby register --force, or start repmgrd",
            ),
            Self::UpstreamSilent(_) => {
                Some("see the standby's log and primary_conninfo; repmgr standby follow")
            }
            Self::NotStreaming => Some(
                "see the replica's log and primary_conninfo (repmgr standby follow); \
                 `replication_state = \"any\"` of the service takes it as it is",
            ),
            Self::ReplayPaused => Some("SELECT pg_wal_replay_resume()"),
            Self::ApplyDelay(_) => Some("a delayed standby is no place for reads; reset it"),
            Self::SeveralPrimaries => Some("see repmgr cluster show, and register the nodes again"),
            Self::NoMajority { .. } => {
                Some("see rolecall ask for each node's vote; bring lost nodes back, or rejoin them")
            }
            Self::NewerTimeline { .. } | Self::DeposedBy(_) | Self::Rival(_) => {
                Some("another node was promoted: make this one its standby with repmgr node rejoin")
            }
            Self::NotHolder => Some(
                "bring the consensus store back; where this node shall take writes, and no other does: \
                 rolecall ready --force, for as long as it needs",
            ),
            Self::NoLock | Self::ServesIn(_, Circumstance::Lockless) => {
                Some("bring the consensus store back, or end the pause: patronictl resume")
            }
            Self::Ordered(_) => {
                Some("rolecall status shows the order, rolecall auto takes it back")
            }
            Self::Stopping(_) => Some("`on_stop` of the service says so; start rolecall again"),
            Self::LagLimit => Some("see patronictl list, and what keeps replay back"),
            Self::ServesIn(_, Circumstance::Failsafe) => Some("bring the consensus store back"),
            Self::ServesIn(_, Circumstance::Unlocked) => Some(
                "patronictl list: where it answers and shows no leader, no member may become it (the tag \
                 nofailover, too much lag); where it does not, bring the consensus store back",
            ),
            Self::ServesIn(_, Circumstance::PendingRestart) => Some("patronictl restart"),
            Self::Stale => Some("no look has finished for longer than it may take: see the log"),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLookYet => f.write_str("no look has finished yet"),
            Self::Settling => f.write_str("the yes is too young to count"),
            Self::Serves(role) | Self::OtherRole(role) => write!(f, "is {role}"),
            Self::NoRole => f.write_str("serves no role now"),
            Self::Answers => f.write_str("the port answers"),
            Self::ServesIn(role, circumstance) => write!(f, "is {role}, {circumstance}"),
            Self::Ordered(ordered) => write!(f, "{ordered}"),
            Self::Stopping(word) => write!(f, "rolecall stops, on_stop is {}", word.as_str()),
            Self::NoLock => f.write_str("Patroni is paused, and no lock stands behind its word"),
            Self::NotHolder => f.write_str(
                "Patroni is paused, the consensus store is lost, and this node was not the leader while \
                 there was one",
            ),
            Self::LagLimit => f.write_str("is further behind than Patroni was asked for"),
            Self::NotLeader => f.write_str("does not hold the leader lock"),
            Self::NotRunning(state) => write!(f, "PostgreSQL is {state}"),
            Self::ReadOnly => f.write_str("default_transaction_read_only is on"),
            Self::NoLoadBalance => f.write_str("tagged noloadbalance"),
            Self::KindUnknown => {
                f.write_str("is a replica, and nobody knows now whether the primary waits for it")
            }
            Self::OtherTag(unmet) => unmet.fmt(f),
            Self::LagBytes(bytes) => write!(f, "{bytes} bytes behind"),
            Self::LagTime(time) => write!(f, "{:.1} s behind", time.as_secs_f64()),
            Self::LagUnknown => f.write_str("how far behind is unknown"),
            Self::LagNotTold(Lack::Part(said)) => {
                write!(f, "the server does not tell how far behind it is: {said}")
            }
            Self::LagNotTold(Lack::Hidden) => {
                f.write_str("this user is not shown how far behind it is")
            }
            Self::Stale => f.write_str("the last good look is too old"),
            Self::Failed(error) => write!(f, "{}: {error}", error.kind.label()),
            Self::OldTimeline(timeline) => {
                write!(f, "replays timeline {timeline}, which its primary has left")
            }
            Self::NodeUnknown => f.write_str("which repmgr node this is, is unknown"),
            Self::NotRegistered(who) => write!(f, "{who} is not in its own repmgr.nodes"),
            Self::Witness => f.write_str("is a witness"),
            Self::OtherNode { configured, told } => {
                write!(f, "configured as {configured}, but repmgrd says this is {told}")
            }
            Self::OwnRow { registered, active } => {
                let active = if *active { "active" } else { "inactive" };
                write!(f, "writable, but its own row says {active} {}", registered.as_str())
            }
            Self::NoStandby { registered, active } => {
                let active = if *active { "active" } else { "inactive" };
                write!(f, "in recovery, but its own row says {active} {}", registered.as_str())
            }
            Self::NotStreaming => f.write_str("its WAL receiver streams from nobody"),
            Self::StreamUnknown => f.write_str("whether it streams is unknown"),
            Self::UpstreamSilent(time) => {
                write!(f, "its upstream has said nothing for {:.1} s", time.as_secs_f64())
            }
            Self::ReplayPaused => f.write_str("replay is paused"),
            Self::ApplyDelay(time) => {
                write!(f, "recovery_min_apply_delay is {}", humantime::format_duration(*time))
            }
            Self::SeveralPrimaries => f.write_str("its own table names several primaries"),
            Self::NoMajority { votes, electors } => {
                write!(f, "no majority: {votes} of {electors} votes")
            }
            Self::NewerTimeline { node, timeline } => {
                write!(f, "{node} follows a newer timeline, {timeline}")
            }
            Self::DeposedBy(node) => write!(f, "{node} has it as a failed primary"),
            Self::Rival(node) => write!(f, "{node} says it is the primary, too"),
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
