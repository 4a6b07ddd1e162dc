//! The bytes of the agent protocol against a model of HAProxy that reads them.

use proptest::prelude::*;
use rolecall::reply::grammar::{Admin, Health, LineError, MAX_DESCRIPTION, MAX_LINE, Reply};
use rolecall::reply::wording::{Custom, Wording, WordingError};
use rolecall::verdict::state::State;

/// What HAProxy takes from an answer, as its `tcpcheck_agent_expect_reply()` does: the line ends at
/// the first newline or carriage return, words are separated by blanks, tabs and commas and compared
/// without case, the last word of a category counts, and `#` at the beginning of a word starts a
/// description that counts only beside a health word.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    health: Option<Health>,
    admin: Option<Admin>,
    weight: Option<u16>,
    maxconn: Option<u32>,
    description: Option<String>,
    unknown: Option<String>,
}

fn haproxy(bytes: &[u8]) -> Option<Heard> {
    let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'))?;
    let line = &bytes[..end];
    if line.contains(&0) {
        return None;
    }
    let line = String::from_utf8_lossy(line).into_owned();
    let mut heard = Heard::default();
    let separator = |c| matches!(c, ' ' | '\t' | ',');
    let mut rest = line.trim_start_matches(separator);
    while !rest.is_empty() {
        if let Some(text) = rest.strip_prefix('#') {
            let text = text.trim_start_matches([' ', '\t']);
            let cut: String = text.chars().take(127).collect();
            heard.description = Some(cut).filter(|d| !d.is_empty() && heard.health.is_some());
            break;
        }
        let (word, after) = rest.split_at(rest.find(separator).unwrap_or(rest.len()));
        hear(&mut heard, &word.to_lowercase());
        rest = after.trim_start_matches(separator);
    }
    Some(heard)
}

fn hear(heard: &mut Heard, word: &str) {
    match word {
        "up" => heard.health = Some(Health::Up),
        "down" => heard.health = Some(Health::Down),
        "stopped" => heard.health = Some(Health::Stopped),
        "fail" => heard.health = Some(Health::Fail),
        "ready" => heard.admin = Some(Admin::Ready),
        "drain" => heard.admin = Some(Admin::Drain),
        "maint" => heard.admin = Some(Admin::Maint),
        _ if word.starts_with("maxconn:") => heard.maxconn = word[8..].parse().ok(),
        _ if word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('%') => {
            heard.weight = word.strip_suffix('%').and_then(|n| n.parse().ok());
        }
        _ => heard.unknown = heard.unknown.take().or(Some(word.to_owned())),
    }
}

/// Everything a line must be, whoever wrote it.
fn assert_sound(bytes: &[u8]) {
    assert_eq!(bytes.iter().position(|b| *b == b'\n'), Some(bytes.len() - 1), "{bytes:?}");
    assert!(bytes[..bytes.len() - 1].iter().all(|b| matches!(b, b' '..=b'~')), "{bytes:?}");
}

fn meaning(reply: &Reply) -> Heard {
    Heard {
        health: reply.health,
        admin: reply.admin,
        weight: reply.weight,
        maxconn: reply.maxconn,
        description: reply.description.clone(),
        unknown: None,
    }
}

/// Text made of the protocol's own pieces, so that much of it is accepted.
fn likely_text() -> impl Strategy<Value = String> {
    const PIECES: [&str; 26] = [
        "up",
        "UP",
        "down",
        "Stopped",
        "fail",
        "failed",
        "ready",
        "READY",
        "drain",
        "maint",
        "75%",
        "0%",
        "100%",
        "101%",
        "12.5%",
        "75",
        "maxconn:",
        "maxconn:30",
        "maxconn:0",
        "weight:40",
        "#",
        "# a b",
        "%",
        "é",
        "\n",
        "\0",
    ];
    const GAPS: [&str; 6] = [" ", " ", " ", ",", "\t", ""];
    let piece = (proptest::sample::select(&PIECES[..]), proptest::sample::select(&GAPS[..]));
    proptest::collection::vec(piece, 0..6)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(piece, gap)| [piece, gap]).collect())
}

