//! What Patroni says of its cluster, of itself, and of the times of its lock.

use std::time::Duration;

/// What Patroni says of its cluster and of itself, beside role and state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that Patroni itself has")]
pub struct Patroni {
    /// `pause`: an operator told Patroni to change nothing.
    pub paused: bool,
    /// `cluster_unlocked`: nobody holds the leader lock, as far as this Patroni knows.
    pub unlocked: bool,
    /// `failsafe_mode_is_active`: the consensus store is lost, and all members agreed to go on.
    pub failsafe: bool,
    /// `pending_restart`: settings wait for a restart.
    pub pending_restart: bool,
    /// Whether the replica is further behind than the limit that was asked with. `None`: not asked.
    pub over_lag: Option<bool>,
    /// `dcs_last_seen`: when it last read the consensus store, in seconds since 1970 by its own clock. `None`
    /// before 2.1.2, and where it is no number.
    pub dcs_last_seen: Option<i64>,
    /// Major and minor number of its version; `None` where it says none.
    pub version: Option<(u16, u16)>,
    /// Its times, by `/config`. `None`: not known yet.
    pub times: Option<Times>,
}

impl Patroni {
    /// Whether no lock stands behind a leader's 200: paused, the store is lost and nobody agreed to
    /// anything. Two nodes can then say it (measured: 18 s, both taking writes).
    pub fn lockless(self) -> bool {
        self.paused && self.unlocked && !self.failsafe
    }
}

/// The times of a Patroni cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// For how long the store keeps a lock that is not renewed.
    pub ttl: Duration,
    /// Between two rounds of Patroni's loop.
    pub loop_wait: Duration,
    /// How long Patroni tries to reach the store or the server.
    pub retry_timeout: Duration,
}

impl Times {
    /// From a renewal of the lock to the earliest moment at which another node can have it, counted from a
    /// look of which nothing else is known than that Patroni was well.
    pub fn span(self) -> Duration {
        self.ttl.saturating_sub(self.loop_wait).saturating_sub(self.retry_timeout)
    }

    /// The longest that a lease can be, where HAProxy remembers a READY for `memory`.
    pub fn longest(self, memory: Duration) -> Duration {
        self.ttl.min(MOST_TTL).saturating_sub(memory + MARGIN)
    }
}

/// What `ZooKeeper` gives a session at most with its own defaults, whatever `ttl` asks for: 20 ticks of 2 s.
pub(crate) const MOST_TTL: Duration = Duration::from_secs(40);

/// For clocks that run at other speeds than the store's, and for the way of an answer.
pub const MARGIN: Duration = Duration::from_millis(500);
