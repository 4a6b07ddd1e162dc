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
pub mod hosts;
mod keys;
mod login;
mod message;
mod opening;
mod proof;
pub mod role;
mod scram;
pub mod sessions;
mod wire;

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

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
use crate::source::stage::Stage;
use crate::source::tls::Tls;

use channel::Backend;
use explain::Step;
use keys::Keyring;
pub use keys::REST;
pub use message::MAX_LOGIN_MESSAGE;
pub use scram::MAX_ITERATIONS;
pub use wire::MAX_ANSWER;

/// How long a server is not asked again that did not let this user in with this password: each attempt
/// costs it a process and a line in its log, and the password would have to change first. Shorter than
/// the shortest usual `hold`, so that a server that changed its mind is heard in time.
pub(crate) const PAUSE_AFTER_DENIED: Duration = Duration::from_secs(2);

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

    /// One for each host of `settings`, the first of which says what server is meant. Errors as
    /// [`Self::new`].
    pub fn each(
        settings: &config::Postgres,
        timeout: Duration,
        resolver: Resolver,
    ) -> Result<Vec<Self>, SourceError> {
        let first = Self::new(settings, timeout, resolver)?;
        let others = &settings.conninfo.others;
        if others.iter().any(|place| place.socket_dir().is_none()) {
            first.tls.config()?;
        }
        let others: Vec<_> = others.iter().map(|place| first.to(place.clone())).collect();
        Ok([vec![first], others].concat())
    }

    /// The same user, password, database and TLS, to another server, which a row of a table names.
    ///
    /// # Errors
    /// [`ErrorKind::Unresolved`] where the row names a socket: it is that of whatever host reads the row,
    /// and whoever wrote the row would choose who is told the password there.
    pub fn at(&self, place: Place) -> Result<Self, SourceError> {
        if place.socket_dir().is_some() {
            let what = "a row of the table contains a socket, which is on its own host only";
            return Err(SourceError::new(ErrorKind::Unresolved, what));
        }
        Ok(self.to(place))
    }

    fn to(&self, place: Place) -> Self {
        let (keyring, dialer) = (self.keyring.beside(), self.dialer.beside());
        Self { place, keyring, dialer, peer_end: None, denied: None, ..self.clone() }
    }

    /// What is said of a look that was dropped: who was silent, and at what.
    pub(crate) fn waited_for(&self) -> Option<String> {
        self.dialer.silent(&self.place.to_string())
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
    pub(crate) async fn ask_if(
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
        self.dialer.waits_for(Stage::Query);
        let answer = async move {
            if still() { client.query_typed_one(query, &[]).await.map(Some) } else { Ok(None) }
        };
        match tokio::join!(answer, connection) {
            (Ok(row), _) => {
                self.dialer.waits_for(Stage::Answered);
                Ok(row)
            }
            (Err(answer), Err(broken)) if answer.is_closed() => {
                Err(self.explained(&broken, Step::Query))
            }
            (Err(answer), _) => Err(self.explained(&answer, Step::Query)),
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
    pub(crate) fn is_direct(&self, pid: i32) -> Result<(), SourceError> {
        match self.backend.get() {
            Some(said) if said != pid => {
                let what = "a pooler answers, which may use any server: the backend process that \
                            answered is not the announced one";
                Err(self.failed(ErrorKind::Pooler, what))
            }
            _ => Ok(()),
        }
    }

    /// A failure at this server.
    pub fn failed(&self, kind: ErrorKind, what: impl std::fmt::Display) -> SourceError {
        SourceError::new(kind, format!("{}: {what}", self.place))
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
            format!(
                "the operating system has no name for rolecall's user ({e}); hint: set `user` in \
                 `conninfo`"
            ),
        )
    })
}

/// The server's own limits, seven and five eighths of the look's, the operator's settings after them.
fn session_options(timeout: Duration, own: Option<&str>) -> String {
    let eighths = |n: u32| (timeout * n / 8).as_millis().clamp(1, i32::MAX as u128);
    let limits = format!("-c statement_timeout={} -c lock_timeout={}", eighths(7), eighths(5));
    own.map_or_else(|| limits.clone(), |own| format!("{limits} {own}"))
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
