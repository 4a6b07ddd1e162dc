//! What an operator configured, after every check: no component reads anything else.
//!
//! The TOML schema and its checks stand in [`crate::config::schema`]; here are the values and their
//! defaults. Every duration and bound is the one that is used, nothing is optional that has a default.

pub mod conninfo;
pub mod document;
pub mod exposure;
pub mod old_worker;
pub mod schema;
pub mod secret;
pub mod units;
pub mod warning;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::conninfo::{ClientCertificate, Conninfo};
use crate::look::repmgr::NodeId;
use crate::look::role::Role;
use crate::reply::routes::{Answering, Asked, Listen, Routes};
use crate::verdict::policy::{Electorate, LagLimit, Lock, Policy, Pool, Trust, TwoNode, most_hold};

/// The oldest HAProxy that configurations are written for.
pub const OLDEST: (u32, u32) = (2, 6);

/// The name of the socket that wakes rolecall up, in the runtime directory that systemd makes.
pub const POKE_SOCKET: &str = "poke.sock";

/// The port HAProxy's `agent-check` asks.
pub const AGENT_PORT: u16 = 5555;

/// The port of the HTTP pages, on the loopback address unless another is asked for.
pub const HTTP_PORT: u16 = 5580;

/// The name of the node that `[source]` describes.
pub const LOCAL: &str = "local";

/// Words that are HTTP pages, and so no names of services where there is an HTTP port.
pub const PAGES: [&str; 4] = ["status", "metrics", "live", "ready"];

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What rolecall is told of HAProxy.
    pub haproxy: Haproxy,
    /// The PostgreSQL nodes that are watched; never empty.
    pub nodes: Vec<Node>,
    /// The questions that are answered about each of them; never empty.
    pub services: Vec<Service>,
    /// The HTTP port, where there is one.
    pub http: Option<Http>,
    /// Where operators give orders, where there is such a place.
    pub control: Option<Control>,
    /// Whose sessions a node keeps that is out: nobody's of these; `None`: everybody's.
    pub fence: Option<Fence>,
    /// Where the log goes.
    pub log: Log,
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// HAProxy's agent-check.
    Agent,
    /// Those who ask over HTTP.
    Http,
}

/// The port for those who ask over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Never empty.
    pub listen: Vec<Listen>,
    /// Who may ask; empty: everybody.
    pub allow: Vec<IpNet>,
}

/// Whose sessions end on a node that is out of recovery and not READY for primaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Whose.
    pub whose: Whose,
    /// The node's own server.
    pub server: Postgres,
    /// Between two attempts, and for one.
    pub rhythm: Rhythm,
    /// From the end of a yes until every HAProxy that lives has asked again: `agent_inter`.
    pub heard: Duration,
}

/// The sessions that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Of clients at these addresses; never empty.
    Clients(Vec<IpNet>),
    /// Of these roles of PostgreSQL; never empty.
    Roles(Vec<String>),
}

/// Where operators give orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The Unix socket.
    pub socket: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// Its group; with one whoever the mode lets in may ask.
    pub group: Option<String>,
    /// The file that orders are kept in.
    pub state: PathBuf,
    /// The socket by which anybody of this host may wake the daemon up.
    pub poke: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: "/run/rolecall/control.sock".into(),
            mode: 0o660,
            group: None,
            state: "/var/lib/rolecall/orders.json".into(),
            poke: "/run/rolecall/poke.sock".into(),
        }
    }
}

impl Config {
    /// Every address that is listened on, each once, and what for.
    pub fn listens(&self) -> impl Iterator<Item = (Listen, Purpose)> {
        let of_services = self.services.iter().flat_map(|service| &service.listen);
        let of_nodes = self.nodes.iter().flat_map(|node| node.listen.values().flatten());
        let agent = of_services.chain(of_nodes).map(|listen| (*listen, Purpose::Agent));
        let http = self.http.iter().flat_map(|http| &http.listen);
        agent.chain(http.map(|listen| (*listen, Purpose::Http)))
    }

