//! One line for a monitoring system, as the Monitoring Plugins Development Guidelines have it:
//! `ROLECALL STATUS - text | 'label'=value[UOM];[warn];[crit];[min];[max]`.
//!
//! It is made of the JSON of the status, as the table is.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::cli::overview::{self, Health, Look};
use crate::cli::words::{self, list};
use crate::look::text;

/// Most bytes of the text before the performance data: what a page of a monitoring system shows on one line.
pub const MOST_SAID: usize = 1024;

/// A range of the guidelines. A value outside it is an alert; with `@` in front, one inside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    start: f64,
    end: f64,
    inside: bool,
}

/// A text that is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a range of the Monitoring Plugins guidelines in seconds, such as 10, 5:, ~:10, 1:10 or @1:10"
)]
pub struct NoRange;

impl FromStr for Range {
    type Err = NoRange;

    fn from_str(text: &str) -> Result<Self, NoRange> {
        let number = |text: &str| {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
            text.parse::<f64>().ok().filter(|number| plain && number.is_finite()).ok_or(NoRange)
        };
        let (inside, range) = text.strip_prefix('@').map_or((false, text), |rest| (true, rest));
        let (start, end) = match range.split_once(':') {
            None => (0.0, number(range)?),
            Some((start, end)) => (
                if start == "~" { f64::NEG_INFINITY } else { number(start)? },
                if end.is_empty() { f64::INFINITY } else { number(end)? },
            ),
        };
        if start > end {
            return Err(NoRange);
        }
        Ok(Self { start, end, inside })
    }
}

impl Range {
    /// Whether this value is to be alerted.
    pub fn alerts(&self, value: f64) -> bool {
        (value < self.start || value > self.end) != self.inside
    }
}

/// As it stands in performance data.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end, inside } = self;
        let at = if *inside { "@" } else { "" };
        match (start.is_infinite(), end.is_infinite()) {
            (true, true) => write!(f, "{at}~:"),
            (true, false) => write!(f, "{at}~:{end}"),
            (false, true) => write!(f, "{at}{start}:"),
            (false, false) if *start == 0.0 => write!(f, "{at}{end}"),
            (false, false) => write!(f, "{at}{start}:{end}"),
        }
    }
}

/// Which age of the last successful poll is a warning, and which is critical.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Thresholds {
    /// `--warning`
    pub warning: Option<Range>,
    /// `--critical`
    pub critical: Option<Range>,
}

impl Thresholds {
    /// How a poll of this age is judged; `None`: there is none that can still be used.
    fn judge(&self, seconds: Option<f64>) -> Health {
        let alerts = |range: Option<Range>| {
            range.is_some_and(|range| seconds.is_none_or(|seconds| range.alerts(seconds)))
        };
        match (alerts(self.critical), alerts(self.warning)) {
            (true, _) => Health::Critical,
            (false, true) => Health::Warning,
            (false, false) => Health::Well,
        }
    }
}

/// The part of a status that is about SERVICE, NODE or SERVICE/NODE; `None` where nothing has that name.
pub fn only(status: &Value, target: &str) -> Option<Value> {
    let named = |node: &str, service: &str| match target.split_once('/') {
        Some((of, at)) => of == service && at == node,
        None => target == node || target == service,
    };
    let mut part = status.clone();
    let nodes = part["nodes"].as_array_mut()?;
    for node in nodes.iter_mut() {
        let name = node["node"].as_str().unwrap_or_default().to_owned();
        if let Some(services) = node["services"].as_array_mut() {
            services
                .retain(|service| named(&name, service["service"].as_str().unwrap_or_default()));
        }
    }
    nodes.retain(|node| node["services"].as_array().is_some_and(|services| !services.is_empty()));
    if nodes.is_empty() {
        return None;
    }
    // What they say of these nodes stands beside the services.
    part["orders"] = Value::Null;
    part["unknown_questions"] = Value::Null;
    Some(part)
}

