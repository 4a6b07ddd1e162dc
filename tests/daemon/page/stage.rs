//! A rolecall whose page is looked at, and what is done to it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::cluster::Cluster;
use crate::fixtures::{AGENT_PORT, Ground, HTTP_PORT, Heard, Rolecall, ask, eventually, web};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");

/// More than anything here takes; reached only where it never comes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The services at hosts 1 and 2.
const SERVICES: [(u8, &str); 2] = [(1, "primary"), (2, "replica")];

/// A daemon with a page, orders, and a role that it is told by a file.
pub struct Stage {
    pub ground: Ground,
    pub rolecall: Rolecall,
    config: String,
    /// The ports that are asked.
    ports: Vec<SocketAddr>,
}

impl Stage {
    fn new(ground: Ground, config: String, ports: Vec<SocketAddr>) -> Self {
        let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
        rolecall.start();
        Self { ground, rolecall, config, ports }
    }

    /// One node whose role is what a file says.
    pub fn one_node(role: &str) -> Self {
        let ground = Ground::new();
        let word = ground.write("role", role);
        let source = format!("[source]\n{}", command(&word));
        let (config, ports) = config(&ground, &source);
        Self::new(ground, config, ports)
    }

    /// The old primary of a repmgr cluster.
    pub fn of_repmgr(cluster: &Cluster) -> Self {
        let ground = Ground::new();
        let source = format!(
            "[source]\nkind = \"repmgr\"\nnode_id = 1\nconninfo = \"{}\"\nfailover_after = \"50s\"\n",
            cluster.conninfo()
        );
        let (config, ports) = config(&ground, &source);
        Self::new(ground, config, ports)
    }

    /// Three nodes of a cluster: a primary, a replica, and one of which nothing is known. Two are asked, and the
    /// third is asked for by its name.
    pub fn several_nodes() -> Self {
        let ground = Ground::new();
        let mut text = head(&ground);
        let mut ports = Vec::new();
        for (host, service) in SERVICES {
            let asked = ground.addr(12 + host, AGENT_PORT);
            _ = write!(
                text,
                "[[service]]\nname = \"{service}\"\nroles = [\"{service}\"]\nlisten = \"{asked}\"\nagent_send = true\n"
            );
        }
        for (host, name, role) in
            [(1, "pg1", Some("primary")), (3, "pg2", Some("replica")), (5, "pg3", None)]
        {
            let word = ground.dir().join(name);
            if let Some(role) = role {
                std::fs::write(&word, role).expect("a role");
            }
            let [primary, replica] = [host, host + 1].map(|host| ground.addr(host, AGENT_PORT));
            ports.extend([primary, replica]);
            _ = write!(
                text,
                "[[node]]\nname = \"{name}\"\ncluster = \"orders\"\n\
                 listen = {{ primary = \"{primary}\", replica = \"{replica}\" }}\n[[node.source]]\n{}",
                command(&word)
            );
        }
        let stage = Self::new(ground, text, ports);
        stage.is_asked();
        stage
    }

    /// Where its page is.
    pub fn http(&self) -> SocketAddr {
        self.ground.addr(1, HTTP_PORT)
    }

    /// The page that stays as it is.
    pub fn url(&self) -> String {
        format!("http://{}/?refresh=off", self.http())
    }

    /// As it was started.
    pub fn config(&self) -> String {
        self.config.clone()
    }

    /// A file of its own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.ground.dir().join(name)
    }

    /// What /status says now.
    pub fn status(&self) -> Value {
        let answer = web::request(self.http(), "GET /status", "", Some(PATIENCE)).expect("/status");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// Asks every port once, as HAProxy does.
    pub fn is_asked(&self) {
        for port in &self.ports {
            assert!(matches!(ask(*port, PATIENCE).heard, Heard::Said(_)));
        }
    }

    /// The node has another role from now on.
    pub fn becomes(&self, role: &str) {
        std::fs::write(self.path("role"), role).expect("a role");
    }

    /// Nobody knows the role of the node from now on.
    pub fn forgets(&self) {
        std::fs::remove_file(self.path("role")).expect("a role");
    }

    /// Waits until a service at this host answers so.
    pub fn says(&self, host: u8, wanted: &str) {
        eventually(PATIENCE, wanted, || {
            match ask(self.ground.addr(host, AGENT_PORT), PATIENCE).heard {
                Heard::Said(line) if line.starts_with(wanted) => Ok(()),
                heard => Err(heard),
            }
        });
    }

    /// Waits until the service at this place is in this state.
    pub fn state(&self, at: usize, wanted: &str) {
        eventually(PATIENCE, wanted, || {
            let service = self.status()["nodes"][0]["services"][at].clone();
            if service["state"] == wanted { Ok(()) } else { Err(service) }
        });
        self.is_asked();
    }

    /// Gives an order.
    pub fn orders(&self, words: &[&str]) {
        let mut order = Command::new(ROLECALL);
        let done = order.arg("--config").arg(self.path("rolecall.toml")).args(words).output();
        let done = done.expect("rolecall");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Asks for a node that is not there.
    pub fn asks_for_nothing(&self) {
        let mut stream = TcpStream::connect(self.ground.addr(13, AGENT_PORT)).expect("a port");
        stream.write_all(b"pg9\n").expect("a question");
        eventually(PATIENCE, "the question is known", || {
            let asked = self.status()["unknown_questions"].clone();
            if asked[0].is_object() { Ok(()) } else { Err(asked) }
        });
    }
}

fn head(ground: &Ground) -> String {
    let (dir, http) = (ground.dir().display(), ground.addr(1, HTTP_PORT));
    format!(
        "[http]\nlisten = \"{http}\"\n\
         [control]\nsocket = \"{dir}/control.sock\"\nstate = \"{dir}/orders.json\"\n"
    )
}

fn command(word: &std::path::Path) -> String {
    let word = word.display();
    format!(
        "kind = \"command\"\ncommand = [\"/bin/cat\", \"{word}\"]\ninterval = \"200ms\"\nhold = \"0s\"\n"
    )
}

fn config(ground: &Ground, source: &str) -> (String, Vec<SocketAddr>) {
    let mut text = head(ground) + source;
    let mut ports = Vec::new();
    for (host, service) in SERVICES {
        let listen = ground.addr(host, AGENT_PORT);
        _ = write!(
            text,
            "[[service]]\nname = \"{service}\"\nroles = [\"{service}\"]\nlisten = \"{listen}\"\n"
        );
        ports.push(listen);
    }
    (text + "reply = \"full\"\n", ports)
}
