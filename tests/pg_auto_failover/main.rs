//! rolecall on real clusters of pg_auto_failover that are killed, cut and switched, beside the advice that people follow.
//!
//! A main of its own: `cargo test --test pg_auto_failover` runs the telling scenarios, `ROLECALL_ALL=1` every one, a word
//! on the command line those that have it in their name. One after the other, since they count time; each on its own
//! network namespaces. Where pg_auto_failover is not to be had (Debian 13), all of it is left out.

#[path = "../fixtures/mod.rs"]
mod fixtures;
mod scenarios;
mod stage;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use fixtures::auto_failover::lacks_auto_failover;
use fixtures::{lacks_haproxy, lacks_namespaces, ledger, now};
use scenarios::Scenario;
use stage::Stage;
use table::Line;

/// Longest wait for the new primary's READY once the monitor has it as one.
const READY_WITHIN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if std::env::args().any(|a| a == "--list") {
        for scenario in scenarios::ALL {
            println!("{}: test", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    if lacks_auto_failover() || lacks_haproxy() || lacks_namespaces() {
        return ExitCode::SUCCESS;
    }
    let all = std::env::var_os("ROLECALL_ALL").is_some_and(|v| v == "1");
    let chosen: Vec<&Scenario> = scenarios::ALL
        .iter()
        .filter(|s| match words.as_slice() {
            [] => all || s.quick,
            words => words.iter().any(|w| s.name.contains(w.as_str())),
        })
        .collect();
    println!("\nrunning {} of {} scenarios", chosen.len(), scenarios::ALL.len());

    ledger::prove();
    let mut table = Vec::new();
    let mut failed = Vec::new();
    for scenario in chosen {
        let began = now();
        // The panic has been printed; everything started has been ended on the way here.
        if let Ok(line) = catch_unwind(AssertUnwindSafe(|| run(scenario))) {
            println!("scenario {} ... ok, {:.0?}", scenario.name, now().since(began));
            table.push(line.text());
        } else {
            println!("scenario {} ... FAILED", scenario.name);
            failed.push(scenario.name);
        }
    }
    println!("\n{}\n{}", table::HEAD, table.join("\n"));
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nfailed: {}", failed.join("; "));
    ExitCode::FAILURE
}

/// Plays one scenario and holds its line to what must be true of every one.
fn run(scenario: &Scenario) -> Line {
    let mut stage = Stage::start(scenario.setting);
    let primary = (scenario.play)(&mut stage);
    let line = stage.count(scenario.name, primary);
    println!("{}", line.text());
    assert!(line.taken > 0, "no row was taken");
    assert_eq!(line.two, Duration::ZERO, "two were READY");
    assert_eq!(line.two_up, Duration::ZERO, "HAProxy had two servers up");
    assert_eq!(line.lost, 0, "rows that are not on the primary of the end");
    if let Some(after) = line.ready_after {
        assert!(after <= READY_WITHIN, "READY {after:?} after the monitor had the new primary");
    }
    if scenario.fools_the_advice {
        assert!(line.advice_two > Duration::ZERO, "`not in recovery` was to show two primaries");
    }
    line
}
