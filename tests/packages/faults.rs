//! What systemd does with a daemon that dies or hangs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::fixtures::{Check, Heard, command, eventually, now, send};
use crate::host::{CHECK_TIMEOUT, HOLD, Host, SOON, all_ready, hear, timed};

/// Deaths in a row: as many as the delay has steps, and two more.
const DEATHS: u32 = 5;
/// The first and the longest delay, from the unit.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_millis(250);
/// Starts that fail: more than systemd's own limit of 5 in 10 s.
const FAILURES: u32 = 12;
/// What a start may cost beside the delay, on a loaded machine.
const START: Duration = Duration::from_secs(10);
/// `WatchdogSec`, what `systemd::beats` allows before, and as long again as a stop may take: then it is
/// ended by SIGKILL.
const WATCHED: Duration = Duration::from_secs(60);

/// The delay before the next start, where this systemd can let it grow.
fn growing_delay(host: &Host) -> Option<Duration> {
    let next = host.machine.property("rolecall.service", "RestartUSecNext");
    (!next.is_empty()).then(|| humantime::parse_duration(&next).expect("a time"))
}

pub fn the_unit_is_in_force(host: &Host) {
    let is = |unit: &str, property: &str, value: &str| {
        assert_eq!(host.machine.property(unit, property), value, "{property} of {unit}");
    };
    let service = "rolecall.service";
    is(service, "Type", "notify");
    is(service, "Restart", "always");
    is(service, "RestartUSec", "100ms");
    is(service, "WatchdogUSec", "10s");
    is(service, "UnitFileState", "enabled");
    is(service, "DropInPaths", "");
    for unit in [service, "rolecall.socket"] {
        is(unit, "StartLimitIntervalUSec", "0");
    }
    // What this systemd does not know it names in the journal and ignores.
    let grows = growing_delay(host).is_some();
    let known = |value| if grows { value } else { "" };
    is(service, "RestartSteps", known("3"));
    is(service, "RestartMaxDelayUSec", known("250ms"));
    let word = if grows { "grows" } else { "is fixed" };
    println!("  the delay of a restart {word}");
}

