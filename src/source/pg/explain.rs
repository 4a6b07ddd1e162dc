//! What an error means, whoever says it.

use std::io;

use tokio_postgres::Error;

use super::channel::plainly;
use super::login::Refused;
use super::message::Said;
use super::wire::{io_kind, is_nonsense};
use super::{Connector, Password};
use crate::config::PasswordFrom;
use crate::look::error::{ErrorKind, SourceError};

/// Most characters of a server's own words in an error.
const MAX_WORDS: usize = 300;

/// Length of a SQLSTATE.
const CODE: usize = 5;

/// How far a look had come when the server answered with an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Query,
}

/// What an error of the server means (PostgreSQL manual, appendix "Error Codes").
pub(super) fn sqlstate_kind(code: &str, step: Step) -> ErrorKind {
    match code {
        // Starting, stopping, recovering; ended by an administrator or by a crash of a neighbour.
        "57P03" | "57P01" | "57P02" => ErrorKind::NotAccepting,
        // A startup parameter that PostgreSQL knows and a pooler does not.
        "08P01" if step == Step::Connect => ErrorKind::Pooler,
        // max_connections, the reserved slots, CONNECTION LIMIT of the role or the database.
        "53300" => ErrorKind::SlotsFull,
        // statement_timeout and lock_timeout, which follow from the look's own limit.
        "57014" | "55P03" => ErrorKind::Timeout,
        // No such role, pg_hba.conf, password, no such database, no CONNECT privilege.
        "28000" | "28P01" | "3D000" => ErrorKind::Denied,
        // The database takes no connections (datallowconn); insufficient_privilege: of CONNECT on the
        // database, of what the query reads.
        "55000" | "42501" if step == Step::Connect => ErrorKind::Denied,
        "42501" => ErrorKind::Grant,
        _ => ErrorKind::Query,
    }
}

/// What is known of a login beside the server's words.
pub(super) struct Login<'a> {
    pub user: &'a str,
    pub dbname: &'a str,
    /// `dbname` was not given.
    pub dbname_by_default: bool,
}

/// What mends a login that the server refused, by its SQLSTATE and, where one has several causes, by its
/// words (postinit.c, auth.c, miscinit.c; they are in the server's language, and then the kind's hint is
/// all that is said).
pub(super) fn remedy(said: &Said, login: &Login<'_>) -> Option<String> {
    let Login { user, dbname, dbname_by_default } = login;
    let about = |words: &str| said.message.contains(words);
    Some(match said.code.as_str() {
        // Before 14 it says "SSL off".
        "28000"
            if about("no pg_hba.conf entry") && (about("no encryption") || about("SSL off")) =>
        {
            format!(
                "set sslmode=require in `conninfo` if the server's pg_hba.conf has hostssl lines \
                 for user {user}; otherwise add a line for it and database {dbname}, and run \
                 SELECT pg_reload_conf()"
            )
        }
        "28000" if about("pg_hba.conf rejects") => {
            format!(
                "a `reject` line of the server's pg_hba.conf matches first: remove it, or put a \
                 line for user {user} and database {dbname} above it, and run SELECT \
                 pg_reload_conf()"
            )
        }
        "28000" if about("no pg_hba.conf entry") => {
            format!(
                "add a line for user {user} and database {dbname} to the server's pg_hba.conf, \
                 and run SELECT pg_reload_conf()"
            )
        }
        "28000" if about("does not exist") => {
            format!("CREATE ROLE \"{user}\" LOGIN, or correct `user`")
        }
        "28000" if about("not permitted to log in") => format!("ALTER ROLE \"{user}\" LOGIN"),
        "28000" if about("certificate") => {
            format!("set sslcert and sslkey to a certificate whose common name is {user}")
        }
        "28000" if about("Peer authentication") || about("Ident authentication") => {
            format!(
                "run rolecall as the operating system's user {user}, map its user in \
                 pg_ident.conf, or use scram-sha-256 in pg_hba.conf"
            )
        }
        "28P01" => format!(
            "the DETAIL line in the log of PostgreSQL says why it rejected the login. If the password \
             of {user} is wrong or missing, correct `passfile` or `password_credential`. If it has \
             expired (\\du shows it), run on the primary: ALTER ROLE \"{user}\" VALID UNTIL \
             'infinity'; a new PASSWORD alone leaves it expired"
        ),
        "3D000" if *dbname_by_default => {
            "set `dbname` in `conninfo`: without it, PostgreSQL uses the user name as the database"
                .to_owned()
        }
        "3D000" => "correct `dbname` in `conninfo`: psql -l lists the databases".to_owned(),
        "42501" => format!("GRANT CONNECT ON DATABASE \"{dbname}\" TO \"{user}\""),
        "53300" if about("for role") => format!("ALTER ROLE \"{user}\" CONNECTION LIMIT 10"),
        "53300" if about("for database") => {
            format!("ALTER DATABASE \"{dbname}\" CONNECTION LIMIT -1")
        }
        "55000" if about("not currently accepting connections") => {
            format!(
                "run ALTER DATABASE \"{dbname}\" ALLOW_CONNECTIONS true, or use another `dbname`, \
                 for example postgres"
            )
        }
        "57P03"
            if said
                .detail
                .as_deref()
                .is_some_and(|detail| detail.contains("Hot standby mode is disabled")) =>
        {
            "set hot_standby = on: without it this standby never answers a query".to_owned()
        }
        "57P03" if about("starting up") => {
            "wait, or see the server's log; before PostgreSQL 14 a standby with hot_standby = off \
             always answers this"
                .to_owned()
        }
        "0A000" => "check that the server is PostgreSQL 12 or later".to_owned(),
        "22023" | "42704" | "55P02" | "22P02" => "correct `options` in `conninfo`".to_owned(),
        _ => return None,
    })
}

