//! The faults of HAProxy's versions that matter to agent checks.
//!
//! Seen by experiments on the versions that are named, or known by the change that mended them.

use crate::cli::haproxy::finding::{Finding, Mismatch};
use crate::cli::haproxy::told::{Server, Told, Version};
use crate::config::OLDEST;
use crate::verdict::reason::Alarm;

/// A fault, and the versions that have it.
struct Fault {
    has: fn(Version, Option<Day>) -> bool,
    what: &'static str,
    hint: &'static str,
    /// Whether a server shows that it is hit; only then it is an alarm.
    hit: fn(&Server) -> bool,
}

/// A day as year, month and day.
type Day = (u32, u32, u32);

/// The day on which the fault of `agent.health` was mended (7aec1e6d9), and the month after the one of 871dd8211.
const AGENT_HEALTH_MENDED: Day = (2026, 6, 30);
const DELAY_MENDED: Day = (2022, 9, 1);

const FAULTS: [Fault; 3] = [
    Fault {
        has: |(major, minor, _), released| {
            matches!((major, minor), (3, 3 | 4))
                && released.is_none_or(|day| day < AGENT_HEALTH_MENDED)
        },
        what: "leaves a server DOWN (agent) for ever after its first MAINT, if `agent-check` is on its `server` line",
        hint: "write `agent-check` into `default-server`, as haproxy/haproxy.cfg does, or upgrade HAProxy",
        hit: |server| server.is_down_by_no_word(),
    },
    Fault {
        has: |(major, minor, _), released| {
            (major, minor) == (2, 6) && released.is_some_and(|day| day < DELAY_MENDED)
        },
        what: "makes every agent check without agent-send 200 ms slower, and one with `agent-inter 200ms` or less never succeeds",
        hint: "let `agent-inter` be 500ms or more, or upgrade HAProxy",
        hit: |_| false,
    },
    Fault {
        // 2.6.12, 3.2.26 and 3.4.7 do not; of the others nobody knows.
        has: |version, _| version == (3, 0, 11),
        what: "forgets clients whose connection to a server is still being opened when that server is marked DOWN: they hang \
               until they give up themselves",
        hint: "give clients a time limit (libpq: connect_timeout)",
        hit: |_| false,
    },
];

/// What is known of this version, about these of its servers.
pub fn of(told: &Told, servers: &[&Server]) -> Vec<Finding> {
    let Some(version) = told.version else { return Vec::new() };
    let (major, minor, patch) = version;
    let shown = format!("HAProxy {major}.{minor}.{patch}");
    if (major, minor) < OLDEST {
        return vec![Finding {
            about: "HAProxy".to_owned(),
            kind: Mismatch::OldVersion,
            detail: format!(
                "{shown} is older than {}.{}, the oldest that rolecall is tested with",
                OLDEST.0, OLDEST.1
            ),
            hint: "upgrade HAProxy; docs/versions.md says what is tested".to_owned(),
            alarm: Some(Alarm::Warning),
        }];
    }
    let known = FAULTS.iter().filter(|fault| (fault.has)(version, told.released));
    let finding = |fault: &Fault| Finding {
        about: "HAProxy".to_owned(),
        kind: Mismatch::KnownFault,
        detail: format!("{shown} {}", fault.what),
        hint: fault.hint.to_owned(),
        alarm: servers.iter().any(|server| (fault.hit)(server)).then_some(Alarm::Warning),
    };
    known.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_of_the_versions_that_have_it_and_is_an_alarm_where_it_shows() {
        let hit = Server {
            status: "DOWN (agent)".to_owned(),
            agent_status: "CHECKED".to_owned(),
            ..Server::default()
        };
        for (version, released, wanted) in [
            ((2, 4, 22), None, Some((Mismatch::OldVersion, true, true))),
            ((2, 6, 2), Some((2022, 7, 22)), Some((Mismatch::KnownFault, false, false))),
            ((2, 6, 12), Some((2026, 10, 17)), None),
            ((3, 0, 11), Some((2026, 10, 15)), Some((Mismatch::KnownFault, false, false))),
            ((3, 2, 26), Some((2026, 10, 1)), None),
            ((3, 4, 0), Some((2026, 6, 3)), Some((Mismatch::KnownFault, false, true))),
            ((3, 4, 7), Some((2026, 10, 1)), None),
        ] {
            let told = Told { version: Some(version), released, ..Told::default() };
            for (servers, at) in [(vec![], 1), (vec![&hit], 2)] {
                let found = of(&told, &servers);
                let found: Vec<_> = found.iter().map(|it| (it.kind, it.alarm.is_some())).collect();
                let alarmed = |(kind, unhit, hit)| (kind, if at == 1 { unhit } else { hit });
                assert_eq!(
                    found,
                    wanted.map(alarmed).into_iter().collect::<Vec<_>>(),
                    "{version:?}"
                );
            }
        }
        assert!(of(&Told::default(), &[]).is_empty());
    }
}
