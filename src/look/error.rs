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
    Timeout => "timeout", "look at the server's load and at what lies between; `timeout` is the key that bounds a look";
    /// Nothing listens where the source was asked (Patroni's REST API, not PostgreSQL).
    Refused => "refused", "is the service running, and does it listen on this address and port?";
    /// PostgreSQL itself refused the connection: nobody listens there. This is evidence, a no at once.
    ServerDown => "server_down", "start PostgreSQL, or correct host and port in `conninfo`: ss -ltn shows where somebody listens, SHOW unix_socket_directories where its socket is";
    /// Nobody listens at the port that clients reach. This is evidence, a no at once.
    PortRefused => "port_refused", "start PostgreSQL, or the pooler in front of it; where clients reach it elsewhere, correct `address` of the source `tcp`, or `postgres_address` of Patroni's";
    /// No route, network down, or the connection broke off.
    Unreachable => "unreachable", "check the network between this host and the server";
    /// The host's name has no address.
    Unresolved => "unresolved", "check the name and the resolver (getent ahosts NAME); the last good addresses are used meanwhile where there were any";
    /// The TLS handshake or the certificate failed.
    Tls => "tls", "check `sslmode`, `sslrootcert` and the certificate's name and dates";
    /// The server does not accept this user or this password.
    Denied => "denied", "the message says what is missing: user, password (`passfile`, `password_credential`), database, or a line in the server's pg_hba.conf";
    /// The server did not prove who it is, or asked for the password in a way that gives it away.
    Unproven => "unproven", "let its pg_hba.conf say scram-sha-256 for this user, or set sslmode=verify-full with an sslrootcert in `conninfo`; where another way is meant, let `require_auth` there name it, such as require_auth=none,scram-sha-256 for `trust`";
    /// The server lives and takes no connection now (SQLSTATE 57P03: starting, stopping, recovering).
    NotAccepting => "not_accepting", "wait for the server to finish starting or stopping; see its log";
    /// The server lives and all its connection slots are taken (SQLSTATE 53300).
    SlotsFull => "slots_full", "the message says whose limit is reached: max_connections (raise it, or grant the role pg_use_reserved_connections), the role's or the database's CONNECTION LIMIT; pg_stat_activity shows who holds the slots";
    /// A pooler stands between: what answers may be another server than the one that is meant.
    Pooler => "pooler", "let `conninfo` lead to PostgreSQL itself: its own port or socket, past PgBouncer and the like";
    /// Another host of the same `conninfo` leads to another server than the first one.
    OtherServer => "other_server", "the hosts of one `conninfo` are addresses of one server, and the first says which one that is: give each server a source of its own; where it is one server that was started again, wait for its first host";
    /// The server answered a query with another error.
    Query => "query", "see the SQLSTATE in the message and the server's log";
    /// The user may not read what a look needs (SQLSTATE 42501).
    Grant => "grant", "the message says what is missing: grant it, on the primary and again on the witness, whose roles are its own";
    /// The database holds no repmgr, or one that is too old.
    NotRepmgr => "not_repmgr", "correct `dbname` in `conninfo`: repmgr.conf's own `conninfo` names the database that has the extension";
    /// `repmgr.nodes` is empty.
    NoNodes => "no_nodes", "register the nodes with repmgr, the primary first; on a witness: repmgr witness register";
    /// The HTTP status is neither 200 nor 503.
    Status => "status", "is this Patroni's REST API, and no proxy's error page?";
    /// Patroni said 503, which is no leader's answer, and nothing that can be read.
    NoBody => "no_body", "see Patroni's log: it could not say more than that it holds no lock";
    /// Patroni said 503 because it has just started: it has not judged yet whether the lock is its own.
    LockUnread => "lock_unread", "wait for the first round of Patroni's loop; see its log";
    /// The TLS handshake with Patroni failed.
    PatroniTls => "patroni_tls", "check `ca_file`, `server_name`, `cert_file` and `key_file`, and the certificates' names and dates";
    /// One side speaks TLS and the other does not.
    Mismatch => "tls_mismatch", "say `https` in `url` where Patroni has a certificate (restapi.certfile), else `http`";
    /// The answer is not of the expected form.
    Malformed => "malformed", "is this the right server, and of a version rolecall knows?";
    /// The answer is longer than rolecall reads.
    TooLong => "too_long", "is this the right server? an answer is read up to a fixed bound";
    /// The command could not be started, or ended in a way its contract does not know.
    Command => "command", "run the command by hand as the user rolecall runs as";
    /// Only the rolecall beside a server may do this, and this one is not.
    Elsewhere => "elsewhere", "`[fence]` is for the rolecall beside the server: what its source and its own `conninfo` name must be this host itself";
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
