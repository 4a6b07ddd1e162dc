//! The role of a node as PostgreSQL itself tells it.
//!
//! Alone it cannot tell an old primary that came back from the primary of today: both are out of
//! recovery and take writes. Patroni and repmgr can.
//!
//! A role with LOGIN and nothing else can ask all of this of a primary. On a replica,
//! `pg_stat_wal_receiver` shows such a role no more than a process id; how the replica follows is
//! then unknown, which is logged once. `GRANT pg_read_all_stats` opens it.

use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::host::clock::Clock;
use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::{Expiry, Lack, Observation};
use crate::look::stamp::Stamp;
use crate::source::pg::Connector;
use crate::source::pg::hosts::{Answered, Hosts};
use crate::source::pg::role::{self, LEAST, RoleRow, STARTED, is_lack};
use crate::source::resolve::Resolver;
use crate::source::role_source::RoleSource;

/// How long a server that lacks a part of what is asked is asked for its role alone: it may be upgraded.
const LACKING: Duration = Duration::from_secs(300);

/// PostgreSQL as a source: a fresh connection and one query a look.
pub struct Postgres {
    hosts: Hosts,
    query: Arc<str>,
    /// What is asked of a server that lacks the rest.
    least: Arc<str>,
    told_hidden: bool,
    /// Until when the role alone is asked for, and what the server said of the rest.
    lacking: Option<(Stamp, Arc<str>)>,
    told_lack: bool,
}

impl Postgres {
    /// A source for the server of `settings`, for looks of at most `timeout`. Errors as
    /// [`Connector::new`].
    pub fn new(
        settings: &config::Postgres,
        timeout: Duration,
        resolver: Resolver,
    ) -> Result<Self, SourceError> {
        let hosts = Hosts::own(Connector::each(settings, timeout, resolver)?);
        let (query, least) = if hosts.must_agree() {
            (role::query(&[STARTED], ""), format!("{LEAST},\n       {STARTED}"))
        } else {
            (role::query(&[], ""), LEAST.to_owned())
        };
        Ok(Self {
            hosts,
            query: query.into(),
            least: least.into(),
            told_hidden: false,
            lacking: None,
            told_lack: false,
        })
    }

    /// Asks for all, or for the role alone where the server lacks a part of the rest.
    async fn ask(&mut self) -> Result<Seen, SourceError> {
        let now = Clock::Boot.now();
        self.lacking.take_if(|(until, _)| *until <= now);
        let whole = self.lacking.is_none();
        let agree = self.hosts.must_agree();
        let (query, least) = (Arc::clone(&self.query), Arc::clone(&self.least));
        let asked = self.hosts.ask(|connector| {
            let (query, least) = (Arc::clone(&query), Arc::clone(&least));
            Box::pin(async move {
                let asked = if whole { Some(connector.ask(&query).await) } else { None };
                let (row, lack) = match asked {
                    Some(Err(lack)) if is_lack(&lack) => (connector.ask(&least).await?, Some(lack)),
                    Some(answered) => (answered?, None),
                    None => (connector.ask(&least).await?, None),
                };
                let role = RoleRow::read(&row)?;
                connector.is_direct(role.pid())?;
                let seen = Seen { role, expiry: connector.expiry(), lack };
                Answered::of(seen, &row, agree)
            })
        });
        let seen = asked.await.map_err(|error| error.unwrap_or_else(nowhere))?;
        if let Some(lack) = &seen.lack {
            self.lacking = Some((now.plus(LACKING), Arc::clone(&lack.detail)));
            self.tell_lack(lack);
        }
        Ok(seen)
    }

    fn tell_lack(&mut self, lack: &SourceError) {
        if !std::mem::replace(&mut self.told_lack, true) {
            tracing::warn!(
                %lack,
                hint = "remove max_lag and max_lag_time from the service, or grant what is missing",
                "the server tells rolecall its role, but not its timeline, position and lag"
            );
        }
    }

    fn tell_hidden(&mut self) {
        if !std::mem::replace(&mut self.told_hidden, true) {
            tracing::warn!(
                server = self.hosts.first().map(|server| tracing::field::display(server.place())),
                user = self.hosts.first().map(Connector::user),
                "lag is unknown, because rolecall's user may not read pg_stat_wal_receiver; hint: \
                 GRANT pg_read_all_stats to it"
            );
        }
    }
}

/// What one look came to.
struct Seen {
    role: RoleRow,
    expiry: Expiry,
    /// What the server lacks of what was asked.
    lack: Option<SourceError>,
}

/// A `conninfo` has one host at least.
fn nowhere() -> SourceError {
    SourceError::new(ErrorKind::Unresolved, "`conninfo` contains no host")
}

impl RoleSource for Postgres {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        let Seen { role, expiry, .. } = self.ask().await?;
        if role.hidden() {
            self.tell_hidden();
        }
        let seen = role.observation()?;
        let part = self.lacking.as_ref().map(|(_, said)| Lack::Part(Arc::clone(said)));
        Ok(Observation { expiry, lack: part.or(seen.lack), ..seen })
    }

    fn waited_for(&self) -> Option<String> {
        self.hosts.waited_for()
    }
}
