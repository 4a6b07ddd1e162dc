//! What wakes rolecall up: its command, Patroni's callback and repmgr's event command.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::fixtures::{AGENT_PORT, Ground, Heard, Rolecall, ask, eventually, now};
use crate::pair::ROLECALL;
use crate::shipped_cfg::SOON;

/// `EX_UNAVAILABLE` and `EX_USAGE` of sysexits.h.
const UNAVAILABLE: i32 = 69;
const USAGE: i32 = 64;

/// The callback of Patroni and the event command of repmgr, called as those call them.
const HOOKS: [(&str, &[&str]); 2] = [
    ("patroni-callback", &["on_role_change", "primary", "demo"]),
    ("repmgr-event", &["2", "standby_promote", "1", "2026-11-25 07:00:00", "promoted"]),
];

/// Longest a hook may take: two forks of a shell, on a host that is busy.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A rolecall that looks at a role in a file once an hour, and when it is poked.
struct Sleeper {
    ground: Ground,
    role: PathBuf,
    agent: SocketAddr,
    socket: PathBuf,
}

impl Sleeper {
    fn new() -> Self {
        let ground = Ground::new();
        let role = ground.write("role", "replica\n");
        let (agent, socket) = (ground.addr(1, AGENT_PORT), ground.dir().join("poke.sock"));
        Self { ground, role, agent, socket }
    }

    fn config(&self, control: &str) -> String {
        format!(
            "[source]\nkind = \"command\"\ncommand = [\"/bin/cat\", \"{}\"]\ninterval = \"1h\"\n\
             [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{}\"\n{control}\n",
            self.role.display(),
            self.agent
        )
    }

    fn rolecall(&self, control: &str) -> Rolecall {
        let mut one = Rolecall::new(&self.ground, "rolecall", ROLECALL, &self.config(control));
        one.start();
        // The second look, an interval after the first at most, is not awaited by anybody.
        self.says("MAINT\n");
        one
    }

    fn with_socket(&self) -> Rolecall {
        self.rolecall(&control(&self.socket))
    }

    fn says(&self, line: &str) {
        eventually(SOON, &format!("it says {line:?}"), || match ask(self.agent, SOON).heard {
            Heard::Said(said) if said == line => Ok(()),
            other => Err(other),
        });
    }

    fn is_now(&self, role: &str) {
        std::fs::write(&self.role, format!("{role}\n")).expect("role");
    }

    fn poke(&self, arguments: &[&str]) -> Output {
        let mut poke = Command::new(ROLECALL);
        poke.arg("--config").arg(self.ground.dir().join("rolecall.toml")).arg("poke");
        poke.args(arguments).output().expect("it runs")
    }

    /// Runs a hook with the `rolecall` in `path`, and tells how long it took.
    fn hook(&self, name: &str, arguments: &[&str], path: &Path) -> Duration {
        let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/hooks").join(name);
        let mut run = Command::new(hook);
        let usual = std::env::var("PATH").unwrap_or_default();
        run.args(arguments).env("PATH", format!("{}:{usual}", path.display()));
        run.env("ROLECALL_CONFIG", self.ground.dir().join("rolecall.toml"));
        let began = now();
        // Its output is waited for to its end: whatever it leaves behind must not hold it open.
        let output = run.output().expect("it runs");
        let took = now().since(began);
        assert!(output.status.success(), "{name}: {output:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{name}: {output:?}");
        took
    }
}

/// The section of a daemon whose sockets and orders lie beside `poke`.
fn control(poke: &Path) -> String {
    let at = |name: &str| poke.with_file_name(name).display().to_string();
    format!(
        "[control]\nsocket = \"{}\"\nstate = \"{}\"\npoke = \"{}\"",
        at("control.sock"),
        at("orders.json"),
        poke.display()
    )
}

fn program_dir() -> &'static Path {
    Path::new(ROLECALL).parent().expect("a directory")
}

