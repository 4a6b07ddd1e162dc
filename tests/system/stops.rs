//! How a rolecall ends: what is said at its ports until they close, and how soon it is gone.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::fixtures::web::request;
use crate::fixtures::{
    AGENT_PORT, Check, Ground, HTTP_PORT, Heard, Rolecall, ask, checker, eventually, now, say,
};
use crate::pair::ROLECALL;
use crate::shipped_cfg::SOON;

/// How often each port is asked.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// Long enough to be asked many times in it on a loaded machine.
const STOP_FOR: Duration = Duration::from_secs(2);

/// A primary with these services, each asked at an address of its own.
struct Stage {
    ground: Ground,
    rolecall: Rolecall,
    ports: Vec<SocketAddr>,
}

impl Stage {
    /// `keys` are further keys of each service.
    fn start(keys: &[&str]) -> Self {
        let ground = Ground::new();
        let http = ground.addr(1, HTTP_PORT);
        let mut config = format!(
            "[source]\nkind = \"static\"\nrole = \"primary\"\n[http]\nlisten = \"{http}\"\n"
        );
        let mut ports = Vec::new();
        for (n, keys) in (0..).zip(keys) {
            let listen = ground.addr(1, AGENT_PORT + n);
            let name = format!("s{n}");
            writeln!(
                config,
                "[[service]]\nname = \"{name}\"\nroles = [\"primary\"]\nlisten = \"{listen}\"\n{keys}"
            )
            .expect("a string");
            ports.push(listen);
        }
        let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
        rolecall.start();
        Self { ground, rolecall, ports }
    }

    /// The status and the body of a page.
    fn page(&self, path: &str) -> (u16, String) {
        let http = self.ground.addr(1, HTTP_PORT);
        let answer = request(http, &format!("GET {path}"), "", Some(SOON)).expect("a page");
        (answer.status, answer.body)
    }
}

fn said(check: &Check, line: &str) -> bool {
    check.heard == Heard::Said(line.to_owned())
}

/// Asserts that a port said `ready`, then `last` without a break, and then nothing any more; `None`
/// where it was ready to the end. Tells how often `last` was said.
fn ready_then(answers: &[Check], ready: &str, last: Option<&str>) -> usize {
    let begin = answers.iter().position(|c| !said(c, ready)).expect("the end of it");
    assert!(begin > 0, "it was READY at first: {:?}", answers[0]);
    let rest = &answers[begin..];
    let count = rest.iter().position(|c| last.is_none_or(|last| !said(c, last)));
    let count = count.expect("a port that is closed in the end");
    // The kernel resets a connection that came between the last accept and the close.
    let gone = |c: &&Check| !matches!(c.heard, Heard::Refused | Heard::Reset);
    let other = rest[count..].iter().find(gone);
    assert!(other.is_none(), "after {count} times {last:?}: {other:?}");
    count
}

