//! What came back, read into the rows that rule M judges.

use std::time::Duration;

use serde::Deserialize;
use tokio_postgres::Row as SqlRow;

use crate::look::auto_failover::{MonitorId, NodeState, Row};
use crate::look::error::{ErrorKind, SourceError};
use crate::look::role::Timeline;
use crate::look::text;
use crate::source::pg::column;

/// Most rows of a group that are read: several times the largest anybody has.
pub const MAX_ROWS: usize = 128;

/// Most standbys of a server that are read (`max_wal_senders` is 262143 at most, and 10 where nobody set it).
pub const MAX_FOLLOWERS: usize = 1000;

/// Bytes of a node's name and of its host; DNS has 253.
const MOST_NAME: usize = 255;

/// What the formation of a node is called that waits for the old primary.
const PLAIN: &str = "pgsql";

/// What the monitor answered.
#[derive(Debug)]
pub struct Listed {
    /// The node's own number; `None` where it has no row.
    pub own: Option<MonitorId>,
    /// The rows of its group.
    pub rows: Vec<Row>,
    /// How long the monitor waits before it lets another node take writes.
    pub demotes_after: Duration,
}

impl Listed {
    /// Reads it. [`ErrorKind::Malformed`] where a column is missing or cannot be.
    pub fn read(row: &SqlRow) -> Result<Self, SourceError> {
        let own: Option<MonitorId> = column(row, "own")?;
        let nodes: Option<String> = column(row, "nodes")?;
        let rows = nodes.as_deref().map_or_else(|| Ok(Vec::new()), rows)?;
        let kind: Option<String> = column(row, "kind")?;
        // A worker of Citus is promoted at once.
        let waits = kind.as_deref() == Some(PLAIN);
        let demotes_after = if waits { millis(column(row, "demote_ms")?) } else { Duration::ZERO };
        Ok(Self { own, rows, demotes_after })
    }
}

/// Below zero where a clock was set back meanwhile: then the monitor, which measures by it, waits as much longer.
fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}

#[derive(Deserialize)]
struct Node {
    id: MonitorId,
    name: String,
    host: String,
    port: u16,
    reported: String,
    goal: String,
    running: bool,
    health: i32,
    reported_ms: i64,
    checked_ms: i64,
    priority: i32,
    timeline: u32,
    system: Option<i64>,
}

/// Reads the rows of a group.
///
/// # Errors
/// [`ErrorKind::Malformed`] where they are of another form, or one has a state that no version known has;
/// [`ErrorKind::TooLong`] where there are more than [`MAX_ROWS`].
pub fn rows(text: &str) -> Result<Vec<Row>, SourceError> {
    let malformed = |what: &str| SourceError::new(ErrorKind::Malformed, what);
    let nodes: Vec<Node> = serde_json::from_str(text).map_err(|error| {
        malformed(&format!(
            "the rows of the monitor are not as pg_auto_failover writes them: {error}"
        ))
    })?;
    if nodes.len() > MAX_ROWS {
        let what = format!("the group has {} nodes, expected {MAX_ROWS} at most", nodes.len());
        return Err(SourceError::new(ErrorKind::TooLong, what));
    }
    let row = |node: Node| {
        let state = |word: &str| {
            NodeState::read(word).ok_or_else(|| {
                let word = text::plain(word, MOST_NAME);
                malformed(&format!("the monitor has a node in the unknown state {word:?}"))
            })
        };
        if node.timeline == 0 {
            return Err(malformed("the monitor has a node on timeline 0"));
        }
        Ok(Row {
            id: node.id,
            name: text::plain(&node.name, MOST_NAME).into(),
            host: text::plain(&node.host, MOST_NAME).into(),
            port: node.port,
            reported: state(&node.reported)?,
            goal: state(&node.goal)?,
            running: node.running,
            reported_ago: millis(node.reported_ms),
            healthy: node.health == 1,
            checked_ago: millis(node.checked_ms),
            candidate: node.priority > 0,
            timeline: Timeline(node.timeline),
            // 0 until the node has said it.
            system: node.system.filter(|system| *system != 0),
        })
    };
    nodes.into_iter().map(row).collect()
}

/// One who streams from the server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Follower {
    /// `application_name`
    pub name: String,
    /// When it last said that it does, by its own clock, in microseconds since 1970; `None`: not yet.
    pub reply: Option<i64>,
}

