//! One node and its sources, as configured.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::kind::Kind;
use crate::config::rhythm::{Rhythm, Timing};
use crate::reply::routes::Listen;
use crate::verdict::policy::Electorate;

/// One PostgreSQL server and where its role is learned; all sources must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name in logs and questions.
    pub name: String,
    /// The cluster it belongs to, where that is said.
    pub cluster: Option<String>,
    /// Never empty.
    pub sources: Vec<Source>,
    /// Where a service, by its name, is asked about this node alone.
    pub listen: BTreeMap<String, Vec<Listen>>,
}

/// One source: where it looks, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where the role is learned.
    pub kind: Kind,
    /// Time between the beginnings of two looks.
    pub interval: Duration,
    /// Time a whole look may take.
    pub timeout: Duration,
    /// How long the last yes stands once looks fail; zero: not at all.
    pub hold: Duration,
    /// Somebody chose that, so that for a leader of Patroni's the lease must not outlast it.
    pub hold_chosen: bool,
    /// What is added to `hold` until HAProxy has forgotten the last READY: timeout, interval and
    /// [`Haproxy::memory`](crate::config::Haproxy::memory).
    pub beside: Duration,
    /// How long an HAProxy may go on believing a word of a rolecall that hangs.
    pub memory: Duration,
}

impl Source {
    /// A source of this kind, looked at in these times.
    pub(crate) fn new(kind: Kind, times: Timing) -> Self {
        let Timing { rhythm: Rhythm { interval, timeout }, hold, hold_chosen, beside, memory } =
            times;
        Self { kind, interval, timeout, hold, hold_chosen, beside, memory }
    }

    /// How often it is looked at, and how long a look may take.
    pub fn rhythm(&self) -> Rhythm {
        Rhythm { interval: self.interval, timeout: self.timeout }
    }

    /// All its times.
    pub fn times(&self) -> Timing {
        let &Self { hold, hold_chosen, beside, memory, .. } = self;
        Timing { rhythm: self.rhythm(), hold, hold_chosen, beside, memory }
    }

    /// The rule by which its node is the primary, where that is not the node's own word.
    pub fn electorate(&self) -> Option<Electorate> {
        self.kind.settings().electorate(&self.times())
    }

    /// How long an answer of a repmgr node may be used, from the moment it was asked for.
    pub fn life(&self) -> Duration {
        self.rhythm().life()
    }
}
