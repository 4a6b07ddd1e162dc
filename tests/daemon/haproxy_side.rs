//! `rolecall status --haproxy` beside a real HAProxy: each finding is made on purpose, and a HAProxy that shows what
//! rolecall says has none.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rolecall::cli::haproxy::finding::Mismatch;
use serde_json::Value;

use crate::fixtures::{
    AGENT_PORT, Ground, Haproxy, PG_PORT, Rolecall, eventually, missing, needed_haproxies,
};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the nodes are asked for the service `replica`, and where nobody listens.
const REPLICA_PORT: u16 = AGENT_PORT + 1;
const NOBODY: u16 = AGENT_PORT + 2;

/// pg1 and pg3 are primaries, pg2 is a replica.
fn config(ground: &Ground) -> String {
    let dir = ground.dir().display();
    let service = |name: &str| format!("[[service]]\nname = \"{name}\"\nroles = [\"{name}\"]\n");
    let node = |id: u8, role: &str| {
        format!(
            "[[node]]\nname = \"pg{id}\"\nlisten = {{ primary = \"{}\", replica = \"{}\" }}\n\
             source = {{ kind = \"static\", role = \"{role}\" }}\n",
            ground.addr(id, AGENT_PORT),
            ground.addr(id, REPLICA_PORT)
        )
    };
    [
        format!(
            "[haproxy]\nsocket = \"{dir}/haproxy.sock\"\n[control]\nsocket = \"{dir}/control.sock\"\n\
             state = \"{dir}/orders.json\"\n"
        ),
        service("primary"),
        service("replica"),
        node(1, "primary"),
        node(2, "replica"),
        node(3, "primary"),
    ]
    .concat()
}

/// A server whose agent is asked there.
fn server(name: &str, agent: SocketAddr) -> String {
    format!(
        "  server {name} {}:{PG_PORT} agent-check agent-addr {} agent-port {}\n",
        agent.ip(),
        agent.ip(),
        agent.port()
    )
}

fn pool(name: &str, servers: &[String]) -> String {
    format!("backend {name}\n  default-server disabled agent-inter 200ms\n{}", servers.concat())
}

fn cfg(ground: &Ground, pools: &[String]) -> std::path::PathBuf {
    let head = "global\n  stats socket \"${ROLECALL_STATS_SOCKET}\" level admin\n\
         defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 10s\n  timeout server 10s\n  timeout check 1s\n";
    ground.write("haproxy.cfg", &format!("{head}{}", pools.concat()))
}

/// What is said with these arguments, and the exit code.
fn status(config: &Path, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = Command::new(ROLECALL);
    command.arg("--config").arg(config).arg("status").args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("rolecall");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("rolecall");
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
}

/// What does not fit, as POOL/SERVER and the word for it, with how grave it is.
fn findings(said: &str) -> BTreeSet<(String, String, String)> {
    let said: Value = serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let found = said["haproxy"]["findings"].as_array().unwrap_or_else(|| panic!("{said:#}"));
    for finding in found {
        for part in ["detail", "hint"] {
            assert!(finding[part].as_str().is_some_and(|part| part.len() > 20), "{finding}");
        }
    }
    found.iter().map(|of| (text(&of["about"]), text(&of["reason"]), text(&of["alarm"]))).collect()
}

fn wanted(found: &[(&str, &str, &str)]) -> BTreeSet<(String, String, String)> {
    found.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect()
}

