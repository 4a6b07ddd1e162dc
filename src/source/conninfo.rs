//! libpq connection strings, in both of libpq's forms, taken apart.
//!
//! The syntax is libpq's own (PostgreSQL manual, "Connection Strings"; `conninfo_parse` and
//! `conninfo_uri_parse_options` in fe-connect.c): `key=value` words with `'` and `\`, or a URI with
//! percent-encoding. What differs is what is done with the keys: a key that is not honoured is an
//! error, and nothing is taken from the environment, the home directory or a service file.

mod syntax;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::secret::Secret;

pub use syntax::quoted;

/// Where the server's socket is looked for when neither `host` nor `hostaddr` is given: the choice
/// of Debian's and of the PGDG's packages (a PostgreSQL built from source uses /tmp).
pub const DEFAULT_SOCKET_DIR: &str = "/var/run/postgresql";

/// PostgreSQL's port.
pub const DEFAULT_PORT: u16 = 5432;

/// `application_name` where none is given: what the server's activity view and log show.
pub const APPLICATION_NAME: &str = "rolecall";

/// How one server is reached and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conninfo {
    /// `host`, `hostaddr`, `port`.
    pub place: Place,
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
    /// `application_name`, else `fallback_application_name`, else [`APPLICATION_NAME`].
    pub application_name: String,
    /// `options`: settings for the session, such as `-c search_path=x`.
    pub options: Option<String>,
}

/// One server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A name, an address, or a directory with a socket (begins with `/`). `None` with a
    /// `hostaddr`, and for the server behind [`DEFAULT_SOCKET_DIR`].
    pub host: Option<String>,
    /// The address to connect to in the place of `host`, which then only names the server.
    pub hostaddr: Option<IpAddr>,
    /// From 1 up.
    pub port: u16,
}

impl Place {
    /// The directory of the server's socket where it is not reached over TCP.
    pub fn socket_dir(&self) -> Option<&Path> {
        match (&self.hostaddr, self.name()) {
            (None, name) if name.starts_with('/') => Some(Path::new(name)),
            _ => None,
        }
    }

    /// The host as it was given, or the default.
    pub fn name(&self) -> &str {
        match (&self.host, self.hostaddr) {
            (Some(host), _) => host,
            (None, Some(_)) => "",
            (None, None) => DEFAULT_SOCKET_DIR,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.is_some() || self.hostaddr.is_none() {
            write!(f, "host={} ", quoted(self.name()))?;
        }
        if let Some(addr) = self.hostaddr {
            write!(f, "hostaddr={addr} ")?;
        }
        write!(f, "port={}", self.port)
    }
}

/// Whether and how the connection is encrypted, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only where the server's pg_hba.conf refuses a plain connection.
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
}

/// Keys that bound or tune libpq's waiting, read and not used: the source's `timeout` is over the
/// whole look, and a connection that lives for one query sends no keepalive.
const WAITING: [&str; 6] = [
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
];

/// Keys whose one harmless value is what is done anyway: the key, the values that are accepted.
const HARMLESS: [(&str, &[&str]); 6] = [
    ("target_session_attrs", &["any"]),
    ("load_balance_hosts", &["disable"]),
    ("gssencmode", &["disable", "prefer"]),
    ("sslnegotiation", &["postgres"]),
    ("sslcompression", &["0"]),
    ("sslsni", &["1"]),
];

impl FromStr for Conninfo {
    type Err = ConninfoError;

    /// Reads a connection string for exactly one server.
    fn from_str(text: &str) -> Result<Self, ConninfoError> {
        let mut given = Given::read(text)?;
        let [place] = <[Place; 1]>::try_from(given.places()?).map_err(|several| {
            ConninfoError::new(
                format!("`host` names {} servers, expected one", several.len()),
                "one source looks at one server; give each server a source of its own",
            )
        })?;
        let tls = given.tls(&place)?;
        let channel_binding = given.channel_binding()?;
        let fallback = given.take("fallback_application_name");
        let conninfo = Self {
            place,
            user: given.take("user"),
            dbname: given.take("dbname"),
            password: given.take("password").map(Secret::new),
            passfile: given.take("passfile").map(PathBuf::from),
            tls,
            channel_binding,
            application_name: given
                .take("application_name")
                .or(fallback)
                .unwrap_or_else(|| APPLICATION_NAME.to_owned()),
            options: given.take("options"),
        };
        given.nothing_left()?;
        Ok(conninfo)
    }
}

