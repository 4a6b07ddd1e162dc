//! The history of one service as a picture: a strip over time, and its last changes in words.
//!
//! What was so is told by height and pattern as well as by colour. What nobody recorded is hatched, and said.

use std::fmt::Write as _;
use std::time::SystemTime;

use crate::report::history::page::Change;
use crate::report::page::html::Html;
use crate::report::page::words::{badge, in_words, moment_before, span};
use crate::verdict::state::State;

/// Most changes of one service that are drawn, the newest ones.
pub const MOST_DRAWN: usize = 100;
/// Most changes of one service that are told in words, the newest ones.
pub const MOST_TOLD: usize = 4;

/// How much time a strip may cover: the least that has all that is known, or the last.
const WINDOWS: [u64; 10] = [
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    60 * MINUTE,
    3 * 60 * MINUTE,
    6 * 60 * MINUTE,
    12 * 60 * MINUTE,
    LONGEST,
];
/// Milliseconds of a minute.
const MINUTE: u64 = 60_000;
/// Most that a strip covers, in milliseconds.
pub const LONGEST: u64 = 24 * 60 * 60_000;

/// Units from the left end of a strip to the right one.
const WIDE: u64 = 1000;
/// Least units of what lasted too short to be seen.
const LEAST: u64 = 4;

/// The window that all strips of a page have.
pub(crate) fn window(changes: &[Change]) -> u64 {
    let oldest = changes.iter().map(|change| change.ago_ms).max().unwrap_or(0);
    WINDOWS.into_iter().find(|window| *window >= oldest).unwrap_or(LONGEST)
}

/// The patterns that the strips are filled with.
pub(crate) const PATTERNS: &str = "<svg class=\"patterns\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\
    <pattern id=\"hatch\" width=\"10\" height=\"10\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
    <rect class=\"h-line\" width=\"1\" height=\"10\"/></pattern>\
    <pattern id=\"dense\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(-45)\">\
    <rect class=\"h-edge\" width=\"3\" height=\"6\"/></pattern></defs></svg>\n";

/// What was so for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part<'a> {
    /// Its beginning and its end, in milliseconds before now.
    from: u64,
    to: u64,
    change: Option<&'a Change>,
}

/// How something is drawn and called.
fn drawn(to: &str) -> (&'static str, &'static str) {
    if [State::Ready, State::Drain, State::NotReady, State::Unknown]
        .iter()
        .any(|of| of.as_str() == to)
    {
        let (word, class) = badge(to);
        return (if class == "unknown" { "MAINT, nothing was known" } else { word }, class);
    }
    ("not recorded", "none")
}

/// The strip of these changes, which are of one service and the oldest first.
pub(crate) fn figure(changes: &[&Change], window: u64, made: SystemTime) -> Html {
    let mut out = Html::new();
    let parts = parts(changes, window);
    out.raw("<figure class=\"strip\">\n<svg viewBox=\"0 0 1000 24\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"");
    label(&mut out, &parts, window);
    out.raw("\">");
    for part in &parts {
        rect(&mut out, part, window, false);
    }
    // What lasted too short to be seen lies on top of what surrounds it.
    for part in parts.iter().filter(|part| wide(part, window) < LEAST) {
        rect(&mut out, part, window, true);
    }
    out.raw("</svg>\n<p class=\"axis\" aria-hidden=\"true\"><span>").text(&in_words_short(window));
    out.raw(" ago</span><span>now</span></p>\n<figcaption>\n");
    told(&mut out, changes, made);
    out.raw("</figcaption>\n</figure>\n");
    out
}

/// The parts of the window, the oldest first; without a gap.
fn parts<'a>(changes: &[&'a Change], window: u64) -> Vec<Part<'a>> {
    let shown = &changes[changes.len().saturating_sub(MOST_DRAWN)..];
    let mut parts = Vec::new();
    let begins = shown.first().map_or(0, |change| change.ago_ms);
    if begins < window {
        parts.push(Part { from: window, to: begins, change: None });
    }
    for change in shown {
        let to = change.lasted_ms.map_or(0, |lasted| change.ago_ms.saturating_sub(lasted));
        if to < window {
            parts.push(Part { from: change.ago_ms.min(window), to, change: Some(change) });
        }
    }
    parts
}

/// Units from the left end to so long ago.
fn at(ago: u64, window: u64) -> u64 {
    WIDE - WIDE.saturating_mul(ago.min(window)) / window.max(1)
}

