//! A repmgr cluster, registered by repmgr itself.

use std::path::Path;

use rolecall::config::{self, Identity, PasswordFrom};
use rolecall::look::error::SourceError;
use rolecall::look::observation::Observation;
use rolecall::source::RoleSource;
use rolecall::source::repmgr::Repmgr;
use rolecall::source::resolve::Resolver;
use rolecall::verdict::policy::TwoNode;

use crate::server::{PATIENCE, PORT, Server, bindir, run};

/// Who may come in how; `scram` and `rolecall` need their passwords.
const HBA: &str = "host all scram samehost scram-sha-256\nhost all rolecall samehost scram-sha-256\n\
                   host all all samehost trust\nhost replication all samehost trust\n\
                   local replication all trust\n";

/// repmgr's library keeps what repmgrd tells the server.
const CONF: &str = "shared_preload_libraries = 'repmgr'\nmax_replication_slots = 10\n\
                    wal_receiver_status_interval = 1\nwal_retrieve_retry_interval = 100";

/// The password of the role `rolecall`.
pub const PASSWORD: &str = "hunter2";

/// A node: its server and its number.
pub struct Node {
    pub server: Server,
    pub id: i32,
}

impl Node {
    /// The first primary, registered.
    pub fn primary() -> Self {
        let node = Self::writable(1);
        node.repmgr(&["primary", "register"]);
        node
    }

    /// A standby of `primary`, registered.
    pub fn standby(id: i32, primary: &Self) -> Self {
        let mut server = Server::standby_of(&primary.server);
        let name = format!("application_name=db{id}");
        let from = format!("primary_conninfo = '{} {name}'\n", primary.conninfo("postgres"));
        let auto = server.data().join("postgresql.auto.conf");
        std::fs::write(auto, from).unwrap();
        server.start();
        let node = Self { server, id };
        let attached = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'db{id}' AND state = 'streaming'"
        );
        for _ in 0..PATIENCE.as_millis() / 20 {
            if primary.sql(&attached) == "1" {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        node.repmgr(&["standby", "register", "--upstream-node-id=1", "--wait-start=30"]);
        node
    }

    /// A witness of the cluster of `primary`, registered.
    pub fn witness(id: i32, primary: &Self) -> Self {
        let node = Self::writable(id);
        let host = primary.server.addr.to_string();
        node.repmgr(&["witness", "register", "-h", &host, "-U", "postgres", "-d", "repmgr"]);
        node
    }

    fn writable(id: i32) -> Self {
        let mut server = Server::init(HBA, CONF);
        server.start();
        server.sql("CREATE DATABASE repmgr");
        Self { server, id }
    }

    fn conninfo(&self, user: &str) -> String {
        format!("host={} port={PORT} user={user} dbname=repmgr", self.server.addr)
    }

    fn repmgr(&self, words: &[&str]) {
        let conf = format!(
            "node_id={}\nnode_name='db{}'\nconninfo='{}'\ndata_directory='{}'\npg_bindir='{}'\n",
            self.id,
            self.id,
            self.conninfo("postgres"),
            self.server.data().display(),
            bindir().display()
        );
        let conf = self.server.put_secret("repmgr.conf", &conf);
        run(self.server.program("repmgr").arg("-f").arg(conf).args(words));
    }

    /// Runs SQL in repmgr's database as the superuser.
    pub fn sql(&self, sql: &str) -> String {
        run(self.psql("postgres").args(["-c", sql]))
    }

    /// What repmgrd does when it starts: it tells the server which node it is.
    pub fn told(&self, id: i32) {
        self.sql(&format!("SELECT repmgr.set_local_node_id({id})"));
    }

    /// psql in repmgr's database, over the socket.
    pub fn psql(&self, user: &str) -> std::process::Command {
        let mut psql = self.server.program("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", "repmgr", "-h"]);
        psql.arg(self.server.socket_dir());
        psql
    }

    /// Makes the role `rolecall` by the packaged file, and gives it a password.
    pub fn packaged_role(&self) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/sql/rolecall.sql");
        let text = std::fs::read_to_string(file).unwrap();
        let copy = self.server.put_secret("rolecall.sql", &text);
        run(self.psql("postgres").arg("-f").arg(copy));
        self.sql(&format!("ALTER ROLE rolecall PASSWORD '{PASSWORD}'"));
    }

    /// How `user` is told to reach it over TCP.
    pub fn settings(&self, user: &str) -> config::Repmgr {
        settings(&format!("{} sslmode=disable", self.conninfo(user)))
    }

    /// A source for the packaged role.
    pub fn source(&self) -> Repmgr {
        source(&self.with_password())
    }

    /// A source for the superuser, who needs no role of its own.
    pub fn source_as_postgres(&self) -> Repmgr {
        source(&self.settings("postgres"))
    }

    /// Settings for the packaged role.
    pub fn with_password(&self) -> config::Repmgr {
        settings(&format!("{} password={PASSWORD} sslmode=disable", self.conninfo("rolecall")))
    }

    /// Looks once as `user`.
    pub async fn look(&self, user: &str) -> Result<Observation, SourceError> {
        source(&self.settings(user)).observe().await
    }
}

/// Settings with nothing chosen.
pub fn settings(conninfo: &str) -> config::Repmgr {
    config::Repmgr {
        server: config::Postgres {
            conninfo: conninfo.parse().expect(conninfo),
            password: PasswordFrom::Nowhere,
        },
        node: Identity::Told,
        two_node: TwoNode::Maint,
        failover_after: None,
        ask_conf: true,
        settle: PATIENCE,
        trust_refused: true,
        addresses: std::collections::BTreeMap::new(),
        release: None,
    }
}

/// A source whose names all lead nowhere.
pub fn source(settings: &config::Repmgr) -> Repmgr {
    let nobody = Resolver::with(|_| Err(std::io::Error::other("no such name")));
    Repmgr::new(settings, PATIENCE, nobody).unwrap()
}
