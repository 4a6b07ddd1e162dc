//! Real rolecalls in known states: one for several nodes, and one on each of two hosts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::PATIENCE;
use super::file::Choice;
use super::server::{Job, Prometheus};
use crate::fixtures::authority::Authority;
use crate::fixtures::process::run;
use crate::fixtures::web::request;
use crate::fixtures::{AGENT_PORT, Ground, HTTP_PORT, Heard, PG_PORT, Rolecall, ask, eventually};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");

/// The two jobs of Prometheus, one for each layout.
pub const CENTRAL: &str = "central";
pub const BESIDE: &str = "beside";
/// What the targets of the second are given, as docs/metrics.md says.
const LEDGER: &str = "ledger";

/// Places in the block of addresses. The nodes pg1 to pg7 have 1 to 7.
const WATCHER: u8 = 1;
pub const BROKEN: u8 = 8;
const OTHER: u8 = 9;
const DEAD: u8 = 10;
const PATRONI: u8 = 11;
const QUESTIONS: u8 = 12;
const STRANGER: u8 = 14;

const REST_PORT: u16 = 28008;
/// When Patroni's certificate ends: 2100 begins.
const END_YEAR: i32 = 2100;
pub const END: f64 = 4_102_444_800.0;

/// Answers given, and connections and questions refused, in the play.
const CHECKS: [(u8, u32); 5] = [(1, 40), (2, 14), (3, 6), (4, 9), (BROKEN, 20)];
const STRANGERS: u32 = 12;
pub const REFUSED_BY_HTTP: u32 = 8;

/// One rolecall as it is at one moment, with those of its nodes that are chosen.
pub struct Seen {
    pub job: &'static str,
    pub instance: SocketAddr,
    /// The label that Prometheus gives its series.
    pub cluster: Option<&'static str>,
    pub status: Value,
    pub nodes: Vec<Value>,
    /// Whether it refused connections to HTTP in the play.
    pub refused: u32,
}

/// How often the play changed a state: node, service, to.
type Changes = BTreeMap<(&'static str, &'static str, &'static str), u32>;

/// What is known beside /status.
pub struct Now<'a> {
    /// Seconds since 1970.
    pub time: f64,
    /// Changes that the play made: node, service, state.
    pub changes: &'a Changes,
    /// All of the chosen jobs, whatever else is chosen.
    pub of_jobs: Vec<Seen>,
    /// The chosen clusters, whole.
    pub of_clusters: Vec<Seen>,
    /// The target at which nobody answers, where it is chosen.
    pub dead: Option<(&'static str, SocketAddr)>,
    choice: &'a Choice,
}

impl Now<'_> {
    /// Whether this instance is chosen.
    pub fn chooses(&self, instance: SocketAddr) -> bool {
        self.choice.takes("instance", &instance.to_string())
    }
}

pub struct Scene {
    pub ground: Ground,
    rolecalls: Vec<(u8, Rolecall)>,
    changes: Changes,
    _authority: Authority,
}

/// A node's table: its place, its cluster, its source, and its two ports.
fn node(ground: &Ground, n: u8, cluster: Option<&str>, source: &str) -> String {
    let cluster = cluster.map_or_else(String::new, |name| format!("cluster = \"{name}\"\n"));
    let (primary, replica) = (ground.addr(n, AGENT_PORT), ground.addr(n, AGENT_PORT + 1));
    format!(
        "[[node]]\nname = \"pg{n}\"\n{cluster}source = {{ {source} }}\n\
         listen = {{ primary = \"{primary}\", replica = \"{replica}\" }}\n"
    )
}

