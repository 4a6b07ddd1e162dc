//! What each node would say by simpler rules.

use std::net::SocketAddr;
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::netns::host;
use crate::fixtures::{PG_PORT, Recorder, Session, now};

/// Longest single wait for a server; short, so that a dead one does not keep the next look waiting.
const WITHIN: Duration = Duration::from_secs(1);

/// What two simpler rules would answer on one node.
#[derive(Debug, Clone, Copy)]
pub struct Simple {
    /// When the node was asked.
    pub at: Stamp,
    /// Its own row of its own table says that it is an active primary.
    pub own_row: bool,
    /// It is not in recovery.
    pub not_in_recovery: bool,
}

/// Asks node `id` every 200 ms over a fresh connection, as the simpler rules do. To be started inside
/// the node's namespace. No answer is a no.
pub fn simple_rules(id: u8) -> Recorder<Simple> {
    let addr = SocketAddr::from((host(id), PG_PORT));
    let sql = format!(
        "select concat(exists(select from repmgr.nodes where node_id = {id} and type = 'primary' \
         and active), ' ', not pg_is_in_recovery())"
    );
    Recorder::start(Duration::from_millis(200), move || {
        let at = now();
        let session = Session::connect_as(addr, "repmgr", "repmgr", WITHIN);
        let said = session.and_then(|mut s| s.value(&sql)).unwrap_or_default();
        let own_row = said.starts_with('t');
        Some(Simple { at, own_row, not_in_recovery: said.ends_with('t') })
    })
}
