//! What can befall the daemon's own host while the node is a healthy primary: disks, limits, the network, clocks and
//! processes. docs/host-faults.md has them all in a table, which `make proof` writes with the figures of its run.

mod certificates;
mod clocks;
mod cpu;
mod disks;
mod files;
mod limits;
mod links;
mod network;
mod resolver;
mod starts;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::fixtures::host_faults::{Figures, note};
use crate::fixtures::netns::Space;
use crate::fixtures::{
    AGENT_PORT, Check, Ground, HTTP_PORT, Heard, Recorder, Rolecall, ask, checker, eventually, now,
    say,
};
use crate::servers::{self, Server};
use crate::well::{PATIENCE, Well, program};
use rustix::process::Signal;

/// For how long a look that succeeded counts: what goes on for longer is no echo of it.
const HOLD: Duration = Duration::from_secs(1);
/// How long a fault lasts: twice that.
const LONG: Duration = Duration::from_secs(2);
/// How often it is asked, and the longest wait for an answer: far longer than HAProxy's.
const EVERY: Duration = Duration::from_millis(20);
const WITHIN: Duration = Duration::from_secs(2);
/// So few answers say nothing.
const FEWEST: usize = 20;

/// A rolecall whose node is a healthy primary, with every door open and with folders as systemd gives them.
struct Host {
    rolecall: Rolecall,
    name: &'static str,
    _patroni: Option<Server>,
    /// The last to go: its addresses are free only once nobody listens there.
    ground: Ground,
}

impl Host {
    /// The one that is tried, started as it is.
    fn new(name: &'static str) -> Self {
        Self::by(name, "exec PROGRAM \"$@\"")
    }

    /// The same, started by a shell with this line, in which it is `PROGRAM`, and its two folders `STATE` and `RUN`.
    fn by(name: &'static str, line: &str) -> Self {
        let ground = Ground::new();
        let mut host = Self::at(name, ground, |ground| ground.addr(5, 28008), line, None);
        host.rolecall.launch();
        host.is_ready();
        host
    }

    /// One that is not started yet, on this ground.
    fn at(
        name: &'static str,
        ground: Ground,
        patroni: impl FnOnce(&Ground) -> SocketAddr,
        line: &str,
        space: Option<(&Space, SocketAddr)>,
    ) -> Self {
        let patroni = patroni(&ground);
        let url = format!("http://{patroni}");
        let start = || servers::patroni(patroni);
        let patroni = space.map_or_else(start, |(space, _)| space.inside(start));
        Self::with_url(name, ground, patroni, &url, line, space)
    }

    /// The same, whose Patroni is asked at this URL.
    fn with_url(
        name: &'static str,
        ground: Ground,
        patroni: Server,
        url: &str,
        line: &str,
        space: Option<(&Space, SocketAddr)>,
    ) -> Self {
        let source = format!("kind = \"patroni\"\nurl = \"{url}\"");
        Self::with_source(name, ground, Some(patroni), &source, line, space)
    }

    /// The same with another source.
    fn with_source(
        name: &'static str,
        ground: Ground,
        patroni: Option<Server>,
        source: &str,
        line: &str,
        space: Option<(&Space, SocketAddr)>,
    ) -> Self {
        let agent = space.map_or_else(|| ground.addr(1, AGENT_PORT), |(_, agent)| agent);
        let http = SocketAddr::new(agent.ip(), HTTP_PORT);
        let (state, run) = (ground.dir().join("state"), ground.dir().join("run"));
        for folder in [&state, &run] {
            std::fs::create_dir(folder).unwrap();
        }
        let config = format!(
            "[control]\nsocket = \"{run}/control.sock\"\nstate = \"{state}/orders.json\"\n\
             [http]\nlisten = \"{http}\"\n\
             [source]\n{source}\ninterval = \"200ms\"\n\
             timeout = \"500ms\"\nhold = \"1s\"\n\
             [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n",
            run = run.display(),
            state = state.display(),
        );
        let line = line
            .replace("PROGRAM", &program())
            .replace("STATE", &state.display().to_string())
            .replace("RUN", &run.display().to_string());
        let script = Well::script(&ground, &line);
        let mut rolecall = Rolecall::new(&ground, "rolecall", script, &config)
            .env("RUNTIME_DIRECTORY", &run.display().to_string())
            .env("STATE_DIRECTORY", &state.display().to_string());
        if let Some((space, _)) = space {
            rolecall = rolecall.inside(space);
        }
        Self { rolecall, name, _patroni: patroni, ground }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.ground.dir().join(name)
    }

    fn agent(&self) -> SocketAddr {
        self.ground.addr(1, AGENT_PORT)
    }

    fn says(&self, word: &str) {
        let wanted = Heard::Said(format!("{word}\n"));
        eventually(PATIENCE, word, || match ask(self.agent(), WITHIN).heard {
            heard if heard == wanted => Ok(()),
            other => Err(other),
        });
    }

    fn is_ready(&self) {
        self.says("READY");
    }

