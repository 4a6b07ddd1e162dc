//! What is known, as a table for a terminal, and whether it is well, for a monitoring plug-in.
//!
//! It is read from the JSON of the status, so that an older or newer daemon can be shown too: what is
//! not there is shown as `-`.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::host::clock::wall_time;
use crate::look::measure;
use crate::look::text;
use crate::reply::asks::REGULAR;

/// Nobody having asked for this long is worth a word: HAProxy asks every few seconds.
const QUIET_MS: u64 = 30_000;

/// What a monitoring plug-in says by its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// All is as it should be.
    Well = 0,
    /// Something wants to be looked at: an order, a failed look, lag, nobody asks, or for nothing here.
    Warning = 1,
    /// Nothing is known of a node, or two may take writes, or none will.
    Critical = 2,
    /// The daemon cannot be asked.
    Unreachable = 3,
}

/// How well it is.
pub fn health(status: &Value) -> Health {
    let mut worst = Health::Well;
    if status["refused_config"].is_object()
        || status["orders_damaged"].is_string()
        || list(&status["orders"]).next().is_some()
    {
        worst = Health::Warning;
    }
    let asked_wrong =
        |question: &Value| question["last_ms"].as_u64().is_some_and(|ms| ms <= QUIET_MS);
    if list(&status["unknown_questions"]).any(asked_wrong) {
        worst = Health::Warning;
    }
    // It acts, or it cannot.
    if status["fence"]["acts"] == Value::Bool(true) || status["fence"]["error"].is_object() {
        worst = Health::Warning;
    }
    for node in list(&status["nodes"]) {
        let troubled = |source: &Value| {
            source["error"].is_object()
                || source["unlocked"] == Value::Bool(true)
                || list(&source["repmgrd"]).next().is_some()
        };
        if list(&node["sources"]).any(troubled) {
            worst = worst.max(Health::Warning);
        }
        for service in list(&node["services"]) {
            let alarm = service["alarm"].as_str();
            worst = worst.max(match service["state"].as_str() {
                Some("unknown") => Health::Critical,
                _ if alarm == Some("critical") => Health::Critical,
                Some("drain") => Health::Warning,
                _ if alarm.is_some() => Health::Warning,
                _ if service["order"].is_object() => Health::Warning,
                _ if quiet(service).is_some() || !lost(service).is_empty() => Health::Warning,
                _ => Health::Well,
            });
        }
    }
    worst
}

/// The table; colour says nothing that the words do not.
pub fn text(status: &Value, colour: bool) -> String {
    let head = ["NODE", "ROLE", "TL", "LAG", "SERVICE", "ANSWER", "WHY", "SINCE", "SEEN", "ASKED"];
    let mut rows = vec![head.map(str::to_owned)];
    for node in list(&status["nodes"]) {
        let name = word(&node["node"]);
        let lag = list(&node["sources"]).find_map(|source| source["lag_bytes"].as_u64());
        for service in list(&node["services"]) {
            let called = word(&service["service"]);
            let asked = &service["asked"];
            rows.push([
                name.clone(),
                word(&node["role"]),
                word(&node["timeline"]),
                lag.map_or_else(|| "-".to_owned(), measure::size),
                called.clone(),
                word(&service["state"]),
                why(service),
                ago(&service["since_ms"]),
                ago(&service["seen_ms"]),
                match asked["last_ms"].as_u64() {
                    Some(_) => format!("{} by {}", ago(&asked["last_ms"]), word(&asked["by"])),
                    None => "never".to_owned(),
                },
            ]);
        }
    }
    let colour = |at: usize, cell: &str| colour_of(cell).filter(|_| colour && at == 5);
    let mut out = table(&rows, colour);
    for note in notes(status) {
        // Writing to a string cannot fail.
        _ = writeln!(out, "{note}");
    }
    out
}

/// Rows of cells in columns, without colour.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    table(rows, |_, _| None)
}

