//! docs/messages.md: every message of the log, every error of the command line, every warning about a configuration
//! and every reason, each with its cause and its remedy. The texts are found in src/, causes and remedies stand in
//! tests/data/messages.txt and docs/reasons.md; one that lacks either fails this test.
//!
//! `ROLECALL_WRITE_MESSAGES=1 cargo test --locked --test unit messages::` writes the page anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use rolecall::look::error::ErrorKind;

use super::scan::{self, File};

/// The macros of the log, the loudest first.
const LEVELS: [(&str, &str); 4] =
    [("error", "error!"), ("warn", "warn!"), ("info", "info!"), ("debug", "debug!")];

/// The exit codes, by their names in `host/failure.rs`.
const EXITS: [(&str, &str); 5] = [
    ("Exit::Usage", "64"),
    ("Exit::Unavailable", "69"),
    ("Exit::Internal", "70"),
    ("Exit::Permission", "77"),
    ("Exit::Config", "78"),
];

/// Texts that are found and repeat others: warnings, and what is listed elsewhere on the page.
const REPEATED: [&str; 4] = ["{warning}", "{what}", "\\n", "{kind}"];

/// What reasons say whose text is made of more than one literal.
const REASONS: [(&str, &str); 15] = [
    ("lag_bytes", "{lag} behind, more than max_lag {limit}"),
    ("lag_time", "{lag} behind, more than max_lag_time {limit}"),
    ("serves", "is {role}"),
    ("other_role", "is {role}"),
    ("other_tag", "its tag {tag} is \"{found}\", but the service wants \"{wanted}\""),
    ("ordered_ready", "ordered ready by {by}: {why}"),
    ("ordered_drain", "ordered drain by {by}: {why}"),
    ("ordered_maint", "ordered maint by {by}: {why}"),
    ("monitor_no_row", "the monitor has no row for this node"),
    ("monitor_state", "the monitor has it as {reported} and wants it to be {goal}"),
    (
        "monitor_condemned",
        "the monitor has it as {reported} and wants it to be {goal}, but the server takes writes",
    ),
    ("monitor_not_running", "its keeper reported to the monitor that PostgreSQL does not run"),
    ("monitor_rival", "the monitor wants node {node} to take writes"),
    ("monitor_newer_timeline", "node {node} reported a newer timeline ({timeline}) to the monitor"),
    (
        "monitor_other_server",
        "the server writes timeline {writes}, but its row in the monitor is about one on timeline \
         {reported}",
    ),
];

struct Why {
    /// The text as it is shown, where what is put in makes most of it.
    shown: Option<String>,
    cause: String,
    remedy: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// The entries of tests/data/messages.txt.
fn explained() -> BTreeMap<String, Why> {
    let text = read("tests/data/messages.txt");
    let mut all = BTreeMap::new();
    for entry in text.split("\n\n").map(str::trim).filter(|entry| !entry.starts_with('#')) {
        let (mut lines, mut shown) = (entry.lines().collect::<Vec<_>>(), None);
        if let Some(example) = lines.get(1).and_then(|line| line.strip_prefix("~ ")) {
            shown = Some(example.to_owned());
            lines.remove(1);
        }
        let [text, cause, remedy] = lines.as_slice() else { panic!("not three lines: {entry}") };
        let of = |line: &str, sign: &str| {
            let said = line.strip_prefix(sign).unwrap_or_else(|| panic!("no `{sign}`: {entry}"));
            assert!(said.ends_with('.') && said.len() > 5, "no sentence: {entry}");
            said.to_owned()
        };
        let why = Why { shown, cause: of(cause, "= "), remedy: of(remedy, "> ") };
        assert!(all.insert(text.trim().to_owned(), why).is_none(), "twice: {text}");
    }
    all
}

/// The messages of the log by their level.
fn logged(sources: &[File]) -> Vec<(&'static str, BTreeSet<String>)> {
    LEVELS
        .map(|(level, name)| {
            // What clients of the control socket do is warned of now and then, by way of `odd`.
            let odd = sources
                .iter()
                .filter(|_| level == "warn")
                .flat_map(|file| file.calls(&["odd"], false));
            let calls = sources.iter().flat_map(|file| file.calls(&[name], true)).chain(odd);
            let texts = calls.filter_map(|call| call.text);
            (level, texts.filter(|text| !REPEATED.contains(&text.as_str())).collect())
        })
        .into()
}

/// The errors of the command line, each with its exit codes.
fn failures(sources: &[File]) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut all: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for call in sources.iter().flat_map(|file| file.calls(&["Failure::new", "Refused::new"], false))
    {
        let Some(text) = call.text.filter(|text| !REPEATED.contains(&text.as_str())) else {
            continue;
        };
        let named = EXITS.iter().find(|(name, _)| call.code.contains(name)).map(|(_, code)| *code);
        let exits = match (named, call.name.as_str()) {
            (Some(code), _) => vec![code],
            // What was asked is wrong, where nothing else is said.
            (None, "Refused::new") => vec!["64"],
            (None, _) => vec!["69", "77"],
        };
        all.entry(text).or_default().extend(exits);
    }
    all
}

