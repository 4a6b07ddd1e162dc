//! The keys of kind `pg_auto_failover`: the monitor, the node's own server, and which row of the monitor is the node's.

use std::path::Path;
use std::time::Duration;

use crate::config::conninfo::{ClientCertificate, Conninfo};
use crate::config::document::{Fault, Table};
use crate::config::exposure::{Exposure, OpenFile, Risk};
use crate::config::kind::settings::{
    At, Lag, Profile, Replicas, Sees, Settings, Surroundings, TIMEOUT,
};
use crate::config::server::{self, CONNINFO, Postgres};
use crate::config::units::{integer, or_missing, string, word};
use crate::config::warning::Warning;
use crate::look::auto_failover::MonitorId;
use crate::look::kind::Shows;
use crate::look::place::Place;

/// Over, before a monitor with its own times (`primary_demote_timeout`, 30 s) lets another node take writes: a look and
/// what HAProxy remembers take 4.5 s of it.
const HOLD: Duration = Duration::from_secs(20);

/// The formation of a monitor on which nobody made another one.
const FORMATION: &str = "default";

/// Bytes of a node's name and a formation's: a host name has 253 at most.
const MOST_NAME: usize = 253;

const NAME: &str = "letters, digits and _ - . :";
const MONITOR_HINT: &str =
    r#"such as "host=monitor dbname=pg_auto_failover user=rolecall sslmode=verify-full ...""#;

pub(crate) const PROFILE: Profile = Profile {
    word: "pg_auto_failover",
    keys: &[
        "conninfo",
        "passfile",
        "password_credential",
        "monitor",
        "formation",
        "node_id",
        "node_name",
        "monitor_lost",
    ],
    flag: None,
    timeout: TIMEOUT,
    hold: HOLD,
    sees: Sees {
        role: true,
        replicas: Replicas::Alike,
        lag: Lag::Counted,
        tags: false,
        server: Shows::Server,
    },
    // Those of the server are checked by kind `postgres`, those of the node by kind `repmgr`.
    check_defaults: |table, _| {
        of_monitor(table);
    },
};

/// How a node of pg_auto_failover and its monitor are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgAutoFailover {
    /// The node's own server.
    pub server: Postgres,
    /// The monitor; with the password of the server, where its own string has none.
    pub monitor: Box<Postgres>,
    /// The formation that the node belongs to.
    pub formation: String,
    /// Which of its nodes this is.
    pub node: NodeKey,
    /// What becomes of a primary while the monitor is lost.
    pub lost: MonitorLost,
}

/// Which row of the monitor is the node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKey {
    /// `node_id`
    Id(MonitorId),
    /// `node_name`
    Name(String),
}

/// What becomes of a primary while the monitor is lost for longer than `hold`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonitorLost {
    /// No node takes writes.
    Maint,
    /// The primary goes on while every candidate of its group follows it.
    Standbys,
}

impl Settings for PgAutoFailover {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn at(&self) -> At<'_> {
        At::Server(&self.server.conninfo.place)
    }

    fn server(&self) -> Option<&Postgres> {
        Some(&self.server)
    }

    fn client_certificate(&self) -> Option<&ClientCertificate> {
        let of = |server: &'_ Postgres| server.conninfo.tls.client.is_some();
        let shown = if of(&self.monitor) { &*self.monitor } else { &self.server };
        shown.conninfo.tls.client.as_ref()
    }

    /// Whoever answers for the monitor says who the primary is.
    fn exposure(&self) -> Option<Exposure> {
        let far = |server: &&Postgres| !server.conninfo.places().all(Place::is_here);
        let mut risks = [&*self.monitor, &self.server].into_iter().filter(far);
        let risk = risks.find_map(|server| server.risk(Risk::Role));
        risk.map(|risk| Exposure::of_login(PROFILE.word, risk))
    }

    fn open_files(&self) -> Vec<OpenFile> {
        let mut files = self.server.login_files();
        for file in self.monitor.login_files() {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }

    fn warnings(&self, _: &Surroundings) -> Vec<Warning> {
        self.server.missing_files()
    }
}

/// Reads one; `None` only where a problem was reported.
pub(crate) fn read(table: &Table<'_>, credentials: Option<&Path>) -> Option<PgAutoFailover> {
    let server = server::read(table, credentials);
    let monitor = or_missing(table, "monitor", monitor(table), CONNINFO, MONITOR_HINT);
    let (formation, lost) = rest(table);
    let node = node(table);
    let server = server?;
    let monitor = Box::new(Postgres { conninfo: monitor?, password: server.password.clone() });
    Some(PgAutoFailover { server, monitor, formation: formation?, node: node?, lost: lost? })
}

/// The keys that only this kind has, where `[defaults]` has them.
fn of_monitor(table: &Table<'_>) {
    monitor(table);
    rest(table);
}

fn monitor(table: &Table<'_>) -> Option<Conninfo> {
    server::conninfo_at(table, "monitor")
}

/// `formation` and `monitor_lost`.
fn rest(table: &Table<'_>) -> (Option<String>, Option<MonitorLost>) {
    let formation = table.take("formation", string(NAME, name));
    let formation = formation.or_else(|| (!table.has("formation")).then(|| FORMATION.to_owned()));
    let words = [("maint", MonitorLost::Maint), ("standbys", MonitorLost::Standbys)];
    let lost = table.take("monitor_lost", word(&words));
    let lost = lost.or_else(|| (!table.has("monitor_lost")).then_some(MonitorLost::Maint));
    (formation, lost)
}

fn node(table: &Table<'_>) -> Option<NodeKey> {
    let id = table.take("node_id", integer(1, i32::MAX.unsigned_abs()));
    let called = table.take("node_name", string(NAME, name));
    match (table.has("node_id"), table.has("node_name")) {
        (true, true) => {
            let fault = Fault::new(
                "is set together with `node_id`",
                "`node_id` or `node_name`",
                "remove one of the two",
            );
            table.report("node_name", fault);
            None
        }
        (true, false) => id.map(|id| NodeKey::Id(MonitorId::from(id))),
        (false, _) => {
            let hint = "use the node's name in pg_autoctl show state";
            or_missing(table, "node_name", called, "the name of the node", hint).map(NodeKey::Name)
        }
    }
}

/// Reads a name that stands in a query.
fn name(text: &str) -> Result<String, Fault> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_-.:".contains(&b);
    if text.is_empty() || text.len() > MOST_NAME || !text.bytes().all(fits) {
        let hint = "use the name in pg_autoctl show state; one with other characters can be \
                    changed by pg_autoctl set node metadata --name, or use `node_id`";
        return Err(Fault::new("is not a name that rolecall can ask for", NAME, hint));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_asked_for_is_bounded() {
        assert_eq!(name("node-1.example:5432_a"), Ok("node-1.example:5432_a".to_owned()));
        for wrong in ["", "a'b", "a b", "a\\", "ä", &"n".repeat(MOST_NAME + 1)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        assert!(name(&"n".repeat(MOST_NAME)).is_ok());
    }
}