impl fmt::Display for Conninfo {
    /// Where and as whom, in libpq's words; for logs, so without anything secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)?;
        for (key, value) in [("dbname", &self.dbname), ("user", &self.user)] {
            if let Some(value) = value {
                write!(f, " {key}={}", quoted(value))?;
            }
        }
        Ok(())
    }
}

/// The servers a connection string names, whatever else it says. For strings written for another
/// program, such as those in repmgr's table of nodes: only `host`, `hostaddr` and `port` are read.
pub fn places(text: &str) -> Result<Vec<Place>, ConninfoError> {
    Given::read(text)?.places()
}

/// The keys and values of a string. A later value replaces an earlier one and an empty one stands
/// for none, as with libpq.
struct Given(BTreeMap<String, String>);

impl Given {
    fn read(text: &str) -> Result<Self, ConninfoError> {
        let mut keys = syntax::read(text)?;
        keys.retain(|_, value| !value.is_empty());
        if keys.values().any(|value| value.contains('\0')) {
            return Err(ConninfoError::new(
                "a value holds a zero byte, expected text",
                "no key of a connection string can hold one",
            ));
        }
        Ok(Self(keys))
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    fn take_word<T: Copy>(
        &mut self,
        key: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, ConninfoError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let known = words.iter().find(|(word, _)| *word == value);
        known.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| {
            let list: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            ConninfoError::new(
                format!("`{key}` is {value:?}, expected one of {}", list.join(", ")),
                "the words are libpq's, in lower case",
            )
        })
    }

    fn places(&mut self) -> Result<Vec<Place>, ConninfoError> {
        let list = |value: Option<String>| -> Vec<String> {
            value.map(|v| v.split(',').map(|p| p.trim().to_owned()).collect()).unwrap_or_default()
        };
        let hosts = list(self.take("host"));
        let addrs = list(self.take("hostaddr"));
        let ports = list(self.take("port"));
        let count = hosts.len().max(addrs.len()).max(1);
        for (key, found) in [("host", hosts.len()), ("hostaddr", addrs.len())] {
            if found != 0 && found != count {
                return Err(miscounted(key, found, count));
            }
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(miscounted("port", ports.len(), count));
        }
        let given = |list: &[String], at: usize| list.get(at).filter(|v| !v.is_empty()).cloned();
        (0..count)
            .map(|at| {
                let port = if ports.len() == 1 { given(&ports, 0) } else { given(&ports, at) };
                Ok(Place {
                    host: given(&hosts, at).map(host).transpose()?,
                    hostaddr: given(&addrs, at).map(|v| hostaddr(&v)).transpose()?,
                    port: port.map_or(Ok(DEFAULT_PORT), |v| self::port(&v))?,
                })
            })
            .collect()
    }