pub fn a_killed_daemon_is_back_and_no_check_failed(host: &Host) {
    let machine = &host.machine;
    let clients = host.clients();
    let answers = host.checker();
    let restarts =
        || machine.property("rolecall.service", "NRestarts").parse::<u32>().expect("a number");
    let before = restarts();
    let (mut least, mut started, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for death in 1..=DEATHS {
        hear(&answers, 20);
        least.push(growing_delay(host).unwrap_or(FIRST_DELAY));
        let mark = answers.mark();
        let pid = machine.daemon();
        started.push(timed(|| {
            send(pid, Signal::KILL);
            eventually(SOON, "another daemon", || match machine.daemon() {
                0 => Err(0),
                same if same == pid => Err(same),
                _ => Ok(()),
            });
        }));
        hear(&answers, 20);
        assert_eq!(restarts(), before + death);
        back.push(answers.since(mark).iter().map(|check| check.took).max().unwrap_or_default());
    }
    let grew = [least[0], least[least.len() - 1]];
    let expected = if growing_delay(host).is_some() { LONGEST_DELAY } else { FIRST_DELAY };
    assert_eq!(grew, [FIRST_DELAY, expected], "{least:?}");
    let early = least.iter().zip(&started).find(|(least, started)| started < least);
    assert!(early.is_none(), "started before its time: {least:?}, {started:?}");
    let (asked, slowest) = all_ready(&answers.stop());
    assert!(slowest < LONGEST_DELAY + START, "not back within the delay: {back:?}");
    // Whether this machine is quick enough for HAProxy's own patience is not the daemon's doing.
    let session = if slowest < CHECK_TIMEOUT {
        format!("no check failed, the session lives, {} beats", clients.noticed_nothing())
    } else {
        drop(clients);
        format!("this machine was too slow for the {CHECK_TIMEOUT:?} that HAProxy waits")
    };
    println!(
        "  killed {DEATHS} times: started after {started:.0?}, answers again after {back:.0?}; {asked} \
         answers, all READY; {session}"
    );
}

pub fn a_start_that_fails_is_tried_for_ever(host: &Host) {
    let machine = &host.machine;
    let answers = host.checker();
    hear(&answers, 20);
    // Root alone may read it: the daemon ends at every start.
    let configuration = "/etc/rolecall/rolecall.toml";
    machine.sh(&format!("chmod 600 {configuration}"));
    assert!(!machine.run("systemctl restart rolecall.service").status.success());
    eventually(SOON, "starts that fail", || {
        let restarts = machine.property("rolecall.service", "NRestarts");
        let restarts = restarts.parse::<u32>().expect("a number");
        if restarts < FAILURES { Err(restarts) } else { Ok(()) }
    });
    assert_eq!(machine.property("rolecall.socket", "ActiveState"), "active");
    machine.sh(&format!("chmod 644 {configuration}"));
    hear(&answers, 20);
    let (asked, slowest) = all_ready(&answers.stop());
    println!(
        "  {FAILURES} starts that fail: {asked} answers, all READY once it starts, slowest {slowest:.1?}"
    );
}

/// Waits until systemd has replaced the daemon `pid` because it was not heard of.
fn ended_by_the_watchdog(host: &Host, pid: u32) {
    eventually(WATCHED, "a daemon that the watchdog started anew", || {
        match host.machine.daemon() {
            0 => Err(0),
            same if same == pid => Err(same),
            _ => Ok(()),
        }
    });
    let said = host.machine.sh(
        "journalctl --sync && journalctl --no-pager -o cat -n 40 UNIT=rolecall.service + _PID=1",
    );
    assert!(said.contains("Watchdog timeout"), "{said}");
    host.machine.sh("journalctl --rotate --vacuum-time=1s >/dev/null 2>&1");
    host.says("READY\n");
}

pub fn a_hung_process_is_ended_by_the_watchdog(host: &Host) {
    host.says("READY\n");
    let pid = host.machine.daemon();
    let began = now();
    send(pid, Signal::STOP);
    ended_by_the_watchdog(host, pid);
    println!("  a stopped process: READY again after {:.1?}", now().since(began));
}

/// Holds one thread still, as a debugger does: `PTRACE_SEIZE`, `PTRACE_INTERRUPT`, and its death is
/// waited for, without which the process could not go (`__WALL`).
const HOLD_STILL: &str = r#"
    my ($ptrace, $thread) = ($ARGV[0] + 0, $ARGV[1] + 0);
    syscall($ptrace, 0x4206, $thread, 0, 0) == 0 or die "seize: $!";
    syscall($ptrace, 0x4207, $thread, 0, 0) == 0 or die "interrupt: $!";
    waitpid($thread, 0x40000000) == $thread or die "wait: $!";
    $| = 1;
    print "held\n";
    1 while waitpid($thread, 0x40000000) > 0;
"#;

/// The number of ptrace(2) among the system calls.
const PTRACE: &str = if cfg!(target_arch = "x86_64") { "101" } else { "117" };

/// The thread that looks, of process `pid`.
fn looking_thread(pid: u32) -> String {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    let mut threads = threads.map(|thread| thread.expect("a thread").path());
    let sources = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm == "sources\n")
    };
    let thread = threads.find(sources).expect("a thread called sources");
    thread.file_name().expect("its id").to_string_lossy().into_owned()
}

pub fn a_hung_poller_says_maint_and_is_ended_by_the_watchdog(host: &Host) {
    host.says("READY\n");
    let pid = host.machine.daemon();
    let answers = host.checker();
    hear(&answers, 20);
    let mut perl = command(Path::new("perl"), None);
    perl.args(["-e", HOLD_STILL, PTRACE, &looking_thread(pid)]).stdout(Stdio::piped());
    let mut perl = perl.spawn().expect("perl");
    let mut held = String::new();
    let stdout = perl.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut held).expect("perl speaks");
    let stopped = now();
    assert_eq!(held, "held\n");

    ended_by_the_watchdog(host, pid);
    let back = now();
    assert!(perl.wait().expect("it is ours").success());
    let answers = answers.stop();
    let says = |check: &&Check, line: &str| check.heard == Heard::Said(line.to_owned());
    let maint = answers.iter().find(|check| says(check, "MAINT\n")).expect("MAINT while it hangs");
    let stale = |check: &&Check| {
        says(check, "READY\n") && check.at < maint.at && check.at.since(stopped) > HOLD
    };
    let stale = answers.iter().find(stale);
    assert!(stale.is_none(), "READY on facts that were older than {HOLD:?}: {stale:?}");
    let cut = answers.iter().find(|check| !matches!(check.heard, Heard::Said(_)));
    assert!(cut.is_none(), "{cut:?}");
    println!(
        "  a poller that hangs: MAINT after {:.1?}, READY again after {:.1?}",
        maint.at.since(stopped),
        back.since(stopped)
    );
}
