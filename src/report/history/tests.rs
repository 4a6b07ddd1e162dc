//! The ring, durations, gaps and the time without a READY, by values alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::book::{Anchor, Book, KEPT_FOR, MOST_OF_ALL, Of, millis};
use super::downtime::{MOST_TIMES, Moment};
use super::page::{Page, Wanted, utc};
use super::track::{MOST_OF_ONE, MOST_REASONS, Said, What};
use super::{History, MOST_DETAIL};
use crate::look::error::{ErrorKind, SourceError};
use crate::look::stamp::Stamp;
use crate::report::announced::Announced;
use crate::verdict::decide::Verdict;
use crate::verdict::reason::Reason;
use crate::verdict::state::State;

/// A moment of the wall clock, in the year 2026.
static WALL: u64 = 1_790_000_000_000;

fn of(node: &str, service: &str, cluster: Option<&str>) -> Of {
    Of { node: node.into(), service: service.into(), cluster: cluster.map(Arc::from) }
}

fn said(state: State, reason: &str) -> What {
    let by = (reason == "ordered_maint").then(|| Arc::from("ann (uid 1000)"));
    What::Said(Said { state, reason: reason.into(), detail: reason.into(), by })
}

fn moment(at: u64) -> Moment {
    Moment { at, wall: WALL + at }
}

/// A book of what was so of `primary` at nodes of one cluster: `(node, milliseconds, what)`.
fn book(changes: &[(&str, u64, What)]) -> Book {
    let mut book = Book::default();
    for (node, at, what) in changes {
        book.note(of(node, "primary", Some("orders")), *at, WALL + at, what.clone());
    }
    book
}

fn page(book: &Book, since: Option<u64>, now: u64) -> Page {
    let since = since.map(|since| Duration::from_millis(now - since));
    Page::of(book, Wanted { since, ..Wanted::default() }, moment(now))
}

/// `(from, to, lasted)` of each change.
fn changes(page: &Page) -> Vec<(Option<&str>, &str, Option<u64>)> {
    page.changes.iter().map(|change| (change.from, change.to, change.lasted_ms)).collect()
}

#[test]
fn each_change_says_when_from_to_why_by_whom_and_how_long() {
    let book = book(&[
        ("pg1", 1000, said(State::Ready, "serves")),
        ("pg1", 4000, said(State::NotReady, "ordered_maint")),
        ("pg1", 4500, said(State::Unknown, "timeout")),
    ]);
    let page = page(&book, None, 6000);
    assert_eq!(
        changes(&page),
        [
            (None, "ready", Some(3000)),
            (Some("ready"), "not_ready", Some(500)),
            (Some("not_ready"), "unknown", None),
        ]
    );
    let ordered = &page.changes[1];
    assert_eq!((ordered.at.as_str(), ordered.ago_ms), ("2026-09-21T14:13:24.000Z", 2000));
    assert_eq!(ordered.by.as_deref(), Some("ann (uid 1000)"));
    assert_eq!(ordered.reason.as_deref(), Some("ordered_maint"));
    assert_eq!(page.changes[2].by, None);
}

#[test]
fn what_is_no_change_is_none_and_another_reason_is_one() {
    let book = book(&[
        ("pg1", 0, said(State::Unknown, "timeout")),
        ("pg1", 1, said(State::Unknown, "timeout")),
        ("pg1", 2, said(State::Unknown, "server_down")),
    ]);
    let reasons: Vec<_> =
        page(&book, None, 3).changes.into_iter().filter_map(|change| change.reason).collect();
    assert_eq!(reasons, ["timeout", "server_down"]);
}

#[test]
fn a_verdict_keeps_its_last_changes_and_says_what_was_before_them() {
    let mut book = Book::default();
    for at in 0..2 * MOST_OF_ONE as u64 {
        let state = if at % 2 == 0 { State::Ready } else { State::NotReady };
        book.note(of("pg1", "primary", None), at, WALL, said(state, "x"));
    }
    assert_eq!(book.len(), MOST_OF_ONE);
    let page = page(&book, None, 1000);
    assert_eq!(page.changes[0].from, Some("not_ready"));
    assert_eq!(page.changes[0].ago_ms, 1000 - MOST_OF_ONE as u64);
}