impl Scene {
    pub fn new() -> Self {
        let ground = Ground::new();
        let authority = Authority::new();
        let rest = patroni(&ground, &authority);
        let word = |n: u8, word: &str| ground.write(&format!("role{n}"), word);
        let cat = |file: PathBuf| {
            format!("kind = \"command\", command = [\"/bin/cat\", \"{}\"]", file.display())
        };
        let slow =
            "kind = \"command\", command = [\"/bin/sh\", \"-c\", \"sleep 0.3; echo replica\"]";
        let lost = "kind = \"command\", command = [\"/bin/false\"]";
        let tls = format!(
            "kind = \"patroni\", url = \"https://{rest}\", server_name = \"pg5\", ca_file = \"{}\", \
             postgres_address = \"none\"",
            authority.ca().display()
        );
        let mut config = format!(
            "[http]\nlisten = \"{}\"\n[defaults]\ninterval = \"500ms\"\ntimeout = \"15s\"\nhold = \"10m\"\n\
             [control]\nsocket = \"{dir}/control.sock\"\npoke = \"{dir}/poke.sock\"\nstate = \"{dir}/orders.json\"\n\
             [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{}\"\nagent_send = true\n\
             [[service]]\nname = \"replica\"\nroles = [\"replica\"]\nallow = \"{}\"\n",
            ground.addr(WATCHER, HTTP_PORT),
            ground.addr(QUESTIONS, AGENT_PORT),
            ground.host(STRANGER),
            dir = ground.dir().display(),
        );
        for (n, cluster, source) in [
            (1, Some("orders"), cat(word(1, "primary"))),
            (2, Some("orders"), cat(word(2, "replica"))),
            (3, Some("orders"), cat(word(3, "replica"))),
            (4, Some("users"), lost.to_owned()),
            (5, Some("users"), tls),
            (6, Some("users"), cat(word(6, "primary"))),
            (7, None, slow.to_owned()),
        ] {
            config += &node(&ground, n, cluster, &source);
        }
        let beside = |n: u8, more: &str| {
            format!(
                "[http]\nlisten = \"{}\"\nallow = \"127.0.0.1\"\n\
                 [[source]]\nkind = \"command\"\ncommand = [\"/bin/echo\", \"primary\"]\n{more}\
                 [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{}\"\n",
                ground.addr(n, HTTP_PORT),
                ground.addr(n, AGENT_PORT)
            )
        };
        // An old primary: its second source, of the same kind, disagrees, and its fence finds no server.
        let fenced = format!(
            "[[source]]\nkind = \"command\"\ncommand = [\"/bin/echo\", \"replica\"]\n\
             [fence]\nclients = [\"10.0.0.10\"]\n\
             conninfo = \"host={} port={PG_PORT} dbname=postgres user=rolecall\"\n",
            ground.host(OTHER)
        );
        let configs =
            [(WATCHER, config), (BROKEN, beside(BROKEN, "")), (OTHER, beside(OTHER, &fenced))];
        let rolecalls = configs.map(|(n, config)| {
            (n, Rolecall::new(&ground, &format!("rolecall{n}"), ROLECALL, &config))
        });
        let mut rolecalls = Vec::from(rolecalls);
        for (_, rolecall) in &mut rolecalls {
            rolecall.start();
        }
        let scene = Self { ground, rolecalls, changes: BTreeMap::new(), _authority: authority };
        scene.prepare();
        scene
    }

    /// What is so before Prometheus comes: it counts only what changes under its eyes.
    fn prepare(&self) {
        let order = |words: &[&str]| {
            let mut order = Command::new(ROLECALL);
            order.arg("--config").arg(self.ground.dir().join("rolecall1.toml")).args(words);
            run(order);
        };
        order(&["maint", "primary/pg3"]);
        order(&["drain", "primary/pg6"]);
        self.wait_state("pg6", "primary", "drain");
        // Its last good poll grows old, and is used all the same.
        fs::remove_file(self.ground.dir().join("role3")).expect("role3");
        eventually(PATIENCE, "a poll of pg3 fails", || {
            let status = self.status(WATCHER);
            if status["nodes"][2]["sources"][0]["error"].is_object() { Ok(()) } else { Err(status) }
        });
        let broken = &self.rolecalls[1].1;
        broken.write_config("nonsense");
        broken.reload();
    }

    /// What happens while Prometheus looks.
    pub fn play(&mut self) {
        for (n, times) in CHECKS {
            for _ in 0..times {
                let heard = ask(self.ground.addr(n, AGENT_PORT), PATIENCE).heard;
                assert!(matches!(heard, Heard::Said(_)), "{n}: {heard:?}");
            }
        }
        for _ in 0..STRANGERS {
            let heard = ask(self.ground.addr(1, AGENT_PORT + 1), PATIENCE).heard;
            assert!(!matches!(heard, Heard::Said(ref line) if !line.is_empty()), "{heard:?}");
        }
        for _ in 0..REFUSED_BY_HTTP {
            self.is_refused_by_http();
        }
        for _ in 0..2 {
            let mut stream = connect(self.ground.addr(QUESTIONS, AGENT_PORT));
            stream.write_all(b"nonsense\n").expect("a question");
            stream.read_to_end(&mut Vec::new()).expect("its answer");
        }
        for (role, primary, replica) in
            [("replica", "not_ready", "ready"), ("primary", "ready", "not_ready")]
        {
            self.ground.write("role1", role);
            self.wait_state("pg1", "primary", primary);
            for change in [("pg1", "primary", primary), ("pg1", "replica", replica)] {
                *self.changes.entry(change).or_default() += 1;
            }
        }
    }

