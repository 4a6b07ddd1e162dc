//! What came back, read into an [`Answer`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio_postgres::Row as SqlRow;

use crate::config::conninfo::places;
use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::Upkeep;
use crate::look::place::Place;
use crate::look::repmgr::{NodeId, Registered, Row};
use crate::look::text;
use crate::source::pg::column;
use crate::source::pg::role::unexpected;

/// Bytes of a node's name; repmgr takes 63 (`NAMEDATALEN`).
pub(crate) const MOST_NAME: usize = 64;

/// Bytes of the host that a receiver streams from; DNS has 253, the system 107 for a socket.
pub(crate) const MOST_HOST: usize = 255;

/// Digits of a system identifier, with its sign.
const MOST_SYSTEM: usize = 20;

/// Least silence of an upstream that is taken for one: an idle one has nothing to say for a while.
const LEAST_SILENCE: Duration = Duration::from_secs(10);

/// What a sign that was asked for may take.
const SIGN_WITHIN: Duration = Duration::from_secs(5);

/// Most rows of `repmgr.nodes` that are read: several times the largest cluster anybody has. A table with
/// more is an error, because of a majority none may be left out.
pub const MAX_ROWS: usize = 128;

/// The columns of a look beside the role's, as they came.
#[derive(Debug)]
pub struct Columns {
    pub system: Arc<str>,
    pub sender: Option<(String, u16)>,
    pub upkeep: Upkeep,
    pub local_id: Option<NodeId>,
    pub upstream: Option<NodeId>,
    pub upstream_seen: Option<Duration>,
    pub told: Option<NodeId>,
    pub repmgrd_running: bool,
    pub repmgrd_paused: bool,
    /// As JSON; may hold passwords.
    nodes: Option<Nodes>,
}

/// The nodes, and where each keeps its repmgr.conf.
#[derive(Debug)]
pub struct Listed {
    pub table: Vec<Row>,
    confs: Vec<(NodeId, PathBuf)>,
}

impl Listed {
    /// The repmgr.conf of this node, on that node's host.
    pub fn conf(&self, node: NodeId) -> Option<&Path> {
        self.confs.iter().find(|(id, _)| *id == node).map(|(_, path)| path.as_path())
    }
}

/// The text of `repmgr.nodes`: never printed.
struct Nodes(String);

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nodes(hidden)")
    }
}

impl Columns {
    /// Reads them. [`ErrorKind::Malformed`] where one is missing or cannot be.
    pub fn read(row: &SqlRow) -> Result<Self, SourceError> {
        let host: Option<String> = column(row, "sender_host")?;
        let host = host.map(sender_host).transpose()?;
        let port: Option<i32> = column(row, "sender_port")?;
        let port =
            port.map(|port| u16::try_from(port).map_err(|_| unexpected("sender_port", port)));
        let heard: Option<i64> = column(row, "heard_ms")?;
        let receiver_timeout = millis(column(row, "receiver_timeout_ms")?);
        let seen: Option<i32> = column(row, "upstream_last_seen")?;
        // NULL where the library is not in shared_preload_libraries: there is no repmgrd then.
        let running: Option<bool> = column(row, "repmgrd_running")?;
        let paused: Option<bool> = column(row, "repmgrd_paused")?;
        Ok(Self {
            system: system(column(row, "system")?)?,
            sender: host.zip(port.transpose()?),
            upkeep: Upkeep {
                heard: heard.map(millis),
                silent_after: (receiver_timeout / 2 + SIGN_WITHIN).max(LEAST_SILENCE),
                apply_delay: millis(column(row, "apply_delay_ms")?),
            },
            local_id: node_id(column(row, "local_node_id")?),
            upstream: node_id(column(row, "upstream_node_id")?),
            upstream_seen: seen
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
            told: node_id(column(row, "new_primary")?),
            repmgrd_running: running.unwrap_or(false),
            repmgrd_paused: paused.unwrap_or(false),
            nodes: column::<Option<String>>(row, "nodes")?.map(Nodes),
        })
    }

    /// The rows of `repmgr.nodes`; [`ErrorKind::NoNodes`] where there are none.
    pub fn listed(&self) -> Result<Listed, SourceError> {
        let Some(Nodes(text)) = &self.nodes else {
            return Err(SourceError::new(ErrorKind::NoNodes, "repmgr.nodes is empty"));
        };
        parse(text)
    }
}

