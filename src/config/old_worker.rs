//! How long the worker that a reload of HAProxy leaves behind may keep its sessions.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::look::measure;

/// Longest that is printed: who has not moved by then will not.
const LONGEST: Duration = Duration::from_secs(30);

/// What HAProxy, the new worker's start and the clocks may add.
const MARGIN: Duration = Duration::from_secs(1);

/// When such a worker must have ended, and why then.
///
/// It runs no checks, so that no answer of rolecall cuts its sessions: on real clusters they wrote on
/// to an old primary that was cut off after the reload, until `hard-stop-after` ended them. They must
/// end before another node can be READY for writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldWorker {
    /// How soon another node can be READY, counted from a moment when this one was well.
    pub successor: Duration,
    /// Whether the configuration says it; else it is the least of the usual values.
    pub known: bool,
}

impl OldWorker {
    /// `hard-stop-after`, in whole seconds.
    fn ends(self) -> Duration {
        let ends = self.successor.saturating_sub(MARGIN).min(LONGEST).as_secs();
        Duration::from_secs(ends.max(1))
    }
}

impl fmt::Display for OldWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.known {
            let at = measure::time(self.successor);
            writeln!(
                f,
                "    # Here: failover_after and settle of rolecall's configuration, {at}."
            )?;
        } else {
            f.write_str(
                "    # rolecall cannot see here when that is: with Patroni's own times after ttl \
                 - loop_wait -\n    # retry_timeout, 10 s; with repmgr after (reconnect_attempts \
                 - 1) x reconnect_interval and\n    # rolecall's settle. Shorter where yours is.\n",
            )?;
        }
        writeln!(f, "    hard-stop-after {}s", self.ends().as_secs())?;
        f.write_char('\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(successor: u64, known: bool) -> String {
        OldWorker { successor: Duration::from_millis(successor), known }.to_string()
    }

    #[test]
    fn it_ends_before_another_node_can_be_ready() {
        for (successor, ends) in
            [(54_300, 30), (31_000, 30), (24_300, 23), (10_000, 9), (6300, 5), (1999, 1), (0, 1)]
        {
            let said = printed(successor, true);
            assert!(said.ends_with(&format!("hard-stop-after {ends}s\n\n")), "{said}");
        }
        assert!(printed(24_300, true).contains("settle of rolecall's configuration, 24.3 s."));
        assert!(printed(10_000, false).contains("rolecall cannot see here when that is"));
    }
}
