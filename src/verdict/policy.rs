//! What a verdict is measured by: roles, limits, and how long facts may be used.

use std::time::Duration;

use crate::look::release::MARGIN;
use crate::look::role::Role;
use crate::look::tags::Tags;

/// How the verdicts of one service about one node are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The roles that may serve.
    pub roles: Vec<Role>,
    /// What is wanted of replicas beside their role.
    pub pool: Pool,
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
    /// Whether the source is PostgreSQL itself, which can know how far behind a replica is, and not what kind of
    /// replica it is; one that cannot is not asked.
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
    pub bytes: Option<Hysteresis<u64>>,
    /// The same of the time behind.
    pub time: Option<Hysteresis<Duration>>,
    /// What a replica over the limit is answered with.
    pub on_lag: OnLag,
}

/// A limit that is left at a lower mark, so that nothing flaps at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hysteresis<T> {
    /// Over this it is too much.
    pub max: T,
    /// At or under this it is enough again.
    pub resume: T,
}

impl<T: Copy> Hysteresis<T> {
    /// What may not be exceeded, by one that was over it or not.
    pub(crate) fn mark(self, was_over: bool) -> T {
        if was_over { self.resume } else { self.max }
    }
}

impl Hysteresis<u64> {
    /// The lower mark that nobody chose is three quarters.
    pub fn bytes(max: u64, resume: Option<u64>) -> Self {
        Self { max, resume: resume.unwrap_or(max - max / 4) }
    }
}

impl Hysteresis<Duration> {
    /// The same of a time, for which nobody can choose another one.
    pub fn time(max: Duration) -> Self {
        Self { max, resume: max / 4 * 3 }
    }
}

/// What a replica over its lag limit is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLag {
    /// Out of the pool, sessions are cut where HAProxy is told to.
    Maint,
    /// No new sessions, the old ones stay.
    Drain,
}

/// How Patroni's leader lock is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// No yes for a leader that no lock stands behind.
    pub required: bool,
    /// What is added to `hold` until HAProxy has forgotten the last READY: timeout, interval and what
    /// HAProxy remembers.
    pub beside: Duration,
    /// What HAProxy remembers.
    pub memory: Duration,
    /// Somebody chose a `hold`, which the lease must not outlast.
    pub chosen: bool,
}

/// What an operator chose for the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Electorate {
    /// How long an answer may be used, from the moment it was asked for:
    /// `max(interval + timeout, 2 x timeout) + 100 ms`.
    pub life: Duration,
    /// How long an HAProxy may go on believing a word of this rolecall: the other nodes are told, for
    /// theirs must settle for that long.
    pub memory: Duration,
    /// What a node says that has lost the only other voter.
    pub two_node: TwoNode,
    /// Whether a refused connection comes from the host itself: not so where a firewall answers
    /// with resets.
    pub trust_refused: bool,
}

impl Electorate {
    /// The least time for which a confirmation must have stood before it counts: longer than an answer
    /// lives here, and then a word in HAProxy.
    pub fn least_settle(&self) -> Duration {
        self.life + self.memory + MARGIN
    }
}

/// What a primary does where two nodes vote and the other one is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwoNode {
    /// Not ready: nobody writes until the other is back, and there are never two primaries.
    Maint,
    /// Ready: writes go on, and go on here too when the other one has been promoted.
    Ready,
}

/// Time between the end of what an isolated primary may still say and the earliest moment at which
/// repmgr promotes another: what clocks, repmgrd's own pace and a loaded host may take of it.
const BEFORE_FAILOVER: Duration = Duration::from_secs(5);

/// Longest hold that is chosen without being asked for: a silence that is longer is no hiccup.
const USUAL_HOLD: Duration = Duration::from_secs(15);

/// Least patience of repmgr with which a hold is chosen at all.
const FAILOVER_WITH_HOLD: Duration = Duration::from_secs(10);

/// Longest hold of a primary where repmgr waits this long: over, before it can have promoted another.
pub fn most_hold(failover_after: Duration) -> Duration {
    failover_after.saturating_sub(BEFORE_FAILOVER)
}

/// The hold that nobody chose.
pub(crate) fn usual_hold(failover_after: Duration) -> Duration {
    if failover_after < FAILOVER_WITH_HOLD {
        return Duration::ZERO;
    }
    most_hold(failover_after).min(USUAL_HOLD)
}

/// What a service wants of its replicas beside their role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pool {
    /// Patroni's tags, each with this value.
    pub tags: Tags,
    /// Whether they must stream.
    pub replication_state: ReplicationState,
}

/// What becomes of a replica whose WAL receiver streams from nobody, as in archive recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplicationState {
    /// Where Patroni or repmgr knows that there is somebody to stream from, it serves for [`BEARS`](crate::verdict::pool::BEARS) after it last
    /// streamed. One that Patroni's tag `nostream` keeps in archive recovery serves.
    #[default]
    Usual,
    /// It serves nobody.
    Streaming,
    /// It serves.
    Any,
}
