//! Words that several commands say to a person, each of them in one way.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use serde_json::Value;

use crate::look::{measure, text};

/// Most bytes of a text from elsewhere.
const MOST_SHOWN: usize = 4 * 1024;

/// Signs on a line of a terminal that does not say how many it has.
const USUAL_WIDTH: usize = 80;

/// Signs on a line of the terminal, where there is one.
pub(crate) fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(match usize::from(size.ws_col) {
        0 => USUAL_WIDTH,
        columns => columns,
    })
}

/// Whether there is a terminal that wants colour.
pub(crate) fn colour() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !plain
}

/// The values of a list; none where it is none.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A text or a number; `-` where it is neither.
pub(crate) fn word(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => shown(text),
        Value::Number(number) => number.to_string(),
        _ => "-".to_owned(),
    }
}

/// A text from elsewhere without what a terminal would obey.
pub(crate) fn shown(text: &str) -> String {
    text::plain(text, MOST_SHOWN)
}

/// A time in milliseconds, in the two largest units that matter; `-` where it is none.
pub(crate) fn ago(ms: &Value) -> String {
    ms.as_u64().map_or_else(|| "-".to_owned(), lasting)
}

/// A time in milliseconds, in its two largest units.
pub(crate) fn lasting(ms: u64) -> String {
    measure::age(Duration::from_millis(ms))
}

/// The same with tenths of seconds below a minute: for what has been measured to its end.
pub(crate) fn lasted(ms: u64) -> String {
    if ms < 60_000 { measure::about(Duration::from_millis(ms)) } else { lasting(ms) }
}

/// What HAProxy is sent for a state by default, with the state where the two do not say the same.
pub(crate) fn answer_to(state: &str) -> String {
    answer(usual(state), state)
}

/// What HAProxy is sent by default for a state.
fn usual(state: &str) -> &'static str {
    match state {
        "ready" => "READY",
        "drain" => "DRAIN",
        _ => "MAINT",
    }
}

/// What HAProxy is sent, with the state where the two do not say the same.
fn answer(sent: &str, state: &str) -> String {
    let says = |word: &str| sent.split([' ', ',']).any(|sent| sent.eq_ignore_ascii_case(word));
    if state != "unknown" && says(usual(state)) {
        sent.to_owned()
    } else {
        format!("{sent} ({state})")
    }
}

/// What HAProxy is sent about a service of a node, as far as it is the same for every reason.
pub(crate) fn answer_of(service: &Value) -> String {
    let state = word(&service["state"]);
    // An older daemon does not say what it sends.
    let sent = service["answer"].as_str().map_or_else(|| usual(&state).to_owned(), shown);
    let sent = sent.split('#').next().unwrap_or_default().trim_end();
    let held = if service["held"] == Value::Bool(true) { ", held" } else { "" };
    format!("{}{held}", answer(sent, &state))
}

/// Why a service is told what it is told; of one that is held also until when.
pub(crate) fn why(service: &Value) -> String {
    let detail = word(&service["detail"]);
    match service["stands_ms"].as_u64().filter(|_| service["held"] == Value::Bool(true)) {
        Some(ms) => {
            let left = if ms < 60_000 { format!("{} s", ms.div_ceil(1000)) } else { lasting(ms) };
            format!("polls fail, MAINT in {left} unless one succeeds; last seen: {detail}")
        }
        None => detail,
    }
}

/// What a node is called: the one that has no name of its own is the host's.
pub(crate) fn node(name: &str, host: Option<&str>) -> String {
    match host {
        Some(host) if name == crate::config::LOCAL => host.to_owned(),
        _ => shown(name),
    }
}

