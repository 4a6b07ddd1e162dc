//! What a HAProxy shows and what rolecall says, beside each other: what does not fit is a finding.
//!
//! Pure. rolecall's side is the JSON of its status, so that an older or newer daemon can be compared too; a HAProxy
//! has servers of others as well, so a pool counts only if one of its servers asks a port of rolecall's, or if it has
//! the name that `rolecall haproxy` prints.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use crate::cli::haproxy::faults;
use crate::cli::haproxy::finding::{Finding, Mismatch};
use crate::cli::haproxy::ours::{Ours, Port, text};
use crate::cli::haproxy::told::{Server, Told};
use crate::cli::words::list;
use crate::verdict::reason::Alarm;

/// A difference between the two sides is told once both have been as they are for so long: HAProxy hears a change at
/// its next agent check.
pub const SETTLED_SECONDS: u64 = 5;

/// One server, as both sides have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// HAProxy's pool.
    pub pool: String,
    /// HAProxy's name of the server.
    pub server: String,
    /// What HAProxy shows.
    pub status: String,
    /// For how long, in seconds.
    pub since_s: Option<u64>,
    /// The result of its last agent check.
    pub agent_status: String,
    /// The port of its agent.
    pub agent_port: Option<u16>,
    /// The service that it asks for.
    pub service: Option<String>,
    /// The node that is meant, where rolecall is told so.
    pub node: Option<String>,
    /// What rolecall says of that node for that service.
    pub state: Option<String>,
}

/// Both sides, and what does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sides {
    /// HAProxy's version, where it said so.
    pub version: Option<String>,
    /// The servers of the pools that ask rolecall.
    pub servers: Vec<Row>,
    /// What does not fit, the most urgent first.
    pub findings: Vec<Finding>,
}

/// A pool of HAProxy's, and the service it is for.
struct Pool<'t> {
    name: &'t str,
    servers: Vec<&'t Server>,
    service: Option<String>,
    writes: bool,
}

/// Lays both sides beside each other. `here` says whether an address is one of this host's.
pub fn compare(told: &Told, status: &Value, here: impl Fn(IpAddr) -> bool) -> Sides {
    let ours = Ours::of(status);
    let mut findings = Vec::new();
    let mut rows = Vec::new();
    let pools = pools(told, &ours);
    if pools.is_empty() {
        let ports = ours.ports.iter().map(|port| port.number.to_string()).collect::<Vec<_>>();
        findings.push(Finding {
            about: "HAProxy".to_owned(),
            kind: Mismatch::NoPool,
            detail: format!("no pool of this HAProxy asks this rolecall, which answers at port {}", ports.join(", ")),
            hint: "is it the right HAProxy? `agent-port` of a server names the port; `rolecall haproxy` prints a whole \
                   configuration"
                .to_owned(),
            alarm: Some(Alarm::Warning),
        });
    }
    for pool in &pools {
        for server in &pool.servers {
            let asked = ours.asked(server);
            let node = ours.node(server, asked, &here);
            let service =
                asked.and_then(|port| port.service.clone()).or_else(|| pool.service.clone());
            let said = service.as_deref().and_then(|service| said(node?, service));
            let side = Side { server, pool, ours: &ours, asked, said };
            findings.extend(side.findings());
            rows.push(Row {
                pool: pool.name.to_owned(),
                server: server.name.clone(),
                status: server.status.clone(),
                since_s: server.since,
                agent_status: server.agent_status.clone(),
                agent_port: server.state.map(|state| state.agent_port),
                service,
                node: node.map(|node| text(&node["node"]).to_owned()),
                state: said.map(|said| text(&said["state"]).to_owned()),
            });
        }
        // Behind what is known of its servers: that is the cause of it.
        findings.extend(of_pool(pool));
    }
    let servers: Vec<&Server> =
        pools.iter().flat_map(|pool| pool.servers.iter().copied()).collect();
    findings.extend(faults::of(told, &servers));
    // Of equal ones in HAProxy's own order.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.alarm));
    let version = told.version.map(|(major, minor, patch)| format!("{major}.{minor}.{patch}"));
    Sides { version, servers: rows, findings }
}