/// The line, and how well it is. `beside` is what does not fit elsewhere, and how grave that is.
pub fn line(
    status: &Value,
    thresholds: &Thresholds,
    beside: (Health, Vec<String>),
) -> (String, Health) {
    let mut worst = overview::health(status).max(beside.0);
    let (mut critical, mut warning, mut well) = (Vec::new(), beside.1, Vec::new());
    let mut data = Vec::new();
    for node in list(&status["nodes"]) {
        let name = word(&node["node"]);
        for source in list(&node["sources"]) {
            let label = format!("{name}/{}", word(&source["kind"]));
            let age = source["good_ms"].as_u64().map(seconds);
            let judged = thresholds.judge(age);
            worst = worst.max(judged);
            if judged > Health::Well {
                let what = match age {
                    Some(age) => format!("the last successful poll of {label} began {age} s ago"),
                    None => format!("no successful poll of {label} can be used any more"),
                };
                if judged == Health::Critical { &mut critical } else { &mut warning }.push(what);
            }
            let range =
                |range: Option<Range>| range.map(|range| range.to_string()).unwrap_or_default();
            let age = age.map_or_else(|| "U".to_owned(), |age| format!("{age}s"));
            let (warn, crit) = (range(thresholds.warning), range(thresholds.critical));
            add(&mut data, &format!("{label} age"), &format!("{age};{warn};{crit};0;"));
            if let Some(lag) = source["lag_bytes"].as_u64() {
                add(&mut data, &format!("{label} lag"), &format!("{lag}B;;;0;"));
            }
        }
        for service in list(&node["services"]) {
            let label = format!("{}/{name}", word(&service["service"]));
            let state = word(&service["state"]);
            let ready = i32::from(state == "ready");
            add(&mut data, &format!("{label} ready"), &format!("{ready};;;0;1"));
            let alarm = service["alarm"].as_str();
            let said = format!("{label} {state}");
            let why = || format!("{said}: {}", words::why(service));
            if state == "unknown" || alarm == Some("critical") {
                critical.push(why());
            } else if state == "drain" || alarm.is_some() {
                warning.push(why());
            } else {
                well.push(said);
            }
        }
    }
    warning.extend(overview::notes(status, &Look::default()));
    let said = if worst == Health::Well { &mut well } else { &mut critical };
    if worst > Health::Well {
        said.append(&mut warning);
    }
    (format!("{}{}\n", head(worst, &said.join("; ")), perfdata(&data)), worst)
}

/// The line where nothing is known.
pub fn unreachable(why: &str) -> String {
    format!("{}\n", head(Health::Unreachable, why))
}

fn head(health: Health, said: &str) -> String {
    let status = match health {
        Health::Well => "OK",
        Health::Warning => "WARNING",
        Health::Critical => "CRITICAL",
        Health::Unreachable => "UNKNOWN",
    };
    // What stands behind the first `|` is performance data.
    format!("ROLECALL {status} - {}", text::plain(&said.replace('|', "/"), MOST_SAID))
}

fn perfdata(data: &[(String, String)]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let shown: Vec<String> =
        data.iter().map(|(label, value)| format!("'{label}'={value}")).collect();
    format!(" | {}", shown.join(" "))
}

/// Each label once: a second source of a kind gets a number.
fn add(data: &mut Vec<(String, String)>, label: &str, value: &str) {
    let label = label.replace(['\'', '=', '|'], "_");
    let mut free = label.clone();
    let mut number = 1;
    while data.iter().any(|(known, _)| *known == free) {
        number += 1;
        free = format!("{label} {number}");
    }
    data.push((free, value.trim_end_matches(';').to_owned()));
}

fn word(value: &Value) -> String {
    text::plain(value.as_str().unwrap_or("-"), MOST_SAID)
}

