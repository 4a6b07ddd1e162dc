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
use crate::look::error::SourceError;
use crate::look::observation::{Lack, Observation};
use crate::look::stamp::Stamp;
use crate::source::RoleSource;
use crate::source::pg::Connector;
use crate::source::pg::role::{self, LEAST, RoleRow, is_lack};
use crate::source::resolve::Resolver;

/// How long a server that lacks a part of what is asked is asked for its role alone: it may be upgraded.
const LACKING: Duration = Duration::from_secs(300);

/// PostgreSQL as a source: a fresh connection and one query a look.
pub struct Postgres {
    connector: Connector,
    query: String,
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
        let connector = Connector::new(settings, timeout, resolver)?;
        Ok(Self {
            connector,
            query: role::query(&[], ""),
            told_hidden: false,
            lacking: None,
            told_lack: false,
        })
    }

    /// Asks for all, or for the role alone where the server lacks a part of the rest.
    async fn ask(&mut self) -> Result<RoleRow, SourceError> {
        let now = Clock::Boot.now();
        if self.lacking.take_if(|(until, _)| *until <= now).is_none() {
            match self.connector.ask(&self.query).await {
                Err(lack) if is_lack(&lack) => {
                    let row = RoleRow::read(&self.connector.ask(LEAST).await?)?;
                    self.lacking = Some((now.plus(LACKING), Arc::clone(&lack.detail)));
                    self.tell_lack(&lack);
                    return Ok(row);
                }
                answered => return RoleRow::read(&answered?),
            }
        }
        RoleRow::read(&self.connector.ask(LEAST).await?)
    }

    fn tell_lack(&mut self, lack: &SourceError) {
        if !std::mem::replace(&mut self.told_lack, true) {
            tracing::warn!(
                %lack,
                hint = "leave max_lag and max_lag_time out for it, or grant what is missing",
                "the server tells its role and not its timeline, its position and its lag"
            );
        }
    }

    fn tell_hidden(&mut self) {
        if !std::mem::replace(&mut self.told_hidden, true) {
            tracing::warn!(
                server = %self.connector.place(),
                user = self.connector.user(),
                "lag is unknown: this user may not read pg_stat_wal_receiver; \
                 hint: GRANT pg_read_all_stats to it"
            );
        }
    }
}

impl RoleSource for Postgres {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        let row = self.ask().await?;
        self.connector.is_direct(row.pid())?;
        if row.hidden() {
            self.tell_hidden();
        }
        let seen = row.observation()?;
        let part = self.lacking.as_ref().map(|(_, said)| Lack::Part(Arc::clone(said)));
        Ok(Observation { expiry: self.connector.expiry(), lack: part.or(seen.lack), ..seen })
    }

    fn waited_for(&self) -> Option<String> {
        self.connector.waited_for()
    }
}
