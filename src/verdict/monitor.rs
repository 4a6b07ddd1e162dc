//! Rule M: whether a node of pg_auto_failover may serve, by what its monitor says of the whole group.
//!
//! `get_primary()` of the monitor means "primary or demoted" and names the condemned one for 30 s of every failover, and
//! the standby that is promoted is out of recovery 30 s before it may take writes. So neither is asked. A node may take
//! writes while **both states of its row take writes, its server runs by its keeper's word, the monitor vouches for
//! it, and no other row of its group is wanted to take writes**; it may take reads while both are `secondary`.
//!
//! What the monitor says against a node acts at once. Where it says nothing (it does not answer, its rows are old) the
//! last yes stands for `hold`, which ends before the monitor may let another node take writes
//! (`primary_demote_timeout`).
//!
//! Two more things are asked, which no row says alone. A name is used again once its node was dropped, so the server
//! must be on the timeline and of the system that its row reports. And no other node may have reported a newer timeline:
//! then this one was left behind, whatever a monitor says that was restored from a backup.

use std::fmt;
use std::sync::Arc;

use crate::look::auto_failover::{Monitored, NodeState, Row, Settled};
use crate::look::error::{ErrorKind, SourceError};
use crate::look::role::{Role, Timeline};

/// What speaks against a node by its monitor's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// The monitor has no row for the node.
    NoRow,
    /// Its row has not the states that it needs.
    State {
        /// What its keeper reported.
        reported: NodeState,
        /// What the monitor wants.
        goal: NodeState,
        /// The server takes writes all the same.
        writable: bool,
    },
    /// Its keeper reports that PostgreSQL does not run.
    NotRunning,
    /// Another node is wanted to take writes.
    Rival(Arc<str>),
    /// Another node reported a newer timeline than this server writes.
    NewerTimeline {
        /// The other node.
        node: Arc<str>,
        /// Its timeline.
        timeline: Timeline,
    },
    /// The row is about another server.
    OtherServer(Difference),
}

/// How the server differs from the one in its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// It writes another timeline.
    Timeline {
        /// As the row reports.
        reported: Timeline,
        /// As the server says.
        writes: Timeline,
    },
    /// It has another system identifier.
    System,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRow => f.write_str("the monitor has no row for this node"),
            Self::State { reported, goal, writable } => {
                let (reported, goal) = (reported.as_str(), goal.as_str());
                let writable = if *writable { ", but the server takes writes" } else { "" };
                write!(f, "the monitor has it as {reported} and wants it to be {goal}{writable}")
            }
            Self::NotRunning => {
                f.write_str("its keeper reported to the monitor that PostgreSQL does not run")
            }
            Self::Rival(node) => write!(f, "the monitor wants node {node} to take writes"),
            Self::NewerTimeline { node, timeline } => {
                write!(f, "node {node} reported a newer timeline ({timeline}) to the monitor")
            }
            Self::OtherServer(Difference::Timeline { reported, writes }) => write!(
                f,
                "the server writes timeline {writes}, but its row in the monitor is about one on \
                 timeline {reported}"
            ),
            Self::OtherServer(Difference::System) => {
                f.write_str("the server has another system identifier than its row in the monitor")
            }
        }
    }
}

impl Objection {
    /// What an operator can do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::NoRow => {
                "see pg_autoctl show state on the monitor: correct `node_name` or `node_id`, or \
                 `formation`; if the node was dropped, stop its PostgreSQL"
            }
            Self::State { writable: true, .. } => {
                "another node is being promoted, or was: do not let clients write here, stop this \
                 PostgreSQL, and let pg_autoctl run start it again"
            }
            Self::State { .. } => {
                "pg_autoctl show state on the monitor shows the group; the events say why \
                 (pg_autoctl show events)"
            }
            Self::NotRunning => "see the logs of pg_autoctl and PostgreSQL on the node",
            Self::Rival(_) | Self::NewerTimeline { .. } => {
                "stop this PostgreSQL, and let pg_autoctl run make it a standby of the other node"
            }
            Self::OtherServer(_) => {
                "correct `node_name`, `node_id` or `conninfo`, one of which belongs to another \
                 node; a name may have been used again after a node was dropped"
            }
        }
    }
}

/// What rule M says of a node beside the age of what it rests on.
///
/// `role` is what its own server is, `timeline` what that writes.
///
/// # Errors
/// What speaks against it.
pub fn objects(
    said: &Monitored,
    role: Role,
    timeline: Option<Timeline>,
    read_only: bool,
) -> Result<(), Objection> {
    let own = said.known.own().ok_or(Objection::NoRow)?;
    let wanted = if role == Role::Primary { Settled::Primary } else { Settled::Secondary };
    if own.settled() != Some(wanted) {
        let writable = role == Role::Primary && !read_only;
        return Err(Objection::State { reported: own.reported, goal: own.goal, writable });
    }
    if own.system.is_some_and(|system| system != said.system) {
        return Err(Objection::OtherServer(Difference::System));
    }
    if wanted == Settled::Secondary {
        return Ok(());
    }
    if !own.running {
        return Err(Objection::NotRunning);
    }
    let others = || said.known.rows.iter().filter(|row| row.id != own.id);
    if let Some(rival) = others().find(|row| row.goal.takes_writes()) {
        return Err(Objection::Rival(Arc::clone(&rival.name)));
    }
    if let Some(writes) = timeline.filter(|writes| *writes != own.timeline) {
        let reported = own.timeline;
        return Err(Objection::OtherServer(Difference::Timeline { reported, writes }));
    }
    let newer = |row: &&Row| row.timeline > own.timeline;
    match others().find(newer) {
        Some(row) => {
            Err(Objection::NewerTimeline { node: Arc::clone(&row.name), timeline: row.timeline })
        }
        None => Ok(()),
    }
}

/// Why nobody vouches for the node, where no look has said it: the monitor has not since its row settled.
pub(crate) fn unvouched(said: &Monitored) -> SourceError {
    said.lost.clone().unwrap_or_else(|| {
        SourceError::new(ErrorKind::MonitorOld, "the monitor has not vouched for the node yet")
    })
}