/// What rolecall says of a node for a service.
fn said<'v>(node: &'v Value, service: &str) -> Option<&'v Value> {
    list(&node["services"]).find(|of| of["service"] == service)
}

/// The pools that have to do with rolecall.
fn pools<'t>(told: &'t Told, ours: &Ours<'_>) -> Vec<Pool<'t>> {
    let mut pools: Vec<Pool<'t>> = Vec::new();
    for server in &told.servers {
        match pools.iter_mut().find(|pool| pool.name == server.pool) {
            Some(pool) => pool.servers.push(server),
            None => pools.push(Pool {
                name: &server.pool,
                servers: vec![server],
                service: None,
                writes: false,
            }),
        }
    }
    pools.retain_mut(|pool| {
        let named = ours.named(pool.name);
        let asks = pool.servers.iter().filter_map(|server| ours.asked(server));
        let asked: Vec<&str> = asks.clone().filter_map(|port| port.service.as_deref()).collect();
        let is_ours = named.is_some() || asks.count() > 0;
        // The one that most ask for; where as many ask for another, the name alone could tell.
        let count = |service: &str| asked.iter().filter(|of| **of == service).count();
        let most = asked.iter().copied().max_by_key(|service| count(service));
        let clear =
            most.filter(|most| asked.iter().all(|of| of == most || count(of) < count(most)));
        pool.service = named.or_else(|| clear.map(str::to_owned));
        let roles = pool.service.as_deref().and_then(|service| ours.service(service));
        pool.writes =
            roles.is_some_and(|service| service["roles"] == serde_json::json!(["primary"]));
        is_ours
    });
    pools
}

fn of_pool(pool: &Pool<'_>) -> Option<Finding> {
    let up: Vec<&str> = pool
        .servers
        .iter()
        .filter(|server| server.is_up() && !server.is_draining() && !server.backup)
        .map(|server| server.name.as_str())
        .collect();
    let about = pool.name.to_owned();
    if pool.writes && up.len() > 1 {
        return Some(Finding {
            about,
            kind: Mismatch::SeveralUp,
            detail: format!("{} servers are UP in the pool for writes: {}", up.len(), up.join(", ")),
            hint: "during a switchover this lasts for one agent check; else stop writes and follow \"two servers are UP\" \
                   in docs/symptoms.md"
                .to_owned(),
            alarm: Some(Alarm::Critical),
        });
    }
    let anybody = pool.servers.iter().any(|server| server.is_up() && !server.is_draining());
    (!anybody).then(|| Finding {
        about,
        kind: Mismatch::NobodyUp,
        detail: format!(
            "none of the {} servers of this pool takes connections: {}",
            pool.servers.len(),
            if pool.writes { "nobody can write" } else { "no server of it takes reads; a frontend like the shipped one sends them to the primary" }
        ),
        hint: "what is said here of its servers comes first. Then see `rolecall status` on the host of each server: if all \
               are standbys, none was promoted (patronictl list; repmgr cluster show; with kind = postgres promote one \
               yourself). docs/symptoms.md goes on from there"
            .to_owned(),
        alarm: Some(if pool.writes { Alarm::Critical } else { Alarm::Warning }),
    })
}

/// One server between the two sides.
struct Side<'a> {
    server: &'a Server,
    pool: &'a Pool<'a>,
    ours: &'a Ours<'a>,
    asked: Option<&'a Port>,
    said: Option<&'a Value>,
}

