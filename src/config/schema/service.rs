//! `[[service]]`: the questions HAProxy asks, and how they are answered.

use std::time::Duration;

use ipnet::IpNet;

use crate::config::document::{Fault, Placed, Spot, Table};
use crate::config::kind::settings::{Lag, Replicas};
use crate::config::schema::node::{Written, check_clash, check_free};
use crate::config::schema::pool;
use crate::config::schema::source::HOLD;
use crate::config::units::{
    ROLE, boolean, duration, listen, name, network, role, size, string, word,
};
use crate::config::{AGENT_PORT, Haproxy, Kind, Service};
use crate::look::measure;
use crate::look::role::Role;
use crate::reply::routes::{Answering, Listen};
use crate::reply::wording::{Custom, Wording};
use crate::verdict::last_word::{LAST_ASKS, LastWord, MAX_LASTS};
use crate::verdict::policy::{Hysteresis, LagLimit, OnLag, Pool};
use crate::verdict::state::Word;

pub(crate) const LISTEN: &str = r#""ADDRESS:PORT", "[IPV6]:PORT" or "PORT""#;

/// Longest `max_lag_time`: a replica that is older is no copy, it is a backup.
const MAX_LAG_TIME: Duration = Duration::from_secs(24 * 3600);

/// The services, or the one that is built in where none is written, asked about these nodes; their
/// addresses are added to `listeners`. `None` only where a problem was reported.
pub fn services<'d>(
    root: &Table<'d>,
    flags: &Table<'d>,
    nodes: &Written<'d>,
    haproxy: &Haproxy,
    listeners: &mut Vec<Listen>,
) -> Option<Vec<Service>> {
    let flag = flags.take_all("listen", string(LISTEN, listen));
    let mut names = Vec::new();
    let tables = root.tables("service");
    let services = if tables.is_empty() {
        let service = default_service(root, flag, nodes);
        names.push(service.name.clone());
        listeners.clone_from(&service.listen);
        Some(vec![service])
    } else {
        let by_word = tables.iter().any(|table| table.has("listen") && reads(table));
        let read = tables.iter().enumerate().map(|(index, table)| {
            let flag = flag.clone().filter(|_| index == 0);
            service(table, flag, nodes, by_word, haproxy, listeners, &mut names)
        });
        // Every service is read before one that is wrong spoils the whole.
        let read: Vec<_> = read.collect();
        read.into_iter().collect()
    };
    if services.is_some() {
        nodes.check_names(&names);
    }
    nodes.check_clashes(listeners);
    let by_one_limit = |kinds: &Vec<Kind>| {
        let sees = |lag| kinds.iter().any(|kind| kind.settings().profile().sees.lag == lag);
        sees(Lag::OverLimit) && !sees(Lag::Counted)
    };
    if nodes.kinds().iter().any(by_one_limit) {
        check_one_limit(services.iter().flatten(), &tables);
    }
    services
}

/// Reports byte limits of which Patroni cannot be asked for all: a look is one request, with one limit.
fn check_one_limit<'a>(services: impl Iterator<Item = &'a Service>, tables: &[Table<'_>]) {
    let mut first = None;
    for (service, table) in services.zip(tables) {
        let Some(bytes) = service.lag.and_then(|lag| lag.bytes) else { continue };
        if *first.get_or_insert(bytes) != bytes {
            let what = "differs from the limit of the service before it";
            let expected = "the same `max_lag` and `resume_lag` for all services";
            let hint = "use one limit, because rolecall asks Patroni once per poll; or add a \
                        [[source]] of kind postgres";
            table.report("max_lag", Fault::new(what, expected, hint));
        }
    }
}

