//! A Debian tree with its own systemd as process 1, entered from outside.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use crate::fixtures::process::command_dying_of;
use crate::fixtures::{Ground, Proc, children, eventually, send};

/// A boot on a loaded machine takes many times the 3 s it takes on an idle one.
const BOOT: Duration = Duration::from_secs(120);

/// How systemd-nspawn with `--keep-unit` ends where the machine wants to be booted again.
const REBOOTS: i32 = 133;

const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools");

/// A running machine; dropped, it is gone with all that was written in it.
pub struct Machine {
    name: String,
    /// What boots it, its tree, its folder and what it shares.
    boot: [PathBuf; 4],
    log: PathBuf,
    nspawn: Proc,
    leader: u32,
}

/// How a machine goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Its systemd stops every unit first.
    InOrder,
    /// As by a loss of power, but for what is not on disk yet: that is this host's business.
    AtOnce,
}

impl Machine {
    /// Boots `tree`, in this thread's network; `share` is at /mnt/share in there.
    pub fn boot(ground: &Ground, tree: &Path, share: &Path) -> Self {
        // Two runs at a time share the host's control groups.
        let name = format!("rolecall-{}", std::process::id());
        let boot = [tool("boot.sh"), tree.into(), ground.dir().join("machine"), share.into()];
        let log = ground.dir().join("machine.log");
        let (nspawn, leader) = start(&name, &boot, &log);
        let machine = Self { name, boot, log, nspawn, leader };
        machine.is_up();
        machine
    }

    /// Down, and booted again with what is on its disk.
    pub fn reboot(&mut self, down: Down) {
        match down {
            // What asks for it does not outlive it.
            Down::InOrder => drop(self.run("systemctl reboot")),
            Down::AtOnce => send(self.leader, Signal::KILL),
        }
        let ended = self.nspawn.wait(BOOT);
        assert_eq!(ended.code() == Some(REBOOTS), down == Down::InOrder, "{down:?}: {ended}");
        self.leave_no_groups();
        (self.nspawn, self.leader) = start(&self.name, &self.boot, &self.log);
        self.is_up();
    }

    fn is_up(&self) {
        eventually(BOOT, "a booted machine", || match self.said("systemctl is-system-running") {
            // A unit of the distribution that fails is none of our business.
            said if ["running", "degraded"].contains(&said.as_str()) => Ok(()),
            said => Err(said),
        });
    }

    /// Removes the control groups that it leaves behind once it is down.
    fn leave_no_groups(&self) {
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "--propagation", "private", "--"])
            .arg(tool("unboot.sh"))
            .arg(&self.name);
        // The last processes take a moment to leave their groups.
        eventually(BOOT, "removed control groups", || match unshare.output() {
            Ok(output) if output.status.success() => Ok(()),
            other => Err(other),
        });
    }

    /// A shell script in there, ready to run.
    pub fn command(&self, script: &str) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.leader.to_string(), "--mount", "--uts", "--ipc", "--net"]);
        nsenter.args(["--pid", "--cgroup", "--root", "--wdns=/", "--", "env", "-i"]);
        nsenter.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"]);
        nsenter.args(["DEBIAN_FRONTEND=noninteractive", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=cat"]);
        nsenter.args(["sh", "-c", script]);
        nsenter
    }

    /// Runs a shell script in there, however it ends.
    pub fn run(&self, script: &str) -> Output {
        self.command(script).output().expect("nsenter")
    }

    /// What a shell script in there prints.
    ///
    /// # Panics
    /// Where it fails.
    pub fn sh(&self, script: &str) -> String {
        let output = self.run(script);
        let errors = String::from_utf8_lossy(&output.stderr);
        let text = text(&output);
        assert!(output.status.success(), "{script}\n{}\n{text}\n{errors}", output.status);
        text
    }

    /// What a shell script in there prints, however it ends.
    pub fn said(&self, script: &str) -> String {
        text(&self.run(script))
    }

    /// A property of one of its units.
    pub fn property(&self, unit: &str, property: &str) -> String {
        self.sh(&format!("systemctl show --value --property={property} {unit}"))
    }

    /// The process id of the daemon, as this process sees it; 0 where there is none.
    pub fn daemon(&self) -> u32 {
        self.main_process("rolecall.service")
    }

    /// The same of one of its units.
    pub fn main_process(&self, unit: &str) -> u32 {
        let inside = self.property(unit, "MainPID");
        let mine = |pid: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let ids = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap_or_default();
            ids.split_whitespace().last() == Some(inside.as_str())
        };
        children(self.leader).into_iter().find(mine).unwrap_or(0)
    }

    /// The entries of the journal that `matches` name, oldest first.
    pub fn journal(&self, matches: &str) -> Vec<serde_json::Value> {
        let said = self.sh(&format!(
            "journalctl --sync && journalctl --no-pager --all --output json {matches}"
        ));
        said.lines().map(|line| serde_json::from_str(line).expect("a journal entry")).collect()
    }

    /// The version of its systemd.
    pub fn systemd(&self) -> String {
        self.sh("systemctl --version | sed -n '1s/.*(\\(.*\\))/\\1/p'")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let script =
                "journalctl --no-pager --lines 60; systemctl status --no-pager rolecall.service";
            eprintln!("--- in the machine: ---\n{}", self.said(script));
        }
        // Everything in there dies with process 1, and nothing does with what booted it.
        send(self.leader, Signal::KILL);
        self.nspawn.wait(BOOT);
        self.leave_no_groups();
    }
}

/// Starts what boots the machine; returns it and the machine's process 1.
fn start(name: &str, boot: &[PathBuf; 4], log: &Path) -> (Proc, u32) {
    let [program, tree, dir, share] = boot;
    // At SIGTERM it powers the machine off, which would outlive it otherwise.
    let mut unshare = command_dying_of("TERM", Path::new("unshare"), None);
    unshare.args(["--mount", "--propagation", "private", "--"]);
    unshare.arg(program).arg(tree).arg(dir).arg(name).arg(share);
    let mut nspawn = Proc::start("machine", unshare, log);
    let leader = eventually(BOOT, "process 1 of the machine", || {
        assert!(nspawn.ended().is_none(), "the machine did not boot");
        let child = children(nspawn.pid()).into_iter().find(|pid| is_systemd(*pid));
        child.ok_or("none yet")
    });
    (nspawn, leader)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn tool(name: &str) -> PathBuf {
    Path::new(TOOLS).join(name)
}

fn is_systemd(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "systemd\n")
}
