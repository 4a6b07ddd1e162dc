//! A complete configuration of HAProxy for one cluster or several, as text.
//!
//! What stands in it is what the files in haproxy/ have, which are tested line by line; here members,
//! ports and times are those of this installation. Names and addresses come from tables that others
//! write, so both are held to what HAProxy takes for one word: nothing here can become a line.

// `disabled` in every version, and not `init-state fully-down`, which 3.1 and later know: with that, measured on
// 3.2.26 and 3.4.7, a node that was promoted stays DOWN until its next companion check (0.75 s longer without a
// primary at `inter 1s`), and a state file from before a switchover lets clients reach the old primary for 0.25 s
// after a start. With `disabled` nobody did.

#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;

use crate::config::old_worker::OldWorker;

/// Longest name of a server: it stands in logs and tables.
const MAX_NAME: usize = 64;

/// Everything that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// HAProxy's version, `MAJOR.MINOR`.
    pub version: (u32, u32),
    /// Where the members were found, for the reader.
    pub from: &'static str,
    /// `agent-inter`, and `inter` of the companion check.
    pub agent_inter: Duration,
    /// `fall` of the companion check.
    pub check_fall: u32,
    /// `timeout check`.
    pub check_timeout: Duration,
    /// When a worker that a reload left behind ends.
    pub old_worker: OldWorker,
    /// One for each service, and for each cluster.
    pub pools: Vec<Pool>,
}

/// What the pools are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Naming {
    /// `postgres_rw` for the service `primary` and `postgres_ro` for `replica`, as in the files of haproxy/.
    #[value(
        help = "postgres_rw for the service primary and postgres_ro for replica, as in the files of haproxy/"
    )]
    Short,
    /// By the service, `postgres_primary`.
    #[value(name = "service", help = "by the service, postgres_primary")]
    Services,
}

/// The name of the proxy that has the servers of a service. A `.` is in no name of the configuration, so that no
/// pool of a cluster has the name of another one's.
pub fn pool_name(cluster: Option<&str>, service: &str, naming: Naming) -> String {
    let word = match service {
        "primary" if naming == Naming::Short => "rw",
        "replica" if naming == Naming::Short => "ro",
        service => service,
    };
    match cluster {
        Some(cluster) => format!("postgres_{cluster}.{word}"),
        None => format!("postgres_{word}"),
    }
}

/// The servers that clients of one port reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The service that is asked; a name of the configuration.
    pub service: String,
    /// The cluster, where `[[node]]` names one; a name of the configuration.
    pub cluster: Option<String>,
    /// What it is called.
    pub naming: Naming,
    /// The port for clients, on every address.
    pub port: u16,
    /// What its clients may do.
    pub serves: Serves,
    /// Never empty.
    pub servers: Vec<Server>,
}

/// What the clients of a pool may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Write: primaries alone.
    Writes,
    /// Read: no primaries.
    Reads,
    /// Read from some of the replicas: of one kind, or with a tag.
    Part,
    /// Read from any node.
    Any,
}

/// One server line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    name: String,
    address: String,
    agent: Agent,
}

/// Where rolecall is asked about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// `None`: on the server's own address.
    pub host: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// What is asked there, of names of the configuration; `None`: the port itself says it.
    pub question: Option<String>,
}

/// A host that HAProxy could not take for an address or a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host that HAProxy can connect to")]
pub struct BadHost(String);

impl Server {
    /// A server with a name that [`server_names`] made. Errors where `host` is neither an address nor
    /// a name of letters, digits, `.`, `-` and `_`.
    pub fn new(name: String, host: &str, port: u16, agent: Agent) -> Result<Self, BadHost> {
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let address = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => format!("{ip}:{port}"),
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
            Err(_) if host.starts_with(|c: char| c.is_ascii_alphanumeric()) => host
                .chars()
                .all(named)
                .then(|| format!("{host}:{port}"))
                .ok_or_else(|| bad(host))?,
            Err(_) => return Err(bad(host)),
        };
        Ok(Self { name, address, agent })
    }
}

fn bad(host: &str) -> BadHost {
    BadHost(host.chars().take(MAX_NAME).collect())
}

/// Names that HAProxy takes, each once, for what nodes are called elsewhere: letters, digits and
/// `_ - . :` stay, everything else becomes `_`, and a name that is there already gets a number.
pub fn server_names<'n>(called: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in called {
        let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        let name = name.chars().take(MAX_NAME).map(|c| if sane(c) { c } else { '_' });
        let name: String = name.collect();
        let name = if name.is_empty() { "server".to_owned() } else { name };
        let mut free = name.clone();
        let mut number = 1;
        while names.contains(&free) {
            number += 1;
            free = format!("{name}_{number}");
        }
        names.push(free);
    }
    names
}

impl Pool {
    /// The name of the proxy that has the servers.
    fn proxy(&self) -> String {
        pool_name(self.cluster.as_deref(), &self.service, self.naming)
    }

