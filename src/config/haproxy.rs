//! What rolecall is told of HAProxy, and for how long HAProxy remembers what it was last told.

use std::path::PathBuf;
use std::time::Duration;

/// The oldest HAProxy that configurations are written for.
pub const OLDEST: (u32, u32) = (2, 6);

/// Where a HAProxy on this host has its stats socket, unless the operator says otherwise: as Debian's packages and
/// the files in haproxy/ have it.
pub const USUAL_SOCKET: &str = "/run/haproxy/admin.sock";

/// What rolecall cannot see of HAProxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Haproxy {
    /// `agent-inter`, and the interval of the companion health check.
    pub agent_inter: Duration,
    /// `fall` of the companion health check.
    pub check_fall: u32,
    /// `timeout check`: how long both checks wait for the answer.
    pub check_timeout: Duration,
    /// HAProxy's version as `MAJOR.MINOR`.
    pub version: (u32, u32),
    /// The stats socket of a HAProxy on this host, for `rolecall status --haproxy`.
    pub socket: PathBuf,
}

impl Haproxy {
    /// Longest time that a check of a rolecall which hangs takes: `timeout check`, or `agent_inter`
    /// where that is longer.
    ///
    /// HAProxy gives a connection that nobody takes `inter`, in every version (2.6.12, 3.0.11 and
    /// 3.4.7: `L4TOUT` after it), and 2.6 cuts a silent answer no sooner than that either, though
    /// `timeout check` is shorter. Its commit 7c788f098, in 3.3, mends the second alone.
    fn check_lasts(&self) -> Duration {
        self.check_timeout.max(self.agent_inter)
    }

    /// Longest time for which HAProxy goes on believing a READY once the rolecall that said it hangs,
    /// dies, or cannot be reached any more.
    ///
    /// A failed agent check changes nothing, so the companion check has to fail `check_fall` times.
    /// HAProxy waits `inter` from the end of one check to the beginning of the next. In the worst case
    /// one has begun, and was answered, just before the end: its answer takes effect at most a check
    /// later, and then come `check_fall` rounds of waiting and failing. tests/haproxy measures it.
    pub fn memory(&self) -> Duration {
        let check = self.check_lasts();
        check + (self.agent_inter + check) * self.check_fall
    }
}
