//! The keys of kind `postgres`: PostgreSQL itself.

use std::path::Path;

use crate::config::conninfo::ClientCertificate;
use crate::config::document::Table;
use crate::config::exposure::{Exposure, OpenFile, Risk};
use crate::config::kind::settings::{
    At, HOLD, Lag, Profile, Replicas, Sees, Settings, Surroundings, TIMEOUT,
};
use crate::config::server::{self, Postgres};
use crate::config::warning::Warning;
use crate::look::kind::Shows;
use crate::look::place::Place;

pub(crate) const PROFILE: Profile = Profile {
    word: "postgres",
    keys: &server::KEYS,
    flag: Some("conninfo"),
    timeout: TIMEOUT,
    hold: HOLD,
    sees: Sees {
        role: true,
        replicas: Replicas::Alike,
        lag: Lag::Counted,
        tags: false,
        server: Shows::Server,
    },
    check_defaults: |table, credentials| {
        server::keys(table, credentials);
    },
};

impl Settings for Postgres {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn at(&self) -> At<'_> {
        At::Server(&self.conninfo.place)
    }

    fn server(&self) -> Option<&Postgres> {
        Some(self)
    }

    fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.conninfo.tls.client.as_ref()
    }

    fn exposure(&self) -> Option<Exposure> {
        if self.conninfo.places().all(Place::is_here) {
            return None;
        }
        self.risk(Risk::Role).map(|risk| Exposure::of_login(PROFILE.word, risk))
    }

    fn open_files(&self) -> Vec<OpenFile> {
        self.login_files()
    }

    fn warnings(&self, _: &Surroundings) -> Vec<Warning> {
        self.missing_files()
    }

    fn warning_alone(&self) -> Option<Warning> {
        Some(Warning::PostgresAlone)
    }
}

/// Reads one; `None` only where a problem was reported.
pub(crate) fn read(table: &Table<'_>, credentials: Option<&Path>) -> Option<Postgres> {
    server::read(table, credentials)
}
