//! What an operator may write that gives a secret away, and what the commands make of it.

use std::process::Command;

use crate::fixtures::Ground;
use crate::fixtures::say;
use crate::well::{PASSWORD, program};

/// What a command prints about a configuration of this connection string.
fn said(ground: &Ground, command: &str, conninfo: &str, mode: u32) -> String {
    let text = format!("[source]\nkind = \"postgres\"\nconninfo = \"{conninfo}\"\n");
    let path = ground.write("rolecall.toml", &text);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&path, mode).unwrap();
    let output = Command::new(program()).arg("--config").arg(path).arg(command).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Connection strings of which a piece is a password, written as a URI must not write it.
const URIS: [&str; 5] = [
    "postgresql://u:hunter2/x@h",
    "postgresql://u:p@hunter2@h",
    "postgresql://u:p@hunter2/x@h/d",
    "postgresql://u:p@h?connect_timeout=hunter2",
    "postgresql://u:p@h?hunter2=1",
];

#[test]
fn h14_no_command_repeats_a_piece_of_a_uri() {
    let ground = Ground::new();
    let mut shown = Vec::new();
    for uri in URIS {
        for command in ["check", "ask"] {
            let said = said(&ground, command, uri, 0o600);
            if said.contains(PASSWORD) {
                shown.push(format!("{command} of {uri}"));
            }
        }
    }
    say(&format!("H14: {} of {} commands show the password", shown.len(), 2 * URIS.len()));
    assert!(shown.is_empty(), "{shown:?}");
}

#[test]
fn h17_check_warns_of_a_secret_that_others_may_read() {
    let ground = Ground::new();
    let conninfo = format!("host=127.0.0.1 user=u dbname=d password={PASSWORD}");
    let warned = |mode| said(&ground, "check", &conninfo, mode).contains("other users may read");
    let (open, own) = (warned(0o644), warned(0o640));
    say(&format!("H17: warned of a file that all may read: {open}; of one of a group's: {own}"));
    assert!(open && !own);
}