    /// What is asked at each of them. The address of a service is about the only node, or a question
    /// there says which; that of a node is about it alone.
    pub fn routes(&self) -> Routes {
        let mut routes = Routes::default();
        for (at, service) in self.services.iter().enumerate() {
            for listen in &service.listen {
                let node = (self.nodes.len() == 1).then_some(0);
                let agent_send = service.agent_send;
                routes.add(*listen, Asked { node, service: at, agent_send });
            }
            for (node, of) in self.nodes.iter().enumerate() {
                for listen in of.listen.get(&service.name).into_iter().flatten() {
                    let asked = Asked { node: Some(node), service: at, agent_send: false };
                    routes.add(*listen, asked);
                }
            }
        }
        routes
    }
}

/// What rolecall cannot see of HAProxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Haproxy {
    /// `agent-inter`, and the interval of the companion health check.
    pub agent_inter: Duration,
    /// `fall` of the companion health check.
    pub check_fall: u32,
    /// `timeout check`: how long both checks wait for the answer.
    pub check_timeout: Duration,
    /// HAProxy's version as `MAJOR.MINOR`.
    pub version: (u32, u32),
}

impl Haproxy {
    /// Longest time that a check of a rolecall which hangs takes: `timeout check`, or `agent_inter`
    /// where that is longer.
    ///
    /// HAProxy gives a connection that nobody takes `inter`, in every version (2.6.12, 3.0.11 and
    /// 3.4.7: `L4TOUT` after it), and 2.6 cuts a silent answer no sooner than that either, though
    /// `timeout check` is shorter. Its commit 7c788f098, in 3.3, mends the second alone.
    fn check_lasts(&self) -> Duration {
        self.check_timeout.max(self.agent_inter)
    }

    /// Longest time for which HAProxy goes on believing a READY once the rolecall that said it hangs,
    /// dies, or cannot be reached any more.
    ///
    /// A failed agent check changes nothing, so the companion check has to fail `check_fall` times.
    /// HAProxy waits `inter` from the end of one check to the beginning of the next. In the worst case
    /// one has begun, and was answered, just before the end: its answer takes effect at most a check
    /// later, and then come `check_fall` rounds of waiting and failing. tests/haproxy measures it.
    pub fn memory(&self) -> Duration {
        let check = self.check_lasts();
        check + (self.agent_inter + check) * self.check_fall
    }
}

/// One PostgreSQL server and where its role is learned; all sources must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name in logs and questions.
    pub name: String,
    /// The cluster it belongs to, where that is said.
    pub cluster: Option<String>,
    /// Never empty.
    pub sources: Vec<Source>,
    /// Where a service, by its name, is asked about this node alone.
    pub listen: BTreeMap<String, Vec<Listen>>,
}

/// One source: where it looks, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where the role is learned.
    pub kind: Kind,
    /// Time between the beginnings of two looks.
    pub interval: Duration,
    /// Time a whole look may take.
    pub timeout: Duration,
    /// How long the last yes stands once looks fail; zero: not at all.
    pub hold: Duration,
    /// Somebody chose that, so that for a leader of Patroni's the lease must not outlast it.
    pub hold_chosen: bool,
    /// What is added to `hold` until HAProxy has forgotten the last READY: timeout, interval and
    /// [`Haproxy::memory`].
    pub beside: Duration,
    /// How long an HAProxy may go on believing a word of a rolecall that hangs.
    pub memory: Duration,
}

impl Source {
    /// How often it is looked at, and how long a look may take.
    pub fn rhythm(&self) -> Rhythm {
        Rhythm { interval: self.interval, timeout: self.timeout }
    }

    /// For Patroni: how its lock is trusted.
    fn lock(&self, chosen: bool) -> Option<Lock> {
        let Kind::Patroni(patroni) = &self.kind else { return None };
        let (required, beside, memory) = (patroni.require_lock, self.beside, self.memory);
        Some(Lock { required, beside, memory, chosen })
    }

    /// For repmgr: the rule by which its node is the primary.
    pub fn electorate(&self) -> Option<Electorate> {
        let Kind::Repmgr(repmgr) = &self.kind else { return None };
        let (two_node, trust_refused) = (repmgr.two_node, repmgr.trust_refused);
        Some(Electorate { life: self.life(), memory: self.memory, two_node, trust_refused })
    }

    /// How long an answer of a repmgr node may be used, from the moment it was asked for. Twice the
    /// timeout, because a peer that always takes most of it would lapse otherwise.
    pub fn life(&self) -> Duration {
        (self.interval + self.timeout).max(2 * self.timeout) + MARGIN
    }

