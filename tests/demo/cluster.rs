//! A repmgr cluster of two data nodes and a witness on loopback addresses, with repmgrd on each.

use crate::fixtures::repmgr::Node;
use crate::fixtures::repmgr_template::found;
use crate::fixtures::{Ground, PG_PORT};
use crate::scene::Place;

/// repmgrd's `reconnect_attempts`, a second apart: enough to see that it asks more than once.
const ATTEMPTS: u32 = 2;

/// What the role `rolecall` needs on the primary and on the witness, as shipped.
const MONITOR: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/sql/rolecall.sql"));

/// It runs.
pub struct Cluster {
    pub node1: Node,
    pub node2: Node,
    pub witness: Node,
}

impl Cluster {
    /// Makes and registers it, node 1 being the primary, and waits until every repmgrd watches.
    pub fn start(ground: &Ground) -> Self {
        let place = |id| Node::at(ground, ground.host(id), None, id, (ATTEMPTS, 1));
        let (mut node1, mut standbys, mut witness) = (place(1), [place(2)], place(3));
        found(ground, &mut node1, &mut standbys, &mut witness, MONITOR);
        let [node2] = standbys;
        let mut cluster = Self { node1, node2, witness };
        for node in [&mut cluster.node1, &mut cluster.node2, &mut cluster.witness] {
            node.start_repmgrd();
        }
        cluster.node2.wait_watched(1);
        cluster.witness.wait_watched(1);
        cluster
    }
}

/// `node` for rolecall, under its name on the screen.
pub fn place(name: &'static str, node: &Node) -> Place {
    let (host, id) = (node.host(), node.id);
    let conninfo =
        format!("host={host} port={PG_PORT} dbname=repmgr user=rolecall sslmode=disable");
    let source = format!("kind = \"repmgr\"\nconninfo = \"{conninfo}\"\nnode_id = {id}");
    Place { name, addr: node.postgres.addr(), source }
}

/// What a node's own row of its own table says of it, such as `primary, active`.
pub fn own_row(node: &Node) -> Result<String, String> {
    let said = node.ask(&format!(
        "select concat(type, case when active then ', active' else ', inactive' end) \
         from repmgr.nodes where node_id = {}",
        node.id
    ));
    said.map_err(|e| format!("node{} does not tell its own row: {e}", node.id))
}
