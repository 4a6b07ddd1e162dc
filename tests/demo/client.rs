//! Clients that write through HAProxy, a new one all the time, whatever became of the others.
//!
//! HAProxy keeps a client of a dead server waiting (`retries`, 1 s apart). A client that wrote,
//! waited and wrote again would measure that wait, not when HAProxy first let somebody through.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::{Recorder, Session, now};

/// Longest single wait of a client: bounds how many of them hang at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// The table they write to; to be made on the primary first. Each row says where it was written.
pub const TABLE: &str = "create table rows (node inet default inet_server_addr())";
const INSERT: &str = "insert into rows default values returning host(node)";

/// Every row that was acknowledged: which server took it, and when the client knew.
type Rows = Arc<Mutex<Vec<(IpAddr, Stamp)>>>;

/// Clients of one HAProxy port. Dropped, it sends no more of them.
pub struct Clients {
    rows: Rows,
    _sender: Recorder<()>,
}

impl Clients {
    /// Sends a new client to `front` every `every`, to write one row over a connection of its own.
    pub fn start(front: SocketAddr, every: Duration) -> Self {
        let rows = Rows::default();
        let theirs = Arc::clone(&rows);
        let sender = Recorder::start(every, move || {
            let rows = Arc::clone(&theirs);
            std::thread::spawn(move || {
                if let Some(server) = write(front) {
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push((server, now()));
                }
            });
            None
        });
        Self { rows, _sender: sender }
    }

    /// When the server at `addr` took rows, in order.
    pub fn rows_by(&self, addr: SocketAddr) -> Vec<Stamp> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let by_it = rows.iter().filter(|(server, _)| *server == addr.ip());
        let mut at: Vec<Stamp> = by_it.map(|(_, at)| *at).collect();
        at.sort_unstable();
        at
    }

    /// When the server at `addr` first took a row after `since`.
    pub fn first_by(&self, addr: SocketAddr, since: Stamp) -> Option<Stamp> {
        self.rows_by(addr).into_iter().find(|at| *at > since)
    }
}

/// The address of the server that took a row; `None` where none did.
fn write(front: SocketAddr) -> Option<IpAddr> {
    let mut session = Session::connect(front, PATIENCE).ok()?;
    session.value(INSERT).ok()?.parse().ok()
}