impl Side<'_> {
    fn finding(
        &self,
        kind: Mismatch,
        alarm: Alarm,
        detail: String,
        hint: impl Into<String>,
    ) -> Finding {
        Finding { about: self.server.path(), kind, detail, hint: hint.into(), alarm: Some(alarm) }
    }

    /// Critical where it is about writes.
    fn grave(&self) -> Alarm {
        if self.pool.writes { Alarm::Critical } else { Alarm::Warning }
    }

    fn findings(&self) -> Vec<Finding> {
        let all = [self.place(), self.agent(), self.words(), self.name(), self.state()];
        all.into_iter().flatten().collect()
    }

    /// Where it asks.
    fn place(&self) -> Option<Finding> {
        let (server, state) = (self.server, self.server.state?);
        if !state.agent_configured {
            return None;
        }
        let port = state.agent_port;
        let Some(asked) = self.asked else {
            let known: Vec<String> = self.ours.ports.iter().map(Port::shown).collect();
            let detail = format!(
                "server {} asks at port {port}, at which this rolecall answers nobody; it answers at {}",
                server.name,
                known.join(", ")
            );
            let hint = format!(
                "correct `agent-port` (and `agent-addr`) of server {} in HAProxy's configuration",
                server.name
            );
            return Some(self.finding(Mismatch::WrongPort, self.grave(), detail, hint));
        };
        if let (Some(asks), Some(wanted)) = (&asked.service, &self.pool.service)
            && asks != wanted
        {
            let detail = format!(
                "server {} asks at port {port}, which is the service {asks}; the pool {} is for {wanted}",
                server.name, self.pool.name
            );
            let right = self
                .ours
                .ports
                .iter()
                .find(|of| of.service.as_ref() == Some(wanted) && of.node == asked.node);
            let right = right.map_or_else(
                || format!("that of the service {wanted}"),
                |of| of.number.to_string(),
            );
            let hint = format!(
                "let `agent-port` of server {} be {right}; clients of this pool may reach a server that must not serve them",
                server.name
            );
            return Some(self.finding(Mismatch::WrongService, self.grave(), detail, hint));
        }
        let other = asked.node.as_deref().filter(|node| *node != server.name)?;
        let is_a_node = self.ours.nodes.iter().any(|node| node["node"] == server.name.as_str());
        is_a_node.then(|| {
            let detail = format!("server {} asks at port {port}, which is about node {other}", server.name);
            let hint = format!("let server {} ask at the port of its own node, or give the server the name of the node that it is", server.name);
            self.finding(Mismatch::WrongNode, self.grave(), detail, hint)
        })
    }

    /// Whether it asks, and is answered.
    fn agent(&self) -> Option<Finding> {
        let (server, path) = (self.server, self.server.path());
        if !server.asks() {
            // Without `show servers state` nobody knows which of the two it is.
            let disabled = server.state.is_none_or(|state| state.agent_configured);
            if disabled {
                let detail = format!(
                    "the agent check of server {} is disabled: it stays as it is ({}), whatever its node becomes",
                    server.name, server.status
                );
                let hint = format!(
                    "once it is to follow its node again, at HAProxy's socket: enable agent {path}"
                );
                return Some(self.finding(Mismatch::AgentDisabled, Alarm::Warning, detail, hint));
            }
            let detail = format!(
                "server {} has no agent check, so it does not follow the role of its node",
                server.name
            );
            let hint = "add `agent-check agent-port 5555 agent-inter 500ms` to `default-server`, as in haproxy/haproxy.cfg";
            return Some(self.finding(Mismatch::NoAgentCheck, self.grave(), detail, hint));
        }
        if server.is_heard() || server.agent_status.is_empty() {
            return None;
        }
        let why = match server.agent_said.as_str() {
            "" => server.agent_status.clone(),
            said => format!("{}: {said}", server.agent_status),
        };
        if server.agent_status == "INI" {
            let detail = format!("HAProxy has not heard the agent of server {} yet", server.name);
            let hint = "the first agent check may take `agent-inter`; ask again";
            return Some(self.finding(Mismatch::AgentSilent, Alarm::Warning, detail, hint));
        }
        let keeps = if server.is_maint() {
            "it stays in MAINT, also when its node is promoted"
        } else {
            "it keeps the state that it was last told, until its health check fails"
        };
        let detail = format!(
            "HAProxy gets no answer from the agent of server {} ({why}): {keeps}",
            server.name
        );
        let hint = "start rolecall on that host, or open the way to its agent port; `nc HOST PORT` from HAProxy's host shows \
                    whether somebody answers";
        let alarm = if server.is_maint() { self.grave() } else { Alarm::Warning };
        Some(self.finding(Mismatch::AgentSilent, alarm, detail, hint))
    }

    /// What HAProxy makes of the answers.
    fn words(&self) -> Option<Finding> {
        let (server, path) = (self.server, self.server.path());
        let odd = ["agent reports an error", "agent warns", "Ignoring incomplete line"];
        if odd.iter().any(|beginning| server.agent_said.starts_with(beginning)) {
            let detail = format!(
                "HAProxy does not understand what the agent of server {} says: {}",
                server.name, server.agent_said
            );
            let hint =
                "does another program answer at that port? else correct `reply` of the service";
            return Some(self.finding(Mismatch::NotUnderstood, self.grave(), detail, hint));
        }
        server.is_down_by_no_word().then(|| {
            let until = if server.is_maint() { " once it leaves MAINT" } else { "" };
            let detail = format!(
                "server {} is DOWN by its agent{until}, though its agent answers and says no such word: somebody said \
                 `agent down`, or HAProxy has a fault",
                server.name
            );
            let hint = format!("at HAProxy's socket: set server {path} agent up; with reply = \"full\" the next answer lifts it");
            self.finding(Mismatch::AgentDown, self.grave(), detail, hint)
        })
    }

    fn name(&self) -> Option<Finding> {
        let server = self.server;
        (server.status == "MAINT (resolution)").then(|| {
            let detail = format!(
                "server {} is in MAINT because its name has no address any more",
                server.name
            );
            let hint = "see HAProxy's `resolvers` and the name servers: show resolvers";
            self.finding(Mismatch::Unresolved, self.grave(), detail, hint)
        })
    }

    /// Whether HAProxy shows what rolecall says.
    fn state(&self) -> Option<Finding> {
        let (server, said) = (self.server, self.said?);
        let long = said["since_ms"].as_u64().is_some_and(|ms| ms >= SETTLED_SECONDS * 1000)
            && server.since.is_none_or(|seconds| seconds >= SETTLED_SECONDS);
        if !long || server.status == "MAINT (resolution)" || server.is_down_by_no_word() {
            return None;
        }
        // A server that is not asked keeps what it was told by hand; one that is not heard is a finding of its own.
        if server.asks() && !server.is_heard() {
            return None;
        }
        let state = text(&said["state"]);
        let name = &server.name;
        // Whoever asks elsewhere is told of another service: its health check fails for that reason.
        if self.place().is_some() {
            return None;
        }
        if state == "ready" && server.status.starts_with("DOWN") {
            let why = match server.check_said.as_str() {
                "" => server.check_status.clone(),
                said => format!("{}: {said}", server.check_status),
            };
            let detail = format!(
                "rolecall answers READY for server {name}, and HAProxy's health check of it fails ({why})"
            );
            let hint = "is the health check's port the agent port, and does it expect what haproxy/haproxy.cfg does?";
            return Some(self.finding(Mismatch::CheckFails, self.grave(), detail, hint));
        }
        let fits = match state {
            "ready" => server.is_up() && !server.is_draining(),
            "drain" => server.is_draining(),
            "not_ready" | "unknown" => !server.is_up(),
            _ => true,
        };
        if fits || server.status.starts_with("MAINT (via") {
            return None;
        }
        let detail = format!(
            "HAProxy shows {} for server {name}, and rolecall's answer has been {state} for {} s",
            server.status,
            said["since_ms"].as_u64().unwrap_or(0) / 1000
        );
        let hint = if server.asks() {
            "does it ask this rolecall, or another one at that address? and does `reply` say what the state means?".to_owned()
        } else {
            format!(
                "its agent check is disabled, so HAProxy keeps what was set by hand; enable agent {} lets the next answer \
                     replace it",
                server.path()
            )
        };
        Some(self.finding(Mismatch::StaleState, self.grave(), detail, hint))
    }
}
