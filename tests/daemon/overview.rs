//! `rolecall status`: what a person sees, and what a monitoring plug-in is told.

use std::process::Command;

use crate::fixtures::{AGENT_PORT, Ground, Heard, Rolecall, ask, eventually};
use rolecall::cli::overview::{self, Health, Look, health};
use serde_json::{Value, json};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A node that is well: its one service is asked and ready.
fn well() -> Value {
    json!({ "orders_damaged": null, "unknown_questions": [], "nodes": [{
        "node": "pg1", "role": "primary", "timeline": 3,
        "sources": [{ "kind": "postgres", "error": null, "lag_bytes": 4096, "majority": null }],
        "services": [{
            "service": "primary", "state": "ready", "detail": "is primary", "order": null,
            "since_ms": 90_061_000, "seen_ms": 120, "asked": { "last_ms": 700, "by": "10.0.0.9" },
        }],
    }] })
}

/// The same, of which one thing is otherwise.
fn but(path: &str, value: Value) -> Value {
    let mut status = well();
    *status.pointer_mut(path).expect(path) = value;
    status
}

const SERVICE: &str = "/nodes/0/services/0";

/// As a pipe is told it.
fn text(status: &Value) -> String {
    overview::text(status, &Look::default())
}

#[test]
fn the_worst_comes_first_and_then_each_node_with_its_services_and_why() {
    let lines = [
        "OK: READY is said of primary/pg1",
        "pg1: primary, timeline 3, 4 kB behind",
        "  primary  READY  for 1 d 1 h, asked 700 ms ago by 10.0.0.9",
        "      is primary (polled 120 ms ago)",
    ];
    assert_eq!(text(&well()).lines().collect::<Vec<_>>(), lines, "nothing else is to be said");
    assert_eq!(health(&well()), Health::Well);
    let unknown = json!({ "service": "primary", "state": "unknown", "answer": "MAINT",
        "detail": "timeout: no answer within 1.5 s", "asked": { "last_ms": 700 } });
    let status = but(SERVICE, unknown);
    let first = "CRITICAL: primary/pg1 is MAINT (unknown): timeout: no answer within 1.5 s";
    assert_eq!(text(&status).lines().next(), Some(first));
    let many = but("/nodes/0/sources/0/error", json!({ "detail": "no answer" }));
    let many = json!({ "nodes": [many["nodes"][0], status["nodes"][0]], "refused_config": {} });
    let first = text(&many).lines().next().map(str::to_owned).unwrap_or_default();
    assert!(first.starts_with("CRITICAL (and 2 more): primary/pg1 is MAINT"), "{first}");
}

#[test]
fn what_is_held_and_the_host_are_called_by_name() {
    let mut status = but("/nodes/0/node", json!("local"));
    let service = status.pointer_mut(SERVICE).expect("a service");
    service["held"] = json!(true);
    service["stands_ms"] = json!(2_600);
    let shown = overview::text(&status, &Look { host: Some("db1"), ..Look::default() });
    assert!(shown.contains("\ndb1: primary, "), "{shown}");
    assert!(shown.contains("  READY, held  "), "{shown}");
    let why = "polls fail, MAINT in 3 s unless one succeeds; last seen: is primary";
    assert!(shown.contains(why), "{shown}");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut status = but("/nodes/0/node", json!("a-node-with-a-very-long-name.example"));
    status["nodes"][0]["cluster"] = json!("a-cluster-with-a-long-name");
    let long = "its own row says that it is another node than the one it was told to be ".repeat(4);
    let service = status.pointer_mut(SERVICE).expect("a service");
    service["detail"] = json!(long);
    service["service"] = json!("a-service-with-a-long-name-too-32");
    service["answer"] = json!("maint up #its own row says");
    service["state"] = json!("unknown");
    service["asked"]["by"] = json!("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff");
    status["nodes"][0]["sources"][0]["error"] = json!({ "detail": long });
    for width in [32, 40, 80, 132] {
        let shown = overview::text(&status, &Look { width: Some(width), ..Look::default() });
        for line in shown.lines() {
            assert!(line.chars().count() <= width, "{width}: {line:?}");
        }
        let words = shown.split_whitespace().filter(|word| *word == "another").count();
        assert!(words >= 8, "nothing of the reason is left out: {shown}");
    }
}

