//! One query to one PostgreSQL server, on a connection of its own.
//!
//! A connection that stays open lies: it survives a promotion, and goes on answering while the
//! server takes no new one (a stopped postmaster, a smart shutdown). So every look connects anew,
//! as HAProxy's clients will. All of it lives in one future: no task, and no socket, outlives it.

pub mod role;
pub mod sessions;
mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::ChannelBinding as Binding;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::FromSql;
use tokio_postgres::{Client, Connection, Error, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{self, PasswordFrom};
use crate::observation::{ErrorKind, Expiry, SourceError};
use crate::secret::Secret;
use crate::source::conninfo::{ChannelBinding, DEFAULT_SOCKET_DIR, Place, SslMode, TlsSettings};
use crate::source::passfile::{self, Login};
use crate::source::resolve::Resolver;
use crate::source::tls::Tls;

pub use wire::MAX_ANSWER;
use wire::{Bounded, Wire, io_kind, is_nonsense, tcp_kind, unix_kind};

/// Most characters of a server's own words in an error.
const MAX_WORDS: usize = 300;

/// Knows how one server is reached and as whom.
#[derive(Clone)]
pub struct Connector {
    place: Place,
    user: String,
    dbname: String,
    password: Password,
    /// All but the password and the attempt's TLS word.
    startup: tokio_postgres::Config,
    tls_settings: TlsSettings,
    tls: Tls,
    resolver: Resolver,
}

#[derive(Clone)]
enum Password {
    Known(Secret),
    From(PasswordFrom),
}

type Stream = Bounded<Wire>;
type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Stream>>::Stream;

impl Connector {
    /// A connector to the server of `settings`, for looks of at most `timeout`.
    ///
    /// The password is the one in `conninfo`, else from where the configuration says, else from
    /// the `passfile` in `conninfo`; files are read at every look.
    ///
    /// The server is asked to give up a query, or waiting for a lock, shortly before that, so that
    /// it does not work on for nobody; the operator's own `options` come later and win.
    ///
    /// [`ErrorKind::Credential`] where a certificate file cannot be used or the operating system
    /// has no name for this user and `conninfo` gives none; [`ErrorKind::Tls`] as [`Tls::new`].
    pub fn new(
        settings: &config::Postgres,
        timeout: Duration,
        resolver: Resolver,
    ) -> Result<Self, SourceError> {
        let conninfo = &settings.conninfo;
        let user = conninfo.user.clone().map_or_else(os_user, Ok)?;
        let dbname = conninfo.dbname.clone().unwrap_or_else(|| user.clone());
        let password = match (&conninfo.password, &settings.password, &conninfo.passfile) {
            (Some(known), _, _) => Password::Known(known.clone()),
            (None, PasswordFrom::Nowhere, Some(passfile)) => {
                Password::From(PasswordFrom::Passfile(passfile.clone()))
            }
            (None, from, _) => Password::From(from.clone()),
        };
        let mut startup = tokio_postgres::Config::new();
        startup
            .user(&user)
            .dbname(&dbname)
            .application_name(&conninfo.application_name)
            .options(session_options(timeout, conninfo.options.as_deref()))
            .channel_binding(match conninfo.channel_binding {
                ChannelBinding::Disable => Binding::Disable,
                ChannelBinding::Prefer => Binding::Prefer,
                ChannelBinding::Require => Binding::Require,
            });
        Ok(Self {
            place: conninfo.place.clone(),
            user,
            dbname,
            password,
            startup,
            tls: tls_for(&conninfo.place, &conninfo.tls)?,
            tls_settings: conninfo.tls.clone(),
            resolver,
        })
    }

    /// The same user, password, database and TLS, to another server. Errors as [`Connector::new`].
    pub fn at(&self, place: Place) -> Result<Self, SourceError> {
        let tls = tls_for(&place, &self.tls_settings)?;
        Ok(Self { place, tls, ..self.clone() })
    }

    /// The server that is asked.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// As whom it is asked.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// When the certificates of the last connection end.
    pub fn expiry(&self) -> Expiry {
        self.tls.expiry()
    }

    /// Connects, asks one query without parameters that answers with exactly one row, and says
    /// goodbye, so that the server logs nothing unusual.
    ///
    /// The error's kind says what stands in the way; see [`ErrorKind`]. No deadline of its own.
    pub async fn ask(&mut self, query: &str) -> Result<Row, SourceError> {
        match self.ask_if(query, || true).await? {
            Some(row) => Ok(row),
            None => Err(self.failed(ErrorKind::Query, "nothing was asked")),
        }
    }

    /// As [`Self::ask`], if `still` says so once the connection stands; `None` where it did not.
    pub async fn ask_if(
        &mut self,
        query: &str,
        still: impl FnOnce() -> bool,
    ) -> Result<Option<Row>, SourceError> {
        let mut startup = self.startup.clone();
        if let Some(password) = self.password()? {
            startup.password(password.expose());
        }
        let tls = self.tls.connector()?;
        let (client, connection) = self.open(startup, tls).await?;
        // The connection ends by itself once the client is gone and its goodbye is written.
        let answer = async move {
            if still() { client.query_typed_one(query, &[]).await.map(Some) } else { Ok(None) }
        };
        match tokio::join!(answer, connection) {
            (Ok(row), _) => Ok(row),
            (Err(answer), Err(broken)) if answer.is_closed() => {
                Err(self.explained(&broken, Stage::Query))
            }
            (Err(answer), _) => Err(self.explained(&answer, Stage::Query)),
        }
    }

    async fn open(
        &self,
        mut startup: tokio_postgres::Config,
        mut tls: MakeRustlsConnect,
    ) -> Result<(Client, Connection<Stream, TlsStream>), SourceError> {
        let mut refused = None;
        for attempt in self.tls.attempts() {
            startup.ssl_mode(*attempt);
            self.tls.forget_peer();
            let stream = Bounded::new(self.dial().await?);
            let name = self.tls_name();
            let Ok(tls) = MakeTlsConnect::<Stream>::make_tls_connect(&mut tls, &name);
            match startup.connect_raw(stream, tls).await {
                Ok(open) => return Ok(open),
                Err(error) => {
                    let refusal = self.explained(&error, Stage::Connect);
                    if !hinges_on_encryption(&error, refusal.kind) {
                        return Err(refusal);
                    }
                    refused = Some(refusal);
                }
            }
        }
        Err(refused.unwrap_or_else(|| self.failed(ErrorKind::Tls, "no way to connect")))
    }

    /// The name the server's certificate must have.
    fn tls_name(&self) -> String {
        match (&self.place.host, self.place.hostaddr) {
            (None, Some(addr)) => addr.to_string(),
            _ => self.place.name().to_owned(),
        }
    }

    async fn dial(&self) -> Result<Wire, SourceError> {
        if let Some(dir) = self.place.socket_dir() {
            let path = dir.join(format!(".s.PGSQL.{}", self.place.port));
            return match UnixStream::connect(&path).await {
                Ok(stream) => Ok(Wire::Unix(stream)),
                Err(e) => Err(self.failed(unix_kind(&e), format!("{}: {e}", path.display()))),
            };
        }
        let mut failed = None;
        for ip in self.addresses().await? {
            let addr = SocketAddr::new(ip, self.place.port);
            match TcpStream::connect(addr).await {
                Ok(stream) => {
                    // Losing a few milliseconds is all that can come of an error here.
                    let _ = stream.set_nodelay(true);
                    return Ok(Wire::Tcp(stream));
                }
                Err(e) => {
                    let error = self.failed(tcp_kind(&e), format!("{addr}: {e}"));
                    // A refusal is evidence only where no address leaves a doubt.
                    if failed.as_ref().is_none_or(|f: &SourceError| f.kind.is_contrary()) {
                        failed = Some(error);
                    }
                }
            }
        }
        Err(failed.unwrap_or_else(|| self.failed(ErrorKind::Unresolved, "the name has no address")))
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, SourceError> {
        match (self.place.hostaddr, self.place.name().parse()) {
            (Some(addr), _) | (None, Ok(addr)) => Ok(vec![addr]),
            (None, Err(_)) => self.resolver.lookup(self.place.name()).await,
        }
    }

    fn password(&self) -> Result<Option<Secret>, SourceError> {
        match &self.password {
            Password::Known(secret) => Ok(Some(secret.clone())),
            Password::From(PasswordFrom::Nowhere) => Ok(None),
            Password::From(PasswordFrom::File(path)) => passfile::read_password(path).map(Some),
            Password::From(PasswordFrom::Passfile(path)) => {
                passfile::read_passfile(path, self.login(&self.login_host()))
            }
        }
    }

    fn login<'a>(&'a self, host: &'a str) -> Login<'a> {
        Login { host, port: self.place.port, dbname: &self.dbname, user: &self.user }
    }

    /// The host as a line of a passfile names it.
    fn login_host(&self) -> String {
        match self.tls_name() {
            default if default == DEFAULT_SOCKET_DIR => "localhost".to_owned(),
            name => name,
        }
    }

    /// A failure at this server.
    pub fn failed(&self, kind: ErrorKind, what: impl std::fmt::Display) -> SourceError {
        SourceError::new(kind, format!("{}: {what}", self.place))
    }

    fn explained(&self, error: &Error, stage: Stage) -> SourceError {
        if let Some(said) = error.as_db_error() {
            return self.failed(sqlstate_kind(said.code(), stage), words(said));
        }
        let cause = std::error::Error::source(error);
        let what = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
        if let Some(kind) = cause.and_then(io_kind) {
            return self.failed(kind, what);
        }
        // The crate shows which of its kinds an error is by this text alone.
        match error.to_string().as_str() {
            "error performing TLS handshake" => self.failed(ErrorKind::Tls, what),
            "authentication error" => self.failed(ErrorKind::Denied, what),
            "invalid configuration" => self.failed(ErrorKind::Denied, self.password_missing()),
            "error communicating with the server" if cause.is_some_and(is_nonsense) => {
                self.failed(ErrorKind::Malformed, what)
            }
            "connection closed" | "error communicating with the server" => {
                self.failed(ErrorKind::Unreachable, what)
            }
            _ => self.failed(ErrorKind::Malformed, what),
        }
    }

    fn password_missing(&self) -> String {
        match &self.password {
            Password::From(PasswordFrom::Passfile(path)) => format!(
                "the server asks for a password and {} has no line for {}:{}:{}:{}",
                path.display(),
                self.login_host(),
                self.place.port,
                self.dbname,
                self.user
            ),
            _ => "the server asks for a password and none is configured".to_owned(),
        }
    }
}

/// Reads a column. [`ErrorKind::Malformed`] where it is missing or of another type.
pub fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, SourceError> {
    row.try_get(name).map_err(|e| {
        let cause = std::error::Error::source(&e).map_or_else(String::new, |c| format!(": {c}"));
        SourceError::new(ErrorKind::Malformed, format!("column `{name}`: {e}{cause}"))
    })
}

fn os_user() -> Result<String, SourceError> {
    whoami::username().map_err(|e| {
        SourceError::new(
            ErrorKind::Credential,
            format!("the operating system has no name for this user ({e}); hint: set `user` in `conninfo`"),
        )
    })
}

/// `sslmode` means nothing on a Unix socket.
fn tls_for(place: &Place, settings: &TlsSettings) -> Result<Tls, SourceError> {
    let mode = if place.socket_dir().is_some() { SslMode::Disable } else { settings.mode };
    Tls::new(TlsSettings { mode, ..settings.clone() })
}

/// The server's own limits, seven and five eighths of the look's, the operator's settings after them.
fn session_options(timeout: Duration, own: Option<&str>) -> String {
    let eighths = |n: u32| (timeout * n / 8).as_millis().clamp(1, i32::MAX as u128);
    let limits = format!("-c statement_timeout={} -c lock_timeout={}", eighths(7), eighths(5));
    own.map_or_else(|| limits.clone(), |own| format!("{limits} {own}"))
}

/// How far a look had come when the server answered with an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connect,
    Query,
}

/// What an error of the server means (PostgreSQL manual, appendix "Error Codes").
fn sqlstate_kind(code: &SqlState, stage: Stage) -> ErrorKind {
    match code.code() {
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
fn words(said: &DbError) -> String {
    let detail = said.detail().map_or_else(String::new, |detail| format!(" ({detail})"));
    let words: String = format!("{}{detail}", said.message()).chars().take(MAX_WORDS).collect();
    format!("{words}, SQLSTATE {}", said.code().code())
}

/// Whether another attempt of the same `sslmode` may fare better.
fn hinges_on_encryption(error: &Error, kind: ErrorKind) -> bool {
    kind == ErrorKind::Tls || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlstate_says_what_stands_in_the_way() {
        let kind = |code: &str, stage| sqlstate_kind(&SqlState::from_code(code), stage);
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

    #[test]
    fn the_server_gives_up_before_the_look_does() {
        assert_eq!(
            session_options(Duration::from_millis(800), None),
            "-c statement_timeout=700 -c lock_timeout=500"
        );
        assert_eq!(
            session_options(Duration::ZERO, Some("-c search_path=x")),
            "-c statement_timeout=1 -c lock_timeout=1 -c search_path=x"
        );
        assert!(session_options(Duration::from_secs(u64::MAX / 8), None).contains("=2147483647 "));
    }
}
