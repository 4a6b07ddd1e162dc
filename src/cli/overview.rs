//! What is known, for a person at a terminal, and whether it is well, for a monitoring plug-in.
//!
//! It is read from the JSON of the status, so that an older or newer daemon can be shown too: what is
//! not there is shown as `-`.

use std::time::Duration;

use serde_json::Value;

use crate::cli::words::{self, ago, answer_of, cut, lasting, list, shown, why, word, wrapped};
use crate::look::measure;
use crate::reply::asks::{QUIET_MS, REGULAR};

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

/// Something that keeps it from being well: how bad it is, and in words.
type Trouble = (Health, String);

/// How well it is.
pub fn health(status: &Value) -> Health {
    let look = Look::default();
    troubles(status, &look).into_iter().map(|(how, _)| how).max().unwrap_or(Health::Well)
}

fn troubles(status: &Value, look: &Look<'_>) -> Vec<Trouble> {
    let mut all: Vec<Trouble> = Vec::new();
    for node in list(&status["nodes"]) {
        let name = words::node(&word(&node["node"]), look.host);
        for service in list(&node["services"]) {
            let alarm = service["alarm"].as_str();
            let how = match service["state"].as_str() {
                Some("unknown") => Health::Critical,
                _ if alarm == Some("critical") => Health::Critical,
                Some("drain") => Health::Warning,
                _ if alarm.is_some() => Health::Warning,
                _ => Health::Well,
            };
            let called = format!("{}/{name}", word(&service["service"]));
            let answer = answer_of(service);
            if how > Health::Well {
                all.push((how, format!("{called} is {answer}: {}", why(service))));
            } else if service["order"].is_object() {
                let by = by_order(&service["order"]);
                all.push((Health::Warning, format!("{called} is {answer} {by}")));
            } else {
                let silent = quiet(service).into_iter().chain(lost(service));
                all.extend(silent.map(|what| (Health::Warning, format!("{called}: {what}"))));
            }
        }
        for source in list(&node["sources"]) {
            let kind = word(&source["kind"]);
            let what = if source["error"].is_object() {
                format!("the last poll failed: {}", word(&source["error"]["detail"]))
            } else if source["unlocked"] == Value::Bool(true) {
                "no node holds the leader lock".to_owned()
            } else if list(&source["repmgrd"]).next().is_some() {
                "a repmgrd is not well".to_owned()
            } else {
                continue;
            };
            all.push((Health::Warning, format!("{name}: {kind}: {what}")));
        }
    }
    let mut warn = |is: bool, what: &str| {
        if is {
            all.push((Health::Warning, what.to_owned()));
        }
    };
    let fence = &status["fence"];
    // It acts, or it cannot.
    warn(fence["acts"] == Value::Bool(true), "the fence ends sessions");
    warn(fence["error"].is_object(), "the fence could not act");
    warn(list(&status["orders"]).next().is_some(), "an order is in effect");
    warn(status["orders_damaged"].is_string(), "the orders could not be read");
    warn(status["refused_config"].is_object(), "the last reload was refused");
    let asked_wrong =
        |question: &Value| question["last_ms"].as_u64().is_some_and(|ms| ms <= QUIET_MS);
    let wrong = list(&status["unknown_questions"]).any(asked_wrong);
    warn(wrong, "HAProxy asks for a name that is not known");
    all
}

/// How it is shown: to whom, and on how wide a terminal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look<'a> {
    /// With colour, which says nothing that the words do not.
    pub colour: bool,
    /// Signs on a line; `None`: it is no terminal, and no line is broken.
    pub width: Option<usize>,
    /// What this host is called.
    pub host: Option<&'a str>,
}

/// The whole status: the worst of it first, as whoever reads one line only needs it; then each node and its services;
/// then what is to be said beside.
pub fn text(status: &Value, look: &Look<'_>) -> String {
    let mut out = cut(&first(status, look), look.width) + "\n";
    let services = || list(&status["nodes"]).flat_map(|node| list(&node["services"]));
    let wide = |of: &dyn Fn(&Value) -> String| {
        services().map(|service| of(service).chars().count()).max().unwrap_or(0)
    };
    let widths = (wide(&|service| word(&service["service"])), wide(&answer_of));
    for node in list(&status["nodes"]) {
        out.push_str(&wrapped(&of_node(node, look), 0, look.width));
        for service in list(&node["services"]) {
            out.push_str(&of_service(service, widths, look));
            let seen = match service["seen_ms"].as_u64() {
                Some(ms) => format!("{} (polled {} ago)", why(service), lasting(ms)),
                None => why(service),
            };
            out.push_str(&wrapped(&seen, 6, look.width));
        }
    }
    for note in notes(status, look) {
        out.push_str(&wrapped(&note, 0, look.width));
    }
    out
}

