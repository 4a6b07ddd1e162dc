//! Patroni's times as they stand in `/config`: what rolecall reads, and what real Patronis of three major
//! versions make of the same values.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use crate::fixtures::patroni::patronis;
use crate::fixtures::{Ground, missing};
use rolecall::config;
use rolecall::source::patroni::Patroni;
use rolecall::source::resolve::Resolver;

/// Reads one configuration a line and prints what its own Patroni leaves of the lock, `null` where it
/// refuses the configuration; and whether it takes the times as they are, none of them shorter than the
/// least that the newer ones allow.
const ASK_PATRONI: &str = "
import json, logging, sys
logging.disable(logging.CRITICAL)
from patroni.config import Config
TIMES = 'ttl', 'loop_wait', 'retry_timeout'
for line in sys.stdin:
    config = Config.__new__(Config)
    config._Config__environment_configuration = {}
    try:
        read = config._safe_copy_dynamic_configuration(json.loads(line))
        before = [read[time] for time in TIMES]
        if hasattr(config, '_validate_and_adjust_timeouts'):
            config._validate_and_adjust_timeouts(read)
        ttl, loop_wait, retry_timeout = after = [read[time] for time in TIMES]
        as_they_are = before == after and loop_wait >= 1 and retry_timeout >= 3
        print(ttl - loop_wait - retry_timeout, as_they_are)
    except (TypeError, ValueError):
        print('null False')
";

/// Values of one time.
const VALUES: [&str; 33] = [
    "20",
    "21.0",
    "20.9",
    "\"20\"",
    "\" 20 \"",
    "\"2_0\"",
    "\"+20\"",
    "\"020\"",
    "\"\\n20\\t\"",
    "2e1",
    "0",
    "1",
    "0.5",
    "-5",
    "-0.5",
    "\"-5\"",
    "\"0\"",
    "true",
    "false",
    "null",
    "\"20s\"",
    "\"20.0\"",
    "\"2e1\"",
    "\"\"",
    "\"2__0\"",
    "\"_20\"",
    "\"20_\"",
    "\"0x20\"",
    "\"+ 20\"",
    "\"--20\"",
    "[20]",
    "{}",
    "\"twenty\"",
];

/// Whole configurations.
const CONFIGS: [&str; 8] = [
    "{}",
    r#"{"ttl":"20","loop_wait":"10","retry_timeout":"5"}"#,
    r#"{"ttl":20,"loop_wait":1,"retry_timeout":3}"#,
    r#"{"ttl":20,"loop_wait":0,"retry_timeout":0}"#,
    r#"{"ttl":10,"loop_wait":10,"retry_timeout":10}"#,
    r#"{"ttl":25,"loop_wait":20,"retry_timeout":10}"#,
    r#"{"ttl":25,"loop_wait":20,"retry_timeout":30}"#,
    r#"{"ttl":60,"loop_wait":20,"retry_timeout":20}"#,
];

fn bodies() -> Vec<String> {
    let times = [("ttl", 90), ("loop_wait", 1), ("retry_timeout", 3)];
    let with = |key: &str, value: &str| {
        let each = times.map(|(of, usual)| {
            let usual = usual.to_string();
            format!("\"{of}\":{}", if of == key { value } else { &usual })
        });
        format!("{{{}}}", each.join(","))
    };
    let each = times.iter().flat_map(|(key, _)| VALUES.map(|value| with(key, value)));
    CONFIGS.into_iter().map(str::to_owned).chain(each).collect()
}

/// A Patroni that answers every request with this status and body, for as long as the test lives.
fn answering(status: u16, body: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let answer = format!("HTTP/1.0 {status} X\r\n\r\n{body}");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    addr
}

/// How much of the lock rolecall reckons with, in seconds; `None` where that is not known.
async fn span(body: &str) -> Option<i64> {
    let url = format!("http://{}", answering(200, body));
    let mut source = Patroni::new(&config::Patroni::at(&url), Resolver::system()).unwrap();
    let times = source.ask_times().await.ok()?;
    Some(times.span().as_secs().try_into().unwrap())
}

/// Never more than any Patroni leaves of its lock, nothing where Patroni refuses the value, and exactly
/// what it leaves where it takes the values as they are.
#[tokio::test]
async fn times_are_read_as_patroni_reads_them() {
    let found = patronis();
    if found.is_empty() {
        return missing("Patroni");
    }
    let bodies = bodies();
    let mut spans = Vec::new();
    for body in &bodies {
        spans.push(span(body).await);
    }
    assert_eq!(span(r#"{"ttl":"20","loop_wait":"10","retry_timeout":"5"}"#).await, Some(5));
    for (version, program) in found {
        let mut python = Command::new(program.with_file_name("python"));
        python.args(["-c", ASK_PATRONI]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().unwrap();
        python.stdin.take().unwrap().write_all((bodies.join("\n") + "\n").as_bytes()).unwrap();
        let said = String::from_utf8(python.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(said.lines().count(), bodies.len(), "Patroni {version}: {said}");
        let mut same = 0;
        for ((body, ours), theirs) in bodies.iter().zip(&spans).zip(said.lines()) {
            let (theirs, as_they_are) = theirs.split_once(' ').unwrap();
            let theirs: Option<i64> = theirs.parse().ok();
            assert_eq!(ours.is_some(), theirs.is_some(), "Patroni {version}, {body}: {theirs:?}");
            let (Some(ours), Some(theirs)) = (*ours, theirs) else { continue };
            assert!(ours <= theirs.max(0), "Patroni {version}, {body}: {ours}, not {theirs}");
            if as_they_are == "True" {
                assert_eq!(ours, theirs.max(0), "Patroni {version}, {body}");
                same += 1;
            }
        }
        assert!(same > 30, "Patroni {version} takes {same} as they are");
    }
}

/// What `check` says of a configuration with this hold, of a Patroni that answers so.
fn checked(status: u16, body: &str, hold: &str) -> (Option<i32>, String) {
    let ground = Ground::new();
    let url = format!("http://{}", answering(status, body));
    let conf = format!("[source]\nkind = \"patroni\"\nurl = \"{url}\"\nhold = \"{hold}\"\n");
    let conf = ground.write("rolecall.toml", &conf);
    let mut check = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    let output = check.arg("--config").arg(conf).arg("check").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn quoted_times_bound_the_hold_as_numbers_do() {
    let quoted = r#"{"ttl":"20","loop_wait":"10","retry_timeout":"5"}"#;
    let numbers = r#"{"ttl":20,"loop_wait":10,"retry_timeout":5}"#;
    for body in [quoted, numbers] {
        let (code, said) = checked(200, body, "18s");
        assert_eq!(code, Some(78), "{body}: {said}");
        assert!(said.contains("Patroni's ttl of 20 s"), "{body}: {said}");
    }
}

#[test]
fn times_that_are_not_known_are_said_by_check() {
    let page = "<html>no</html>";
    for (status, body) in
        [(200, r#"{"ttl":"20s"}"#), (200, page), (200, ""), (401, page), (404, page), (500, page)]
    {
        let (code, said) = checked(status, body, "4s");
        assert_eq!(code, Some(0), "{said}");
        for part in [
            "rolecall could not read ttl, loop_wait and retry_timeout from the Patroni of",
            "shortest",
            "hint: let rolecall",
        ] {
            assert!(said.contains(part), "{status} {body}: {said}");
        }
    }
    let (_, said) = checked(200, "{}", "4s");
    assert!(!said.contains("not known"), "{said}");
}
