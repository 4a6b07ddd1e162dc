//! What looks on: what each node would say by simpler rules, and who took which row.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rolecall::clock::Stamp;

use crate::fixtures::netns::host;
use crate::fixtures::{PG_PORT, PgError, Recorder, Session, now};

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

/// What became of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// Node `by` took it, at this moment of its own clock, in seconds since 1970.
    By { by: u8, server_time: f64 },
    /// A server in recovery refused it: it should not have been asked.
    InRecovery,
    /// Nobody took it, or nobody said so.
    Nobody(String),
}

/// One try to write one row.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its number, from 1 on.
    pub n: u64,
    /// What became of it.
    pub taken: Taken,
}

/// Writes numbered rows through `front` every 25 ms, each over a connection of its own, as an
/// ordinary user. To be started inside the client's namespace.
pub fn writer(front: SocketAddr) -> Recorder<Row> {
    let mut n = 0;
    Recorder::start(Duration::from_millis(25), move || {
        n += 1;
        let taken = match write(front, n) {
            Ok((by, server_time)) => Taken::By { by, server_time },
            // read_only_sql_transaction
            Err(PgError::Server(code, _)) if code == "25006" => Taken::InRecovery,
            Err(e) => Taken::Nobody(e.to_string()),
        };
        Some(Row { n, taken })
    })
}

fn write(front: SocketAddr, n: u64) -> Result<(u8, f64), PgError> {
    let mut session = Session::connect_as(front, "app", "postgres", WITHIN)?;
    let said = session.value(&format!(
        "insert into rows (n) values ({n}) returning concat(host(node), ' ', extract(epoch from at))"
    ))?;
    let parsed = said.split_once(' ').and_then(|(address, time)| {
        let address: Ipv4Addr = address.parse().ok()?;
        Some((address.octets()[3], time.parse().ok()?))
    });
    parsed.ok_or(PgError::Protocol("not an address and a time"))
}
