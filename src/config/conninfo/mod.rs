//! libpq connection strings, in both of libpq's forms, taken apart.
//!
//! The syntax is libpq's own (PostgreSQL manual, "Connection Strings"; `conninfo_parse` and
//! `conninfo_uri_parse_options` in fe-connect.c): `key=value` words with `'` and `\`, or a URI with
//! percent-encoding. What differs is what is done with the keys: a key that is not honoured is an
//! error, and nothing is taken from the environment or the home directory but the service file that
//! `service` names, where an operator wrote it ([`own`]).

mod auth;
mod keys;
mod service;
mod syntax;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::secret::Secret;

use crate::look::place::{DEFAULT_PORT, Place, quoted};
pub use auth::{Method, RequireAuth};
use keys::Given;
pub use keys::MAX_PLACES;
pub use service::own;

/// `application_name` where none is given: what the server's activity view and log show.
pub const APPLICATION_NAME: &str = "rolecall";

/// How one server is reached and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conninfo {
    /// `host`, `hostaddr`, `port`; the first where several are listed, which says what server is meant.
    pub place: Place,
    /// The others of the list: more addresses of the same server ([`crate::source::pg::hosts`]).
    pub others: Vec<Place>,
    /// `user`; `None`: the operating system's user.
    pub user: Option<String>,
    /// `dbname`; `None`: as the user is called.
    pub dbname: Option<String>,
    /// `password`.
    pub password: Option<Secret>,
    /// `passfile`; read only where the configuration names no other place for the password.
    pub passfile: Option<PathBuf>,
    /// `sslmode`, `sslrootcert`, `sslcert`, `sslkey`.
    pub tls: TlsSettings,
    /// `channel_binding`.
    pub channel_binding: ChannelBinding,
    /// `require_auth`; `None`: what [`crate::source::pg`] takes for a proof.
    pub require_auth: Option<RequireAuth>,
    /// `application_name`, else `fallback_application_name`, else [`APPLICATION_NAME`].
    pub application_name: String,
    /// `options`: settings for the session, such as `-c search_path=x`.
    pub options: Option<String>,
}

/// Whether and how the connection is encrypted, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only where the server's `pg_hba.conf` refuses a plain connection.
    Allow,
    /// Where the server can; libpq's default. Protects from nobody who can change packets.
    Prefer,
    /// Always; the certificate is looked at only with an `sslrootcert`.
    Require,
    /// Always, and the certificate must come from `sslrootcert`.
    VerifyCa,
    /// Always, and the certificate must come from `sslrootcert` and name the host.
    VerifyFull,
}

/// Who may have signed the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The certificates in this PEM file.
    File(PathBuf),
    /// Whoever the operating system trusts.
    System,
}

/// A certificate that this side shows to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file with the certificate and its chain (`sslcert`).
    pub cert: PathBuf,
    /// PEM file with its key, not encrypted (`sslkey`).
    pub key: PathBuf,
}

/// The TLS part of a connection string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// `sslmode`.
    pub mode: SslMode,
    /// `sslrootcert`; always there with `verify-ca` and `verify-full`.
    pub root: Option<Root>,
    /// `sslcert` and `sslkey`.
    pub client: Option<ClientCertificate>,
    /// `ssl_min_protocol_version` and `ssl_max_protocol_version`.
    pub versions: TlsVersions,
    /// `sslsni`: whether the server is told the name it is asked by.
    pub sni: bool,
}

/// The versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    Both,
    /// 1.2 alone.
    Only12,
    /// 1.3 alone.
    Only13,
}

impl TlsSettings {
    /// In this mode, with nothing else said.
    pub fn of(mode: SslMode) -> Self {
        Self { mode, root: None, client: None, versions: TlsVersions::Both, sni: true }
    }

    /// Whether a certificate that is accepted comes from an authority that the operator named: as libpq
    /// does, with any mode that uses TLS.
    pub fn verifies(&self) -> bool {
        self.root.is_some() && self.mode != SslMode::Disable
    }
}