    /// Service and cluster, for the reader.
    fn title(&self) -> String {
        match &self.cluster {
            Some(cluster) => format!("service {} of cluster {cluster}", self.service),
            None => format!("service {}", self.service),
        }
    }
}

impl Front {
    /// Where clients of an empty pool go: to the first pool for writes of the same cluster. Not from a pool
    /// that has some of the replicas: whoever made one keeps its clients from everybody else.
    fn fallback(&self, pool: &Pool) -> Option<String> {
        let same = |other: &&Pool| other.cluster == pool.cluster && other.serves == Serves::Writes;
        let writes = self.pools.iter().find(same)?;
        (pool.serves == Serves::Reads).then(|| writes.proxy())
    }

    fn head(&self, out: &mut String) -> fmt::Result {
        let (major, minor) = self.version;
        let program = env!("CARGO_PKG_VERSION");
        writeln!(
            out,
            "# HAProxy {major}.{minor} in front of PostgreSQL, by `rolecall haproxy` of rolecall {program}."
        )?;
        writeln!(
            out,
            "# The servers are those of {}. Run it again where nodes come or go.\n#",
            self.from
        )?;
        for pool in &self.pools {
            let goes = match pool.serves {
                Serves::Writes => "reach the primary, or nobody",
                Serves::Reads if self.fallback(pool).is_some() => {
                    "only read, and reach the primary where no replica is up"
                }
                Serves::Reads => "only read",
                Serves::Part => "only read, and reach nobody where no such replica is up",
                Serves::Any => "take any node, one that refuses writes too",
            };
            writeln!(out, "# Port {}, {}: clients that {goes}.", pool.port, pool.title())?;
        }
        out.write_str(HEAD)?;
        write!(out, "{}", self.old_worker)
    }

    fn defaults(&self, out: &mut String) -> fmt::Result {
        let (inter, fall) = (time(self.agent_inter), self.check_fall);
        out.write_str(DEFAULTS)?;
        writeln!(out, "    timeout check   {}", time(self.check_timeout))?;
        out.write_str(COMPANION)?;
        if matches!(self.version, (3, 3 | 4)) {
            out.write_str(AGENT_HEALTH)?;
        }
        writeln!(
            out,
            "    default-server disabled check inter {inter} fall {fall} rise 2 agent-check \
             agent-inter {inter} on-marked-down shutdown-sessions"
        )
    }

    fn pool(&self, out: &mut String, pool: &Pool) -> fmt::Result {
        let (proxy, port) = (pool.proxy(), pool.port);
        let (what, balance) = match pool.serves {
            Serves::Writes => ("Read and write: the primary alone", FIRST),
            Serves::Reads => ("Read only: the replicas", LEASTCONN),
            Serves::Part => ("Read only: the replicas that the service wants", LEASTCONN),
            Serves::Any => ("Every node that the service takes", LEASTCONN),
        };
        writeln!(out, "\n# {what} ({}).", pool.title())?;
        if let Some(writes) = self.fallback(pool) {
            out.write_str(EMPTY)?;
            writeln!(out, "frontend {proxy}.clients\n    bind :{port}")?;
            writeln!(out, "    use_backend {writes} if {{ nbsrv({proxy}) lt 1 }}")?;
            writeln!(out, "    default_backend {proxy}\n\nbackend {proxy}")?;
        } else {
            writeln!(out, "listen {proxy}\n    bind :{port}")?;
        }
        out.write_str(balance)?;
        if pool.serves != Serves::Writes {
            out.write_str(SHORT_CONNECT)?;
        }
        writeln!(out, "    tcp-check connect")?;
        if pool.servers.iter().any(|server| server.agent.question.is_some()) {
            // A node and its server have one name.
            let node = if pool.servers.iter().any(Server::named) { "%[srv_name] " } else { "" };
            writeln!(out, "    tcp-check send-lf \"{node}{}\\n\"", pool.service)?;
        }
        out.write_str(match pool.serves {
            Serves::Writes => READY,
            Serves::Reads | Serves::Part => ALIVE,
            Serves::Any => READY_OR_DRAIN,
        })?;
        if pool.serves == Serves::Writes {
            let server = pool.servers.first().map_or("", |server| &server.name);
            writeln!(
                out,
                "    # To take a server out by hand, `disable agent {proxy}/{server}` first; the next"
            )?;
            writeln!(
                out,
                "    # READY would undo `set server {proxy}/{server} state maint` alone."
            )?;
        }
        pool.servers.iter().try_for_each(|server| server.write(out))
    }
}

