//! Imports run one way. The pure files know nothing of the runtime, of I/O or of the clock's
//! reader; sources know neither each other nor who polls them; only `cli` knows the daemon.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// No runtime, no I/O, no clock reader: what is decided here can be tested by values alone.
const PURE: [&str; 31] = [
    "text",
    "fence",
    "old_worker",
    "last_word",
    "haproxy",
    "order",
    "asks",
    "strays",
    "status",
    "role",
    "observation",
    "reason",
    "snapshot",
    "policy",
    "electorate",
    "quorum",
    "vote",
    "failover",
    "handover",
    "release",
    "standing",
    "lag",
    "lease",
    "lock",
    "standby",
    "verdict",
    "reply",
    "answering",
    "question",
    "grammar",
    "secret",
];

/// What a pure file may name of this crate beside the pure files. Of `clock` only the
/// moment; `conninfo` is a parser.
const PURE_MAY_NAME: [&str; 2] = ["clock::Stamp", "source::conninfo"];

const IMPURE_WORDS: [&str; 8] =
    ["tokio", "std::fs", "TcpListener", "std::io", "std::process", "std::env", "rustix", "reqwest"];

/// Files that only these others may name.
const NAMED_ONLY_BY: [(&str, &[&str]); 26] = [
    ("beside", &["fencing"]),
    ("fencing", &["daemon", "cli"]),
    ("unix_socket", &["desk", "poke"]),
    ("shutdown", &["daemon"]),
    ("control", &["desk", "order_book", "cli"]),
    ("desk", &["daemon"]),
    ("order_book", &["desk"]),
    ("order_file", &["order_book"]),
    ("haproxy", &["members", "schema"]),
    ("members", &["cli"]),
    ("daemon", &["cli"]),
    ("cli", &["main"]),
    ("agent", &["ports", "daemon"]),
    ("log_queue", &["logging"]),
    ("own_file", &["order_file", "record"]),
    ("places", &["agent", "asking", "http", "desk"]),
    ("asking", &["agent"]),
    ("keeper", &["daemon", "desk", "order_book"]),
    ("plan", &["keeper", "daemon"]),
    ("watched", &["keeper", "keeper::pace", "plan", "daemon", "ask"]),
    (
        "poller",
        &["keeper", "keeper::pace", "plan", "watched", "metrics", "daemon", "ask", "members"],
    ),
    ("http", &["daemon", "ports", "desk", "order_book"]),
    ("poke", &["keeper", "daemon", "schema", "cli"]),
    ("ports", &["daemon"]),
    ("ask", &["cli"]),
    ("sockets", &["daemon", "ports"]),
];

/// What a source may share with others in its folder.
const SHARED_BY_SOURCES: [&str; 8] =
    ["pg", "conninfo", "passfile", "tls", "resolve", "dial", "web", "port"];

/// Every file of src/: its module's name and its text without comments and tests.
fn files() -> Vec<(String, String)> {
    fn walk(dir: &Path, prefix: &str, out: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                walk(&path, &format!("{prefix}{stem}::"), out);
            // The door of fuzz/ is no part of the program.
            } else if !["lib", "tests", "fuzzing"].contains(&&*stem) {
                let name = if stem == "mod" {
                    prefix.trim_end_matches(':').to_owned()
                } else {
                    format!("{prefix}{stem}")
                };
                out.push((name, code(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    let mut out = Vec::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path(), "", &mut out);
    out
}

fn code(text: &str) -> String {
    let shipped = text.split("#[cfg(test)]").next().unwrap();
    let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The first two names of every path into this crate: `clock::Stamp`, `source::pg`.
fn named(code: &str) -> BTreeSet<String> {
    let trees = code.split("crate::").skip(1).map(|rest| tree(rest).0);
    let short = |path: String| path.split("::").take(2).collect::<Vec<_>>().join("::");
    trees.flatten().map(short).collect()
}

/// The paths of a `use` tree, or the one path, that `text` begins with; and what follows it.
fn tree(text: &str) -> (Vec<String>, &str) {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut paths = Vec::new();
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if rest.is_empty() || rest.starts_with('}') {
                return (paths, rest.trim_start_matches('}'));
            }
            let (more, after) = tree(rest);
            // Whatever is no path is passed over, so that this ends for any text.
            rest = if after.len() < rest.len() { after } else { &rest[1..] };
            paths.extend(more);
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match rest.strip_prefix("::") {
        Some(below) if below.starts_with(|c: char| c.is_alphabetic() || "_{".contains(c)) => {
            let (paths, rest) = tree(below);
            (paths.iter().map(|path| format!("{name}::{path}")).collect(), rest)
        }
        _ => (vec![name.to_owned()], rest),
    }
}

fn module(path: &str) -> &str {
    path.split("::").next().unwrap()
}

#[test]
fn the_reader_of_imports_sees_them() {
    let code =
        "use crate::clock::{Clock, Stamp};\nlet x = crate::verdict::judge(1);\nuse crate::role;";
    let seen: Vec<_> = named(code).into_iter().collect();
    assert_eq!(seen, ["clock::Clock", "clock::Stamp", "role", "verdict::judge"]);
}

#[test]
fn every_file_named_here_exists() {
    let names: BTreeSet<_> = files().into_iter().map(|(name, _)| name).collect();
    for name in PURE.iter().chain(NAMED_ONLY_BY.iter().map(|(name, _)| name)) {
        assert!(names.contains(*name), "src/{name}.rs is gone; correct the list");
    }
}

#[test]
fn pure_files_are_pure() {
    for (file, code) in files().iter().filter(|(file, _)| PURE.contains(&module(file))) {
        for word in IMPURE_WORDS {
            assert!(!code.contains(word), "src/{file}.rs is pure and must not know {word}");
        }
        for name in named(code) {
            let pure = PURE.contains(&module(&name)) || PURE_MAY_NAME.contains(&name.as_str());
            assert!(pure, "src/{file}.rs is pure and must not import {name}");
        }
    }
}

#[test]
fn files_are_named_only_by_those_who_may() {
    for (file, code) in files() {
        let names = named(&code);
        for (owner, allowed) in NAMED_ONLY_BY {
            let uses = names.iter().any(|name| module(name) == owner);
            let may = allowed.contains(&file.as_str()) || module(&file) == owner;
            assert!(!uses || may, "src/{file}.rs must not import {owner}");
        }
    }
}

#[test]
fn sources_import_neither_each_other_nor_those_who_use_them() {
    for (file, code) in files().iter().filter(|(file, _)| file.starts_with("source::")) {
        for name in named(code) {
            let own = file.starts_with(&name);
            let sibling = name.strip_prefix("source::").is_some_and(|sibling| {
                sibling.chars().next().is_some_and(char::is_lowercase)
                    && !SHARED_BY_SOURCES.contains(&sibling)
            });
            assert!(own || !sibling, "src/{file}.rs must not import {name}");
            for user in ["verdict", "snapshot", "policy", "reply", "schema", "systemd"] {
                assert!(module(&name) != user, "src/{file}.rs must not import {name}");
            }
        }
        // Above a part of a source stands the source itself.
        let alone = file.matches("::").count() == 1;
        for sibling in code.split("super::").skip(1).filter(|_| alone) {
            let name: String =
                sibling.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let lower = name.chars().next().is_some_and(char::is_lowercase);
            assert!(
                !lower || SHARED_BY_SOURCES.contains(&name.as_str()),
                "src/{file}.rs must not import super::{name}"
            );
        }
    }
}
