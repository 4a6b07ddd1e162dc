//! What an operator configured, after every check: no component reads anything else.
//!
//! The values and their defaults are here and in the files beside, the kinds of source in [`kind`]; the TOML schema and
//! its checks stand in [`schema`]. Every duration and bound is the one that is used, nothing is optional that has a
//! default.

pub mod address;
pub mod conninfo;
pub mod document;
pub mod exposure;
pub mod haproxy;
pub mod http;
pub mod kind;
pub mod node;
pub mod old_worker;
mod review;
pub mod rhythm;
pub mod schema;
pub mod secret;
pub mod server;
pub mod service;
pub mod units;
pub mod warning;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

pub use crate::config::address::Address;
pub use crate::config::haproxy::{Haproxy, OLDEST};
pub use crate::config::http::{HTTP_PORT, Http, PAGES};
pub use crate::config::kind::Kind;
pub use crate::config::kind::command::Command;
pub use crate::config::kind::fixed::Fixed;
pub use crate::config::kind::patroni::{Patroni, PatroniTls, ServerPort};
pub use crate::config::kind::pg_auto_failover::{MonitorLost, NodeKey, PgAutoFailover};
pub use crate::config::kind::repmgr::{Alias, Identity, Repmgr};
pub use crate::config::kind::settings::Releasing;
pub use crate::config::kind::tcp::Tcp;
pub use crate::config::node::{Node, Source};
pub use crate::config::rhythm::Rhythm;
pub use crate::config::server::{PasswordFrom, Postgres};
pub use crate::config::service::Service;
use crate::host::unit_folders;
use crate::reply::routes::{Listen, Route, Routes};

/// The name of the socket that wakes rolecall up, in the runtime directory that systemd makes.
pub(crate) const POKE_SOCKET: &str = "poke.sock";

/// The port HAProxy's `agent-check` asks.
pub const AGENT_PORT: u16 = 5555;

/// The name of the node that `[source]` describes.
pub(crate) const LOCAL: &str = "local";

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What rolecall is told of HAProxy.
    pub haproxy: Haproxy,
    /// The PostgreSQL nodes that are watched; never empty.
    pub nodes: Vec<Node>,
    /// The questions that are answered about each of them; never empty.
    pub services: Vec<Service>,
    /// The HTTP port, where there is one.
    pub http: Option<Http>,
    /// Where operators give orders, where there is such a place.
    pub control: Option<Control>,
    /// Whose sessions a node keeps that is out: nobody's of these; `None`: everybody's.
    pub fence: Option<Fence>,
    /// Where the log goes.
    pub log: Log,
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// HAProxy's agent-check.
    Agent,
    /// Those who ask over HTTP.
    Http,
}

/// Whose sessions end on a node that is out of recovery and not READY for primaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Whose.
    pub whose: Whose,
    /// The node's own server.
    pub server: Postgres,
    /// Between two attempts, and for one.
    pub rhythm: Rhythm,
    /// From the end of a yes until every HAProxy that lives has asked again: `agent_inter`.
    pub heard: Duration,
}

/// The sessions that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Of clients at these addresses; never empty.
    Clients(Vec<IpNet>),
    /// Of these roles of PostgreSQL; never empty.
    Roles(Vec<String>),
}

/// Where operators give orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The Unix socket.
    pub socket: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// Its group; with one whoever the mode lets in may ask.
    pub group: Option<String>,
    /// The file that orders are kept in.
    pub state: PathBuf,
    /// The socket by which anybody of this host may wake the daemon up.
    pub poke: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: "/run/rolecall/control.sock".into(),
            mode: 0o660,
            group: None,
            state: "/var/lib/rolecall/orders.json".into(),
            poke: "/run/rolecall/poke.sock".into(),
        }
    }
}

impl Control {
    /// The usual socket and the usual file of orders in the folders that the unit's `RuntimeDirectory=` and
    /// `StateDirectory=` made (systemd.exec(5)); `None` where they did not.
    pub fn in_folders_of_the_unit() -> Option<Self> {
        let (run, state) = (unit_folders::runtime()?, unit_folders::state()?);
        if !run.is_absolute() || !state.is_absolute() {
            return None;
        }
        let usual = Self::default();
        let within = |folder: PathBuf, path: &Path| Some(folder.join(path.file_name()?));
        let (socket, state) = (within(run, &usual.socket)?, within(state, &usual.state)?);
        Some(Self { socket, state, ..usual })
    }
}

impl Config {
    /// Every address that is listened on, each once, and what for.
    pub fn listens(&self) -> impl Iterator<Item = (Listen, Purpose)> {
        let of_services = self.services.iter().flat_map(|service| &service.listen);
        let of_nodes = self.nodes.iter().flat_map(|node| node.listen.values().flatten());
        let agent = of_services.chain(of_nodes).map(|listen| (*listen, Purpose::Agent));
        let http = self.http.iter().flat_map(|http| &http.listen);
        agent.chain(http.map(|listen| (*listen, Purpose::Http)))
    }

    /// What is asked at each of them. The address of a service is about the only node, or a question
    /// there says which; that of a node is about it alone.
    pub fn routes(&self) -> Routes {
        let mut routes = Routes::default();
        for (at, service) in self.services.iter().enumerate() {
            for listen in &service.listen {
                let node = (self.nodes.len() == 1).then_some(0);
                let agent_send = service.agent_send;
                routes.add(*listen, Route { node, service: at, agent_send });
            }
            for (node, of) in self.nodes.iter().enumerate() {
                for listen in of.listen.get(&service.name).into_iter().flatten() {
                    let asked = Route { node: Some(node), service: at, agent_send: false };
                    routes.add(*listen, asked);
                }
            }
        }
        routes
    }
}

/// Where the log goes and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Where to.
    pub to: LogTo,
    /// In what form, on stderr.
    pub format: LogFormat,
    /// Least severe level that is written.
    pub level: tracing::Level,
}

/// Where the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTo {
    /// The journal where systemd connected stderr to it, else stderr.
    Auto,
    /// Standard error.
    Stderr,
    /// The systemd journal, with fields.
    Journald,
}

/// The form of a log line on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
