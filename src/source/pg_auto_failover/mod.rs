//! A node of pg_auto_failover: what its monitor says of the group, and what its own server says of itself.
//!
//! The two are asked beside each other, each within most of the time of a look, so that one that hangs does not take the
//! other's no along. Rule M (`verdict/monitor.rs`) judges; what the monitor said last goes on with each look
//! while it is silent, with the moment at which it was said.
//!
//! `pg_autoctl` itself is never run: `show state --local` of 2.0 to 2.2 removes a file that the keeper needs.

mod answer;
mod followed;
#[cfg(fuzzing)]
pub mod fuzzing;
mod query;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Row as SqlRow;
use tracing::{info, warn};

use crate::config::{self, MonitorLost};
use crate::host::clock::Clock;
use crate::host::failure::{Exit, Failure};
use crate::host::seldom::Seldom;
use crate::look::auto_failover::{Known, Monitored, NodeState, Row, Settled};
use crate::look::error::{ErrorKind, SourceError};
use crate::look::measure;
use crate::look::observation::{Expiry, Observation};
use crate::look::role::Role;
use crate::look::stamp::Stamp;
use crate::source::members::{Member, Members, unavailable};
use crate::source::pg::hosts::{Answered, Hosts};
use crate::source::pg::role::{RoleRow, STARTED};
use crate::source::pg::{Connector, column};
use crate::source::resolve::Resolver;
use crate::source::role_source::RoleSource;

use answer::{Listed, followers};
pub use answer::{MAX_FOLLOWERS, MAX_ROWS};
use followed::{REPLIES_WITHIN, Replies};

/// How long after a change of the group it is looked at quickly: one change of a failover follows another.
const LIVELY: Duration = Duration::from_secs(3);

/// What lists the nodes.
const FROM: &str = "pgautofailover.node";

/// A node of pg_auto_failover as a source.
pub struct PgAutoFailover {
    monitor: Hosts,
    server: Hosts,
    of_monitor: Arc<str>,
    of_server: Arc<str>,
    /// Which row of the monitor is the node's, in words.
    node: String,
    lost: MonitorLost,
    /// How long the monitor and the server may take, each.
    within: Duration,
    /// The configured `hold`, and what is added to it until HAProxy has forgotten the last READY.
    hold: Duration,
    beside: Duration,
    /// Interval and timeout.
    look: Duration,
    known: Known,
    /// How long the monitor waits before it lets another node take writes; `None` before it was heard.
    demotes_after: Option<Duration>,
    /// When a state in the group last changed.
    changed_at: Option<Stamp>,
    replies: Replies,
    /// What the server last was.
    role: Option<Role>,
    told_hidden: bool,
    /// How the monitor was last said to be lost, and how seldom that is said.
    told_lost: Option<ErrorKind>,
    warnings: Seldom,
}

/// What the server said.
struct Told {
    role: RoleRow,
    system: i64,
    followers: Option<String>,
    expiry: Expiry,
}

impl PgAutoFailover {
    /// A source for the node of `settings`. Errors as [`Connector::new`].
    pub fn new(
        settings: &config::PgAutoFailover,
        source: &config::Source,
        resolver: Resolver,
    ) -> Result<Self, SourceError> {
        let within = source.timeout * 7 / 8;
        let hosts = |server, resolver| Connector::each(server, within, resolver).map(Hosts::own);
        let (monitor, server) =
            (hosts(&*settings.monitor, resolver.clone())?, hosts(&settings.server, resolver)?);
        let more: &[&str] = if server.must_agree() { &[STARTED] } else { &[] };
        let started =
            if monitor.must_agree() { format!(",\n       {STARTED}") } else { String::new() };
        let of_monitor = query::of_monitor(&settings.node, &settings.formation, &started);
        let node = match &settings.node {
            config::NodeKey::Id(id) => format!("node {id}"),
            config::NodeKey::Name(name) => format!("node {name}"),
        };
        Ok(Self {
            monitor,
            server,
            of_monitor: of_monitor.into(),
            of_server: query::of_server(settings.lost, more).into(),
            node: format!("{node} of formation {}", settings.formation),
            lost: settings.lost,
            within,
            hold: source.hold,
            beside: source.beside,
            look: source.rhythm().look(),
            known: Known::default(),
            demotes_after: None,
            changed_at: None,
            replies: Replies::default(),
            role: None,
            told_hidden: false,
            told_lost: None,
            warnings: Seldom::default(),
        })
    }

