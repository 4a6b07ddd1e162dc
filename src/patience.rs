//! Whether `failover_after` promises more patience than repmgr has, where this host's repmgr.conf says so.
//!
//! repmgrd sleeps between its attempts only, so that attempts x interval is one interval too long. The
//! shorter of the two bounds `hold` in any case; this is for telling an operator.

use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use humantime::format_duration;
use tokio::time::timeout;

use crate::config::{Config, Kind, Source};
use crate::observation::Observation;
use crate::quorum;
use crate::source::RoleSource as _;
use crate::source::repmgr::Repmgr;
use crate::source::resolve::Resolver;

/// Longest wait for one server: who checks a file waits for it.
const WITHIN: Duration = Duration::from_secs(1);

/// What an operator can do about it.
pub const HINT: &str = "repmgrd sleeps between its attempts only: set `failover_after` to \
                        (reconnect_attempts - 1) x reconnect_interval, the least of all nodes'";

/// A `failover_after` that is longer than the own node's repmgr.conf allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrated {
    chosen: Duration,
    waits: Duration,
}

impl Overrated {
    /// What is wrong with the `failover_after` of a source, by what a look at its server showed.
    pub fn of(source: &Source, seen: &Observation) -> Option<Self> {
        let Kind::Repmgr(repmgr) = &source.kind else { return None };
        let chosen = repmgr.failover_after?;
        let waits = seen.repmgr.as_ref()?.failover_after?;
        (chosen > waits).then_some(Self { chosen, waits })
    }
}

impl fmt::Display for Overrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`failover_after` is {}, and by this node's repmgr.conf repmgr waits {}, which counts: a \
             primary is held for {} at most",
            format_duration(self.chosen),
            format_duration(self.waits),
            format_duration(quorum::most_hold(self.waits))
        )
    }
}

/// The same of every source of a configuration whose server answers now, each with its node.
pub async fn overrated(config: &Config) -> Vec<(String, Overrated)> {
    let sources =
        config.nodes.iter().flat_map(|node| node.sources.iter().map(move |of| (node, of)));
    let asked = sources.map(async |(node, source)| {
        let Kind::Repmgr(repmgr) = &source.kind else { return None };
        if repmgr.failover_after.is_none() || !repmgr.server.conninfo.place.is_here() {
            return None;
        }
        let mut own = Repmgr::new(repmgr, WITHIN, Resolver::system()).ok()?;
        let seen = timeout(WITHIN, own.observe()).await.ok()?.ok()?;
        Some((node.name.clone(), Overrated::of(source, &seen)?))
    });
    join_all(asked).await.into_iter().flatten().collect()
}