#[test]
fn the_last_word_is_said_for_stop_for_and_by_nobody_who_has_none() {
    let mut stage = Stage::start(&[
        "on_stop = \"maint\"\nstop_for = \"2s\"\nreply = \"full\"",
        "on_stop = \"drain\"\nstop_for = \"1s\"",
        "on_stop = \"freeze\"",
        "",
    ]);
    let config = stage.ground.dir().join("rolecall.toml");
    let mut check = Command::new(ROLECALL);
    let checked = check.arg("--config").arg(config).arg("check").output().expect("check");
    let warned = String::from_utf8(checked.stdout).expect("UTF-8");
    assert!(warned.contains("service s0: with `on_stop = \"maint\"` each restart"), "{warned}");
    assert!(warned.contains("service s1: with `on_stop = \"drain\"` each restart"), "{warned}");

    let answers: Vec<_> = stage.ports.iter().map(|p| checker(*p, ASK_EVERY, SOON)).collect();
    assert_eq!(stage.page("/s0").0, 200);
    answers[0].wait_since(0, SOON, "ready", |c| said(c, "up ready\n"));
    for port in &answers[1..] {
        port.wait_since(0, SOON, "READY", |c| said(c, "READY\n"));
    }
    let told = now();
    stage.rolecall.signal(Signal::TERM);
    let word = "maint up #rolecall is stopping, and `on_stop` is maint\n";
    answers[0].wait_since(0, SOON, "the last word", |c| said(c, word));
    // The same over HTTP, and in `systemctl status`.
    let (status, body) = stage.page("/s0");
    assert!(status == 503 && body.contains("\"stopping\""), "{status} {body}");
    assert_eq!(stage.page("/s2").0, 200);
    let notes = stage.rolecall.notifications();
    notes.wait_since(0, SOON, "the status", |n| {
        n.value("STATUS").is_some_and(|s| s.contains("s0: not_ready, rolecall is stopping"))
    });
    let extended = notes.wait_since(0, SOON, "more time", |n| n.has("EXTEND_TIMEOUT_USEC=7000000"));
    let heard = notes.all();
    let stopping = heard.iter().find(|n| n.has("STOPPING=1")).expect("STOPPING=1");
    assert!(stopping.at <= extended.at);

    assert!(stage.rolecall.wait().success(), "{}", stage.rolecall.log());
    let took = now().since(told);
    assert!(took >= STOP_FOR, "it ended after {took:?}");
    // Every port is closed now: one question more each.
    let answers: Vec<_> = answers
        .into_iter()
        .zip(&stage.ports)
        .map(|(recorder, port)| {
            let closed = |c: &Check| c.heard == Heard::Refused;
            recorder.wait_since(0, SOON, "a closed port", closed);
            assert_eq!(ask(*port, SOON).heard, Heard::Refused);
            recorder.stop()
        })
        .collect();
    let maint = ready_then(&answers[0], "up ready\n", Some(word));
    let drain = ready_then(&answers[1], "READY\n", Some("DRAIN\n"));
    ready_then(&answers[2], "READY\n", None);
    ready_then(&answers[3], "READY\n", None);
    say(&format!("stopped within {took:?}: MAINT {maint} times, DRAIN {drain} times"));
    assert!(maint > 1 && drain > 1, "a last word is said once each time it is asked for");
    assert!(!stage.rolecall.log().contains("panicked"));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)]
    {
        let mut stage = Stage::start(&["on_stop = \"maint\"\nstop_for = \"1m\""]);
        let port = stage.ports[0];
        stage.rolecall.signal(first);
        eventually(SOON, "MAINT", || match ask(port, SOON).heard {
            Heard::Said(said) if said == "MAINT\n" => Ok(()),
            other => Err(other),
        });
        // A reload has nothing to say any more.
        stage.rolecall.signal(Signal::HUP);
        stage.rolecall.wait_log(SOON, &["reload ignored: rolecall is stopping"]);
        assert_eq!(ask(port, SOON).heard, Heard::Said("MAINT\n".to_owned()));
        let told = now();
        stage.rolecall.signal(second);
        assert!(stage.rolecall.wait().success(), "{}", stage.rolecall.log());
        let took = now().since(told);
        assert!(took < SOON, "{first:?}, {second:?}: it ended {took:?} after the second");
        stage.rolecall.wait_log(SOON, &["second signal to stop"]);
    }
}

#[test]
fn without_a_last_word_it_is_ready_to_the_end() {
    let mut stage = Stage::start(&["on_stop = \"freeze\""]);
    let answers = checker(stage.ports[0], ASK_EVERY, SOON);
    answers.wait_since(0, SOON, "READY", |c| said(c, "READY\n"));
    stage.rolecall.signal(Signal::TERM);
    assert!(stage.rolecall.wait().success(), "{}", stage.rolecall.log());
    answers.wait_since(0, SOON, "a closed port", |c| c.heard == Heard::Refused);
    ready_then(&answers.stop(), "READY\n", None);
}