#[test]
fn a_port_that_nobody_asks_is_said_to_be_one() {
    let asked = |ms: Value| but(&format!("{SERVICE}/asked/last_ms"), ms);
    let look = "is HAProxy running, is agent-port right, does a firewall drop it?";
    for (ms, said) in [
        (json!(30_000), None),
        (json!(30_001), Some("no agent check for 30 s")),
        (json!(3_600_000), Some("no agent check for 1 h")),
        (json!(null), Some("no agent check has come yet")),
    ] {
        let status = asked(ms.clone());
        let said = said.map(|said| format!("primary/pg1: {said}: {look}"));
        assert_eq!(text(&status).lines().nth(4), said.as_deref(), "{ms}");
        let wanted = if said.is_some() { Health::Warning } else { Health::Well };
        assert_eq!(health(&status), wanted, "{ms}");
    }
}

/// The kind of the first report: one HAProxy of two was gone, and everything was green.
#[test]
fn a_haproxy_that_stopped_asking_while_another_goes_on_is_said_to_be_gone() {
    let asker = |by: &str, ms: u64, count: u64| json!({ "by": by, "last_ms": ms, "count": count });
    for (askers, gone) in [
        (vec![asker("10.0.0.9", 700, 900), asker("10.0.0.8", 30_000, 900)], false),
        (vec![asker("10.0.0.9", 700, 900), asker("10.0.0.8", 90_000, 900)], true),
        // Somebody who tried the port by hand is missed by nobody.
        (vec![asker("10.0.0.9", 700, 900), asker("10.0.0.8", 90_000, 19)], false),
        // Where all are silent, that is what is said.
        (vec![asker("10.0.0.9", 80_000, 900), asker("10.0.0.8", 90_000, 900)], false),
    ] {
        let status = but(
            &format!("{SERVICE}/asked"),
            json!({ "last_ms": 700, "by": "10.0.0.9", "askers": askers }),
        );
        let said = "primary/pg1: no agent check from 10.0.0.8 for 1 min 30 s, while 10.0.0.9 still asks: is HAProxy running there";
        assert_eq!(text(&status).contains(said), gone, "{status}");
        assert_eq!(health(&status), if gone { Health::Warning } else { Health::Well }, "{status}");
    }
}

#[test]
fn the_worst_of_all_is_the_exit_code() {
    let order = json!({ "order": "maint", "target": "all", "by": "ann (uid 1000)", "why": "disk swap",
        "since_ms": 7_200_000, "ends_ms": 5000, "forced": false });
    let error =
        json!({ "reason": "timeout", "detail": "no answer \u{1b}[31mwithin 1 s", "hint": null });
    let question = |ms| {
        json!([{ "service": "primary", "question": "pg9", "reason": "unknown_word",
            "detail": "the question names no node or service of this configuration", "hint": null, "last_ms": ms,
            "by": "10.0.0.9", "count": 3 }])
    };
    for (path, value, wanted, said) in [
        (
            "/unknown_questions".to_owned(),
            question(2000),
            Health::Warning,
            "primary: agent-send \"pg9\" came 3 times, the last time 2 s ago from 10.0.0.9: the question names no \
             node or service of this configuration\n",
        ),
        (
            "/unknown_questions".to_owned(),
            question(60_000),
            Health::Well,
            "came 3 times, the last time 1 min ago",
        ),
        (format!("{SERVICE}/state"), json!("unknown"), Health::Critical, "MAINT (unknown)"),
        (format!("{SERVICE}/state"), json!("drain"), Health::Warning, "DRAIN"),
        (format!("{SERVICE}/state"), json!("not_ready"), Health::Well, "MAINT"),
        // A split brain: HAProxy is told MAINT, and a person is wanted.
        (
            SERVICE.to_owned(),
            json!({ "service": "primary", "state": "not_ready", "reason": "deposed", "alarm": "critical",
                "detail": "node 3 has it as a failed primary", "asked": { "last_ms": 700 } }),
            Health::Critical,
            "node 3 has it as a failed primary",
        ),
        (
            SERVICE.to_owned(),
            json!({ "service": "primary", "state": "not_ready", "reason": "lag_bytes", "alarm": "warning",
                "detail": "8 bytes behind", "asked": { "last_ms": 700 } }),
            Health::Warning,
            "8 bytes behind",
        ),
        (
            "/nodes/0/sources/0".to_owned(),
            json!({ "kind": "patroni", "error": null, "unlocked": true }),
            Health::Warning,
            "pg1: no node holds Patroni's leader lock; patronictl list shows which",
        ),
        (
            format!("{SERVICE}/order"),
            order,
            Health::Warning,
            "order: maint all, given by ann (uid 1000), 2 h ago, expires in 5 s: disk swap\n",
        ),
        (
            "/nodes/0/sources/0/error".to_owned(),
            error,
            Health::Warning,
            // What a terminal would obey is left out.
            "pg1: postgres: the last poll failed: no answer [31mwithin 1 s\n",
        ),
        (
            "/orders_damaged".to_owned(),
            json!("orders.json could not be read"),
            Health::Warning,
            "orders: orders.json could not be read\n",
        ),
    ] {
        let status = but(&path, value);
        assert_eq!(health(&status), wanted, "{path}");
        let table = text(&status);
        assert!(table.contains(said) && !table.contains('\u{1b}'), "{table}");
    }
    let codes = [Health::Well, Health::Warning, Health::Critical, Health::Unreachable];
    assert_eq!(codes.map(|health| health as u8), [0, 1, 2, 3]);
}

