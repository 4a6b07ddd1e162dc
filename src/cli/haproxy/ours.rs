//! rolecall's side of a comparison with HAProxy: its nodes, and the ports at which each service is asked.
//!
//! It is read from the JSON of the status.

use std::net::IpAddr;

use serde_json::Value;

use crate::cli::haproxy::front::{Naming, pool_name};
use crate::cli::haproxy::told::Server;
use crate::cli::words::list;
use crate::config::LOCAL;

/// A port at which this rolecall answers.
pub struct Port {
    /// `None`: at every address.
    pub ip: Option<IpAddr>,
    /// Its number.
    pub number: u16,
    /// The node that is meant; `None`: the only one, or a question says it.
    pub node: Option<String>,
    /// The service; `None`: a question says it.
    pub service: Option<String>,
}

/// rolecall's side.
pub struct Ours<'s> {
    /// Its nodes.
    pub nodes: Vec<&'s Value>,
    /// Its ports, one for each service of each node that is asked there.
    pub ports: Vec<Port>,
    /// There is a rolecall like this one beside each server.
    beside: bool,
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl<'s> Ours<'s> {
    /// By the JSON of a status.
    pub fn of(status: &'s Value) -> Self {
        let nodes: Vec<&Value> = list(&status["nodes"]).collect();
        let beside = matches!(nodes.as_slice(), [only] if only["node"] == LOCAL);
        let mut ports = Vec::new();
        for node in &nodes {
            for service in list(&node["services"]) {
                for listen in list(&service["listen"]) {
                    let Some((ip, port)) = address(text(&listen["at"])) else { continue };
                    let by_question = listen["agent_send"] == Value::Bool(true);
                    let named = |name: &Value| (!by_question).then(|| text(name).to_owned());
                    let node = named(&node["node"]).filter(|_| !beside);
                    ports.push(Port {
                        ip,
                        number: port,
                        node,
                        service: named(&service["service"]),
                    });
                }
            }
        }
        Self { nodes, ports, beside }
    }

    /// The services by their names, each once.
    fn services(&self) -> Vec<&'s Value> {
        let mut all: Vec<&Value> = Vec::new();
        for service in self.nodes.iter().flat_map(|node| list(&node["services"])) {
            if all.iter().all(|known| known["service"] != service["service"]) {
                all.push(service);
            }
        }
        all
    }

    /// The port at which a server asks.
    pub fn asked(&self, server: &Server) -> Option<&Port> {
        let state = server.state?;
        // Beside each server the others listen at other addresses.
        let here = |port: &&Port| {
            self.beside
                || port.ip.is_none()
                || state.agent_addr.is_none()
                || port.ip == state.agent_addr
        };
        self.ports.iter().filter(here).find(|port| port.number == state.agent_port)
    }

    /// The service that a pool is for by its name.
    pub fn named(&self, pool: &str) -> Option<String> {
        let clusters = self.nodes.iter().map(|node| node["cluster"].as_str());
        let clusters: Vec<_> = clusters.chain([None]).collect();
        let of = |service: &str| {
            let names = |cluster| {
                [Naming::Short, Naming::Services].map(|naming| pool_name(cluster, service, naming))
            };
            clusters.iter().any(|cluster| names(*cluster).iter().any(|name| name == pool))
        };
        self.services()
            .into_iter()
            .map(|of| text(&of["service"]))
            .find(|s| of(s))
            .map(str::to_owned)
    }

    /// The service of this name, as any node has it.
    pub fn service(&self, name: &str) -> Option<&'s Value> {
        self.services().into_iter().find(|service| service["service"] == name)
    }

    /// The node that a server is: by its port, else by its name, else because it is this host.
    pub fn node(
        &self,
        server: &Server,
        asked: Option<&Port>,
        here: &impl Fn(IpAddr) -> bool,
    ) -> Option<&'s Value> {
        let of = |name: &str| self.nodes.iter().copied().find(|node| node["node"] == name);
        if self.beside {
            let addr = server.state?.agent_addr?;
            return self.nodes.first().copied().filter(|_| here(addr));
        }
        of(asked.and_then(|port| port.node.as_deref()).unwrap_or(&server.name))
    }
}

/// `*:5555`, or an address and a port.
fn address(at: &str) -> Option<(Option<IpAddr>, u16)> {
    if let Some(port) = at.strip_prefix("*:") {
        return Some((None, port.parse().ok()?));
    }
    let at: std::net::SocketAddr = at.parse().ok()?;
    Some((Some(at.ip().to_canonical()), at.port()))
}

impl Port {
    /// For a reader.
    pub fn shown(&self) -> String {
        let Self { number, node, service, .. } = self;
        match (service, node) {
            (Some(service), Some(node)) => format!("{number} ({service} of {node})"),
            (Some(service), None) => format!("{number} ({service})"),
            (None, _) => format!("{number} (by agent-send)"),
        }
    }
}