/// A line that is fit for one of the four states more often than not.
fn likely_line() -> impl Strategy<Value = String> {
    let health = proptest::sample::select(&["", "up", "up", "down", "fail"][..]);
    let admin = proptest::sample::select(&["", "ready", "READY", "drain", "maint"][..]);
    let numbers = proptest::sample::select(&["", "", "50%", "maxconn:9", "0% maxconn:1"][..]);
    (health, admin, numbers).prop_map(|(health, admin, numbers)| [health, admin, numbers].join(" "))
}

proptest! {
    #[test]
    fn haproxy_hears_what_a_reply_means(text in prop_oneof![likely_text(), any::<String>()]) {
        if let Ok(reply) = Reply::parse(&text) {
            assert_sound(reply.line());
            prop_assert_eq!(haproxy(reply.line()), Some(meaning(&reply)));
        }
    }

    #[test]
    fn every_refusal_is_explained(text in prop_oneof![likely_text(), any::<String>()]) {
        if let Err(error) = Reply::parse(&text) {
            prop_assert!(!error.to_string().is_empty());
            prop_assert!(!error.expected().is_empty());
            prop_assert!(!error.hint().is_empty());
        }
    }

    #[test]
    fn any_reason_makes_one_sound_line(reason in any::<String>()) {
        let wording = Wording::full();
        for (state, admin) in [
            (State::NotReady, Admin::Maint),
            (State::Drain, Admin::Drain),
            (State::Unknown, Admin::Maint),
        ] {
            let line = wording.line(state, &reason);
            assert_sound(&line);
            let heard = haproxy(&line).expect("a whole line");
            prop_assert_eq!(heard.admin, Some(admin));
            prop_assert_eq!(heard.health, Some(Health::Up));
            prop_assert_eq!(heard.unknown, None);
        }
    }

    /// A node that HAProxy took out by any line of an accepted wording is in service again after
    /// the ready line, with the weight and the limit of that line.
    #[test]
    fn whatever_was_said_before_ready_puts_the_node_in_service(
        texts in proptest::array::uniform4(likely_line()),
        given in any::<[bool; 2]>(),
        serves_primary in any::<bool>(),
    ) {
        let [ready, not_ready, drain, unknown] = &texts;
        let drain = given[0].then_some(drain.as_str());
        let unknown = given[1].then_some(unknown.as_str());
        if let Ok(wording) = Wording::custom(custom(ready, not_ready, drain, unknown), serves_primary) {
            assert_lifted(&wording, serves_primary);
        }
    }
}

/// A server of HAProxy as far as an agent moves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Server {
    down: bool,
    admin: Option<Admin>,
    weight: Option<u16>,
    maxconn: Option<u32>,
}

impl Server {
    fn hears(&mut self, line: &[u8]) {
        let heard = haproxy(line).expect("a whole line");
        self.down = heard.health.map_or(self.down, |health| health != Health::Up);
        self.admin = heard.admin.or(self.admin);
        self.weight = heard.weight.or(self.weight);
        self.maxconn = heard.maxconn.or(self.maxconn);
    }

    fn in_service(&self) -> bool {
        !self.down && !matches!(self.admin, Some(Admin::Maint | Admin::Drain))
    }
}

fn assert_lifted(wording: &Wording, serves_primary: bool) {
    let mut fresh = Server::default();
    fresh.hears(&wording.line(State::Ready, &""));
    assert!(fresh.in_service() && fresh.weight != Some(0), "{wording:?}");
    for state in [State::NotReady, State::Drain, State::Unknown] {
        let mut server = fresh.clone();
        let line = wording.line(state, &"");
        assert_sound(&line);
        server.hears(&line);
        assert!(!server.in_service(), "{wording:?} {state:?}");
        if serves_primary && state != State::Drain {
            assert!(server.down || server.admin == Some(Admin::Maint), "{wording:?} {state:?}");
        }
        server.hears(&wording.line(State::Ready, &""));
        assert!(server.in_service(), "{wording:?} {state:?}");
        assert_eq!((server.weight, server.maxconn), (fresh.weight, fresh.maxconn), "{wording:?}");
    }
}