/// The cluster's number, which stands in messages and in the release that another node reads.
fn system(text: &str) -> Result<Arc<str>, SourceError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if is_number && text.len() <= MOST_SYSTEM {
        return Ok(text.into());
    }
    Err(unexpected("system", "no number"))
}

/// Not cut or cleaned: what is left of a host may be another one's.
fn sender_host(host: String) -> Result<String, SourceError> {
    if host.len() <= MOST_HOST && text::is_plain(&host) {
        return Ok(host);
    }
    Err(unexpected("sender_host", "no host"))
}

/// Below zero where a clock was set back meanwhile.
fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}

/// repmgr counts from 1 up, and says -1 where repmgrd has not told, -2 where an election is to be held
/// again.
fn node_id(id: Option<i32>) -> Option<NodeId> {
    id.filter(|id| *id > 0).map(NodeId)
}

#[derive(Deserialize)]
struct Node {
    id: i32,
    name: String,
    r#type: String,
    active: bool,
    conninfo: String,
    /// Absent where the packaged view is older than this program.
    config: Option<PathBuf>,
}

pub(super) fn parse(text: &str) -> Result<Listed, SourceError> {
    // The parser's own words repeat what it read, and that may hold a password.
    let malformed = |what: &str| SourceError::new(ErrorKind::Malformed, what);
    let nodes: Vec<Node> = serde_json::from_str(text)
        .map_err(|_| malformed("column `nodes` is not a list of nodes as repmgr writes it"))?;
    if nodes.len() > MAX_ROWS {
        let what = format!("repmgr.nodes has {} rows, expected {MAX_ROWS} at most", nodes.len());
        return Err(SourceError::new(ErrorKind::TooLong, what));
    }
    let confs = nodes.iter().filter_map(|node| Some((NodeId(node.id), node.config.clone()?)));
    // It is shown where it is read.
    let is_shown = |path: &Path| path.to_str().is_some_and(text::is_plain);
    let confs = confs.filter(|(_, path)| path.is_absolute() && is_shown(path)).collect();
    let rows = nodes.into_iter().map(|node| {
        let registered = match node.r#type.as_str() {
            "primary" => Registered::Primary,
            "standby" => Registered::Standby,
            "witness" => Registered::Witness,
            _ => {
                return Err(malformed(
                    "repmgr.nodes contains a `type` other than primary, standby and witness",
                ));
            }
        };
        Ok(Row {
            id: NodeId(node.id),
            name: text::plain(&node.name, MOST_NAME).into(),
            registered,
            active: node.active,
            places: reached_at(&node.conninfo).into(),
            shares_address: false,
        })
    });
    Ok(Listed { table: rows.collect::<Result<_, _>>()?, confs })
}

