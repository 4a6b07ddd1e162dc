//! Who the servers of this cluster are, and where each is asked about: what `rolecall haproxy` writes.
//!
//! Two layouts. With `[source]` there is a rolecall beside every PostgreSQL, configured as this one, and
//! the source knows the others: repmgr by its table, Patroni by `GET /cluster`. With `[[node]]` this one
//! rolecall is asked about all of them, on the host where HAProxy runs unless it listens elsewhere.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::future::try_join_all;

use crate::cli::haproxy::front::{Agent, Front, Naming, Pool, Server, Serves, server_names};
use crate::config::old_worker::OldWorker;
use crate::config::{Config, LOCAL, Node, OLDEST, Service, Source as Configured};
use crate::host::failure::{Exit, Failure};
use crate::look::role::Role;
use crate::reply::routes::Listen;
use crate::source::members::{Member as Listed, reached};
use crate::source::resolve::Resolver;
use crate::source::{RoleSource as _, Source};
use crate::verdict::lock::USUAL_SPAN;
use crate::verdict::state::State;

const TEMPLATE: &str = "copy one of the files in haproxy/, which come with rolecall, and replace \
                        the addresses; or list every server as a [[node]]";

/// One server as somebody else calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    name: String,
    host: String,
    port: u16,
    /// Its place among the configured nodes, where it is one.
    node: Option<usize>,
}

/// What HAProxy is told, and what the operator should know of it.
pub struct Found {
    /// The configuration.
    pub front: Front,
    /// Members that are not in it, and why.
    pub left_out: Vec<String>,
}

/// Asks who the members are and lays them out: the first port for clients is `port`, the next services'
/// the ones after it. `version` is that of the command line, where it has one.
///
/// # Errors
/// [`Exit::Usage`] where version or port will not do, [`Exit::Unavailable`] where a source does not
/// answer, [`Exit::Config`] where the configuration does not say enough.
pub async fn found(
    config: &Config,
    version: Option<(u32, u32)>,
    port: u16,
    naming: Naming,
) -> Result<Found, Failure> {
    let exit = if version.is_some() { Exit::Usage } else { Exit::Config };
    let version = version.unwrap_or(config.haproxy.version);
    if version < OLDEST {
        let what = format_args!("HAProxy {}.{} is too old", version.0, version.1);
        let hint = format_args!(
            "rolecall writes configurations for HAProxy {}.{} and newer",
            OLDEST.0, OLDEST.1
        );
        return Err(Failure::new(exit, what).hint(hint));
    }
    let resolver = Resolver::system();
    let mut left_out = Vec::new();
    let (from, members) = match config.nodes.as_slice() {
        [only] if only.name == LOCAL => listed(only, &resolver, &mut left_out).await?,
        nodes => {
            let members = nodes.iter().enumerate().map(|(at, node)| of_node(at, node, &resolver));
            (
                "expected every server as a [[node]] in rolecall's configuration",
                try_join_all(members).await?,
            )
        }
    };
    let pools = pools(config, &members, port, naming)?;
    let front = Front {
        version,
        from,
        agent_inter: config.haproxy.agent_inter,
        check_fall: config.haproxy.check_fall,
        check_timeout: config.haproxy.check_timeout,
        old_worker: old_worker(config),
        pools,
    };
    Ok(Found { front, left_out })
}

/// By what the configuration says of every node; the soonest counts. repmgr promotes after
/// `failover_after` at the earliest, and then the yes settles. Patroni's times are not in it, and nobody
/// says when the others change.
fn old_worker(config: &Config) -> OldWorker {
    let sources = config.nodes.iter().flat_map(|node| &node.sources);
    let known = |source: &Configured| {
        let settings = source.kind.settings();
        Some(settings.failover_after()? + settings.settle())
    };
    let of = sources.map(|source| match known(source) {
        Some(successor) => OldWorker { successor, known: true },
        None => OldWorker { successor: USUAL_SPAN, known: false },
    });
    let usual = OldWorker { successor: USUAL_SPAN, known: false };
    of.min_by_key(|of| of.successor).unwrap_or(usual)
}

