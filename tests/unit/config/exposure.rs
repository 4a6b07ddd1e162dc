//! What `check` says of a network that proves nothing, and of secrets that others may read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rolecall::config::exposure::Risk;
use rolecall::config::schema::{Flags, read};
use rolecall::config::secret::Secret;
use rolecall::config::warning::Warning;

use super::accepted;

const SECRET: &str = "hunter2";

/// What an unverified network may do to a configuration.
fn risks(text: &str) -> Vec<Risk> {
    let said = accepted(text).warnings.into_iter();
    let risks = said.filter_map(|warning| match warning {
        Warning::Network(exposure) => Some(exposure.risk),
        _ => None,
    });
    risks.collect()
}

#[test]
fn what_a_network_may_do_follows_from_what_is_asked_as_a_proof() {
    let (none, verified) = (None, "sslmode=verify-full sslrootcert=/ca");
    let password = format!("password={SECRET}");
    for (conninfo, of_postgres, of_repmgr) in [
        ("host=/run/postgresql".to_owned(), none, Some(Risk::Vote)),
        ("host=127.0.0.1".to_owned(), none, Some(Risk::Vote)),
        ("host=db1".to_owned(), Some(Risk::Role), Some(Risk::Vote)),
        ("host=db1 sslmode=require".to_owned(), Some(Risk::Role), Some(Risk::Vote)),
        ("host=db1 sslmode=prefer sslrootcert=/ca".to_owned(), Some(Risk::Role), Some(Risk::Vote)),
        (format!("host=db1 {verified}"), none, none),
        ("host=db1 sslmode=require sslrootcert=/ca".to_owned(), none, none),
        (format!("host=db1 {password}"), Some(Risk::Relay), Some(Risk::Relay)),
        (format!("host=/run/postgresql {password}"), none, Some(Risk::Relay)),
        ("host=db1 passfile=/etc/pgpass".to_owned(), Some(Risk::Relay), Some(Risk::Relay)),
        ("host=db1 require_auth=scram-sha-256".to_owned(), Some(Risk::Relay), Some(Risk::Relay)),
        (format!("host=db1 {password} channel_binding=require"), none, none),
        (
            format!("host=db1 {password} require_auth=none,scram-sha-256"),
            Some(Risk::Role),
            Some(Risk::Vote),
        ),
        (
            format!("host=db1 {password} require_auth=md5"),
            Some(Risk::Password),
            Some(Risk::Password),
        ),
        (
            format!("host=db1 {password} require_auth=password,none"),
            Some(Risk::Password),
            Some(Risk::Password),
        ),
        (format!("host=db1 {password} {verified} require_auth=md5"), none, none),
    ] {
        for (kind, wanted) in [("postgres", of_postgres), ("repmgr", of_repmgr)] {
            let text = format!("[source]\nkind = \"{kind}\"\nconninfo = \"{conninfo}\"\n");
            assert_eq!(risks(&text), Vec::from_iter(wanted), "{text}");
        }
    }
    for (url, wanted) in [
        ("http://127.0.0.1:8008", none),
        ("http://localhost:8008", none),
        ("http://[::1]:8008", none),
        ("http://db1:8008", Some(Risk::Role)),
        ("https://db1:8008", none),
    ] {
        let text = format!("[source]\nkind = \"patroni\"\nurl = \"{url}\"\n");
        assert_eq!(risks(&text), Vec::from_iter(wanted), "{url}");
    }
}

/// What `check` prints of the file, which it must accept.
fn checked(path: &Path) -> String {
    let mut check = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    let output = check.arg("--config").arg(path).arg("check").output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    said
}