/// How well it is and, where it is not, what is worst.
fn first(status: &Value, look: &Look<'_>) -> String {
    let troubles = troubles(status, look);
    let Some(worst) = troubles.iter().map(|(how, _)| *how).max() else {
        let mut ready = Vec::new();
        for node in list(&status["nodes"]) {
            let name = words::node(&word(&node["node"]), look.host);
            let services = list(&node["services"]);
            let services = services.filter(|service| service["state"] == "ready");
            ready.extend(services.map(|service| format!("{}/{name}", word(&service["service"]))));
        }
        let ready = if ready.is_empty() { "nothing".to_owned() } else { ready.join(", ") };
        return format!("OK: READY is said of {ready}");
    };
    let called = if worst == Health::Critical { "CRITICAL" } else { "WARNING" };
    let what = troubles.iter().find(|(how, _)| *how == worst).map_or("", |(_, what)| what);
    match troubles.len() - 1 {
        0 => format!("{called}: {what}"),
        more => format!("{called} (and {more} more): {what}"),
    }
}

fn of_node(node: &Value, look: &Look<'_>) -> String {
    let mut said = vec![words::node(&word(&node["node"]), look.host)];
    said.extend(node["cluster"].as_str().map(|cluster| format!("of {}", shown(cluster))));
    let mut facts = vec![node["role"].as_str().map_or("role unknown".to_owned(), shown)];
    facts.extend(node["timeline"].as_u64().map(|timeline| format!("timeline {timeline}")));
    let lag = list(&node["sources"]).find_map(|source| source["lag_bytes"].as_u64());
    facts.extend(lag.map(|lag| format!("{} behind", measure::size(lag))));
    format!("{}: {}", said.join(" "), facts.join(", "))
}

/// What a service is told, since when, and who asked.
fn of_service(service: &Value, (names, answers): (usize, usize), look: &Look<'_>) -> String {
    let (name, answer) = (word(&service["service"]), answer_of(service));
    let asked = match service["asked"]["last_ms"].as_u64() {
        Some(ms) => format!("asked {} ago by {}", lasting(ms), word(&service["asked"]["by"])),
        None => "never asked".to_owned(),
    };
    let since = service["since_ms"].as_u64().map(|ms| format!("for {}", lasting(ms)));
    let since: Vec<_> = since.into_iter().collect();
    let padded = format!("{answer:answers$}");
    let coloured = match service["state"].as_str().and_then(colour_of).filter(|_| look.colour) {
        Some(code) => format!("\u{1b}[{code}m{padded}\u{1b}[0m"),
        None => padded.clone(),
    };
    let (line, rest) = (format!("  {name:names$}  "), since.join(""));
    let plain = format!("{line}{padded}  {rest}, {asked}");
    if look.width.is_none_or(|width| plain.chars().count() <= width) {
        format!("{line}{coloured}  {rest}, {asked}\n")
    } else {
        // The answer stands below a name that leaves it no room.
        let fits =
            look.width.is_none_or(|width| format!("{line}{padded}").chars().count() <= width);
        let head = if fits {
            format!("{line}{coloured}")
        } else {
            format!("{}      {coloured}", wrapped(&name, 2, look.width))
        };
        format!("{head}\n{}", wrapped(&format!("{rest}, {asked}"), 6, look.width))
    }
}

/// What is to be said beside: orders, services that nobody asks, polls that fail, and so on.
pub(super) fn notes(status: &Value, look: &Look<'_>) -> Vec<String> {
    let (mut notes, mut orders) = (Vec::new(), Vec::new());
    for node in list(&status["nodes"]) {
        let name = words::node(&word(&node["node"]), look.host);
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
        notes.extend(list(&node["sources"]).flat_map(|source| of_source(&name, source)));
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

/// What is not well with a source of this node.
fn of_source(node: &str, source: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    // No trouble where it is meant so, and the only sign where a row was lost.
    if source["majority"]["electors"].as_u64() == Some(2) {
        notes.push(format!(
            "{node}: only two nodes vote, so the loss of either host can stop writes; is a row missing in \
             repmgr.nodes, such as the witness's?"
        ));
    }
    for repmgrd in list(&source["repmgrd"]) {
        let (id, detail) = (word(&repmgrd["node_id"]), word(&repmgrd["detail"]));
        notes.push(format!("{node}: node {id}: {detail}"));
    }
    if source["unlocked"] == Value::Bool(true) {
        notes.push(format!(
            "{node}: no node holds Patroni's leader lock; patronictl list shows which members may \
             become the leader"
        ));
    }
    if let Some(detail) = source["error"]["detail"].as_str() {
        let kind = word(&source["kind"]);
        notes.push(format!("{node}: {kind}: the last poll failed: {}", shown(detail)));
    }
    notes
}

/// Who gave an order that stands, when, why, and what ends it.
fn by_order(order: &Value) -> String {
    let of = |key: &str| word(&order[key]);
    let why = order["why"].as_str().filter(|why| !why.is_empty());
    let why = why.map(|why| format!(" ({})", shown(why))).unwrap_or_default();
    format!(
        "by order of {}, given {} ago{why}; `rolecall auto {}` removes it",
        of("by"),
        ago(&order["since_ms"]),
        of("target")
    )
}

/// An order that stands, in one line.
fn order(order: &Value) -> Option<String> {
    order.as_object()?;
    let of = |key: &str| word(&order[key]);
    let ends = match &order["ends_ms"] {
        ends if ends.is_u64() => format!("expires in {}", ago(ends)),
        _ => format!("until it is removed with `rolecall auto {}`", of("target")),
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