    /// Notes what the monitor answered in a look that began at `began`; why it does not vouch for the node, where it
    /// does not.
    fn hear(&mut self, began: Stamp, listed: Listed) -> Option<SourceError> {
        let Listed { own, rows, demotes_after } = listed;
        if self.demotes_after.is_some() && states(&self.known.rows) != states(&rows) {
            self.changed_at = Some(began);
        }
        self.tell_hold(demotes_after);
        self.demotes_after = Some(demotes_after);
        if self.known.hear(began, own, rows) {
            return None;
        }
        let ago = measure::about(self.known.own()?.reported_ago);
        let what = format_args!(
            "the monitor last heard of {} {ago} ago, and does not reach it either, or no node \
             reports to this monitor",
            self.node
        );
        Some(SourceError::new(ErrorKind::MonitorOld, what))
    }

    /// What is known by the monitor, for the server of this system identifier; `None` before it was heard.
    fn monitored(&self, now: Stamp, system: i64, lost: Option<SourceError>) -> Option<Monitored> {
        let known = self.known.clone();
        let most_hold = most_hold(self.demotes_after?, self.beside);
        // What they replied is used for two looks more, of which `most_hold` has left out one.
        let within = REPLIES_WITHIN.min(most_hold.saturating_sub(self.look));
        let followed = match (self.lost, known.me) {
            (MonitorLost::Standbys, Some(me)) => {
                Some(self.replies.all(now, &known.rows, me, within))
            }
            _ => None,
        };
        Some(Monitored { known, lost, most_hold, system, followed })
    }

    /// Says once, and when it changes, what the monitor leaves of `hold`.
    fn tell_hold(&self, demotes_after: Duration) {
        if self.demotes_after == Some(demotes_after) {
            return;
        }
        let most = most_hold(demotes_after, self.beside);
        let (waits, used) = (measure::time(demotes_after), measure::time(self.hold.min(most)));
        if self.hold > most {
            warn!(
                hold = %measure::time(self.hold),
                used = %used,
                primary_demote_timeout = %waits,
                "`hold` is longer than the monitor's primary_demote_timeout allows, so the shorter \
                 time is used; hint: lower `hold`, or raise pgautofailover.primary_demote_timeout \
                 on the monitor (a formation of Citus allows none)"
            );
        } else {
            info!(
                hold = %used,
                primary_demote_timeout = %waits,
                "primary_demote_timeout was read from the monitor, and `hold` ends before it"
            );
        }
    }

    /// Says when the monitor is lost, in another way than before, and when it is back.
    fn tell_lost(&mut self, now: Stamp, lost: Option<&SourceError>) {
        let kind = lost.map(|error| error.kind);
        if self.told_lost == kind || self.warnings.may(now).is_none() {
            return;
        }
        self.told_lost = kind;
        if let Some(error) = lost {
            let (label, hint) = (error.kind.label(), error.kind.hint());
            warn!(error = label, hint, "the monitor does not vouch for the node: {error}");
        } else {
            info!("the monitor vouches for the node again");
        }
    }

    fn tell_hidden(&mut self) {
        if !std::mem::replace(&mut self.told_hidden, true) {
            warn!(
                "lag is unknown, and monitor_lost = \"standbys\" has no effect, because rolecall's \
                 user may not see who streams; hint: GRANT pg_read_all_stats to it"
            );
        }
    }

    /// What the server said, with what the monitor says.
    fn seen(
        &mut self,
        began: Stamp,
        told: &Told,
        lost: Option<SourceError>,
    ) -> Result<Observation, SourceError> {
        if told.role.hidden() {
            self.tell_hidden();
        }
        let seen = told.role.observation()?;
        self.role = seen.role;
        let streaming = told.followers.as_deref().map(followers).transpose()?;
        self.replies.note(began, &streaming.unwrap_or_default());
        let nothing =
            || SourceError::new(ErrorKind::MonitorOld, "the monitor has said nothing yet");
        let monitored = match self.monitored(began, told.system, lost.clone()) {
            Some(monitored) => Arc::new(monitored),
            None => return Err(lost.unwrap_or_else(nothing)),
        };
        Ok(Observation { monitored: Some(monitored), expiry: told.expiry, ..seen })
    }

    /// The server did not answer: what is to be said by the monitor's word alone, which acts where it is a no.
    fn unseen(
        &mut self,
        began: Stamp,
        error: SourceError,
        lost: Option<SourceError>,
    ) -> Result<Observation, SourceError> {
        self.replies = Replies::default();
        let Some(role) = self.role.filter(|_| !error.kind.is_contrary()) else { return Err(error) };
        let wanted = match role {
            Role::Primary => Settled::Primary,
            _ => Settled::Secondary,
        };
        let Some(said) = self.monitored(began, 0, lost) else { return Err(error) };
        if said.known.own().and_then(Row::settled) == Some(wanted) {
            return Err(error);
        }
        // Whether it takes writes nobody knows.
        Ok(Observation {
            monitored: Some(Arc::new(said)),
            read_only: role == Role::Primary,
            ..Observation::of(role)
        })
    }
}