/// Reads those who stream from the server. Errors as [`rows`].
pub fn followers(text: &str) -> Result<Vec<Follower>, SourceError> {
    let followers: Vec<Follower> = serde_json::from_str(text).map_err(|error| {
        let what = format_args!("the standbys of the server cannot be read: {error}");
        SourceError::new(ErrorKind::Malformed, what)
    })?;
    if followers.len() > MAX_FOLLOWERS {
        let count = followers.len();
        let what =
            format_args!("the server has {count} standbys, expected {MAX_FOLLOWERS} at most");
        return Err(SourceError::new(ErrorKind::TooLong, what));
    }
    Ok(followers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a monitor of 2.0 wrote it.
    const ONE: &str = r#"[{"id" : 1, "name" : "n1", "host" : "10.9.0.2", "port" : 5501,
        "reported" : "primary", "goal" : "demote_timeout", "running" : true, "health" : 0,
        "reported_ms" : 26412, "checked_ms" : 3120, "priority" : 50, "timeline" : 2,
        "system" : 7577342143541313550}]"#;

    fn with(from: &str, to: &str) -> Result<Vec<Row>, SourceError> {
        assert!(ONE.contains(from), "{from}");
        rows(&ONE.replace(from, to))
    }

    #[test]
    fn a_row_is_read_as_the_monitor_writes_it() {
        let read = rows(ONE).unwrap();
        let expected = Row {
            id: 1,
            name: "n1".into(),
            host: "10.9.0.2".into(),
            port: 5501,
            reported: NodeState::Primary,
            goal: NodeState::DemoteTimeout,
            running: true,
            reported_ago: Duration::from_millis(26412),
            healthy: false,
            checked_ago: Duration::from_millis(3120),
            candidate: true,
            timeline: Timeline(2),
            system: Some(7_577_342_143_541_313_550),
        };
        assert_eq!(read, [expected]);
        assert!(!with("\"priority\" : 50", "\"priority\" : 0").unwrap()[0].candidate);
        assert_eq!(with("7577342143541313550", "0").unwrap()[0].system, None);
        assert_eq!(with("7577342143541313550", "null").unwrap()[0].system, None);
        assert!(!with("\"health\" : 0", "\"health\" : -1").unwrap()[0].healthy);
        assert!(with("\"health\" : 0", "\"health\" : 1").unwrap()[0].healthy);
        assert_eq!(with("26412", "-3").unwrap()[0].reported_ago, Duration::ZERO);
    }

    #[test]
    fn what_cannot_be_is_an_error_and_no_default() {
        for (from, to) in [
            ("\"timeline\" : 2", "\"timeline\" : 0"),
            ("\"timeline\" : 2", "\"timeline\" : -1"),
            ("\"primary\"", "\"leader\""),
            ("\"demote_timeout\"", "null"),
            ("5501", "70000"),
            ("\"running\" : true, ", ""),
        ] {
            assert_eq!(with(from, to).unwrap_err().kind, ErrorKind::Malformed, "{to}");
        }
        let one = ONE.trim_start_matches('[').trim_end_matches(']');
        let many = |count: usize| format!("[{}]", vec![one; count].join(","));
        assert_eq!(rows(&many(MAX_ROWS)).unwrap().len(), MAX_ROWS);
        assert_eq!(rows(&many(MAX_ROWS + 1)).unwrap_err().kind, ErrorKind::TooLong);
    }

    #[test]
    fn a_long_name_is_cut() {
        let long = "n".repeat(MOST_NAME + 1);
        let name = with("\"n1\"", &format!("\"{long}\"")).unwrap()[0].name.clone();
        assert_eq!(&*name, format!("{}…", &long[..MOST_NAME]));
    }

    #[test]
    fn followers_are_read_with_their_last_reply() {
        let said = r#"[{"name" : "pgautofailover_standby_2", "reply" : 1795647265000000},
                       {"name" : "pgautofailover_standby_3", "reply" : null}]"#;
        let read: Vec<_> = followers(said).unwrap().into_iter().map(|f| f.reply).collect();
        assert_eq!(read, [Some(1_795_647_265_000_000), None]);
        assert_eq!(followers("[{}]").unwrap_err().kind, ErrorKind::Malformed);
        let many = vec![r#"{"name":"x","reply":1}"#; MAX_FOLLOWERS + 1].join(",");
        assert_eq!(followers(&format!("[{many}]")).unwrap_err().kind, ErrorKind::TooLong);
    }
}
