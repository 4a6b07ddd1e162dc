//! The key of kind `role_file`: a file that holds the role of the node.

use std::path::PathBuf;

use rolecall::config::document::Table;
use rolecall::config::kind::settings::{At, HOLD, Lag, Profile, Replicas, Sees, Settings, TIMEOUT};
use rolecall::config::units::{PATH, or_missing, path, string};
use rolecall::look::kind::Shows;

pub const PROFILE: Profile = Profile {
    word: "role_file",
    keys: &["file"],
    flag: None,
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

/// A file that holds the role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleFile {
    /// Where it is.
    pub file: PathBuf,
}

impl Settings for RoleFile {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn at(&self) -> At<'_> {
        At::Here
    }
}

/// Reads one; `None` only where a problem was reported.
pub fn read(table: &Table<'_>) -> Option<RoleFile> {
    or_missing(table, "file", keys(table), PATH, r#"such as "/run/failover/role""#)
}

fn keys(table: &Table<'_>) -> Option<RoleFile> {
    table.take("file", string(PATH, path)).map(|file| RoleFile { file })
}
