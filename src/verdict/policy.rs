//! What a verdict is measured by: roles, limits, and how long facts may be used.

use std::time::Duration;

use crate::look::role::Role;
use crate::verdict::lock::Lock;
use crate::verdict::quorum::Electorate;

/// How the verdicts of one service about one node are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The roles that may serve.
    pub roles: Vec<Role>,
    /// How far behind a replica may be.
    pub lag: Option<LagLimit>,
    /// How long a yes must have been continuous before it counts.
    pub settle: Duration,
    /// How long each source's facts may be used, in the order of [`NodeFacts::sources`](crate::facts::NodeFacts::sources).
    pub trust: Vec<Trust>,
}

/// How long the facts of one source may be used, counted from when the look began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Once looks fail; zero: the first failed look ends it.
    pub hold: Duration,
    /// For repmgr: nobody chose `hold`, and the node's repmgr.conf may allow one.
    pub hold_by_repmgr: bool,
    /// Interval + timeout: the latest moment the next look can have finished.
    pub look: Duration,
    /// Whether the source can know how far behind a replica is; one that cannot is not asked.
    pub knows_lag: bool,
    /// For Patroni: what its lock is worth.
    pub lock: Option<Lock>,
    /// For repmgr: what makes its node the primary, instead of its own word.
    pub electorate: Option<Electorate>,
}

/// How far behind a replica may be before it serves no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagLimit {
    /// Most bytes behind, and the bytes under which a replica that was over them serves again.
    pub bytes: Option<Hysteresis>,
    /// Most time behind; one that was over it serves again at three quarters.
    pub time: Option<Duration>,
    /// What a replica over the limit is answered with.
    pub on_lag: OnLag,
}

/// A limit that is left at a lower mark, so that nothing flaps at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hysteresis {
    /// Over this it is too much.
    pub max: u64,
    /// At or under this it is enough again.
    pub resume: u64,
}

/// What a replica over its lag limit is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLag {
    /// Out of the pool, sessions are cut where HAProxy is told to.
    Maint,
    /// No new sessions, the old ones stay.
    Drain,
}