impl Server {
    /// Whether its question names a node.
    fn named(&self) -> bool {
        self.agent.question.as_ref().is_some_and(|question| question.contains(' '))
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Agent { host, port, question } = &self.agent;
        write!(out, "    server {} {}", self.name, self.address)?;
        match host {
            // The two keys read an IPv6 address differently.
            Some(IpAddr::V6(ip)) => {
                write!(out, " addr [{ip}] port {port} agent-addr {ip} agent-port {port}")?;
            }
            Some(ip) => write!(out, " addr {ip} port {port} agent-addr {ip} agent-port {port}")?,
            None => write!(out, " port {port} agent-port {port}")?,
        }
        if let Some(question) = question {
            write!(out, " agent-send \"{question}\\n\"")?;
        }
        writeln!(out)
    }
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.head(&mut out)?;
        self.defaults(&mut out)?;
        self.pools.iter().try_for_each(|pool| self.pool(&mut out, pool))?;
        f.write_str(&out)
    }
}

/// As HAProxy writes times.
fn time(time: Duration) -> String {
    match (time.as_millis(), time.subsec_micros() % 1000) {
        (millis, 0) if millis % 1000 == 0 => format!("{}s", millis / 1000),
        (millis, 0) => format!("{millis}ms"),
        _ => format!("{}us", time.as_micros()),
    }
}

const HEAD: &str = r#"#
# The files in rolecall's folder haproxy/ say more on each line, and systemd.conf there is for HAProxy's
# unit. Before the first start:
#     echo 1 > /var/lib/haproxy/servers.state        # as systemd.conf does before each start
#     haproxy -c -f haproxy.cfg                      # must say nothing but that it is valid
#
# "${NAME-value}" is `value` unless the environment has NAME.

global
    log stdout format short local0
    user  "${ROLECALL_HAPROXY_USER-haproxy}"
    group "${ROLECALL_HAPROXY_GROUP-haproxy}"
    # Whoever may write to this socket may reroute the database.
    stats socket "${ROLECALL_STATS_SOCKET-/run/haproxy/admin.sock}" mode 660 level admin expose-fd listeners

    # A reload must not forget which server is the primary, and a start must not believe what was true
    # before it. HAProxy reads the file and never writes it: systemd.conf saves it before each
    # reload and empties it before each start.
    server-state-file "${ROLECALL_STATE_FILE-/var/lib/haproxy/servers.state}"

    # The worker that a reload leaves behind runs no checks: its sessions to a server that is
    # demoted later are not cut. They must end before another node can take writes.
"#;

const DEFAULTS: &str = "defaults
    mode tcp
    log global
    option tcplog
    option log-health-checks
    option clitcpka
    option srvtcpka
    timeout connect 2s
    # A client of a server that refuses is given another one that is up, once. Without redispatch the same
    # server would be tried again.
    retries 1
    option redispatch 1
    timeout client  30m
    timeout server  30m
    # Both checks get this long for the answer.
";

const COMPANION: &str = "    load-server-state-from-file global

    # The companion check, at the agent's own port. A rolecall that dies leaves its last word standing
    # in HAProxy; this takes the server out.
    option tcp-check

    # agent-inter, inter, fall and `timeout check` are those of [haproxy] in rolecall's configuration,
    # by which it counts how long its words live: change them there, and run `rolecall haproxy` again.
    # fastinter and downinter stay unset, so that both are inter.
    # disabled: no server takes a connection before its agent has said READY.
    # rise 2: a host that stood still says what was true before, once; a READY after MAINT needs no rise.
    # on-marked-down shutdown-sessions: MAINT or DOWN cuts the sessions of a server.
";

const AGENT_HEALTH: &str = "    # agent-check, here and not on the server lines: there 3.3, and 3.4 before the fix of 2026-06-30,
    # leave a server DOWN for ever after its first MAINT.
";

const FIRST: &str = "    # Two servers can be up for the moment between two polls. Then everything goes to one of them.
    balance first
";

const LEASTCONN: &str =
    "    # Sessions of a database differ in length: the server with the fewest gets the next.
    balance leastconn
";

/// `HAProxy` waits for the smaller of a second and this time before it tries another server, where at most one is
/// up (and 2.6 always, with leastconn): its `stream.c`, in `back_handle_st_cer`.
const SHORT_CONNECT: &str = "    # A client whose server has just crashed waits for this long, 1 s at most, until HAProxy tries again. A
    # server in another region, more than 50 ms away, needs more.
    timeout connect 200ms
";

const EMPTY: &str =
    "# Where none is up, new clients go to the primary; they stay there until they connect again.
";

const READY: &str = r"    # READY alone may hold sessions for writes. What stands behind # is not looked at.
    tcp-check expect rstring ^([^\#]*[\ ,\t])?(READY|ready)
";

const READY_OR_DRAIN: &str = r"    # A server that drains keeps its sessions, so it must not be taken down.
    tcp-check expect rstring ^([^\#]*[\ ,\t])?(READY|ready|DRAIN|drain)
";

const ALIVE: &str = r"    # Whatever rolecall says, it lives, and its word comes by the agent: a server that is promoted or falls
    # behind is never shown DOWN for it. What stands behind # is not looked at.
    tcp-check expect rstring ^([^\#]*[\ ,\t])?(READY|ready|DRAIN|drain|MAINT|maint)
";