/// Where a row leads: of its connection string host, hostaddr and port alone. None where it cannot
/// be read, and none where it names no host (`service=beta`, `user=u dbname=d`): libpq would take the
/// default socket of whoever reads it, and that is this host's, not the row's.
fn reached_at(conninfo: &str) -> Vec<Place> {
    let places = places(conninfo).unwrap_or_default();
    let named = |place: &Place| place.host.is_some() || place.hostaddr.is_some();
    if places.iter().all(named) { places } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hunter2";

    fn nodes(conninfo: &str, kind: &str) -> String {
        serde_json::json!([{
            "id": 3, "name": "db3", "type": kind, "active": true, "conninfo": conninfo,
        }])
        .to_string()
    }

    fn shown(conninfo: &str) -> Vec<String> {
        let rows = parse(&nodes(conninfo, "standby")).unwrap().table;
        assert!(!format!("{rows:?}").contains(SECRET), "{conninfo}");
        rows[0].places.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn of_a_connection_string_only_hosts_and_ports_are_kept() {
        for (conninfo, wanted) in [
            ("host=db3 password=hunter2 user=repmgr", vec!["host=db3 port=5432"]),
            (
                "host=db3,10.0.0.3 port=5433,5434 passfile=/hunter2",
                vec!["host=db3 port=5433", "host=10.0.0.3 port=5434"],
            ),
            ("host='db3' hostaddr='10.0.0.3'", vec!["host=db3 hostaddr=10.0.0.3 port=5432"]),
            (
                "postgresql://repmgr:hunter2@db3:5433,[fd00::3]/repmgr?password=hunter2",
                vec!["host=db3 port=5433", "host=fd00::3 port=5432"],
            ),
            ("postgres://db3?hostaddr=10.0.0.3", vec!["host=db3 hostaddr=10.0.0.3 port=5432"]),
            ("host=/tmp/pg port=5433", vec!["host=/tmp/pg port=5433"]),
        ] {
            assert_eq!(shown(conninfo), wanted, "{conninfo}");
        }
    }

    #[test]
    fn what_cannot_be_read_leads_nowhere_and_is_not_repeated() {
        for conninfo in [
            "host=db3 password=a hunter2",
            "postgresql://repmgr:x@hunter2@db3/repmgr",
            "postgresql://repmgr:%zzhunter2@db3/repmgr",
            "host=db3 port=hunter2",
            "hostaddr=hunter2",
            "hunter2",
            // Without a host it is nobody's but the reader's own server.
            "service=beta",
            "user=u dbname=d password=hunter2",
            "port=5433",
            "",
            "host=",
            "postgresql:///repmgr?password=hunter2",
        ] {
            assert_eq!(shown(conninfo), Vec::<String>::new(), "{conninfo}");
        }
    }

    #[test]
    fn a_table_is_read_up_to_a_number_of_rows_and_each_to_a_number_of_places() {
        let table = |count: usize| {
            let hosts = vec!["h"; 3_000].join(",");
            let row = |id| {
                serde_json::json!({
                    "id": id, "name": "n", "type": "standby", "active": true,
                    "conninfo": format!("host={hosts}"),
                })
            };
            serde_json::Value::from((1..=count).map(row).collect::<Vec<_>>()).to_string()
        };
        let rows = parse(&table(MAX_ROWS)).unwrap().table;
        assert_eq!(rows.len(), MAX_ROWS);
        assert!(rows.iter().all(|row| row.places.len() == crate::config::conninfo::MAX_PLACES));
        assert_eq!(parse(&table(MAX_ROWS + 1)).unwrap_err().kind, ErrorKind::TooLong);
    }

    #[test]
    fn an_error_never_repeats_what_was_read() {
        let odd_type = nodes("password=hunter2", SECRET);
        let odd_form = r#"[{"id": "hunter2", "conninfo": "password=hunter2"}]"#;
        for text in [odd_type.as_str(), odd_form, "hunter2", "null"] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Malformed);
            assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
        }
        assert_eq!(format!("{:?}", Nodes(SECRET.to_owned())), "Nodes(hidden)");
    }

    #[test]
    fn a_name_is_as_long_as_it_may_be_and_no_longer() {
        let of = |name: &str| {
            let text = nodes("host=db3", "standby").replace("\"db3\"", &format!("\"{name}\""));
            parse(&text).unwrap().table[0].name.to_string()
        };
        let fits = "n".repeat(MOST_NAME);
        assert_eq!(of(&fits), fits);
        assert!(of(&format!("{fits}n")).len() <= MOST_NAME + "…".len());
    }

    #[test]
    fn what_a_row_and_a_receiver_name_is_shown_as_it_is() {
        let long = "1".repeat(MOST_HOST + 1);
        for (text, is_host, is_number) in [
            ("db1", true, false),
            ("/run/a b", true, false),
            ("7445566778899001122", true, true),
            ("-7445566778899001122", true, true),
            ("", true, false),
            ("-", true, false),
            ("7\nclaims no", false, false),
            ("\u{1b}[2J", false, false),
            ("a\u{202e}b", false, false),
            (long.as_str(), false, false),
        ] {
            assert_eq!(sender_host(text.to_owned()).is_ok(), is_host, "{text:?}");
            assert_eq!(system(text).is_ok(), is_number, "{text:?}");
            let mut nodes: serde_json::Value = serde_json::from_str(&nodes("", "standby")).unwrap();
            nodes[0]["config"] = format!("/etc/{text}.conf").into();
            let listed = parse(&nodes.to_string()).unwrap();
            assert_eq!(listed.conf(NodeId(3)).is_some(), is_host || text.len() > 99, "{text:?}");
        }
    }

    #[test]
    fn minus_one_is_unknown() {
        assert_eq!(
            [None, Some(-1), Some(0), Some(4)].map(node_id),
            [None, None, None, Some(NodeId(4))]
        );
        assert_eq!((millis(-5), millis(5)), (Duration::ZERO, Duration::from_millis(5)));
    }
}
