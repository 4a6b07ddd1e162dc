//! The socket that wakes rolecall up.
//!
//! A datagram on it means "look now, and often for a moment": Patroni's callbacks and repmgr's events
//! say when something has changed, 30 ms after it did instead of at the next look. It may name a
//! node, and never says a role: callbacks come early, late and from stale primaries (measured), so
//! what is answered rests on looks alone. Whoever may run a program on this host may poke; the worst
//! that a flood of pokes can do is bounded here and by the keeper.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::Type;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::config::POKE_SOCKET;
use crate::host::failure::{Exit, Failure};
use crate::host::{unit_folders, unix_socket};

/// Pokes that wait for the keeper; one more is dropped, it would say the same.
pub(crate) const POKES_WAITING: usize = 4;

/// Longest datagram that is read: longer than any node's name.
const MAX_DATAGRAM: usize = 128;

/// Time between two datagrams that are read. Whoever sends more fills the socket's queue, not this
/// process's time.
const BETWEEN: Duration = Duration::from_millis(10);

/// Everybody of this host may write to it.
const MODE: u32 = 0o666;

/// A wish that rolecall looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poke {
    /// At this node; `None`: at every one.
    pub node: Option<String>,
}

impl Poke {
    /// What a datagram says; `None` where it is no text. A name that no node has is the keeper's to pass
    /// over.
    fn read(datagram: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(datagram).ok()?.trim();
        Some(Self { node: (!name.is_empty()).then(|| name.to_owned()) })
    }
}

/// Wakes the rolecall up that listens at `path`. Never waits.
///
/// # Errors
/// Nobody listens there, or not to this user.
pub fn send(path: &Path, node: Option<&str>) -> Result<(), Failure> {
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(node.unwrap_or_default().as_bytes(), path)
    });
    let error = match sent {
        Ok(_) => return Ok(()),
        // Its queue is full of the same wish.
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(error) => error,
    };
    let exit = match error.kind() {
        ErrorKind::PermissionDenied => Exit::Permission,
        _ => Exit::Unavailable,
    };
    let what =
        format_args!("no rolecall listens on the wake-up socket {}: {error}", path.display());
    Err(Failure::new(exit, what)
        .hint("check that rolecall runs, and that `poke` of [control] is this path"))
}

/// The open socket; closed and removed with this value.
pub struct Door {
    path: PathBuf,
    reading: AbortHandle,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.reading.abort();
        // It is this process's own, and a file that stays is taken for a dead one's at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens the socket at `configured`, else in systemd's runtime directory, else none; what comes in goes
/// to `pokes`. One that cannot be opened is warned of: answering goes on.
pub fn open(configured: Option<&Path>, pokes: mpsc::Sender<Poke>) -> Option<Door> {
    let path = configured.map(Path::to_owned).or_else(in_runtime_directory)?;
    let heard = |socket| {
        let socket = tokio::net::UnixDatagram::from_std(socket);
        socket.map_err(|error| unix_socket::failed(&path, &error))
    };
    match bind(&path).and_then(heard) {
        Ok(socket) => {
            info!("wake-ups are received at {}", path.display());
            let reading = tokio::spawn(read(socket, pokes)).abort_handle();
            Some(Door { path, reading })
        }
        Err(Failure { what, hint, .. }) => {
            warn!(
                hint,
                "rolecall cannot receive wake-ups, so it polls at its usual interval only: {what}"
            );
            None
        }
    }
}

fn in_runtime_directory() -> Option<PathBuf> {
    let folder = unit_folders::runtime().filter(|folder| folder.is_absolute())?;
    Some(folder.join(POKE_SOCKET))
}

fn bind(path: &Path) -> Result<UnixDatagram, Failure> {
    let socket = UnixDatagram::from(unix_socket::bind(path, Type::DGRAM)?);
    let opened = fs::set_permissions(path, Permissions::from_mode(MODE))
        .and_then(|()| socket.set_nonblocking(true));
    opened.map(|()| socket).map_err(|error| unix_socket::failed(path, &error))
}

async fn read(socket: tokio::net::UnixDatagram, pokes: mpsc::Sender<Poke>) {
    let mut datagram = [0; MAX_DATAGRAM];
    loop {
        match socket.recv(&mut datagram).await {
            Ok(length) => {
                if let Some(poke) = Poke::read(&datagram[..length]) {
                    // Those that wait say the same.
                    let _ = pokes.try_send(poke);
                }
            }
            Err(error) => warn!("the wake-up socket failed: {error}"),
        }
        sleep(BETWEEN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_names_a_node_or_none() {
        let node = |datagram: &[u8]| Poke::read(datagram).map(|poke| poke.node);
        assert_eq!(node(b""), Some(None));
        assert_eq!(node(b" \n"), Some(None));
        assert_eq!(node(b"pg1\n"), Some(Some("pg1".into())));
        assert_eq!(
            node(b"on_role_change primary demo"),
            Some(Some("on_role_change primary demo".into()))
        );
        assert_eq!(node(b"\xff\xfe"), None);
    }

    #[test]
    fn a_dead_ones_socket_is_replaced_and_everybody_may_write_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("poke.sock");
        let first = bind(&path).unwrap();
        assert!(bind(&path).unwrap_err().what.contains("another process"));
        drop(first);
        let second = bind(&path).unwrap();
        send(&path, Some("pg1")).unwrap();
        let mut datagram = [0; MAX_DATAGRAM];
        let length = second.recv(&mut datagram).unwrap();
        assert_eq!(&datagram[..length], b"pg1");
        // The rest of a long one is not read, and is gone.
        send(&path, Some(&"x".repeat(MAX_DATAGRAM + 1))).unwrap();
        send(&path, Some("pg2")).unwrap();
        assert_eq!(second.recv(&mut datagram).unwrap(), MAX_DATAGRAM);
        assert_eq!(second.recv(&mut datagram).unwrap(), 3);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn nobody_there_is_told_and_a_full_queue_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("poke.sock");
        assert_eq!(send(&path, None).unwrap_err().exit, Exit::Unavailable);
        let socket = bind(&path).unwrap();
        // Nobody reads: the queue holds a few hundred at most.
        for _ in 0..2000 {
            send(&path, None).unwrap();
        }
        drop(socket);
        assert_eq!(send(&path, None).unwrap_err().exit, Exit::Unavailable, "a dead one's");
    }
}
