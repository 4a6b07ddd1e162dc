//! What was said before, for a person: for how long nobody was READY, and each change with its reason.
//!
//! It is read from the JSON of the history, as the status is, so that an older or newer daemon can be shown too.

use serde_json::Value;

use crate::cli::when::Zone;
use crate::cli::words::{self, answer_to, lasted, lasting, list, shown, word, wrapped};

/// Most times without a READY that are told one by one.
const TIMES_TOLD: usize = 3;

/// How it is shown.
pub(crate) struct Look<'a> {
    /// Signs on a line; `None`: it is no terminal, and no line is broken.
    pub(crate) width: Option<usize>,
    /// What this host is called.
    pub(crate) host: Option<&'a str>,
    /// In which zone moments are said.
    pub(crate) zone: &'a Zone,
}

/// The whole history, the newest last.
pub(crate) fn text(history: &Value, look: &Look<'_>) -> String {
    let mut out = String::new();
    let mut say = |text: &str, indent| out.push_str(&wrapped(text, indent, look.width));
    for service in list(&history["services"]) {
        say(&of_service(service, look), 0);
        for time in last_times(service) {
            say(&of_time(time, look), 4);
        }
    }
    for change in list(&history["changes"]) {
        let [what, why] = of_change(change, look);
        say(&what, 0);
        say(&why, 4);
    }
    if list(&history["changes"]).next().is_none() {
        say("nothing is known of that time", 0);
    }
    for note in notes(history, look) {
        say(&note, 0);
    }
    out
}

/// For how long nobody was READY, of how long, and what is not known of it.
fn of_service(service: &Value, look: &Look<'_>) -> String {
    let nodes = list(&service["nodes"]).filter_map(Value::as_str);
    let nodes: Vec<String> = nodes.map(|name| words::node(name, look.host)).collect();
    let cluster = service["cluster"].as_str();
    let cluster = cluster.map(|name| format!(" of {}", shown(name))).unwrap_or_default();
    let ms = |key: &str| service[key].as_u64().unwrap_or(0);
    let of = lasting(ms("since_ms"));
    let nobody = match nodes.as_slice() {
        [_] => "not READY",
        _ => "nobody READY",
    };
    let unknown = match ms("not_recorded_ms") {
        0 => String::new(),
        ms => format!("; not known for {}", lasted(ms)),
    };
    let (name, nodes) = (word(&service["service"]), nodes.join(", "));
    let time = lasted(ms("nobody_ready_ms"));
    format!("{name} on {nodes}{cluster}: {nobody} for {time} of the last {of}{unknown}")
}

/// The last times in which nobody was READY.
fn last_times(service: &Value) -> impl Iterator<Item = &Value> {
    let times: Vec<&Value> = list(&service["nobody_ready"]).collect();
    let told = times.len().saturating_sub(TIMES_TOLD);
    times.into_iter().skip(told)
}

fn of_time(time: &Value, look: &Look<'_>) -> String {
    let from = look.zone.said(time["at"].as_str().unwrap_or_default());
    match time["lasted_ms"].as_u64() {
        Some(ms) => format!("from {from} for {}", lasted(ms)),
        None => format!("since {from}, for {} so far", words::ago(&time["ago_ms"])),
    }
}

/// A change in two lines: when, what and how long; and why.
fn of_change(change: &Value, look: &Look<'_>) -> [String; 2] {
    let at = look.zone.said(change["at"].as_str().unwrap_or_default());
    let (service, node) = (word(&change["service"]), word(&change["node"]));
    let node = words::node(&node, look.host);
    let called = |state: &Value| match state.as_str() {
        None => None,
        Some("not_recorded") => Some("not known".to_owned()),
        Some("not_watched") => Some("not watched".to_owned()),
        Some(state) => Some(answer_to(&shown(state))),
    };
    let to = called(&change["to"]).unwrap_or_default();
    let what = match called(&change["from"]) {
        Some(from) if from == to => format!("still {to}"),
        Some(from) => format!("{from} -> {to}"),
        None => to,
    };
    let lasted = match change["lasted_ms"].as_u64() {
        Some(ms) => format!("for {}", lasted(ms)),
        None => "until now".to_owned(),
    };
    let detail = change["detail"].as_str().filter(|detail| !detail.is_empty());
    let why = match (change["to"].as_str(), detail) {
        (_, Some(detail)) => {
            let (reason, detail) = (word(&change["reason"]), shown(detail));
            // A failed poll's words begin with it.
            let said = detail.starts_with(&reason);
            let why = if said { detail } else { format!("{detail} ({reason})") };
            match change["left_out"].as_u64() {
                None | Some(0) => why,
                Some(more) => format!("{why}, and {more} more reasons after it"),
            }
        }
        (Some("not_recorded"), None) => {
            "no rolecall recorded it: it was stopped or killed, or could not write".to_owned()
        }
        (Some("not_watched"), None) => "the configuration does not have it".to_owned(),
        _ => "-".to_owned(),
    };
    [format!("{at}  {service}/{node}  {what}, {lasted}"), why]
}

/// What is to be said of the history itself.
fn notes(history: &Value, look: &Look<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(history["trouble"].as_str().map(shown));
    if history["file"].is_null() {
        notes.push(
            "the history is kept in memory only and ends with the daemon, because there is no state directory"
                .to_owned(),
        );
    }
    notes.extend(look.zone.note().map(str::to_owned));
    notes
}
