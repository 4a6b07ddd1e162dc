//! A CPU that is taken away, and a kernel that needs memory: by cgroups, of either version.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{HOLD, Host, all, proc};
use crate::fixtures::{AGENT_PORT, Ground, eventually, held, missing};
use crate::well::PATIENCE;

/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";
/// What the group of the daemon may have, in bytes.
const ROOM: u64 = 64 << 20;
/// So many programs want more than that, each less than the daemon has of it: the kernel chooses the largest.
const HUNGRY: u64 = 32;
/// Of 100 ms so many the daemon gets.
const SHARE: u32 = 2;

/// A cgroup; removed when it is dropped.
struct Group {
    folder: PathBuf,
    version_2: bool,
}

impl Group {
    /// A new one with this controller; `None`: it cannot be made here, which is said.
    fn new(controller: &str) -> Option<Self> {
        let root = Path::new(CGROUPS);
        let version_2 = root.join("cgroup.controllers").exists();
        let parent = if version_2 { root.to_owned() } else { root.join(controller) };
        let folder = parent.join(format!("rolecall-{}-{controller}", std::process::id()));
        if version_2 {
            // Fails where it is so already, or may not be so, which shows below.
            let _ = std::fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        let needed = match (version_2, controller) {
            (true, "cpu") => "cpu.max",
            (true, _) => "memory.max",
            (false, "cpu") => "cpu.cfs_quota_us",
            (false, _) => "memory.limit_in_bytes",
        };
        let made = std::fs::create_dir(&folder).is_ok();
        let group = Self { folder, version_2 };
        if made && group.folder.join(needed).exists() {
            return Some(group);
        }
        missing("root and cgroups");
        None
    }

    fn set(&self, file: &str, value: &str) {
        let path = self.folder.join(file);
        std::fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    fn take(&self, pid: u32) {
        self.set("cgroup.procs", &pid.to_string());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever is in it ends a moment later.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_fiftieth_of_a_core_is_enough() {
    if !all() {
        return;
    }
    let Some(group) = Group::new("cpu") else { return };
    let host = Host::new("a_fiftieth_of_a_core_is_enough");
    if group.version_2 {
        group.set("cpu.max", &format!("{} 100000", SHARE * 1000));
    } else {
        group.set("cpu.cfs_period_us", "100000");
        group.set("cpu.cfs_quota_us", &(SHARE * 1000).to_string());
    }
    group.take(host.rolecall.pid());
    let asked = host.asked();
    asked.until(HOLD * 10);
    // Whoever asks 50 times a second takes what there is: an answer comes late, and is right.
    asked.were_ready();
    std::fs::write(
        Path::new(CGROUPS).join(if group.version_2 { "cgroup.procs" } else { "cpu/cgroup.procs" }),
        host.rolecall.pid().to_string(),
    )
    .unwrap();
    host.obeys();
}

#[test]
fn what_the_kernel_kills_for_memory_is_started_again_and_no_asker_is_lost() {
    if !all() {
        return;
    }
    let Some(group) = Group::new("memory") else { return };
    let name = "what_the_kernel_kills_for_memory_is_started_again_and_no_asker_is_lost";
    let ground = Ground::new();
    let agent = ground.addr(1, AGENT_PORT);
    let procs = group.folder.join("cgroup.procs");
    let line = format!("echo $$ >{} && exec PROGRAM \"$@\"", procs.display());
    let mut host = Host::at(name, ground, |ground| ground.addr(5, 28008), &line, None);
    // As systemd does, which has its socket.
    host.rolecall = host.rolecall.sockets(vec![held(agent)]);
    host.rolecall.start();
    host.is_ready();
    let file = if group.version_2 { "memory.max" } else { "memory.limit_in_bytes" };
    group.set(file, &ROOM.to_string());
    std::fs::write(proc(&host, "oom_score_adj"), "1000").unwrap();
    let asked = host.asked();
    asked.until(HOLD / 2);
    // Others beside it want more than there is.
    let each = 4 * ROOM / HUNGRY;
    let script = format!(
        "echo $$ >{} && x=$(head -c {each} /dev/zero | tr '\\0' x) && while sleep 1; do :; done",
        procs.display()
    );
    let hungry = (0..HUNGRY)
        .map(|_| Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).spawn().unwrap());
    let hungry: Vec<Child> = hungry.collect();
    let dead =
        eventually(PATIENCE, "the kernel kills it", || host.rolecall.ended().ok_or("it runs"));
    assert_eq!(dead.signal(), Some(9), "{dead}");
    for mut hungry in hungry {
        hungry.kill().unwrap();
        hungry.wait().unwrap();
    }
    host.rolecall.start();
    asked.until(HOLD);
    asked.were_ready();
    host.obeys();
}