fn wide(part: &Part<'_>, window: u64) -> u64 {
    at(part.to, window).saturating_sub(at(part.from, window))
}

fn rect(out: &mut Html, part: &Part<'_>, window: u64, least: bool) {
    let (word, class) = part.change.map_or(("not recorded", "none"), |change| drawn(change.to));
    let wide = if least { LEAST } else { wide(part, window) };
    if wide == 0 {
        return;
    }
    let x = at(part.from, window).min(WIDE - LEAST);
    let (y, height) = match class {
        "ready" | "none" => (0, 24),
        "drain" => (7, 17),
        _ => (14, 10),
    };
    out.raw("<rect class=\"h-").raw(class).raw("\" x=\"").number(x).raw("\" y=\"").number(y);
    out.raw("\" width=\"").number(wide).raw("\" height=\"").number(height).raw("\"");
    match class {
        "none" => _ = out.raw(" fill=\"url(#hatch)\""),
        "unknown" => _ = out.raw(" fill=\"url(#dense)\""),
        _ => {}
    }
    out.raw("><title>").raw(word).raw(" for ");
    out.text(&in_words(part.from.saturating_sub(part.to)));
    if let Some(change) = part.change {
        out.raw(", from ").text(&change.at);
        if let Some(detail) = &change.detail {
            out.raw(": ").text(detail);
        }
    } else {
        out.raw(": nobody kept what was so");
    }
    out.raw("</title></rect>");
}

/// What somebody is told who does not see the picture.
fn label(out: &mut Html, parts: &[Part<'_>], window: u64) {
    let mut words = format!("Answers of the last {}:", in_words_short(window));
    let told = parts.len().saturating_sub(MOST_TOLD);
    if told > 0 {
        // Writing to a string cannot fail.
        _ = write!(words, " {told} earlier ones;");
    }
    for part in &parts[told..] {
        let (word, _) = part.change.map_or(("not recorded", "none"), |change| drawn(change.to));
        _ = write!(words, " {word} for {};", in_words(part.from.saturating_sub(part.to)));
    }
    out.text(words.trim_end_matches(';'));
}

/// The last changes, the newest first.
fn told(out: &mut Html, changes: &[&Change], made: SystemTime) {
    if changes.is_empty() {
        out.raw("<p>No change is recorded.</p>\n");
        return;
    }
    out.raw("<ol class=\"changes\">\n");
    for change in changes.iter().rev().take(MOST_TOLD) {
        out.raw("<li data-key=\"change\">");
        moment_before(out, made, change.ago_ms);
        out.raw(" <b>").raw(drawn(change.to).0).raw("</b>");
        if let Some(detail) = &change.detail {
            out.raw(" ").text(detail);
        }
        if let Some(lasted) = change.lasted_ms {
            out.raw(", for ");
            span(out, lasted);
        }
        out.raw("</li>\n");
    }
    out.raw("</ol>\n");
}

/// A whole number of hours or minutes.
fn in_words_short(ms: u64) -> String {
    match ms / MINUTE {
        minutes if minutes >= 60 => format!("{} h", minutes / 60),
        minutes => format!("{minutes} min"),
    }
}

/// What the heights, patterns and colours mean, in words.
pub(crate) fn legend() -> Html {
    let mut out = Html::new();
    out.raw("<p class=\"legend\"><span>A strip shows what HAProxy was told over time:</span>");
    let signs = [
        ("<rect class=\"h-ready\" width=\"24\" height=\"24\"/>", "READY"),
        ("<rect class=\"h-drain\" y=\"7\" width=\"24\" height=\"17\"/>", "DRAIN"),
        ("<rect class=\"h-maint\" y=\"14\" width=\"24\" height=\"10\"/>", "MAINT"),
        (
            "<rect class=\"h-unknown\" y=\"14\" width=\"24\" height=\"10\" fill=\"url(#dense)\"/>",
            "MAINT, nothing was known",
        ),
        (
            "<rect class=\"h-none\" width=\"24\" height=\"24\" fill=\"url(#hatch)\"/>",
            "not recorded",
        ),
    ];
    for (sign, word) in signs {
        out.raw(" <span class=\"sign\"><svg viewBox=\"0 0 24 24\" width=\"18\" height=\"18\" aria-hidden=\"true\">");
        out.raw(sign).raw("</svg> ").raw(word).raw("</span>");
    }
    out.raw("</p>\n");
    out
}