#[test]
fn a_haproxy_that_shows_what_rolecall_says_has_no_finding() {
    let Some((_, program)) = needed_haproxies().into_iter().next() else {
        return missing("haproxy");
    };
    let ground = Ground::new();
    let config = config(&ground);
    let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
    rolecall.start();
    let primary = |id| server(&format!("pg{id}"), ground.addr(id, AGENT_PORT));
    let replica = |id| server(&format!("pg{id}"), ground.addr(id, REPLICA_PORT));
    // Others have servers in the same HAProxy.
    let others = "backend web\n  server web1 127.0.0.1:80\n".to_owned();
    let pools = [
        pool("postgres_rw", &[primary(1), primary(2)]),
        pool("postgres_ro", &[replica(1), replica(2)]),
        // Its own primary has a pool of its own.
        pool("third", &[primary(3)]),
        pool("third_ro", &[replica(3), replica(2)]),
        others,
    ];
    let haproxy = Haproxy::start(&ground, &program, &cfg(&ground, &pools), &[]);
    let file = ground.dir().join("rolecall.toml");
    let table = eventually(PATIENCE, "all is well", || match status(&file, &["--haproxy"], "") {
        (Some(0), table) => Ok(table),
        other => Err(other),
    });
    assert!(
        table.contains("HAProxy shows what rolecall says.") && !table.contains("web1"),
        "{table}"
    );
    // The same from what another host's HAProxy said.
    let said = haproxy.stats().ask("show info;show stat;show servers state").expect("an answer");
    let (code, table) = status(&file, &["--haproxy", "-"], &said);
    assert!(code == Some(0) && table.contains("postgres_rw"), "{table}");
    // Without ports a pool is known by its name alone.
    let (_, table) =
        status(&file, &["--haproxy", "-"], &haproxy.stats().ask("show stat").expect("an answer"));
    assert!(table.contains("postgres_ro") && !table.contains("third"), "{table}");
    // What is no HAProxy's, and one that does not answer.
    let (code, said) = status(&file, &["--haproxy", "-"], "READY\n");
    assert!(
        code == Some(3) && said.contains("no answer of HAProxy") && said.contains("hint: "),
        "{said}"
    );
    drop(haproxy);
    let (code, said) = status(&file, &["--haproxy"], "");
    assert!(
        code == Some(3) && said.contains("haproxy.sock: ") && said.contains("pg1: primary"),
        "{said}"
    );
    let (code, said) = status(&file, &["--haproxy", "--json"], "");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert!(code == Some(3) && said["haproxy"]["error"].is_string(), "{said}");
}

/// Somebody who answers every connection with this line.
fn stranger(addr: SocketAddr) {
    let listener = TcpListener::bind(addr).expect("a free port");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _gone = client.write_all(b"hello\n");
        }
    });
}

/// What is found, each made on purpose: about what, of which kind, how grave.
const FOUND: [(&str, &str, &str); 24] = [
    ("several", "several_up", "critical"),
    ("nobody", "nobody_up", "critical"),
    ("nobody_reads", "nobody_up", "warning"),
    ("postgres_primary/pg2", "wrong_service", "critical"),
    ("postgres_primary", "several_up", "critical"),
    ("postgres_ro/pg1", "wrong_service", "warning"),
    ("ports/pg2", "wrong_port", "critical"),
    // It is in MAINT, which an answer alone lifts.
    ("ports/pg2", "agent_silent", "critical"),
    ("nodes/pg2", "wrong_node", "critical"),
    ("nodes", "several_up", "critical"),
    ("unasked/pg8", "no_agent_check", "critical"),
    ("by_hand/pg1", "agent_disabled", "warning"),
    ("by_hand/pg1", "stale_state", "critical"),
    ("by_hand", "nobody_up", "critical"),
    ("strange/pg7", "wrong_port", "critical"),
    ("strange/pg7", "not_understood", "critical"),
    ("down/pg1", "agent_down", "critical"),
    // Before it is promoted.
    ("down/pg2", "agent_down", "critical"),
    ("down", "nobody_up", "critical"),
    ("unresolved/pg4", "unresolved", "critical"),
    ("checked/pg1", "check_fails", "critical"),
    ("checked", "nobody_up", "critical"),
    ("elsewhere", "several_up", "critical"),
    ("elsewhere/pg2", "wrong_service", "critical"),
];