    /// Least time for which a yes must have been continuous: as long as any older answer can live
    /// in another daemon, and then in HAProxy.
    pub fn least_settle(&self, haproxy: &Haproxy) -> Duration {
        self.life() + haproxy.memory() + MARGIN
    }
}

/// How often a source is looked at, and how long a look may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Between the beginnings of two looks.
    pub interval: Duration,
    /// For one whole look.
    pub timeout: Duration,
}

/// What scheduling may add to a time that safety rests on.
const MARGIN: Duration = Duration::from_millis(100);

/// The kinds of source and their own keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Patroni's REST API.
    Patroni(Patroni),
    /// repmgr: PostgreSQL, and the other nodes of its cluster.
    Repmgr(Repmgr),
    /// PostgreSQL itself.
    Postgres(Postgres),
    /// A port that clients reach, which knows no role.
    Tcp(Tcp),
    /// A program of the operator's: path and arguments; never through a shell.
    Command(Vec<String>),
    /// A role that is always the same.
    Static(Role),
}

impl Kind {
    /// Whether both look at the same server in the same way, so that one goes on from what the other
    /// saw. For repmgr that is the server and which node it is: its other keys say how answers are
    /// judged, and what was seen of the peers ends by itself.
    pub fn goes_on_from(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Repmgr(one), Self::Repmgr(other)) => {
                one.server == other.server && one.node == other.node
            }
            _ => self == other,
        }
    }

    /// Whether it knows what its node is to the cluster.
    pub fn knows_role(&self) -> bool {
        !matches!(self, Self::Tcp(_))
    }

    /// Whether the source itself counts how far behind a replica is, in bytes and in time.
    pub fn counts_lag(&self) -> bool {
        matches!(self, Self::Postgres(_) | Self::Repmgr(_))
    }

    /// Where Patroni is asked; `None` for every other kind.
    pub fn patroni_url(&self) -> Option<&str> {
        let Self::Patroni(patroni) = self else { return None };
        Some(&patroni.url)
    }

    /// The word for this kind in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Patroni(_) => "patroni",
            Self::Repmgr(_) => "repmgr",
            Self::Postgres(_) => "postgres",
            Self::Tcp(_) => "tcp",
            Self::Command(_) => "command",
            Self::Static(_) => "static",
        }
    }
}

/// How Patroni's REST API is asked and trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patroni {
    /// Base URL, such as `http://127.0.0.1:8008`.
    pub url: String,
    /// With `https`: whom to trust, and what to show.
    pub tls: PatroniTls,
    /// Whether a leader that no lock stands behind is refused.
    pub require_lock: bool,
    /// The byte limit of the node's replica services, which Patroni is asked with.
    pub lag: Option<PatroniLag>,
    /// PostgreSQL's own port, which is asked beside it.
    pub server_port: ServerPort,
}

impl Patroni {
    /// Asked at this URL, with everything else as nobody chose.
    pub fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            tls: PatroniTls::default(),
            require_lock: false,
            lag: None,
            server_port: ServerPort::Learned,
        }
    }
}

/// PostgreSQL's own port, which is asked beside its Patroni.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerPort {
    /// As Patroni says, where both are on this host; else none.
    Learned,
    /// This one.
    At(Address),
    /// None.
    NotAsked,
}

/// A port of TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an address, without brackets.
    pub host: String,
    /// From 1 up.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// A port that clients reach, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// Where it is.
    pub address: Address,
    /// In whose name a startup message is sent; `None`: only whether there is TLS is asked.
    pub user: Option<String>,
}

/// The byte limit that Patroni is asked with, and the lower one that a replica over it is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatroniLag {
    /// Over this a replica is too far behind.
    pub max: u64,
    /// At or under this it serves again.
    pub resume: u64,
}

/// TLS to Patroni.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PatroniTls {
    /// Who may have signed its certificate; `None`: the operating system's authorities.
    pub ca_file: Option<PathBuf>,
    /// What is shown where it asks for a certificate.
    pub client: Option<ClientCertificate>,
    /// The name its certificate has, where that is not the host of the URL.
    pub server_name: Option<String>,
}

