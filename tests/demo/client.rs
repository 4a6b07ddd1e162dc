//! Clients that write through HAProxy all the time, and give up early where nothing comes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rolecall::clock::Stamp;

use crate::fixtures::{Recorder, Session, now};

/// Longest single wait. HAProxy tries a dead server again after 1 s; a client that waited for
/// that would measure its own patience.
const PATIENCE: Duration = Duration::from_millis(250);

/// Clients side by side, so that one that hangs does not leave a gap as long as its patience.
const CLIENTS: u32 = 4;

/// The table they write to; to be made on the primary first. Each row says where it was written.
pub const TABLE: &str = "create table rows (written_on inet default inet_server_addr())";

/// One try to write one row.
#[derive(Debug, Clone, Copy)]
pub struct Try {
    /// When the answer was there.
    pub at: Stamp,
    /// The address of the server that took the row.
    pub by: Option<IpAddr>,
}

/// Clients of one HAProxy port; stopped when dropped.
pub struct Clients(Vec<Recorder<Try>>);

impl Clients {
    /// Lets every client write a row each `every`, over a connection of its own, to the table
    /// [`TABLE`] through `front`.
    pub fn start(front: SocketAddr, every: Duration) -> Self {
        let start = |n: u32| {
            let mut offset = Some(every / CLIENTS * n);
            Recorder::start(every, move || {
                // Evenly apart from the first try on.
                std::thread::sleep(offset.take().unwrap_or_default());
                let by = write(front);
                Some(Try { at: now(), by })
            })
        };
        Self((0..CLIENTS).map(start).collect())
    }

    /// When the server at `addr` first took a row after `since`.
    pub fn first_by(&self, addr: SocketAddr, since: Stamp) -> Option<Stamp> {
        self.rows_by(addr).into_iter().find(|at| *at > since)
    }

    /// When the server at `addr` last took a row before `until`.
    pub fn last_by(&self, addr: SocketAddr, until: Stamp) -> Option<Stamp> {
        self.rows_by(addr).into_iter().rfind(|at| *at < until)
    }

    /// When the server at `addr` took rows.
    pub fn rows_by(&self, addr: SocketAddr) -> Vec<Stamp> {
        let tries = self.0.iter().flat_map(Recorder::all);
        let mut rows: Vec<Stamp> =
            tries.filter(|t| t.by == Some(addr.ip())).map(|t| t.at).collect();
        rows.sort_unstable();
        rows
    }
}

/// The address of the server that took a row; `None` where none did.
fn write(front: SocketAddr) -> Option<IpAddr> {
    let mut session = Session::connect(front, PATIENCE).ok()?;
    session.value(INSERT).ok()?.parse().ok()
}

const INSERT: &str = "insert into rows default values returning host(written_on)";