    fn tls(&mut self, place: &Place) -> Result<TlsSettings, ConninfoError> {
        let root = self.take("sslrootcert").map(|value| match value.as_str() {
            "system" => Root::System,
            _ => Root::File(PathBuf::from(value)),
        });
        let words = [
            ("disable", SslMode::Disable),
            ("allow", SslMode::Allow),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ];
        let mode = match (self.take_word("sslmode", &words)?, &root) {
            (Some(mode), _) => mode,
            (None, Some(Root::System)) => SslMode::VerifyFull,
            (None, _) => SslMode::Prefer,
        };
        if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) && root.is_none() {
            return Err(ConninfoError::new(
                "`sslmode` asks for a verified certificate and `sslrootcert` is missing",
                "set sslrootcert=FILE, or sslrootcert=system for the operating system's authorities",
            ));
        }
        if root == Some(Root::System) && mode != SslMode::VerifyFull {
            return Err(ConninfoError::new(
                "`sslrootcert` is \"system\" and `sslmode` is weaker than verify-full",
                "anybody can have a certificate the system trusts: set sslmode=verify-full",
            ));
        }
        if mode == SslMode::VerifyFull && place.name().is_empty() {
            return Err(ConninfoError::new(
                "`sslmode` is verify-full and `host` is missing",
                "beside `hostaddr`, set `host` to the name in the server's certificate",
            ));
        }
        let client = match (self.take("sslcert"), self.take("sslkey")) {
            (Some(cert), Some(key)) => {
                Some(ClientCertificate { cert: cert.into(), key: key.into() })
            }
            (None, None) => None,
            _ => {
                return Err(ConninfoError::new(
                    "one of `sslcert` and `sslkey` is missing",
                    "a client certificate needs both",
                ));
            }
        };
        Ok(TlsSettings { mode, root, client })
    }

    fn channel_binding(&mut self) -> Result<ChannelBinding, ConninfoError> {
        let words = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        Ok(self.take_word("channel_binding", &words)?.unwrap_or(ChannelBinding::Prefer))
    }

    /// Refuses every key that was not taken and is not harmless.
    fn nothing_left(mut self) -> Result<(), ConninfoError> {
        for key in WAITING {
            if let Some(value) = self.take(key)
                && value.trim().parse::<i32>().is_err()
            {
                return Err(ConninfoError::new(
                    format!("`{key}` is {value:?}, expected a whole number"),
                    "or leave it out: the source's `timeout` bounds the whole look",
                ));
            }
        }
        for (key, values) in HARMLESS {
            if let Some(value) = self.take(key)
                && !values.contains(&value.as_str())
            {
                return Err(ConninfoError::new(
                    format!("`{key}` is {value:?}, expected {}", values.join(" or ")),
                    format!("rolecall does nothing else there; leave `{key}` out"),
                ));
            }
        }
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => Err(refused(key)),
        }
    }
}

fn miscounted(key: &str, found: usize, expected: usize) -> ConninfoError {
    ConninfoError::new(
        format!("`{key}` lists {found} values, expected {expected}"),
        "`host`, `hostaddr` and `port` list one value for each server",
    )
}

fn host(value: String) -> Result<String, ConninfoError> {
    if value.starts_with('@') {
        return Err(ConninfoError::new(
            "`host` is an abstract socket, expected a name, an address or a directory",
            "set unix_socket_directories to a directory and name it here",
        ));
    }
    Ok(value)
}

fn hostaddr(value: &str) -> Result<IpAddr, ConninfoError> {
    value.parse().map_err(|_| {
        ConninfoError::new(
            format!("`hostaddr` is {value:?}, expected an IPv4 or IPv6 address"),
            "a name belongs into `host`",
        )
    })
}

fn port(value: &str) -> Result<u16, ConninfoError> {
    value.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
        ConninfoError::new(
            format!("`port` is {value:?}, expected a number from 1 to 65535"),
            "the default is 5432",
        )
    })
}

fn refused(key: &str) -> ConninfoError {
    // A password with a space in it and no quotes falls apart into what looks like a key.
    if key.is_empty() || key.len() > 32 || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    {
        return ConninfoError::new(
            "a word before `=` is no key of libpq",
            r"values with spaces are written in quotes: password='a \' b'",
        );
    }
    let hint = match key {
        "service" | "servicefile" => "write the service's keys here; no service file is read",
        "replication" => "rolecall asks one query on an ordinary connection; leave it out",
        "sslcrl" | "sslcrldir" => "revocation lists are not read; leave it out",
        "sslpassword" => "give `sslkey` a key that is not encrypted, readable by rolecall alone",
        "require_auth" => "restrict the methods in the server's pg_hba.conf",
        _ => {
            "known keys: host hostaddr port dbname user password passfile sslmode sslrootcert \
             sslcert sslkey channel_binding application_name options"
        }
    };
    ConninfoError::new(format!("`{key}` is not a key that rolecall honours"), hint)
}