#[test]
fn check_says_what_the_network_may_do_and_the_line_that_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rolecall.toml");
    let conf = |rest: &str| {
        format!("[source]\nkind = \"repmgr\"\nconninfo = \"host=127.0.0.1 user=rolecall {rest}\"\n")
    };
    for (rest, parts) in [
        ("", ["decides its vote", "add sslmode=verify-full sslrootcert=FILE to `conninfo`"]),
        ("password=hunter2 require_auth=password", ["learns it and is believed", "scram-sha-256"]),
        ("password=hunter2", ["relay the login", "add sslmode=verify-full"]),
    ] {
        fs::write(&path, conf(rest)).unwrap();
        let said = checked(&path);
        assert!(
            said.contains(
                "warning: source repmgr: the connection does not prove which server answers: "
            ),
            "{said}"
        );
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[test]
fn check_names_a_file_with_a_secret_that_others_may_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let passfile = file("pgpass", &format!("*:*:*:*:{SECRET}\n"));
    let key = file("release.key", "0123456789abcdef");
    let conf = file("rolecall.toml", "");
    let login = |rest: &str, keys: &str| {
        format!(
            "[source]\nkind = \"repmgr\"\n{keys}conninfo = \"host=/run/postgresql user=u {rest}\"\n\
             release_key_file = \"{}\"\n",
            key.display()
        )
    };
    let with_file = format!("passfile = \"{}\"\n", passfile.display());
    for (text, modes, wanted) in [
        (login(&format!("password={SECRET}"), ""), [0o644, 0o600, 0o600], Some("conninfo")),
        (login(&format!("password={SECRET}"), ""), [0o640, 0o600, 0o600], None),
        (login("", &with_file), [0o644, 0o600, 0o600], None),
        (login("", &with_file), [0o644, 0o640, 0o600], Some("passfile")),
        (login("", &with_file), [0o644, 0o604, 0o600], Some("passfile")),
        (login("", &with_file), [0o644, 0o600, 0o640], None),
        (login("", &with_file), [0o644, 0o600, 0o644], Some("release_key_file")),
    ] {
        fs::write(&conf, &text).unwrap();
        for (path, to) in [&conf, &passfile, &key].into_iter().zip(modes) {
            mode(path, to);
        }
        let said = checked(&conf);
        let warned: Vec<_> = said
            .lines()
            .filter(|line| line.contains("contains a secret, and other users may"))
            .collect();
        assert_eq!(warned.len(), usize::from(wanted.is_some()), "{said}");
        let named = wanted.is_none_or(|key| warned[0].starts_with(&format!("warning: {key}: ")));
        assert!(named && (wanted.is_none() || said.contains("chmod 0640")), "{said}");
    }
}

#[test]
fn a_password_on_the_command_line_is_warned_of() {
    for (conninfo, warned) in
        [("host=/run/postgresql password=hunter2", true), ("host=/run/postgresql", false)]
    {
        let flags = Flags { conninfo: Some(Secret::new(conninfo)), ..Flags::default() };
        let said = read("test.toml", "", &flags, None).expect("a configuration").warnings;
        assert_eq!(said.contains(&Warning::PasswordInArguments), warned, "{conninfo}");
    }
}

/// Connection strings of which a piece is a password; `check` and `ask` refuse them and repeat nothing.
#[test]
fn no_piece_of_a_uri_is_repeated_by_a_command() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rolecall.toml");
    for uri in [
        "postgresql://u:hunter2/x@h",
        "postgresql://u:p@hunter2@h",
        "postgresql://u:p@hunter2/x@h/d",
        "postgresql://u:p@h?connect_timeout=hunter2",
        "postgresql://u:p@h?hunter2=1",
    ] {
        fs::write(&path, format!("[source]\nkind = \"postgres\"\nconninfo = \"{uri}\"\n")).unwrap();
        for command in ["check", "ask"] {
            let mut rolecall = Command::new(env!("CARGO_BIN_EXE_rolecall"));
            let output = rolecall.arg("--config").arg(&path).arg(command).output().unwrap();
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert_eq!(output.status.code(), Some(78), "{uri}: {said}");
            assert!(!said.contains(SECRET), "{command} of {uri}: {said}");
        }
    }
}