/// The server's message, its detail and its SQLSTATE.
pub(super) fn words(Said { code, message, detail }: &Said) -> String {
    let detail = detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"));
    let words: String = format!("{message}{detail}").chars().take(MAX_WORDS).collect();
    let code: String = code.chars().take(CODE).collect();
    format!("{words}, SQLSTATE {code}")
}

/// The server's own words in an error of the crate.
pub(super) fn said_within(error: &Error) -> Option<Said> {
    let said = error.as_db_error()?;
    Some(Said {
        code: said.code().code().to_owned(),
        message: said.message().to_owned(),
        detail: said.detail().map(str::to_owned),
    })
}

/// What an error of the crate means that is none of the server's, and its text.
pub(super) fn explained(error: &Error) -> (ErrorKind, String) {
    let cause = std::error::Error::source(error);
    let of_stream = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    let what = match (of_stream, cause) {
        (Some(cause), _) => format!("{error}: {}", plainly(cause)),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    };
    let cause = of_stream;
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

impl Connector {
    /// Why the user was not let in.
    pub(super) fn refusal(&self, refused: Refused) -> SourceError {
        match refused {
            Refused::Said(said) => self.said(&said, Step::Connect),
            Refused::Io(error) => self.failed(broken_kind(&error), plainly(&error)),
            Refused::NoPassword => self.failed(ErrorKind::Denied, self.password_missing()),
            Refused::Is(kind, what) => self.failed(kind, what),
            Refused::Before(error) => error,
        }
    }

    /// What a server's own words mean, with what mends a login.
    fn said(&self, said: &Said, step: Step) -> SourceError {
        let (dbname, dbname_by_default) = (&self.dbname, self.dbname_by_default);
        let login = Login { user: &self.user, dbname, dbname_by_default };
        let kind = sqlstate_kind(&said.code, step);
        match remedy(said, &login).filter(|_| step == Step::Connect) {
            Some(hint) => self.failed(kind, format_args!("{}; hint: {hint}", words(said))),
            None => self.failed(kind, words(said)),
        }
    }

    pub(super) fn explained(&self, error: &Error, step: Step) -> SourceError {
        if let Some(said) = said_within(error) {
            return self.said(&said, step);
        }
        let (kind, what) = explained(error);
        self.failed(kind, what)
    }

    fn password_missing(&self) -> String {
        match &self.password {
            Password::From(PasswordFrom::Passfile(path)) => format!(
                "the server asks for a password, and {} has no line for {}:{}:{}:{}",
                path.display(),
                self.login_host(),
                self.place.port,
                self.dbname,
                self.user
            ),
            _ => "the server asks for a password, and the configuration has none".to_owned(),
        }
    }
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
            ("08P01", ErrorKind::Pooler, ErrorKind::Query),
            ("55000", ErrorKind::Denied, ErrorKind::Query),
        ] {
            assert_eq!(kind(code, Step::Connect), connecting, "{code}");
            assert_eq!(kind(code, Step::Query), asking, "{code}");
        }
    }
}
