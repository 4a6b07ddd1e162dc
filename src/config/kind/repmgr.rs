//! The keys of kind `repmgr`, and the times that its promise rests on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use crate::config::conninfo::ClientCertificate;
use crate::config::document::{Fault, Table, quote, wrong_type};
use crate::config::exposure::{self, Exposure, OpenFile, Risk};
use crate::config::haproxy::Haproxy;
use crate::config::http::HTTP_PORT;
use crate::config::kind::settings::{
    At, Lag, Profile, Releasing, Replicas, Sees, Settings, Surroundings,
};
use crate::config::rhythm::Timing;
use crate::config::server::{self, Postgres};
use crate::config::units::{boolean, duration, integer, path, string, word};
use crate::config::warning::Warning;
use crate::look::kind::Shows;
use crate::look::measure;
use crate::look::repmgr::NodeId;
use crate::verdict::policy::{Electorate, TwoNode, most_hold, usual_hold};

/// A node's answers live for as long as the next look may take, and the next primary has to wait until all of them
/// are dead.
const TIMEOUT: Duration = Duration::from_millis(800);

/// Bounds of `failover_after` and `settle`: what repmgr and an operator can mean.
const LONG: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));

const ADDRESSES: &str = r#"a table such as { 3 = ["10.1.0.3", "db3-repl:5433"] }"#;
const ADDRESSES_HINT: &str = "keys are node numbers; values are the other names under which the \
                              standbys stream from that node";

pub(crate) const PROFILE: Profile = Profile {
    word: "repmgr",
    keys: &[
        "conninfo",
        "passfile",
        "password_credential",
        "node_id",
        "node_name",
        "two_node",
        "failover_after",
        "settle",
        "trust_refused",
        "addresses",
        "release_key_file",
        "release_port",
    ],
    flag: None,
    timeout: TIMEOUT,
    // It follows from the other keys.
    hold: Duration::ZERO,
    sees: Sees {
        role: true,
        replicas: Replicas::Alike,
        lag: Lag::Counted,
        tags: false,
        server: Shows::Server,
    },
    // Those of the server are checked by kind `postgres`.
    check_defaults: |table, _| {
        keys(table);
    },
};

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

impl Repmgr {
    /// Longest `hold` of a service for primaries: over, before repmgr can have promoted another.
    fn most_hold(&self) -> Duration {
        self.failover_after.map_or(Duration::ZERO, most_hold)
    }

    /// Whether both look at the same server as the same node: their other keys say how answers are judged, and
    /// what was seen of the peers ends by itself.
    pub(crate) fn goes_on_from(&self, other: &Self) -> bool {
        self.server == other.server && self.node == other.node
    }
}

