//! What a scenario needs beside the cluster, and the configuration that follows from it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::certificates;
use crate::fixtures::patroni::REST_PORT;
use crate::fixtures::patroni_store::Protocol;
use crate::fixtures::release::Release;
use crate::fixtures::{AGENT_PORT, Ground, PG_PORT, rows};
use crate::front::REPLICA_PORT;

const HOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/hooks/patroni-callback");

/// How HAProxy is told where its servers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// By addresses. The first HAProxy there is.
    None,
    /// By names, which it looks up while it runs. The last HAProxy there is.
    Resolved,
}

/// By which wall clock Patroni of node 1 goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Host,
    /// One of its own, which the test sets.
    Own,
}

/// What Patroni calls when a role changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callbacks {
    None,
    /// The hook as it is shipped.
    Shipped,
}

impl Callbacks {
    pub fn are_shipped(self) -> bool {
        self == Self::Shipped
    }
}

/// What a scenario needs beside the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// How many nodes the cluster has.
    pub nodes: u8,
    /// rolecall's `hold`; empty: nobody chose one.
    pub hold: &'static str,
    pub failsafe: bool,
    /// A second `[[source]]`: the server itself.
    pub second_opinion: bool,
    /// More keys of the source.
    pub keys: &'static str,
    /// More keys of the service `replica`.
    pub replica_keys: &'static str,
    /// The API is encrypted and wants client certificates.
    pub tls: bool,
    pub names: Names,
    pub callbacks: Callbacks,
    pub store: Protocol,
    pub clock: Clock,
    /// How often each writer writes a row.
    pub every: Duration,
}

impl Setting {
    pub const USUAL: Self = Self {
        nodes: 2,
        hold: "",
        failsafe: false,
        second_opinion: false,
        keys: "",
        replica_keys: "",
        tls: false,
        names: Names::None,
        callbacks: Callbacks::None,
        store: Protocol::Etcd3,
        clock: Clock::Host,
        every: rows::EVERY,
    };
}

/// A folder that the servers' user can reach, with the shipped hook and the program that it runs.
pub fn hook(ground: &Ground, program: &Path, nodes: u8) -> PathBuf {
    let folder = ground.dir().join("hook");
    std::fs::create_dir(&folder).expect("mkdir");
    for (from, name) in [(Path::new(HOOK), "patroni-callback"), (program, "rolecall")] {
        std::fs::copy(from, folder.join(name)).expect("a copy, with its mode");
    }
    for id in 1..=nodes {
        std::fs::create_dir(ground.dir().join(format!("control{id}"))).expect("mkdir");
    }
    folder
}

/// The configuration of the rolecall beside node `id`.
pub fn config(ground: &Ground, id: u8, setting: Setting, release: &Release) -> String {
    let (rest, scheme) = (ground.addr(id, REST_PORT), if setting.tls { "https" } else { "http" });
    let tls = if setting.tls { certificates::keys(ground) } else { String::new() };
    let keys = setting.keys;
    let hold = match setting.hold {
        "" => String::new(),
        hold => format!("hold = \"{hold}\""),
    };
    let second = if setting.second_opinion {
        format!(
            "[[source]]\nkind = \"postgres\"\nconninfo = \"host={} port={PG_PORT} dbname=postgres \
             user=postgres sslmode=disable\"\n",
            ground.host(id)
        )
    } else {
        String::new()
    };
    let haproxy = release.haproxy_keys();
    let own = ground.dir().join(format!("control{id}"));
    let own = own.display();
    let control = if setting.callbacks.are_shipped() {
        format!("[control]\nsocket = \"{own}/control.sock\"\nstate = \"{own}/orders\"\n")
    } else {
        String::new()
    };
    format!(
        r#"
[haproxy]
{haproxy}

[[source]]
kind = "patroni"
url = "{scheme}://{rest}"
{hold}
{keys}
{tls}
{second}
{control}
[[service]]
name = "primary"
roles = ["primary"]
listen = "{}"

[[service]]
name = "replica"
roles = ["replica"]
listen = "{}"
{}
"#,
        ground.addr(id, AGENT_PORT),
        ground.addr(id, REPLICA_PORT),
        setting.replica_keys,
    )
}
