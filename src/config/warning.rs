//! What a configuration may say and will still surprise somebody, in words. `config/review.rs` finds it.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use humantime::format_duration;

use crate::config::exposure::{Exposure, OpenFile};
use crate::verdict::last_word::LAST_ASKS;
use crate::verdict::state::Word;

/// Longest restart of rolecall that HAProxy's companion check must sit out: the daemon itself needs
/// a fraction of it, a busy host the rest.
pub(crate) const RESTART: Duration = Duration::from_secs(1);

/// Something to be said once, at start and by `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// PostgreSQL itself knows no rival: an old primary that returns is not in recovery either.
    PostgresAlone,
    /// repmgr's own patience is not known, so none can be had with a primary that is silent.
    NoFailoverAfter,
    /// No rolecall of another node can prove that it gives way, so every failover settles.
    NoRelease,
    /// The rolecalls of the other nodes are asked to give way, and this one cannot be.
    ReleaseUnheard,
    /// Nothing is looked at.
    StaticRole,
    /// HAProxy takes the server DOWN while rolecall restarts.
    ShortFall {
        /// `agent_inter` x `check_fall`.
        span: Duration,
    },
    /// Looks that succeed slowly let the verdict lapse between two of them.
    ShortMemory {
        /// The kind of the source.
        kind: &'static str,
        /// max(hold, interval + timeout).
        memory: Duration,
        /// Its timeout.
        timeout: Duration,
    },
    /// No lock of Patroni's is held for that long.
    LongHold {
        /// `hold`
        hold: Duration,
        /// The longest lease there is with Patroni's own times.
        most: Duration,
    },
    /// One agent-send delays the agent checks without one.
    AgentSend,
    /// Whoever reaches the port can keep rolecall reading.
    OpenQuestions {
        /// The service.
        service: String,
    },
    /// A restart of rolecall is not invisible.
    LastWord {
        /// The service.
        service: String,
        /// What it says while rolecall stops.
        word: Word,
    },
    /// The last word is said for less time than HAProxy needs to hear it for certain.
    ShortLastWord {
        /// The service.
        service: String,
        /// For how long it is said.
        lasts: Duration,
        /// `agent_inter`
        inter: Duration,
    },
    /// What an unverified network may do to a source.
    Network(Exposure),
    /// Others may read a file with a secret.
    OpenFile(OpenFile),
    /// Others may read the command line, and a password stands in it.
    PasswordInArguments,
    /// What libpq would take from the environment, and rolecall does not.
    Environment(Vec<&'static str>),
    /// A file that is named is not there.
    NoFile {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
}

impl Warning {
    /// Of a file that is named and not there. It may come later; one that is there and cannot be seen by this user
    /// is not missing.
    pub(crate) fn of_missing(key: &'static str, path: &Path) -> Option<Self> {
        let missing = std::fs::metadata(path).is_err_and(|e| e.kind() == ErrorKind::NotFound);
        missing.then(|| Self::NoFile { key, path: path.to_owned() })
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::PostgresAlone => {
                "let Patroni or repmgr, where there is one, be the source or a second one"
            }
            Self::NoFailoverAfter => {
                "set it to repmgr's (reconnect_attempts - 1) x reconnect_interval, the least of all nodes'"
            }
            Self::NoRelease => {
                "put one secret of 16 bytes or more into a file on every data node, name it by \
                 `release_key_file`, and let [http] listen where the other nodes reach it"
            }
            Self::ReleaseUnheard => {
                "let [http] listen at an address that the other nodes reach, at their `release_port`, \
                 and name them in its `allow`"
            }
            Self::StaticRole => "use another kind of source where the role can change",
            Self::ShortFall { .. } => {
                "raise `fall` or `inter` of HAProxy's health check, and tell it to [haproxy]"
            }
            Self::ShortMemory { .. } => "raise `hold`, or lower `timeout`",
            Self::LongHold { .. } => {
                "leave `hold` out, then the lock alone decides; or is Patroni's ttl larger?"
            }
            Self::AgentSend => {
                "put agent-send on every server line that has an agent-check, or give every question \
                 a `listen` of its own"
            }
            Self::OpenQuestions { .. } => "name the networks of HAProxy in its `allow`",
            Self::LastWord { .. } => {
                "leave `on_stop` out unless a node shall serve nobody while its rolecall is stopped; \
                 `rolecall maint` takes a node out, too"
            }
            Self::ShortLastWord { .. } => {
                "lower `agent-inter` of HAProxy, and tell it to [haproxy]; it cannot be said for longer"
            }
            Self::Network(exposure) => exposure.hint,
            Self::OpenFile(_) => {
                "let rolecall's user alone read it: chown it to root:rolecall with chmod 0640, a passfile to \
                 rolecall with chmod 0600"
            }
            Self::PasswordInArguments => {
                "name a file with it: passfile=FILE in the connection string, with lines for each host"
            }
            Self::Environment(_) => "write what it says into `conninfo`, or unset it",
            Self::NoFile { .. } => "make it, or correct the path",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PostgresAlone => f.write_str(
                "a source of kind `postgres` alone cannot tell a returned old primary from the \
                 one that was promoted",
            ),
            Self::NoFailoverAfter => f.write_str(
                "a source of kind `repmgr` without `failover_after` has `hold` 0s: one look that \
                 fails takes the primary out",
            ),
            Self::NoRelease => f.write_str(
                "a source of kind `repmgr` without `release_key_file`: nothing that another node's \
                 rolecall says is proven, so a new primary waits for `settle` after a crash of the old one",
            ),
            Self::ReleaseUnheard => f.write_str(
                "`release_key_file` is set, and no rolecall of another node can ask this one to give way",
            ),
            Self::StaticRole => f.write_str("a source of kind `static` looks at nothing"),
            Self::ShortFall { span } => write!(
                f,
                "agent_inter x check_fall is {}: HAProxy takes the server down while rolecall \
                 restarts, which may take {}",
                format_duration(*span),
                format_duration(RESTART)
            ),
            Self::ShortMemory { kind, memory, timeout } => write!(
                f,
                "source {kind}: a yes is remembered for {}, and two looks of up to {} may lie \
                 between it and the next: slow answers make the verdict flap",
                format_duration(*memory),
                format_duration(*timeout)
            ),
            Self::LongHold { hold, most } => write!(
                f,
                "source patroni: hold is {}, and with Patroni's defaults its lock is proven to be held for \
                 {} at most",
                format_duration(*hold),
                format_duration(*most)
            ),
            Self::AgentSend => f.write_str(
                "agent_send: one agent-send in a HAProxy slows every agent check without one by \
                 200 ms, and at agent-inter 200ms or less such a check never succeeds",
            ),
            Self::OpenQuestions { service } => write!(
                f,
                "service {service}: agent_send without `allow`: whoever reaches its port may have questions \
                 read, and HAProxy's wait in the same row"
            ),
            Self::LastWord { service, word: Word::Maint } => write!(
                f,
                "service {service}: with `on_stop = \"maint\"` each restart and upgrade of rolecall takes \
                 the node out and cuts its sessions"
            ),
            Self::LastWord { service, word: Word::Drain } => write!(
                f,
                "service {service}: with `on_stop = \"drain\"` each restart and upgrade of rolecall turns new \
                 sessions away, and cuts the others where HAProxy's health check does not let DRAIN pass"
            ),
            Self::ShortLastWord { service, lasts, inter } => write!(
                f,
                "service {service}: what `on_stop` says is said for {}, less than 2 x agent_inter, which is \
                 {}: HAProxy asks every {} and may not hear it",
                format_duration(*lasts),
                format_duration(*inter * LAST_ASKS),
                format_duration(*inter)
            ),
            Self::Network(exposure) => exposure.fmt(f),
            Self::OpenFile(file) => file.fmt(f),
            Self::PasswordInArguments => f.write_str(
                "--conninfo holds a password, and every user of this host may read it there (`ps`)",
            ),
            Self::Environment(names) => write!(
                f,
                "{} in the environment: psql would go by it, and rolecall does not",
                names.join(", ")
            ),
            Self::NoFile { key, path } => write!(f, "{key}: {} is not there", path.display()),
        }
    }
}
