//! A node of a repmgr cluster: PostgreSQL's role, and what the node's own repmgr says of the cluster.
//!
//! Nothing is decided here: what a node answers is a vote at most, and [`crate::verdict::quorum`] counts them. One
//! look is one query over a connection of its own, because one that stays open lies; see [`crate::source::pg`].

// repmgr's table cannot be believed alone: a returned old primary still calls itself `primary, active`, a witness is
// writable and out of recovery, a promotion by hand is never written down. The rows of `repmgr.nodes` say where the
// other nodes are, and nothing else of them is used: user, password, database and TLS are this daemon's own.
//
// Which privileges it takes stands in packaging/sql, which makes a role that has no others. A role that may read
// schema `repmgr` itself serves as well; but USAGE on that schema also lets it execute
// `repmgr.repmgrd_pause(true)`, which switches failover off.

mod address;
mod answer;
mod conf;
#[cfg(fuzzing)]
pub mod fuzzing;
mod query;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Identity};
use crate::host::failure::{Exit, Failure};
use crate::look::error::{ErrorKind, SourceError};
use crate::look::measure;
use crate::look::observation::{Expiry, Observation};
use crate::look::place::Place;
use crate::look::repmgr::{Answer, Attached, NodeId, Registered, Row, row};
use crate::source::members::{Member, Members, reached, unavailable};
use crate::source::pg::Connector;
use crate::source::pg::hosts::{Answered, Hosts};
use crate::source::pg::role::{RoleRow, STARTED};
use crate::source::resolve::Resolver;
use crate::source::role_source::{Peers, RoleSource, Source, look};
use crate::verdict::policy::{TwoNode, usual_hold};
use address::Aliases;
pub use answer::MAX_ROWS;
use answer::{Columns, Listed};
use query::{Way, survey};

/// A node of a repmgr cluster as a source.
#[derive(Clone)]
pub struct Repmgr {
    /// Where the node is asked: several where its row, or the own `conninfo`, names several hosts.
    hosts: Hosts,
    /// Known once a look has found out.
    way: Option<Way>,
    own: Option<Own>,
    aliases: Arc<Aliases>,
    resolver: Resolver,
}

/// What only the source of the node's own server has.
#[derive(Clone)]
struct Own {
    connector: Connector,
    node: Identity,
    two_node: TwoNode,
    /// Whether the node's repmgr.conf can be looked at: the server is on this host.
    ask_conf: bool,
    /// Whether `hold` follows from it.
    conf_decides: bool,
    /// `failover_after`, as it was chosen.
    failover_after: Option<Duration>,
    /// What was last said of it.
    told_conf: Option<Result<Duration, String>>,
    told_two_nodes: bool,
    /// The rows whose connection strings were last said to lead nowhere.
    told_lost: Vec<NodeId>,
}

impl Repmgr {
    /// A source for the node's own server, for looks of at most `timeout`. Errors as
    /// [`Connector::new`].
    pub fn new(
        settings: &config::Repmgr,
        timeout: Duration,
        resolver: Resolver,
    ) -> Result<Self, SourceError> {
        let connectors = Connector::each(&settings.server, timeout, resolver.clone())?;
        let connector = connectors[0].clone();
        Ok(Self {
            hosts: Hosts::own(connectors),
            way: None,
            own: Some(Own {
                connector,
                node: settings.node.clone(),
                two_node: settings.two_node,
                ask_conf: is_of_this_host(&settings.server.conninfo.place),
                conf_decides: settings.ask_conf,
                failover_after: settings.failover_after,
                told_conf: None,
                told_two_nodes: false,
                told_lost: Vec::new(),
            }),
            aliases: Arc::new(settings.addresses.clone()),
            resolver,
        })
    }

    /// A source for another node of the cluster, at the places that its row in the own table names,
    /// with all else as for the own server. One made from a peer has nowhere to look.
    #[must_use]
    pub fn peer(&self, row: &Row) -> Self {
        let at = |place: &Place| self.own.as_ref().map(|own| own.connector.at(place.clone()));
        Self {
            hosts: Hosts::listed(row.places.iter().filter_map(at).collect()),
            way: None,
            own: None,
            aliases: Arc::clone(&self.aliases),
            resolver: self.resolver.clone(),
        }
    }

    /// Asks at its hosts.
    async fn ask(&mut self) -> Result<Told, SourceError> {
        let (way, agree) = (self.way, self.hosts.must_agree());
        let asked = self.hosts.ask(|connector| Box::pin(ask(connector, way, agree)));
        let told = asked.await.map_err(|error| error.unwrap_or_else(nowhere));
        self.way = match &told {
            Ok(told) => Some(told.way),
            // What was there is gone, or closed.
            Err(error) if is_shut(error) => None,
            Err(_) => self.way,
        };
        told
    }