/// Every pool has one thing that does not fit.
#[test]
fn each_thing_that_does_not_fit_is_named() {
    if needed_haproxies().is_empty() {
        return missing("haproxy");
    }
    for (version, program) in needed_haproxies() {
        let ground = Ground::new();
        let config = config(&ground);
        let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
        rolecall.start();
        let primary = |id| server(&format!("pg{id}"), ground.addr(id, AGENT_PORT));
        let replica = |id| server(&format!("pg{id}"), ground.addr(id, REPLICA_PORT));
        let odd = ground.addr(7, AGENT_PORT);
        stranger(odd);
        let other =
            |name: &str, keys: &str| format!("  server {name} {}:{PG_PORT} {keys}\n", odd.ip());
        let pools = [
            "resolvers nobody\n  nameserver none 127.0.0.1:9\n  timeout retry 100ms\n".to_owned(),
            pool("several", &[primary(1), primary(3)]),
            pool("nobody", &[primary(2)]),
            pool("nobody_reads", &[replica(1)]),
            pool("postgres_primary", &[primary(1), replica(2)]),
            pool("postgres_ro", &[server("pg1", ground.addr(1, AGENT_PORT)), replica(2)]),
            pool("ports", &[primary(1), server("pg2", ground.addr(2, NOBODY))]),
            pool("nodes", &[primary(1), server("pg2", ground.addr(3, AGENT_PORT))]),
            pool("unasked", &[primary(1), other("pg8", "")]),
            pool("by_hand", &[primary(1), primary(2)]),
            pool("strange", &[primary(1), server("pg7", odd)]),
            pool("down", &[primary(1), primary(2)]),
            pool(
                "unresolved",
                &[
                    primary(1),
                    format!(
                        "  server pg4 nobody.invalid:5432 agent-check agent-addr {} agent-port {AGENT_PORT} resolvers \
                         nobody init-addr none\n",
                        ground.addr(2, AGENT_PORT).ip()
                    ),
                ],
            ),
            pool(
                "checked",
                &[primary(1).replace("agent-check", "check inter 200ms port 1 agent-check")],
            ),
            // It asks for another service, and so its health check fails.
            pool(
                "elsewhere",
                &[
                    primary(1),
                    primary(3),
                    replica(2).replace("agent-check", "check inter 200ms port 1 agent-check"),
                ],
            ),
        ];
        let haproxy = Haproxy::start(&ground, &program, &cfg(&ground, &pools), &[]);
        for command in [
            "disable agent by_hand/pg1",
            "set server by_hand/pg1 state maint",
            "set server down/pg1 agent down",
            "set server down/pg2 agent down",
        ] {
            // The first answers must have come.
            haproxy.wait("by_hand/pg2", PATIENCE, "is heard", |server| {
                server.agent_status == "CHECKED"
            });
            assert_eq!(haproxy.stats().ask(command).expect("an answer").trim(), "", "{command}");
        }
        let all = wanted(&FOUND);
        let file = ground.dir().join("rolecall.toml");
        eventually(PATIENCE, &format!("every finding with HAProxy {version}"), || {
            let (code, said) = status(&file, &["--haproxy", "--json"], "");
            let mut found = findings(&said);
            // Of the version itself the next test is.
            found.retain(|(about, ..)| about != "HAProxy");
            if code == Some(2) && found == all {
                return Ok(());
            }
            let more: Vec<_> = found.difference(&all).collect();
            let fewer: Vec<_> = all.difference(&found).collect();
            Err(format!("{code:?}, more {more:?}, fewer {fewer:?}"))
        });
        // Who reads the first line alone, and who reads what is known of a server before its pool.
        let (_, table) = status(&file, &["--haproxy"], "");
        let first = table.lines().next().unwrap_or_default();
        assert!(first.starts_with("CRITICAL: HAProxy's side: "), "{table}");
        let at = |words: &str| table.find(words).unwrap_or_else(|| panic!("no {words}: {table}"));
        assert!(at("critical: down/pg1: ") < at("critical: down: "), "{table}");
        let (code, line) = status(&file, &["--plugin", "--haproxy"], "");
        assert_eq!(code, Some(2), "{line}");
        assert!(line.contains("several: 2 servers are UP") && line.lines().count() == 1, "{line}");
    }
}

/// Those that no HAProxy here can be made to show: it is another one's version, or another one's pools.
#[test]
fn other_haproxys_and_old_ones_are_named() {
    let Some((_, program)) = needed_haproxies().into_iter().next() else {
        return missing("haproxy");
    };
    let ground = Ground::new();
    let config = config(&ground);
    let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
    rolecall.start();
    let web = "backend web\n  server web1 127.0.0.1:80\n".to_owned();
    let haproxy = Haproxy::start(&ground, &program, &cfg(&ground, &[web]), &[]);
    let file = ground.dir().join("rolecall.toml");
    let said = haproxy.stats().ask("show info;show stat;show servers state").expect("an answer");
    let line =
        |beginning: &str| said.lines().find(|line| line.starts_with(beginning)).expect("a line");
    let (version, day) = (line("Version: "), line("Release_date: "));
    for (instead, of, reason, alarm) in [
        ("Version: 2.4.22", day, "old_version", "warning"),
        ("Version: 3.4.0", "Release_date: 2026/06/03", "known_fault", "-"),
        ("Version: 3.0.11-1+deb13u4", day, "known_fault", "-"),
    ] {
        let said = said.replace(version, instead).replace(day, of);
        let (_, said) = status(&file, &["--haproxy", "-", "--json"], &said);
        let all = wanted(&[("HAProxy", reason, alarm), ("HAProxy", "no_pool", "warning")]);
        assert_eq!(findings(&said), all, "{instead}");
    }
}

#[test]
fn every_kind_of_finding_is_described() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/haproxy.md"))
            .unwrap();
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(word, _)| word);
    let known: Vec<&str> = Mismatch::ALL.iter().map(|kind| kind.label()).collect();
    let rows: Vec<&str> = rows.filter(|word| known.contains(word)).collect();
    assert_eq!(rows, known, "docs/haproxy.md has a row for each, in this order");
    let here = include_str!("haproxy_side.rs");
    for label in known {
        assert!(here.contains(&format!("\"{label}\"")), "{label} is made on purpose");
    }
}
