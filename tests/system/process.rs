//! rolecall as a process: what systemd, an operator and the shell see of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::fixtures::{
    AGENT_PORT, Ground, HTTP_PORT, Heard, Notification, Rolecall, ask, checker, eventually, held,
    lacks, lacks_namespaces,
};
use crate::pair::ROLECALL;
use crate::shipped_cfg::SOON;

/// Exit status of an error in the configuration (sysexits.h `EX_CONFIG`).
const CONFIGURATION: i32 = 78;

/// A role in a file, read by the `command` source: it is whatever the test writes there.
struct Role {
    file: PathBuf,
}

impl Role {
    fn new(ground: &Ground, word: &str) -> Self {
        Self { file: ground.write("role", &format!("{word}\n")) }
    }

    /// In one step, so that no look sees half of it.
    fn set(&self, word: &str) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{word}\n")).expect("role");
        std::fs::rename(&next, &self.file).expect("role");
    }

    fn config(&self, agent: SocketAddr) -> String {
        format!(
            r#"
[source]
kind = "command"
command = ["/bin/cat", "{}"]
interval = "100ms"

[[service]]
name = "primary"
roles = ["primary"]
listen = "{agent}"
"#,
            self.file.display()
        )
    }
}

fn says(addr: SocketAddr, line: &str) {
    eventually(SOON, &format!("{addr} says {line:?}"), || match ask(addr, SOON).heard {
        Heard::Said(said) if said == line => Ok(()),
        other => Err(other),
    });
}

/// The index of the first notification from `from` on that has `key` with a value that `wanted` takes.
fn find(heard: &[Notification], from: usize, key: &str, wanted: impl Fn(&str) -> bool) -> usize {
    let at = heard[from..].iter().position(|n| n.value(key).is_some_and(&wanted));
    from + at.unwrap_or_else(|| panic!("no {key} as wanted from {from} on in {heard:#?}"))
}

#[test]
fn systemd_hears_of_start_verdict_reload_and_stop() {
    let ground = Ground::new();
    let agent = ground.addr(1, AGENT_PORT);
    let role = Role::new(&ground, "primary");
    let mut one = Rolecall::new(&ground, "rolecall", ROLECALL, &role.config(agent));
    one.start();
    says(agent, "READY\n");
    let status = |n: &Notification, line: &str| n.value("STATUS").is_some_and(|s| s == line);
    let yes = "primary: ready, is primary";
    one.notifications().wait_since(0, SOON, yes, |n| status(n, yes));

    let mark = one.notifications().mark();
    role.set("replica");
    says(agent, "MAINT\n");
    let no = "primary: not_ready, is replica";
    one.notifications().wait_since(mark, SOON, no, |n| status(n, no));

    one.reload();
    let reload = one.notifications().wait_since(0, SOON, "RELOADING", |n| n.has("RELOADING=1"));
    let stamp = reload.value("MONOTONIC_USEC").expect("Type=notify-reload needs the time");
    assert!(stamp.parse::<u64>().is_ok(), "not a number: {stamp}");

    let mark = one.notifications().mark();
    assert!(one.stop().success());
    // What it said last may still lie in the socket.
    one.notifications().wait_since(mark, SOON, "STOPPING", |n| n.has("STOPPING=1"));
    let heard = one.notifications().all();
    let ready = find(&heard, 0, "READY", |v| v == "1");
    let reloading = find(&heard, ready, "RELOADING", |v| v == "1");
    let again = find(&heard, reloading, "READY", |v| v == "1");
    find(&heard, again, "STOPPING", |v| v == "1");
}

#[test]
fn the_watchdog_is_fed_while_the_poller_lives() {
    const EVERY: Duration = Duration::from_millis(600);
    let ground = Ground::new();
    let agent = ground.addr(1, AGENT_PORT);
    let role = Role::new(&ground, "primary");
    let mut one = Rolecall::new(&ground, "rolecall", ROLECALL, &role.config(agent))
        .env("WATCHDOG_USEC", &EVERY.as_micros().to_string());
    one.start();
    for _ in 0..5 {
        let mark = one.notifications().mark();
        one.notifications().wait_since(mark, SOON, "WATCHDOG=1", |n| n.has("WATCHDOG=1"));
    }
    let heard = one.notifications().all();
    let fed: Vec<_> = heard.iter().filter(|n| n.has("WATCHDOG=1")).map(|n| n.at).collect();
    let longest = fed.windows(2).map(|w| w[1].since(w[0])).max().expect("five of them");
    assert!(longest < EVERY, "systemd would have killed it: {longest:?} without a sign");
    assert!(one.stop().success());
}

