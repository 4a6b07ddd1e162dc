//! The keys of kind `tcp`: a port that clients reach.

use crate::config::address::Address;
use crate::config::document::Table;
use crate::config::kind::settings::{At, HOLD, Lag, Profile, Replicas, Sees, Settings, TIMEOUT};
use crate::config::units::{address, or_missing, string, text};
use crate::look::kind::Shows;

const ADDRESS: &str = "HOST:PORT";

pub(crate) const PROFILE: Profile = Profile {
    word: "tcp",
    keys: &["address", "user"],
    flag: None,
    timeout: TIMEOUT,
    hold: HOLD,
    sees: Sees {
        role: false,
        replicas: Replicas::AsSaid,
        lag: Lag::Unseen,
        tags: false,
        server: Shows::Nothing,
    },
    check_defaults: |table, _| {
        keys(table);
    },
};

/// A port that clients reach, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// Where it is.
    pub address: Address,
    /// In whose name a startup message is sent; `None`: only whether there is TLS is asked.
    pub user: Option<String>,
}

impl Settings for Tcp {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn at(&self) -> At<'_> {
        At::Host(self.address.host.clone())
    }
}

/// Reads one; `None` only where a problem was reported.
pub(crate) fn read(table: &Table<'_>) -> Option<Tcp> {
    let hint = r#"for example "127.0.0.1:6432": the address in HAProxy's `server` line"#;
    or_missing(table, "address", keys(table), ADDRESS, hint)
}

fn keys(table: &Table<'_>) -> Option<Tcp> {
    let user = table.take("user", string("a name", text));
    Some(Tcp { address: table.take("address", string(ADDRESS, address))?, user })
}
