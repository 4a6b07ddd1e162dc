//! rolecall on real repmgr clusters that are killed, cut and frozen.
//!
//! A main of its own: `cargo test --test repmgr` runs the telling scenarios, `ROLECALL_ALL=1` every
//! one, a word on the command line those that have it in their name. One after the other, since
//! they count time; each on its own network namespaces, for which an ordinary user gets a user
//! namespace. Where there are none, all of it is left out, which fails under `make test`.

mod fence;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod generated;
mod holes;
mod nemesis;
mod scenarios;
mod stage;
mod table;
mod timings;
mod watch;

use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::time::Duration;

use fixtures::repmgr_template::Template;
use fixtures::{lacks_haproxy, lacks_namespaces, lacks_repmgr, now};
use fixtures::{ledger, timing};
use scenarios::Scenario;
use stage::Stage;
use table::Line;

/// What the role `rolecall` needs on the primary and on the witness, as shipped, and what `[fence]`
/// takes.
const MONITOR: &str = concat!(
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/sql/rolecall.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/sql/fence.sql"))
);

/// Set once an ordinary user has got namespaces of its own.
const INSIDE: &str = "ROLECALL_TEST_INSIDE";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if std::env::args().any(|a| a == "--list") {
        for scenario in &scenarios::ALL {
            println!("{}: test", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    if lacks_repmgr() || lacks_haproxy() || lacks_namespaces() {
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() && std::env::var_os(INSIDE).is_none() {
        let failed = inside_a_user_namespace();
        eprintln!("no user namespace: {failed}; hint: run as root");
        return ExitCode::FAILURE;
    }
    if let Some(runs) = timing::runs() {
        ledger::prove();
        return timings::measure(&Template::make(MONITOR), runs, &words);
    }
    if let Some(minutes) = fixtures::proving::wanted() {
        ledger::prove();
        return nemesis::prove(&Template::make(MONITOR), minutes, &words);
    }
    let all = std::env::var_os("ROLECALL_ALL").is_some_and(|v| v == "1");
    let chosen: Vec<&Scenario> = scenarios::ALL
        .iter()
        .filter(|s| match words.as_slice() {
            [] => all || s.quick,
            words => words.iter().any(|w| s.name.contains(w.as_str())),
        })
        .collect();
    let left = scenarios::ALL.len() - chosen.len();
    println!("\nrunning {} of {} scenarios", chosen.len(), scenarios::ALL.len());

    ledger::prove();
    let template = Template::make(MONITOR);
    let mut table = Vec::new();
    let mut failed = Vec::new();
    for scenario in chosen {
        let began = now();
        // The panic has been printed; everything started has been ended on the way here.
        if let Ok(line) = catch_unwind(AssertUnwindSafe(|| run(&template, scenario))) {
            println!("scenario {} ... ok, {:.0?}", scenario.name, now().since(began));
            table.push(line.text());
        } else {
            println!("scenario {} ... FAILED", scenario.name);
            failed.push(scenario.name);
        }
    }
    println!("\n{}\n{}", table::HEAD, table.join("\n"));
    if left > 0 && words.is_empty() {
        println!("\n{left} more with ROLECALL_ALL=1 (make test-all)");
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nfailed: {}", failed.join("; "));
    ExitCode::FAILURE
}

/// Plays one scenario and holds its line to what must be true of every one.
fn run(template: &Template, scenario: &Scenario) -> Line {
    let mut stage = Stage::start(template, scenario.setting);
    let primary = (scenario.play)(&mut stage);
    let line = stage.count(scenario.name, primary);
    println!("{}", line.text());
    assert!(line.taken > 0, "no row was taken");
    if scenario.two_by_choice {
        assert!(line.two > Duration::ZERO, "two READY were chosen and not seen");
    } else {
        assert_eq!(line.two, Duration::ZERO, "two were READY");
        assert_eq!(line.two_up, Duration::ZERO, "HAProxy had two servers up");
        assert_eq!(line.strays.wrong, 0, "rows on the wrong history");
    }
    if scenario.fools_simple_rules {
        assert!(line.own_row_two > Duration::ZERO, "`own row` was to show two primaries");
        assert!(line.not_in_recovery_two > Duration::ZERO, "`not in recovery` was to show two");
    }
    line
}

/// Starts this program anew in a user namespace in which it may make network namespaces; returns
/// only where it cannot.
fn inside_a_user_namespace() -> std::io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(e) => return e,
    };
    // As oneself, not as root: PostgreSQL refuses to run as root in there too.
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-current-user", "--keep-caps"]).arg(program);
    unshare.args(std::env::args_os().skip(1)).env(INSIDE, "1");
    unshare.exec()
}
