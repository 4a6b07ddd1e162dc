//! What an error means, whoever says it.

use std::io;

use tokio_postgres::Error;

use super::message::Said;
use super::wire::{io_kind, is_nonsense};
use crate::observation::ErrorKind;

/// Most characters of a server's own words in an error.
const MAX_WORDS: usize = 300;

/// Length of a SQLSTATE.
const CODE: usize = 5;

/// How far a look had come when the server answered with an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connect,
    Query,
}

/// What an error of the server means (PostgreSQL manual, appendix "Error Codes").
pub(super) fn sqlstate_kind(code: &str, stage: Stage) -> ErrorKind {
    match code {
        // Starting, stopping, recovering; ended by an administrator or by a crash of a neighbour.
        "57P03" | "57P01" | "57P02" => ErrorKind::NotAccepting,
        // max_connections, the reserved slots, CONNECTION LIMIT of the role or the database.
        "53300" => ErrorKind::SlotsFull,
        // statement_timeout and lock_timeout, which follow from the look's own limit.
        "57014" | "55P03" => ErrorKind::Timeout,
        // No such role, pg_hba.conf, password, no such database, no CONNECT privilege.
        "28000" | "28P01" | "3D000" => ErrorKind::Denied,
        // insufficient_privilege: of CONNECT on the database, of what the query reads.
        "42501" if stage == Stage::Connect => ErrorKind::Denied,
        "42501" => ErrorKind::Grant,
        _ => ErrorKind::Query,
    }
}

/// The server's message, its detail and its SQLSTATE.
pub(super) fn words(Said { code, message, detail }: &Said) -> String {
    let detail = detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"));
    let words: String = format!("{message}{detail}").chars().take(MAX_WORDS).collect();
    let code: String = code.chars().take(CODE).collect();
    format!("{words}, SQLSTATE {code}")
}

/// What an error of the crate means, and its text.
pub(super) fn explained(error: &Error, stage: Stage) -> (ErrorKind, String) {
    if let Some(said) = error.as_db_error() {
        let said = Said {
            code: said.code().code().to_owned(),
            message: said.message().to_owned(),
            detail: said.detail().map(str::to_owned),
        };
        return (sqlstate_kind(&said.code, stage), words(&said));
    }
    let cause = std::error::Error::source(error);
    let what = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    // The crate shows which of its kinds an error is by this text alone.
    let kind = match (cause, error.to_string().as_str()) {
        (Some(cause), "error communicating with the server") => broken_kind(cause),
        (Some(cause), _) => io_kind(cause).unwrap_or(ErrorKind::Malformed),
        (None, "connection closed" | "error communicating with the server") => {
            ErrorKind::Unreachable
        }
        (None, _) => ErrorKind::Malformed,
    };
    (kind, what)
}

/// What an error of an open connection means.
pub(super) fn broken_kind(error: &io::Error) -> ErrorKind {
    let nonsense = if is_nonsense(error) { ErrorKind::Malformed } else { ErrorKind::Unreachable };
    io_kind(error).unwrap_or(nonsense)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlstate_says_what_stands_in_the_way() {
        let kind = sqlstate_kind;
        for (code, connecting, asking) in [
            ("57P03", ErrorKind::NotAccepting, ErrorKind::NotAccepting),
            ("57P01", ErrorKind::NotAccepting, ErrorKind::NotAccepting),
            ("57P02", ErrorKind::NotAccepting, ErrorKind::NotAccepting),
            ("53300", ErrorKind::SlotsFull, ErrorKind::SlotsFull),
            ("57014", ErrorKind::Timeout, ErrorKind::Timeout),
            ("55P03", ErrorKind::Timeout, ErrorKind::Timeout),
            ("28000", ErrorKind::Denied, ErrorKind::Denied),
            ("28P01", ErrorKind::Denied, ErrorKind::Denied),
            ("3D000", ErrorKind::Denied, ErrorKind::Denied),
            ("42501", ErrorKind::Denied, ErrorKind::Grant),
            ("42P01", ErrorKind::Query, ErrorKind::Query),
            ("XX000", ErrorKind::Query, ErrorKind::Query),
        ] {
            assert_eq!(kind(code, Stage::Connect), connecting, "{code}");
            assert_eq!(kind(code, Stage::Query), asking, "{code}");
        }
    }
}