/// Polls that fail in turns say one state for two reasons, for hours.
#[test]
fn reasons_in_turns_push_no_change_of_a_state_out() {
    let mut book = book(&[
        ("pg1", 0, said(State::Ready, "serves")),
        ("pg1", 1, said(State::NotReady, "deposed")),
    ]);
    for at in 2..1000 {
        let reason = if at % 2 == 0 { "timeout" } else { "server_down" };
        book.note(of("pg1", "primary", None), at, WALL, said(State::NotReady, reason));
    }
    let page = page(&book, None, 1000);
    assert_eq!(page.changes.len(), 1 + MOST_REASONS);
    assert_eq!(page.changes[1].reason.as_deref(), Some("deposed"));
    let left_out = usize::try_from(page.changes[1].left_out);
    assert_eq!(left_out, Ok(998 - (MOST_REASONS - 1)));
    assert_eq!(page.changes.last().map(|change| change.ago_ms), Some(1));
}

#[test]
fn all_verdicts_together_are_bounded_and_each_keeps_its_last() {
    let mut book = Book::default();
    let nodes = 2 * MOST_OF_ALL / MOST_OF_ONE;
    for (n, at) in (0..nodes * MOST_OF_ONE).zip(0..) {
        let node = format!("pg{}", n % nodes);
        let state = if (n / nodes).is_multiple_of(2) { State::Ready } else { State::NotReady };
        book.note(of(&node, "primary", None), at, WALL, said(state, "x"));
        assert!(book.len() <= MOST_OF_ALL);
    }
    assert_eq!(book.len(), MOST_OF_ALL);
    assert_eq!(book.tracks().len(), nodes);
}

#[test]
fn what_is_too_old_goes_and_what_is_so_still_stays() {
    let month = millis(KEPT_FOR);
    let mut book = book(&[
        ("pg1", 0, said(State::NotReady, "x")),
        ("pg1", 5, said(State::Ready, "x")),
        ("pg2", 0, said(State::NotReady, "x")),
        ("gone", 0, said(State::NotReady, "x")),
    ]);
    book.watch(&[of("pg1", "primary", None), of("pg2", "primary", None)], 6, WALL);
    book.note(of("pg2", "primary", None), month + 6, WALL, said(State::Ready, "x"));
    let page = page(&book, None, month + 7);
    assert_eq!(
        changes(&page),
        [
            (None, "not_ready", Some(month + 6)),
            (Some("not_ready"), "ready", None),
            (Some("not_ready"), "ready", None),
        ]
    );
}

#[test]
fn a_node_that_the_configuration_leaves_out_is_not_watched() {
    let mut book = book(&[("pg1", 0, said(State::NotReady, "x"))]);
    book.watch(&[of("pg2", "primary", Some("orders"))], 100, WALL);
    book.note(of("pg2", "primary", Some("orders")), 150, WALL, said(State::Ready, "x"));
    let page = page(&book, None, 200);
    assert_eq!(
        changes(&page),
        [
            (None, "not_ready", Some(100)),
            (Some("not_ready"), "not_watched", None),
            (None, "ready", None),
        ]
    );
    // From 100 to 150 there was no node at all.
    assert_eq!(page.services[0].nobody_ready_ms, 100);
}

#[test]
fn a_gap_is_not_bridged_and_counts_as_not_known() {
    let mut book = book(&[("pg1", 0, said(State::NotReady, "x"))]);
    book.interrupt(100, WALL + 100);
    book.note(of("pg1", "primary", Some("orders")), 400, WALL + 400, said(State::NotReady, "x"));
    let page = page(&book, None, 500);
    assert_eq!(
        changes(&page),
        [
            (None, "not_ready", Some(100)),
            (Some("not_ready"), "not_recorded", Some(300)),
            (Some("not_recorded"), "not_ready", None),
        ]
    );
    let service = &page.services[0];
    assert_eq!((service.nobody_ready_ms, service.not_recorded_ms), (200, 300));
    assert_eq!(service.nobody_ready.len(), 2);
}

