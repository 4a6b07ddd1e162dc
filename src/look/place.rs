//! Where a server is reached, in libpq's words.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

/// Where the server's socket is looked for when neither `host` nor `hostaddr` is given: the choice
/// of Debian's and of the PGDG's packages (a PostgreSQL built from source uses /tmp).
pub(crate) const DEFAULT_SOCKET_DIR: &str = "/var/run/postgresql";

/// PostgreSQL's port.
pub(crate) const DEFAULT_PORT: u16 = 5432;

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

    /// Whether the server is on this host: behind a socket of it, or at a loopback address, for which
    /// the system takes the unspecified one, too.
    pub fn is_here(&self) -> bool {
        let addr =
            self.hostaddr.or_else(|| self.name().parse().ok()).map(|addr| addr.to_canonical());
        let name = self.name().trim_end_matches('.');
        self.socket_dir().is_some()
            || addr.is_some_and(|addr| addr.is_loopback() || addr.is_unspecified())
            || (self.hostaddr.is_none() && name.eq_ignore_ascii_case("localhost"))
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

/// A value as it stands in a connection string of `key=value` words.
pub fn quoted(value: &str) -> String {
    if !value.is_empty() && !value.contains(|c| is_space(c) || c == '\'' || c == '\\') {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

/// A space of libpq: `isspace()` in the C locale.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}
