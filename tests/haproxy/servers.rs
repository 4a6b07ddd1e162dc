//! Servers that say which one they are, and clients that ask through HAProxy all the time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::{Recorder, held, now};

/// How often a client comes.
const EVERY: Duration = Duration::from_millis(20);
/// How long it waits; reached only where HAProxy has forgotten it.
pub const WITHIN: Duration = Duration::from_secs(5);

/// Stands for a PostgreSQL server: says its number to whoever connects and keeps the session. Dropped,
/// it refuses connections and its sessions end.
pub struct Server {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(id: u8, addr: SocketAddr) -> Self {
        let listener = held(addr);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || serve(id, &listener, &stopped));
        Self { addr, stop, thread: Some(thread) }
    }
}

fn serve(id: u8, listener: &TcpListener, stop: &AtomicBool) {
    let mut sessions: Vec<TcpStream> = Vec::new();
    for session in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        sessions.retain(|s| !matches!(s.peek(&mut [0]), Ok(0)) && s.take_error().is_ok());
        let Ok(mut session) = session else { continue };
        // A client that is gone already is no fault of the server.
        if session.write_all(&[b'0' + id]).is_ok() && session.set_nonblocking(true).is_ok() {
            sessions.push(session);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr);
        let _ = self.thread.take().expect("once").join();
    }
}

/// What became of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// The server with this number.
    Server(u8),
    /// HAProxy had nobody, or was not there, or its server was not.
    Nobody,
}

/// One connection.
#[derive(Debug, Clone)]
pub struct Visit {
    pub began: Stamp,
    pub at: Stamp,
    pub met: Met,
}

/// A session through HAProxy and its server's number; `None` where there is no server.
pub fn session(front: SocketAddr) -> Option<(u8, Session)> {
    let mut stream = TcpStream::connect_timeout(&front, WITHIN).ok()?;
    stream.set_read_timeout(Some(WITHIN)).ok()?;
    let mut number = [0];
    stream.read_exact(&mut number).ok()?;
    Some((number[0] - b'0', Session(stream)))
}

/// An open session.
pub struct Session(TcpStream);

impl Session {
    /// Whether nobody has ended it.
    pub fn lives(&self) -> bool {
        self.0.set_nonblocking(true).expect("a socket");
        matches!(self.0.peek(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock)
    }
}

/// Connects through `front` all the time.
pub fn visitor(front: SocketAddr) -> Recorder<Visit> {
    Recorder::start(EVERY, move || {
        let began = now();
        let met = session(front).map_or(Met::Nobody, |(id, _)| Met::Server(id));
        Some(Visit { began, at: now(), met })
    })
}
