//! The page as a text. What a browser makes of it: tests/daemon/page.

use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::cli::overview::{Health, health};
use crate::report::asked::{Asked, Asker};
use crate::report::history::page::OfService;
use crate::report::majority::{Ballot, Majority};
use crate::report::status::{
    Explained, Fence, Found, Node, Order, Peer, Question, Refused, Repmgrd, Service, Source,
    VERSION,
};

/// A cause in these words.
fn why(text: &str) -> Explained {
    Explained { reason: "timeout", detail: text.to_owned(), hint: Some("look at it") }
}

fn order(text: &str) -> Order {
    Order {
        order: "maint",
        target: text.to_owned(),
        by: text.to_owned(),
        why: text.to_owned(),
        since_ms: 61_000,
        ends_ms: Some(5000),
        forced: true,
        waits: true,
    }
}

fn service(text: &str) -> Service {
    Service {
        service: text.to_owned(),
        roles: vec!["primary"],
        listen: Vec::new(),
        state: "ready",
        answer: text.to_owned(),
        why: why(text),
        alarm: Some("critical"),
        since_ms: Some(90_061_000),
        stands_ms: Some(1500),
        held: true,
        seen_ms: Some(120),
        findings: vec![Found { says: "yes", why: why(text) }],
        order: Some(order(text)),
        asked: Asked {
            last_ms: Some(700),
            by: Some(text.to_owned()),
            askers: vec![Asker { by: text.to_owned(), last_ms: 700, count: 4 }; 2],
            ready: 3,
            drain: 0,
            not_ready: 1,
            unknown: 0,
            strangers: 2,
        },
    }
}

fn source(text: &str) -> Source {
    let ballot = Ballot {
        node_id: 2,
        name: text.to_owned(),
        registered: "standby",
        active: false,
        side: "against",
        vote: text.to_owned(),
    };
    Source {
        kind: "repmgr",
        role: Some("primary"),
        good_ms: Some(10),
        looked_ms: Some(10),
        error: Some(why(text)),
        lag_bytes: Some(4096),
        unlocked: Some(true),
        peers: vec![Peer { node_id: 2, good_ms: None, error: Some(why(text)) }],
        majority: Some(Majority { votes: 1, electors: 3, ballots: vec![ballot] }),
        repmgrd: vec![Repmgrd { node_id: 2, why: why(text) }],
    }
}

fn node(text: &str) -> Node {
    // One source counts votes, one does not.
    let other = Source { majority: None, ..source(text) };
    Node {
        node: text.to_owned(),
        cluster: Some(text.to_owned()),
        role: Some("primary"),
        timeline: Some(3),
        sources: vec![source(text), other],
        services: vec![service(text)],
    }
}

/// Everything that can be said, each text from outside being this one.
fn everything(text: &str) -> Status {
    Status {
        version: VERSION,
        rolecall: "1.0.0",
        nodes: vec![node(text)],
        unknown_questions: vec![Question {
            service: text.to_owned(),
            question: text.to_owned(),
            why: why(text),
            last_ms: 5,
            by: Some(text.to_owned()),
            count: 3,
        }],
        orders: vec![order(text)],
        orders_damaged: Some(text.to_owned()),
        fence: Some(Fence {
            acts: true,
            since_ms: Some(5),
            because: Some(why(text)),
            ended: 2,
            last_ms: Some(5),
            failed: 1,
            error: Some(why(text)),
        }),
        refused_config: Some(Refused { since_ms: 5, detail: text.to_owned() }),
    }
}

fn history(text: &str) -> Page {
    let change = |from, to, ago_ms, lasted_ms| Change {
        at: "2026-11-27T07:00:00.000Z".to_owned(),
        ago_ms,
        node: text.to_owned(),
        service: text.to_owned(),
        from,
        to,
        reason: Some(text.to_owned()),
        detail: Some(text.to_owned()),
        by: Some(text.to_owned()),
        lasted_ms,
        left_out: 0,
    };
    Page {
        version: 1,
        rolecall: "1.0.0",
        at: String::new(),
        file: Some(text.to_owned()),
        trouble: Some(text.to_owned()),
        services: vec![OfService {
            service: text.to_owned(),
            cluster: Some(text.to_owned()),
            nodes: vec![text.to_owned()],
            since: String::new(),
            since_ms: 50_000,
            nobody_ready_ms: 5000,
            not_recorded_ms: 10,
            nobody_ready: Vec::new(),
        }],
        changes: vec![
            change(None, "not_ready", 50_000, Some(20_000)),
            change(Some("not_ready"), "not_recorded", 30_000, Some(100)),
            change(Some("not_recorded"), "ready", 29_900, None),
        ],
    }
}

fn made() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_762_800)
}

fn page(text: &str) -> String {
    document(&everything(text), &history(text), made(), true)
}

/// What is between `<` and `>`, each with its attributes but for the values of those that are for people.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()).collect()
}