#[test]
fn a_poke_shows_a_change_that_the_next_look_would_show_in_an_hour() {
    let sleeper = Sleeper::new();
    let mut one = sleeper.with_socket();
    sleeper.is_now("primary");
    let poked = sleeper.poke(&[]);
    assert!(poked.status.success(), "{poked:?}");
    sleeper.says("READY\n");

    let stranger = sleeper.poke(&["pg9"]);
    assert_eq!(stranger.status.code(), Some(USAGE));
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("the nodes are local"));
    assert!(sleeper.poke(&["local"]).status.success());

    assert!(one.stop().success());
    assert!(!sleeper.socket.exists(), "it takes its socket with it");
    let absent = sleeper.poke(&[]);
    assert_eq!(absent.status.code(), Some(UNAVAILABLE));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("hint:"), "{absent:?}");
}

#[test]
fn the_hooks_wake_it_up() {
    for (name, arguments) in HOOKS {
        let sleeper = Sleeper::new();
        let _one = sleeper.with_socket();
        sleeper.is_now("primary");
        let took = sleeper.hook(name, arguments, program_dir());
        assert!(took < AT_ONCE, "{name} took {took:?}");
        sleeper.says("READY\n");
    }
}

#[test]
fn the_hooks_return_at_once_and_well_whether_rolecall_is_there_hangs_or_is_not_installed() {
    let sleeper = Sleeper::new();
    sleeper.ground.write("rolecall.toml", &sleeper.config(&control(&sleeper.socket)));
    let hanging = sleeper.ground.dir().join("hanging");
    std::fs::create_dir(&hanging).expect("mkdir");
    let gate = sleeper.ground.dir().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().expect("mkfifo").success());
    let program = hanging.join("rolecall");
    std::fs::write(&program, format!("#!/bin/sh\nread -r _ <'{}'\n", gate.display())).expect("it");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let none = sleeper.ground.dir().join("none");
    for (name, arguments) in HOOKS {
        for (what, path) in
            [("not running", program_dir()), ("hanging", &*hanging), ("not there", &*none)]
        {
            let took = sleeper.hook(name, arguments, path);
            assert!(took < AT_ONCE, "{name}, rolecall {what}: {took:?}");
        }
        // Lets the one that hangs go.
        std::fs::write(&gate, "\n").expect("it reads");
    }
}

#[test]
fn systemds_runtime_directory_has_the_socket_where_the_file_names_none() {
    let sleeper = Sleeper::new();
    let usual = sleeper.ground.dir().join("run");
    std::fs::create_dir(&usual).expect("mkdir");
    let mut one = Rolecall::new(&sleeper.ground, "rolecall", ROLECALL, &sleeper.config(""))
        .env("RUNTIME_DIRECTORY", usual.to_str().expect("UTF-8"));
    one.start();
    let usual = usual.join("poke.sock");
    assert!(usual.exists());

    one.write_config(&sleeper.config(&control(&sleeper.socket)));
    one.reload();
    one.wait_log(SOON, &["changes of [control] take effect at the next restart"]);
    assert!(usual.exists() && !sleeper.socket.exists());
    assert!(one.stop().success());
    one.start();
    assert!(sleeper.socket.exists() && !usual.exists());
    sleeper.is_now("primary");
    assert!(sleeper.poke(&[]).status.success());
    sleeper.says("READY\n");

    // A killed one's socket is in the way of nobody.
    one.kill9();
    assert!(sleeper.socket.exists());
    one.start();
    assert!(sleeper.poke(&[]).status.success());

    let nowhere = sleeper.ground.dir().join("nonexistent/poke.sock");
    let elsewhere = control(&sleeper.socket)
        .replace(&*sleeper.socket.to_string_lossy(), &nowhere.to_string_lossy());
    one.write_config(&sleeper.config(&elsewhere));
    assert!(one.stop().success());
    one.start();
    assert!(one.wait_log(SOON, &["rolecall cannot receive wake-ups"]).contains("hint"));
    sleeper.says("READY\n");
}
