//! Why a look showed nothing.

use std::fmt;
use std::sync::Arc;

use crate::look::text;

/// Why a look showed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// What kind of failure; its label is frozen.
    pub kind: ErrorKind,
    /// What exactly happened, for a person: on one line, and bounded; holds no secret.
    pub detail: Arc<str>,
}

/// Bytes of an error's particulars, which servers write as well.
pub const MOST_DETAIL: usize = 512;

impl SourceError {
    /// An error of this kind with its particulars.
    pub fn new(kind: ErrorKind, detail: impl fmt::Display) -> Self {
        Self { kind, detail: text::plain(&detail.to_string(), MOST_DETAIL).into() }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for SourceError {}

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident => $label:literal, $hint:literal;)*) => {
        /// The kinds of failure of a look. Labels never change once released: logs and alerts rest on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $($(#[$doc])* $kind,)* }

        impl ErrorKind {
            /// Every kind, in the order of the manual.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The word for this kind in logs and metrics.
            pub fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)* }
            }

            /// What an operator can do about it.
            pub fn hint(self) -> &'static str {
                match self { $(Self::$kind => $hint,)* }
            }
        }
    };
}

error_kinds! {
    /// The look was not finished within the source's `timeout`.
    Timeout => "timeout", "check that PostgreSQL responds (Patroni's REST API waits for it) and \
                           how busy the host is; if not even a connection was made, check the \
                           network and the firewall. The source's `timeout` sets the limit";
    /// Nothing listens where the source was asked (Patroni's REST API, not PostgreSQL).
    Refused => "refused", "check that Patroni runs (systemctl status patroni), and that `url` is \
                           the restapi.listen of its patroni.yml";
    /// PostgreSQL itself refused the connection: nobody listens there. This is evidence, a no at once.
    ServerDown => "server_down", "start PostgreSQL, or correct host and port in `conninfo`: ss \
                                  -ltn shows the ports in use, SHOW unix_socket_directories the \
                                  directory of the socket";
    /// Nobody listens at the port that clients reach. This is evidence, a no at once.
    PortRefused => "port_refused", "with Patroni, see whether Patroni runs (systemctl status \
                                    patroni, patronictl list): Patroni starts PostgreSQL, so do \
                                    not start that by hand. Without Patroni, start PostgreSQL, or \
                                    the pooler in front of it. If clients use another address, \
                                    correct `address` of the source `tcp` or `postgres_address` \
                                    of the source `patroni`";
    /// No route, network down, or the connection broke off.
    Unreachable => "unreachable", "check the network and the firewall between this host and the \
                                   server";
    /// The host's name has no address.
    Unresolved => "unresolved", "check the host name and the resolver (getent ahosts NAME); until \
                                 then rolecall uses the last known addresses, if there are any";
    /// The TLS handshake or the certificate failed.
    Tls => "tls", "check `sslmode`, `sslrootcert` and the certificate's name and dates";
    /// The server does not accept this user or this password.
    Denied => "denied", "the message says what is missing: user, password (`passfile`, \
                         `password_credential`), database, or a line in the server's pg_hba.conf; \
                         the server's log has the details";
    /// The server did not prove who it is, or asked for the password in a way that gives it away.
    Unproven => "unproven", "use scram-sha-256 for this user in the server's pg_hba.conf, or set \
                             sslmode=verify-full and sslrootcert in `conninfo`; if another method \
                             is intended, list it in `require_auth` of `conninfo`, for example \
                             require_auth=none,scram-sha-256 for `trust`";
    /// The server lives and takes no connection now (SQLSTATE 57P03: starting, stopping, recovering).
    NotAccepting => "not_accepting", "wait until the server has started or stopped, and see its \
                                      log";
    /// The server lives and all its connection slots are taken (SQLSTATE 53300).
    SlotsFull => "slots_full", "the message says which limit is reached: max_connections (raise \
                                it, or grant the role pg_use_reserved_connections), or the \
                                CONNECTION LIMIT of the role or the database; pg_stat_activity \
                                shows who uses the connections";
    /// A pooler stands between: what answers may be another server than the one that is meant.
    Pooler => "pooler", "let `conninfo` point to PostgreSQL itself: its own port or socket, not \
                         PgBouncer or another pooler";
    /// Another host of the same `conninfo` leads to another server than the first one.
    OtherServer => "other_server", "the hosts of one `conninfo` must be addresses of one server, \
                                    and the first host decides which one: give each server a \
                                    source of its own; if the server was only restarted, wait \
                                    until the first host answers";
    /// The server answered a query with another error.
    Query => "query", "see the SQLSTATE in the message and the server's log";
    /// The user may not read what a look needs (SQLSTATE 42501).
    Grant => "grant", "the message says what is missing: grant it on the primary, and on the \
                       witness too, which has its own roles";
    /// The database holds no repmgr, or one that is too old.
    NotRepmgr => "not_repmgr", "correct `dbname` in `conninfo`: the `conninfo` in repmgr.conf \
                                names the database that has the extension repmgr";
    /// `repmgr.nodes` is empty.
    NoNodes => "no_nodes", "register the nodes with repmgr, the primary first; on a witness run \
                            repmgr witness register";
    /// The HTTP status is neither 200 nor 503.
    Status => "status", "check that `url` points to Patroni's REST API and not to a proxy";
    /// Patroni said 503, which is no leader's answer, and nothing that can be read.
    NoBody => "no_body", "see Patroni's log: it answered 503 without the usual JSON";
    /// Patroni said 503 because it has just started: it has not judged yet whether the lock is its own.
    LockUnread => "lock_unread", "wait for the first round of Patroni's loop, and see its log";
    /// Patroni said 200, and its loop makes no rounds: nobody renews the lock.
    LoopHangs => "loop_hangs", "see Patroni's log and what its host waits for (disk, DNS); restart Patroni if it does not go on";
    /// The TLS handshake with Patroni failed.
    PatroniTls => "patroni_tls", "check `ca_file`, `server_name`, `cert_file` and `key_file`, and the certificates' names and dates";
    /// One side speaks TLS and the other does not.
    Mismatch => "tls_mismatch", "use `https` in `url` if Patroni has a certificate \
                                 (restapi.certfile), otherwise `http`";
    /// The answer is not of the expected form.
    Malformed => "malformed", "check that this is the right server, and that docs/versions.md \
                               lists its version";
    /// The answer is longer than rolecall reads.
    TooLong => "too_long", "check that this is the right server: its answer is longer than \
                            rolecall reads";
    /// The command could not be started, or ended in a way its contract does not know.
    Command => "command", "run the command by hand as rolecall's user";
    /// Nobody listens where the monitor of pg_auto_failover was asked: it decides nothing, and the nodes go on without it.
    NoMonitor => "no_monitor", "start the monitor (pg_autoctl run there), or correct host and port in \
                                `monitor`; a cluster without its monitor has no failover";
    /// The database that was asked for pg_auto_failover's monitor has no function for rolecall, or it is closed to this user.
    NotMonitor => "not_monitor", "let `monitor` name the monitor's database (pg_auto_failover), and \
                                  run packaging/sql/pg_auto_failover.sql there";
    /// The monitor of pg_auto_failover answers, and what it knows of the node is old.
    MonitorOld => "monitor_old", "see whether pg_autoctl runs on this node and reaches the monitor, \
                                  and whether `monitor` is the one that the keepers report to \
                                  (pg_autoctl show uri)";
    /// Only the rolecall beside a server may do this, and this one is not.
    Elsewhere => "elsewhere", "`[fence]` works only on the host of its server: the source and the \
                               `conninfo` of [fence] must point to this host";
    /// A password or certificate file could not be read.
    Credential => "credential", "check that the file exists and that rolecall's user may read it";
}

impl ErrorKind {
    /// Whether this failure is evidence against the node rather than missing evidence.
    pub fn is_contrary(self) -> bool {
        matches!(self, Self::ServerDown | Self::PortRefused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_words_and_every_kind_has_a_hint() {
        let mut labels: Vec<_> = ErrorKind::ALL.iter().map(|k| k.label()).collect();
        for label in &labels {
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{label}");
        }
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ErrorKind::ALL.len());
        assert!(ErrorKind::ALL.iter().all(|k| !k.hint().is_empty()));
    }

    #[test]
    fn only_a_refused_connection_is_evidence() {
        let contrary: Vec<_> = ErrorKind::ALL.iter().filter(|k| k.is_contrary()).collect();
        assert_eq!(contrary, [&ErrorKind::ServerDown, &ErrorKind::PortRefused]);
    }
}
