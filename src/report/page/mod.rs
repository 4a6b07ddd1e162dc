//! Everything that is known as one HTML document, for a person who looks with a browser.
//!
//! It is made of the same value as `/status` and holds nothing of its own; it has no script, and fetches
//! nothing. What comes from outside is escaped in one place ([`html`]). Begin with [`document`].

mod attention;
mod downtime;
mod html;
mod level;
mod node;
mod orders;
mod places;
mod service;
mod strip;
mod style;
mod whole;
mod words;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::report::history::page::{Change, Page};
use crate::report::page::attention::{items, worst};
use crate::report::page::html::Html;
use crate::report::page::level::{Level, of_service};
use crate::report::page::places::node_id;
use crate::report::page::service::shown;
use crate::report::page::words::day_and_time;
use crate::report::status::Status;

pub use style::POLICY;

/// Bytes of the page from which on no further node is shown in whole.
pub const MOST_BYTES: usize = 512 * 1024;
/// Nodes whose answers stand at the top.
const MOST_AT_THE_TOP: usize = 200;
/// Seconds after which a browser asks for the page again.
pub const REFRESHED_EVERY: u64 = 5;
/// What is asked for behind `?` to have it stay as it is.
pub const STAYS: &str = "refresh=off";

/// Of how much time the page shows the history.
pub const SHOWN: Duration = Duration::from_millis(strip::LONGEST);

/// The whole page, as it is at the moment `made` of the host's wall clock. `refreshed`: the browser is told to
/// ask for it again.
pub fn document(status: &Status, history: &Page, made: SystemTime, refreshed: bool) -> String {
    let items = items(status);
    let worst = worst(&items);
    let mut out = Html::new();
    out.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>");
    out.raw(match worst {
        Level::Well => "",
        Level::Warning => "Warning: ",
        Level::Critical => "Critical: ",
    });
    out.text(&title(status)).raw("</title>\n");
    out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    out.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    if refreshed {
        out.raw("<meta http-equiv=\"refresh\" content=\"").number(REFRESHED_EVERY).raw("\">\n");
    }
    out.raw("<link rel=\"icon\" href=\"").raw(style::icon(worst)).raw("\">\n");
    out.raw("<style>").raw(style::SHEET).raw("</style>\n</head>\n<body>\n");
    out.raw("<a class=\"skip\" href=\"#main\">Skip to the answers</a>\n");
    head(&mut out, &items, made, refreshed);
    out.raw("<main id=\"main\">\n");
    answers(&mut out, status);
    out.add(&attention::section(&items));
    out.add(&orders::section(status, made));
    out.add(&whole::sections(status, made));
    out.raw(strip::PATTERNS);
    let of_services = by_service(history);
    let window = strip::window(&history.changes);
    for (at, node) in status.nodes.iter().enumerate() {
        if out.bytes() >= MOST_BYTES {
            out.raw("<p class=\"rest\">").count(status.nodes.len() - at);
            out.raw(" more nodes are not shown here, so that the page stays small. ");
            out.raw("<a href=\"status\">/status</a> has all of them.</p>\n");
            break;
        }
        let strip = |service: &str| {
            let changes = of_services.get(&(&*node.node, service)).map(Vec::as_slice);
            strip::figure(changes.unwrap_or_default(), window, made)
        };
        out.add(&node::section(at, node, made, &strip));
    }
    out.add(&downtime::section(history));
    out.raw("</main>\n<footer><p>rolecall <span data-key=\"rolecall\">").raw(status.rolecall);
    out.raw("</span>. The same as JSON: <a href=\"status\">/status</a>. For Prometheus: ");
    out.raw("<a href=\"metrics\">/metrics</a>.</p></footer>\n</body>\n</html>\n");
    out.done()
}

/// The changes of each service of each node, the oldest first.
fn by_service(history: &Page) -> BTreeMap<(&str, &str), Vec<&Change>> {
    let mut all: BTreeMap<_, Vec<&Change>> = BTreeMap::new();
    for change in &history.changes {
        all.entry((change.node.as_str(), change.service.as_str())).or_default().push(change);
    }
    all
}

/// What a tab shows: who is READY.
fn title(status: &Status) -> String {
    let ready = |node: &crate::report::status::Node| {
        node.services.iter().filter(|of| of.state == "ready").count()
    };
    match status.nodes.as_slice() {
        [only] => {
            let services = only.services.iter();
            let said = services.map(|of| format!("{} {}", of.service, words::badge(of.state).0));
            format!("{} – rolecall", said.collect::<Vec<_>>().join(", "))
        }
        nodes => {
            let all: usize = nodes.iter().map(|node| node.services.len()).sum();
            format!("{} of {all} READY – rolecall", nodes.iter().map(ready).sum::<usize>())
        }
    }
}

fn head(out: &mut Html, items: &[attention::Item], made: SystemTime, refreshed: bool) {
    let worst = worst(items);
    out.raw("<header class=\"").raw(worst.class()).raw("\">\n<h1>");
    out.raw("<span class=\"name\">rolecall</span> <span data-key=\"level\">");
    let of = |level| items.iter().filter(|item| item.level == level).count();
    match (of(Level::Critical), of(Level::Warning)) {
        (0, 0) => _ = out.raw("All is well"),
        (0, 1) => _ = out.raw("1 warning"),
        (0, warnings) => _ = out.count(warnings).raw(" warnings"),
        (critical, 0) => _ = out.count(critical).raw(" critical"),
        (critical, warnings) => {
            out.count(critical).raw(" critical, ").count(warnings);
            out.raw(if warnings == 1 { " warning" } else { " warnings" });
        }
    }
    out.raw("</span></h1>\n<p>Made at <span data-key=\"made\">");
    day_and_time(out, made);
    out.raw("</span>. ");
    if refreshed {
        out.raw("The page refreshes itself every ").number(REFRESHED_EVERY);
        out.raw(" s. <a href=\"./?refresh=off\">Stop refreshing</a>");
    } else {
        out.raw("The page stays as it is. <a href=\"./\">Refresh it every ")
            .number(REFRESHED_EVERY);
        out.raw(" s</a>");
    }
    out.raw("</p>\n</header>\n");
}

/// What each service of each node is told, for one glance.
fn answers(out: &mut Html, status: &Status) {
    out.raw("<section aria-labelledby=\"answers\">\n<h2 id=\"answers\">Answers</h2>\n<ul class=\"answers\">\n");
    for (at, node) in status.nodes.iter().enumerate().take(MOST_AT_THE_TOP) {
        out.raw("<li><span class=\"of\"><a href=\"#");
        node_id(out, at);
        out.raw("\">").text(&node.node).raw("</a> <span class=\"role\">");
        out.text(node.role.unwrap_or("role unknown")).raw("</span></span>");
        for service in &node.services {
            out.raw(" <span class=\"told\">");
            shown(out, service.state);
            out.raw(" ").text(&service.service);
            let level = of_service(service);
            if level != Level::Well {
                out.raw(" <strong class=\"").raw(level.class()).raw("\">").raw(level.word());
                out.raw("</strong>");
            }
            out.raw("</span>");
        }
        out.raw("</li>\n");
    }
    out.raw("</ul>\n");
    if let Some(more) = status.nodes.len().checked_sub(MOST_AT_THE_TOP).filter(|more| *more > 0) {
        out.raw("<p>And ").count(more).raw(" more nodes.</p>\n");
    }
    out.raw("</section>\n");
}

#[cfg(test)]
mod tests;