#[test]
fn one_ready_node_of_a_cluster_is_enough_whatever_is_not_known_of_others() {
    let book = book(&[
        ("pg1", 0, said(State::Ready, "x")),
        ("pg2", 0, What::NotRecorded),
        ("pg2", 10, said(State::NotReady, "x")),
        ("pg1", 100, said(State::NotReady, "x")),
        ("pg2", 130, said(State::Ready, "x")),
        ("pg2", 150, What::NotRecorded),
        ("pg1", 180, said(State::Drain, "x")),
    ]);
    let page = page(&book, None, 200);
    let [service] = page.services.as_slice() else { panic!("{page:?}") };
    assert_eq!(service.nodes, ["pg1", "pg2"]);
    assert_eq!((service.nobody_ready_ms, service.not_recorded_ms), (30, 50));
    assert_eq!(service.nobody_ready[0].lasted_ms, Some(30));
    assert_eq!(service.nobody_ready[0].at, utc(WALL + 100));
}

#[test]
fn nodes_without_a_cluster_are_counted_each_alone() {
    let mut book = Book::default();
    for node in ["pg1", "pg2"] {
        let state = if node == "pg1" { State::Ready } else { State::NotReady };
        book.note(of(node, "primary", None), 0, WALL, said(state, "x"));
    }
    let counted: Vec<_> = page(&book, None, 10)
        .services
        .into_iter()
        .map(|service| (service.nodes, service.nobody_ready_ms))
        .collect();
    assert_eq!(counted, [(vec!["pg1".to_owned()], 0), (vec!["pg2".to_owned()], 10)]);
}

#[test]
fn a_window_begins_where_it_is_asked_to_or_where_anything_is_known() {
    let book = book(&[
        ("pg1", 100, said(State::NotReady, "x")),
        ("pg1", 200, said(State::Ready, "x")),
        ("pg1", 300, said(State::NotReady, "x")),
    ]);
    for (since, begins, nobody, told) in [
        (None, 100, 200, 3),
        (Some(0), 100, 200, 3),
        (Some(150), 150, 150, 3),
        (Some(250), 250, 100, 2),
    ] {
        let page = page(&book, since, 400);
        let service = &page.services[0];
        assert_eq!(service.since, utc(WALL + begins), "{since:?}");
        assert_eq!(service.since_ms, 400 - begins, "{since:?}");
        assert_eq!(service.nobody_ready_ms, nobody, "{since:?}");
        assert_eq!(page.changes.len(), told, "{since:?}");
    }
}

#[test]
fn very_many_times_without_a_ready_are_all_counted_and_the_last_are_told() {
    let mut all = Vec::new();
    // On two nodes, so that neither forgets any.
    for at in 0..2 * MOST_TIMES as u64 {
        let node = if at % 4 < 2 { "pg1" } else { "pg2" };
        let state = if at % 2 == 0 { State::NotReady } else { State::Ready };
        all.push((node, at, said(state, "x")));
    }
    let last = 2 * MOST_TIMES as u64;
    all.push(("pg1", last, said(State::NotReady, "x")));
    all.push(("pg2", last, said(State::NotReady, "x")));
    let page = page(&book(&all), None, last + 7);
    let service = &page.services[0];
    assert!(service.nobody_ready.len() <= MOST_TIMES);
    assert_eq!(
        service.nobody_ready.last().map(|span| (span.ago_ms, span.lasted_ms)),
        Some((7, None))
    );
}

#[test]
fn the_clock_goes_on_from_where_it_is_anchored_and_never_back() {
    let at = |ms| Stamp::new(Duration::from_millis(ms));
    let book = Book::default().anchored(Anchor { stamp: at(500), at: 9000 });
    assert_eq!(book.clock(at(800)), 9300);
    assert_eq!(book.clock(at(100)), 9000);
    // A change that comes with an earlier moment is of the same moment.
    let mut book = book;
    book.note(of("pg1", "primary", None), 9300, WALL, said(State::Ready, "x"));
    book.note(of("pg1", "primary", None), 9100, WALL - 5000, said(State::NotReady, "x"));
    assert_eq!(changes(&page(&book, None, 9400))[0].2, Some(0));
}

