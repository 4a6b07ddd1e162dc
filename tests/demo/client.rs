//! Clients that write through HAProxy all the time, and give up early where nothing comes.

use std::net::SocketAddr;
use std::time::Duration;

use rolecall::clock::Stamp;

use crate::fixtures::{Recorder, Session, now};

/// Longest single wait. HAProxy tries a dead server again after 1 s; a client that waited for
/// that would measure its own patience.
const PATIENCE: Duration = Duration::from_millis(250);

/// Clients side by side, so that one that hangs does not leave a gap as long as its patience.
const CLIENTS: u32 = 4;

/// One try to write one row.
#[derive(Debug, Clone)]
pub struct Try {
    /// When the answer was there.
    pub at: Stamp,
    /// The address of the server that took the row.
    pub by: Option<String>,
}

/// Clients of one HAProxy port; stopped when dropped.
pub struct Clients(Vec<Recorder<Try>>);

impl Clients {
    /// Lets every client write a row each `every`, over a connection of its own, to the table
    /// [`crate::fixtures::ROWS`] through `front`.
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

    /// Every try so far, in order.
    pub fn all(&self) -> Vec<Try> {
        let mut all: Vec<Try> = self.0.iter().flat_map(Recorder::all).collect();
        all.sort_by_key(|t| t.at);
        all
    }

    /// When the server at `host` first took a row after `since`.
    pub fn first_by(&self, host: SocketAddr, since: Stamp) -> Option<Stamp> {
        let host = host.ip().to_string();
        let by = |t: &&Try| t.by.as_deref() == Some(&host) && t.at > since;
        self.all().iter().find(by).map(|t| t.at)
    }

    /// When the server at `host` last took a row before `until`.
    pub fn last_by(&self, host: SocketAddr, until: Stamp) -> Option<Stamp> {
        let host = host.ip().to_string();
        let by = |t: &&Try| t.by.as_deref() == Some(&host) && t.at < until;
        self.all().iter().rfind(by).map(|t| t.at)
    }

    /// How many rows the server at `host` has taken after `since`.
    pub fn rows_by(&self, host: SocketAddr, since: Stamp) -> usize {
        let host = host.ip().to_string();
        self.all().iter().filter(|t| t.by.as_deref() == Some(&host) && t.at > since).count()
    }
}

/// The address of the server that took a row; `None` where none did.
fn write(front: SocketAddr) -> Option<String> {
    let mut session = Session::connect(front, PATIENCE).ok()?;
    session.value("insert into rows values (0) returning host(inet_server_addr())").ok()
}
