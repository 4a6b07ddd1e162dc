//! Passwords in files: `.pgpass`, and a file that holds nothing else.

use std::fs::{self};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::secret::Secret;
use crate::host::small_file::{MAX_BYTES, credential, read, unreadable};
use crate::look::error::SourceError;

/// What a line of a passfile is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login<'a> {
    /// The host as it was given, `localhost` for the default socket directory, the directory for
    /// another; `hostaddr` where there is no host.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The database.
    pub dbname: &'a str,
    /// The user.
    pub user: &'a str,
}

/// The password of the first line that fits, by libpq's rules (PostgreSQL manual, "The Password
/// File"; `passwordFromFile` in fe-connect.c): `host:port:dbname:user:password`, a field `*` fits
/// everything, `\` before a `:` or `\` takes its meaning away, `#` begins a comment line.
///
/// Bytes that are no UTF-8 are passed over where they stand in another line; a password of such is an error.
pub fn find(text: &[u8], login: Login<'_>) -> Result<Option<Secret>, NotUtf8> {
    let port = login.port.to_string();
    for line in text.split(|byte| *byte == b'\n') {
        let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        let line = &line[..end];
        if line.starts_with(b"#") {
            continue;
        }
        let fields = [login.host, &port, login.dbname, login.user];
        let password = fields.iter().try_fold(line, |rest, wanted| after_field(rest, wanted));
        if let Some(password) = password {
            let password = String::from_utf8(unescaped(password)).map_err(|_| NotUtf8)?;
            return Ok(Some(Secret::new(password)));
        }
    }
    Ok(None)
}

/// The password of the line that fits is no UTF-8 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotUtf8;

/// What follows the first field of `line` where that field fits `wanted`.
fn after_field<'a>(line: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let (mut rest, mut wanted) = (line, wanted.as_bytes());
    while let Some((mut byte, mut after)) = rest.split_first() {
        if *byte == b':' && wanted.is_empty() {
            return Some(after);
        }
        if *byte == b'\\' {
            (byte, after) = after.split_first()?;
        }
        let (first, others) = wanted.split_first()?;
        if first != byte {
            return None;
        }
        (rest, wanted) = (after, others);
    }
    None
}

/// The password field: up to an unescaped `:`.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut password = Vec::new();
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => break,
            b'\\' => password.push(*bytes.next().unwrap_or(&b'\\')),
            _ => password.push(*byte),
        }
    }
    password
}

/// Looks a password up in a passfile. `None`: no line fits. [`Credential`](crate::look::error::ErrorKind::Credential) where the
/// file cannot be read, and where others may read or write it: libpq ignores such a file.
pub(crate) fn read_passfile(path: &Path, login: Login<'_>) -> Result<Option<Secret>, SourceError> {
    let text = read(path, MAX_BYTES)?;
    let mode = fs::metadata(path).map_err(|e| unreadable(path, &e))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(credential(
            path,
            format!(
                "can be read by its group or others (mode {:04o}); hint: chmod 0600",
                mode & 0o7777
            ),
        ));
    }
    find(&text, login).map_err(|NotUtf8| {
        credential(
            path,
            "contains a password for this server that is not UTF-8; hint: iconv -f LATIN1 -t UTF-8",
        )
    })
}

/// Reads a file that is a password, less one line end. [`Credential`](crate::look::error::ErrorKind::Credential) where it cannot be
/// read or is empty. Its mode is the business of who made it: systemd gives credentials by ACL.
pub(crate) fn read_password(path: &Path) -> Result<Secret, SourceError> {
    let text = read_text(path, MAX_BYTES)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let password = line.strip_suffix('\r').unwrap_or(line);
    if password.is_empty() {
        return Err(credential(path, "is empty, expected a password"));
    }
    Ok(Secret::new(password))
}

