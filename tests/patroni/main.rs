//! rolecall on real Patroni clusters whose parts are killed, stopped, frozen and paused.
//!
//! A main of its own: `cargo test --test patroni` runs the telling scenarios on the newest Patroni
//! there is, `ROLECALL_ALL=1` every one on every version, a word on the command line those that have it
//! in their name (`4.1.5/switchover` names a version too). Some clusters beside each other, each on
//! loopback addresses of its own.

mod beside;
mod certificates;
mod clocks;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod front;
mod generated;
mod lost_dcs;
mod nemesis;
mod paused;
mod restarts;
mod rounds;
mod scenarios;
mod setting;
mod stage;
mod table;
mod theirs;
mod timings;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fixtures::patroni::{Reachable, Template, numbers, patronis};
use fixtures::{lacks, lacks_haproxy, lacks_postgres, ledger, missing, now, timing};
use scenarios::{Scenario, Two};
use stage::Stage;
use table::Line;

/// Clusters at a time. Most of a scenario is waiting for a lock to run out.
const BESIDE: usize = 4;

/// What `make test-all` installs; the first is what `make test` does.
const VERSIONS: [&str; 3] = ["4.1.5", "3.3.11", "2.1.7"];

/// One scenario on one version.
struct Task<'a> {
    name: String,
    version: &'a str,
    program: &'a Path,
    scenario: &'static Scenario,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let found = patronis();
    let name = |version: &str, scenario: &Scenario| format!("{version}/{}", scenario.name);
    let all = std::env::var_os("ROLECALL_ALL").is_some_and(|v| v == "1");
    let wanted = if all { VERSIONS.as_slice() } else { &VERSIONS[..1] };
    if lacks_postgres() || lacks(&["etcd", "dnsmasq"]) || lacks_haproxy() {
        return ExitCode::SUCCESS;
    }
    if let Some(version) = wanted.iter().find(|v| found.iter().all(|(f, _)| f != **v)) {
        missing(&format!("Patroni {version} in target/patroni"));
        return ExitCode::SUCCESS;
    }
    let reachable = Reachable::copies_of(&found);
    if let Some(rounds) = rounds::wanted() {
        ledger::prove();
        return rounds::measure(&Template::make(), &reachable.found, rounds, &words);
    }
    if let Some(minutes) = fixtures::proving::wanted() {
        ledger::prove();
        return nemesis::prove(&Template::make(), &reachable.found, minutes, &words);
    }
    if let Some(runs) = timing::runs() {
        ledger::prove();
        let (version, program) = &reachable.found[0];
        return timings::measure(&Template::make(), program, version, runs, &words);
    }
    let mut tasks: Vec<Task> = Vec::new();
    let mut left = 0;
    for (version, program) in &reachable.found {
        for scenario in scenarios::ALL {
            if numbers(version).as_slice() < scenario.since {
                continue;
            }
            let name = name(version, scenario);
            let chosen = match words.as_slice() {
                [] => wanted.contains(&version.as_str()) && (all || scenario.quick),
                words => words.iter().any(|w| name.contains(w.as_str())),
            };
            if let Some(program) = scenario.setting.store.lacks().filter(|_| chosen) {
                missing(program);
            } else if chosen {
                tasks.push(Task { name, version, program, scenario });
            } else {
                left += 1;
            }
        }
    }
    if std::env::args().any(|a| a == "--list") {
        for task in &tasks {
            println!("{}: test", task.name);
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} scenarios, {BESIDE} at a time", tasks.len());
    ledger::prove();
    let template = Template::make();
    let lines = play(&template, &tasks);
    let failed: Vec<&str> = tasks
        .iter()
        .zip(&lines)
        .filter(|(_, l)| l.is_none())
        .map(|(t, _)| t.name.as_str())
        .collect();
    let texts: Vec<String> = lines.iter().flatten().map(Line::text).collect();
    println!("\n{}\n{}", table::HEAD, texts.join("\n"));
    if left > 0 && words.is_empty() {
        println!("\n{left} more with ROLECALL_ALL=1 (make test-all)");
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nfailed: {}", failed.join("; "));
    ExitCode::FAILURE
}

/// Plays them all, [`BESIDE`] at a time; `None` for one that failed.
fn play(template: &Template, tasks: &[Task]) -> Vec<Option<Line>> {
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(tasks.iter().map(|_| None).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..BESIDE.min(tasks.len()) {
            scope.spawn(|| {
                while let Some(n) = Some(next.fetch_add(1, Ordering::Relaxed))
                    && let Some(task) = tasks.get(n)
                {
                    let began = now();
                    // The panic has been printed; everything started has been ended on the way here.
                    let line = catch_unwind(AssertUnwindSafe(|| run(template, task))).ok();
                    let how = if line.is_some() { "ok" } else { "FAILED" };
                    println!("scenario {} ... {how}, {:.0?}", task.name, now().since(began));
                    lines.lock().expect("lines")[n] = line;
                }
            });
        }
    });
    lines.into_inner().expect("lines")
}

/// Plays one scenario and holds its line to what must be true of every one.
fn run(template: &Template, task: &Task) -> Line {
    let scenario = task.scenario;
    let mut stage = Stage::start(template, task.program, task.version, scenario.setting);
    let leader = (scenario.play)(&mut stage);
    let line = stage.count(task.name.clone(), leader);
    println!("{}", line.text());
    assert!(line.taken > 0, "no row was taken");
    assert_eq!(line.two_writable, Duration::ZERO, "two were READY and took writes");
    assert_eq!(line.strays.wrong, 0, "rows on the wrong history");
    if scenario.two == Two::OneDeadAMoment {
        // An interval of rolecall's, and what four clusters on one machine add.
        let most = Duration::from_millis(500 + 400);
        assert!(line.two <= most, "two were READY for {:?}, one of them dead", line.two);
    }
    if scenario.two == Two::Never {
        assert_eq!(line.two, Duration::ZERO, "two were READY");
        assert_eq!(line.two_up, Duration::ZERO, "HAProxy had two servers up");
    }
    if scenario.fools_usual {
        assert!(line.mended.1 > Duration::ZERO, "the usual check was to show two primaries");
    }
    line
}
