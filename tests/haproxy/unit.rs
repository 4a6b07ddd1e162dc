//! What haproxy/systemd.conf has HAProxy's unit do, done with the paths of a test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::fixtures::process::run;
use crate::fixtures::{Ground, Haproxy, missing};
use crate::{patterns, programs};

const DROP_IN: &str = include_str!("../../haproxy/systemd.conf");
/// Debian's own unit, of its package haproxy; under target/haproxy there are those of its later ones.
const UNIT: &str = "lib/systemd/system/haproxy.service";

/// Longer than socat waits by itself.
const LATE: Duration = Duration::from_millis(1500);

/// The file that is no configuration of HAProxy.
pub const FILE: &str = "systemd.conf";

/// The values of `key`, an empty one drops those before it.
fn values(unit: &str, key: &str) -> Vec<String> {
    let mut values = Vec::new();
    for line in unit.lines() {
        match line.split_once('=') {
            Some((name, "")) if name == key => values.clear(),
            Some((name, value)) if name == key => values.push(value.to_owned()),
            _ => {}
        }
    }
    values
}

/// Runs the shell command that is `key`'s first, as it stands but for the two paths.
fn first(key: &str, haproxy: &Haproxy) {
    let command = values(DROP_IN, key).remove(0);
    let script = command.strip_prefix("/bin/sh -c '").and_then(|c| c.strip_suffix('\''));
    let (socket, state_file) = haproxy.paths();
    let script = script.unwrap_or_else(|| panic!("no shell command: {command}"));
    let script = script
        .replace("/var/lib/haproxy/servers.state", state_file.to_str().expect("a path"))
        .replace("/run/haproxy/admin.sock", socket.to_str().expect("a path"));
    let mut sh = Command::new("sh");
    sh.args(["-c", &script]);
    run(sh);
}

/// What comes before a start.
pub fn before_start(haproxy: &Haproxy) {
    first("ExecStartPre", haproxy);
}

/// What comes before a reload.
pub fn before_reload(haproxy: &Haproxy) {
    first("ExecReload", haproxy);
}

/// The units that are here.
fn units() -> Vec<String> {
    let trees = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/haproxy");
    let trees = std::fs::read_dir(trees).into_iter().flatten().map(|e| e.expect("entry").path());
    let roots = trees.map(|tree| tree.join("usr")).chain([PathBuf::from("/")]);
    roots.filter_map(|root| std::fs::read_to_string(root.join(UNIT)).ok()).collect()
}

/// A reload of a machine that is busy: socat by itself waits for half a second, and a new worker with half a state
/// turns clients away, or sends who reads to the primary.
#[test]
fn the_state_is_saved_whole_though_haproxy_answers_late() {
    let pattern = patterns::of("read-pool.cfg");
    for (version, program) in programs() {
        let ground = Ground::new();
        let haproxy =
            Haproxy::start(&ground, &program, &pattern.path(), &pattern.addresses(&ground));
        before_reload(&haproxy);
        let whole = servers_in(&haproxy);
        assert_eq!(whole, 6, "three servers of two pools");
        haproxy.freeze();
        std::thread::scope(|scope| {
            let saves = scope.spawn(|| before_reload(&haproxy));
            std::thread::sleep(LATE);
            haproxy.thaw();
            saves.join().expect("the state is saved");
        });
        assert_eq!(servers_in(&haproxy), whole, "HAProxy {version} answered after {LATE:?}");
    }
}

/// How many servers the state file has.
fn servers_in(haproxy: &Haproxy) -> usize {
    let state = std::fs::read_to_string(haproxy.paths().1).expect("the state file");
    state.lines().filter(|line| line.contains(" postgres_r")).count()
}

#[test]
fn the_drop_in_reloads_as_the_unit_does_and_saves_the_state_first() {
    let units = units();
    if units.is_empty() {
        return missing("haproxy as a package, with its unit");
    }
    for unit in units {
        assert_eq!(values(&unit, "ExecStartPre"), [""; 0]);
        // A check that is quiet is the same check; the folder is what the file tells of.
        let own = unit.replace(" -q ", " ").replace(" -f $CFGDIR", "");
        let merged = values(&format!("{unit}{DROP_IN}"), "ExecReload");
        assert!(merged[0].contains("show servers state"), "{merged:?}");
        assert_eq!(merged[1..], values(&own, "ExecReload"));
    }
}
