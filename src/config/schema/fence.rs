//! `[fence]`: whose sessions end on a node that is out. Off unless the section is there.

use std::path::Path;

use crate::config::conninfo::Conninfo;
use crate::config::document::{Fault, Table, quote};
use crate::config::server::{CONNINFO, keys};
use crate::config::units::{network, string};
use crate::config::{Fence, Haproxy, Node, Postgres, Service, Whose};
use crate::look::role::Role;

const CLIENTS: &str = "a network or an address";
const ROLE: &str = "the name of a PostgreSQL role";

/// Longest name of a role, in bytes (`NAMEDATALEN` less one).
const MAX_ROLE: usize = 63;

/// Reads the section; `None` where it is not there or a problem was reported.
pub fn fence(
    root: &Table<'_>,
    credentials: Option<&Path>,
    haproxy: &Haproxy,
    nodes: Option<&[Node]>,
    services: Option<&[Service]>,
) -> Option<Fence> {
    let table = root.table("fence");
    if !root.has("fence") {
        return None;
    }
    let whose = whose(&table);
    let (conninfo, password) = keys(&table, credentials);
    table.finish();
    if root.has("node") {
        let what = "cannot be used together with [[node]]";
        let expected = "[source] only: the fence belongs to the rolecall on the same host as its \
                        server";
        let hint = "configure [fence] for the rolecall on the node's own host";
        root.report("fence", Fault::new(what, expected, hint));
        return None;
    }
    // Where they are wrong that was said.
    let (nodes, services) = (nodes?, services?);
    if !services.iter().any(|service| service.roles.contains(&Role::Primary)) {
        let what = "no service has the role primary, so nothing says when the node is out of \
                    service";
        let hint = "add such a service, or remove [fence]";
        root.report("fence", Fault::new(what, "a service with the role primary", hint));
        return None;
    }
    let first = nodes.first()?;
    let asked =
        first.sources.iter().find_map(|source| Some((source, source.kind.settings().server()?)));
    let source = asked.map(|(source, _)| source).or(first.sources.first())?;
    let default = asked.map(|(_, server)| server);
    let server = match (table.has("conninfo"), default) {
        (true, default) => {
            let server = Postgres { conninfo: conninfo?, password: password? };
            one_host(&table, &server)?;
            same_port(&table, &server, default)?;
            server
        }
        (false, Some(default)) => {
            for key in ["passfile", "password_credential"] {
                if table.has(key) {
                    let fault = Fault::new(
                        "is set without `conninfo`",
                        "`conninfo` too",
                        "the source has its own",
                    );
                    table.report(key, fault);
                    return None;
                }
            }
            // The first is the one that says which server is meant.
            let conninfo = Conninfo { others: Vec::new(), ..default.conninfo.clone() };
            Postgres { conninfo, ..default.clone() }
        }
        (false, None) => {
            let what = format!("is missing: a source of kind {} has none", source.kind.as_str());
            let hint = r#"for example "host=/run/postgresql dbname=postgres user=rolecall""#;
            table.report("conninfo", Fault::new(what, CONNINFO, hint));
            return None;
        }
    };
    Some(Fence { whose: whose?, server, rhythm: source.rhythm(), heard: haproxy.agent_inter })
}

/// What acts does not try one after the other.
fn one_host(table: &Table<'_>, server: &Postgres) -> Option<()> {
    if server.conninfo.others.is_empty() {
        return Some(());
    }
    let hint = "the server's socket, or 127.0.0.1";
    table.report(
        "conninfo",
        Fault::new("contains several hosts", "one host: this host itself", hint),
    );
    None
}

/// Both are on this host, which may have several servers.
fn same_port(table: &Table<'_>, server: &Postgres, source: Option<&Postgres>) -> Option<()> {
    let (own, looked) = (server.conninfo.place.port, source.map(|of| of.conninfo.place.port));
    if looked.is_none_or(|port| port == own) {
        return Some(());
    }
    let what = format!("port {own} belongs to another server than the one that the source polls");
    let expected = format!("port={}", looked.unwrap_or(own));
    table.report(
        "conninfo",
        Fault::new(what, expected, "run a rolecall of its own for each server"),
    );
    None
}

/// Whose sessions; `None` only where a problem was reported.
fn whose(table: &Table<'_>) -> Option<Whose> {
    let clients = table.take_all("clients", string(CLIENTS, network));
    let roles = table.take_all("roles", string(ROLE, role));
    let hint = "list the addresses of the HAProxys, or roles that only their clients use";
    let expected = "`clients` or `roles`";
    match (table.has("clients"), table.has("roles")) {
        (false, false) => table.report("clients", Fault::new("missing", expected, hint)),
        (true, true) => {
            table.report(
                "roles",
                Fault::new("is set together with `clients`", expected, "remove one of the two"),
            );
            return None;
        }
        _ => {}
    }
    let key = if table.has("roles") { "roles" } else { "clients" };
    let empty =
        clients.as_ref().is_some_and(Vec::is_empty) || roles.as_ref().is_some_and(Vec::is_empty);
    if empty {
        table.report(
            key,
            Fault::new("is empty", "at least one entry", "remove [fence] if it must do nothing"),
        );
        return None;
    }
    let clients =
        clients.map(|nets| Whose::Clients(nets.into_iter().map(|(_, net)| net).collect()));
    clients.or_else(|| {
        roles.map(|roles| Whose::Roles(roles.into_iter().map(|(_, role)| role).collect()))
    })
}

fn role(text: &str) -> Result<String, Fault> {
    let plain = |c: char| !c.is_control() && c != '\\';
    if !text.is_empty() && text.len() <= MAX_ROLE && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    let what = format!("{} is not a role name that [fence] accepts", quote(text));
    Err(Fault::new(
        what,
        "1 to 63 bytes, no backslash and no control character",
        "\\du in psql lists the roles",
    ))
}
