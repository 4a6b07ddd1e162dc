//! Times and states in a person's words.

use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;

use crate::look::measure;
use crate::report::page::html::Html;
use crate::report::status::Explained;
use crate::verdict::state::State;

/// What HAProxy makes of a state, as every wording says it in one way or another.
pub(crate) fn badge(state: &str) -> (&'static str, &'static str) {
    if state == State::Ready.as_str() {
        ("READY", "ready")
    } else if state == State::Drain.as_str() {
        ("DRAIN", "drain")
    } else if state == State::NotReady.as_str() {
        ("MAINT", "maint")
    } else {
        ("MAINT", "unknown")
    }
}

/// A length of time, in words.
pub(crate) fn in_words(ms: u64) -> String {
    measure::age(Duration::from_millis(ms))
}

/// The same in words and for a program.
pub(crate) fn span(out: &mut Html, ms: u64) {
    out.raw("<time datetime=\"PT").number(ms / 1000).raw(".");
    out.text(&format!("{:03}", ms % 1000)).raw("S\">").text(&in_words(ms)).raw("</time>");
}

/// The moment so long before the page was made; the day only where it is another one.
pub(crate) fn moment_before(out: &mut Html, made: SystemTime, ms: u64) {
    let then = made.checked_sub(Duration::from_millis(ms)).unwrap_or(SystemTime::UNIX_EPOCH);
    moment(out, made, then);
}

/// The moment so long after the page was made.
pub(crate) fn moment_after(out: &mut Html, made: SystemTime, ms: u64) {
    match made.checked_add(Duration::from_millis(ms)).filter(|then| *then < last()) {
        Some(then) => moment(out, made, then),
        None => _ = out.raw("later than the year 9999"),
    }
}

/// A moment with its day.
pub(crate) fn day_and_time(out: &mut Html, moment: SystemTime) {
    let text = format_rfc3339_seconds(moment.min(last())).to_string();
    out.raw("<time datetime=\"").text(&text).raw("\">");
    out.text(&text.replace('T', " ").replace('Z', " UTC")).raw("</time>");
}

fn moment(out: &mut Html, made: SystemTime, then: SystemTime) {
    let (text, today) = (rfc3339(then), rfc3339(made));
    let same_day = text.get(..10) == today.get(..10);
    let shown = if same_day { text.get(11..).unwrap_or(&text) } else { &text };
    out.raw("<time datetime=\"").text(&text).raw("\">");
    out.text(&shown.replace('T', " ").replace('Z', " UTC")).raw("</time>");
}

fn rfc3339(moment: SystemTime) -> String {
    format_rfc3339_seconds(moment.min(last())).to_string()
}

/// The last moment that has four figures for its year.
fn last() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

/// A cause, its word, and what to do.
pub(crate) fn explained(out: &mut Html, why: &Explained) {
    out.text(&why.detail).raw(" <code>").raw(why.reason).raw("</code>");
    if let Some(hint) = why.hint {
        out.raw(" <span class=\"todo\"><b>What to do:</b> ").text(hint).raw("</span>");
    }
}
