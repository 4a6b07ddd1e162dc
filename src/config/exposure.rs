//! What others may do to a configuration: a network that nothing verifies, and files that others may read.
//!
//! Which of it befalls a source is asked of its kind; here is how it is said.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What an unverified network may do to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// The kind of the source.
    pub kind: &'static str,
    /// The worst of it.
    pub risk: Risk,
    /// The line that ends it.
    pub hint: &'static str,
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
    /// Of a source that logs into PostgreSQL.
    pub(crate) fn of_login(kind: &'static str, risk: Risk) -> Self {
        let hint = match risk {
            Risk::Relay => {
                "add sslmode=verify-full sslrootcert=FILE to `conninfo`; or add \
                 channel_binding=require if you do not know which authority signs the servers' \
                 certificates"
            }
            Risk::Password | Risk::Role | Risk::Vote => {
                "add sslmode=verify-full sslrootcert=FILE to `conninfo`; or use scram-sha-256 in \
                 every pg_hba.conf, set `passfile`, and list no other method in `require_auth`"
            }
        };
        Self { kind, risk, hint }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source {}: the connection does not prove which server answers: ", self.kind)?;
        f.write_str(match self.risk {
            Risk::Password => {
                "`require_auth` allows the password in clear or as MD5, so anybody who answers at \
                 a server's address learns it and is believed"
            }
            Risk::Role => {
                "anybody who answers at the server's address decides which role rolecall sees"
            }
            Risk::Vote => {
                "anybody who answers at another node's address decides its vote, so an attacker \
                 could make an old primary READY"
            }
            Risk::Relay => {
                "anybody between this host and a server can relay the login and answer in the \
                 server's place"
            }
        })
    }
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
            "{key}: {} contains a secret, and other users may read it (mode {mode:04o})",
            path.display()
        )
    }
}

/// The file, where anybody but its owner and its group may read it.
pub(crate) fn open(key: &'static str, path: &Path) -> Option<OpenFile> {
    open_to(key, path, OTHERS)
}

/// A passfile, where anybody but its owner may do anything with it.
pub(crate) fn open_passfile(path: &Path) -> Option<OpenFile> {
    open_to("passfile", path, ANYBODY)
}

fn open_to(key: &'static str, path: &Path, to: u32) -> Option<OpenFile> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & to != 0).then(|| OpenFile { key, path: path.to_owned(), mode })
}
