//! One port, many questions: what is read there and answered, and that nobody else waits for it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::fixtures::web::request;
use crate::fixtures::{
    AGENT_PORT, Ground, HTTP_PORT, Haproxy, Heard, Rolecall, ask, eventually, haproxies, missing,
    now,
};

/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Silence that ends a question.
const SILENCE: Duration = Duration::from_millis(100);

const READY: &str = "up ready\n";
const NOT_READY: &str = "maint up\n";
const UNKNOWN: &str = "maint down\n";

/// Two nodes and two services, all asked at one port; one of them at a port of its own, too.
struct Central {
    ground: Ground,
    rolecall: Rolecall,
}

impl Central {
    fn start() -> Self {
        let ground = Ground::new();
        let mut rolecall =
            Rolecall::new(&ground, "rolecall", env!("CARGO_BIN_EXE_rolecall"), &config(&ground));
        rolecall.start();
        Self { ground, rolecall }
    }

    /// Where a question is read.
    fn port(&self) -> SocketAddr {
        self.ground.addr(1, AGENT_PORT)
    }

    /// Where nothing is read: `primary` about pg1.
    fn plain(&self) -> SocketAddr {
        self.ground.addr(2, AGENT_PORT)
    }

    /// What is said to `question`, after which the other side stays silent.
    fn says(&self, question: &[u8]) -> String {
        let mut stream = connect(self.port());
        stream.write_all(question).unwrap();
        said(&mut stream)
    }

    fn metrics(&self) -> String {
        self.page("/metrics")
    }

    fn page(&self, path: &str) -> String {
        let http = self.ground.addr(1, HTTP_PORT);
        request(http, &format!("GET {path}"), "", Some(PATIENCE)).unwrap().body
    }
}