/// Answers for the primary: on every address, unless the nodes have addresses of their own.
fn default_service(
    root: &Table<'_>,
    flag: Option<Vec<(Spot<'_>, Listen)>>,
    nodes: &Written<'_>,
) -> Service {
    let name = Role::Primary.as_str();
    let asked = nodes.ask(name);
    if flag.is_none() && nodes.several() && !asked {
        root.report("node", about_several());
    }
    let written = flag.map(|flag| about_one(flag, nodes));
    let everywhere = || if asked { Vec::new() } else { vec![Listen::Everywhere(AGENT_PORT)] };
    Service {
        name: name.to_owned(),
        roles: vec![Role::Primary],
        listen: written.map_or_else(everywhere, values),
        agent_send: false,
        answering: Answering { allow: Vec::new(), wording: Wording::plain(), last_word: None },
        hold: None,
        pool: Pool::default(),
        lag: None,
    }
}

/// Whether a service reads a question before it answers.
fn reads(table: &Table<'_>) -> bool {
    table.take("agent_send", boolean).unwrap_or(false)
}

/// Addresses of a service; reported where they do not say about which node they are asked.
fn about_one<'d>(listen: Vec<(Spot<'d>, Listen)>, nodes: &Written<'_>) -> Vec<(Spot<'d>, Listen)> {
    if let Some((spot, _)) = listen.first().filter(|_| nodes.several()) {
        spot.report(about_several());
    }
    listen
}

/// One address cannot say which of several nodes is meant.
fn about_several() -> Fault {
    Fault::new(
        "does not say which node it is about",
        "an address for every node",
        r#"give each [[node]] its own address: listen = { primary = "127.0.0.1:6001" }; or let HAProxy name the node: agent_send = true"#,
    )
}

