//! The key of kind `static`: a role that is always the same.

use crate::config::document::Table;
use crate::config::kind::settings::{
    At, HOLD, Lag, Profile, Replicas, Sees, Settings, Surroundings, TIMEOUT,
};
use crate::config::units::{ROLE, or_missing, role, string};
use crate::config::warning::Warning;
use crate::look::kind::Shows;
use crate::look::role::Role;

pub(crate) const PROFILE: Profile = Profile {
    word: "static",
    keys: &["role"],
    flag: Some("role"),
    timeout: TIMEOUT,
    hold: HOLD,
    sees: Sees {
        role: true,
        replicas: Replicas::AsSaid,
        lag: Lag::Unseen,
        tags: false,
        server: Shows::Nothing,
    },
    check_defaults: |table, _| {
        keys(table);
    },
};

/// A role that is always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// This one.
    pub role: Role,
}

impl Settings for Fixed {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn at(&self) -> At<'_> {
        At::Here
    }

    fn warnings(&self, _: &Surroundings) -> Vec<Warning> {
        vec![Warning::StaticRole]
    }
}

/// Reads one; `None` only where a problem was reported.
pub(crate) fn read(table: &Table<'_>) -> Option<Fixed> {
    or_missing(table, "role", keys(table), ROLE, "set it to the node's role")
}

fn keys(table: &Table<'_>) -> Option<Fixed> {
    table.take("role", string(ROLE, role)).map(|role| Fixed { role })
}