/// A text in lines of at most `width` signs, each behind so many spaces; on one line where there is no width.
pub(crate) fn wrapped(text: &str, indent: usize, width: Option<usize>) -> String {
    let most = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(1));
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut long = 0;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if long > 0 && long + 1 + word.len() > most {
            lines.push(std::mem::take(&mut line));
            long = 0;
        }
        if long > 0 {
            line.push(' ');
            long += 1;
        }
        // Longer than a line alone.
        while word.len() > most {
            lines.push(word.drain(..most).collect());
        }
        long += word.len();
        line.extend(word);
    }
    lines.push(line);
    let lines = lines.into_iter().map(|line| format!("{:indent$}{line}\n", ""));
    lines.collect()
}

/// A line of at most so many signs.
pub(crate) fn cut(line: &str, width: Option<usize>) -> String {
    let Some(width) = width.filter(|width| line.chars().count() > *width) else {
        return line.to_owned();
    };
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_sent_is_said_and_the_state_where_it_says_more() {
        for (answer, state, said) in [
            ("READY", "ready", "READY"),
            ("MAINT", "not_ready", "MAINT"),
            ("MAINT", "unknown", "MAINT (unknown)"),
            ("DRAIN", "drain", "DRAIN"),
            ("up ready", "ready", "up ready"),
            ("maint up #no majority: 1 of 3 votes", "not_ready", "maint up"),
            ("maint up #timeout", "unknown", "maint up (unknown)"),
            ("down", "not_ready", "down (not_ready)"),
            ("drain", "not_ready", "drain (not_ready)"),
        ] {
            let service = json!({ "answer": answer, "state": state });
            assert_eq!(answer_of(&service), said);
        }
        assert_eq!(answer_of(&json!({ "state": "unknown" })), "MAINT (unknown)");
        assert_eq!(answer_to("ready"), "READY");
    }

    #[test]
    fn what_is_held_says_what_comes_and_when() {
        let mut service = json!({ "answer": "READY", "state": "ready", "held": true,
            "stands_ms": 2001, "detail": "is primary" });
        assert_eq!(answer_of(&service), "READY, held");
        let said = "polls fail, MAINT in 3 s unless one succeeds; last seen: is primary";
        assert_eq!(why(&service), said);
        service["stands_ms"] = json!(61_000);
        assert!(why(&service).contains("MAINT in 1 min 1 s unless"));
        service["held"] = json!(false);
        assert_eq!((answer_of(&service).as_str(), why(&service).as_str()), ("READY", "is primary"));
    }

    #[test]
    fn times_that_were_measured_have_tenths() {
        for (ms, one, other) in [
            (999, "999 ms", "999 ms"),
            (3_200, "3 s", "3.2 s"),
            (85_000, "1 min 25 s", "1 min 25 s"),
        ] {
            assert_eq!((lasting(ms).as_str(), lasted(ms).as_str()), (one, other));
        }
    }

    #[test]
    fn the_node_without_a_name_is_called_as_the_host() {
        assert_eq!(node("local", Some("db1")), "db1");
        assert_eq!(node("local", None), "local");
        assert_eq!(node("pg1", Some("db1")), "pg1");
    }

    #[test]
    fn lines_are_wrapped_between_words_and_within_long_ones() {
        assert_eq!(wrapped("one two three", 2, Some(9)), "  one two\n  three\n");
        assert_eq!(wrapped("abcdefgh ij", 0, Some(3)), "abc\ndef\ngh\nij\n");
        assert_eq!(wrapped("one two three", 2, None), "  one two three\n");
        assert_eq!(cut("abcdef", Some(4)), "abc…");
        assert_eq!(cut("abcd", Some(4)), "abcd");
    }

    proptest! {
        #[test]
        fn no_line_is_longer_than_it_may_be_and_no_word_is_lost(
            text in "[a-zäö ]{0,80}", indent in 0usize..6, width in 8usize..40,
        ) {
            let wrapped = wrapped(&text, indent, Some(width));
            prop_assert!(wrapped.lines().all(|line| line.chars().count() <= width));
            let only = |text: &str| -> String { text.chars().filter(|c| !c.is_whitespace()).collect() };
            prop_assert_eq!(only(&wrapped), only(&text));
        }
    }
}