/// Rows of cells in columns; `colour` gives the colour of a cell by its column.
fn table<R: AsRef<[String]>>(rows: &[R], colour: impl Fn(usize, &str) -> Option<u8>) -> String {
    let mut out = String::new();
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let wide = |at: usize| {
        rows.iter().filter_map(|row| row.as_ref().get(at)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..columns).map(|at| wide(at).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.as_ref().iter().zip(&widths).enumerate() {
            let shown = format!("{cell:width$}  ");
            match colour(at, cell) {
                // Writing to a string cannot fail.
                Some(code) => _ = write!(line, "\u{1b}[{code}m{shown}\u{1b}[0m"),
                None => line.push_str(&shown),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// What is worth a word beside the table, a line each.
pub(super) fn notes(status: &Value) -> Vec<String> {
    let (mut notes, mut orders) = (Vec::new(), Vec::new());
    for node in list(&status["nodes"]) {
        let name = word(&node["node"]);
        for service in list(&node["services"]) {
            // One order may be about many services of many nodes.
            if let Some(order) = order(&service["order"]).filter(|order| !orders.contains(order)) {
                orders.push(order.clone());
                notes.push(order);
            }
            let called = word(&service["service"]);
            let silent = quiet(service).into_iter().chain(lost(service));
            notes.extend(silent.map(|what| format!("{called}/{name}: {what}")));
        }
        for source in list(&node["sources"]) {
            for repmgrd in list(&source["repmgrd"]) {
                let (id, detail) = (word(&repmgrd["node_id"]), word(&repmgrd["detail"]));
                notes.push(format!("{name}: node {id}: {detail}"));
            }
            if source["unlocked"] == Value::Bool(true) {
                notes.push(format!(
                    "{name}: no node holds Patroni's leader lock; patronictl list shows which \
                     members may become the leader"
                ));
            }
            if let Some(detail) = source["error"]["detail"].as_str() {
                let kind = word(&source["kind"]);
                let detail = shown(detail);
                notes.push(format!("{name}: {kind}: the last poll failed: {detail}"));
            }
        }
    }
    for order in list(&status["orders"]).filter_map(order).filter(|o| !orders.contains(o)) {
        notes.push(format!(
            "{order} (not in effect: a more specific order overrides it, or its target is no \
             longer in the configuration)"
        ));
    }
    if let Some(detail) = status["refused_config"]["detail"].as_str() {
        let since = ago(&status["refused_config"]["since_ms"]);
        let detail = shown(detail);
        notes.push(format!(
            "the last reload was refused {since} ago, and the configuration from before it is \
             still in effect: {detail}"
        ));
    }
    notes.extend(list(&status["unknown_questions"]).map(unknown));
    notes.extend(fence(&status["fence"]));
    if let Some(damaged) = status["orders_damaged"].as_str() {
        notes.push(format!("orders: {}", shown(damaged)));
    }
    notes
}

/// Why a service is told what it is told; for one that is held also until when.
pub fn why(service: &Value) -> String {
    let detail = word(&service["detail"]);
    match service["stands_ms"].as_u64().filter(|_| service["held"] == Value::Bool(true)) {
        Some(ms) => format!("{detail}, held until {} ({})", time_in(ms), ago(&ms.into())),
        None => detail,
    }
}

/// The time of day in so many milliseconds.
fn time_in(ms: u64) -> String {
    let then = wall_time() + Duration::from_millis(ms);
    let text = humantime::format_rfc3339_seconds(then).to_string();
    text.split_once('T').map_or_else(|| text.clone(), |(_, time)| time.replace('Z', " UTC"))
}

/// An order that stands, in one line.
fn order(order: &Value) -> Option<String> {
    order.as_object()?;
    let of = |key: &str| word(&order[key]);
    let ends = match &order["ends_ms"] {
        ends if ends.is_u64() => format!("expires in {}", ago(ends)),
        _ => "until it is removed with `rolecall auto`".to_owned(),
    };
    let forced = if order["forced"] == Value::Bool(true) { ", by force" } else { "" };
    let why = order["why"].as_str().filter(|why| !why.is_empty());
    let why = why.map(|why| format!(": {}", shown(why))).unwrap_or_default();
    let waits = order["waits"] == Value::Bool(true);
    let waits = if waits { ", suspended until a poll shows that the node is fit" } else { "" };
    let given = order["since_ms"].is_u64().then(|| format!(", {} ago", ago(&order["since_ms"])));
    let given = given.unwrap_or_default();
    let (wish, target, by) = (of("order"), of("target"), of("by"));
    Some(format!("order: {wish} {target}, given by {by}{given}{forced}, {ends}{waits}{why}"))
}

/// What the fence does or did, in one line; nothing where it never had to.
fn fence(fence: &Value) -> Option<String> {
    let ended = fence["ended"].as_u64()?;
    let failed = fence["error"]["detail"].as_str();
    let failed = failed.map(|detail| format!("; the last attempt failed: {}", shown(detail)));
    let failed = failed.unwrap_or_default();
    if fence["acts"] == Value::Bool(true) {
        let (since, why) = (ago(&fence["since_ms"]), word(&fence["because"]["detail"]));
        return Some(format!(
            "fence: it has been ending sessions for {since} ({why}), {ended} so far{failed}"
        ));
    }
    let last = ago(&fence["last_ms"]);
    match (ended, failed.is_empty()) {
        (0, true) => None,
        (0, false) => Some(format!("fence: it has ended no session{failed}")),
        _ => Some(format!("fence: it has ended {ended} sessions, the last one {last} ago{failed}")),
    }
}

/// A question of agent-send that names nothing, in one line: its server stays in MAINT.
fn unknown(question: &Value) -> String {
    let of = |key: &str| word(&question[key]);
    let asked = question["question"].as_str().map(shown).unwrap_or_default();
    let (service, count, by, detail) = (of("service"), of("count"), of("by"), of("detail"));
    let last = ago(&question["last_ms"]);
    format!(
        "{service}: agent-send \"{asked}\" came {count} times, the last time {last} ago from \
         {by}: {detail}"
    )
}

/// A service that nobody asks is one whose HAProxy is gone, or asks elsewhere.
fn quiet(service: &Value) -> Option<String> {
    match service["asked"]["last_ms"].as_u64() {
        None => Some(
            "no agent check has come yet: is HAProxy running, is agent-port right, does a \
             firewall drop it?"
                .to_owned(),
        ),
        Some(ms) if ms > QUIET_MS => Some(format!(
            "no agent check for {}: is HAProxy running, is agent-port right, does a firewall drop it?",
            measure::age(Duration::from_millis(ms))
        )),
        Some(_) => None,
    }
}

/// Those that asked regularly and have stopped, while others go on: one HAProxy of several is gone, or can no
/// longer reach this host.
fn lost(service: &Value) -> Vec<String> {
    let askers = || list(&service["asked"]["askers"]);
    let since = |asker: &Value| asker["last_ms"].as_u64();
    let newest = askers().filter(|asker| since(asker).is_some_and(|ms| ms <= QUIET_MS));
    let Some(other) = newest.min_by_key(|asker| since(asker)) else { return Vec::new() };
    let regular = |asker: &&Value| asker["count"].as_u64().is_some_and(|count| count >= REGULAR);
    let gone = askers().filter(regular).filter(|asker| since(asker) > Some(QUIET_MS));
    let said = gone.map(|asker| {
        let (by, ms, goes_on) = (word(&asker["by"]), &asker["last_ms"], word(&other["by"]));
        format!(
            "no agent check from {by} for {}, while {goes_on} still asks: is HAProxy running there, does a firewall \
             drop it?",
            ago(ms)
        )
    });
    said.collect()
}

fn colour_of(state: &str) -> Option<u8> {
    match state {
        "ready" => Some(32),
        "drain" => Some(33),
        "unknown" => Some(31),
        _ => None,
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => shown(text),
        Value::Number(number) => number.to_string(),
        _ => "-".to_owned(),
    }
}

/// How long ago something was, or how long it lasts.
pub(super) fn ago(ms: &Value) -> String {
    ms.as_u64().map_or_else(|| "-".to_owned(), |ms| measure::age(Duration::from_millis(ms)))
}

/// A text from elsewhere without what a terminal would obey.
fn shown(text: &str) -> String {
    text::plain(text, 4 * 1024)
}
