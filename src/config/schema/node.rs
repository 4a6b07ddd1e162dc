//! `[[node]]`, or `[source]` alone: the nodes that are watched.

use std::path::Path;

use crate::config::document::{Fault, Spot, Table, quote};
use crate::config::schema::source::{defaults, flagged, of_file, sources};
use crate::config::units::{clash, listen, name, string};
use crate::config::{Haproxy, Kind, LOCAL, Node, Source};
use crate::reply::routes::Listen;
use crate::verdict::order::Target;

const LISTEN: &str = r#""ADDRESS:PORT", "[IPV6]:PORT" or "PORT""#;
const NAME: &str = r#"a name, for example "pg1""#;
const SOURCE: &str = r#"for example source = { kind = "patroni", url = "http://10.0.0.1:8008" }"#;

/// Nodes as they are written.
pub struct Written<'d> {
    /// In the order of the file; never empty.
    nodes: Vec<WrittenNode<'d>>,
}

/// A node, before its addresses are held against the services'.
struct WrittenNode<'d> {
    name: Option<String>,
    /// Where the name stands.
    spot: Option<Spot<'d>>,
    cluster: Option<String>,
    sources: Option<Vec<Source>>,
    listen: Vec<ServiceListen<'d>>,
}

/// The addresses at which one service is asked about a node.
struct ServiceListen<'d> {
    service: String,
    spot: Spot<'d>,
    listen: Vec<(Spot<'d>, Listen)>,
}

/// Reads the nodes; what is wrong with them is reported.
pub fn nodes<'d>(
    root: &Table<'d>,
    flags: &Table<'_>,
    credentials: Option<&Path>,
    haproxy: &Haproxy,
) -> Written<'d> {
    let defaults = defaults(root, credentials);
    let tables = root.tables("node");
    if tables.is_empty() {
        let sources = if flags.has("kind") {
            // What the file says of its own is not looked at.
            root.tables("source");
            flagged(flags.clone(), &defaults, credentials, haproxy)
        } else {
            of_file(root, &defaults, credentials, haproxy)
        };
        let name = Some(LOCAL.to_owned());
        let local = WrittenNode { name, spot: None, cluster: None, sources, listen: Vec::new() };
        return Written { nodes: vec![local] };
    }
    if flags.has("kind") {
        let what = "replaces [source], but the file has [[node]]";
        let hint = "choose another file with --config, or change the nodes in the file";
        flags.report("kind", Fault::new(what, "a file without [[node]]", hint));
    }
    if root.has("source") {
        root.spare("source");
        let hint = "move it into its node, as `source`";
        let fault =
            Fault::new("cannot be used together with [[node]]", "[source] or [[node]]", hint);
        root.report("source", fault);
    }
    let mut names = Vec::new();
    let read = |table: Table<'d>| {
        let node = node(&table, &defaults, credentials, haproxy, &names);
        names.extend(node.name.clone());
        node
    };
    Written { nodes: tables.into_iter().map(read).collect() }
}

fn node<'d>(
    table: &Table<'d>,
    defaults: &Table<'_>,
    credentials: Option<&Path>,
    haproxy: &Haproxy,
    before: &[String],
) -> WrittenNode<'d> {
    let read = string(NAME, name);
    let name = table.need("name", NAME, "the name appears in logs and agent checks", &read);
    if let Some(name) = name.as_ref().filter(|name| before.contains(name)) {
        let what = format!("`{name}` is already the name of another node");
        table.report("name", Fault::new(what, "a unique name", "choose another name"));
    }
    if let Some(name) = &name {
        check_free(name, &table.spot("name"));
    }
    let cluster = table.take("cluster", read);
    let listens = table.table("listen");
    let asked = listens.take_each(string(LISTEN, listen)).into_iter();
    let asked = asked.map(|(service, spot, listen)| ServiceListen { service, spot, listen });
    let written = table.tables("source");
    let missing = written.is_empty();
    if missing {
        let fault =
            Fault::new("missing", "set it to where rolecall learns the role of the node", SOURCE);
        table.report("source", fault);
    }
    let sources = sources(written, defaults, credentials, haproxy).filter(|_| !missing);
    table.finish();
    WrittenNode { name, spot: Some(table.spot("name")), cluster, sources, listen: asked.collect() }
}

impl Written<'_> {
    /// Whether there are several.
    pub fn several(&self) -> bool {
        self.nodes.len() > 1
    }

    /// The kinds of every node's sources; none of a node where they are wrong.
    pub fn kinds(&self) -> Vec<Vec<Kind>> {
        let kinds = |node: &WrittenNode<'_>| {
            let sources = node.sources.iter().flatten();
            sources.map(|source| source.kind.clone()).collect()
        };
        self.nodes.iter().map(kinds).collect()
    }

    /// Whether a node has an address for this service.
    pub fn ask(&self, service: &str) -> bool {
        self.nodes.iter().flat_map(|node| &node.listen).any(|asked| asked.service == service)
    }

    /// Reports names that are services' too, and addresses for services that are none of `services`.
    pub(crate) fn check_names(&self, services: &[String]) {
        for node in &self.nodes {
            if let (Some(name), Some(spot)) = (&node.name, &node.spot)
                && services.contains(name)
            {
                let what = format!("`{name}` is already the name of a service");
                let hint = "choose another name: commands and agent checks take either";
                spot.report(Fault::new(what, "a unique name", hint));
            }
            for asked in node.listen.iter().filter(|asked| !services.contains(&asked.service)) {
                let known: Vec<&str> = services.iter().map(String::as_str).collect();
                let what =
                    format!("{} is not a service of this configuration", quote(&asked.service));
                asked.spot.report(Fault::unknown(what, &asked.service, &known));
            }
        }
    }

    /// Reports addresses that cannot be listened on beside the services' or each other.
    pub(crate) fn check_clashes(&self, listeners: &mut Vec<Listen>) {
        let asked = self.nodes.iter().flat_map(|node| &node.listen);
        for (spot, address) in asked.flat_map(|asked| &asked.listen) {
            check_clash(listeners, spot, *address);
        }
    }

    /// The nodes; `None` only where a problem was reported.
    pub(crate) fn into_nodes(self) -> Option<Vec<Node>> {
        let node = |node: WrittenNode<'_>| {
            let addresses = |asked: ServiceListen<'_>| {
                let listen = asked.listen.into_iter().map(|(_, listen)| listen);
                (asked.service, listen.collect())
            };
            Some(Node {
                name: node.name?,
                cluster: node.cluster,
                sources: node.sources?,
                listen: node.listen.into_iter().map(addresses).collect(),
            })
        };
        self.nodes.into_iter().map(node).collect()
    }
}

/// Reports the word that means every service and node at once.
pub(crate) fn check_free(name: &str, spot: &Spot<'_>) {
    if name == Target::default().to_string() {
        let what =
            format!("`{name}` is reserved: `rolecall maint {name}` means every service and node");
        spot.report(Fault::new(what, "a unique name", "choose another name"));
    }
}

/// Reports an address that takes in one that is listened on already, and adds it to them.
pub(crate) fn check_clash(listeners: &mut Vec<Listen>, spot: &Spot<'_>, address: Listen) {
    match listeners.iter().find(|other| clash(**other, address)) {
        Some(other) => spot.report(Fault::new(
            format!("cannot listen on `{address}` and on `{other}` at the same time"),
            "one address and port for each service and node",
            "choose another port: HAProxy selects the service by agent-port",
        )),
        None => listeners.push(address),
    }
}