#[expect(clippy::cast_precision_loss, reason = "a time of years in milliseconds fits")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The table of the guidelines, and what stands around it.
    #[test]
    fn a_range_alerts_where_the_guidelines_say() {
        for (range, alerts, quiet, shown) in [
            ("10", [-1.0, 10.1], [0.0, 10.0], "10"),
            ("10:", [9.9, -1.0], [10.0, 1e9], "10:"),
            ("~:10", [10.1, 99.0], [-1e9, 10.0], "~:10"),
            ("10:20", [9.9, 20.1], [10.0, 20.0], "10:20"),
            ("@10:20", [10.0, 20.0], [9.9, 20.1], "@10:20"),
            ("0:2.5", [2.6, -0.1], [0.0, 2.5], "2.5"),
            ("@0:1", [0.0, 1.0], [1.1, -0.1], "@1"),
            ("-5:-1", [0.0, -6.0], [-5.0, -1.0], "-5:-1"),
        ] {
            let read: Range = range.parse().unwrap();
            assert!(alerts.iter().all(|value| read.alerts(*value)), "{range}");
            assert!(!quiet.iter().any(|value| read.alerts(*value)), "{range}");
            assert_eq!(read.to_string(), shown, "{range}");
            assert_eq!(shown.parse(), Ok(read));
        }
        for wrong in ["", ":", "20:10", "~", "a", "1:b", "inf", "nan:1", "1e3", "@", "1:2:3", "10 "]
        {
            assert_eq!(wrong.parse::<Range>(), Err(NoRange), "{wrong}");
        }
    }

    fn status() -> Value {
        json!({ "nodes": [{
            "node": "pg1", "role": "primary",
            "sources": [
                { "kind": "patroni", "good_ms": 412, "error": null, "lag_bytes": null },
                { "kind": "patroni", "good_ms": 2000, "error": null, "lag_bytes": 7 },
            ],
            "services": [{ "service": "primary", "state": "ready", "detail": "is primary", "alarm": null,
                "asked": { "last_ms": 100 } }],
        }] })
    }

    fn said(status: &Value, warning: Option<&str>, critical: Option<&str>) -> (String, Health) {
        let range = |range: Option<&str>| range.map(|range| range.parse().unwrap());
        let thresholds = Thresholds { warning: range(warning), critical: range(critical) };
        line(status, &thresholds, (Health::Well, Vec::new()))
    }

    #[test]
    fn one_line_has_the_state_and_each_value_once() {
        let (said_of_it, health) = said(&status(), Some("5"), Some("~:10"));
        assert_eq!(
            said_of_it,
            "ROLECALL OK - primary/pg1 ready | 'pg1/patroni age'=0.412s;5;~:10;0 \
             'pg1/patroni age 2'=2s;5;~:10;0 'pg1/patroni lag'=7B;;;0 'primary/pg1 ready'=1;;;0;1\n"
        );
        assert_eq!(health, Health::Well);
        for (warning, critical, wanted) in [
            (Some("1"), None, Health::Warning),
            (Some("1"), Some("1.5"), Health::Critical),
            (Some("@0:0.5"), None, Health::Warning),
            (Some("3"), Some("1:"), Health::Critical),
        ] {
            let (line, health) = said(&status(), warning, critical);
            assert_eq!(health, wanted, "{line}");
            assert!(line.contains("the last successful poll of pg1/patroni began"), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_comes_first_and_forges_nothing() {
        let mut status = status();
        let service = &mut status["nodes"][0]["services"][0];
        service["state"] = json!("unknown");
        service["detail"] = json!("no | 'x'=1;\nROLECALL OK");
        status["nodes"][0]["node"] = json!("it's=me|");
        status["nodes"][0]["sources"][0]["good_ms"] = Value::Null;
        let (line, health) = said(&status, None, Some("60"));
        assert_eq!(health, Health::Critical);
        let (text, data) = line.split_once(" | ").expect("performance data");
        assert!(
            text.starts_with("ROLECALL CRITICAL - ") && text.contains("no / 'x'=1; ROLECALL OK"),
            "{line}"
        );
        assert!(data.starts_with("'it_s_me_/patroni age'=U;;60;0 "), "{data}");
        assert_eq!(line.matches('\n').count(), 1);
        let long = json!({ "nodes": [], "orders_damaged": "x".repeat(9000) });
        assert!(said(&long, None, None).0.len() < MOST_SAID + 64);
    }

    #[test]
    fn a_target_is_a_service_a_node_or_both() {
        let mut status = status();
        let mut other = status["nodes"][0].clone();
        other["node"] = json!("pg2");
        status["nodes"].as_array_mut().unwrap().push(other);
        for (target, nodes) in [
            ("primary", 2),
            ("pg2", 1),
            ("primary/pg2", 1),
            ("replica", 0),
            ("primary/pg3", 0),
            ("", 0),
        ] {
            let part = only(&status, target);
            let count = part.map_or(0, |part| part["nodes"].as_array().unwrap().len());
            assert_eq!(count, nodes, "{target}");
        }
    }
}