    /// From an address that its `allow` lacks.
    fn is_refused_by_http(&self) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((self.ground.host(STRANGER), 0)).into()).expect("bind");
        socket.connect(&self.http(BROKEN).into()).expect("connect");
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        write!(stream, "GET /status HTTP/1.0\r\n\r\n").expect("a request");
        let mut said = String::new();
        // It may be reset, or told 403.
        let _closed = stream.read_to_string(&mut said);
        assert!(!said.contains(" 200 "), "{said}");
    }

    fn wait_state(&self, node: &str, service: &str, state: &str) {
        eventually(PATIENCE, &format!("{service} of {node} is {state}"), || {
            let status = self.status(WATCHER);
            let nodes = status["nodes"].as_array().expect("nodes");
            let mut services =
                nodes.iter().filter(|of| of["node"] == node).flat_map(|of| list(of, "services"));
            if services.any(|of| of["service"] == service && of["state"] == state) {
                Ok(())
            } else {
                Err(status)
            }
        });
    }

    /// The HTTP port of a rolecall.
    pub fn http(&self, n: u8) -> SocketAddr {
        self.ground.addr(n, HTTP_PORT)
    }

    fn status(&self, n: u8) -> Value {
        let answer = request(self.http(n), "GET /status", "", Some(PATIENCE)).expect("/status");
        serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.body))
    }

    pub fn rolecalls(&self) -> usize {
        self.rolecalls.len()
    }

    /// The HTTP ports of all that run.
    pub fn scraped(&self) -> Vec<SocketAddr> {
        self.rolecalls.iter().map(|(n, _)| self.http(*n)).collect()
    }

    /// What Prometheus is to scrape. One target is dead from the start.
    pub fn jobs(&self) -> Vec<Job> {
        let [watcher, broken, other, dead] = [WATCHER, BROKEN, OTHER, DEAD].map(|n| self.http(n));
        vec![
            Job { name: CENTRAL, targets: vec![watcher], cluster: None },
            Job { name: BESIDE, targets: vec![broken, other, dead], cluster: Some(LEDGER) },
        ]
    }

    /// What /status says now of those that are chosen.
    pub fn seen(&self, choice: &Choice) -> Vec<Seen> {
        self.seen_by(&|name, value| choice.takes(name, value))
    }

    fn seen_by(&self, takes: &dyn Fn(&str, &str) -> bool) -> Vec<Seen> {
        let one = |n: u8| {
            let central = n == WATCHER;
            let (job, instance) = (if central { CENTRAL } else { BESIDE }, self.http(n));
            let cluster = (!central).then_some(LEDGER);
            if !takes("job", job) || !takes("instance", &instance.to_string()) {
                return None;
            }
            let status = self.status(n);
            let belongs = |node: &&Value| {
                takes("cluster", cluster_of(node, cluster).unwrap_or_default())
                    && takes("node", node["node"].as_str().expect("a name"))
            };
            let nodes: Vec<_> = list(&status, "nodes").iter().filter(belongs).cloned().collect();
            let refused = if n == BROKEN { REFUSED_BY_HTTP } else { 0 };
            let seen = Seen { job, instance, cluster, status, nodes, refused };
            (!seen.nodes.is_empty()).then_some(seen)
        };
        self.rolecalls.iter().filter_map(|(n, _)| one(*n)).collect()
    }

    pub fn now<'a>(&'a self, prometheus: &Prometheus, choice: &'a Choice) -> Now<'a> {
        let dead = self.http(DEAD);
        let chosen = choice.takes("job", BESIDE) && choice.takes("instance", &dead.to_string());
        Now {
            time: prometheus.time(),
            changes: &self.changes,
            of_jobs: self.seen_by(&|name, value| name != "job" || choice.takes(name, value)),
            of_clusters: self.seen_by(&|name, value| name == "node" || choice.takes(name, value)),
            dead: chosen.then_some((BESIDE, dead)),
            choice,
        }
    }
}

/// The cluster that the series of a node have: the target's where the node has none.
pub fn cluster_of<'a>(node: &'a Value, target: Option<&'a str>) -> Option<&'a str> {
    node["cluster"].as_str().or(target)
}

pub fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream
}

/// A Patroni whose node is the leader, and whose certificate ends as [`END_YEAR`] begins. Its thread ends with the
/// process.
fn patroni(ground: &Ground, authority: &Authority) -> SocketAddr {
    let (certificate, key) = authority.sign_until("pg5", END_YEAR);
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate");
    let config = Arc::new(config);
    let listener = TcpListener::bind(ground.addr(PATRONI, REST_PORT)).expect("listen");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that went away is of no interest.
            let _said = say_leader(stream, config.clone());
        }
    });
    addr
}

fn say_leader(stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut answer = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n".to_owned();
    write!(answer, r#"{{"state":"running","role":"primary","timeline":3}}"#).expect("a string");
    stream.write_all(answer.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}
