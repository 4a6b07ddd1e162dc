use proptest::prelude::*;

use super::*;
use crate::config::OLDEST;

fn agent(port: u16) -> Agent {
    Agent { host: None, port, question: None }
}

#[test]
fn names_become_one_word_each_and_stay_apart() {
    let long = "n".repeat(200);
    let called = ["db1", "db 1", "db_1", "", "d\u{e4}\n  server evil 10.9.9.9:1", &long];
    let wanted =
        ["db1", "db_1", "db_1_2", "server", "d____server_evil_10.9.9.9:1", &long[..MAX_NAME]];
    assert_eq!(server_names(called), wanted);
}

/// The expression as HAProxy reads it from a line of its configuration.
fn expression(line: &str) -> regex::bytes::Regex {
    let text = line.trim().strip_prefix("tcp-check expect rstring ").unwrap();
    let text = text.replace("\\#", "#").replace("\\ ", " ").replace("\\t", "\t");
    regex::bytes::Regex::new(&text).unwrap()
}

fn expected(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter_map(|line| line.split(" #").next()).map(str::trim);
    lines.filter(|line| line.starts_with("tcp-check expect rstring"))
}

#[test]
fn one_expression_stands_everywhere() {
    let known: Vec<_> = [READY, READY_OR_DRAIN, ALIVE].into_iter().flat_map(expected).collect();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    for dir in ["docs", "haproxy"] {
        files.extend(std::fs::read_dir(root.join(dir)).unwrap().map(|file| file.unwrap().path()));
    }
    let mut found = 0;
    let picture = |file: &std::path::Path| file.extension().is_some_and(|end| end == "png");
    for file in files.iter().filter(|file| file.is_file() && !picture(file)) {
        for line in expected(&std::fs::read_to_string(file).unwrap()) {
            assert!(known.contains(&line), "{}: {line}", file.display());
            found += 1;
        }
    }
    assert!(found >= 8, "{found}");
}

/// `drain primary --reason "not ready for writes"` must not pass for READY.
#[test]
fn nothing_behind_a_number_sign_passes_the_companion_check() {
    let ready = expression(expected(READY).next().unwrap());
    let or_drain = expression(expected(READY_OR_DRAIN).next().unwrap());
    let alive = expression(expected(ALIVE).next().unwrap());
    for reason in ["not ready for writes", "READY", "#, ready", " up,ready", "drain ready\tready"] {
        for (line, is_ready, drains) in [
            ("READY", true, false),
            ("ready up", true, false),
            ("up ready 50% maxconn:10", true, false),
            ("up,ready", true, false),
            ("up\tready", true, false),
            ("DRAIN", false, true),
            ("drain up", false, true),
            ("up drain", false, true),
            ("MAINT", false, false),
            ("maint down", false, false),
            ("down", false, false),
        ] {
            for answer in [format!("{line}\n"), format!("{line} # {reason}\n")] {
                assert_eq!(ready.is_match(answer.as_bytes()), is_ready, "{answer}");
                assert_eq!(or_drain.is_match(answer.as_bytes()), is_ready || drains, "{answer}");
                let maint = line.to_lowercase().contains("maint");
                let lives = is_ready || drains || maint;
                assert_eq!(alive.is_match(answer.as_bytes()), lives, "{answer}");
            }
        }
    }
}

#[test]
fn hosts_are_addresses_or_plain_names() {
    for (host, wanted) in [
        ("10.0.0.1", "10.0.0.1:5432"),
        ("fd00::3", "[fd00::3]:5432"),
        ("db1.example_net-2.", "db1.example_net-2.:5432"),
    ] {
        let server = Server::new("db".into(), host, 5432, agent(1)).unwrap();
        assert_eq!(server.address, wanted);
    }
    for host in [
        "",
        "/run/postgresql",
        "unix@/x",
        "a b",
        "a\nb",
        "fe80::1%eth0",
        "-a",
        "d\u{e4}",
        "${HOME}",
        "\"a\"",
        "a#b",
        "*",
    ] {
        let refused = Server::new("db".into(), host, 5432, agent(1));
        assert_eq!(refused, Err(BadHost(host.to_owned())));
    }
}

#[test]
fn times_are_as_haproxy_reads_them() {
    for (micros, wanted) in [
        (1_000, "1ms"),
        (1_500, "1500us"),
        (999_999, "999999us"),
        (250_000, "250ms"),
        (2_000_000, "2s"),
        (2_500_000, "2500ms"),
    ] {
        assert_eq!(time(Duration::from_micros(micros)), wanted);
    }
}

/// With this `agent_inter`, in milliseconds.
fn asked_every(inter: u64, pools: Vec<Pool>) -> Front {
    Front {
        version: OLDEST,
        from: "a test",
        agent_inter: Duration::from_millis(inter),
        check_fall: 2,
        check_timeout: Duration::from_millis(800),
        old_worker: OldWorker { successor: Duration::from_secs(10), known: false },
        pools,
    }
}

/// A node further away than `agent-inter` would never be heard, while its companion check passes: both are one time.
#[test]
fn the_agent_is_asked_as_often_as_its_companion() {
    for (told, every) in [(1000, "1s"), (500, "500ms"), (100, "100ms")] {
        let text = asked_every(told, vec![]).to_string();
        let line = format!("check inter {every} fall 2 rise 2 agent-check agent-inter {every} ");
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

/// Lines that are no comment.
fn spoken(front: &Front) -> usize {
    front.to_string().lines().filter(|line| !line.trim_start().starts_with('#')).count()
}

proptest! {
    #[test]
    fn no_name_and_no_host_adds_a_line_or_a_word(name in any::<String>(), host in any::<String>()) {
        let front = |name: &str, host: &str| {
            let name = server_names([name]).remove(0);
            let server = Server::new(name, host, 5432, agent(5555)).ok()?;
            let pool = Pool {
                service: "primary".into(),
                cluster: None,
                naming: Naming::Short,
                port: 5000,
                serves: Serves::Writes,
                servers: vec![server],
            };
            Some(asked_every(1000, vec![pool]))
        };
        let words = |front: &Front| {
            let text = front.to_string();
            text.lines().last().map(|line| line.split_ascii_whitespace().count())
        };
        let plain = front("db1", "10.0.0.1").unwrap();
        for host in ["10.0.0.1", &host] {
            if let Some(odd) = front(&name, host) {
                prop_assert_eq!(spoken(&odd), spoken(&plain));
                prop_assert_eq!(words(&odd), words(&plain));
                prop_assert!(odd.to_string().is_ascii());
            }
        }
    }
}
