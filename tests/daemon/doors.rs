//! What is asked for at the command line and means nothing there is refused by name: exit code 64 where the line
//! itself is wrong, 78 where the configuration that it stands for is. The other doors have their own tests: HTTP
//! in `http.rs`, the control socket in `src/control/protocol.rs` and `orders.rs`, agent-send in
//! `agent_send.rs`, the file in `tests/unit/config`, `conninfo` and service files in `src/config/conninfo`.

use std::process::Command;

/// What one command line ends with, and what it says.
fn rolecall(words: &[&str]) -> (Option<i32>, String) {
    let mut rolecall = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    rolecall.args(words).env_clear();
    let output = rolecall.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_flag_or_a_combination_that_means_nothing_is_refused_by_name() {
    for (words, code, said) in [
        (&["--log", "debug", "check"][..], 64, &["--log has no effect here", "hint: "][..]),
        (&["ask", "--log", "debug"], 64, &["--log has no effect here"]),
        (&["man", "--config", "/x"], 64, &["--config has no effect here"]),
        (&["--config", "/x", "completions", "bash"], 64, &["--config has no effect here"]),
        (&["run", "--log", "loud"], 64, &["expected error, warn"]),
        (&["check", "--json"], 64, &["--json"]),
        (&["status", "primary"], 64, &["primary"]),
        (&["auto", "all", "--force"], 64, &["--force"]),
        (&["maint", "all", "--force"], 64, &["unexpected argument '--force'"]),
        (&["drain", "all", "--force"], 64, &["unexpected argument '--force'"]),
        (&["maint", "all", "--for", "soon"], 64, &["soon"]),
        (&["haproxy", "--port", "0"], 64, &["0"]),
        (&["haproxy", "--haproxy-version", "two"], 64, &["two"]),
        (&["completions", "cmd"], 64, &["cmd"]),
        (&["man", "nothing"], 64, &["rolecall has no manual page \"nothing\"", "hint: "]),
        (&["run", "--source", "static", "--url", "http://db1:8008"], 78, &["url", "hint: "]),
        (&["run", "--source", "postgres", "--role", "primary"], 78, &["role", "hint: "]),
        (&["run", "--conninfo", "host=db1", "--url", "http://db1:8008"], 78, &["hint: "]),
        (&["run", "--source", "patroni", "--conninfo", "host=db1"], 78, &["conninfo", "hint: "]),
        (&["run", "--source", "oracle"], 78, &["oracle", "hint: "]),
    ] {
        let (ended, text) = rolecall(words);
        assert_eq!(ended, Some(code), "{words:?}: {text}");
        assert!(said.iter().all(|said| text.contains(said)), "{words:?}: {text}");
    }
}

/// The environment is there for every command: a level that only `run` uses harms none of them.
#[test]
fn what_stands_in_the_environment_is_refused_by_nobody() {
    let mut rolecall = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    rolecall.arg("man").env_clear().env("ROLECALL_LOG", "debug").env("ROLECALL_CONFIG", "/nowhere");
    assert!(rolecall.output().unwrap().status.success());
}
