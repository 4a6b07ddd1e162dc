//! What the keys of a connection string mean, and which are refused.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::{
    ChannelBinding, ClientCertificate, ConninfoError, DEFAULT_PORT, Place, RequireAuth, Root,
    SslMode, TlsSettings, TlsVersions, syntax,
};

/// What becomes of a key of libpq that changes nothing here.
enum Fate {
    /// A whole number, not used: the source's `timeout` is over the whole look, and a connection that lives
    /// for one query sends no keepalive.
    Number,
    /// Whatever it says: it is about a way of logging in that rolecall does not have, and never begins.
    Nothing,
    /// These values are what is done anyway; the hint for others.
    Only(&'static [&'static str], &'static str),
    /// It cannot be honoured; the hint.
    Never(&'static str),
}

const LEAVE: &str = "remove it: rolecall always does that";
const SEVERAL: &str = "remove it and give each server a source of its own: the hosts of one \
                       source must be addresses of one server, whose role rolecall finds out";
const ROLE: &str = "remove it: rolecall finds out the role of the server itself";
const REVOKED: &str = "remove it: rolecall reads no revocation lists";
const KEYS_OF_SCRAM: &str = "set `password_credential` or `passfile` instead";
const OAUTH: &str = "rolecall does not log in by OAuth: give its role a password or a certificate";

/// Every key of libpq of PostgreSQL 18 (`PQconninfoOptions` in fe-connect.c) that has no field of its own.
const FATES: [(&str, Fate); 33] = [
    ("connect_timeout", Fate::Number),
    ("keepalives", Fate::Number),
    ("keepalives_count", Fate::Number),
    ("keepalives_idle", Fate::Number),
    ("keepalives_interval", Fate::Number),
    ("tcp_user_timeout", Fate::Number),
    ("krbsrvname", Fate::Nothing),
    ("gsslib", Fate::Nothing),
    ("gssdelegation", Fate::Nothing),
    ("client_encoding", Fate::Only(&["UTF8", "UTF-8", "utf8", "utf-8", "auto"], LEAVE)),
    ("target_session_attrs", Fate::Only(&["any", "prefer-standby"], ROLE)),
    ("load_balance_hosts", Fate::Only(&["disable"], LEAVE)),
    ("gssencmode", Fate::Only(&["disable", "prefer"], LEAVE)),
    ("sslnegotiation", Fate::Only(&["postgres"], LEAVE)),
    // OpenSSL of the distributions has none, with which libpq does nothing either.
    ("sslcompression", Fate::Only(&["0", "1"], LEAVE)),
    ("replication", Fate::Only(&["false", "off", "no", "0"], LEAVE)),
    ("min_protocol_version", Fate::Only(&["3.0"], LEAVE)),
    ("max_protocol_version", Fate::Only(&["3.0", "3.2", "latest"], LEAVE)),
    ("requirepeer", Fate::Never("remove it: rolecall does not check which user owns the socket")),
    ("sslcrl", Fate::Never(REVOKED)),
    ("sslcrldir", Fate::Never(REVOKED)),
    ("sslkeylogfile", Fate::Never("remove it: rolecall never writes down session keys")),
    (
        "sslpassword",
        Fate::Never("set `sslkey` to a key without a passphrase that only rolecall can read"),
    ),
    ("scram_client_key", Fate::Never(KEYS_OF_SCRAM)),
    ("scram_server_key", Fate::Never(KEYS_OF_SCRAM)),
    ("oauth_issuer", Fate::Never(OAUTH)),
    ("oauth_client_id", Fate::Never(OAUTH)),
    ("oauth_client_secret", Fate::Never(OAUTH)),
    ("oauth_scope", Fate::Never(OAUTH)),
    ("service", Fate::Never("write the service's keys into `conninfo`")),
    ("servicefile", Fate::Never("write the service's keys into `conninfo`")),
    // Of libpq up to 13, which it read and did not use.
    ("authtype", Fate::Nothing),
    ("tty", Fate::Nothing),
];

/// The keys that change something.
const HONOURED: &str = "the known keys are: host hostaddr port dbname user password passfile \
                        service servicefile sslmode sslrootcert sslcert sslkey sslcertmode sslsni \
                        ssl_min_protocol_version ssl_max_protocol_version channel_binding \
                        require_auth application_name options";

/// Most servers of one string that are looked at, the first ones; libpq tries all of them, and nobody
/// writes down more ways to one server.
pub const MAX_PLACES: usize = 8;

/// What to do about a URI of which a part cannot be used.
const ENCODE: &str = "in a user name or password write `@ / ? : #` as %40 %2F %3F %3A %23; a \
                      passfile needs none of this";

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
                "a value contains a zero byte, expected text",
                "remove it: no value of a connection string may contain one",
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
            self.wrong(key, &value, &expected, "write libpq's words in lower case")
        })
    }

    /// The hosts of the one server: at least one.
    pub(super) fn own_places(&mut self) -> Result<Vec<Place>, ConninfoError> {
        let (places, count) = self.places()?;
        if count > MAX_PLACES {
            return Err(ConninfoError::new(
                format!("`host` lists {count} hosts, expected {MAX_PLACES} at most"),
                "the hosts of one source must be addresses of one server: give each server a \
                 source of its own",
            ));
        }
        // Only who may be sent elsewhere has a choice.
        if count > 1
            && let Some(wanted) = self.take("target_session_attrs").filter(|value| value != "any")
        {
            return Err(self.wrong("target_session_attrs", &wanted, "any", SEVERAL));
        }
        Ok(places)
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
        let wrong = |_| self.wrong("hostaddr", value, expected, "put a name into `host`");
        value.parse().map_err(wrong)
    }

    fn port(&self, value: &str) -> Result<u16, ConninfoError> {
        let port = value.parse().ok().filter(|port| *port != 0);
        let expected = "a number from 1 to 65535";
        port.ok_or_else(|| self.wrong("port", value, expected, "the default is 5432"))
    }

    pub(super) fn tls(&mut self, places: &[Place]) -> Result<TlsSettings, ConninfoError> {
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
                "`sslmode` requires a verified certificate, but `sslrootcert` is missing",
                "set sslrootcert=FILE, or sslrootcert=system for the operating system's authorities",
            ));
        }
        if root == Some(Root::System) && mode != SslMode::VerifyFull {
            return Err(ConninfoError::new(
                "`sslrootcert` is \"system\", but `sslmode` is weaker than verify-full",
                "set sslmode=verify-full: anybody can get a certificate that the operating system \
                 trusts",
            ));
        }
        if mode == SslMode::VerifyFull && places.iter().any(|place| place.name().is_empty()) {
            return Err(ConninfoError::new(
                "`sslmode` is verify-full, but `host` is missing",
                "set `host` to the name in the server's certificate, in addition to `hostaddr`",
            ));
        }
        let shown = [("allow", true), ("disable", false)];
        let shown = self.take_word("sslcertmode", &shown)?.unwrap_or(true);
        if !self.keys.contains_key("sslkey") {
            // Without a key it opens nothing.
            self.take("sslpassword");
        }
        let client = match (self.take("sslcert"), self.take("sslkey")) {
            (Some(cert), Some(key)) => {
                Some(ClientCertificate { cert: cert.into(), key: key.into() })
            }
            (None, None) => None,
            _ => {
                return Err(ConninfoError::new(
                    "only one of `sslcert` and `sslkey` is set",
                    "set both: a client certificate needs its key",
                ));
            }
        };
        let client = client.filter(|_| shown);
        let versions = self.tls_versions()?;
        let sni = self.take_word("sslsni", &[("1", true), ("0", false)])?.unwrap_or(true);
        Ok(TlsSettings { root, client, versions, sni, ..TlsSettings::of(mode) })
    }

    /// Of the versions that libpq names, rolecall has 1.2 and 1.3.
    fn tls_versions(&mut self) -> Result<TlsVersions, ConninfoError> {
        let least = [("TLSv1", 2), ("TLSv1.1", 2), ("TLSv1.2", 2), ("TLSv1.3", 3)];
        let most = [("TLSv1.2", 2), ("TLSv1.3", 3)];
        let least = self.take_word("ssl_min_protocol_version", &least)?.unwrap_or(2);
        let most = self.take_word("ssl_max_protocol_version", &most)?.unwrap_or(3);
        match (least, most) {
            (2, 3) => Ok(TlsVersions::Both),
            (2, _) => Ok(TlsVersions::Only12),
            (_, 3) => Ok(TlsVersions::Only13),
            _ => Err(ConninfoError::new(
                "`ssl_min_protocol_version` is higher than `ssl_max_protocol_version`",
                "rolecall supports TLSv1.2 and TLSv1.3; remove both",
            )),
        }
    }

    /// Adds what is not there yet.
    pub(super) fn complete(&mut self, keys: Vec<(String, String)>) {
        for (key, value) in keys.into_iter().filter(|(_, value)| !value.is_empty()) {
            self.keys.entry(key).or_insert(value);
        }
    }

    /// Whose a socket's server must be is of no matter where there is no socket.
    pub(super) fn forget_what_does_nothing(&mut self, places: &[Place]) {
        if places.iter().all(|place| place.socket_dir().is_none()) {
            self.take("requirepeer");
        }
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

    /// What is wrong with the keys that were not taken: every one that is not known, cannot be honoured, or
    /// has a value that would change something.
    pub(super) fn nothing_left(mut self) -> Vec<ConninfoError> {
        let mut wrong = Vec::new();
        for (key, fate) in &FATES {
            let Some(value) = self.take(key) else { continue };
            match fate {
                Fate::Number if value.trim().parse::<i32>().is_ok() => {}
                Fate::Number => {
                    let hint = "or remove it: `timeout` of the source limits the whole poll";
                    wrong.push(self.wrong(key, &value, "a whole number", hint));
                }
                Fate::Nothing => {}
                Fate::Only(values, _) if values.contains(&value.as_str()) => {}
                Fate::Only(values, hint) => {
                    wrong.push(self.wrong(key, &value, &values.join(" or "), hint));
                }
                Fate::Never(hint) => {
                    let what = format!("rolecall does not support the key `{key}`");
                    wrong.push(ConninfoError::new(what, *hint));
                }
            }
        }
        if !self.keys.is_empty() {
            // A password with a space in it and no quotes falls apart into what looks like a key.
            wrong.push(ConninfoError::new(
                "a word before `=` is not a libpq key",
                format!("{HONOURED}; put values with spaces into quotes: password='a \\' b'"),
            ));
        }
        wrong
    }
}

fn miscounted(key: &str, found: usize, expected: usize) -> ConninfoError {
    ConninfoError::new(
        format!("`{key}` lists {found} values, expected {expected}"),
        "`host`, `hostaddr` and `port` must each have one value per server",
    )
}

/// A name, an address or a directory. What has a sign that none of them has is most likely a piece of a
/// password; it is refused, and not repeated.
fn host(value: String) -> Result<String, ConninfoError> {
    if value.starts_with('@') {
        return Err(ConninfoError::new(
            "`host` is an abstract socket, expected a name, an address or a directory",
            "set PostgreSQL's unix_socket_directories to a directory and name that directory here",
        ));
    }
    let sign = |c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%'));
    if !value.starts_with('/') && value.contains(sign) {
        let what = "`host` contains a character that no host name has, expected a name, an \
                    address or a directory";
        return Err(ConninfoError::new(what, format!("a directory begins with `/`; {ENCODE}")));
    }
    Ok(value)
}