#[test]
fn an_order_about_several_services_is_told_once() {
    let order = json!({ "order": "drain", "target": "all", "by": "ann", "why": "", "ends_ms": null,
        "forced": true });
    let mut status = but(&format!("{SERVICE}/order"), order);
    let service = status.pointer(SERVICE).expect("a service").clone();
    status["nodes"][0]["services"].as_array_mut().expect("services").push(service);
    let table = text(&status);
    let orders: Vec<&str> = table.lines().filter(|line| line.starts_with("order")).collect();
    assert_eq!(
        orders,
        ["order: drain all, given by ann, by force, until it is removed with `rolecall auto all`"]
    );
}

/// Whoever reads one line only knows whom to ask, and what ends it.
#[test]
fn an_order_is_told_in_the_first_line_with_who_gave_it_and_what_removes_it() {
    let order = json!({ "order": "maint", "target": "pg1", "by": "root (sudo: anna)",
        "why": "disk swap, ticket 4711", "since_ms": 25_200_000, "ends_ms": null });
    let first = "WARNING (and 1 more): primary/pg1 is READY by order of root (sudo: anna), given 7 h ago (disk \
                 swap, ticket 4711); `rolecall auto pg1` removes it";
    let mut status = but(&format!("{SERVICE}/order"), order.clone());
    status["orders"] = json!([order]);
    assert_eq!(text(&status).lines().next(), Some(first));
}

/// The only sign that a row of repmgr.nodes was lost; where it is meant so it is no trouble.
#[test]
fn two_that_vote_are_told_and_no_trouble() {
    let votes = |electors: u64| {
        but("/nodes/0/sources/0/majority", json!({ "votes": 2, "electors": electors }))
    };
    let said = "pg1: only two nodes vote, so the loss of either host can stop writes; is a row missing in \
                repmgr.nodes, such as the witness's?\n";
    assert!(text(&votes(2)).ends_with(said), "{}", text(&votes(2)));
    assert_eq!(health(&votes(2)), Health::Well);
    assert_eq!(text(&votes(3)), text(&well()));
}

#[test]
fn colour_says_nothing_that_words_do_not() {
    let status = but(&format!("{SERVICE}/state"), json!("unknown"));
    let coloured = overview::text(&status, &Look { colour: true, ..Look::default() });
    assert!(coloured.contains("\u{1b}[31mMAINT (unknown)"), "{coloured}");
    let plain = coloured.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
    assert_eq!(plain, text(&status));
}

/// On a terminal, which `script` is.
#[test]
fn colour_is_for_terminals_that_want_it() {
    let ground = Ground::new();
    let (dir, agent) = (ground.dir().display().to_string(), ground.addr(1, AGENT_PORT));
    let config = format!(
        "[control]\nsocket = \"{dir}/c.sock\"\nstate = \"{dir}/orders.json\"\n\
         [source]\nkind = \"static\"\nrole = \"primary\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n"
    );
    let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
    rolecall.start();
    let command = format!("{ROLECALL} --config {dir}/rolecall.toml status");
    let shown = |no_colour: Option<&str>| {
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        script.env_remove("NO_COLOR");
        script.envs(no_colour.map(|value| ("NO_COLOR", value)));
        let output = script.output().expect("script");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, quiet) = shown(None);
    assert_eq!(code, Some(1), "nobody has asked: {quiet}");
    assert!(quiet.contains("no agent check has come yet"), "{quiet}");
    let asked = ask(agent, PATIENCE);
    let (code, table) = eventually(PATIENCE, "all is well", || match shown(None) {
        (Some(0), table) => Ok((0, table)),
        other => Err((asked.clone(), other)),
    });
    assert!(code == 0 && table.contains("\u{1b}[32mREADY"), "{table}");
    assert!(!shown(Some("1")).1.contains('\u{1b}'), "NO_COLOR is obeyed");
    assert!(shown(Some("")).1.contains('\u{1b}'), "an empty one says nothing");
    let piped = Command::new("sh").args(["-c", &command]).output().expect("sh");
    assert!(!piped.stdout.contains(&0x1b), "no colour in a pipe");
}

