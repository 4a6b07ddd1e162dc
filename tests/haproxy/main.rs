//! Every file in haproxy/, as it is shipped, on HAProxy 2.6 and a 3.x: real rolecall processes whose
//! sources the test steers, servers that say who they are, and clients that never stop.
//!
//! `ROLECALL_ALL=1` takes every HAProxy there is, and each file that has lines for resolvers with them
//! too. The system tests have the same files before real PostgreSQL, repmgr and Patroni.

mod by_hand;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod hung;
mod patterns;
mod play;
mod servers;
mod stage;
mod unit;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fixtures::{Ground, Haproxy, missing, names, needed_haproxies, say};
use patterns::{ALL, Pattern};
use stage::Stage;

/// Whether everything there is shall be run.
fn everything() -> bool {
    std::env::var_os("ROLECALL_ALL").is_some_and(|v| v == "1")
}

/// HAProxy 2.6 and one 3.x, or all.
fn programs() -> Vec<(String, PathBuf)> {
    let mut found = needed_haproxies();
    found.sort();
    if !everything() {
        let three = found.iter().position(|(version, _)| version.starts_with("3."));
        let three = three.map(|at| found[at].clone());
        found.retain(|(version, _)| version == "2.6");
        found.extend(three);
    }
    found
}

/// Plays `file` on every program at the same time: most of it is waiting for intervals.
fn plays(file: &str, resolvers: bool) {
    let pattern = patterns::of(file);
    let form = if resolvers { ", servers by name" } else { "" };
    std::thread::scope(|scope| {
        for (version, program) in programs() {
            scope.spawn(move || {
                let mut stage = Stage::start(pattern, (&version, &program), resolvers);
                let told = play::play(&mut stage);
                say(&format!("{file}{form} on {version}: {told}"));
            });
        }
    });
}

#[test]
fn haproxy_cfg_routes_by_the_agent_port_alone() {
    plays("haproxy.cfg", false);
}

#[test]
fn patroni_cfg_routes_to_the_leader() {
    plays("patroni.cfg", false);
}

#[test]
fn repmgr_cfg_routes_to_the_primary() {
    plays("repmgr.cfg", false);
}

#[test]
fn pg_auto_failover_cfg_routes_to_the_primary() {
    plays("pg_auto_failover.cfg", false);
}

#[test]
fn repmgr_http_cfg_routes_by_agent_and_companion() {
    plays("repmgr-http.cfg", false);
}

#[test]
fn read_pool_cfg_falls_to_the_primary() {
    plays("read-pool.cfg", false);
}

#[test]
fn central_cfg_asks_one_rolecall_by_agent_send() {
    plays("central.cfg", false);
}

#[test]
fn servers_are_found_by_name() {
    if !names::are_known() {
        return missing("dnsmasq");
    }
    plays("read-pool.cfg", true);
    if everything() {
        for file in ["patroni.cfg", "repmgr-http.cfg", "central.cfg"] {
            plays(file, true);
        }
    }
}

#[test]
fn a_rolecall_that_hangs_is_forgotten_as_soon_as_settle_reckons() {
    let runs = if everything() { 20 } else { 3 };
    std::thread::scope(|scope| {
        for (version, program) in programs() {
            scope.spawn(move || {
                hung::play(patterns::of("repmgr.cfg"), (&version, &program), runs);
            });
        }
    });
}

#[test]
fn an_agent_that_somebody_calls_down_stays_so_until_he_lifts_it_or_a_full_answer_does() {
    std::thread::scope(|scope| {
        for (version, program) in programs() {
            scope.spawn(move || by_hand::play(patterns::of("repmgr.cfg"), (&version, &program)));
        }
    });
}

#[test]
fn every_file_is_of_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("haproxy");
    let names = std::fs::read_dir(folder).expect("haproxy/").map(|e| e.expect("entry").file_name());
    let mut names: Vec<_> = names.map(|n| n.into_string().expect("a name")).collect();
    let mut table: Vec<_> = ALL.iter().map(|p| p.file).chain([unit::FILE]).collect();
    names.sort();
    table.sort_unstable();
    assert_eq!(names, table);
}

#[test]
fn each_is_valid_without_a_warning() {
    for (version, program) in programs() {
        for pattern in &ALL {
            say(&format!("haproxy/{} with HAProxy {version}", pattern.file));
            let ground = Ground::new();
            let check = |cfg: &Path, env: &[(&str, String)]| {
                Haproxy::check(&ground, &program, cfg, &[]);
                Haproxy::check(&ground, &program, cfg, env);
            };
            check(&pattern.path(), &pattern.addresses(&ground));
            if names::are_in(&pattern.text()) {
                let cfg = ground.write("dns.cfg", &names::with_resolvers(&pattern.text()));
                // Names that nobody knows yet are warned of.
                check(&cfg, &pattern.addresses(&ground));
            }
        }
    }
}

#[test]
fn each_says_what_its_rolecall_is_told_and_what_its_death_does() {
    for pattern in &ALL {
        let prose = pattern.prose();
        for sentence in pattern.sentences {
            assert!(prose.contains(sentence), "{} does not say: {sentence}", pattern.file);
        }
        rolecall_accepts(pattern);
    }
}

/// The rolecall.toml in the comments is valid and says the intervals that HAProxy has.
fn rolecall_accepts(pattern: &Pattern) {
    let ground = Ground::new();
    let toml = pattern.toml();
    let file = ground.write("rolecall.toml", &toml);
    let mut check = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    let output = check.arg("check").arg("--config").arg(file).output().expect("rolecall");
    assert!(output.status.success(), "{}: {output:?}\n{toml}", pattern.file);
    let key = |name: &str| {
        let line = toml.lines().find(|l| l.split('=').next().is_some_and(|k| k.trim() == name));
        let value = line.and_then(|l| l.split(['=', '#']).nth(1));
        value
            .unwrap_or_else(|| panic!("{}: no {name}", pattern.file))
            .trim()
            .trim_matches('"')
            .to_owned()
    };
    for word in ["agent-inter", "inter"] {
        assert_eq!(pattern.setting("default-server", word), key("agent_inter"), "{word}");
    }
    assert_eq!(pattern.setting("default-server", "fall"), key("check_fall"));
    assert_eq!(pattern.setting("timeout check", "check"), key("check_timeout"));
    assert_eq!(pattern.setting("default-server", "rise"), "2", "{}", pattern.file);
    assert_eq!(pattern.falls_within(), Duration::from_millis(2500), "as the files say in words");
}
