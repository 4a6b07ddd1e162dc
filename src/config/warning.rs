//! What a configuration may say and will still surprise somebody, in words. `config/review.rs` finds it.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::exposure::{Exposure, OpenFile};
use crate::look::measure;
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
                "use kind = \"patroni\" or kind = \"repmgr\" if the cluster has one of them, \
                 instead of this source or as a second one"
            }
            Self::NoFailoverAfter => {
                "set `failover_after` to (reconnect_attempts - 1) x reconnect_interval of repmgr, \
                 using the lowest values of all nodes"
            }
            Self::NoRelease => {
                "put the same secret of at least 16 bytes into a file on every data node, set \
                 `release_key_file` to it, and let [http] listen where the other nodes reach it"
            }
            Self::ReleaseUnheard => {
                "let [http] listen on their `release_port` at an address that the other nodes \
                 reach, and add their addresses to its `allow`"
            }
            Self::StaticRole => "use another kind of source if the role can change",
            Self::ShortFall { .. } => {
                "raise `fall` or `inter` of HAProxy's health check, and set check_fall and \
                 agent_inter of [haproxy] to the same values"
            }
            Self::ShortMemory { .. } => "raise `hold`, or lower `timeout`",
            Self::LongHold { .. } => {
                "remove `hold`, so that the leader lock alone decides; keep it only if Patroni's \
                 ttl is longer than 30 s"
            }
            Self::AgentSend => {
                "put agent-send on every server line that has an agent-check, or give every \
                 service and node a `listen` of its own"
            }
            Self::OpenQuestions { .. } => "list HAProxy's networks in `allow`",
            Self::LastWord { .. } => {
                "remove `on_stop` unless the node must be out of service while its rolecall is \
                 stopped; to take a node out, use `rolecall maint`"
            }
            Self::ShortLastWord { .. } => {
                "lower `agent-inter` in HAProxy, and set agent_inter of [haproxy] to the same \
                 value; `stop_for` cannot be longer"
            }
            Self::Network(exposure) => exposure.hint,
            Self::OpenFile(_) => {
                "let only rolecall's user read the file: chown root:rolecall and chmod 0640; a \
                 passfile: chown rolecall and chmod 0600"
            }
            Self::PasswordInArguments => {
                "put the password into a file: passfile=FILE in the connection string, with one \
                 line for each host"
            }
            Self::Environment(_) => "put the value into `conninfo`, or unset the variable",
            Self::NoFile { .. } => "create the file, or correct the path",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PostgresAlone => f.write_str(
                "a source of kind `postgres` alone cannot tell an old primary that came back from \
                 the primary that was promoted",
            ),
            Self::NoFailoverAfter => f.write_str(
                "a source of kind `repmgr` without `failover_after` has `hold` 0 s: a single \
                 failed poll takes the primary out of service",
            ),
            Self::NoRelease => f.write_str(
                "a source of kind `repmgr` without `release_key_file`: rolecall cannot verify \
                 what the rolecall of another node says, so after a crash of the old primary the \
                 new one waits for `settle`",
            ),
            Self::ReleaseUnheard => f.write_str(
                "`release_key_file` is set, but no other node's rolecall can reach this one to \
                 ask it to give way",
            ),
            Self::StaticRole => {
                f.write_str("a source of kind `static` polls nothing: its role never changes")
            }
            Self::ShortFall { span } => write!(
                f,
                "agent_inter x check_fall is {}, but a restart of rolecall may take {}: HAProxy \
                 would take the server DOWN during the restart",
                measure::time(*span),
                measure::time(RESTART)
            ),
            Self::ShortMemory { kind, memory, timeout } => write!(
                f,
                "source {kind}: a positive result is used for {}, but with polls of up to {} the \
                 next one may come later: slow answers would switch the node between READY and \
                 MAINT",
                measure::time(*memory),
                measure::time(*timeout)
            ),
            Self::LongHold { hold, most } => write!(
                f,
                "source patroni: `hold` is {}, but with Patroni's default times the leader lock \
                 is proven to be held for at most {}",
                measure::time(*hold),
                measure::time(*most)
            ),
            Self::AgentSend => f.write_str(
                "agent_send: one agent-send in an HAProxy delays each of its agent checks without \
                 agent-send by 200 ms; with agent-inter 200ms or less such a check never succeeds",
            ),
            Self::OpenQuestions { service } => write!(
                f,
                "service {service}: agent_send without `allow`: anybody who reaches the port can \
                 send questions, and HAProxy's agent checks wait behind them"
            ),
            Self::LastWord { service, word: Word::Maint } => write!(
                f,
                "service {service}: with `on_stop = \"maint\"` each restart or upgrade of \
                 rolecall takes the node out of service and closes its sessions"
            ),
            Self::LastWord { service, word: Word::Drain } => write!(
                f,
                "service {service}: with `on_stop = \"drain\"` each restart or upgrade of \
                 rolecall refuses new sessions, and closes the others if HAProxy's health check \
                 does not accept DRAIN"
            ),
            Self::ShortLastWord { service, lasts, inter } => write!(
                f,
                "service {service}: the answer of `on_stop` is given for {}, which is less than 2 \
                 x agent_inter ({}): HAProxy asks every {} and may miss it",
                measure::time(*lasts),
                measure::time(*inter * LAST_ASKS),
                measure::time(*inter)
            ),
            Self::Network(exposure) => exposure.fmt(f),
            Self::OpenFile(file) => file.fmt(f),
            Self::PasswordInArguments => f.write_str(
                "--conninfo contains a password, which every user of this host can read with `ps`",
            ),
            Self::Environment(names) => write!(
                f,
                "{} in the environment: psql uses it, and rolecall does not",
                names.join(", ")
            ),
            Self::NoFile { key, path } => write!(f, "{key}: {} does not exist", path.display()),
        }
    }
}
