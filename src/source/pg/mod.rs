//! One query to one PostgreSQL server, on a connection of its own.
//!
//! A connection that stays open lies: it survives a promotion, and goes on answering while the
//! server takes no new one (a stopped postmaster, a smart shutdown). So every look connects anew,
//! as HAProxy's clients will. All of it lives in one future: no task, and no socket, outlives it.

mod channel;
mod explain;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod greeting;
mod keys;
mod login;
mod message;
mod proof;
pub mod role;
mod scram;
pub mod sessions;
mod wire;

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::FromSql;
use tokio_postgres::{Client, Config, Connection, Error, NoTls, Row};

use crate::config::conninfo::{ChannelBinding, RequireAuth};
use crate::config::secret::Secret;
use crate::config::{self, PasswordFrom};
use crate::host::clock::Clock;
use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::Expiry;
use crate::look::place::{DEFAULT_SOCKET_DIR, Place};
use crate::look::stamp::Stamp;
use crate::source::dial::Dialer;
use crate::source::passfile::{self, Login};
use crate::source::resolve::Resolver;
use crate::source::tls::{Attempt, Tls};

use channel::{Backend, Entered, Stream};
use explain::{Stage, broken_kind, explained, remedy, said_within, sqlstate_kind, words};
use keys::Keyring;
pub use keys::REST;
use login::{Encrypted, Refused, Who};
pub use message::MAX_LOGIN_MESSAGE;
use message::Said;
use proof::Demand;
pub use scram::MAX_ITERATIONS;
pub use wire::MAX_ANSWER;
use wire::{Bounded, tcp_kind, unix_kind};

/// How long a server is not asked again that did not let this user in with this password: each attempt
/// costs it a process and a line in its log, and the password would have to change first. Shorter than
/// the shortest usual `hold`, so that a server that changed its mind is heard in time.
pub const PAUSE_AFTER_DENIED: Duration = Duration::from_secs(2);

/// Knows how one server is reached and as whom.
#[derive(Clone)]
pub struct Connector {
    place: Place,
    user: String,
    dbname: String,
    dbname_by_default: bool,
    application_name: String,
    options: String,
    password: Password,
    require_auth: Option<RequireAuth>,
    binding: ChannelBinding,
    tls: Tls,
    keyring: Keyring,
    resolver: Resolver,
    dialer: Dialer,
    /// When the certificate of the last connection ends.
    peer_end: Option<i64>,
    denied: Option<Denied>,
    told_unencrypted: bool,
    /// The process that serves the last connection, by the server's word.
    backend: Backend,
}

/// A server did not let this user in.
#[derive(Clone)]
struct Denied {
    until: Stamp,
    /// With another one it is asked at once.
    password: Option<Secret>,
    error: SourceError,
}

#[derive(Clone)]
enum Password {
    Known(Secret),
    From(PasswordFrom),
}