#[test]
fn a_bad_file_changes_nothing_and_a_good_one_closes_no_port_it_still_names() {
    let ground = Ground::new();
    let agent = ground.addr(1, AGENT_PORT);
    let other = ground.addr(1, AGENT_PORT + 1);
    let role = Role::new(&ground, "primary");
    let good = role.config(agent);
    let mut one = Rolecall::new(&ground, "rolecall", ROLECALL, &good);
    one.start();
    says(agent, "READY\n");
    let answers = checker(agent, Duration::from_millis(5), SOON);

    one.write_config(&good.replace("roles =", "rolls ="));
    one.reload();
    let line = one.wait_log(SOON, &["rolls"]);
    assert!(line.contains("hint") || one.log().contains("hint:"), "no hint: {}", one.log());
    says(agent, "READY\n");

    let second = format!(
        "{good}\n[[service]]\nname = \"replica\"\nroles = [\"replica\"]\nlisten = \"{other}\"\n"
    );
    one.write_config(&second);
    one.reload();
    says(other, "MAINT\n");
    one.write_config(&good);
    one.reload();
    eventually(SOON, "the port that is named no more is closed", || match ask(other, SOON).heard {
        Heard::Refused => Ok(()),
        heard => Err(heard),
    });
    let not_ready = answers.stop().into_iter().find(|c| c.heard != Heard::Said("READY\n".into()));
    assert!(not_ready.is_none(), "a reload was seen at the port: {not_ready:?}");
}

#[test]
fn an_inherited_socket_that_no_listen_names_is_a_configuration_error() {
    let ground = Ground::new();
    let role = Role::new(&ground, "primary");
    let stranger = ground.addr(2, HTTP_PORT);
    let mut one =
        Rolecall::new(&ground, "rolecall", ROLECALL, &role.config(ground.addr(1, AGENT_PORT)))
            .sockets(vec![held(stranger)]);
    one.launch();
    assert_eq!(one.wait().code(), Some(CONFIGURATION), "{}", one.log());
    let log = one.log();
    assert!(log.contains(&stranger.to_string()), "which socket: {log}");
    assert!(log.contains("hint:"), "{log}");
}

#[test]
fn sigterm_and_sigint_end_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let ground = Ground::new();
        let agent = ground.addr(1, AGENT_PORT);
        let role = Role::new(&ground, "primary");
        let mut one = Rolecall::new(&ground, "rolecall", ROLECALL, &role.config(agent));
        one.start();
        one.signal(signal);
        assert!(one.wait().success(), "{signal:?}: {}", one.log());
        assert_eq!(ask(agent, SOON).heard, Heard::Refused);
    }
}

/// Runs a shell script of tests/tools in namespaces of its own, in which it is root.
fn in_namespaces(script: &str, arguments: &[&Path]) -> String {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools");
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    // Its own pids too: whatever it leaves behind dies with it.
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    unshare.arg("sh").arg(tools.join(script)).arg(ROLECALL).args(arguments);
    let output = unshare.output().expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {}\n{text}\n{errors}", output.status);
    text
}

#[test]
fn the_readmes_first_command_answers_on_5555_over_ipv4_and_ipv6() {
    if lacks_namespaces() || lacks(&["ip", "bash"]) {
        return;
    }
    assert_eq!(in_namespaces("quick-start.sh", &[]), "READY\nREADY\n");
}

#[test]
fn the_journal_gets_a_verdict_change_as_fields() {
    if lacks_namespaces() || lacks(&["ip", "bash", "journalctl"]) {
        return;
    }
    let ground = Ground::new();
    let role = Role::new(&ground, "primary");
    let config = role.config("127.0.0.1:5555".parse().expect("an address"));
    let config = ground.write("journal.toml", &format!("{config}\n[log]\nto = \"journald\"\n"));
    let journal = in_namespaces("journald-alone.sh", &[&config, &role.file]);
    let entries: Vec<serde_json::Value> =
        journal.lines().map(|l| serde_json::from_str(l).expect("a journal entry")).collect();
    let change = entries
        .iter()
        .find(|e| e["ROLECALL_FROM"] == "ready" && e["ROLECALL_VERDICT"] == "not_ready");
    let change = change.unwrap_or_else(|| panic!("no change of verdict in {entries:#?}"));
    let expected = [
        ("SYSLOG_IDENTIFIER", "rolecall"),
        ("PRIORITY", "6"),
        ("ROLECALL_NODE", "local"),
        ("ROLECALL_SERVICE", "primary"),
        ("ROLECALL_ROLE", "replica"),
        ("ROLECALL_REASON", "other_role"),
        ("MESSAGE", "verdict changed: primary of local is not_ready: is replica"),
    ];
    for (field, value) in expected {
        assert_eq!(change[field], value, "{field} in {change:#}");
    }
}
