//! Starts, ends and signals.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;

use super::{HOLD, Host, LONG};
use crate::fixtures::{AGENT_PORT, Ground, now};

#[test]
fn a_storm_of_sighups_stops_no_answer() {
    let host = Host::new("a_storm_of_sighups_stops_no_answer");
    let asked = host.asked();
    let began = now();
    let mut sent = 0;
    while now().since(began) < LONG {
        host.signal(Signal::HUP);
        sent += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(sent > 100, "{sent}");
    asked.until(HOLD);
    asked.were_ready();
    host.rolecall.reload();
    host.obeys();
}

#[test]
fn a_socket_that_a_killed_one_left_is_no_obstacle() {
    let mut host = Host::new("a_socket_that_a_killed_one_left_is_no_obstacle");
    host.obeys();
    host.rolecall.kill9();
    assert!(host.path("run/control.sock").exists(), "what is left");
    host.rolecall.start();
    host.is_ready();
    host.stays_ready();
    host.obeys();
}

#[test]
fn a_port_that_another_program_has_is_named_and_taken_once_it_is_free() {
    let name = "a_port_that_another_program_has_is_named_and_taken_once_it_is_free";
    let ground = Ground::new();
    let other = TcpListener::bind(ground.addr(1, AGENT_PORT)).unwrap();
    let patroni = |ground: &Ground| ground.addr(5, 28008);
    let mut host = Host::at(name, ground, patroni, "exec PROGRAM \"$@\"", None);
    host.rolecall.launch();
    let ended = host.rolecall.wait();
    let log = host.rolecall.log();
    assert!(
        !ended.success() && log.contains("hint:") && log.contains(&host.agent().to_string()),
        "{log}"
    );
    drop(other);
    host.rolecall.start();
    host.is_ready();
    host.stays_ready();
    host.obeys();
}

#[test]
fn an_empty_environment_is_enough() {
    let name = "an_empty_environment_is_enough";
    let host = Host::by(name, "exec env -i PROGRAM \"$@\"");
    host.stays_ready();
    host.obeys();
}

#[test]
fn a_umask_that_forbids_everything_keeps_it_from_nothing() {
    let name = "a_umask_that_forbids_everything_keeps_it_from_nothing";
    let mut host = Host::by(name, "umask 0777; exec PROGRAM \"$@\"");
    host.stays_ready();
    assert!(host.command(&["maint", "all"]).status.success());
    let mode = std::fs::metadata(host.path("state/orders.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "nobody else may write orders: {mode:o}");
    host.rolecall.restart();
    host.says("MAINT");
    assert!(host.command(&["auto", "all"]).status.success());
    host.is_ready();
}
