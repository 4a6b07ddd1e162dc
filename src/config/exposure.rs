//! What others may do to a configuration: a network that nothing verifies, and files that others may read.
//!
//! What the network may do follows from what [`crate::source::pg`] takes for a proof: a verified certificate
//! ends all of it; SCRAM ends the impostor, and not whoever passes a login on; without either, whoever
//! answers is believed.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::conninfo::{ChannelBinding, Method, SslMode};
use crate::config::{Kind, PasswordFrom, Postgres, Source};
use crate::look::place::Place;

/// What an unverified network may do to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// The kind of the source.
    pub kind: &'static str,
    /// The worst of it.
    pub risk: Risk,
}

/// What whoever can answer in the place of a server, or change what passes, comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Risk {
    /// He is told the password, and believed.
    Password,
    /// He says what role the node has.
    Role,
    /// He gives another node's vote.
    Vote,
    /// He passes a login on to the right server, and then answers in its place.
    Relay,
}

impl Exposure {
    /// What the network may do to this source, if something.
    pub fn of(source: &Source) -> Option<Self> {
        let kind = source.kind.as_str();
        let risk = match &source.kind {
            Kind::Patroni(patroni) => (!verifies(&patroni.url)).then_some(Risk::Role),
            Kind::Postgres(server) if server.conninfo.places().all(Place::is_here) => None,
            Kind::Postgres(server) => of_server(server, Risk::Role),
            // The other nodes are asked with the same login.
            Kind::Repmgr(repmgr) => of_server(&repmgr.server, Risk::Vote),
            Kind::Tcp(_) | Kind::Command(_) | Kind::Static(_) => None,
        };
        risk.map(|risk| Self { kind, risk })
    }

    /// The line that ends it.
    pub fn hint(self) -> &'static str {
        match (self.kind, self.risk) {
            ("patroni", _) => {
                "give Patroni's REST API a certificate (restapi.certfile), and set url = \"https://...\" and \
                 ca_file = \"FILE\""
            }
            (_, Risk::Relay) => {
                "add sslmode=verify-full sslrootcert=FILE to `conninfo`, or channel_binding=require where \
                 the servers' certificates are nobody's you know"
            }
            (_, Risk::Password | Risk::Role | Risk::Vote) => {
                "add sslmode=verify-full sslrootcert=FILE to `conninfo`; or have every pg_hba.conf say \
                 scram-sha-256 and give the password by `passfile`, with no other method in `require_auth`"
            }
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source {}: the network proves nothing: ", self.kind)?;
        f.write_str(match self.risk {
            Risk::Password => {
                "whoever answers at a server's address is told the password, in clear or as MD5, for \
                 `require_auth` names that, and is believed"
            }
            Risk::Role => "whoever answers at its address says what role the node has",
            Risk::Vote => {
                "whoever answers at another node's address gives that node's vote, so that impostors can \
                 make an old primary READY"
            }
            Risk::Relay => {
                "whoever stands between this host and a server can pass the login on and answer in the \
                 server's place"
            }
        })
    }
}

/// Whether whoever answers at this URL has to prove himself, or is on this host.
fn verifies(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return true };
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let here = address.map_or(host == "localhost", |address| address.is_loopback());
    here || url.scheme() == "https"
}

fn of_server(server: &Postgres, believed: Risk) -> Option<Risk> {
    let conninfo = &server.conninfo;
    let always =
        matches!(conninfo.tls.mode, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull);
    if always && conninfo.tls.verifies() {
        return None;
    }
    let names = |method| conninfo.require_auth.is_some_and(|require| require.names(method));
    let allows_none = conninfo.require_auth.is_none_or(|require| require.allows(Method::None));
    let has_password = conninfo.password.is_some()
        || conninfo.passfile.is_some()
        || server.password != PasswordFrom::Nowhere;
    if conninfo.channel_binding == ChannelBinding::Require {
        // Bound to the certificate that the server of the password has.
        return None;
    }
    if has_password && (names(Method::Password) || names(Method::Md5)) {
        return Some(Risk::Password);
    }
    let impostor = names(Method::None) || (!has_password && allows_none);
    Some(if impostor { believed } else { Risk::Relay })
}

/// A file with a secret that others may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFile {
    /// The key that names the file, or that stands in it.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
}

/// Who must not be able to read a file, by the bits of its mode.
const OTHERS: u32 = 0o004;
/// A passfile that anybody else can open is not used, as with libpq.
const ANYBODY: u32 = 0o077;

impl fmt::Display for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, path, mode } = self;
        write!(
            f,
            "{key}: {} holds a secret, and others may read it (mode {mode:04o})",
            path.display()
        )
    }
}

/// The files with the secrets of a source that others may read.
pub fn open_files(source: &Source) -> Vec<OpenFile> {
    let client = |client: &Option<crate::config::conninfo::ClientCertificate>, key| {
        client.as_ref().and_then(|client| open(key, &client.key, OTHERS))
    };
    match &source.kind {
        Kind::Patroni(patroni) => client(&patroni.tls.client, "key_file").into_iter().collect(),
        Kind::Postgres(server) => of_login(server),
        Kind::Repmgr(repmgr) => {
            let release = repmgr.release.as_ref();
            let release = release.and_then(|it| open("release_key_file", &it.key_file, OTHERS));
            of_login(&repmgr.server).into_iter().chain(release).collect()
        }
        Kind::Tcp(_) | Kind::Command(_) | Kind::Static(_) => Vec::new(),
    }
}

/// The same, of what one server is logged into with.
pub fn of_login(server: &Postgres) -> Vec<OpenFile> {
    let password = match (&server.password, &server.conninfo.passfile) {
        (PasswordFrom::File(path), _) => open("password_credential", path, OTHERS),
        (PasswordFrom::Passfile(path), _) | (PasswordFrom::Nowhere, Some(path)) => {
            open("passfile", path, ANYBODY)
        }
        (PasswordFrom::Nowhere, None) => None,
    };
    let key = server.conninfo.tls.client.as_ref();
    let key = key.and_then(|client| open("sslkey", &client.key, OTHERS));
    password.into_iter().chain(key).collect()
}

/// The configuration itself, where a `conninfo` in it has a password.
pub fn open_config(path: &Path, servers: &[&Postgres]) -> Option<OpenFile> {
    let secret = servers.iter().any(|server| server.conninfo.password.is_some());
    if secret { open("conninfo", path, OTHERS) } else { None }
}

fn open(key: &'static str, path: &Path, to: u32) -> Option<OpenFile> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & to != 0).then(|| OpenFile { key, path: path.to_owned(), mode })
}