/// The warnings about a configuration.
fn warnings() -> BTreeSet<String> {
    let of = |path: &str, mark: &str, least: usize| {
        let arms = scan::source(path).arms(mark);
        let said: BTreeSet<String> =
            arms.into_iter().filter_map(|(_, said)| said.into_iter().next()).collect();
        assert!(said.len() >= least, "{path}: {said:?}");
        said
    };
    let mut all = of("config/warning.rs", "impl fmt::Display for Warning", 15);
    let exposure = scan::source("config/exposure.rs").calls(&["write!"], false);
    all.extend(exposure.into_iter().filter_map(|call| call.text));
    all
}

/// Each reason with its text and its hint.
fn reasons() -> BTreeMap<String, (String, String)> {
    let (reason, hint) = (scan::source("verdict/reason.rs"), scan::source("verdict/hint.rs"));
    let texts = |file: &File, mark: &str| {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (variants, said) in file.arms(mark) {
            for variant in variants {
                let known = all.entry(variant).or_default();
                // Words that are put into a sentence are none.
                let sentences = said.iter().filter(|text| text.contains(' ') || said.len() == 1);
                let sentences = sentences.cloned().collect::<Vec<_>>().join("; or: ");
                let parts = [known.clone(), sentences];
                *known = parts
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("; or: ");
            }
        }
        all
    };
    let (said, hints) =
        (texts(&reason, "impl fmt::Display for Reason"), texts(&hint, "pub fn hint"));
    let mut all = BTreeMap::new();
    let of = |from: &BTreeMap<String, String>, variant: &str| {
        from.get(variant).cloned().unwrap_or_default()
    };
    for (variants, labels) in reason.arms("pub fn label(&self)") {
        let (Some(variant), Some(label)) = (variants.first(), labels.first()) else { continue };
        all.insert(label.clone(), (of(&said, variant), of(&hints, variant)));
    }
    let circumstances = texts(&reason, "impl fmt::Display for Circumstance");
    for (variants, labels) in reason.arms("fn label(self)") {
        let (Some(variant), Some(label)) = (variants.first(), labels.first()) else { continue };
        let text = format!("is {{role}}, {}", of(&circumstances, variant));
        all.insert(label.clone(), (text, of(&hints, variant)));
    }
    for (label, text) in REASONS {
        text.clone_into(&mut all.entry(label.to_owned()).or_default().0);
    }
    all
}

/// Meaning and remedy of each reason, as docs/reasons.md has them.
fn meanings() -> BTreeMap<String, Why> {
    let page = read("docs/reasons.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let whys = cells.map(|cells| {
        let why = Why { shown: None, cause: cells[1].to_owned(), remedy: cells[2].to_owned() };
        (cells[0].trim_matches('`').to_owned(), why)
    });
    whys.collect()
}

/// A text as the page shows it: what is put in is an ellipsis, and no sign of it is one of the table's.
fn shown(text: &str) -> String {
    let text = text.replace("\\\"", "\"").replace("\\n", " ").replace("\\\\", "\\");
    let mut out = String::new();
    let mut parts = text.split('{');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (_, rest) = part.split_once('}').unwrap_or(("", part));
        out.push('…');
        out.push_str(rest);
    }
    let fence = if out.contains('`') { "``" } else { "`" };
    let blank = if fence.len() > 1 { " " } else { "" };
    format!("{fence}{blank}{}{blank}{fence}", out.trim().replace('|', "\\|"))
}

