//! Every example in the documents is run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::fixtures::ground::{AGENT_PORT, Ground, HTTP_PORT};
use crate::fixtures::process::Proc;
use crate::fixtures::watch::{Heard, ask};
use crate::fixtures::{Rolecall, eventually, programs};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");
/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The documents for operators: README.md and everything in docs/ but its pictures.
fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).into_iter().flatten();
    let docs = docs.map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_none_or(|end| end != "png"));
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
        // Its group is there on every host.
        let example = example.replace("group = \"dba\"", "group = \"root\"");
        let file = ground.write("example.toml", &example);
        let mut check = Command::new(ROLECALL);
        must_succeed(&document, &example, check.arg("check").arg("--config").arg(file));
    }
}

/// What a document adds to its first example goes with it.
#[test]
fn the_second_opinion_goes_with_the_patroni_before_it() {
    let examples: Vec<_> = blocks("toml")
        .into_iter()
        .filter(|(document, _)| document.ends_with("patroni.md"))
        .collect();
    let (document, first) = &examples[0];
    let more = examples.iter().filter(|(_, text)| text.starts_with("# beside the [[source]]"));
    let more: Vec<_> = more.map(|(_, text)| text.as_str()).collect();
    assert_eq!(more.len(), 1);
    let both = format!("{first}{}", more[0]);
    let file = Ground::new();
    let file = (file.write("both.toml", &both), file);
    let mut check = Command::new(ROLECALL);
    must_succeed(document, &both, check.arg("check").arg("--config").arg(&file.0));
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

/// What each document has an operator say, in the order of the document; of HAProxy's and others' words
/// tests/system/operators.rs has the proof.
#[test]
fn every_order_in_the_documents_is_taken() {
    let ground = Ground::new();
    let (dir, listen) = (ground.dir().display(), ground.addr(1, AGENT_PORT));
    let node = |name: &str, n: u8| {
        let (primary, replica) = (ground.addr(n, AGENT_PORT), ground.addr(n, HTTP_PORT));
        format!(
            "[[node]]\nname = \"{name}\"\nsource = {{ kind = \"static\", role = \"replica\" }}\n\
             listen = {{ primary = \"{primary}\", replica = \"{replica}\" }}\n"
        )
    };
    let config = format!(
        "[control]\nsocket = \"{dir}/control.sock\"\nstate = \"{dir}/orders.json\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\n\
         [[service]]\nname = \"replica\"\nroles = [\"replica\"]\n{}{}",
        node("pg1", 1),
        node("pg2", 2)
    );
    let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
    rolecall.start();
    assert_eq!(ask(listen, PATIENCE).heard, Heard::Said("MAINT\n".to_owned()));
    let path =
        format!("{}:/usr/bin:/bin", Path::new(ROLECALL).parent().expect("its folder").display());
    let mut taken = Vec::new();
    for (document, example) in blocks("console") {
        for line in example.lines().filter(|line| line.starts_with("rolecall ")) {
            // As a shell reads it, quotes and all.
            let mut shell = Command::new("sh");
            shell.args(["-c", line]).env("PATH", &path);
            shell.env("ROLECALL_CONFIG", ground.dir().join("rolecall.toml"));
            let output = shell.output().expect("sh");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let fits = match output.status.code() {
                // An order stands, which is worth a warning.
                Some(code) if line.starts_with("rolecall status") => code < 2,
                code => code == Some(0),
            };
            assert!(fits, "{}: {line}: {said}", document.display());
            taken.push(document.file_name().expect("a file").to_owned());
        }
    }
    taken.dedup();
    for document in ["README.md", "control.md", "operations.md", "monitoring.md"] {
        assert!(taken.iter().any(|name| name == document), "{document} has none: {taken:?}");
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