    /// Makes an observation of what one server answered.
    async fn heard(
        &mut self,
        role: &RoleRow,
        columns: &Columns,
    ) -> Result<Observation, SourceError> {
        let seen = role.observation()?;
        let listed = columns.listed()?;
        let me = self.own.as_ref().and_then(|own| own.node.among(&listed.table, columns.local_id));
        let failover_after =
            self.own.as_mut().zip(me).and_then(|(own, me)| own.failover_after(me, &listed));
        let mut table = listed.table;
        let streaming = seen.replay.is_some_and(|replay| replay.streaming);
        let attached = if streaming {
            let (sender, told) = (columns.sender.as_ref(), columns.upstream);
            address::attached(&table, sender, told, &self.aliases, &self.resolver).await
        } else {
            Attached::Nobody
        };
        if let Some(own) = &mut self.own {
            if let Some(me) = me {
                address::only_elsewhere(&mut table, me);
            }
            // Only a candidate asks the others.
            if !role.in_recovery() {
                address::mark_shared(&mut table, &self.resolver).await;
            }
            own.tell(&table, me);
        }
        let witness = me
            .and_then(|me| row(&table, me))
            .is_some_and(|row| row.registered == Registered::Witness);
        Ok(Observation {
            // It is writable, and no server of the cluster: it has no role there.
            role: seen.role.filter(|_| !witness),
            upkeep: role.in_recovery().then_some(columns.upkeep),
            repmgr: Some(Arc::new(Answer {
                me,
                system: Arc::clone(&columns.system),
                table: table.into(),
                local_id: columns.local_id,
                upstream: columns.upstream,
                upstream_seen: columns.upstream_seen,
                told: columns.told,
                attached,
                repmgrd_running: columns.repmgrd_running,
                repmgrd_paused: columns.repmgrd_paused,
                failover_after,
            })),
            ..seen
        })
    }
}

/// What one host of a node said.
struct Told {
    way: Way,
    role: RoleRow,
    columns: Columns,
    expiry: Expiry,
}

/// Asks one server; by the way that is known, or the one that is found.
async fn ask(
    connector: &mut Connector,
    known: Option<Way>,
    agree: bool,
) -> Result<Answered<Told>, SourceError> {
    let way = match known {
        Some(way) => way,
        None => survey(connector).await?,
    };
    let more: &[&str] = if agree { &[STARTED] } else { &[] };
    let answered = match connector.ask(&way.look(more)).await {
        Err(error) if is_shut(&error) => {
            // Say exactly what.
            survey(connector).await?;
            Err(error)
        }
        answered => answered,
    }?;
    let role = RoleRow::read(&answered)?;
    connector.is_direct(role.pid())?;
    let columns = Columns::read(&answered)?;
    if role.hidden() {
        let user = connector.user();
        let what = format_args!(
            "user {user:?} is not granted pg_read_all_stats, so it cannot see the WAL receiver"
        );
        return Err(connector.failed(ErrorKind::Grant, what));
    }
    let told = Told { way, role, columns, expiry: connector.expiry() };
    Answered::of(told, &answered, agree)
}

/// Whether an error says that what was asked is not there, or closed to this user.
fn is_shut(error: &SourceError) -> bool {
    matches!(error.kind, ErrorKind::Query | ErrorKind::Grant)
}

impl RoleSource for Repmgr {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        let told = self.ask().await?;
        Ok(Observation { expiry: told.expiry, ..self.heard(&told.role, &told.columns).await? })
    }

    fn waited_for(&self) -> Option<String> {
        self.hosts.waited_for()
    }

    fn peers(&self) -> Option<Peers> {
        let own = self.clone();
        Some(Box::new(move |row| Source::of(own.peer(row))))
    }

    async fn members(&mut self, limit: Duration) -> Option<Result<Members, Failure>> {
        Some(self.registered(limit).await)
    }
}

/// What lists the servers of the cluster.
const FROM: &str = "repmgr.nodes";

impl Repmgr {
    /// The rows of its table, by one look, without the witness: it takes writes and holds no data.
    async fn registered(&mut self, limit: Duration) -> Result<Members, Failure> {
        let seen = look(self, limit).await.map_err(|error| unavailable(FROM, &error))?;
        let table = seen.repmgr.iter().flat_map(|said| said.table.iter());
        let servers = table.filter(|row| row.registered != Registered::Witness);
        let servers = servers.map(|row| {
            let place = row.places.first().ok_or_else(|| {
                let what =
                    format_args!("the row of {} in {FROM} contains no usable address", row.id);
                let hint = "register the node again with a connection string that psql accepts";
                Failure::new(Exit::Unavailable, what).hint(hint)
            })?;
            let at = reached(place, &format!("{} of {FROM}", row.id))?;
            Ok(Member { name: row.name.to_string(), at })
        });
        let servers = servers.collect::<Result<_, Failure>>()?;
        Ok(Members { from: FROM, servers, left_out: Vec::new() })
    }
}

