//! A passfile, asked for several logins.

#![no_main]

use rolecall::source::passfile::{Login, find};
use rolecall_fuzz::{split, target, text};

target!(|data| {
    // The first line names a user and a database; the file itself need be no text.
    let (wanted, file) = split(data, b"\n");
    let (user, dbname) = text(wanted).split_once('/').unwrap_or((text(wanted), "app"));
    for host in ["db1", "/run/postgresql", "fd00::1"] {
        let login = Login { host, port: 5432, dbname, user };
        let found = find(file, login);
        // One line decides, the first that fits.
        let line = file.split(|byte| *byte == b'\n').find(|line| find(line, login) != Ok(None));
        assert_eq!(line.map_or(Ok(None), |line| find(line, login)), found);
        let Ok(Some(password)) = found else { continue };
        assert!(!line.expect("a line").starts_with(b"#"));
        let escaped = password.expose().replace('\\', "\\\\").replace(':', "\\:");
        let again = format!("*:*:*:*:{escaped}:");
        assert_eq!(find(again.as_bytes(), login), Ok(Some(password)));
    }
});