/// How the nodes of a repmgr cluster are reached and judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repmgr {
    /// The node's own server. The others are reached with all of this but host and port.
    pub server: Postgres,
    /// Which node this is.
    pub node: Identity,
    /// What a node says that has lost the only other voter.
    pub two_node: TwoNode,
    /// How long repmgr waits before it promotes another node; the least of all nodes'.
    pub failover_after: Option<Duration>,
    /// Whether the `repmgr.conf` of the own node says it: neither it nor `hold` was chosen.
    pub ask_conf: bool,
    /// How long a yes must have been continuous before it counts.
    pub settle: Duration,
    /// Whether a refused connection comes from the host itself.
    pub trust_refused: bool,
    /// More names of nodes, under which others stream from them.
    pub addresses: BTreeMap<NodeId, Vec<Alias>>,
    /// How the rolecalls of the other nodes are asked to give way; `None`: they are not.
    pub release: Option<Releasing>,
}

/// How rolecalls of one cluster let each other go ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Releasing {
    /// The file with the secret that all of them have.
    pub key_file: PathBuf,
    /// The HTTP port of the others.
    pub port: u16,
}

impl Repmgr {
    /// Longest `hold` of a service for primaries: over, before repmgr can have promoted another.
    pub fn most_hold(&self) -> Duration {
        self.failover_after.map_or(Duration::ZERO, most_hold)
    }
}

/// Which of the nodes in `repmgr.nodes` this one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The one repmgrd told the server.
    Told,
    /// `node_id`
    Id(NodeId),
    /// `node_name`
    Name(String),
}

/// Another name of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// A name or an address.
    pub host: String,
    /// `None`: the ports that the node's own row has.
    pub port: Option<u16>,
}

/// How PostgreSQL is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Where and as whom, in libpq's words.
    pub conninfo: Conninfo,
    /// Where the password comes from, where `conninfo` has none.
    pub password: PasswordFrom,
}

/// Where a password is read, at every look, so that a rotated one is used at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordFrom {
    /// Nowhere: `conninfo` has it, or the server asks for none.
    Nowhere,
    /// A file in the form of `.pgpass`.
    Passfile(PathBuf),
    /// A file that holds nothing but the password (a systemd credential).
    File(PathBuf),
}

/// One question that HAProxy asks about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in logs.
    pub name: String,
    /// The roles that may serve.
    pub roles: Vec<Role>,
    /// Where it is asked about the only node, or about the one that a question names; empty where
    /// there are several and no question is read.
    pub listen: Vec<Listen>,
    /// Whether a question is read there before it is answered.
    pub agent_send: bool,
    /// By whom it is asked, and how it is answered.
    pub answering: Answering,
    /// Overrides the sources' `hold`.
    pub hold: Option<Duration>,
    /// What is wanted of replicas beside their role.
    pub pool: Pool,
    /// How far behind a replica may be.
    pub lag: Option<LagLimit>,
}

impl Service {
    /// How this service's verdicts about `node` are made.
    pub fn policy(&self, node: &Node) -> Policy {
        let trust = |source: &Source| Trust {
            hold: self.hold.unwrap_or(source.hold),
            hold_by_repmgr: self.hold.is_none()
                && matches!(&source.kind, Kind::Repmgr(repmgr) if repmgr.ask_conf),
            look: source.interval + source.timeout,
            knows_lag: source.kind.counts_lag(),
            lock: source.lock(self.hold.is_some() || source.hold_chosen),
            electorate: source.electorate(),
        };
        // Only of primaries there must never be two.
        let settle = |source: &Source| match &source.kind {
            Kind::Repmgr(repmgr) if self.roles.contains(&Role::Primary) => repmgr.settle,
            _ => Duration::ZERO,
        };
        Policy {
            roles: self.roles.clone(),
            pool: self.pool.clone(),
            lag: self.lag,
            settle: node.sources.iter().map(settle).max().unwrap_or_default(),
            trust: node.sources.iter().map(trust).collect(),
        }
    }
}

/// Where the log goes and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Where to.
    pub to: LogTo,
    /// In what form, on stderr.
    pub format: LogFormat,
    /// Least severe level that is written.
    pub level: tracing::Level,
}

/// Where the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTo {
    /// The journal where systemd connected stderr to it, else stderr.
    Auto,
    /// Standard error.
    Stderr,
    /// The systemd journal, with fields.
    Journald,
}

/// The form of a log line on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