/// Without their places.
pub fn values<T>(items: Vec<(Spot<'_>, T)>) -> Vec<T> {
    items.into_iter().map(|(_, value)| value).collect()
}

/// One service; `by_word`: it can also be asked for at another one's address, by its name.
fn service<'d>(
    table: &Table<'d>,
    flag: Option<Vec<(Spot<'d>, Listen)>>,
    nodes: &Written<'_>,
    by_word: bool,
    haproxy: &Haproxy,
    listeners: &mut Vec<Listen>,
    names: &mut Vec<String>,
) -> Option<Service> {
    let name = table.need(
        "name",
        "a name such as \"primary\"",
        "the name appears in logs and commands",
        string("a name such as \"primary\"", name),
    );
    if let Some(name) = &name {
        if names.contains(name) {
            let what = format!("`{name}` is already the name of another service");
            table.report("name", Fault::new(what, "a unique name", "choose another name"));
        }
        check_free(name, &table.spot("name"));
        names.push(name.clone());
    }
    let written = addresses(table);
    let asked = name.as_ref().is_some_and(|name| nodes.ask(name));
    let agent_send = reads(table);
    if agent_send && flag.is_none() && !table.has("listen") {
        let hint = "remove it: the address of a [[node]] already selects node and service";
        table.report("agent_send", Fault::new("is set without `listen`", "`listen` too", hint));
    } else if flag.is_none() && !table.has("listen") && !asked && !by_word {
        let hint = r#"set it to HAProxy's agent-port, for example "5555" for every address"#;
        table.report("listen", Fault::new("missing", LISTEN, hint));
    }
    let listen = flag.or(written).unwrap_or_default();
    let listen = if agent_send { listen } else { about_one(listen, nodes) };
    for (spot, address) in &listen {
        check_clash(listeners, spot, *address);
    }
    let kinds = &nodes.kinds();
    let roles = roles(table, kinds);
    let serving = roles.as_deref().unwrap_or_default();
    let allow = allow(table);
    let wording = wording(table, serving.contains(&Role::Primary));
    let hold = table.take("hold", duration(HOLD.0..=HOLD.1));
    if let Some(hold) = hold.filter(|_| serving.contains(&Role::Primary)) {
        let mut kinds = kinds.iter().flatten();
        if let Some(fault) = kinds.find_map(|kind| kind.settings().refuses_hold(hold)) {
            table.report("hold", fault);
        }
    }
    let pool = pool::pool(table, serving, kinds);
    let lag = lag(table, serving, kinds);
    let last_word = last_word(table, haproxy);
    table.finish();
    Some(Service {
        name: name?,
        roles: roles?,
        listen: values(listen),
        agent_send,
        answering: Answering { allow, wording: wording?, last_word },
        hold,
        pool,
        lag,
    })
}

/// What is said while rolecall stops, for as long as HAProxy needs to hear it.
fn last_word(table: &Table<'_>, haproxy: &Haproxy) -> Option<LastWord> {
    let words = [("freeze", None), ("maint", Some(Word::Maint)), ("drain", Some(Word::Drain))];
    let read = table.take("on_stop", word(&words));
    let (word, wrong) = (read.flatten(), read.is_none() && table.has("on_stop"));
    let lasts = table.take("stop_for", duration(Duration::from_millis(1)..=MAX_LASTS));
    let inter = haproxy.agent_inter;
    if let (Some(lasts), Some(_)) = (lasts, word)
        && lasts < inter
    {
        let inter = measure::time(inter);
        let what = format!("HAProxy asks only every {inter} and may miss the answer");
        let hint = "remove it to get 2 x agent_inter, at most 60 s";
        table.report("stop_for", Fault::new(what, format!("at least agent_inter, {inter}"), hint));
    }
    if table.has("stop_for") && word.is_none() && !wrong {
        let expected = r#"`on_stop = "maint"` or `"drain"` too"#;
        let hint = "remove it: without `on_stop` there is no last answer";
        table.report("stop_for", Fault::new("is set without `on_stop`", expected, hint));
    }
    let usual = (inter * LAST_ASKS).min(MAX_LASTS);
    Some(LastWord { word: word?, lasts: lasts.unwrap_or(usual) })
}

/// The roles that may serve, each of which every source must be able to see.
fn roles(table: &Table<'_>, kinds: &[Vec<Kind>]) -> Option<Vec<Role>> {
    let hint = r#"list the roles that may serve, for example ["primary"]"#;
    if !table.has("roles") {
        table.report("roles", Fault::new("missing", ROLE, hint));
    }
    let roles = table.take_all("roles", string(ROLE, role))?;
    if roles.is_empty() {
        table.report("roles", Fault::new("empty", ROLE, hint));
        return None;
    }
    // Beside a Patroni that tells them apart, PostgreSQL bears out that the node is in recovery.
    let tells = |kind: &Kind, how| kind.settings().profile().sees.replicas == how;
    let told = |kinds: &[Kind]| kinds.iter().any(|kind| tells(kind, Replicas::Apart));
    let mut untold = kinds.iter().filter(|kinds| !told(kinds)).flatten();
    let blind = untold.find(|kind| tells(kind, Replicas::Alike));
    for (spot, role) in &roles {
        let plain = matches!(role, Role::Primary | Role::Replica);
        if let Some(kind) = blind.filter(|_| !plain) {
            let what = format!(
                "a source of kind `{}` cannot tell whether a node is a `{role}`",
                kind.as_str()
            );
            spot.report(Fault::new(what, "primary or replica", "Patroni can tell it"));
        }
    }
    Some(values(roles))
}

/// The words of the answers; `None` only where a problem was reported.
fn wording(table: &Table<'_>, serves_primary: bool) -> Option<Wording> {
    if !table.has_table("reply") {
        let words = [("plain", Wording::plain as fn() -> Wording), ("full", Wording::full)];
        return match table.take("reply", word(&words)) {
            Some(wording) => Some(wording()),
            None => (!table.has("reply")).then(Wording::plain),
        };
    }
    let reply = table.table("reply");
    let line = string("the words of one line", |text| Ok(text.to_owned()));
    let hint = r#"for example { ready = "up ready", not_ready = "maint up" }"#;
    let ready = reply.need("ready", "the line that puts a node into service", hint, &line);
    let not_ready =
        reply.need("not_ready", "the line that takes a node out of service", hint, &line);
    let drain = reply.take("drain", &line);
    let unknown = reply.take("unknown", &line);
    reply.finish();
    let custom = Custom {
        ready: &ready?,
        not_ready: &not_ready?,
        drain: drain.as_deref(),
        unknown: unknown.as_deref(),
    };
    let report = |error: crate::reply::wording::WordingError| {
        let fault = Fault::new(error.to_string(), error.expected(), error.hint());
        reply.report(error.line(), fault);
    };
    Wording::custom(custom, serves_primary)
        .map_err(|errors| errors.into_iter().for_each(report))
        .ok()
}

/// Who may ask; nobody said: everybody.
pub fn allow(table: &Table<'_>) -> Vec<IpNet> {
    let allow = table.take_all("allow", string("a network or an address", network));
    let hint = "remove it if everybody may ask; \"127.0.0.0/8\" is this host only";
    check_filled(table, "allow", allow.as_ref(), hint);
    allow.map(values).unwrap_or_default()
}

/// Where it is listened on, with the places; `None` where nothing is said or it is wrong.
pub fn addresses<'d>(table: &Table<'d>) -> Option<Placed<'d, Listen>> {
    let written = table.take_all("listen", string(LISTEN, listen));
    check_filled(table, "listen", written.as_ref(), "with an empty list nobody could ask");
    written
}