/// The members that the source of the one node knows.
async fn listed(
    node: &Node,
    resolver: &Resolver,
    left_out: &mut Vec<String>,
) -> Result<(&'static str, Vec<Member>), Failure> {
    let mut unusable = None;
    for source in &node.sources {
        let mut asked = match Source::new(source, resolver) {
            Ok(asked) => asked,
            // Another one may know them.
            Err(failure) => {
                unusable = unusable.or(Some(failure));
                continue;
            }
        };
        let Some(members) = asked.members(source.timeout).await.transpose()? else { continue };
        left_out.extend(members.left_out);
        if members.servers.is_empty() {
            let what = format_args!("{} has no server yet", members.from);
            return Err(Failure::new(Exit::Unavailable, what)
                .hint("run this command again once the cluster is up"));
        }
        let servers = members.servers.into_iter().map(|listed| Member::of(listed, None));
        return Ok((members.from, servers.collect()));
    }
    let kind = node.sources.first().map_or("none", |source| source.kind.as_str());
    let what =
        format_args!("a source of kind {kind} does not know the other servers of its cluster");
    Err(unusable.unwrap_or_else(|| Failure::new(Exit::Config, what).hint(TEMPLATE)))
}

/// Where one of the configured nodes is reached by clients: as its source reaches it, or as its source says.
async fn of_node(at: usize, node: &Node, resolver: &Resolver) -> Result<Member, Failure> {
    let name = &node.name;
    for source in &node.sources {
        let found = match source.kind.settings().server() {
            Some(server) => Some(reached(&server.conninfo.place, &format!("node {name}"))?),
            None => Source::new(source, resolver)?.reached(name).await.transpose()?,
        };
        if let Some(found) = found {
            return Ok(Member::of(Listed { name: name.clone(), at: found }, Some(at)));
        }
    }
    let what = format_args!(
        "node {name}: its source does not say at which address clients reach PostgreSQL"
    );
    Err(Failure::new(Exit::Config, what).hint(TEMPLATE))
}

/// One pool for every service that HAProxy can ask about some member, of every cluster.
fn pools(
    config: &Config,
    members: &[Member],
    port: u16,
    naming: Naming,
) -> Result<Vec<Pool>, Failure> {
    // Where a service has one of the short names, each pool is called by its service: no two may have one name.
    let taken = config.services.iter().any(|service| matches!(&*service.name, "rw" | "ro"));
    let naming = if taken { Naming::Services } else { naming };
    let names = server_names(members.iter().map(|member| member.name.as_str()));
    let mut clusters: Vec<Option<&String>> = Vec::new();
    for member in members {
        let cluster = member.cluster(config);
        if !clusters.contains(&cluster) {
            clusters.push(cluster);
        }
    }
    let mut pools: Vec<Pool> = Vec::new();
    for cluster in clusters {
        let of = members.iter().zip(&names).filter(|(of, _)| of.cluster(config) == cluster);
        let of: Vec<_> = of.collect();
        for service in &config.services {
            check_wording(service)?;
            let made = of.iter().map(|(member, name)| server(config, service, member, name));
            let servers: Vec<_> = made.filter_map(Result::transpose).collect::<Result<_, _>>()?;
            if servers.is_empty() {
                continue;
            }
            let above = u16::try_from(pools.len()).ok().and_then(|above| port.checked_add(above));
            let port = above.ok_or_else(|| {
                Failure::new(Exit::Usage, "the ports for clients would exceed 65535").hint(
                    "choose a lower --port: the first service uses it and each further service \
                     uses the next port",
                )
            })?;
            // HAProxy beside this rolecall could not listen there.
            if of.iter().any(|(member, _)| member.node.is_some()) && listens(config, port) {
                let what = format_args!(
                    "port {port} is meant for clients, but rolecall itself listens on it"
                );
                let hint = "choose another --port: the first service uses it and each further \
                            service uses the next port";
                return Err(Failure::new(Exit::Usage, what).hint(hint));
            }
            pools.push(Pool {
                service: service.name.clone(),
                cluster: cluster.cloned(),
                naming,
                port,
                serves: serves(service),
                servers,
            });
        }
    }
    Ok(pools)
}

/// Whether this rolecall listens at a port, on whatever address.
fn listens(config: &Config, port: u16) -> bool {
    config.listens().any(|(listen, _)| listen.port() == port)
}

impl Member {
    fn of(listed: Listed, node: Option<usize>) -> Self {
        let Listed { name, at: (host, port) } = listed;
        Self { name, host, port, node }
    }

    /// The cluster that the configuration has for it.
    fn cluster<'c>(&self, config: &'c Config) -> Option<&'c String> {
        config.nodes.get(self.node?)?.cluster.as_ref()
    }
}

