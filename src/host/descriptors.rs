//! How many file descriptors each part may take, out of what the process has.
//!
//! The kernel's limit (`RLIMIT_NOFILE`, `LimitNOFILE=` of the unit) is shared out once: a part for the
//! looks and the daemon's own files, whatever anybody does at its ports, and the rest for connections,
//! which make room for each other (`seats`) instead of failing.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// Questions of agent-send that are read at one time, at all ports together.
pub(crate) const ASKING: usize = 256;
/// Connections of the agent ports that have their line and are read to their end.
pub(crate) const LINGERING: usize = 256;
/// HTTP connections of those who may ask.
pub const HTTP: usize = 64;
/// HTTP connections of those who may not ask and are told so.
pub(crate) const STRANGERS: usize = 4;
/// Clients of the control socket; each has a thread while it is served.
pub const CLIENTS: usize = 8;
/// Kept for looks and for files of the daemon's own: every source looks over one connection at a time.
pub const LOOKS: usize = 256;
/// Open at start: standard streams, runtimes, signals, the log. Counted where the kernel tells.
const AT_START: usize = 32;

/// How many descriptors each part may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// See [`ASKING`].
    pub asking: usize,
    /// See [`LINGERING`].
    pub lingering: usize,
    /// See [`HTTP`].
    pub http: usize,
    /// See [`STRANGERS`].
    pub strangers: usize,
    /// See [`CLIENTS`].
    pub clients: usize,
}

impl Shares {
    /// Of what this process may open and has not opened yet.
    pub fn of_this_process() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let open = fs::read_dir("/proc/self/fd").map_or(AT_START, Iterator::count);
        Self::of(limit.saturating_sub(open))
    }

    /// Of so many that are free. Half of few is kept for looks.
    fn of(free: usize) -> Self {
        let rest = free.saturating_sub(LOOKS.min(free / 2));
        let all = ASKING + LINGERING + HTTP + STRANGERS + CLIENTS;
        let share = |whole: usize| {
            if rest >= all { whole } else { (whole * rest / all).max(1) }
        };
        Self {
            asking: share(ASKING),
            lingering: share(LINGERING),
            http: share(HTTP),
            strangers: share(STRANGERS),
            clients: share(CLIENTS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(of: Shares) -> usize {
        of.asking + of.lingering + of.http + of.strangers + of.clients
    }

    #[test]
    fn with_the_units_limit_every_part_has_all_of_its_own() {
        let unit = include_str!("../../packaging/systemd/rolecall.service");
        let limit = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")).unwrap();
        let shares = Shares::of(limit.parse::<usize>().unwrap() - AT_START);
        assert_eq!(sum(shares), ASKING + LINGERING + HTTP + STRANGERS + CLIENTS);
        assert_eq!(Shares::of(1024 - AT_START), shares, "a plain shell's limit is enough, too");
    }

    #[test]
    fn with_fewer_each_part_has_a_share_and_looks_keep_theirs() {
        for free in 0..2000 {
            let shares = Shares::of(free);
            // Each has one at least.
            assert!(sum(shares) <= free - LOOKS.min(free / 2) + 5, "{free}: {shares:?}");
            let least = shares.asking.min(shares.lingering).min(shares.http).min(shares.clients);
            assert!(least >= 1 && shares.strangers >= 1, "{free}: {shares:?}");
        }
    }
}