/// A sentence in which a page of docs/ is a link.
fn linked(text: &str) -> String {
    let mut words = text.split("docs/");
    let mut out = words.next().unwrap_or_default().to_owned();
    for rest in words {
        let (name, rest) = rest.split_once(".md").expect("a page of docs/");
        write!(out, "[{name}.md]({name}.md){rest}").expect("a string takes it");
    }
    out
}

fn page(explained: &BTreeMap<String, Why>, used: &mut BTreeSet<String>) -> String {
    let sources = scan::sources();
    let mut missing = Vec::new();
    let mut why = |text: &str| -> [String; 3] {
        let Some(Why { shown: example, cause, remedy }) = explained.get(text.trim()) else {
            missing.push(text.to_owned());
            return Default::default();
        };
        used.insert(text.trim().to_owned());
        [shown(example.as_deref().unwrap_or(text)), linked(cause), linked(remedy)]
    };
    let mut out = read("tests/data/messages.head.md");
    let row = |out: &mut String, cells: &[&str]| {
        writeln!(out, "| {} |", cells.join(" | ")).expect("a string takes it");
    };
    out.push_str("\n## The log\n");
    for (level, texts) in logged(&sources) {
        assert!(!texts.is_empty(), "no message of level {level}");
        write!(out, "\n### {level}\n\n| message | cause | remedy |\n|---|---|---|\n")
            .expect("a string");
        for text in texts {
            let [text, cause, remedy] = why(&text);
            row(&mut out, &[&text, &cause, &remedy]);
        }
    }
    out.push_str("\n## Errors of the command line\n\n| message | exit code | cause | remedy |\n|---|---|---|---|\n");
    for (text, exits) in failures(&sources) {
        let [text, cause, remedy] = why(&text);
        let exits = exits.into_iter().collect::<Vec<_>>().join(" or ");
        row(&mut out, &[&text, &exits, &cause, &remedy]);
    }
    out.push_str("\n## Warnings about a configuration\n\n");
    out.push_str("`rolecall check` prints them, and the daemon logs them as warnings.\n\n");
    out.push_str("| message | cause | remedy |\n|---|---|---|\n");
    for text in warnings() {
        let [text, cause, remedy] = why(&text);
        row(&mut out, &[&text, &cause, &remedy]);
    }
    let meanings = meanings();
    let mut reason = |out: &mut String, label: &str, text: &str| {
        let Some(Why { cause, remedy, .. }) = meanings.get(label) else {
            missing.push(label.to_owned());
            return;
        };
        row(out, &[&format!("`{label}`"), text, cause, remedy]);
    };
    out.push_str("\n## Reasons\n\n| reason | text | cause | remedy |\n|---|---|---|---|\n");
    for (label, (text, _)) in reasons().into_iter().filter(|(label, _)| !label.is_empty()) {
        assert!(!text.is_empty(), "the reason {label} says nothing");
        reason(&mut out, &label, &shown(&text));
    }
    out.push_str("\n## Kinds of failed polls\n\nThe text is the server's, or rolecall's own words for what happened. ");
    out.push_str(
        "The hint is printed with it.\n\n| kind | hint | cause | remedy |\n|---|---|---|---|\n",
    );
    for kind in ErrorKind::ALL {
        reason(&mut out, kind.label(), &shown(kind.hint()));
    }
    assert!(
        missing.is_empty(),
        "tests/data/messages.txt lacks cause and remedy of:\n{}",
        missing.join("\n")
    );
    out
}

#[test]
fn every_message_stands_on_the_page_with_cause_and_remedy() {
    let explained = explained();
    let mut used = BTreeSet::new();
    let page = page(&explained, &mut used);
    let gone: Vec<_> = explained.keys().filter(|text| !used.contains(*text)).collect();
    assert!(gone.is_empty(), "no such message any more: {gone:#?}");
    let path = root().join("docs/messages.md");
    if std::env::var_os("ROLECALL_WRITE_MESSAGES").is_some() {
        fs::write(&path, &page).expect("the page");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/messages.md is not what the sources say; hint: ROLECALL_WRITE_MESSAGES=1 cargo test --locked --test \
         unit messages::"
    );
}