fn lines(wording: &Wording, reason: &str) -> [String; 4] {
    [State::Ready, State::NotReady, State::Drain, State::Unknown]
        .map(|state| String::from_utf8(wording.line(state, &reason).into_owned()).expect("ASCII"))
}

#[test]
fn the_plain_wording_is_exact() {
    assert_eq!(lines(&Wording::plain(), "x"), ["READY\n", "MAINT\n", "DRAIN\n", "MAINT\n"]);
    assert_lifted(&Wording::plain(), true);
}

#[test]
fn the_full_wording_is_exact() {
    assert_eq!(
        lines(&Wording::full(), "in recovery\nmaint\u{1b}[31m é"),
        [
            "up ready\n",
            "maint up #in recovery?maint?[31m ?\n",
            "drain up #in recovery?maint?[31m ?\n",
            "maint up #in recovery?maint?[31m ?\n",
        ]
    );
    assert_lifted(&Wording::full(), true);
}

#[test]
fn a_long_reason_is_cut_where_haproxy_would_cut_it() {
    let line = Wording::full().line(State::NotReady, &"r".repeat(100_000)).into_owned();
    assert_eq!(line.len(), "maint up #".len() + MAX_DESCRIPTION + 1);
}

#[test]
fn lines_keep_their_spelling() {
    for (text, bytes) in [
        ("READY", "READY\n"),
        ("Up,ready 75%", "Up,ready 75%\n"),
        (" up\tready", " up ready\n"),
        ("down #disk, full #2", "down #disk, full #2\n"),
        ("MaxConn:30 ready", "MaxConn:30 ready\n"),
    ] {
        assert_eq!(Reply::parse(text).expect(text).line(), bytes.as_bytes());
    }
}

#[test]
fn what_haproxy_would_misread_is_refused() {
    let word = |w: &str| w.to_owned();
    let long = format!("up #{}", "d".repeat(MAX_DESCRIPTION + 1));
    let endless = "up ".repeat(MAX_LINE);
    let twice = |first: &str, second: &str| LineError::Twice {
        first: first.to_owned(),
        second: second.to_owned(),
    };
    let byte = |byte, offset| LineError::Unprintable { byte, offset };
    for (text, error) in [
        ("", LineError::Empty),
        (" ,\t", LineError::Empty),
        ("hello", LineError::Unknown(word("hello"))),
        ("ready failed", LineError::Unknown(word("failed"))),
        ("maint;", LineError::Unknown(word("maint;"))),
        ("ready\n", byte(b'\n', 5)),
        ("ready\r", byte(b'\r', 5)),
        ("re\0ady", byte(0, 2)),
        ("down #é", byte(0xC3, 6)),
        ("ready#primary", LineError::Glued(word("ready#primary"))),
        ("ready maint", twice("ready", "maint")),
        ("up DOWN", twice("up", "DOWN")),
        ("10% 20%", twice("10%", "20%")),
        ("maxconn:1 maxconn:2", twice("maxconn:1", "maxconn:2")),
        ("maint #standby", LineError::LoneDescription),
        ("#standby", LineError::LoneDescription),
        (long.as_str(), LineError::LongDescription(MAX_DESCRIPTION + 1)),
        (endless.as_str(), LineError::TooLong(3 * MAX_LINE)),
        ("75", LineError::Weight(word("75"))),
        ("12.5%", LineError::Weight(word("12.5%"))),
        ("75%%", LineError::Weight(word("75%%"))),
        ("-5%", LineError::Weight(word("-5%"))),
        ("%", LineError::Weight(word("%"))),
        ("101%", LineError::Weight(word("101%"))),
        ("999999999999%", LineError::Weight(word("999999999999%"))),
        ("ready weight:40", LineError::AbsoluteWeight(word("weight:40"))),
        ("maxconn:0", LineError::NoMaxconn(word("maxconn:0"))),
        ("maxconn:-1", LineError::Maxconn(word("maxconn:-1"))),
        ("maxconn:+1", LineError::Maxconn(word("maxconn:+1"))),
        ("maxconn:", LineError::Maxconn(word("maxconn:"))),
        ("maxconn:4294967295", LineError::Maxconn(word("maxconn:4294967295"))),
        ("drain 50%", LineError::DrainWithWeight(word("50%"))),
    ] {
        assert_eq!(Reply::parse(text), Err(error), "{text:?}");
    }
}

