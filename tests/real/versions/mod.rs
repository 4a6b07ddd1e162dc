//! A whole look at every version of PostgreSQL that can be had, and the tables of docs/versions.md, which are
//! made here (`ROLECALL_WRITE_VERSIONS=1`), and compared.
//!
//! `cargo test --test real versions::` tries the PostgreSQL that is installed, `ROLECALL_ALL=1` (`make test-versions`) each
//! of tests/data/postgresql.txt, which `tests/tools/postgres-tree.sh` fetches.

mod tried;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixtures::programs::{find_postgres, missing};
use rolecall::source::pg::role;
use tried::{TRIED, Tried};

/// The page of which the tables are parts.
const PAGE: &str = "docs/versions.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The major versions that are fetched.
fn fetched() -> Vec<u32> {
    let text = read("tests/data/postgresql.txt");
    text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

/// The part of the page between its marks, from where to where.
fn part(page: &str, name: &str) -> (usize, usize) {
    let [begin, end] = ["begin", "end"].map(|mark| format!("<!-- {mark} {name} -->\n"));
    let at = page.find(&begin).map(|at| at + begin.len());
    at.zip(page.find(&end)).unwrap_or_else(|| panic!("{PAGE} has no part {name:?}"))
}

/// A line of the table for each thing that was seen, with the versions that showed it.
fn table(tried: &[Tried]) -> String {
    let mut text = String::from("| looked at | what is seen | PostgreSQL |\n|---|---|---|\n");
    for (at, what) in TRIED.iter().enumerate() {
        let mut seen: Vec<&str> = tried.iter().map(|tried| &*tried.cells[at]).collect();
        seen.dedup();
        for seen in seen {
            let by = tried.iter().filter(|tried| tried.cells[at] == seen);
            let by: Vec<_> = by.map(|tried| tried.version.as_str()).collect();
            writeln!(text, "| {what} | {seen} | {} |", by.join(", ")).unwrap();
        }
    }
    text
}

/// Whether a line of the table says so of this major version: a newer minor one is no other server.
fn says(line: &str, what: &str, seen: &str, major: u32) -> bool {
    line.strip_prefix(&format!("| {what} | {seen} | "))
        .is_some_and(|by| by.split(", ").any(|by| by.starts_with(&format!("{major}."))))
}

#[test]
fn every_version_of_postgresql_is_looked_at_in_whole() {
    let all = std::env::var_os("ROLECALL_ALL").is_some_and(|v| v == "1");
    let bins: Vec<PathBuf> = if all {
        fetched().iter().map(|major| root().join(format!("target/postgres/{major}/bin"))).collect()
    } else {
        find_postgres().into_iter().collect()
    };
    if bins.iter().any(|bin| !bin.join("postgres").exists()) {
        return missing("PostgreSQL of each version in target/postgres: make test-versions");
    }
    if bins.is_empty() {
        return missing("postgresql");
    }
    let tried: Vec<Tried> = bins.into_iter().map(Tried::of).collect();
    let page = read(PAGE);
    let (at, to) = part(&page, "postgresql");
    if all {
        let found = table(&tried);
        if std::env::var_os("ROLECALL_WRITE_VERSIONS").is_some() {
            fs::write(root().join(PAGE), format!("{}{found}{}", &page[..at], &page[to..])).unwrap();
        } else {
            assert_eq!(&page[at..to], found, "{PAGE}; ROLECALL_WRITE_VERSIONS=1 writes it");
        }
        return;
    }
    for tried in &tried {
        for (what, seen) in TRIED.iter().zip(&tried.cells) {
            let said = page[at..to].lines().any(|line| says(line, what, seen, tried.major()));
            assert!(said, "{PAGE} does not say of {}: {what}: {seen}", tried.version);
        }
    }
}

/// What stands there of other programs is what the tests install.
#[test]
fn the_page_names_the_versions_that_the_tests_take() {
    let install = read("tests/tools/install.sh");
    let words = |of: &str| -> Vec<String> {
        let lines = install.lines().filter_map(|line| line.trim().strip_prefix(of));
        lines.map(|rest| rest.split(' ').next_back().unwrap().to_owned()).collect()
    };
    let patroni: Vec<String> =
        words("patroni ").into_iter().filter(|word| word.starts_with(char::is_numeric)).collect();
    let page = read(PAGE);
    assert_eq!(patroni.len(), 3);
    let scenarios = read("tests/patroni/main.rs");
    for version in &patroni {
        assert!(page.contains(&format!("| Patroni | {version} |")), "{PAGE}: Patroni {version}");
        assert!(scenarios.contains(&format!("\"{version}\"")), "tests/patroni: {version}");
    }
    for version in words("tree ") {
        assert!(page.contains(&format!("| HAProxy | {version} |")), "{PAGE}: HAProxy {version}");
    }
    // What Debian gives: of the machine that runs the tests at least the first two numbers.
    for (package, shown) in [("postgresql-15-repmgr", "repmgr"), ("pgbouncer", "PgBouncer")] {
        let asked = Command::new("dpkg-query").args(["-Wf", "${Version}", package]).output();
        let Some(version) = asked.ok().filter(|asked| asked.status.success()) else { continue };
        let version = String::from_utf8(version.stdout).unwrap();
        let short = version.split('.').take(2).collect::<Vec<_>>().join(".");
        assert!(page.contains(&format!("| {shown} | {short}")), "{PAGE}: {shown} {version}");
    }
}

/// Whatever a look asks of PostgreSQL stands on the page, and nothing else.
#[test]
fn the_page_names_all_that_a_look_asks() {
    let name = regex::Regex::new(r"(?-u)\bpg_[a-z_]+|\bdefault_transaction_read_only").unwrap();
    let names = |text: &str| -> BTreeSet<String> {
        let found = name.find_iter(text).map(|found| found.as_str().to_owned());
        // A type, and what lies in the table's own columns.
        found.filter(|name| name != "pg_lsn").collect()
    };
    let page = read(PAGE);
    let (at, to) = part(&page, "asked");
    let granted = ["pg_read_all_stats", "pg_monitor"].map(str::to_owned);
    let written: BTreeSet<_> = &names(&page[at..to]) - &BTreeSet::from(granted);
    let asked = names(&role::query(&[role::STARTED], ""));
    assert!(asked.len() > 8, "{asked:?}");
    assert_eq!(written, asked);
}
