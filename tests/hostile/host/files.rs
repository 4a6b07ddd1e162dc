//! What can befall the files that rolecall has open, or is made of.

use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::Signal;

use super::{Host, unshare, within};
use crate::fixtures::{eventually, lacks_namespaces};
use crate::well::{PATIENCE, program};

#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    let name = "a_log_on_a_full_disk_stops_nothing";
    let host = Host::by(name, "exec PROGRAM \"$@\" 2>/dev/full");
    host.stays_ready();
    host.obeys();
}

#[test]
fn a_log_whose_reader_died_stops_nothing() {
    let name = "a_log_whose_reader_died_stops_nothing";
    let ground = crate::fixtures::Ground::new();
    let pipe = ground.dir().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let mut open = std::fs::File::options();
    let reader = open.read(true).custom_flags(nonblock).open(&pipe).unwrap();
    let line = format!("exec PROGRAM \"$@\" 2>{}", pipe.display());
    let host = Host::by(name, &line);
    drop(reader);
    host.stays_ready();
    host.obeys();
}

#[test]
fn a_program_file_that_is_replaced_stops_nothing() {
    let name = "a_program_file_that_is_replaced_stops_nothing";
    let ground = crate::fixtures::Ground::new();
    let copy = ground.dir().join("program");
    std::fs::copy(program(), &copy).unwrap();
    let host = Host::by(name, &format!("exec {} \"$@\"", copy.display()));
    // As dpkg does it: another file takes the name.
    let other = ground.write("other", "#!/bin/sh\nexit 1\n");
    std::fs::rename(other, &copy).unwrap();
    host.stays_ready_while(|host| host.rolecall.reload());
    host.obeys();
}

#[test]
fn a_configuration_that_is_gone_changes_nothing() {
    let host = Host::new("a_configuration_that_is_gone_changes_nothing");
    let (config, aside) = (host.path("rolecall.toml"), host.path("aside"));
    std::fs::rename(&config, &aside).unwrap();
    let asked = host.asked();
    host.signal(Signal::HUP);
    host.rolecall.wait_log(PATIENCE, &["ERROR", "the configuration was not reloaded"]);
    asked.for_long();
    asked.were_ready();
    std::fs::rename(aside, config).unwrap();
    host.rolecall.reload();
    host.obeys();
}

#[test]
fn a_working_directory_that_is_gone_changes_nothing() {
    let name = "a_working_directory_that_is_gone_changes_nothing";
    let host =
        Host::by(name, "mkdir RUN/here && cd RUN/here && rmdir RUN/here && exec PROGRAM \"$@\"");
    host.stays_ready_while(|host| host.rolecall.reload());
    host.obeys();
}

#[test]
fn a_host_without_proc_and_dev_stops_nothing() {
    if lacks_namespaces() {
        return;
    }
    let name = "a_host_without_proc_and_dev_stops_nothing";
    let line = format!("exec {} sh -c 'exec PROGRAM \"$@\"' sh \"$@\"", unshare(""));
    let host = Host::by(name, &line);
    within(&host, "mount -t tmpfs none /dev && mount -t tmpfs none /proc");
    host.stays_ready_while(|host| host.rolecall.reload());
    host.obeys();
}

#[test]
fn a_notify_socket_that_is_gone_stops_nothing() {
    let host = Host::new("a_notify_socket_that_is_gone_stops_nothing");
    std::fs::remove_file(host.path("rolecall.notify")).unwrap();
    let asked = host.asked();
    host.signal(Signal::HUP);
    eventually(PATIENCE, "it reloads", || {
        let log = host.rolecall.log();
        if log.matches("the configuration is in effect").count() > 1 { Ok(()) } else { Err(log) }
    });
    asked.for_long();
    asked.were_ready();
    host.obeys();
}
