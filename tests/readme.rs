//! Every example in the documents is run.

#[path = "fixtures/mod.rs"]
mod fixtures;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fixtures::ground::Ground;
use fixtures::process::Proc;
use fixtures::watch::{Heard, ask};
use fixtures::{eventually, programs};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The documents for operators: README.md and everything in docs/.
fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).into_iter().flatten();
    let docs = docs.map(|entry| entry.unwrap().path());
    std::iter::once(root().join("README.md")).chain(docs).collect()
}

/// The fenced blocks of a language, without their indentation.
fn blocks(language: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.trim_start() == format!("```{language}") {
                let indent = line.len() - line.trim_start().len();
                let body = lines.by_ref().take_while(|line| line.trim_start() != "```");
                let body: Vec<_> = body.map(|line| line.get(indent..).unwrap_or("")).collect();
                found.push((document.clone(), body.join("\n") + "\n"));
            }
        }
    }
    found
}

fn must_succeed(document: &Path, example: &str, command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "an example of {} fails:\n{example}\n{}{}",
        document.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

#[test]
fn every_configuration_in_the_documents_is_valid() {
    let ground = Ground::new();
    let examples = blocks("toml");
    assert!(!examples.is_empty());
    for (document, example) in examples {
        let file = ground.write("example.toml", &example);
        let mut check = Command::new(ROLECALL);
        must_succeed(&document, &example, check.arg("check").arg("--config").arg(file));
    }
}

#[test]
fn every_haproxy_configuration_in_the_documents_is_valid() {
    let Some((_, haproxy)) = programs::haproxies().into_iter().next() else {
        return programs::missing("haproxy");
    };
    let ground = Ground::new();
    let examples = blocks("haproxy");
    assert!(!examples.is_empty());
    for (document, example) in examples {
        let file = ground.write("example.cfg", &example);
        must_succeed(&document, &example, Command::new(&haproxy).arg("-c").arg("-f").arg(file));
    }
}

#[test]
fn the_first_try_answers_as_the_readme_says() {
    let commands: Vec<_> = blocks("sh").into_iter().map(|(_, example)| example).collect();
    assert_eq!(
        commands,
        ["cargo run -- run --source static --role primary\n", "nc localhost 5555\n"],
        "a new command in the documents needs a test of its own here"
    );
    let ground = Ground::new();
    let addr = ground.addr(1, 5555);
    let mut arguments: Vec<_> = commands[0].split_whitespace().skip(3).collect();
    let listen = addr.to_string();
    // The port of the README may be taken on this machine; everything else is as it says.
    arguments.extend(["--listen", &listen]);
    let mut run = Command::new(ROLECALL);
    run.args(arguments);
    let _daemon = Proc::start("readme", run, &ground.dir().join("readme.log"));
    let second = Duration::from_secs(1);
    eventually(10 * second, "it answers", || match ask(addr, second).heard {
        Heard::Said(line) if line == "READY\n" => Ok(()),
        other => Err(other),
    });
}
