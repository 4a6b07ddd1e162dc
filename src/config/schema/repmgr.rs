//! The keys of kind `repmgr`, and the times that its promise rests on.

use std::collections::BTreeMap;
use std::time::Duration;

use humantime::format_duration;
use toml::de::DeValue;

use crate::config::document::{Fault, Table, quote, wrong_type};
use crate::config::units::{boolean, duration, integer, path, string, word};
use crate::config::{
    Alias, HTTP_PORT, Haproxy, Identity, Kind, Postgres, Releasing, Repmgr, Source,
};
use crate::look::repmgr::NodeId;
use crate::verdict::policy::{TwoNode, usual_hold};

/// Bounds of `failover_after` and `settle`: what repmgr and an operator can mean.
const LONG: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));

const QUOTES: &str = "write it in double quotes";
const ADDRESSES: &str = r#"a table such as { 3 = ["10.1.0.3", "db3-repl:5433"] }"#;
const ADDRESSES_HINT: &str = "under a node's number, the other names its standbys stream under";

/// The keys that only this kind has.
pub struct Keys {
    node: Identity,
    two_node: TwoNode,
    failover_after: Option<Duration>,
    settle: Option<Duration>,
    trust_refused: bool,
    addresses: BTreeMap<NodeId, Vec<Alias>>,
    release: Option<Releasing>,
}

impl Keys {
    /// With the server they belong to. `settle` is zero where it follows from other keys.
    pub fn with(self, server: Postgres) -> Repmgr {
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
pub fn keys(table: &Table<'_>) -> Option<Keys> {
    let id = table.take("node_id", integer(1, i32::MAX.unsigned_abs()));
    let name = table.take("node_name", string("a node's name", QUOTES, node_name));
    let two_node = [("maint", TwoNode::Maint), ("ready", TwoNode::Ready)];
    let two_node = table.take("two_node", word(&two_node));
    let failover_after = table.take("failover_after", duration(LONG.0..=LONG.1));
    let settle = table.take("settle", duration(LONG.0..=LONG.1));
    let trust_refused = table.take("trust_refused", boolean);
    let addresses = table.take("addresses", addresses);
    let key_file =
        table.take("release_key_file", string("the path of a file, from `/` on", QUOTES, path));
    let port = table.take("release_port", integer(1, u32::from(u16::MAX)));
    if table.has("release_port") && !table.has("release_key_file") {
        let hint = "name the file with the secret that the rolecalls of the cluster have";
        table.report(
            "release_port",
            Fault::new("stands alone", "`release_key_file` beside it", hint),
        );
    }
    let node = match (table.has("node_id"), table.has("node_name")) {
        (true, true) => {
            let hint = "leave one of the two out";
            let fault = Fault::new("stands beside `node_id`", "`node_id` or `node_name`", hint);
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

/// Chooses the times that were not given, and refuses those that leave room for two primaries.
pub fn fit(table: &Table<'_>, source: &mut Source, haproxy: &Haproxy) {
    let (life, least) = (source.life(), source.least_settle(haproxy));
    let Kind::Repmgr(repmgr) = &mut source.kind else { return };
    if !table.has("settle") {
        repmgr.settle = least;
    } else if !repmgr.settle.is_zero() && repmgr.settle < least {
        let what = format!(
            "{} is shorter than what an old word can live: {} as an answer, and {} in HAProxy, which \
             takes {} checks of a rolecall that hangs, and one under way, to forget it",
            format_duration(repmgr.settle),
            format_duration(life),
            format_duration(haproxy.memory()),
            haproxy.check_fall
        );
        let expected = format!("at least {}", format_duration(least));
        let hint = "leave it out, or lower `interval`, `timeout`, or `agent_inter`, `check_timeout` and \
                    `check_fall` of [haproxy]";
        table.report("settle", Fault::new(what, expected, hint));
    }
    if !table.has("hold") {
        repmgr.ask_conf = repmgr.failover_after.is_none();
        source.hold = repmgr.failover_after.map_or(Duration::ZERO, usual_hold);
    } else if let Some(fault) = too_long(source.hold, repmgr) {
        table.report("hold", fault);
    }
}

/// What is wrong with the `hold` of a service for primaries, if something is.
pub fn too_long(hold: Duration, repmgr: &Repmgr) -> Option<Fault> {
    let most = repmgr.most_hold();
    if hold <= most {
        return None;
    }
    let expected = format!("at most {}", format_duration(most));
    Some(match repmgr.failover_after {
        Some(after) => Fault::new(
            format!(
                "{} is more than `failover_after`, {}, less five seconds: repmgr may promote another \
                 node while this one still stands",
                format_duration(hold),
                format_duration(after)
            ),
            expected,
            "give a shorter time, or raise (reconnect_attempts - 1) x reconnect_interval of repmgr on \
             every node and `failover_after` with it",
        ),
        None => Fault::new(
            format!("{} stands without `failover_after`", format_duration(hold)),
            expected,
            "set `failover_after` to repmgr's (reconnect_attempts - 1) x reconnect_interval, the least of \
             all nodes'",
        ),
    })
}

fn node_name(text: &str) -> Result<String, Fault> {
    if text.is_empty() {
        return Err(Fault::new("empty", "a node's name", "repmgr.conf says it: node_name"));
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
                let what = format!("{} is not a node's number", quote(key.get_ref()));
                Fault::new(what, ADDRESSES, ADDRESSES_HINT)
            })?;
            let read = string("a name or an address", QUOTES, alias);
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
        let what = format!("{} is not a name or an address", quote(text));
        let expected = r#""HOST", "HOST:PORT" or "[IPV6]:PORT""#;
        return Err(Fault::new(what, expected, ADDRESSES_HINT));
    }
    Ok(Alias { host: host.to_owned(), port: port.flatten() })
}
