//! `rolecall ask` beside a daemon: what that answers and why, and what the own look says, where both are not the
//! same. The real program, and a Patroni made by hand.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::fixtures::{AGENT_PORT, Ground, Heard, Rolecall, ask, eventually};
use serde_json::Value;

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");

/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

const LEADER: &str =
    r#"{"state":"running","role":"primary","timeline":3,"patroni":{"version":"4.1.5"}}"#;
/// Such that a leader may be held for longer than the test takes.
const TIMES: &str = r#"{"ttl":90,"loop_wait":10,"retry_timeout":10}"#;

/// A Patroni that says it leads until it is silent: then it takes connections and closes them.
#[derive(Default)]
struct Patroni {
    silent: AtomicBool,
    /// Looks that came after it was asked for the times of its lock.
    looks_since_times: AtomicUsize,
}

/// It, and where it is.
fn patroni() -> (String, Arc<Patroni>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let patroni = Arc::new(Patroni::default());
    let own = patroni.clone();
    // It ends with the process.
    std::thread::spawn(move || {
        let mut times = false;
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut line = String::new();
            let read = BufReader::new(&stream).read_line(&mut line);
            if read.is_err() || own.silent.load(Ordering::Relaxed) {
                continue;
            }
            let asks_times = line.contains("/config");
            times |= asks_times;
            if times && !asks_times {
                own.looks_since_times.fetch_add(1, Ordering::Relaxed);
            }
            let body = if asks_times { TIMES } else { LEADER };
            // Whoever has gone does not want it.
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}");
        }
    });
    (url, patroni)
}

fn run(config: &Path, words: &[&str]) -> Output {
    let mut rolecall = Command::new(ROLECALL);
    rolecall.arg("--config").arg(config).arg("ask").args(words);
    rolecall.output().expect("rolecall")
}

/// What it prints, and its exit code.
fn said(config: &Path) -> (String, Option<i32>) {
    let output = run(config, &[]);
    (String::from_utf8(output.stdout).expect("text"), output.status.code())
}

#[test]
fn what_the_daemon_answers_is_told_first_and_the_own_look_after_it() {
    let ground = Ground::new();
    let (url, patroni) = patroni();
    let agent = ground.addr(1, AGENT_PORT);
    let dir = ground.dir().display();
    let text = format!(
        "[control]\nsocket = \"{dir}/control.sock\"\nstate = \"{dir}/orders.json\"\n\
         [source]\nkind = \"patroni\"\nurl = \"{url}\"\nhold = \"35s\"\npostgres_address = \"none\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n"
    );
    let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &text);
    let config = ground.dir().join("rolecall.toml");
    rolecall.start();

    // Both see a leader.
    let ready = Heard::Said("READY\n".to_owned());
    assert_eq!(ask(agent, PATIENCE).heard, ready);
    let (text, code) = said(&config);
    let (daemon, own) = text.split_once("\nresult of a poll just now\n").expect(&text);
    assert!(daemon.starts_with("the running rolecall answers\n  service primary of "), "{text}");
    assert!(daemon.contains(": READY: ") && !daemon.contains("held"), "{text}");
    assert!(
        own.contains("source patroni (") && own.contains("  service primary: ready, "),
        "{text}"
    );
    assert_eq!(code, Some(0), "{text}");

    // Patroni falls silent: HAProxy is still told READY, by what was seen before, and a look sees nothing. A look
    // after the times of the lock were asked for carries them.
    let looks = || patroni.looks_since_times.load(Ordering::Relaxed);
    eventually(PATIENCE, "a look of the daemon's knows the times", || {
        if looks() >= 2 { Ok(()) } else { Err(looks()) }
    });
    patroni.silent.store(true, Ordering::Relaxed);
    let (text, code) = eventually(PATIENCE, "the daemon holds READY", || {
        let (text, code) = said(&config);
        if text.contains("READY, held: ") { Ok((text, code)) } else { Err(text) }
    });
    let (daemon, own) = text.split_once("\nresult of a poll just now\n").expect(&text);
    assert!(daemon.contains(": READY, held: polls fail, MAINT in "), "{text}");
    assert!(daemon.contains(" s unless one succeeds; last seen: is primary"), "{text}");
    assert!(own.contains("  service primary: unknown, "), "{text}");
    assert_eq!(code, Some(0), "HAProxy is told READY: {text}");
    assert_eq!(ask(agent, PATIENCE).heard, ready);
    let json: Value = serde_json::from_slice(&run(&config, &["--json"]).stdout).expect("JSON");
    let told = &json["running"]["services"][0];
    assert_eq!((&told["state"], &told["held"]), (&"ready".into(), &true.into()), "{json}");
    assert!(told["stands_ms"].as_u64().is_some_and(|ms| (1..=35_000).contains(&ms)), "{json}");
    assert_eq!(json["services"][0]["state"], "unknown", "{json}");

    // Without a daemon the look alone is left, and that is said.
    assert!(rolecall.stop().success());
    let (text, code) = said(&config);
    assert!(text.starts_with("the running rolecall could not be asked: "), "{text}");
    assert!(text.contains("  service primary: unknown, "), "{text}");
    assert_eq!(code, Some(2), "{text}");
}