fn custom<'t>(
    ready: &'t str,
    not_ready: &'t str,
    drain: Option<&'t str>,
    unknown: Option<&'t str>,
) -> Custom<'t> {
    Custom { ready, not_ready, drain, unknown }
}

#[test]
fn lines_left_out_follow_from_the_others() {
    for (ready, not_ready, drain) in [
        ("READY", "MAINT", "DRAIN\n"),
        ("up ready", "maint up", "drain up\n"),
        ("up", "down", "down\n"),
        ("up 100%", "stopped", "stopped\n"),
    ] {
        let wording = Wording::custom(custom(ready, not_ready, None, None), true).expect(ready);
        let [_, not_ready_line, drain_line, unknown_line] = lines(&wording, "");
        assert_eq!(drain_line, drain);
        assert_eq!(unknown_line, not_ready_line);
    }
}

#[test]
fn a_replica_may_be_drained_where_a_primary_may_not() {
    let drained = custom("ready", "drain", None, None);
    assert!(Wording::custom(drained, false).is_ok());
    assert_eq!(
        Wording::custom(drained, true),
        Err(vec![WordingError::DrainsPrimary { line: "not_ready" }])
    );
}

#[test]
fn a_set_that_never_lets_a_node_back_is_refused() {
    let lifted = |missing, line, says| WordingError::NeverLifted { missing, line, says };
    let restored = |missing, line| WordingError::NeverRestored { missing, line };
    for (set, errors) in [
        (custom("up", "maint", None, None), vec![lifted("ready", "not_ready", "maint")]),
        (custom("READY", "down", None, None), vec![lifted("up", "not_ready", "down")]),
        (custom("READY", "MAINT", None, Some("fail")), vec![lifted("up", "unknown", "fail")]),
        (custom("up", "down", Some("drain"), None), vec![lifted("ready", "drain", "drain")]),
        (custom("ready", "maint 0%", None, None), vec![restored("weight", "not_ready")]),
        (
            custom("ready", "maint", None, Some("maint maxconn:1")),
            vec![restored("maxconn", "unknown")],
        ),
        (custom("ready", "up", None, None), vec![WordingError::StaysIn { line: "not_ready" }]),
        (custom("ready 50%", "0%", None, None), vec![WordingError::StaysIn { line: "not_ready" }]),
        (custom("ready 0%", "maint", None, None), vec![WordingError::ReadyTakesOut("0%")]),
        (
            custom("down maint", "down maint", None, None),
            vec![WordingError::ReadyTakesOut("down"), WordingError::ReadyTakesOut("maint")],
        ),
        (
            custom("read", "maint #x", Some("drain 1%"), None),
            vec![
                WordingError::Line { line: "ready", error: LineError::Unknown("read".to_owned()) },
                WordingError::Line { line: "not_ready", error: LineError::LoneDescription },
                WordingError::Line {
                    line: "drain",
                    error: LineError::DrainWithWeight("1%".to_owned()),
                },
            ],
        ),
    ] {
        assert_eq!(Wording::custom(set, true), Err(errors), "{set:?}");
    }
}