/// Reads a text file of at most `max` bytes. [`Credential`](crate::look::error::ErrorKind::Credential) with the path otherwise.
fn read_text(path: &Path, max: u64) -> Result<String, SourceError> {
    String::from_utf8(read(path, max)?).map_err(|_| credential(path, "is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::look::error::ErrorKind;

    fn login<'a>(host: &'a str, dbname: &'a str, user: &'a str) -> Login<'a> {
        Login { host, port: 5432, dbname, user }
    }

    fn found(text: &str, login: Login<'_>) -> Option<String> {
        find(text.as_bytes(), login).unwrap().map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn lines_fit_as_libpq_lets_them() {
        let db1 = login("db1", "orders", "rolecall");
        for (text, expected) in [
            ("db1:5432:orders:rolecall:pw", Some("pw")),
            ("*:*:*:*:pw", Some("pw")),
            ("db1:*:*:rolecall:pw\n", Some("pw")),
            ("db1:*:*:rolecall:pw\r\n", Some("pw")),
            ("# db1:5432:orders:rolecall:no\ndb1:5432:orders:rolecall:pw", Some("pw")),
            ("db2:*:*:*:no\n\ndb1:*:*:*:first\ndb1:*:*:*:second", Some("first")),
            (r"db1:5432:orders:rolecall:a\:b\\c", Some(r"a:b\c")),
            (r"db1:5432:orders:rolecall:ends\", Some(r"ends\")),
            ("db1:5432:orders:rolecall:a:b", Some("a")),
            ("db1:5432:orders:rolecall:", Some("")),
            ("db1:5432:orders:rolecall", None),
            ("db1:5433:orders:rolecall:no", None),
            ("db1:5432:order:rolecall:no", None),
            ("db1:5432:orders:rolecalls:no", None),
            ("db11:5432:orders:rolecall:no", None),
            (" db1:5432:orders:rolecall:no", None),
            ("DB1:5432:orders:rolecall:no", None),
            ("**:5432:orders:rolecall:no", None),
            ("", None),
        ] {
            assert_eq!(found(text, db1).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_matter_where_they_are_the_password() {
        let file = b"# caf\xe9\ncaf\xe9:*:*:*:no\ndb1:5432:orders:rolecall:pw\nh:*:*:*:\xe9\n";
        let db1 = login("db1", "orders", "rolecall");
        assert_eq!(find(file, db1), Ok(Some(Secret::new("pw"))));
        assert_eq!(find(file, login("h", "d", "u")), Err(NotUtf8));
    }

    #[test]
    fn colons_and_backslashes_in_a_field_are_escaped_or_plain() {
        assert_eq!(found(r"\:\:1:5432:d:u:pw", login("::1", "d", "u")).as_deref(), Some("pw"));
        assert_eq!(found(r"::1:5432:d:u:pw", login("::1", "d", "u")).as_deref(), Some("pw"));
        assert_eq!(found(r"h:5432:d\\x:u:pw", login("h", r"d\x", "u")).as_deref(), Some("pw"));
        assert_eq!(found(r"h:5432:d:u\:", login("h", "d", "u:")), None);
    }

    #[test]
    fn a_passfile_that_others_may_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        fs::write(&path, "*:*:*:*:hunter2\n").unwrap();
        for (mode, fits) in [(0o600, true), (0o400, true), (0o640, false), (0o602, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let answer = read_passfile(&path, login("h", "d", "u"));
            match answer {
                Ok(found) => assert!(fits && found == Some(Secret::new("hunter2")), "{mode:o}"),
                Err(e) => {
                    assert!(!fits && e.kind == ErrorKind::Credential, "{mode:o}: {e}");
                    assert!(e.detail.contains("chmod 0600") && !e.detail.contains("hunter2"));
                }
            }
        }
    }

    #[test]
    fn a_password_file_is_its_text_less_one_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credential");
        for (text, password) in
            [("pw", "pw"), ("pw\n", "pw"), ("pw\r\n", "pw"), (" p \n\n", " p \n")]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(read_password(&path), Ok(Secret::new(password)));
        }
    }

    #[test]
    fn files_that_cannot_be_a_password_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credential");
        let refused = |why: &str| {
            let error = read_password(&path).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Credential);
            assert!(error.detail.contains(why) && error.detail.contains("credential"), "{error}");
        };
        refused("No such file");
        fs::write(&path, "\n").unwrap();
        refused("is empty");
        fs::write(&path, vec![b'x'; 64 * 1024 + 1]).unwrap();
        refused("longer than 65536 bytes");
        fs::write(&path, [0xff, 0xfe]).unwrap();
        refused("not UTF-8");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("not a regular file");
    }

    fn escaped(field: &str) -> String {
        field.replace('\\', r"\\").replace(':', r"\:")
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), host in any::<String>()) {
            let _ = find(text.as_bytes(), login(&host, "d", "u"));
        }

        #[test]
        fn an_escaped_line_is_found_again(
            host in "[^#*\r\n][^\r\n]{0,20}",
            dbname in "[^*\r\n][^\r\n]{0,20}",
            password in "[^\r\n]{0,20}",
        ) {
            let line = format!("{}:5432:{}:u:{}", escaped(&host), escaped(&dbname), escaped(&password));
            let found = find(line.as_bytes(), login(&host, &dbname, "u"));
            prop_assert_eq!(found, Ok(Some(Secret::new(password))));
        }
    }
}