#[test]
fn a_long_reason_is_cut_in_the_history() {
    let history = History::default();
    let error = SourceError::new(ErrorKind::Timeout, "x".repeat(2 * MOST_DETAIL));
    let verdict = Verdict {
        state: State::Unknown,
        reason: Reason::Failed(error),
        until: None,
        timeline: None,
        seen: None,
    };
    let (now, logged) = (Stamp::default(), ("timeout", Stamp::default()));
    let new =
        Announced { node: "pg1".into(), service: "primary".into(), verdict, since: now, logged };
    history.note(now, None, &new);
    let page = history.page(now, Wanted::default());
    let detail = page.changes[0].detail.as_deref().unwrap();
    assert_eq!(detail.len(), MOST_DETAIL + '…'.len_utf8());
    assert!(page.services[0].nobody_ready[0].lasted_ms.is_none());
}

#[test]
fn no_moment_is_beyond_what_can_be_written() {
    assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(utc(u64::MAX), "9999-12-31T23:59:59.999Z");
}

/// What is so of a node at a moment, by walking all its changes.
fn naive(changes: &[(usize, u64, u8)], node: usize, at: u64) -> u8 {
    let mut before = changes.iter().rev().filter(|(of, when, _)| *of == node && *when <= at);
    before.next().map_or(3, |(.., is)| *is)
}

/// `ROLECALL_WRITE_SCHEMA=1` writes it.
#[test]
fn the_committed_schema_of_the_history_is_the_one_of_these_types() {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<Page>();
    let made = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/history.schema.json");
    if std::env::var_os("ROLECALL_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(committed, made, "ROLECALL_WRITE_SCHEMA=1 cargo test --lib schema writes it");
}

proptest! {
    /// The sums are those of a replay that asks at each millisecond what is so of each node.
    #[test]
    fn the_sums_are_those_of_a_naive_replay(
        steps in prop::collection::vec((0usize..3, 0u64..6, 0u8..4), 1..40),
        since in 0u64..120,
        more in 0u64..9,
    ) {
        let mut at = 0;
        let changes: Vec<(usize, u64, u8)> = steps.iter().map(|(node, later, is)| {
            at += later;
            (*node, at, *is)
        }).collect();
        let now = at + more;
        let mut book = Book::default();
        for (node, at, is) in &changes {
            let what = match is {
                0 => said(State::Ready, "x"),
                1 => said(State::NotReady, "x"),
                2 => What::NotRecorded,
                _ => What::NotWatched,
            };
            book.note(of(&format!("pg{node}"), "primary", Some("orders")), *at, WALL + at, what);
        }
        // A node begins with what is not `NotWatched`.
        let first = changes.iter().filter(|(.., is)| *is != 3).map(|(_, at, _)| *at).min();
        let page = page(&book, Some(since.min(now)), now);
        let Some(first) = first else {
            prop_assert!(page.services.is_empty());
            return Ok(());
        };
        let (mut nobody, mut unknown) = (0, 0);
        for at in first.max(since.min(now))..now {
            let each: Vec<u8> = (0..3).map(|node| naive(&changes, node, at)).collect();
            if each.contains(&0) {
            } else if each.contains(&2) {
                unknown += 1;
            } else if each.contains(&1) {
                nobody += 1;
            }
        }
        let service = &page.services[0];
        prop_assert_eq!((service.nobody_ready_ms, service.not_recorded_ms), (nobody, unknown));
        let told: u64 = service.nobody_ready.iter().map(|span| span.lasted_ms.unwrap_or(span.ago_ms)).sum();
        prop_assert!(service.nobody_ready.len() == MOST_TIMES || told == nobody);
    }
}