fn config(ground: &Ground) -> String {
    let reply = r#"reply = { ready = "up ready", not_ready = "maint up", unknown = "maint down" }"#;
    format!(
        r#"
[http]
listen = "{}"

[[service]]
name = "primary"
roles = ["primary"]
listen = "{}"
agent_send = true
{reply}

[[service]]
name = "replica"
roles = ["replica"]
{reply}

[[service]]
name = "secret"
roles = ["primary"]
allow = ["192.0.2.1"]

[[node]]
name = "pg1"
source = {{ kind = "static", role = "primary" }}
listen = {{ primary = "{}" }}

[[node]]
name = "pg2"
source = {{ kind = "static", role = "replica" }}
"#,
        ground.addr(1, HTTP_PORT),
        ground.addr(1, AGENT_PORT),
        ground.addr(2, AGENT_PORT),
    )
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything up to the end, which must not be a reset.
fn said(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_question_names_a_node_a_service_or_both_and_anything_else_is_unknown() {
    let central = Central::start();
    let full = [b'x'; 64];
    let too_long = [b'x'; 65];
    for (question, line) in [
        (&b"pg1\n"[..], READY),
        (b"pg1\r\n", READY),
        (b"pg1", READY),
        (b"  pg1 \t primary  ", READY),
        (b"pg1\nand what follows is not read as a question", READY),
        (b"pg2\n", NOT_READY),
        (b"pg1 primary\n", READY),
        (b"pg1 replica\n", NOT_READY),
        (b"pg2 replica\n", READY),
        (b"pg2 primary", NOT_READY),
        // Several nodes, and none is named.
        (b"", UNKNOWN),
        (b"\n", UNKNOWN),
        (b"primary\n", UNKNOWN),
        // Nobody's name, the wrong order, one word too many.
        (b"pg3\n", UNKNOWN),
        (b"pg1 other\n", UNKNOWN),
        (b"primary pg1\n", UNKNOWN),
        (b"pg1 primary pg1\n", UNKNOWN),
        (b"PG1\n", UNKNOWN),
        (b"p\0g1\n", UNKNOWN),
        (b"\xff\xfe\n", UNKNOWN),
        (&full, UNKNOWN),
        (&too_long, UNKNOWN),
    ] {
        assert_eq!(central.says(question), line, "{:?}", String::from_utf8_lossy(question));
    }
    // Whoever may ask this port may not ask by it for what is kept from them.
    assert_eq!(central.says(b"pg1 secret\n"), "");

    let metrics = central.metrics();
    let count = |reason: &str| {
        let name =
            format!("rolecall_unknown_questions_total{{service=\"primary\",reason=\"{reason}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name}in {metrics}")).parse::<u32>().unwrap()
    };
    assert_eq!([count("which_node"), count("unknown_word"), count("too_long")], [3, 8, 1]);
    assert!(
        metrics.contains(
            "rolecall_checks_total{node=\"pg2\",service=\"replica\",reply=\"ready\"} 1\n"
        )
    );
    let refused = "rolecall_connections_refused_total{node=\"pg1\",service=\"secret\"";
    assert!(metrics.contains(refused), "{metrics}");
    assert_eq!(central.says(b"pg1 secret\n"), "");
    central.rolecall.wait_log(PATIENCE, &["WARN", "is not in `allow` of service secret"]);
    let log = central.rolecall.log();
    let strangers = log.lines().filter(|l| l.contains("WARN") && l.contains("is not in `allow`"));
    assert_eq!(strangers.count(), 1, "{log}");
}

/// The address of a node answers for that node; what is sent there is passed over, and that is said once.
#[test]
fn what_is_sent_to_a_port_that_reads_nothing_is_warned_of() {
    let central = Central::start();
    for _ in 0..3 {
        let mut stream = connect(central.ground.addr(2, AGENT_PORT));
        stream.write_all(b"pg2 replica\n").unwrap();
        assert_eq!(said(&mut stream), READY);
    }
    central.rolecall.wait_log(PATIENCE, &["WARN", "does not read", "agent_send = true"]);
    let log = central.rolecall.log();
    assert_eq!(log.matches("rolecall does not read what is sent to this port").count(), 1, "{log}");
}

#[test]
fn the_status_has_what_was_asked_in_vain() {
    let central = Central::start();
    for question in [&b"pg9\n"[..], b"pg9", b"\xff\n", b"primary\n"] {
        assert_eq!(central.says(question), UNKNOWN);
    }
    let status: serde_json::Value = serde_json::from_str(&central.page("/status")).unwrap();
    let asked: Vec<_> = status["unknown_questions"].as_array().unwrap().iter().collect();
    let said: Vec<_> = asked
        .iter()
        .map(|of| (of["question"].as_str(), of["reason"].as_str(), of["count"].as_u64()))
        .collect();
    let expected = [
        (Some("primary"), Some("which_node"), Some(1)),
        (Some("\u{fffd}"), Some("unknown_word"), Some(1)),
        (Some("pg9"), Some("unknown_word"), Some(2)),
    ];
    assert_eq!(said, expected, "{status}");
    for of in asked {
        assert_eq!(of["service"], "primary");
        assert!(of["by"].as_str().unwrap().starts_with("127."), "{of}");
        assert!(of["last_ms"].is_u64() && of["hint"].is_string(), "{of}");
    }
}

#[test]
fn a_word_that_is_unknown_is_warned_of_once() {
    let central = Central::start();
    for _ in 0..3 {
        central.says(b"pg9\n");
        central.says(b"pg8\n");
    }
    // The last line that came of it.
    central.says(b"pg7\n");
    central.rolecall.wait_log(PATIENCE, &["WARN", "pg7"]);
    let log = central.rolecall.log();
    for word in ["pg8", "pg9"] {
        let warned = log.lines().filter(|l| l.contains("WARN") && l.contains(word)).count();
        assert_eq!(warned, 1, "{log}");
    }
}

#[test]
fn a_node_that_is_alone_needs_no_name() {
    let ground = Ground::new();
    let addr = ground.addr(1, AGENT_PORT);
    let config = format!(
        "[source]\nkind = \"static\"\nrole = \"primary\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{addr}\"\nagent_send = true\n\
         [[service]]\nname = \"replica\"\nroles = [\"replica\"]\n"
    );
    let mut rolecall = Rolecall::new(&ground, "rolecall", env!("CARGO_BIN_EXE_rolecall"), &config);
    rolecall.start();
    for (question, line) in [
        ("", "READY\n"),
        ("primary\n", "READY\n"),
        ("replica\n", "MAINT\n"),
        ("local\n", "READY\n"),
    ] {
        let mut stream = connect(addr);
        stream.write_all(question.as_bytes()).unwrap();
        assert_eq!(said(&mut stream), line, "{question:?}");
    }
}

#[test]
fn a_newline_or_the_end_is_answered_at_once_silence_after_its_time_and_no_other_port_waits() {
    let central = Central::start();
    let timed = |addr: SocketAddr, question: &[u8], end: bool| {
        let began = now();
        let mut stream = connect(addr);
        stream.write_all(question).unwrap();
        if end {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        now().since(began)
    };
    // The best of many: a busy machine makes single ones slow.
    let best = |addr, question: &'static [u8], end| {
        (0..30).map(|_| timed(addr, question, end)).min().unwrap()
    };
    assert!(best(central.port(), b"pg1\n", false) < SILENCE / 2);
    assert!(best(central.port(), b"pg1", true) < SILENCE / 2);
    assert!(best(central.plain(), b"", false) < SILENCE / 2);
    for question in [&b""[..], b"pg1"] {
        assert!(timed(central.port(), question, false) >= SILENCE);
    }
}

#[test]
fn nobody_who_asks_slowly_or_in_numbers_holds_anything() {
    let central = Central::start();
    // Drips for longer than a question may take, and never ends its line.
    let mut dripping = connect(central.port());
    let mut reading = dripping.try_clone().unwrap();
    let answered = std::thread::spawn(move || said(&mut reading));
    eventually(PATIENCE, "the drip is answered", || {
        let _ = dripping.write_all(b"x");
        std::thread::sleep(SILENCE / 4);
        if answered.is_finished() { Ok(()) } else { Err("not yet") }
    });
    assert_eq!(answered.join().unwrap(), UNKNOWN);

    // The one that was answered stays and says a little now and then: its time ends, too.
    let mut staying = connect(central.port());
    staying.write_all(b"pg1\n").unwrap();
    assert_eq!(said(&mut staying), READY);
    eventually(PATIENCE, "one that stays is closed", || {
        std::thread::sleep(SILENCE / 2);
        match staying.write_all(b"x") {
            Ok(()) => Err("not yet"),
            Err(_) => Ok(()),
        }
    });

    // More than are read at one time, none of which says a word: each gets its line, or made room.
    let mut silent: Vec<_> = (0..600).map(|_| connect(central.port())).collect();
    assert_eq!(ask(central.plain(), PATIENCE).heard, Heard::Said(READY.to_owned()));
    for stream in &mut silent {
        let mut line = String::new();
        stream.read_to_string(&mut line).unwrap();
        assert!([UNKNOWN, ""].contains(&&*line), "{line}");
    }
    let too_many = "rolecall_unknown_questions_total{service=\"primary\",reason=\"too_many\"} ";
    assert!(central.metrics().contains(too_many), "{}", central.metrics());
    drop(silent);
    eventually(PATIENCE, "there is room again", || {
        let mut stream = connect(central.port());
        let mut line = String::new();
        let read = stream.write_all(b"pg1\n").and_then(|()| stream.read_to_string(&mut line));
        if read.is_ok() && line == READY { Ok(()) } else { Err((read.is_ok(), line)) }
    });
}

#[test]
fn those_whose_question_is_being_read_at_a_stop_are_answered() {
    let mut central = Central::start();
    let mut asking = connect(central.port());
    asking.write_all(b"pg1").unwrap();
    assert!(central.rolecall.stop().success());
    assert_eq!(said(&mut asking), READY);
}

#[test]
fn a_reload_ends_the_reading_of_questions_and_begins_it_again() {
    let central = Central::start();
    let (reading, port) = (config(&central.ground), central.port());
    // The same address is then pg2's alone, and whatever is sent there changes nothing.
    let own = format!(
        "listen = {{ primary = \"{port}\", replica = \"{}\", secret = \"{}\" }}",
        central.ground.addr(4, AGENT_PORT),
        central.ground.addr(5, AGENT_PORT)
    );
    let plain = reading
        .replace(&format!("listen = \"{port}\"\nagent_send = true\n"), "")
        .replace("\"pg2\"\n", &format!("\"pg2\"\n{own}\n"));
    central.rolecall.write_config(&plain);
    central.rolecall.reload();
    assert_eq!(central.says(b"pg1\n"), NOT_READY, "{}", central.rolecall.log());
    central.rolecall.write_config(&reading);
    central.rolecall.reload();
    assert_eq!(central.says(b"pg1\n"), READY);
}

/// HAProxy's own words at the port: from its configuration, and from its command line, which cannot
/// send a newline.
#[test]
fn haproxy_asks_by_agent_send() {
    let Some((_, program)) = haproxies().into_iter().next() else {
        missing("haproxy");
        return;
    };
    let central = Central::start();
    let agent = central.port();
    let server = |name: &str, question: &str| {
        format!(
            "  server {name} {} agent-check agent-addr {} agent-port {} agent-inter 200ms agent-send \"{question}\"\n",
            central.ground.addr(3, 5432),
            agent.ip(),
            agent.port()
        )
    };
    let cfg = format!(
        "global\n  stats socket \"$ROLECALL_STATS_SOCKET\" level admin\n\
         defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n\
         backend b\n{}{}{}{}",
        server("writes1", r"pg1 primary\n"),
        server("writes2", r"pg2 primary\n"),
        server("reads2", r"pg2 replica\n"),
        server("lost", r"pg3\n"),
    );
    let cfg = central.ground.write("haproxy.cfg", &cfg);
    let haproxy = Haproxy::start(&central.ground, &program, Path::new(&cfg), &[]);
    let up = |name| {
        haproxy
            .wait(name, PATIENCE, "is in service", |s| s.last_agent.contains("up") && !s.is_maint())
    };
    let maint =
        |name| haproxy.wait(name, PATIENCE, "is in maintenance", crate::fixtures::Server::is_maint);
    up("b/writes1");
    maint("b/writes2");
    up("b/reads2");
    let lost = maint("b/lost");
    assert!(lost.last_agent.contains("down"), "{lost:?}");
    haproxy.stats().ask("set server b/writes1 agent-send pg2").unwrap();
    maint("b/writes1");
    haproxy.stats().ask("set server b/writes1 agent-send pg1").unwrap();
    up("b/writes1");
}