/// Whether a SCRAM password is bound to the TLS connection it is proved over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where the server offers it.
    Prefer,
    /// Always, or no connection.
    Require,
}

/// Why a connection string cannot be used. Never holds a value that may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ConninfoError {
    /// What is wrong, and what was expected.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
}

impl ConninfoError {
    fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: hint.into() }
    }

    /// Several as one; `None` where there is none.
    fn all(errors: Vec<Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut all = errors.next()?;
        for error in errors {
            all.problem = format!("{}; {}", all.problem, error.problem);
            if !all.hint.contains(&error.hint) {
                all.hint = format!("{}; {}", all.hint, error.hint);
            }
        }
        Some(all)
    }
}

impl FromStr for Conninfo {
    type Err = ConninfoError;

    /// Reads a connection string for one server, without a service.
    fn from_str(text: &str) -> Result<Self, ConninfoError> {
        Self::of(Given::read(text)?)
    }
}

impl Conninfo {
    /// Every host of the list, the one that says what server is meant first.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.place).chain(&self.others)
    }

    /// Makes one of its keys; what is wrong with any of them is said in one error.
    fn of(mut given: Given) -> Result<Self, ConninfoError> {
        let mut wrong = Vec::new();
        let mut places = given.own_places().unwrap_or_else(|error| {
            wrong.push(error);
            vec![Place { host: Some("unknown".to_owned()), hostaddr: None, port: DEFAULT_PORT }]
        });
        let tls = given.tls(&places).unwrap_or_else(|error| {
            wrong.push(error);
            TlsSettings::of(SslMode::Require)
        });
        let channel_binding = given.channel_binding().unwrap_or_else(|error| {
            wrong.push(error);
            ChannelBinding::Prefer
        });
        let require_auth = given.require_auth().unwrap_or_else(|error| {
            wrong.push(error);
            None
        });
        if channel_binding == ChannelBinding::Require && tls.mode == SslMode::Disable {
            wrong.push(ConninfoError::new(
                "`channel_binding` is require and `sslmode` is disable, expected TLS to bind to",
                "set sslmode=require or better",
            ));
        }
        given.forget_what_does_nothing(&places);
        let fallback = given.take("fallback_application_name");
        let others = places.split_off(1);
        let conninfo = Self {
            place: places.remove(0),
            others,
            user: given.take("user"),
            dbname: given.take("dbname"),
            password: given.take("password").map(Secret::new),
            passfile: given.take("passfile").map(PathBuf::from),
            tls,
            channel_binding,
            require_auth,
            application_name: given
                .take("application_name")
                .or(fallback)
                .unwrap_or_else(|| APPLICATION_NAME.to_owned()),
            options: given.take("options"),
        };
        wrong.extend(given.nothing_left());
        ConninfoError::all(wrong).map_or(Ok(conninfo), Err)
    }
}

impl fmt::Display for Conninfo {
    /// Where and as whom, in libpq's words; for logs, so without anything secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.others.is_empty() {
            self.place.fmt(f)?;
        } else {
            let list = |value: fn(&Place) -> String| -> String {
                self.places().map(value).collect::<Vec<_>>().join(",")
            };
            write!(f, "host={}", quoted(&list(|place| place.name().to_owned())))?;
            if self.places().any(|place| place.hostaddr.is_some()) {
                let addr =
                    |place: &Place| place.hostaddr.map_or_else(String::new, |ip| ip.to_string());
                write!(f, " hostaddr={}", list(addr))?;
            }
            write!(f, " port={}", list(|place| place.port.to_string()))?;
        }
        for (key, value) in [("dbname", &self.dbname), ("user", &self.user)] {
            if let Some(value) = value {
                write!(f, " {key}={}", quoted(value))?;
            }
        }
        Ok(())
    }
}

/// The servers a connection string names, the first [`MAX_PLACES`] of them, whatever else it says. For strings written for another
/// program, such as those in repmgr's table of nodes: only `host`, `hostaddr` and `port` are read.
pub fn places(text: &str) -> Result<Vec<Place>, ConninfoError> {
    Ok(Given::read(text)?.places()?.0)
}
