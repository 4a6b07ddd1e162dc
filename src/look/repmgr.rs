//! What one node of a repmgr cluster said of itself and of the others: the facts that rule R reads.
//!
//! `repmgr.nodes` is a replicated table, so every node has a copy of its own, and the copies differ
//! while the cluster changes: a standby that is cut off keeps the old picture for ever, the
//! witness's is copied every 15 s, a returned old primary still names itself. Nothing here is
//! believed because one node says it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::look::place::Place;

/// repmgr's number of a node, `node_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// What a node is registered as: the last role repmgr wrote down, not what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Registered {
    /// `primary`
    Primary,
    /// `standby`
    Standby,
    /// `witness`: a PostgreSQL of its own that only votes. It is writable, and never a primary.
    Witness,
}

impl Registered {
    /// The word in the column `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::Witness => "witness",
        }
    }
}

/// One row of `repmgr.nodes`; columns that no rule reads are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `node_id`
    pub id: NodeId,
    /// `node_name`
    pub name: Arc<str>,
    /// `type`
    pub registered: Registered,
    /// `active`: false for the old primary after a failover, and for a standby or witness whose own
    /// repmgrd saw its PostgreSQL down. Not liveness: a dead host stays `true`.
    pub active: bool,
    /// Where the node is reached, from `conninfo`: host, hostaddr and port only.
    pub places: Arc<[Place]>,
    /// Another row leads to the same address and port (a virtual address, a cloned host): an answer
    /// from there could be counted for both.
    pub shares_address: bool,
}

impl Row {
    /// Whether another node can be followed to the row's own server: it names hosts, and no socket,
    /// which is on whatever host reads the row.
    pub(crate) fn leads_to_its_server(&self) -> bool {
        !self.places.is_empty() && self.places.iter().all(|place| place.socket_dir().is_none())
    }
}

/// A node's own copy of `repmgr.nodes`, in the order of `node_id`.
pub type Table = Arc<[Row]>;

/// The row of this node.
pub fn row(table: &[Row], id: NodeId) -> Option<&Row> {
    table.iter().find(|row| row.id == id)
}

/// The one active primary that a table names; `None` where it names none or several.
pub fn named(table: &[Row]) -> Option<NodeId> {
    let mut primaries =
        table.iter().filter(|row| row.registered == Registered::Primary && row.active);
    match (primaries.next(), primaries.next()) {
        (Some(only), None) => Some(only.id),
        _ => None,
    }
}

/// Whom a node's WAL receiver streams from, by the node's own answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attached {
    /// No receiver is streaming.
    Nobody,
    /// The receiver streams from this node of the node's own table.
    To(NodeId),
    /// The receiver streams from an address that matches no row, and repmgrd names no upstream.
    Unknown(Arc<str>),
}

/// What a node of a repmgr cluster answered, beside what PostgreSQL says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The node's own row: the one that is configured, else the one repmgrd told the server. Only
    /// of the own server's answer.
    pub me: Option<NodeId>,
    /// `system_identifier`: the same on all nodes of a cluster but the witness.
    pub system: Arc<str>,
    /// The node's own copy of `repmgr.nodes`.
    pub table: Table,
    /// `get_local_node_id()`; `None` where repmgrd has not told the server (NULL or -1).
    pub local_id: Option<NodeId>,
    /// `get_upstream_node_id()`; `None` where unknown.
    pub upstream: Option<NodeId>,
    /// `get_upstream_last_seen()`: how long ago repmgrd last reached its upstream. `None`: never.
    pub upstream_seen: Option<Duration>,
    /// `get_new_primary()`: the node that an elected one told this node to follow. repmgrd does so at
    /// the first lost ping, without the time that its own detection takes, and forgets it only when it
    /// is restarted. `None`: nobody told it, or the packaged SQL is too old to say.
    pub told: Option<NodeId>,
    /// Whom the receiver streams from.
    pub attached: Attached,
    /// `repmgrd_is_running()`
    pub repmgrd_running: bool,
    /// `repmgrd_is_paused()`
    pub repmgrd_paused: bool,
    /// How long repmgr waits before it promotes another node, by the repmgr.conf of the own row.
    /// Only of the own server's answer, where that server is on this host; `None`: unknown.
    pub failover_after: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(id: i32, registered: Registered, active: bool) -> Row {
        let name = format!("db{id}").into();
        Row { id: NodeId(id), name, registered, active, places: [].into(), shares_address: false }
    }

    /// Two active primaries in one table name nobody: neither may be followed.
    #[test]
    fn a_table_names_its_one_active_primary() {
        use Registered::{Primary, Standby, Witness};
        let named = |rows: &[(i32, Registered, bool)]| {
            let table: Vec<Row> = rows.iter().map(|row| registered(row.0, row.1, row.2)).collect();
            named(&table).map(|id| id.0)
        };
        assert_eq!(named(&[(1, Standby, true), (2, Primary, true), (3, Witness, true)]), Some(2));
        assert_eq!(named(&[(1, Primary, false), (2, Primary, true)]), Some(2));
        assert_eq!(named(&[(1, Primary, true), (2, Primary, true)]), None);
        assert_eq!(named(&[(1, Primary, false), (2, Standby, true)]), None);
    }

    #[test]
    fn a_row_is_found_by_its_number() {
        let table = [1, 2].map(|id| registered(id, Registered::Standby, true));
        assert_eq!(row(&table, NodeId(2)).map(|row| &*row.name), Some("db2"));
        assert_eq!(row(&table, NodeId(3)), None);
    }

    /// A socket is on whatever host reads the row.
    #[test]
    fn a_row_leads_to_its_server_by_hosts_alone() {
        let leads = |hosts: &[&str]| {
            let place =
                |host: &&str| Place { host: Some((*host).to_owned()), hostaddr: None, port: 5432 };
            let places = hosts.iter().map(place).collect();
            Row { places, ..registered(1, Registered::Primary, true) }.leads_to_its_server()
        };
        assert!(leads(&["db1"]) && leads(&["db1", "10.0.0.1"]));
        assert!(!leads(&[]) && !leads(&["/run/postgresql"]) && !leads(&["db1", "/run/postgresql"]));
    }

    /// As repmgr writes it.
    #[test]
    fn the_type_of_a_node_in_words() {
        let words = [Registered::Primary, Registered::Standby, Registered::Witness];
        assert_eq!(words.map(Registered::as_str), ["primary", "standby", "witness"]);
        assert_eq!(NodeId(7).to_string(), "node 7");
    }
}
