//! The systemd units are valid, and as closed as they are meant to be.

use std::path::Path;
use std::process::Command;

#[path = "fixtures/mod.rs"]
mod fixtures;

use fixtures::ground::Ground;
use fixtures::programs;

/// `systemd-analyze security`'s exposure times ten; what is left is the network it needs.
const MOST_EXPOSED: &str = "12";

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("systemd-analyze").args(arguments).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn the_units_are_valid_and_closed() {
    let ground = Ground::new();
    // Where the program is installed is the package's business; the syntax is ours.
    let service =
        unit("rolecall.service").replace("/usr/bin/rolecall", env!("CARGO_BIN_EXE_rolecall"));
    let service = ground.write("rolecall.service", &service);
    let socket = ground.write("rolecall.socket", &unit("rolecall.socket"));
    let (service, socket) = (service.to_str().unwrap(), socket.to_str().unwrap());

    let Some((valid, said)) = analyze(&["verify", service, socket]) else {
        return programs::missing("systemd-analyze");
    };
    // Keys that only a newer systemd knows are named and ignored by an older one.
    let known =
        |line: &&str| !line.contains("RestartSteps") && !line.contains("RestartMaxDelaySec");
    let complaints: Vec<_> =
        said.lines().filter(|l| l.contains("rolecall")).filter(known).collect();
    assert!(valid && complaints.is_empty(), "{said}");

    let threshold = format!("--threshold={MOST_EXPOSED}");
    let (closed, said) =
        analyze(&["security", "--offline=yes", &threshold, service]).expect("it ran above");
    assert!(closed, "{said}");
}

#[test]
fn the_service_follows_the_databases_and_starts_none() {
    let service = unit("rolecall.service");
    let line = |key: &str| service.lines().find(|line| line.starts_with(key)).map(str::to_owned);
    let after = line("After=").unwrap();
    assert!(after.contains("patroni.service") && after.contains("postgresql.service"), "{after}");
    assert_eq!(line("Wants="), None);
    assert_eq!(line("Requires=").as_deref(), Some("Requires=rolecall.socket"));
    assert_eq!(line("StartLimitIntervalSec=").as_deref(), Some("StartLimitIntervalSec=0"));
}

#[test]
fn the_socket_unit_listens_where_the_default_configuration_does() {
    assert!(unit("rolecall.socket").contains("\nListenStream=5555\n"));
}
