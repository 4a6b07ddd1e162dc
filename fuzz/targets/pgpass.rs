//! A passfile, asked for several logins.

#![no_main]

use rolecall::source::passfile::{Login, find};
use rolecall_fuzz::{split, target, text};

target!(|data| {
    // The first line names a user and a database.
    let (wanted, file) = split(data, b"\n");
    let (user, dbname) = text(wanted).split_once('/').unwrap_or((text(wanted), "app"));
    let file = text(file);
    for host in ["db1", "/run/postgresql", "fd00::1"] {
        let login = Login { host, port: 5432, dbname, user };
        let found = find(file, login);
        // One line decides, the first that fits.
        let line = file.lines().find(|line| find(line, login).is_some());
        assert_eq!(line.and_then(|line| find(line, login)), found);
        let Some(password) = found else { continue };
        assert!(!line.expect("a line").starts_with('#'));
        let escaped = password.expose().replace('\\', "\\\\").replace(':', "\\:");
        assert_eq!(find(&format!("*:*:*:*:{escaped}:"), login), Some(password));
    }
});
