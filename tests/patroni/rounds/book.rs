//! What was counted, kept in a file of one line for each story that was played, and as a table.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::counted::{COLUMNS, Counted};
use super::stories;
use crate::fixtures::measuring::shown;

/// One story that was played.
#[derive(Debug, Clone)]
pub struct Entry {
    pub version: String,
    pub story: String,
    /// The machine's, when it was over.
    pub load: String,
    pub own: Counted,
    pub theirs: Counted,
}

impl Entry {
    fn read(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let counted = |key: &str| -> Option<Counted> {
            let all: Option<Vec<f64>> = value[key].as_array()?.iter().map(Value::as_f64).collect();
            all?.try_into().ok()
        };
        Some(Self {
            version: text("version")?,
            story: text("story")?,
            load: text("load")?,
            own: counted("rolecall")?,
            theirs: counted("template")?,
        })
    }

    fn line(&self) -> String {
        let Self { version, story, load, own, theirs } = self;
        json!({"version": version, "story": story, "load": load, "rolecall": own, "template": theirs})
            .to_string()
    }

    /// For whoever waits for it.
    pub fn text(&self) -> String {
        let columns = COLUMNS.iter().zip(self.own.iter().zip(&self.theirs));
        let cells = columns.map(|(name, (own, theirs))| {
            let (own, theirs) = (shown(name, *own), shown(name, *theirs));
            format!("{name} {own}/{theirs}")
        });
        format!("{}; load {}", cells.collect::<Vec<_>>().join("; "), self.load)
    }
}

/// The file, and what is in it.
pub struct Book {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Book {
    /// With what earlier runs have written; a line that was cut off is none.
    pub fn open(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let entries = text.lines().filter_map(Entry::read).collect();
        Self { path: path.to_owned(), entries }
    }

    /// How often this was played.
    pub fn runs(&self, version: &str, story: &str) -> usize {
        self.of(version, story).count()
    }

    fn of<'a>(&'a self, version: &'a str, story: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.version == version && entry.story == story)
    }

    /// Adds one, and writes it and the table down.
    pub fn add(&mut self, entry: Entry) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path);
        let written = file.and_then(|mut file| writeln!(file, "{}", entry.line()));
        self.entries.push(entry);
        let table = self.path.with_extension("md");
        let written = written.and_then(|()| std::fs::write(table, self.table()));
        written.unwrap_or_else(|e| panic!("{}: {e}", self.path.display()));
    }

    /// Each cell rolecall's / the template's: of a number the sum of all runs, of seconds the median and the
    /// worst.
    pub fn table(&self) -> String {
        let mut versions: Vec<&str> = self.entries.iter().map(|e| e.version.as_str()).collect();
        versions.sort_unstable();
        versions.dedup();
        let mut out =
            format!("| Patroni | what befalls | runs | {} | load |\n", COLUMNS.join(" | "));
        let _ = writeln!(out, "|---|---|---|{}---|", "---|".repeat(COLUMNS.len()));
        let mut worse = Vec::new();
        for story in stories::ALL {
            for version in &versions {
                let of: Vec<&Entry> = self.of(version, story.name).collect();
                if of.is_empty() {
                    continue;
                }
                let cells = COLUMNS.iter().enumerate().map(|(n, name)| {
                    let own = told(name, of.iter().map(|entry| entry.own[n]));
                    let theirs = told(name, of.iter().map(|entry| entry.theirs[n]));
                    if own.0 > theirs.0 + NEARLY {
                        worse.push(format!(
                            "* {version}, {}: {name} {} / {}",
                            story.name, own.1, theirs.1
                        ));
                    }
                    format!("{} / {}", own.1, theirs.1)
                });
                let cells: Vec<String> = cells.collect();
                let loads: Vec<f64> =
                    of.iter().filter_map(|entry| entry.load.parse().ok()).collect();
                let load = median_and_worst(&loads);
                let _ = writeln!(
                    out,
                    "| {version} | {} | {} | {} | {:.1} |",
                    story.name,
                    of.len(),
                    cells.join(" | "),
                    load.0
                );
            }
        }
        let _ = write!(
            out,
            "\nrolecall / template; seconds: median (worst), a number: of all runs together.\n"
        );
        if worse.is_empty() {
            out.push_str("rolecall is worse nowhere.\n");
        } else {
            let _ = write!(out, "rolecall is worse:\n\n{}\n", worse.join("\n"));
        }
        out
    }
}

/// What two medians may differ by and be the same: clients come every 25 ms, and both see the other's moment.
const NEARLY: f64 = 0.05;

/// By which two are compared, and how it is shown.
fn told(column: &str, values: impl Iterator<Item = f64>) -> (f64, String) {
    let values: Vec<f64> = values.collect();
    if column.ends_with(", s") {
        let (median, worst) = median_and_worst(&values);
        (median, format!("{median:.2} ({worst:.2})"))
    } else {
        let sum: f64 = values.iter().sum();
        (sum, format!("{sum:.0}"))
    }
}

fn median_and_worst(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let median = match sorted.as_slice() {
        [] => 0.0,
        all if all.len() % 2 == 1 => all[half],
        all => f64::midpoint(all[half - 1], all[half]),
    };
    (median, sorted.last().copied().unwrap_or_default())
}