impl Settings for Repmgr {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn at(&self) -> At<'_> {
        At::Server(&self.server.conninfo.place)
    }

    /// Chooses the times that were not given, and refuses those that leave room for two primaries.
    fn fit(&mut self, table: &Table<'_>, times: &mut Timing, haproxy: &Haproxy) {
        let (life, least) = (times.rhythm.life(), times.rhythm.least_settle(haproxy));
        if !table.has("settle") {
            self.settle = least;
        } else if !self.settle.is_zero() && self.settle < least {
            let what = format!(
                "{} is shorter than an earlier READY of another node can be in effect: {} for an \
                 answer, and {} for HAProxy, which needs {} failed checks of a hanging rolecall, \
                 and one that is under way, to take it DOWN",
                measure::time(self.settle),
                measure::time(life),
                measure::time(haproxy.memory()),
                haproxy.check_fall
            );
            let expected = format!("at least {}", measure::time(least));
            let hint = "remove it, or lower `interval`, `timeout`, or `agent_inter`, \
                        `check_timeout` and `check_fall` of [haproxy]";
            table.report("settle", Fault::new(what, expected, hint));
        }
        if !table.has("hold") {
            self.ask_conf = self.failover_after.is_none();
            times.hold = self.failover_after.map_or(Duration::ZERO, usual_hold);
        } else if let Some(fault) = self.refuses_hold(times.hold) {
            table.report("hold", fault);
        }
    }

    fn server(&self) -> Option<&Postgres> {
        Some(&self.server)
    }

    fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.server.client_certificate()
    }

    /// Also where its own server is on this host: the other nodes are asked with the same login.
    fn exposure(&self) -> Option<Exposure> {
        self.server.risk(Risk::Vote).map(|risk| Exposure::of_login(PROFILE.word, risk))
    }

    fn open_files(&self) -> Vec<OpenFile> {
        let release = self.release.as_ref();
        let release = release.and_then(|it| exposure::open("release_key_file", &it.key_file));
        self.server.login_files().into_iter().chain(release).collect()
    }

    fn warnings(&self, around: &Surroundings) -> Vec<Warning> {
        // Where its server is on this host, repmgr.conf may say it; a look finds out.
        let impatient = around.primaries
            && self.failover_after.is_none()
            && !self.server.conninfo.place.is_here();
        let release = match (around.reached.filter(|_| around.primaries), &self.release) {
            (Some(_), None) => Some(Warning::NoRelease),
            (Some(false), Some(_)) => Some(Warning::ReleaseUnheard),
            _ => None,
        };
        let key_file = self.release.as_ref();
        let key_file =
            key_file.and_then(|it| Warning::of_missing("release_key_file", &it.key_file));
        let missing = self.server.missing_files().into_iter().chain(key_file);
        impatient
            .then_some(Warning::NoFailoverAfter)
            .into_iter()
            .chain(missing)
            .chain(release)
            .collect()
    }

    /// Its answers are leases that outlive two looks.
    fn remembers(&self, times: &Timing) -> Duration {
        times.rhythm.life()
    }

    fn electorate(&self, times: &Timing) -> Option<Electorate> {
        let (two_node, trust_refused) = (self.two_node, self.trust_refused);
        let (life, memory) = (times.rhythm.life(), times.memory);
        Some(Electorate { life, memory, two_node, trust_refused })
    }

    fn settle(&self) -> Duration {
        self.settle
    }

    fn failover_after(&self) -> Option<Duration> {
        self.failover_after
    }

    fn learns_hold(&self) -> bool {
        self.ask_conf
    }

    fn refuses_hold(&self, hold: Duration) -> Option<Fault> {
        let most = self.most_hold();
        if hold <= most {
            return None;
        }
        let expected = format!("at most {}", measure::time(most));
        Some(match self.failover_after {
            Some(after) => Fault::new(
                format!(
                    "{} is more than `failover_after` ({}) minus five seconds: repmgr could \
                     promote another node while this one is still READY",
                    measure::time(hold),
                    measure::time(after)
                ),
                expected,
                "choose a shorter time, or raise (reconnect_attempts - 1) x reconnect_interval of \
                 repmgr on every node, and `failover_after` with it",
            ),
            None => Fault::new(
                format!("{} is set, but `failover_after` is not", measure::time(hold)),
                expected,
                "set `failover_after` to (reconnect_attempts - 1) x reconnect_interval of repmgr, \
                 using the lowest values of all nodes",
            ),
        })
    }

    fn releasing(&self) -> Option<&Releasing> {
        self.release.as_ref()
    }
}

/// Reads one; `settle` is zero where it follows from other keys. `None` only where a problem was reported.
pub(crate) fn read(table: &Table<'_>, credentials: Option<&Path>) -> Option<Repmgr> {
    let server = server::read(table, credentials);
    let keys = keys(table);
    server.zip(keys).map(|(server, keys)| keys.with(server))
}

/// The keys that only this kind has.
struct Keys {
    node: Identity,
    two_node: TwoNode,
    failover_after: Option<Duration>,
    settle: Option<Duration>,
    trust_refused: bool,
    addresses: BTreeMap<NodeId, Vec<Alias>>,
    release: Option<Releasing>,
}

impl Keys {
    /// With the server they belong to.
    fn with(self, server: Postgres) -> Repmgr {
        Repmgr {
            server,
            node: self.node,
            two_node: self.two_node,
            failover_after: self.failover_after,
            ask_conf: false,
            settle: self.settle.unwrap_or_default(),
            trust_refused: self.trust_refused,
            addresses: self.addresses,
            release: self.release,
        }
    }
}

