//! The file that an operator wrote for the rolecall of one node, read as rolecall reads it.

use std::path::Path;
use std::time::Duration;

use rolecall::config::schema::{Flags, read};
use rolecall::config::{Config, Kind};

use crate::cluster::Id;
use crate::proxy::Haproxy;

/// What an operator wrote for one node; `None`: left to rolecall. Milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct File {
    pub failover_after: Option<u64>,
    pub hold: Option<u64>,
    pub settle: Option<u64>,
    pub interval: Option<u64>,
    pub timeout: Option<u64>,
    /// The service is for replicas as well.
    pub any_role: bool,
    /// In the place of the values that rolecall chose or would accept: a part of the safety taken back.
    pub forced_settle: Option<u64>,
    pub forced_hold: Option<u64>,
}

impl File {
    fn written(&self, id: Id, haproxy: &Haproxy, secret: Option<&Path>) -> String {
        let key = |name: &str, ms: Option<u64>| {
            ms.map(|ms| format!("{name} = \"{ms}ms\"\n")).unwrap_or_default()
        };
        let key_file = secret.map(|file| format!("release_key_file = \"{}\"\n", file.display()));
        let key_file = key_file.unwrap_or_default();
        let keys = [
            key("failover_after", self.failover_after),
            key("hold", self.hold),
            key("settle", self.settle),
            key("interval", self.interval),
            key("timeout", self.timeout),
            key_file,
        ]
        .concat();
        let service = if self.any_role {
            "[[service]]\nname = \"primary\"\nlisten = \"5555\"\nroles = [\"primary\", \"replica\"]\n"
        } else {
            ""
        };
        format!(
            "[haproxy]\nagent_inter = \"{}ms\"\ncheck_timeout = \"{}ms\"\ncheck_fall = {}\n[source]\nkind = \"repmgr\"\n\
             conninfo = \"host=n{} dbname=repmgr user=rolecall\"\nnode_id = {}\n{keys}{service}",
            haproxy.inter,
            haproxy.timeout_check,
            haproxy.fall,
            id + 1,
            id + 1
        )
    }

    pub fn config(&self, id: Id, haproxy: &Haproxy, secret: Option<&Path>) -> Config {
        let text = self.written(id, haproxy, secret);
        let mut config = read("simulated.toml", &text, &Flags::default(), None)
            .unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
            .config;
        let source = &mut config.nodes[0].sources[0];
        if let Some(hold) = self.forced_hold {
            source.hold = Duration::from_millis(hold);
        }
        if let (Some(settle), Kind::Repmgr(repmgr)) = (self.forced_settle, &mut source.kind) {
            repmgr.settle = Duration::from_millis(settle);
        }
        config
    }
}