impl RoleSource for PgAutoFailover {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        let began = Clock::Boot.now();
        let Self { monitor, server, of_monitor, of_server, within, .. } = self;
        let (listed, told) = tokio::join!(
            timed(*within, ask_monitor(monitor, of_monitor)),
            timed(*within, ask_server(server, of_server))
        );
        let lost = match listed {
            Ok(listed) => self.hear(began, listed),
            Err(error) => Some(of_the_monitor(&error)),
        };
        self.tell_lost(began, lost.as_ref());
        match told {
            Ok(told) => self.seen(began, &told, lost),
            Err(error) => self.unseen(began, error, lost),
        }
    }

    fn expects_change(&self) -> bool {
        self.changed_at.is_some_and(|at| Clock::Boot.now().since(at) <= LIVELY)
    }

    async fn members(&mut self, limit: Duration) -> Option<Result<Members, Failure>> {
        let Self { monitor, of_monitor, .. } = self;
        Some(match timed(limit, ask_monitor(monitor, of_monitor)).await {
            Ok(listed) => listed_members(&self.node, &listed),
            Err(error) => Err(unavailable(FROM, &of_the_monitor(&error))),
        })
    }
}

/// The servers of the group.
fn listed_members(node: &str, listed: &Listed) -> Result<Members, Failure> {
    if listed.rows.is_empty() {
        let what = format_args!("{FROM} has no row for {node}");
        let hint = "correct `node_name` or `node_id`, and `formation`: pg_autoctl show state";
        return Err(Failure::new(Exit::Config, what).hint(hint));
    }
    let there = listed.rows.iter().filter(|row| row.goal != NodeState::Dropped);
    let member =
        |row: &Row| Member { name: row.name.to_string(), at: (row.host.to_string(), row.port) };
    Ok(Members { from: FROM, servers: there.map(member).collect(), left_out: Vec::new() })
}

/// The states of all nodes of a group.
fn states(rows: &[Row]) -> Vec<(i64, NodeState, NodeState)> {
    rows.iter().map(|row| (row.id, row.reported, row.goal)).collect()
}

/// Longest hold of a primary: over, in HAProxy too, before the monitor lets another node take writes. The old primary
/// was vouched for by a monitor that had not condemned it, and from then on it waits this long.
fn most_hold(demotes_after: Duration, beside: Duration) -> Duration {
    demotes_after.saturating_sub(beside + Duration::from_millis(1))
}

async fn timed<T>(
    within: Duration,
    asked: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    timeout(within, asked).await.unwrap_or_else(|_| {
        let what = format_args!("no answer within {}", measure::time(within));
        Err(SourceError::new(ErrorKind::Timeout, what))
    })
}

async fn ask_monitor(hosts: &mut Hosts, query: &Arc<str>) -> Result<Listed, SourceError> {
    ask(hosts, query, Listed::read).await.map(|(listed, _)| listed)
}

async fn ask_server(hosts: &mut Hosts, query: &Arc<str>) -> Result<Told, SourceError> {
    let read =
        |row: &SqlRow| Ok((RoleRow::read(row)?, column(row, "system")?, column(row, "followers")?));
    let ((role, system, followers), expiry) = ask(hosts, query, read).await?;
    Ok(Told { role, system, followers, expiry })
}

/// Asks one query at the hosts of one server, and not of a pooler.
async fn ask<T: Send + 'static>(
    hosts: &mut Hosts,
    query: &Arc<str>,
    read: fn(&SqlRow) -> Result<T, SourceError>,
) -> Result<(T, Expiry), SourceError> {
    let agree = hosts.must_agree();
    let asked = hosts.ask(|connector| {
        let query = Arc::clone(query);
        Box::pin(async move {
            let row = connector.ask(&query).await?;
            connector.is_direct(column(&row, "pid")?)?;
            Answered::of((read(&row)?, connector.expiry()), &row, agree)
        })
    });
    let nowhere = || SourceError::new(ErrorKind::Unresolved, "`conninfo` contains no host");
    asked.await.map_err(|error| error.unwrap_or_else(nowhere))
}

/// A failure at the monitor: that it refuses is no evidence against the node.
fn of_the_monitor(error: &SourceError) -> SourceError {
    // invalid_schema_name, undefined_function, insufficient_privilege, undefined_object (a setting)
    const LACKS: [&str; 4] = ["3F000", "42883", "42501", "42704"];
    let lacks = LACKS.iter().any(|code| error.detail.contains(&format!("SQLSTATE {code}")));
    let kind = match error.kind {
        kind if kind.is_contrary() => ErrorKind::NoMonitor,
        ErrorKind::Query | ErrorKind::Grant if lacks => ErrorKind::NotMonitor,
        kind => kind,
    };
    SourceError::new(kind, format_args!("the monitor: {error}"))
}