/// The line of one member in the pool of a service; `None` where nobody answers for it.
fn server(
    config: &Config,
    service: &Service,
    member: &Member,
    name: &str,
) -> Result<Option<Server>, Failure> {
    let Some(agent) = agent(config, service, member)? else { return Ok(None) };
    let server = Server::new(name.to_owned(), &member.host, member.port, agent);
    server.map(Some).map_err(|error| {
        let what = format_args!("server {name}: {error}");
        Failure::new(Exit::Config, what).hint("expected an IP address or a host name")
    })
}

fn serves(service: &Service) -> Serves {
    let (roles, tags) = (&service.roles, &service.pool.tags);
    if roles.iter().all(|role| *role == Role::Primary) {
        Serves::Writes
    } else if roles.contains(&Role::Primary) {
        Serves::Any
    } else if !tags.is_empty() || roles.iter().all(|role| role.is_kind_of_replica()) {
        Serves::Part
    } else {
        Serves::Reads
    }
}

/// Where HAProxy asks about this member; `None` where nobody answers for it.
fn agent(config: &Config, service: &Service, member: &Member) -> Result<Option<Agent>, Failure> {
    let Some(node) = member.node.and_then(|at| config.nodes.get(at)) else {
        return beside(config, service, member).map(Some);
    };
    // An address of the node's own asks without a word, which every HAProxy answers soonest.
    if let Some(listen) = node.listen.get(&service.name).and_then(|listen| listen.first()) {
        return Ok(Some(Agent { host: Some(here(*listen)), port: listen.port(), question: None }));
    }
    let (listen, by_word) = asked_at(config, service);
    let question =
        (by_word || config.nodes.len() > 1).then(|| format!("{} {}", node.name, service.name));
    Ok(listen.first().map(|listen| Agent {
        host: Some(here(*listen)),
        port: listen.port(),
        question,
    }))
}

/// The agent on the member's own host, which is configured as this one.
fn beside(config: &Config, service: &Service, member: &Member) -> Result<Agent, Failure> {
    let (listen, by_word) = asked_at(config, service);
    let loopback = |listen: &Listen| matches!(listen, Listen::At(at) if at.ip().is_loopback());
    let away =
        member.host.parse::<IpAddr>().map_or(member.host != "localhost", |ip| !ip.is_loopback());
    let open = listen.iter().find(|listen| !loopback(listen));
    let listen = match (open, listen.first()) {
        (None, Some(first)) if !away => first,
        (Some(open), _) => open,
        (None, _) => {
            let what = format_args!(
                "service {} listens on the loopback address only, so HAProxy cannot ask about {} \
                 at {}",
                service.name, member.name, member.host
            );
            let hint = r#"let the service listen on every address with `listen = "5555"`, and list HAProxy's networks in `allow`"#;
            return Err(Failure::new(Exit::Config, what).hint(hint));
        }
    };
    let question = by_word.then(|| service.name.clone());
    Ok(Agent { host: None, port: listen.port(), question })
}

/// Where a service is asked, and whether by its name: at its own addresses, or at those of one that
/// reads questions.
fn asked_at<'c>(config: &'c Config, service: &'c Service) -> (&'c [Listen], bool) {
    if !service.listen.is_empty() {
        return (&service.listen, service.agent_send);
    }
    let reads = config.services.iter().find(|service| service.agent_send);
    (reads.map(|reads| reads.listen.as_slice()).unwrap_or_default(), true)
}

/// The address of this rolecall as HAProxy has it: beside it, where it listens on all.
fn here(listen: Listen) -> IpAddr {
    match listen {
        Listen::At(at) if !at.ip().is_unspecified() => at.ip(),
        Listen::At(_) | Listen::Everywhere(_) => Ipv4Addr::LOCALHOST.into(),
    }
}

/// `disabled` is lifted by `ready` alone, and the companion check looks for it.
fn check_wording(service: &Service) -> Result<(), Failure> {
    let line = service.answering.wording.line(State::Ready, &"");
    let words = String::from_utf8_lossy(&line).into_owned();
    let words = words.split('#').next().unwrap_or_default();
    if words.split([' ', ',', '\t', '\n']).any(|word| matches!(word, "ready" | "READY")) {
        return Ok(());
    }
    let what = format_args!(
        "service {}: the `reply` for a node that is ready is {:?}, which contains neither `ready` \
         nor `READY`",
        service.name,
        words.trim_end()
    );
    Err(Failure::new(Exit::Config, what).hint(
        r#"use reply = "plain" or reply = "full": no other reply ends HAProxy's state `disabled`"#,
    ))
}
