//! What can befall the folders that rolecall writes to.

use super::{Host, unshare, within};
use crate::fixtures::lacks_namespaces;

/// A file system of its own below the state folder: small, and with few inodes.
fn on_a_small_disk(name: &'static str) -> Host {
    let mount = "mount -t tmpfs -o size=256k,nr_inodes=40 none STATE";
    let line = format!("exec {} sh -c '{mount} && exec PROGRAM \"$@\"' sh \"$@\"", unshare(""));
    Host::by(name, &line)
}

#[test]
fn a_full_disk_stops_orders_and_no_answer() {
    if lacks_namespaces() {
        return;
    }
    let host = on_a_small_disk("a_full_disk_stops_orders_and_no_answer");
    let state = host.path("state").display().to_string();
    within(&host, &format!("cat /dev/zero >{state}/filler 2>/dev/null; ! echo x >>{state}/more"));
    host.stays_ready_while(Host::refuses);
    within(&host, &format!("rm {state}/filler"));
    host.obeys();
}

#[test]
fn a_disk_without_inodes_stops_orders_and_no_answer() {
    if lacks_namespaces() {
        return;
    }
    let host = on_a_small_disk("a_disk_without_inodes_stops_orders_and_no_answer");
    let state = host.path("state").display().to_string();
    within(
        &host,
        &format!("n=0; while mkdir {state}/d$n 2>/dev/null; do n=$((n+1)); done; [ $n -gt 9 ]"),
    );
    host.stays_ready_while(Host::refuses);
    within(&host, &format!("rmdir {state}/d*"));
    host.obeys();
}

#[test]
fn a_disk_that_becomes_read_only_stops_orders_and_no_answer() {
    if lacks_namespaces() {
        return;
    }
    let host = on_a_small_disk("a_disk_that_becomes_read_only_stops_orders_and_no_answer");
    let state = host.path("state").display().to_string();
    // What is open for writing keeps the file system from it, so it is laid under a second mount.
    within(&host, &format!("mount --bind {state} {state} && mount -o remount,bind,ro {state}"));
    host.stays_ready_while(Host::refuses);
    within(&host, &format!("umount {state}"));
    host.obeys();
}

#[test]
fn a_state_folder_that_is_gone_stops_orders_and_no_answer() {
    let host = Host::new("a_state_folder_that_is_gone_stops_orders_and_no_answer");
    let state = host.path("state");
    std::fs::remove_dir_all(&state).unwrap();
    host.stays_ready_while(Host::refuses);
    std::fs::create_dir(&state).unwrap();
    host.obeys();
}

#[test]
fn a_run_folder_that_is_gone_stops_no_answer() {
    let mut host = Host::new("a_run_folder_that_is_gone_stops_no_answer");
    let run = host.path("run");
    std::fs::remove_dir_all(&run).unwrap();
    let asked = host.asked();
    let output = host.command(&["maint", "all"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("hint:"), "{said}");
    asked.for_long();
    asked.were_ready();
    // Its socket is there again with its next start.
    std::fs::create_dir(&run).unwrap();
    host.rolecall.restart();
    host.obeys();
}
