//! One service of a node: what HAProxy is told, why, what to do, and who asked.

use std::borrow::Cow;
use std::time::SystemTime;

use crate::report::asked::Asked;
use crate::report::page::html::Html;
use crate::report::page::level::{ASK_HERE, Level, of_service, quiet};
use crate::report::page::orders;
use crate::report::page::places::service_id;
use crate::report::page::words::{badge, moment_before, span};
use crate::report::status::{Found, Node, Service};
use crate::verdict::state::State;

/// The answer as a word that is seen from afar. Its sign says the same as its colour.
pub(crate) fn shown(out: &mut Html, state: &str) {
    let (word, class) = badge(state);
    let sign = match class {
        "ready" => "✓",
        "drain" => "↓",
        "maint" => "–",
        _ => "?",
    };
    out.raw("<span class=\"badge b-").raw(class).raw("\"><span aria-hidden=\"true\">").raw(sign);
    out.raw("</span> <span data-key=\"badge\">").raw(word).raw("</span></span>");
}

/// The service at this place of this node.
pub(crate) fn card(
    node: &Node,
    at: (usize, usize),
    service: &Service,
    (made, strip): (SystemTime, &Html),
) -> Html {
    let mut out = Html::new();
    let level = of_service(service);
    out.raw("<article class=\"service ").raw(level.class()).raw(" told-");
    out.raw(badge(service.state).1).raw("\" id=\"");
    service_id(&mut out, at.0, at.1);
    out.raw("\" aria-labelledby=\"");
    service_id(&mut out, at.0, at.1);
    out.raw("h\">\n<h3 id=\"");
    service_id(&mut out, at.0, at.1);
    out.raw("h\">");
    shown(&mut out, service.state);
    out.raw(" <span data-key=\"service\">").text(&service.service).raw("</span>");
    if level != Level::Well {
        out.raw(" <strong class=\"level\">").raw(level.word()).raw("</strong>");
    }
    out.raw("</h3>\n<dl class=\"cause\">\n<div><dt>Why</dt><dd><span data-key=\"detail\">");
    out.text(&service.why.detail).raw("</span> <code data-key=\"reason\">");
    out.text(service.why.reason)
        .raw("</code></dd></div>\n<div><dt>What to do</dt><dd data-key=\"hint\">");
    out.text(&todo(service)).raw("</dd></div>\n</dl>\n").add(strip);
    out.raw("<dl class=\"facts\">\n");
    facts(&mut out, service, made);
    out.raw("<div><dt>Sources</dt><dd><ul class=\"findings\">\n");
    for (index, found) in service.findings.iter().enumerate() {
        finding(&mut out, node.sources.get(index).map(|source| source.kind), found);
    }
    out.raw("</ul></dd></div>\n</dl>\n</article>\n");
    out
}

/// What to do, where somebody has to do something.
fn todo(service: &Service) -> Cow<'static, str> {
    match (service.why.hint, &service.order) {
        (Some(hint), _) => hint.into(),
        (None, Some(order)) => orders::todo(order).into(),
        (None, None) if quiet(service).is_some() => ASK_HERE.into(),
        (None, None) => "nothing".into(),
    }
}

fn facts(out: &mut Html, service: &Service, made: SystemTime) {
    out.raw("<div><dt>HAProxy gets</dt><dd><code data-key=\"answer\">").text(&service.answer);
    out.raw("</code> (<span data-key=\"state\">").text(service.state).raw("</span>)</dd></div>\n");
    out.raw("<div><dt>Since</dt><dd data-key=\"since\">");
    match service.since_ms {
        Some(ms) => {
            moment_before(out, made, ms);
            out.raw(", for ");
            span(out, ms);
        }
        None => _ = out.raw("not announced yet"),
    }
    out.raw("</dd></div>\n<div><dt>Valid</dt><dd data-key=\"stands\">");
    valid(out, service);
    out.raw("</dd></div>\n");
    if let Some(ms) = service.seen_ms {
        out.raw("<div><dt>Rests on</dt><dd data-key=\"seen\">a poll of ");
        span(out, ms);
        out.raw(" ago</dd></div>\n");
    }
    if let Some(order) = &service.order {
        out.raw("<div><dt>Order</dt><dd>");
        orders::line(out, order, made);
        out.raw("</dd></div>\n");
    }
    out.raw("<div><dt>Asked last</dt><dd data-key=\"asked\">");
    asked(out, &service.asked);
    if let Some(quiet) = quiet(service).filter(|_| service.asked.last_ms.is_some()) {
        out.raw("; ").raw(quiet);
    }
    out.raw("</dd></div>\n");
}

/// For how long the answer is valid if nothing new is seen.
fn valid(out: &mut Html, service: &Service) {
    let Some(ms) = service.stands_ms else {
        out.raw("until something new is seen");
        return;
    };
    if service.held {
        out.raw("polls fail, and ").raw(badge(service.state).0).raw(" is kept for ");
        span(out, ms);
        out.raw(" more (<code>hold</code>)");
    } else if service.state == State::Ready.as_str() {
        out.raw("for ");
        span(out, ms);
        out.raw(" if no poll confirms it");
    } else {
        out.raw("for ");
        span(out, ms);
        out.raw(" if nothing new is seen");
    }
}

/// Who asked last, and how often what was answered.
fn asked(out: &mut Html, asked: &Asked) {
    let Some(ms) = asked.last_ms else {
        out.raw("no agent check has come yet");
        return;
    };
    out.raw("by <span data-key=\"by\">");
    out.text(asked.by.as_deref().unwrap_or("an unknown address")).raw("</span>, ");
    span(out, ms);
    out.raw(" ago; answered so far:");
    let counts = [
        (" ready ", asked.ready),
        (", drain ", asked.drain),
        (", not_ready ", asked.not_ready),
        (", unknown ", asked.unknown),
    ];
    for (word, count) in counts {
        out.raw(word).number(count);
    }
    // One HAProxy of several may be gone while another one goes on.
    let others = asked.askers.iter().filter(|asker| Some(&asker.by) != asked.by.as_ref());
    for other in others {
        out.raw("; ").text(&other.by).raw(" asked ");
        span(out, other.last_ms);
        out.raw(" ago");
    }
    if asked.strangers > 0 {
        out.raw("; ").number(asked.strangers).raw(" connections were closed that may not ask");
    }
}

/// What one source says about it.
fn finding(out: &mut Html, kind: Option<&'static str>, found: &Found) {
    let result = match found.says {
        "yes" => "positive result",
        "no" => "negative result",
        _ => "failed poll",
    };
    out.raw("<li data-key=\"finding\">")
        .raw(kind.unwrap_or("source"))
        .raw(": ")
        .raw(result)
        .raw(", ");
    out.text(&found.why.detail).raw("</li>\n");
}