/// One node, with this before its tables.
fn config_of(ground: &Ground, before: &str) -> String {
    let agent = ground.addr(1, AGENT_PORT);
    format!(
        "{before}[source]\nkind = \"static\"\nrole = \"primary\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n"
    )
}

/// The exit code, and what is printed.
fn status_of(config: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(ROLECALL);
    let output = command.args(["--config", config, "status"]).output().expect("rolecall status");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The daemon runs on with what it had read, and is asked all the same.
#[test]
fn after_a_mistake_and_a_reload_status_still_asks_and_says_what_was_refused() {
    let ground = Ground::new();
    let dir = ground.dir().display().to_string();
    let control = format!("[control]\nsocket = \"{dir}/c.sock\"\nstate = \"{dir}/orders.json\"\n");
    let config = config_of(&ground, &control);
    let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
    rolecall.start();
    ask(ground.addr(1, AGENT_PORT), PATIENCE);
    // More mistakes than are kept.
    let many = (0..100).map(|n| format!("key_{n} = 1\n")).collect::<Vec<_>>().concat();
    rolecall.write_config(&format!("{}{many}", config.replace("roles =", "rolls =")));
    rolecall.signal(rustix::process::Signal::HUP);
    rolecall.wait_log(PATIENCE, &["the configuration was not reloaded"]);
    let (code, table, warned) = status_of(&format!("{dir}/rolecall.toml"));
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("is still in effect: ") && table.contains("rolls"), "{table}");
    assert!((2000..3000).contains(&table.len()), "{}", table.len());
    assert!(warned.contains("the configuration file has errors"), "{warned}");
    rolecall.write_config(&config);
    rolecall.reload();
    let (code, table, warned) = status_of(&format!("{dir}/rolecall.toml"));
    assert!(code == Some(0) && !table.contains("refused") && warned.is_empty(), "{table} {warned}");
}

/// Where the unit gives folders, as the packaged one does, nobody has to ask for the socket first.
#[test]
fn the_folders_of_the_unit_have_the_control_socket_without_a_section() {
    let ground = Ground::new();
    let (run, state) = (ground.dir().join("run"), ground.dir().join("state"));
    std::fs::create_dir(&run).expect("run");
    std::fs::create_dir(&state).expect("state");
    let config = config_of(&ground, "");
    let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config)
        .env("RUNTIME_DIRECTORY", &run.display().to_string())
        .env("STATE_DIRECTORY", &state.display().to_string());
    rolecall.start();
    let asker = ground.dir().join("asker.toml");
    let socket = run.join("control.sock");
    let control = format!("[control]\nsocket = \"{}\"\n", socket.display());
    std::fs::write(&asker, config_of(&ground, &control)).expect("asker.toml");
    let asker = asker.display().to_string();
    let (code, table, _) = status_of(&asker);
    assert!(code == Some(1) && table.contains("is primary"), "{table}");
    let maint = Command::new(ROLECALL).args(["--config", &asker, "maint", "all"]).output();
    assert!(maint.expect("rolecall maint").status.success());
    eventually(PATIENCE, "it is out", || {
        let answer = ask(ground.addr(1, AGENT_PORT), PATIENCE);
        if answer.heard == Heard::Said("MAINT\n".to_owned()) { Ok(()) } else { Err(answer) }
    });
    assert!(state.join("orders.json").is_file());

    // Where the socket cannot be made the daemon answers all the same.
    rolecall.stop();
    let _gone_or_not = std::fs::remove_file(&socket);
    std::fs::create_dir(&socket).expect("something in the way");
    rolecall.start();
    rolecall.wait_log(PATIENCE, &["`rolecall status` and orders are not available"]);
    assert_eq!(ask(ground.addr(1, AGENT_PORT), PATIENCE).heard, Heard::Said("READY\n".to_owned()));
}
