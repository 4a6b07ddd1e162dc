//! A journal that stands still, as a disk that hangs makes it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::deb::PEER;
use crate::fixtures::{eventually, send};
use crate::host::{Host, SOON, all_ready, hear, localhost};

/// Questions that name nothing, each of which is a line of the log at this level: more than the journal's
/// own queue, and rolecall's, hold together.
const LINES: usize = 8000;
const ASKED_BY: usize = 8;
/// What is told of those that found no room, at least.
const LEAST_DROPPED: usize = 1000;

/// A port where questions are read, beside the one of [`PEER`].
const QUESTIONS: &str = r#"
[[service]]
name = "questions"
roles = ["primary"]
listen = "5556"
agent_send = true

[log]
level = "debug"
"#;

/// A process that is stopped; it goes on once this is dropped.
struct Stopped(u32);

impl Stopped {
    fn new(pid: u32) -> Self {
        send(pid, Signal::STOP);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        send(self.0, Signal::CONT);
    }
}

/// Asks what nobody has the answer to, so many times.
fn make_lines() {
    std::thread::scope(|scope| {
        for _ in 0..ASKED_BY {
            scope.spawn(|| {
                for _ in 0..LINES / ASKED_BY {
                    let mut stream = TcpStream::connect(localhost(5556)).expect("the port");
                    stream.set_read_timeout(Some(SOON)).expect("timeout");
                    stream.write_all(b"nobody\n").expect("a question");
                    stream.read_to_end(&mut Vec::new()).expect("an answer");
                }
            });
        }
    });
}

pub fn a_journal_that_stands_still_keeps_it_from_nothing(host: &Host) {
    let machine = &host.machine;
    host.configure(&format!("{PEER}{QUESTIONS}"));
    machine.sh("systemctl restart rolecall.service");
    host.says("READY\n");
    let journald = machine.main_process("systemd-journald.service");
    let pid = machine.daemon();
    let answers = host.checker();
    let stopped = Stopped::new(journald);
    make_lines();
    hear(&answers, 200);
    drop(stopped);
    let dropped = eventually(SOON, "the journal has how many lines were dropped", || {
        let warnings = machine.journal("-u rolecall.service --priority=warning");
        let dropped = warnings.iter().filter_map(|entry| entry["ROLECALL_DROPPED"].as_str());
        let dropped: usize = dropped.filter_map(|count| count.parse::<usize>().ok()).sum();
        if dropped >= LEAST_DROPPED { Ok(dropped) } else { Err(dropped) }
    });
    assert_eq!(machine.daemon(), pid, "the same daemon went on");
    let (asked, slowest) = all_ready(&answers.stop());

    // Nor does it keep it from its end.
    let stopped = Stopped::new(journald);
    make_lines();
    send(pid, Signal::TERM);
    eventually(Duration::from_secs(20), "the daemon ends", || {
        match std::fs::exists(format!("/proc/{pid}")) {
            Ok(false) => Ok(()),
            other => Err(other),
        }
    });
    drop(stopped);
    host.says("READY\n");
    println!(
        "  a journal that stands still: {asked} answers, all READY, slowest {slowest:.1?}; {dropped} lines \
         dropped"
    );
    host.configure(PEER);
    machine.sh("systemctl restart rolecall.service");
    host.says("READY\n");
}
