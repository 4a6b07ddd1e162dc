//! For how long no node of a cluster was READY, and where the history is kept.

use crate::report::history::page::{OfService, Page};
use crate::report::page::html::Html;
use crate::report::page::strip::legend;
use crate::report::page::words::span;

/// Most services of clusters that are told.
pub const MOST: usize = 50;

/// What the history says of the whole.
pub(crate) fn section(history: &Page) -> Html {
    let mut out = Html::new();
    out.raw("<section class=\"box\" id=\"history\" aria-labelledby=\"history-h\">\n<h2 id=\"history-h\">History</h2>\n");
    out.add(&legend());
    // A node without a cluster may have others beside it that serve the same, of which nothing is known here.
    let of_clusters = || history.services.iter().filter(|of| of.cluster.is_some());
    if of_clusters().next().is_some() {
        out.raw("<h3>Time without a READY node</h3>\n<dl class=\"facts wide\">\n");
        for of in of_clusters().take(MOST) {
            of_service(&mut out, of);
        }
        out.raw("</dl>\n");
    }
    if let Some(trouble) = &history.trouble {
        out.raw("<p data-key=\"trouble\">").text(trouble).raw("</p>\n");
    }
    out.raw("<p class=\"soft\">");
    match &history.file {
        Some(file) => _ = out.raw("It is kept in <code>").text(file).raw("</code>."),
        None => _ = out.raw("It is kept in memory, and ends with the process."),
    }
    out.raw(" Every change that is known: <a href=\"history\">/history</a>.</p>\n</section>\n");
    out
}

fn of_service(out: &mut Html, of: &OfService) {
    out.raw("<div data-key=\"downtime\"><dt>").text(&of.service).raw(" of ");
    out.text(of.cluster.as_deref().unwrap_or_default()).raw("</dt><dd>");
    if of.nobody_ready_ms == 0 && of.nobody_ready.is_empty() {
        out.raw("none");
    } else {
        span(out, of.nobody_ready_ms);
    }
    out.raw(" in the last ");
    span(out, of.since_ms);
    if of.nobody_ready.iter().any(|time| time.lasted_ms.is_none()) {
        out.raw("; <strong>no node is READY now</strong>");
    }
    if of.not_recorded_ms > 0 {
        out.raw("; not known for ");
        span(out, of.not_recorded_ms);
    }
    out.raw("</dd></div>\n");
}
