//! The role of a node as PostgreSQL itself tells it.
//!
//! Alone it cannot tell an old primary that came back from the primary of today: both are out of
//! recovery and take writes. Patroni and repmgr can.
//!
//! A role with LOGIN and nothing else can ask all of this of a primary. On a replica,
//! `pg_stat_wal_receiver` shows such a role no more than a process id; how the replica follows is
//! then unknown, which is logged once. `GRANT pg_read_all_stats` opens it.

use std::time::Duration;

use crate::config;
use crate::observation::{Observation, SourceError};
use crate::source::RoleSource;
use crate::source::pg::Connector;
use crate::source::pg::role::{self, RoleRow};
use crate::source::resolve::Resolver;

/// PostgreSQL as a source: a fresh connection and one query a look.
pub struct Postgres {
    connector: Connector,
    query: String,
    told_hidden: bool,
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
        Ok(Self { connector, query: role::query(&[], ""), told_hidden: false })
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
        let row = RoleRow::read(&self.connector.ask(&self.query).await?)?;
        if row.hidden() {
            self.tell_hidden();
        }
        Ok(Observation { expiry: self.connector.expiry(), ..row.observation()? })
    }
}
