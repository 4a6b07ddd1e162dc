//! The packages on real systems: Debian trees that are booted with their own systemd.
//!
//! `make test-packaging` builds the packages, makes the trees and runs this; `cargo test` alone does
//! not. Every machine is booted in a network namespace of its own, in which this program asks, routes
//! and counts as HAProxy's host would. Wants root. A word on the command line chooses the machines
//! with that word in their name.

mod contents;
mod credentials;
mod deb;
mod faults;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod host;
mod journal;
mod machine;
mod operators;
mod reboot;
mod rpm;
mod upgrade;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use fixtures::{Ground, Heard, Proc, ask, command, eventually, now};
use host::{AGENT, Host, SOON};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The booted trees, oldest systemd first.
const MACHINES: [&str; 2] = ["bookworm", "trixie"];
/// The tree that is older than the machine the packages were built on.
const OLD: &str = "bullseye";

/// Set in a network namespace of its own.
const INSIDE: &str = "ROLECALL_TEST_INSIDE";

fn main() -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        eprintln!("packages: booting a machine needs root; hint: sudo make test-packaging");
        return ExitCode::FAILURE;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip");
        assert!(up.success());
        match words[0].as_str() {
            OLD => the_static_program_runs(&tree(OLD)),
            name => the_packages_hold_on(name),
        }
        return ExitCode::SUCCESS;
    }
    let all = MACHINES.into_iter().chain([OLD]);
    let chosen =
        all.filter(|name| words.is_empty() || words.iter().any(|w| name.contains(w.as_str())));
    let failed: Vec<&str> = chosen.filter(|name| !alone(name)).collect();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// Runs this program again for one machine, in a network namespace of its own.
fn alone(name: &str) -> bool {
    let began = now();
    let program = std::env::current_exe().expect("this program");
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--"]).arg(program).arg(name).env(INSIDE, "1");
    let passed = unshare.status().expect("unshare").success();
    let word = if passed { "ok" } else { "FAILED" };
    println!("{name} ... {word}, {:.0?}\n", now().since(began));
    passed
}

/// Everything that is shown on a booted machine, in the order in which it happens to one.
fn the_packages_hold_on(name: &str) {
    let ground = Ground::new();
    let share = packages(&ground);
    let mut host = Host::boot(ground, &tree(name), &share);
    println!("{name}: systemd {}", host.machine.systemd());
    deb::as_installed_it_says_maint_and_why_and_touches_no_database(&host);
    contents::everything_is_where_it_belongs(&host);
    faults::the_unit_is_in_force(&host);
    deb::the_sandbox_is_closed(&host);
    deb::purge_leaves_nothing(&host);

    deb::the_older_package_is_installed_and_configured(&host);
    deb::the_journal_has_a_change_as_fields(&host);
    deb::a_bad_reload_changes_nothing_and_a_good_one_is_in_force(&host);
    credentials::a_password_comes_by_a_credential(&host);
    credentials::a_key_comes_by_a_credential(&host);
    upgrade::an_upgrade_is_invisible(&host);
    operators::anybody_wakes_it_up(&host);
    operators::root_and_the_group_give_orders_that_outlive_a_restart(&host);
    upgrade::a_configuration_that_is_refused_leaves_the_old_daemon(&host);
    faults::a_killed_daemon_is_back_and_no_check_failed(&host);
    faults::a_start_that_fails_is_tried_for_ever(&host);
    faults::a_hung_process_is_ended_by_the_watchdog(&host);
    faults::a_hung_poller_says_maint_and_is_ended_by_the_watchdog(&host);
    journal::a_journal_that_stands_still_keeps_it_from_nothing(&host);
    deb::the_socket_starts_the_service(&host);
    upgrade::disabled_stays_disabled(&host);
    reboot::an_order_outlives_a_boot(&mut host);
    deb::removed_it_keeps_what_was_said_to_it_and_purged_it_leaves_nothing(&host);

    rpm::its_files_are_the_same(&host);
    rpm::installed_upgraded_and_removed(&host);
}

/// The static program in a tree whose C library is older than the one it was built beside.
fn the_static_program_runs(tree: &Path) {
    let ground = Ground::new();
    let built = one_package("-linux-musl.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(built).arg("--directory").arg(ground.dir());
    assert!(tar.status().expect("tar").success());
    // Everything in a mount namespace that goes with the process.
    let script = r#"mount --bind "$1" "$2/mnt" && exec chroot "$2" /mnt/rolecall run \
        --source static --role primary"#;
    let mut unshare = command(Path::new("unshare"), None);
    unshare.args(["--mount", "--propagation", "private", "--", "sh", "-ec", script, "sh"]);
    unshare.arg(ground.dir()).arg(tree);
    let _daemon = Proc::start("rolecall", unshare, &ground.dir().join("rolecall.log"));
    eventually(SOON, "READY from the static program", || match ask(AGENT, SOON).heard {
        Heard::Said(line) if line == "READY\n" => Ok(()),
        heard => Err(heard),
    });
    let version = Command::new("chroot").arg(tree).args(["ldd", "--version"]).output();
    let version = String::from_utf8_lossy(&version.expect("chroot").stdout).into_owned();
    println!("the static program runs beside {}", version.lines().next().unwrap_or_default());
}

fn tree(name: &str) -> PathBuf {
    Path::new(ROOT).join("target/trees").join(name)
}

/// The one file of target/packages whose name ends so.
fn one_package(end: &str) -> PathBuf {
    let folder = Path::new(ROOT).join("target/packages");
    let files = std::fs::read_dir(&folder).expect("target/packages; hint: make package");
    let files = files.map(|file| file.expect("a file").path());
    let ends = |path: &PathBuf| path.to_string_lossy().ends_with(end);
    let found: Vec<_> = files.filter(ends).collect();
    assert_eq!(found.len(), 1, "packages that end in {end}: {found:?}");
    found[0].clone()
}

/// A folder with what is built and an older version of each.
fn packages(ground: &Ground) -> PathBuf {
    let share = ground.dir().join("share");
    std::fs::create_dir(&share).expect("share");
    for end in ["deb", "rpm"] {
        std::fs::copy(one_package(&format!(".{end}")), share.join(format!("new.{end}")))
            .expect("copy");
    }
    let run = |program: &OsStr, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(ROOT).output();
        let output = output.unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let older = |end: &str| share.join(format!("old.{end}")).to_string_lossy().into_owned();
    let new = share.join("new.deb");
    run("tests/tools/older-deb.sh".as_ref(), &[&new.to_string_lossy(), &older("deb")]);
    let rpm = "target/tools/bin/cargo-generate-rpm".as_ref();
    let same = "target/package/rpm.toml";
    run(
        rpm,
        &[
            "--metadata-overwrite",
            same,
            "--set-metadata",
            "release = \"0\"",
            "--output",
            &older("rpm"),
        ],
    );
    share
}
