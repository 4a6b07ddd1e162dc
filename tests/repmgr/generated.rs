//! What `rolecall haproxy` prints for a real cluster, run by HAProxy on the client's host: beside the
//! nodes' own rolecalls, and beside one rolecall that watches all of them.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::fixtures::netns::{Space, at_home, host};
use crate::fixtures::process::run;
use crate::fixtures::repmgr::{CLIENT, DATA, PATIENCE};
use crate::fixtures::{
    AGENT_PORT, Ground, Haproxy, PG_PORT, PgError, Rolecall, Session, command, eventually,
    haproxies,
};
use crate::stage::{Stage, config};

/// The ports for clients, the second one for reads.
const BESIDE_PORT: u16 = 25_100;
const CENTRAL_PORT: u16 = 25_200;
/// Longest wait for one connection: HAProxy closes it at once where no server is up.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A HAProxy that runs what was printed.
pub struct Generated {
    haproxy: Haproxy,
    port: u16,
    /// The one rolecall that watches all nodes, where it is not theirs that are asked.
    _central: Option<Rolecall>,
    _ground: Ground,
}

/// One question of a client: where it came to, and whether that server takes writes.
type Reached = (String, bool);

impl Generated {
    /// Both ways.
    pub fn start(stage: &Stage) -> [Self; 2] {
        [Self::beside(stage), Self::central(stage)]
    }

    /// For the rolecalls beside the nodes, printed by a standby's: `repmgr.nodes` names the members.
    fn beside(stage: &Stage) -> Self {
        let ground = Ground::new();
        let node = stage.cluster.node(2);
        let file = ground.write(
            "rolecall.toml",
            &config(2, stage.setting, &stage.release, &ground.dir().join("release.key")),
        );
        let text = printed(stage, &ground, node.space(), &file, BESIDE_PORT);
        for id in DATA {
            let line = format!("    server node{id} {}:{PG_PORT} port {AGENT_PORT} ", host(id));
            assert!(text.contains(&line), "no {line:?} in\n{text}");
        }
        assert_eq!(
            text.matches("\n    server ").count(),
            DATA.len(),
            "the witness is none\n{text}"
        );
        Self::run(stage, ground, &text, BESIDE_PORT, None)
    }

    /// For one rolecall on the client's host that is told of every node.
    fn central(stage: &Stage) -> Self {
        let ground = Ground::new();
        let mut text = format!(
            r#"
[[service]]
name = "primary"
roles = ["primary"]
listen = "127.0.0.1:{AGENT_PORT}"
agent_send = true

[[service]]
name = "replica"
roles = ["replica"]
"#
        );
        for id in DATA {
            let host = host(id);
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "[[node]]\nname = \"pg{id}\"\nsource = {{ kind = \"repmgr\", node_id = {id}, conninfo \
                 = \"host={host} port={PG_PORT} dbname=repmgr user=rolecall sslmode=disable\" }}\n"
            );
        }
        let client = stage.cluster.net().space(CLIENT);
        let mut central =
            Rolecall::new(&ground, "central", &stage.release.program, &text).inside(client);
        central.start();
        let file = ground.write("central.toml", &text);
        let text = printed(stage, &ground, client, &file, CENTRAL_PORT);
        assert!(text.contains(r#"agent-send "pg1 primary\n""#), "{text}");
        Self::run(stage, ground, &text, CENTRAL_PORT, Some(central))
    }

    fn run(
        stage: &Stage,
        ground: Ground,
        text: &str,
        port: u16,
        central: Option<Rolecall>,
    ) -> Self {
        let cfg = ground.write("printed.cfg", text);
        let client = stage.cluster.net().space(CLIENT);
        let (_, program) = haproxies().swap_remove(0);
        let haproxy = Haproxy::start_in(Some(client), &ground, &program, &cfg, &[]);
        Self { haproxy, port, _central: central, _ground: ground }
    }

    /// Waits until writes reach node `id`, and sees that they reach nobody else from then on.
    pub fn wait_writes(&self, stage: &Stage, id: u8) {
        let wanted = (host(id).to_string(), true);
        eventually(PATIENCE, &format!("writes at {} reach node{id}", self.port), || {
            let reached = Self::client(stage, self.port)?;
            assert!(reached.1, "writes reached a standby: {reached:?}");
            if reached == wanted { Ok(()) } else { Err(format!("{reached:?}")) }
        });
        for _ in 0..20 {
            // A connection may fail on a busy host; it may not go elsewhere.
            let again = || Self::client(stage, self.port);
            assert_eq!(eventually(PATIENCE, "one more client is let in", again), wanted);
        }
        let servers = self.haproxy.stats().servers().expect("show stat");
        let writes = servers.iter().filter(|(name, _)| name.starts_with("postgres_rw/"));
        let up = writes.filter(|(_, server)| server.is_up()).map(|(name, _)| name);
        let others: Vec<_> = up.filter(|name| !name.ends_with(&id.to_string())).collect();
        assert!(others.is_empty(), "up beside node{id}: {others:?}");
    }

    /// Waits until reads reach a standby.
    pub fn wait_reads(&self, stage: &Stage) {
        eventually(PATIENCE, "reads reach a standby", || {
            let reached = Self::client(stage, self.port + 1)?;
            if reached.1 { Err(format!("{reached:?}")) } else { Ok(()) }
        });
    }

    /// Where a new client of this port comes to.
    fn client(stage: &Stage, port: u16) -> Result<Reached, String> {
        let front = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let asked = stage.cluster.net().space(CLIENT).inside(|| {
            let mut session = Session::connect_as(front, "app", "postgres", AT_ONCE)?;
            let host = session.value("select host(inet_server_addr())")?;
            Ok((host, session.value("select pg_is_in_recovery()")? == "f"))
        });
        asked.map_err(|error: PgError| error.to_string())
    }
}

/// What the command prints in `space`, which every HAProxy here takes without a warning where it is
/// printed for its version.
fn printed(stage: &Stage, ground: &Ground, space: &Space, config: &Path, port: u16) -> String {
    let print = |version: &str| {
        let mut rolecall = command(&stage.release.program, None);
        rolecall.arg("--config").arg(config).args(["haproxy", "--haproxy-version", version]);
        rolecall.args(["--port", &port.to_string()]);
        run(at_home(Some(space), rolecall))
    };
    for (version, program) in haproxies() {
        let cfg = ground.write("checked.cfg", &print(&version));
        Haproxy::check(ground, &program, &cfg, &[]);
    }
    print(&haproxies()[0].0)
}
