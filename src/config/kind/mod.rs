//! The kinds of source, a file for each: its keys, its defaults, what it can see, what is to be warned of.
//!
//! This file is their registry. What differs between kinds is asked of [`Kind::settings`], and matched on nowhere
//! else but in `source/mod.rs`, where a source is made. docs/sources.md adds a kind step by step.

pub mod command;
pub mod fixed;
pub mod patroni;
pub mod pg_auto_failover;
pub mod postgres;
pub mod repmgr;
pub mod settings;
pub mod tcp;

use std::path::Path;

use crate::config::document::Table;
use crate::config::kind::command::Command;
use crate::config::kind::fixed::Fixed;
use crate::config::kind::patroni::Patroni;
use crate::config::kind::pg_auto_failover::PgAutoFailover;
use crate::config::kind::repmgr::Repmgr;
use crate::config::kind::settings::{Profile, Settings};
use crate::config::kind::tcp::Tcp;
use crate::config::server::Postgres;
use crate::look::kind::SourceKind;

/// The settings of a source, by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Patroni's REST API.
    Patroni(Patroni),
    /// repmgr: PostgreSQL, and the other nodes of its cluster.
    Repmgr(Repmgr),
    /// pg_auto_failover: PostgreSQL, and the monitor of its cluster.
    PgAutoFailover(PgAutoFailover),
    /// PostgreSQL itself.
    Postgres(Postgres),
    /// A port that clients reach, which knows no role.
    Tcp(Tcp),
    /// A program of the operator's.
    Command(Command),
    /// A role that is always the same.
    Static(Fixed),
}

/// A kind as it is known before one is read.
pub struct Entry {
    /// What is the same for all of it.
    pub profile: &'static Profile,
    /// Reads one from the table of a source; the directory is that of the credentials. `None` only where a problem
    /// was reported.
    pub read: fn(&Table<'_>, Option<&Path>) -> Option<Kind>,
}

/// Every kind, in the order in which their words are listed; the first is that of a source that says none.
pub static KINDS: [Entry; 7] = [
    Entry { profile: &patroni::PROFILE, read: |t, _| patroni::read(t).map(Kind::Patroni) },
    Entry { profile: &repmgr::PROFILE, read: |t, c| repmgr::read(t, c).map(Kind::Repmgr) },
    Entry {
        profile: &pg_auto_failover::PROFILE,
        read: |t, c| pg_auto_failover::read(t, c).map(Kind::PgAutoFailover),
    },
    Entry { profile: &postgres::PROFILE, read: |t, c| postgres::read(t, c).map(Kind::Postgres) },
    Entry { profile: &tcp::PROFILE, read: |t, _| tcp::read(t).map(Kind::Tcp) },
    Entry { profile: &command::PROFILE, read: |t, _| command::read(t).map(Kind::Command) },
    Entry { profile: &fixed::PROFILE, read: |t, _| fixed::read(t).map(Kind::Static) },
];

impl Kind {
    /// The settings, to be asked for whatever differs between kinds.
    pub fn settings(&self) -> &dyn Settings {
        match self {
            Self::Patroni(patroni) => patroni,
            Self::Repmgr(repmgr) => repmgr,
            Self::PgAutoFailover(pg_auto_failover) => pg_auto_failover,
            Self::Postgres(postgres) => postgres,
            Self::Tcp(tcp) => tcp,
            Self::Command(command) => command,
            Self::Static(fixed) => fixed,
        }
    }

    /// The same, to be changed.
    pub(crate) fn settings_mut(&mut self) -> &mut dyn Settings {
        match self {
            Self::Patroni(patroni) => patroni,
            Self::Repmgr(repmgr) => repmgr,
            Self::PgAutoFailover(pg_auto_failover) => pg_auto_failover,
            Self::Postgres(postgres) => postgres,
            Self::Tcp(tcp) => tcp,
            Self::Command(command) => command,
            Self::Static(fixed) => fixed,
        }
    }

    /// Whether both look at the same server in the same way, so that one goes on from what the other
    /// saw.
    pub(crate) fn goes_on_from(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Repmgr(one), Self::Repmgr(other)) => one.goes_on_from(other),
            _ => self == other,
        }
    }

    /// As what it saw is judged and told by it.
    pub fn known_as(&self) -> SourceKind {
        let profile = self.settings().profile();
        SourceKind { word: profile.word, shows: profile.sees.server }
    }

    /// The word for this kind in the configuration.
    pub fn as_str(&self) -> &'static str {
        self.settings().profile().word
    }
}
