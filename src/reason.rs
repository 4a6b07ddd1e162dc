//! Why a verdict is what it is: the text of the log and the label of a metric are the same value.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::observation::{ErrorKind, SourceError};
use crate::role::Role;

/// Why a verdict is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The node has a role that is asked for, and nothing speaks against it.
    Serves(Role),
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
    /// More bytes behind than allowed.
    LagBytes(u64),
    /// Longer behind than allowed.
    LagTime(Duration),
    /// A limit is set and how far behind the replica is cannot be known.
    LagUnknown,
    /// The last good look is older than it may be: the poller hangs, or the host slept.
    Stale,
    /// The last look failed.
    Failed(SourceError),
}

impl Reason {
    /// The word for this reason in logs and metrics; never changes once released.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Serves(_) => "serves",
            Self::NoLookYet => "no_look_yet",
            Self::Settling => "settling",
            Self::OtherRole(_) => "other_role",
            Self::NoRole => "no_role",
            Self::NotLeader => "not_leader",
            Self::NotRunning(_) => "not_running",
            Self::ReadOnly => "read_only",
            Self::NoLoadBalance => "no_load_balance",
            Self::LagBytes(_) => "lag_bytes",
            Self::LagTime(_) => "lag_time",
            Self::LagUnknown => "lag_unknown",
            Self::Stale => "stale",
            Self::Failed(error) => error.kind.label(),
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
                "the WAL receiver is not streaming, or rolecall may not see it: GRANT pg_read_all_stats",
            ),
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
            Self::NotLeader => f.write_str("does not hold the leader lock"),
            Self::NotRunning(state) => write!(f, "PostgreSQL is {state}"),
            Self::ReadOnly => f.write_str("default_transaction_read_only is on"),
            Self::NoLoadBalance => f.write_str("tagged noloadbalance"),
            Self::LagBytes(bytes) => write!(f, "{bytes} bytes behind"),
            Self::LagTime(time) => write!(f, "{:.1} s behind", time.as_secs_f64()),
            Self::LagUnknown => f.write_str("how far behind is unknown"),
            Self::Stale => f.write_str("the last good look is too old"),
            Self::Failed(error) => write!(f, "{}: {error}", error.kind.label()),
        }
    }
}