/// Reports an empty list where one can only be a mistake.
fn check_filled<T>(
    table: &Table<'_>,
    key: &'static str,
    items: Option<&Placed<'_, T>>,
    hint: &str,
) {
    if items.is_some_and(Vec::is_empty) {
        table.report(key, Fault::new("is empty", "at least one", hint));
    }
}

/// How far behind a replica may be; every limit is one that a source can see.
fn lag(table: &Table<'_>, roles: &[Role], kinds: &[Vec<Kind>]) -> Option<LagLimit> {
    let max = table.take("max_lag", size);
    let resume = table.take("resume_lag", size);
    let least = Duration::from_millis(1);
    let time = table.take("max_lag_time", duration(least..=MAX_LAG_TIME));
    let on_lag = table.take("on_lag", word(&[("maint", OnLag::Maint), ("drain", OnLag::Drain)]));
    let report = |key, what: &str, expected: &str, hint: &str| {
        table.report(key, Fault::new(what, expected, hint));
    };

    let only_primaries = !roles.is_empty() && roles.iter().all(|role| *role == Role::Primary);
    let seen = |can: fn(Lag) -> bool| {
        let can = |kind: &Kind| can(kind.settings().profile().sees.lag);
        kinds.iter().all(|kinds| kinds.is_empty() || kinds.iter().any(can))
    };
    let in_bytes = seen(|lag| lag != Lag::Unseen);
    let in_time = seen(|lag| lag == Lag::Counted);
    for (key, seen, source) in [
        ("max_lag", in_bytes, "a source of kind patroni, postgres or repmgr"),
        ("max_lag_time", in_time, "a source of kind postgres or repmgr"),
    ] {
        if !table.has(key) {
            continue;
        }
        if only_primaries {
            let hint = "move it to a service for replicas";
            report(key, "a primary is never behind", "roles that include a kind of replica", hint);
        } else if !seen {
            let hint = "remove it, or add a second [[source]] of kind postgres";
            report(key, "no source here can see how far behind a replica is", source, hint);
        }
    }
    if table.has("resume_lag") && !table.has("max_lag") {
        report(
            "resume_lag",
            "is set without `max_lag`",
            "`max_lag` too",
            "add `max_lag`, or remove this key",
        );
    }
    if table.has("on_lag") && !table.has("max_lag") && !table.has("max_lag_time") {
        let hint = "add a limit, or remove this key";
        report("on_lag", "is set without a limit", "`max_lag` or `max_lag_time`", hint);
    }
    if max == Some(0) {
        let hint = "choose a larger size: even a healthy replica is a little behind";
        report("max_lag", "zero", "at least 1B", hint);
    }
    if let (Some(max), Some(resume)) = (max, resume)
        && resume > max
    {
        let hint = "remove it to get three quarters of `max_lag`";
        report("resume_lag", "is more than `max_lag`", "at most `max_lag`", hint);
    }
    let bytes = max.map(|max| Hysteresis::bytes(max, resume));
    (bytes.is_some() || time.is_some()).then(|| LagLimit {
        bytes,
        time: time.map(Hysteresis::time),
        on_lag: on_lag.unwrap_or(OnLag::Maint),
    })
}