    /// Runs a command of rolecall's beside it.
    fn command(&self, arguments: &[&str]) -> Output {
        // Who asks and who answers have one clock, as on any host.
        let mut command = if has_its_own_time(self) {
            let mut enter = Command::new("nsenter");
            enter.arg("--target").arg(self.rolecall.pid().to_string()).arg("--time").arg(program());
            enter
        } else {
            Command::new(program())
        };
        command.arg("--config").arg(self.path("rolecall.toml")).args(arguments);
        command.output().unwrap()
    }

    /// Asserts that it obeys an order and takes it back: it is whole again.
    fn obeys(&self) {
        for (order, word) in [("maint", "MAINT"), ("auto", "READY")] {
            let output = self.command(&[order, "all"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{order}: {said}\n{}", self.rolecall.log());
            self.says(word);
        }
    }

    /// Asserts that an order is refused, with what was wrong and a hint, and changes nothing.
    fn refuses(&self) {
        let output = self.command(&["maint", "all"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert!(said.contains("nothing was changed") && said.contains("hint:"), "{said}");
    }

    fn signal(&self, signal: Signal) {
        self.rolecall.signal(signal);
    }

    /// Starts to ask.
    fn asked(&self) -> Asked {
        Asked::of(self.name, self.agent())
    }

    /// Asks for [`LONG`] and asserts that every answer was READY.
    fn stays_ready(&self) {
        self.stays_ready_while(|_| ());
    }

    /// The same from before `it` is done.
    fn stays_ready_while(&self, it: impl FnOnce(&Self)) {
        let asked = self.asked();
        it(self);
        asked.for_long();
        asked.were_ready();
    }
}

/// Whoever asks the agent port meanwhile.
struct Asked {
    name: &'static str,
    answers: Recorder<Check>,
}

impl Asked {
    fn of(name: &'static str, agent: SocketAddr) -> Self {
        Self { name, answers: checker(agent, EVERY, WITHIN) }
    }

    /// Waits until the fault has gone on for [`LONG`].
    fn for_long(&self) {
        self.until(LONG);
    }

    /// The same for another time.
    fn until(&self, long: Duration) {
        let began = now();
        self.answers.wait(PATIENCE, "more answers", |check| check.at.since(began) >= long);
        let enough = || if self.answers.mark() > FEWEST { Ok(()) } else { Err(()) };
        eventually(PATIENCE, "enough answers", enough);
    }

    /// Asserts that all were READY.
    fn were_ready(self) {
        self.were(is_ready);
    }

    /// Asserts that all were right by this rule, and notes the figures for the page.
    fn were(self, right: impl Fn(&Check) -> bool) {
        let name = self.name;
        let answers = self.answers.stop();
        let wrong: Vec<&Check> = answers.iter().filter(|check| !right(check)).collect();
        let slowest = answers.iter().map(|check| check.took).max().unwrap_or_default();
        let figures = Figures { answers: answers.len(), wrong: wrong.len(), slowest };
        say(&format!("{name}: {figures}"));
        assert!(answers.len() > FEWEST, "{name}: {} answers", answers.len());
        assert!(wrong.is_empty(), "{name}: {:?}", wrong[0]);
        note(name, &figures);
    }
}

fn is_ready(check: &Check) -> bool {
    check.heard == Heard::Said("READY\n".to_owned())
}

/// `unshare` for a mount namespace of one's own, of which an ordinary user needs a user namespace.
fn unshare(more: &str) -> String {
    let user = if is_root() { "" } else { "--user --map-root-user " };
    format!("unshare {user}--mount --propagation private {more}")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs these lines of a shell in the namespaces of the daemon.
fn within(host: &Host, lines: &str) {
    let user: &[&str] = if is_root() { &[] } else { &["--user", "--preserve-credentials"] };
    let mut enter = Command::new("nsenter");
    enter.arg("--target").arg(host.rolecall.pid().to_string()).args(user).args(["--mount", "--"]);
    let output = enter.args(["sh", "-c", lines]).output().expect("nsenter");
    assert!(output.status.success(), "{lines}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sets a soft limit of the running daemon; user `user` does it, `None`: the one who tests.
fn limit(host: &Host, user: Option<u32>, what: &str) {
    let mut set = Command::new("setpriv");
    if let Some(user) = user {
        set.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
    }
    set.args(["--", "prlimit", "--pid"]).arg(host.rolecall.pid().to_string());
    // The colon leaves the hard limit as it is, which only some may raise again.
    let output = set.arg(format!("{what}:")).output().expect("prlimit");
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether the daemon's clock since boot is another one than this process's.
fn has_its_own_time(host: &Host) -> bool {
    let of = |path: &Path| std::fs::read_link(path.join("ns/time")).ok();
    of(&proc(host, "")) != of(Path::new("/proc/self"))
}

/// What `/proc` says of the daemon.
fn proc(host: &Host, file: &str) -> PathBuf {
    Path::new("/proc").join(host.rolecall.pid().to_string()).join(file)
}

/// Whether this part of `make test-all` is asked for.
fn all() -> bool {
    std::env::var_os("ROLECALL_ALL").is_some_and(|value| value == "1")
}