/// Whether the server is on this host: at a socket or a loopback address, or at an address that this
/// host has, which it may therefore bind to.
fn is_of_this_host(place: &Place) -> bool {
    let address = place.hostaddr.or_else(|| place.name().parse().ok());
    place.is_here() || address.is_some_and(|ip| UdpSocket::bind((ip, 0)).is_ok())
}

fn nowhere() -> SourceError {
    SourceError::new(ErrorKind::Unresolved, "its row in repmgr.nodes contains no usable address")
}

impl Identity {
    /// The node of the table that this is.
    fn among(&self, table: &[Row], told: Option<NodeId>) -> Option<NodeId> {
        match self {
            Self::Told => told,
            Self::Id(id) => Some(*id),
            Self::Name(name) => {
                let mut called = table.iter().filter(|row| *row.name == **name);
                called.next().filter(|_| called.next().is_none()).map(|row| row.id)
            }
        }
    }
}

impl Own {
    /// How long repmgr waits before it promotes another node, as this node's repmgr.conf has it at
    /// this moment. Says what was found, and what changes.
    fn failover_after(&mut self, me: NodeId, listed: &Listed) -> Option<Duration> {
        if !self.ask_conf {
            return None;
        }
        let path = listed.conf(me)?;
        let found = conf::failover_after(path, me);
        if self.told_conf.as_ref() != Some(&found) {
            let file = path.display();
            match &found {
                Ok(after) if self.failover_after.is_some_and(|chosen| chosen > *after) => {
                    let chosen = self.failover_after.unwrap_or_default();
                    tracing::warn!(
                        %file,
                        chosen = %measure::time(chosen),
                        waits = %measure::time(*after),
                        "`failover_after` is longer than repmgr waits according to its \
                         repmgr.conf, so the shorter time applies; hint: repmgrd sleeps only \
                         between its attempts, so set `failover_after` to (reconnect_attempts - \
                         1) x reconnect_interval, using the lowest values of all nodes"
                    );
                }
                Ok(_) | Err(_) if !self.conf_decides => {}
                Ok(after) => tracing::info!(
                    %file,
                    failover_after = %measure::time(*after),
                    hold = %measure::time(usual_hold(*after)),
                    "`failover_after` was read from repmgr.conf; hint: set `failover_after` in \
                     rolecall's configuration if other nodes have other values"
                ),
                Err(why) => tracing::warn!(
                    %file,
                    why,
                    "`failover_after` is unknown, so `hold` is 0 s and a single failed poll takes \
                     the primary out of service; hint: set `failover_after` to \
                     (reconnect_attempts - 1) x reconnect_interval of repmgr, using the lowest \
                     values of all nodes"
                ),
            }
            self.told_conf = Some(found.clone());
        }
        found.ok()
    }

    /// Says once what an operator should know of the table.
    fn tell(&mut self, table: &[Row], me: Option<NodeId>) {
        let lost = table.iter().filter(|row| !row.leads_to_its_server() && Some(row.id) != me);
        let lost: Vec<NodeId> = lost.map(|row| row.id).collect();
        if lost != self.told_lost {
            for node in &lost {
                // Not what the row holds: it may be a password.
                tracing::warn!(
                    %node,
                    "the `conninfo` of this node's row in repmgr.nodes cannot be read, or points \
                     only to the host that reads it, so rolecall cannot poll the node and it \
                     never votes; hint: register it again with the `host=` or `hostaddr=` by \
                     which all other nodes reach it: a service file, a socket and localhost mean \
                     something else on every host"
                );
            }
            self.told_lost = lost;
        }
        if electors(table) == 2 && !std::mem::replace(&mut self.told_two_nodes, true) {
            let chosen = match self.two_node {
                TwoNode::Maint => "maint",
                TwoNode::Ready => "ready",
            };
            tracing::warn!(
                two_node = chosen,
                "only two nodes vote. With two_node = \"maint\" the loss of either host stops \
                 writes: if the standby is lost, until it is back; if the primary is lost, until \
                 repmgr has promoted the standby. With two_node = \"ready\" writes go on, but \
                 both nodes accept them if repmgr promotes a standby while the primary is only \
                 cut off; hint: rejoin a deposed primary if there is one, or register a witness \
                 or a third node"
            );
        }
    }
}

/// The rows that count, as [`crate::verdict::quorum`] counts them: all but one deposed primary.
fn electors(table: &[Row]) -> usize {
    let deposed = |row: &Row| row.registered == Registered::Primary && !row.active;
    table.len() - usize::from(table.iter().any(deposed))
}
