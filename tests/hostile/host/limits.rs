//! Limits that are reached while it runs.

use std::net::TcpStream;
use std::time::Duration;

use super::{Host, is_ready, is_root, limit, proc, unshare};
use crate::fixtures::{HTTP_PORT, Heard, lacks_namespaces, web};
use crate::well::PATIENCE;

/// A page of `/status` within this time, or none.
const SOON: Duration = Duration::from_secs(1);

/// How many descriptors the daemon has open.
fn open(host: &Host) -> usize {
    std::fs::read_dir(proc(host, "fd")).unwrap().count()
}

#[test]
fn a_limit_of_descriptors_that_is_lowered_makes_answers_late_and_none_wrong() {
    let host =
        Host::new("a_limit_of_descriptors_that_is_lowered_makes_answers_late_and_none_wrong");
    // Room for a look and an answer, and for hardly anything else.
    limit(&host, None, &format!("--nofile={}", open(&host) + 4));
    let asked = host.asked();
    let silent: Vec<TcpStream> =
        (0..40).filter_map(|_| TcpStream::connect((host.agent().ip(), HTTP_PORT)).ok()).collect();
    assert!(silent.len() > 4, "{}", silent.len());
    asked.for_long();
    drop(silent);
    limit(&host, None, "--nofile=1024");
    host.is_ready();
    // Who finds no descriptor waits until somebody else's time is up. A poll that finds none has failed.
    let maint = Heard::Said("MAINT\n".to_owned());
    asked.were(|check| check.heard == Heard::Late || check.heard == maint || is_ready(check));
    host.obeys();
}

#[test]
fn a_limit_of_memory_that_is_reached_stops_no_answer() {
    let host = Host::new("a_limit_of_memory_that_is_reached_stops_no_answer");
    let status = std::fs::read_to_string(proc(&host, "status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let kib: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
    // It gets nothing more from the operating system: no page, and no stack of a thread.
    limit(&host, None, &format!("--as={}", kib * 1024));
    let asked = host.asked();
    for _ in 0..20 {
        let addr = (host.agent().ip(), HTTP_PORT).into();
        let page = web::request(addr, "GET /status", "", Some(PATIENCE)).unwrap();
        assert_eq!(page.status, 200, "{}", page.body);
        std::thread::sleep(SOON / 20);
    }
    asked.for_long();
    asked.were_ready();
    limit(&host, None, "--as=unlimited");
    host.obeys();
}

#[test]
fn a_limit_of_processes_that_is_reached_stops_no_answer() {
    if lacks_namespaces() {
        return;
    }
    let name = "a_limit_of_processes_that_is_reached_stops_no_answer";
    // Root has no such limit: the daemon runs as a user of its own, who has no name either.
    let user = 57_000 + std::process::id() % 2_000;
    let line = if is_root() {
        format!(
            "chown -R {user} STATE RUN && cp PROGRAM RUN/program && exec setpriv --reuid={user} --regid={user} \
             --clear-groups RUN/program \"$@\""
        )
    } else {
        format!("exec {} sh -c 'exec PROGRAM \"$@\"' sh \"$@\"", unshare(""))
    };
    let host = Host::by(name, &line);
    let user = is_root().then_some(user);
    limit(&host, user, "--nproc=1");
    let asked = host.asked();
    // Each order has a thread of its own.
    let refused = host.command(&["maint", "all"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("hint:"), "{said}");
    asked.for_long();
    asked.were_ready();
    limit(&host, user, "--nproc=1000");
    host.obeys();
}