/// A connection on which the user is in.
type Open = (Client, Connection<Entered, NoTlsStream>);

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
    /// has no name for this user and `conninfo` gives none; [`ErrorKind::Tls`] as [`Tls::config`].
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
        let tls = Tls::new(conninfo.tls.clone());
        if conninfo.place.socket_dir().is_none() {
            // What cannot be used is said before the first look.
            tls.config()?;
        }
        Ok(Self {
            place: conninfo.place.clone(),
            user,
            dbname,
            dbname_by_default: conninfo.dbname.is_none(),
            application_name: conninfo.application_name.clone(),
            options: session_options(timeout, conninfo.options.as_deref()),
            password,
            require_auth: conninfo.require_auth,
            binding: conninfo.channel_binding,
            tls,
            keyring: Keyring::new(),
            resolver,
            dialer: Dialer::new(timeout),
            peer_end: None,
            denied: None,
            told_unencrypted: false,
            backend: Backend::default(),
        })
    }

    /// The same user, password, database and TLS, to another server, which a row of a table names.
    ///
    /// # Errors
    /// [`ErrorKind::Unresolved`] where the row names a socket: it is that of whatever host reads the row,
    /// and whoever wrote the row would choose who is told the password there.
    pub fn at(&self, place: Place) -> Result<Self, SourceError> {
        if place.socket_dir().is_some() {
            let what = "a row of a table names a socket, which no other host has";
            return Err(SourceError::new(ErrorKind::Unresolved, what));
        }
        let (keyring, dialer) = (self.keyring.beside(), self.dialer.beside());
        Ok(Self { place, keyring, dialer, peer_end: None, denied: None, ..self.clone() })
    }

    /// What is said of a look that was dropped before an address had answered.
    pub fn waited_for(&self) -> Option<String> {
        self.dialer.silent()
    }

    /// A look begins: what was waited for by an earlier one is no matter any more.
    pub fn begin(&self) {
        self.dialer.forget();
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
        let peer = self.peer_end;
        let own = self.tls.own_end().filter(|_| self.place.socket_dir().is_none());
        Expiry { own, peer }
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
        self.begin();
        let password = self.password()?;
        self.paused(password.as_ref())?;
        let opened = self.open(password.as_ref()).await;
        if let Err(error) = &opened
            && error.kind == ErrorKind::Denied
        {
            let until = Clock::Boot.now().plus(PAUSE_AFTER_DENIED);
            self.denied = Some(Denied { until, password, error: error.clone() });
        }
        let (client, connection) = opened?;
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

    /// Ends with what a server said that is not asked again so soon.
    fn paused(&mut self, password: Option<&Secret>) -> Result<(), SourceError> {
        let now = Clock::Boot.now();
        match self.denied.take() {
            Some(denied) if now < denied.until && denied.password.as_ref() == password => {
                let error = denied.error.clone();
                self.denied = Some(denied);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    async fn open(&mut self, password: Option<&Secret>) -> Result<Open, SourceError> {
        let own_socket = self.place.socket_dir().is_some();
        // `sslmode` means nothing on a socket.
        let attempts = if own_socket { &[Attempt::Disable] } else { self.tls.attempts() };
        let mut refused: Option<SourceError> = None;
        for attempt in attempts {
            self.peer_end = None;
            match self.enter(*attempt, own_socket, password).await {
                Ok(entered) => {
                    if let Some(refused) = refused.filter(|_| *attempt == Attempt::Disable) {
                        self.tell_unencrypted(&refused);
                    }
                    // Whom it would announce is of no matter: the user is in.
                    let opened = Config::new().user(&self.user).connect_raw(entered, NoTls).await;
                    return opened.map_err(|error| self.explained(&error, Stage::Connect));
                }
                Err(refusal) => {
                    let hinges = hinges_on_encryption(&refusal);
                    let error = self.refusal(refusal);
                    let error = match refused.take() {
                        // What the first way failed by may be what is to be mended.
                        Some(first) => {
                            let (how, place) = (attempt.shown(), format!("{}: ", self.place));
                            let first = first.detail.strip_prefix(&place).unwrap_or(&first.detail);
                            let also = format_args!("{error} ({how}; before that: {first})");
                            SourceError::new(error.kind, also)
                        }
                        None => error,
                    };
                    if !hinges {
                        return Err(error);
                    }
                    refused = Some(error);
                }
            }
        }
        Err(refused.unwrap_or_else(|| self.failed(ErrorKind::Tls, "no way to connect")))
    }

    /// Says once that a look goes without TLS, though the server has it.
    fn tell_unencrypted(&mut self, why: &SourceError) {
        if !std::mem::replace(&mut self.told_unencrypted, true) {
            tracing::warn!(
                %why,
                hint = "mend that, or set sslmode=disable in `conninfo`: the server logs a failed handshake at every look",
                "{}: asked without TLS, which failed", self.place
            );
        }
    }

    /// One attempt to be let in.
    async fn enter(
        &mut self,
        attempt: Attempt,
        own_socket: bool,
        password: Option<&Secret>,
    ) -> Result<Entered, Refused> {
        let config = if own_socket { None } else { Some(self.tls.config()?) };
        let stream = self.dial().await?;
        let channel::Channel { mut stream, encrypted, ends } =
            channel::open(stream, attempt, config, &self.tls_name()).await?;
        self.peer_end = ends;
        let certified = matches!(encrypted, Encrypted::Tls(_)) && self.tls.verifies();
        let demand = Demand {
            require: self.require_auth,
            binding: self.binding,
            password: !matches!(self.password, Password::From(PasswordFrom::Nowhere)),
            known: own_socket || certified,
        };
        let who = Who {
            user: &self.user,
            dbname: &self.dbname,
            application_name: &self.application_name,
            options: &self.options,
            password,
            keyring: &self.keyring,
        };
        login::login(&mut stream, &who, encrypted, demand).await?;
        self.backend = Backend::default();
        Ok(Entered::new(stream, self.backend.clone()))
    }

    /// The name the server's certificate must have.
    fn tls_name(&self) -> String {
        match (&self.place.host, self.place.hostaddr) {
            (None, Some(addr)) => addr.to_string(),
            _ => self.place.name().to_owned(),
        }
    }

    async fn dial(&self) -> Result<Box<dyn Stream>, SourceError> {
        if let Some(dir) = self.place.socket_dir() {
            let path = dir.join(format!(".s.PGSQL.{}", self.place.port));
            return match UnixStream::connect(&path).await {
                Ok(stream) => Ok(Box::new(Bounded::new(stream))),
                Err(e) => Err(self.failed(unix_kind(&e), format!("{}: {e}", path.display()))),
            };
        }
        let addresses = self.addresses().await?;
        let (host, port) = (self.place.name(), self.place.port);
        match self.dialer.connect(&self.resolver, host, &addresses, port).await {
            Ok(stream) => Ok(Box::new(Bounded::new(stream))),
            Err(failed) => {
                let error =
                    failed.into_error(|addr, e| self.failed(tcp_kind(e), format!("{addr}: {e}")));
                Err(error.unwrap_or_else(|| {
                    self.failed(ErrorKind::Unresolved, "the name has no address")
                }))
            }
        }
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

    /// Whether the process that answered, by `pg_backend_pid()`, is the one that the server said would.
    ///
    /// # Errors
    /// [`ErrorKind::Pooler`] where it is another: a pooler says a number of its own, and gives each query to
    /// whatever connection it has, of whatever server.
    pub fn is_direct(&self, pid: i32) -> Result<(), SourceError> {
        match self.backend.get() {
            Some(said) if said != pid => {
                let what = "a pooler answers there, which may ask any server: the process that answered is not \
                            the one that was announced";
                Err(self.failed(ErrorKind::Pooler, what))
            }
            _ => Ok(()),
        }
    }

    /// A failure at this server.
    pub fn failed(&self, kind: ErrorKind, what: impl std::fmt::Display) -> SourceError {
        SourceError::new(kind, format!("{}: {what}", self.place))
    }

    /// Why the user was not let in.
    fn refusal(&self, refused: Refused) -> SourceError {
        match refused {
            Refused::Said(said) => self.said(&said, Stage::Connect),
            Refused::Io(error) => self.failed(broken_kind(&error), channel::plainly(&error)),
            Refused::NoPassword => self.failed(ErrorKind::Denied, self.password_missing()),
            Refused::Is(kind, what) => self.failed(kind, what),
            Refused::Before(error) => error,
        }
    }

    /// What a server's own words mean, with what mends a login.
    fn said(&self, said: &Said, stage: Stage) -> SourceError {
        let (dbname, dbname_by_default) = (&self.dbname, self.dbname_by_default);
        let login = explain::Login { user: &self.user, dbname, dbname_by_default };
        let kind = sqlstate_kind(&said.code, stage);
        match remedy(said, &login).filter(|_| stage == Stage::Connect) {
            Some(hint) => self.failed(kind, format_args!("{}; hint: {hint}", words(said))),
            None => self.failed(kind, words(said)),
        }
    }

    fn explained(&self, error: &Error, stage: Stage) -> SourceError {
        if let Some(said) = said_within(error) {
            return self.said(&said, stage);
        }
        let (kind, what) = explained(error);
        self.failed(kind, what)
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

/// The server's own limits, seven and five eighths of the look's, the operator's settings after them.
fn session_options(timeout: Duration, own: Option<&str>) -> String {
    let eighths = |n: u32| (timeout * n / 8).as_millis().clamp(1, i32::MAX as u128);
    let limits = format!("-c statement_timeout={} -c lock_timeout={}", eighths(7), eighths(5));
    own.map_or_else(|| limits.clone(), |own| format!("{limits} {own}"))
}

/// Whether another attempt of the same `sslmode` may fare better.
fn hinges_on_encryption(refused: &Refused) -> bool {
    match refused {
        Refused::Is(kind, _) => *kind == ErrorKind::Tls,
        Refused::Said(said) => said.code == "28000",
        Refused::Io(_) | Refused::NoPassword | Refused::Before(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind of H7: what is read of files is there once for a source, however many servers it has.
    #[test]
    fn all_servers_of_a_source_share_its_certificates() {
        let conninfo = "host=db1 user=u sslmode=verify-full sslrootcert=system".parse().unwrap();
        let settings = config::Postgres { conninfo, password: PasswordFrom::Nowhere };
        let nobody = Resolver::with(|_| Err(std::io::Error::other("no such name")));
        let own = Connector::new(&settings, Duration::from_secs(1), nobody).unwrap();
        let config = own.tls.config().unwrap();
        for host in ["db2", "db3"] {
            let place = Place { host: Some(host.to_owned()), hostaddr: None, port: 5432 };
            let peer = own.at(place).unwrap();
            assert!(std::sync::Arc::ptr_eq(&config, &peer.tls.config().unwrap()));
        }
        let socket = Place { host: Some("/tmp".to_owned()), hostaddr: None, port: 5432 };
        assert_eq!(own.at(socket).map(|_| ()).unwrap_err().kind, ErrorKind::Unresolved);
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