#[test]
fn everything_that_is_known_stands_on_it() {
    let page = page("so-and-so");
    // Each of the texts above, and no other place where one could be forgotten.
    assert!(page.matches("so-and-so").count() >= 40, "{}", page.matches("so-and-so").count());
    for words in [
        "<title>Critical: so-and-so READY – rolecall</title>",
        "polls fail, and READY is kept for <time datetime=\"PT1.500S\">1 s</time> more",
        "answered so far: ready 3, drain 0, not_ready 1, unknown 0; 2 connections",
        "2026-11-26 05:58:59 UTC",
        "for <time datetime=\"PT90061.000S\">1 d 1 h</time>",
        ">1</b> of <b data-key=\"electors\">3</b>",
        "standby, inactive",
        "2026-11-27 07:00:00 UTC",
        "MAINT for 20 s; not recorded for 100 ms; READY for 29 s",
    ] {
        let (head, body) = page.split_once("<style>").unwrap_or_default();
        assert!(head.contains(words) || body.contains(words), "{words}: {head} {body}");
    }
}

#[test]
fn a_strip_begins_where_something_is_known_and_says_so() {
    let status = everything("n");
    let page = document(&status, &Page { changes: Vec::new(), ..history("n") }, made(), false);
    assert!(
        page.contains("aria-label=\"Answers of the last 1 min: not recorded for 1 min\""),
        "{page}"
    );
    assert!(page.contains("No change is recorded.") && page.contains("url(#hatch)"), "{page}");
    // The whole is drawn, without a gap; what lasted too short to be seen is drawn once more.
    let page = document(&status, &history("n"), made(), false);
    let parts: Vec<&str> = tags(&page)
        .into_iter()
        .filter(|tag| tag.starts_with("rect") && tag.contains("y="))
        .collect();
    let number = |tag: &str, name: &str| -> u64 {
        let rest = tag.split(&format!(" {name}=\"")).nth(1).unwrap_or_default();
        rest.split('"').next().unwrap_or_default().parse().unwrap_or(0)
    };
    let drawn: Vec<_> = parts.iter().filter(|tag| tag.contains(" x=")).collect();
    let ends: Vec<_> = drawn.iter().map(|tag| (number(tag, "x"), number(tag, "width"))).collect();
    assert_eq!(ends, [(0, 167), (167, 333), (500, 2), (502, 498), (500, 4)], "{drawn:?}");
}

/// The list of what needs attention.
fn section(page: &str) -> &str {
    let rest = page.split("id=\"attention\"").nth(1).unwrap_or_default();
    rest.split("</section>").next().unwrap_or_default()
}

/// A configuration can have more nodes than anybody would look at.
#[test]
fn a_page_of_very_many_nodes_stays_small_and_says_what_it_leaves_out() {
    let mut status = everything("n");
    status.nodes = (0..3000).map(|n| node(&format!("node-{n}"))).collect();
    let page = document(&status, &history("n"), made(), true);
    let least = document(&everything("n"), &history("n"), made(), true).len();
    assert!((MOST_BYTES..MOST_BYTES + 2 * least).contains(&page.len()), "{}", page.len());
    assert!(page.contains("more nodes are not shown here") && page.contains("And 2800 more nodes"));
    assert!(
        page.contains("And 2951 more: <code>rolecall status</code>"),
        "the list of orders is cut"
    );
    assert!(page.contains("more, which stand below"), "the list of what needs attention is cut");
    // Of one cause that all have in common, some places are named.
    for node in &mut status.nodes {
        node.services[0].why = why("the same");
        node.services[0].order = None;
    }
    let page = document(&status, &history("n"), made(), true);
    assert!(page.contains("and 2988 more</p>"), "{}", section(&page));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is written in a name, a cause, an order: the document has the same elements and attributes.
    #[test]
    fn no_text_from_outside_changes_the_document(text in "[\\PC<>&\"'/=\n]{1,40}") {
        let (evil, plain) = (page(&text), page("x"));
        prop_assert_eq!(tags(&evil), tags(&plain));
        prop_assert_eq!(evil.matches('"').count(), plain.matches('"').count());
    }

    /// What is urgent here is what `rolecall status` ends with.
    #[test]
    fn the_level_is_that_of_the_exit_code(
        said in prop::array::uniform12(any::<bool>()),
        state in prop::sample::select(vec!["ready", "drain", "not_ready", "unknown"]),
        alarm in prop::sample::select(vec![None, Some("warning"), Some("critical")]),
    ) {
        let mut status = everything("n");
        let [order, orders, damaged, refused, fence, asked, error, unlocked, repmgrd, late, acts, failed] = said;
        let node = &mut status.nodes[0];
        let service = &mut node.services[0];
        (service.state, service.alarm) = (state, alarm);
        service.order = service.order.take().filter(|_| order);
        service.asked.last_ms = service.asked.last_ms.filter(|_| asked);
        for source in &mut node.sources {
            source.error = source.error.take().filter(|_| error);
            source.unlocked = source.unlocked.filter(|_| unlocked);
            source.repmgrd.truncate(usize::from(repmgrd));
        }
        status.orders.truncate(usize::from(orders));
        status.orders_damaged = status.orders_damaged.filter(|_| damaged);
        status.refused_config = status.refused_config.filter(|_| refused);
        status.unknown_questions[0].last_ms = if late { 30_001 } else { 30_000 };
        status.fence = status.fence.filter(|_| fence);
        if let Some(fence) = &mut status.fence {
            fence.acts = acts;
            fence.error = fence.error.take().filter(|_| failed);
        }
        let told = match health(&serde_json::json!(status)) {
            Health::Well => Level::Well,
            Health::Warning => Level::Warning,
            Health::Critical | Health::Unreachable => Level::Critical,
        };
        prop_assert_eq!(worst(&items(&status)), told, "{:?}", items(&status));
    }
}