/// Reads them; `None` only where a problem was reported.
fn keys(table: &Table<'_>) -> Option<Keys> {
    let id = table.take("node_id", integer(1, i32::MAX.unsigned_abs()));
    let name = table.take("node_name", string("a node name", node_name));
    let two_node = [("maint", TwoNode::Maint), ("ready", TwoNode::Ready)];
    let two_node = table.take("two_node", word(&two_node));
    let failover_after = table.take("failover_after", duration(LONG.0..=LONG.1));
    let settle = table.take("settle", duration(LONG.0..=LONG.1));
    let trust_refused = table.take("trust_refused", boolean);
    let addresses = table.take("addresses", addresses);
    let key_file = table.take("release_key_file", string("an absolute path", path));
    let port = table.take("release_port", integer(1, u32::from(u16::MAX)));
    if table.has("release_port") && !table.has("release_key_file") {
        let hint = "set it to the file with the secret that all rolecalls of the cluster share";
        table.report("release_port", Fault::new("is set alone", "`release_key_file` too", hint));
    }
    let node = match (table.has("node_id"), table.has("node_name")) {
        (true, true) => {
            let hint = "remove one of the two";
            let fault =
                Fault::new("is set together with `node_id`", "`node_id` or `node_name`", hint);
            table.report("node_name", fault);
            None
        }
        (true, false) => id.map(|id| Identity::Id(NodeId(id.cast_signed()))),
        (false, true) => name.map(Identity::Name),
        (false, false) => Some(Identity::Told),
    };
    Some(Keys {
        node: node?,
        two_node: two_node.unwrap_or(TwoNode::Maint),
        failover_after,
        settle,
        trust_refused: trust_refused.unwrap_or(true),
        addresses: addresses.unwrap_or_default(),
        release: key_file.map(|key_file| Releasing {
            key_file,
            port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(HTTP_PORT),
        }),
    })
}

fn node_name(text: &str) -> Result<String, Fault> {
    if text.is_empty() {
        return Err(Fault::new("empty", "a node name", "use node_name from repmgr.conf"));
    }
    Ok(text.to_owned())
}

/// More names of nodes, under their numbers.
fn addresses(value: &DeValue<'_>) -> Result<BTreeMap<NodeId, Vec<Alias>>, Fault> {
    let Some(table) = value.as_table() else {
        return Err(wrong_type(value, ADDRESSES, ADDRESSES_HINT));
    };
    let node =
        |(key, names): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| {
            let id = key.get_ref().parse::<i32>().ok().filter(|id| *id > 0);
            let id = id.ok_or_else(|| {
                let what = format!("{} is not a node number", quote(key.get_ref()));
                Fault::new(what, ADDRESSES, ADDRESSES_HINT)
            })?;
            let read = string("a name or an address", alias);
            let names = match names.get_ref().as_array() {
                Some(names) => names.iter().map(|name| read(name.get_ref())).collect(),
                None => read(names.get_ref()).map(|name| vec![name]),
            };
            Ok((NodeId(id), names?))
        };
    table.iter().map(node).collect()
}

/// Reads `HOST`, `HOST:PORT`, an IPv6 address, or one in brackets with a port.
fn alias(text: &str) -> Result<Alias, Fault> {
    let (host, port) = match (text.strip_prefix('['), text.matches(':').count()) {
        (Some(rest), _) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(""))),
            None => ("", None),
        },
        (None, 1) => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        (None, _) => (text, None),
    };
    let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port != 0));
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || port == Some(None) || !host.chars().all(bare) {
        let what = format!("{} is neither a name nor an address", quote(text));
        let expected = r#""HOST", "HOST:PORT" or "[IPV6]:PORT""#;
        return Err(Fault::new(what, expected, ADDRESSES_HINT));
    }
    Ok(Alias { host: host.to_owned(), port: port.flatten() })
}
