//! What the keys of a connection string mean, and which are refused.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::{
    ChannelBinding, ClientCertificate, ConninfoError, DEFAULT_PORT, Place, RequireAuth, Root,
    SslMode, TlsSettings, syntax,
};

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

/// Keys of libpq that are refused, and may be named where that is said.
const REFUSED: [&str; 17] = [
    "client_encoding",
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "replication",
    "requirepeer",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslpassword",
];

/// The keys that change something.
const HONOURED: &str = "known keys: host hostaddr port dbname user password passfile sslmode sslrootcert \
                        sslcert sslkey channel_binding require_auth application_name options";

/// Most servers of one string that are looked at, the first ones; libpq tries all of them, and nobody
/// writes down more ways to one server.
pub const MAX_PLACES: usize = 8;

/// What to do about a URI of which a part cannot be used.
const ENCODE: &str = "in a user's name and password `@ / ? : #` are written %40 %2F %3F %3A %23; a passfile needs none";

/// The keys and values of a string. A later value replaces an earlier one and an empty one stands
/// for none, as with libpq.
pub(super) struct Given {
    keys: BTreeMap<String, String>,
    /// It was a URI: any part of it may be a piece of a password that was not encoded.
    uri: bool,
}

impl Given {
    pub(super) fn read(text: &str) -> Result<Self, ConninfoError> {
        let (mut keys, uri) = syntax::read(text)?;
        keys.retain(|_, value| !value.is_empty());
        if keys.values().any(|value| value.contains('\0')) {
            return Err(ConninfoError::new(
                "a value holds a zero byte, expected text",
                "no key of a connection string can hold one",
            ));
        }
        Ok(Self { keys, uri })
    }

    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.keys.remove(key)
    }

    /// A value that cannot be used. What came out of a URI is not repeated.
    fn wrong(&self, key: &str, value: &str, expected: &str, hint: &str) -> ConninfoError {
        if self.uri {
            let what = format!("`{key}` in the URI cannot be used, expected {expected}");
            return ConninfoError::new(what, format!("{hint}; {ENCODE}"));
        }
        ConninfoError::new(format!("`{key}` is {value:?}, expected {expected}"), hint)
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
            let expected = format!("one of {}", list.join(", "));
            self.wrong(key, &value, &expected, "the words are libpq's, in lower case")
        })
    }

    /// The servers, at most [`MAX_PLACES`], and how many are listed.
    pub(super) fn places(&mut self) -> Result<(Vec<Place>, usize), ConninfoError> {
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
        let place = |at| {
            let port = if ports.len() == 1 { given(&ports, 0) } else { given(&ports, at) };
            Ok(Place {
                host: given(&hosts, at).map(host).transpose()?,
                hostaddr: given(&addrs, at).map(|v| self.hostaddr(&v)).transpose()?,
                port: port.map_or(Ok(DEFAULT_PORT), |v| self.port(&v))?,
            })
        };
        let places = (0..count.min(MAX_PLACES)).map(place).collect::<Result<_, _>>()?;
        Ok((places, count))
    }

    fn hostaddr(&self, value: &str) -> Result<IpAddr, ConninfoError> {
        let expected = "an IPv4 or IPv6 address";
        let wrong = |_| self.wrong("hostaddr", value, expected, "a name belongs into `host`");
        value.parse().map_err(wrong)
    }

    fn port(&self, value: &str) -> Result<u16, ConninfoError> {
        let port = value.parse().ok().filter(|port| *port != 0);
        let expected = "a number from 1 to 65535";
        port.ok_or_else(|| self.wrong("port", value, expected, "the default is 5432"))
    }

    pub(super) fn tls(&mut self, place: &Place) -> Result<TlsSettings, ConninfoError> {
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

    pub(super) fn channel_binding(&mut self) -> Result<ChannelBinding, ConninfoError> {
        let words = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        Ok(self.take_word("channel_binding", &words)?.unwrap_or(ChannelBinding::Prefer))
    }

    pub(super) fn require_auth(&mut self) -> Result<Option<RequireAuth>, ConninfoError> {
        self.take("require_auth").map(|value| RequireAuth::read(&value)).transpose()
    }

    /// Refuses every key that was not taken and is not harmless.
    pub(super) fn nothing_left(mut self) -> Result<(), ConninfoError> {
        for key in WAITING {
            if let Some(value) = self.take(key)
                && value.trim().parse::<i32>().is_err()
            {
                let hint = "or leave it out: the source's `timeout` bounds the whole look";
                return Err(self.wrong(key, &value, "a whole number", hint));
            }
        }
        for (key, values) in HARMLESS {
            if let Some(value) = self.take(key)
                && !values.contains(&value.as_str())
            {
                let hint = format!("rolecall does nothing else there; leave `{key}` out");
                return Err(self.wrong(key, &value, &values.join(" or "), &hint));
            }
        }
        match self.keys.keys().next() {
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

/// A name, an address or a directory. What has a sign that none of them has is most likely a piece of a
/// password; it is refused, and not repeated.
fn host(value: String) -> Result<String, ConninfoError> {
    if value.starts_with('@') {
        return Err(ConninfoError::new(
            "`host` is an abstract socket, expected a name, an address or a directory",
            "set unix_socket_directories to a directory and name it here",
        ));
    }
    let sign = |c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%'));
    if !value.starts_with('/') && value.contains(sign) {
        let what =
            "`host` holds a sign that no name has, expected a name, an address or a directory";
        return Err(ConninfoError::new(what, format!("a directory begins with `/`; {ENCODE}")));
    }
    Ok(value)
}

fn refused(key: &str) -> ConninfoError {
    // A password with a space in it and no quotes falls apart into what looks like a key.
    if !REFUSED.contains(&key) {
        return ConninfoError::new(
            "a word before `=` is no key of libpq",
            format!("{HONOURED}; values with spaces are written in quotes: password='a \\' b'"),
        );
    }
    let hint = match key {
        "service" | "servicefile" => "write the service's keys here; no service file is read",
        "replication" => "rolecall asks one query on an ordinary connection; leave it out",
        "sslcrl" | "sslcrldir" => "revocation lists are not read; leave it out",
        "sslpassword" => "give `sslkey` a key that is not encrypted, readable by rolecall alone",
        _ => HONOURED,
    };
    ConninfoError::new(format!("`{key}` is not a key that rolecall honours"), hint)
}
