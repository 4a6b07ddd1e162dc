//! Service files, for the `conninfo` that an operator wrote into rolecall's own configuration.
//!
//! As libpq reads them (PostgreSQL manual, "The Connection Service File"; `parseServiceInfo` in fe-connect.c):
//! `servicefile`, else `PGSERVICEFILE`, else `~/.pg_service.conf` and then the one of the system. What the
//! string itself says comes first. The row of a table never names one: it would be another on every host.

use std::env;
use std::path::{Path, PathBuf};

use super::keys::Given;
use super::{Conninfo, ConninfoError};
use crate::host::small_file;

/// Most bytes of a service file.
const MAX_BYTES: u64 = 64 * 1024;

/// Where the packages of Debian, of PGDG for Red Hat, and a build from source look for `pg_service.conf`
/// where `PGSYSCONFDIR` does not say.
const SYSTEM: [&str; 3] =
    ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc"];

/// Reads a connection string for exactly one server, with the service that it names on this host.
///
/// # Errors
/// As reading the string itself, and where the service is nowhere, or its file cannot be read.
pub fn own(text: &str) -> Result<Conninfo, ConninfoError> {
    let mut given = Given::read(text)?;
    let file = given.take("servicefile").map(PathBuf::from);
    if let Some(service) = given.take("service") {
        let keys = find(&service, &candidates(file))?;
        given.complete(keys);
    }
    Conninfo::of(given)
}

/// The files in which a service is looked for, and whether each has to be there.
fn candidates(file: Option<PathBuf>) -> Vec<(PathBuf, bool)> {
    let named = file.or_else(|| variable("PGSERVICEFILE"));
    if let Some(named) = named {
        return vec![(named, true)];
    }
    let home = variable("HOME").map(|home| home.join(".pg_service.conf"));
    let system = match variable("PGSYSCONFDIR") {
        Some(dir) => vec![dir],
        None => SYSTEM.map(PathBuf::from).to_vec(),
    };
    let system = system.into_iter().map(|dir| dir.join("pg_service.conf"));
    home.into_iter().chain(system).map(|path| (path, false)).collect()
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn find(service: &str, files: &[(PathBuf, bool)]) -> Result<Vec<(String, String)>, ConninfoError> {
    let mut looked = Vec::new();
    for (path, named) in files {
        if !named && !path.exists() {
            continue;
        }
        let bytes = small_file::read(path, MAX_BYTES).map_err(|error| {
            ConninfoError::new(
                format!("service file {}", error.detail),
                "let rolecall's user read it",
            )
        })?;
        let text = String::from_utf8_lossy(&bytes);
        if let Some(keys) = section(&text, service, path)? {
            return Ok(keys);
        }
        looked.push(path.display().to_string());
    }
    let looked =
        if looked.is_empty() { "there is no service file".to_owned() } else { looked.join(", ") };
    Err(ConninfoError::new(
        format!("`service` is {service:?}, which no service file contains ({looked})"),
        "add [NAME] and its keys to pg_service.conf, or set `servicefile`; the daemon has no home \
         directory",
    ))
}

/// The keys of one service; `None` where the file does not have it.
fn section(
    text: &str,
    service: &str,
    path: &Path,
) -> Result<Option<Vec<(String, String)>>, ConninfoError> {
    let mut found: Option<Vec<(String, String)>> = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            // As libpq: what follows the bracket is not looked at.
            if name.split(']').next() == Some(service) && name.contains(']') {
                found = Some(Vec::new());
            }
            continue;
        }
        let Some(keys) = &mut found else { continue };
        let wrong = |what: &str, hint: &str| {
            // Not the line itself, which may hold a password.
            ConninfoError::new(format!("line {} of {} {what}", at + 1, path.display()), hint)
        };
        if line.starts_with("ldap") {
            let hint = "write the keys here: rolecall asks no LDAP server";
            return Err(wrong("refers to LDAP", hint));
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(wrong("is not key=value", "write one key=value per line, without spaces"));
        };
        if matches!(key, "service" | "servicefile") {
            return Err(wrong("refers to another service", "write the keys of that service here"));
        }
        // The first one counts.
        if !keys.iter().any(|(known, _)| known == key) {
            keys.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# services\n[other]\nhost=other\nnonsense\n\n [beta] \n host=db1\n port=6432\nport=1\n\
                        user=rolecall  \n[beta]\nhost=never\n[ldap]\nldap://x\n[nested]\nservice=x\n[bare]\nhost\n";

    fn read(text: &str, file: &str) -> Result<Conninfo, ConninfoError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("services");
        std::fs::write(&path, file).unwrap();
        own(&format!("{text} servicefile={}", path.display()))
    }

    #[test]
    fn a_service_gives_what_the_string_does_not_say() {
        let found = read("service=beta dbname=postgres host=own", FILE).unwrap();
        assert_eq!(found.to_string(), "host=own port=6432 dbname=postgres user=rolecall");
        let found = read("service=beta", FILE).unwrap();
        assert_eq!(found.to_string(), "host=db1 port=6432 user=rolecall");
        let latin1 = "# caf\u{e9}\n".chars().map(|c| c as u8).collect::<Vec<u8>>();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("services");
        std::fs::write(&path, [latin1.as_slice(), b"[beta]\nhost=db1\n"].concat()).unwrap();
        let text = format!("service=beta servicefile={}", path.display());
        assert_eq!(own(&text).unwrap().to_string(), "host=db1 port=5432");
    }

    #[test]
    fn a_service_that_cannot_be_honoured_is_refused_by_line_and_file() {
        for (service, said) in [
            ("gamma", "`service` is \"gamma\", which no service file contains"),
            ("ldap", "line 14 of"),
            ("nested", "refers to another service"),
            ("bare", "is not key=value"),
            ("other", "line 4 of"),
        ] {
            let error = read(&format!("service={service}"), FILE).unwrap_err();
            assert!(error.problem.contains(said), "{service}: {error}");
            assert!(!error.hint.is_empty());
        }
        let error = own("service=beta servicefile=/none").unwrap_err();
        assert!(error.problem.contains("service file /none cannot be read"), "{error}");
        // The key of a service is held to what one of the string is.
        let error = read("service=x", "[x]\nhost=db1\nsslcrl=/x\n").unwrap_err();
        assert!(error.problem.contains("`sslcrl`"), "{error}");
    }
}
