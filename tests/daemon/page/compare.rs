//! Whether what is seen is what /status says of the same moment.

use rolecall::cli::overview::{Health, health};
use serde_json::Value;

use super::stage::{PATIENCE, Stage};
use crate::fixtures::{Browser, eventually};

/// What somebody sees.
pub const SEES: &str = include_str!("sees.js");

/// Waits until the page shows what /status says both before it and after it; what is seen then.
pub fn agrees(browser: &Browser, stage: &Stage) -> Value {
    eventually(PATIENCE, "the page says what /status says", || {
        let before = stage.status();
        browser.open(&stage.url());
        let seen = browser.run(SEES);
        let after = stage.status();
        let mut wrong = Vec::new();
        compare(&mut wrong, &seen, (&before, &after));
        if wrong.is_empty() { Ok(seen) } else { Err(wrong) }
    })
}

/// As a browser renders a text.
fn rendered(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => rendered(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Notes what is otherwise.
fn same(wrong: &mut Vec<String>, what: &str, seen: &Value, said: &Value) {
    if text(seen) != text(said) {
        wrong.push(format!("{what}: seen {seen}, said {said}"));
    }
}

/// What is not in a text that is seen.
fn has(wrong: &mut Vec<String>, what: &str, seen: &Value, said: &Value) {
    let said = text(said);
    if !text(seen).contains(&said) {
        wrong.push(format!("{what}: {seen} has no {said:?}"));
    }
}

/// Of an age: what is seen lies between what was said before it and after it.
fn between(wrong: &mut Vec<String>, key: &str, seen: &Value, (before, after): (&Value, &Value)) {
    let said = (before[key].as_u64(), after[key].as_u64());
    match (seen[key].as_u64(), said) {
        (None, (None, None)) => {}
        // Of what is counted anew by each poll there is no more to be said than that it is there.
        (Some(_), (Some(before), Some(after))) if after < before || key != "since_ms" => {}
        (Some(ms), (Some(before), Some(after))) if (before..=after).contains(&ms) => {}
        (ms, said) => wrong.push(format!("{key}: seen {ms:?}, said {said:?}")),
    }
}

fn compare(wrong: &mut Vec<String>, seen: &Value, (before, after): (&Value, &Value)) {
    let level = text(&seen["level"]);
    let told = match health(after) {
        Health::Well => level == "All is well",
        Health::Warning => level.contains("warning") && !level.contains("critical"),
        _ => level.contains("critical"),
    };
    if !told {
        wrong.push(format!("{level:?} is not {:?}", health(after)));
    }
    same(wrong, "orders_damaged", &seen["damaged"], &after["orders_damaged"]);
    same(wrong, "refused_config", &seen["refused"], &after["refused_config"]["detail"]);
    let (orders, nodes) = (list(&after["orders"]), list(&after["nodes"]));
    if list(&seen["orders"]).len() != orders.len() {
        wrong.push(format!("orders: {} of {}", list(&seen["orders"]).len(), orders.len()));
    }
    for (order, seen) in orders.iter().zip(list(&seen["orders"])) {
        for key in ["order", "target", "by", "why"] {
            has(wrong, key, seen, &order[key]);
        }
        let ends = if order["ends_ms"].is_u64() { "UTC, for" } else { "until it is removed" };
        has(wrong, "ends_ms", seen, &ends.into());
    }
    for (question, seen) in list(&after["unknown_questions"]).iter().zip(list(&seen["questions"])) {
        for key in ["service", "question", "count", "by", "detail"] {
            has(wrong, key, seen, &question[key]);
        }
    }
    if list(&seen["nodes"]).len() != nodes.len() {
        wrong.push("another number of nodes".to_owned());
    }
    for (index, seen) in list(&seen["nodes"]).iter().enumerate() {
        node(wrong, seen, (&before["nodes"][index], &after["nodes"][index]));
    }
}

fn node(wrong: &mut Vec<String>, seen: &Value, (before, after): (&Value, &Value)) {
    for key in ["node", "timeline", "cluster"] {
        same(wrong, key, &seen[key], &after[key]);
    }
    let unknown = Value::from("role unknown");
    let role = if after["role"].is_null() { &unknown } else { &after["role"] };
    same(wrong, "role", &seen["role"], role);
    let both =
        |key: &str| [list(&before[key]).len(), list(&after[key]).len(), list(&seen[key]).len()];
    for key in ["services", "sources"] {
        let [a, b, c] = both(key);
        if a != b || b != c {
            wrong.push(format!("{key}: {a}, {b}, seen {c}"));
        }
    }
    for (index, seen) in list(&seen["services"]).iter().enumerate() {
        service(wrong, seen, (&before["services"][index], &after["services"][index]));
    }
    for (index, seen) in list(&seen["sources"]).iter().enumerate() {
        source(wrong, seen, (&before["sources"][index], &after["sources"][index]));
    }
}

fn service(wrong: &mut Vec<String>, seen: &Value, (before, after): (&Value, &Value)) {
    for key in ["service", "state", "answer", "detail", "reason"] {
        same(wrong, key, &seen[key], &before[key]);
        same(wrong, key, &seen[key], &after[key]);
    }
    let badge = match after["state"].as_str() {
        Some("ready") => "READY",
        Some("drain") => "DRAIN",
        _ => "MAINT",
    };
    same(wrong, "badge", &seen["badge"], &badge.into());
    if after["hint"].is_string() {
        same(wrong, "hint", &seen["hint"], &after["hint"]);
    }
    for key in ["since_ms", "stands_ms", "seen_ms"] {
        between(wrong, key, seen, (before, after));
    }
    let asked = &after["asked"];
    if asked["last_ms"].is_u64() {
        has(wrong, "by", &seen["asked"], &asked["by"]);
        let [ready, drain, not_ready, unknown] =
            ["ready", "drain", "not_ready", "unknown"].map(|key| asked[key].clone());
        let counts =
            format!("ready {ready}, drain {drain}, not_ready {not_ready}, unknown {unknown}");
        has(wrong, "asked", &seen["asked"], &counts.into());
        for asker in list(&asked["askers"]) {
            has(wrong, "asker", &seen["asked"], &asker["by"]);
        }
    } else {
        same(wrong, "asked", &seen["asked"], &"no agent check has come yet".into());
    }
    same(wrong, "order", &seen["order"], &after["order"]["order"]);
    let findings = list(&after["findings"]);
    if findings.len() != list(&seen["findings"]).len() {
        wrong.push(format!("findings: {}", seen["findings"]));
    }
    for (found, seen) in findings.iter().zip(list(&seen["findings"])) {
        has(wrong, "finding", seen, &found["detail"]);
        let says = match found["says"].as_str() {
            Some("yes") => "positive result",
            Some("no") => "negative result",
            _ => "failed poll",
        };
        has(wrong, "says", seen, &says.into());
    }
}

fn source(wrong: &mut Vec<String>, seen: &Value, (before, after): (&Value, &Value)) {
    same(wrong, "kind", &seen["kind"], &after["kind"]);
    let none = Value::from("no role");
    let role = if after["role"].is_null() { &none } else { &after["role"] };
    same(wrong, "role", &seen["role"], role);
    for key in ["good_ms", "looked_ms"] {
        between(wrong, key, seen, (before, after));
    }
    match &after["error"] {
        Value::Null => same(wrong, "error", &seen["error"], &Value::Null),
        error => {
            for key in ["detail", "reason", "hint"] {
                has(wrong, key, &seen["error"], &error[key]);
            }
        }
    }
    let majority = &after["majority"];
    for key in ["votes", "electors"] {
        same(wrong, key, &seen[key], &majority[key]);
    }
    let ballots = list(&majority["ballots"]);
    if ballots.len() != list(&seen["ballots"]).len() {
        wrong.push(format!("ballots: {}", seen["ballots"]));
    }
    for (ballot, seen) in ballots.iter().zip(list(&seen["ballots"])) {
        for key in ["node_id", "name", "registered", "vote"] {
            has(wrong, key, seen, &ballot[key]);
        }
        let side = ballot["side"].as_str().filter(|side| *side != "neither").unwrap_or("no vote");
        has(wrong, "side", seen, &side.into());
    }
}
