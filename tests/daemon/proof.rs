//! docs/proof.md says what the trials that are kept in the repository showed, and its pictures can be read.

use std::collections::BTreeSet;

use crate::fixtures::host_faults::{ALL, table};
use crate::fixtures::ledger::prove as prove_the_ledger;
use crate::fixtures::nemesis::prove as prove_the_counting;
use crate::fixtures::page_part::{holds, of_the_tree, text_of};
use crate::fixtures::proof::page;
use crate::fixtures::timeline::{PALETTE, contrast, slug};

/// The trials, one a line.
const TRIALS: &str = "tests/data/proof.jsonl";
const PAGE: &str = "docs/proof.md";
/// WCAG's least contrast of text, and of what is no text.
const OF_TEXT: f64 = 4.5;
const OF_BARS: f64 = 3.0;

#[test]
fn the_page_has_the_tables_of_the_trials_that_are_kept() {
    prove_the_ledger();
    prove_the_counting();
    holds(PAGE, "trials", &page(&of_the_tree(TRIALS)));
}

#[test]
fn the_page_has_the_host_faults_that_were_measured() {
    holds("docs/host-faults.md", "host faults", &table());
    for fault in &ALL {
        let text = text_of(fault.file);
        assert!(text.contains(&format!("fn {}(", fault.test)), "{}: {}", fault.file, fault.test);
    }
}

#[test]
fn each_fault_that_is_drawn_has_a_picture_that_is_told_in_words() {
    let page = text_of(PAGE);
    let pictures: Vec<&str> =
        page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let pictures: BTreeSet<&str> =
        pictures.into_iter().filter(|link| link.starts_with("timeline-")).collect();
    let faults = text_of("tests/data/timelines.txt");
    let wanted: Vec<String> =
        faults.lines().map(|fault| format!("timeline-{}.svg", slug(fault))).collect();
    assert_eq!(pictures, wanted.iter().map(String::as_str).collect());
    for picture in pictures {
        let text = text_of(&format!("docs/{picture}"));
        for part in ["<title id=\"title\">", "<desc id=\"desc\">", "prefers-color-scheme: dark"] {
            assert!(text.contains(part), "{picture} has no {part}");
        }
        assert!(text.contains("viewBox=\"0 0 700 "), "{picture} is not 700 pixels wide");
    }
}

#[test]
fn what_is_drawn_can_be_read_by_day_and_by_night() {
    let colour = |name: &str| PALETTE.into_iter().find(|(class, ..)| *class == name).unwrap();
    let (_, white, black) = colour("paper");
    for (class, light, dark) in PALETTE.into_iter().filter(|(class, ..)| *class != "paper") {
        let least = if class == "ink" { OF_TEXT } else { OF_BARS };
        let seen = contrast(light, white).min(contrast(dark, black));
        assert!(seen >= least, "{class}: {seen:.1}");
    }
    assert!((contrast("#ffffff", "#000000") - 21.0).abs() < 0.01);
}
