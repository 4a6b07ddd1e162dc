//! How PostgreSQL is logged into: the keys that kinds `postgres` and `repmgr` and `[fence]` share, and what others may
//! do to such a login.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use crate::config::conninfo::{self, ChannelBinding, Conninfo, Method, SslMode};
use crate::config::document::{Fault, Table};
use crate::config::exposure::{self, OpenFile, Risk};
use crate::config::units::{PATH, credential, or_missing, path, string};
use crate::config::warning::Warning;

/// Where systemd keeps the credentials of the packaged unit while it runs.
const CREDENTIALS: &str = "/run/credentials/rolecall.service";

pub(crate) const CONNINFO: &str = "a libpq connection string";

/// The keys.
pub(crate) const KEYS: [&str; 3] = ["conninfo", "passfile", "password_credential"];

/// How PostgreSQL is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Where and as whom, in libpq's words.
    pub conninfo: Conninfo,
    /// Where the password comes from, where `conninfo` has none.
    pub password: PasswordFrom,
}

/// Where a password is read, at every look, so that a rotated one is used at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordFrom {
    /// Nowhere: `conninfo` has it, or the server asks for none.
    Nowhere,
    /// A file in the form of `.pgpass`.
    Passfile(PathBuf),
    /// A file that holds nothing but the password (a systemd credential).
    File(PathBuf),
}

impl Postgres {
    /// What an unverified network may do to the login; `believed`: what an impostor comes to who is not told the
    /// password.
    ///
    /// It follows from what [`crate::source::pg`] takes for a proof: a verified certificate ends all of it; SCRAM ends
    /// the impostor, and not whoever passes a login on; without either, whoever answers is believed.
    pub(crate) fn risk(&self, believed: Risk) -> Option<Risk> {
        let conninfo = &self.conninfo;
        let always =
            matches!(conninfo.tls.mode, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull);
        if always && conninfo.tls.verifies() {
            return None;
        }
        let names = |method| conninfo.require_auth.is_some_and(|require| require.names(method));
        let allows_none = conninfo.require_auth.is_none_or(|require| require.allows(Method::None));
        let has_password = conninfo.password.is_some()
            || conninfo.passfile.is_some()
            || self.password != PasswordFrom::Nowhere;
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

    /// The files that it is logged into with and that others may read.
    pub(crate) fn login_files(&self) -> Vec<OpenFile> {
        let password = match (&self.password, &self.conninfo.passfile) {
            (PasswordFrom::File(path), _) => exposure::open("password_credential", path),
            (PasswordFrom::Passfile(path), _) | (PasswordFrom::Nowhere, Some(path)) => {
                exposure::open_passfile(path)
            }
            (PasswordFrom::Nowhere, None) => None,
        };
        let key = self.conninfo.tls.client.as_ref();
        let key = key.and_then(|client| exposure::open("sslkey", &client.key));
        password.into_iter().chain(key).collect()
    }

    /// The file of its password, where it is not there.
    pub(crate) fn missing_files(&self) -> Vec<Warning> {
        let missing = match &self.password {
            PasswordFrom::Nowhere => None,
            PasswordFrom::Passfile(path) => Warning::of_missing("passfile", path),
            PasswordFrom::File(path) => Warning::of_missing("password_credential", path),
        };
        missing.into_iter().collect()
    }
}

/// Reads one; `None` only where a problem was reported.
pub(crate) fn read(table: &Table<'_>, credentials: Option<&Path>) -> Option<Postgres> {
    let (conninfo, password) = keys(table, credentials);
    let hint = r#"such as "host=/run/postgresql user=rolecall dbname=postgres""#;
    let conninfo = or_missing(table, "conninfo", conninfo, CONNINFO, hint);
    conninfo.zip(password).map(|(conninfo, password)| Postgres { conninfo, password })
}

/// Reads the connection string under `key`, where it is there.
pub(crate) fn conninfo_at(table: &Table<'_>, key: &'static str) -> Option<Conninfo> {
    let read = |text: &str| {
        conninfo::own(text)
            .map_err(|error| Fault::new(error.problem.as_str(), CONNINFO, error.hint.as_str()))
    };
    table.take(key, string(CONNINFO, read))
}

/// Reads the keys, where they are there; no password's place only where a problem was reported.
pub(crate) fn keys(
    table: &Table<'_>,
    credentials: Option<&Path>,
) -> (Option<Conninfo>, Option<PasswordFrom>) {
    let conninfo = conninfo_at(table, "conninfo");
    let passfile = table.take("passfile", string(PATH, path));
    let credential = table.take("password_credential", |value| from_credential(value, credentials));
    let (file, secret) = (table.has("passfile"), table.has("password_credential"));
    // It would be used, or not, without anybody being told which.
    let within = conninfo.as_ref().and_then(|conninfo| {
        let within =
            [("password", conninfo.password.is_some()), ("passfile", conninfo.passfile.is_some())];
        within.into_iter().find_map(|(key, given)| given.then_some(key))
    });
    for (key, given) in [("passfile", file), ("password_credential", secret)] {
        if let Some(within) = within.filter(|_| given) {
            let what = format!("is set, but `conninfo` contains `{within}` too");
            let hint = "remove one of the two; a file keeps the password out of the configuration";
            table.report(key, Fault::new(what, "the password in one place only", hint));
        }
    }
    let password = match (file, secret) {
        (true, true) => {
            let what = "is set together with `passfile`";
            let hint = "remove one of the two";
            let fault = Fault::new(what, "`passfile` or `password_credential`", hint);
            table.report("password_credential", fault);
            None
        }
        (true, false) => passfile.map(PasswordFrom::Passfile),
        (false, true) => credential.map(PasswordFrom::File),
        (false, false) => Some(PasswordFrom::Nowhere),
    };
    (conninfo, password)
}

/// The file of a systemd credential. A person who runs `check` or `ask` by hand has no
/// `$CREDENTIALS_DIRECTORY`; then it is the one of the running unit.
fn from_credential(value: &DeValue<'_>, directory: Option<&Path>) -> Result<PathBuf, Fault> {
    let expected = "the name of a credential";
    let name = string(expected, credential)(value)?;
    Ok(directory.unwrap_or(Path::new(CREDENTIALS)).join(name))
}
