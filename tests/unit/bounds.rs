//! docs/bounds.md has the limits that the program has, and every one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Every constant of src/ that is a number or a time, by its file and name, with what the source says.
fn constants() -> BTreeMap<(String, String), String> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut found = BTreeMap::new();
    for path in files {
        let file = path.strip_prefix(root().join("src")).unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for part in code.split('\n').filter_map(|line| {
            let line =
                ["pub ", "pub(crate) "].iter().find_map(|it| line.strip_prefix(it)).unwrap_or(line);
            line.strip_prefix("const ")
        }) {
            let Some((name, rest)) = part.split_once(": ") else { continue };
            let Some((kind, value)) = rest.split_once(" = ") else { continue };
            if ["usize", "u16", "u32", "u64", "i32", "i64", "Duration"].contains(&kind) {
                let value = value.trim_end_matches(';').to_owned();
                found.insert((file.clone(), name.to_owned()), value);
            }
        }
    }
    found
}

/// A product of numbers.
fn product(text: &str) -> Option<u64> {
    text.split(" * ").map(|factor| factor.replace('_', "").parse::<u64>().ok()).product()
}

/// As the page says a value of the source.
fn shown(value: &str) -> String {
    let inner = |unit: &str| value.strip_prefix(unit)?.strip_suffix(')').and_then(product);
    if let Some(seconds) = inner("Duration::from_secs(") {
        return format!("{seconds} s");
    }
    if let Some(ms) = inner("Duration::from_millis(") {
        return format!("{ms} ms");
    }
    match product(value) {
        Some(bytes) if value.contains("1024") && bytes % 1_048_576 == 0 => {
            format!("{} MiB", bytes / 1_048_576)
        }
        Some(bytes) if value.contains("1024") && bytes % 1024 == 0 => {
            format!("{} KiB", bytes / 1024)
        }
        Some(number) => number.to_string(),
        None => format!("`{value}`"),
    }
}

/// The name of every function in the sources and the tests.
fn functions() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    let texts = files.iter().map(|path| std::fs::read_to_string(path).unwrap());
    let named = texts.flat_map(|text| {
        let names = text.split("fn ").skip(1).filter_map(|rest| {
            let name = rest.split(|sign: char| sign != '_' && !sign.is_alphanumeric()).next()?;
            Some(name.to_owned())
        });
        names.collect::<Vec<_>>()
    });
    named.collect()
}

/// The last column: the tests that reach the limit, the soak, or in words why nothing does.
#[test]
fn every_limit_is_reached_by_a_test_or_says_why_not() {
    let page = std::fs::read_to_string(root().join("docs/bounds.md")).unwrap();
    let functions = functions();
    let mut without = 0;
    let rows = page.lines().filter(|line| line.contains("` `"));
    for row in rows.filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 6, "{row}");
        let shown = cells[5];
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        for name in &names {
            assert!(*name == "make soak" || functions.contains(*name), "no test `{name}`: {row}");
        }
        if let Some(why) = shown.strip_prefix("no test: ") {
            assert!(why.len() > 20, "{row}");
            without += 1;
        } else {
            assert!(!names.is_empty(), "{row}");
        }
    }
    assert!(without < 15, "{without} limits that no test reaches");
}

#[test]
fn the_page_says_every_limit_as_the_program_has_it() {
    let page = std::fs::read_to_string(root().join("docs/bounds.md")).unwrap();
    let constants = constants();
    assert!(constants.len() > 100, "{}", constants.len());
    let mut named = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| ") && line.contains("` `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let at: Vec<&str> = cells[4].split('`').filter(|part| !part.trim().is_empty()).collect();
        let key = (at[0].to_owned(), at[1].to_owned());
        let value = constants.get(&key).unwrap_or_else(|| panic!("no such constant: {row}"));
        assert_eq!(cells[0], shown(value), "{row}");
        assert!(!cells[1].is_empty() && !cells[2].is_empty(), "{row}");
        named.push(key);
    }
    for line in page.lines().filter_map(|line| line.strip_prefix("* `")) {
        let (file, list) = line.split_once("`: ").unwrap();
        for name in list.split(", ") {
            named.push((file.to_owned(), name.trim_matches('`').to_owned()));
        }
    }
    for key in constants.keys() {
        let times = named.iter().filter(|of| *of == key).count();
        assert_eq!(times, 1, "docs/bounds.md names {} {} {times} times", key.0, key.1);
    }
    let unknown: Vec<_> = named.iter().filter(|key| !constants.contains_key(key)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
