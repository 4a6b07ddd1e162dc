//! How often a source is looked at, and what follows from that for the life of an answer.

use std::time::Duration;

use crate::config::haproxy::Haproxy;

/// What scheduling may add to a time that safety rests on.
const MARGIN: Duration = Duration::from_millis(100);

/// How often a source is looked at, and how long a look may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Between the beginnings of two looks.
    pub interval: Duration,
    /// For one whole look.
    pub timeout: Duration,
}

impl Rhythm {
    /// The latest moment at which the next look can have finished, from the beginning of one.
    pub fn look(self) -> Duration {
        self.interval + self.timeout
    }

    /// How long an answer of a repmgr node may be used, from the moment it was asked for. Twice the
    /// timeout, because a peer that always takes most of it would lapse otherwise.
    pub fn life(self) -> Duration {
        self.look().max(2 * self.timeout) + MARGIN
    }

    /// Least time for which a yes must have been continuous: as long as any older answer can live
    /// in another daemon, and then in HAProxy.
    pub fn least_settle(self, haproxy: &Haproxy) -> Duration {
        self.life() + haproxy.memory() + MARGIN
    }
}

/// The times of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often it is looked at.
    pub rhythm: Rhythm,
    /// How long the last yes stands once looks fail.
    pub hold: Duration,
    /// Somebody chose that.
    pub hold_chosen: bool,
    /// What is added to `hold` until HAProxy has forgotten the last READY.
    pub beside: Duration,
    /// How long an HAProxy may go on believing a word of a rolecall that hangs.
    pub memory: Duration,
}
