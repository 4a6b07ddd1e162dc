//! docs/reasons.md has an entry for every reason there is, and for nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rolecall::look::error::ErrorKind;

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What the functions `label` of src/verdict/reason.rs give: each has one arm for every variant, and the
/// compiler refuses one that lacks an arm.
fn labels_of_reasons(code: &str) -> BTreeSet<String> {
    let bodies = code.split("fn label(").skip(1);
    let bodies = bodies.map(|rest| rest.split("\n    }\n").next().unwrap());
    let arms = bodies.flat_map(|body| body.split("=> \"").skip(1));
    arms.map(|arm| arm.split('"').next().unwrap().to_owned()).collect()
}

/// The three cells of every row whose first cell is a word in backquotes.
fn entries(document: &str) -> Vec<[&str; 3]> {
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim));
    cells.map(|cells| cells.collect::<Vec<_>>().try_into().expect("three cells")).collect()
}

#[test]
fn every_reason_has_one_entry_with_meaning_and_remedy() {
    let mut reasons = labels_of_reasons(&file("src/verdict/reason.rs"));
    assert!(reasons.contains("serves") && reasons.contains("rival"), "{reasons:?}");
    assert!(reasons.contains("serves_lockless"), "the circumstances, too: {reasons:?}");
    reasons.extend(ErrorKind::ALL.iter().map(|kind| kind.label().to_owned()));

    let document = file("docs/reasons.md");
    let entries = entries(&document);
    for [word, meaning, remedy] in &entries {
        assert!(meaning.ends_with('.') && remedy.len() > 10, "{word}: {meaning} {remedy}");
    }
    let words = entries.iter().map(|[word, ..]| word.trim_matches('`').to_owned());
    let documented: BTreeSet<String> = words.collect();
    assert_eq!(documented.len(), entries.len(), "each has one entry");
    let missing: Vec<_> = reasons.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&reasons).collect();
    assert!(missing.is_empty(), "no entry in docs/reasons.md: {missing:?}");
    assert!(gone.is_empty(), "no such reason any more: {gone:?}");
}
