//! Opening a Unix socket where a dead process left one.
//!
//! Whoever closes a Unix socket leaves its file behind, so each start finds that of the last one. It may
//! be taken away only where it is certain that nobody listens: the kernel refuses the connection
//! (`ECONNREFUSED`, unix(7)). Anything else may be somebody alive: one whose queue is full (`EAGAIN`),
//! who lets others in only (`EACCES`), or whose socket is of another kind (`EPROTOTYPE`).

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::host::failure::{Exit, Failure};

/// Longest path of a Unix socket (`sun_path`, without the zero at its end).
pub(crate) const MAX_PATH: usize = 107;

/// A new socket of this kind at `path`, in the place of a dead one's.
///
/// # Errors
/// Something else is there, it is not certain that it is dead, or its directory does not let it be.
pub fn bind(path: &Path, kind: Type) -> Result<OwnedFd, Failure> {
    make_room(path, kind)?;
    let bound = Socket::new(Domain::UNIX, kind, None).and_then(|socket| {
        socket.bind(&SockAddr::unix(path)?)?;
        if kind == Type::STREAM {
            socket.listen(BACKLOG)?;
        }
        Ok(socket.into())
    });
    bound.map_err(|error| failed(path, &error))
}

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 128;

/// What the file system does not allow at this path.
pub fn failed(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::PermissionDenied => Exit::Permission,
        _ => Exit::Unavailable,
    };
    Failure::new(exit, format_args!("{}: {error}", path.display()))
        .hint("create the directory of the socket, and let rolecall's user write to it")
}

fn make_room(path: &Path, kind: Type) -> Result<(), Failure> {
    let refused = |what: &str, hint| {
        let what = format_args!("{}: {what}", path.display()).to_string();
        Err(Failure::new(Exit::Unavailable, what).hint(hint))
    };
    let in_use = || {
        refused(
            "another process already listens on this socket",
            "stop the other rolecall, or set another path",
        )
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path, &error)),
        Ok(found) if !found.file_type().is_socket() => {
            let hint = "move the file away, or set another path";
            return refused("the path exists and is not a socket", hint);
        }
        Ok(_) => {}
    }
    let Err(error) = knock(path, kind) else { return in_use() };
    match error.kind() {
        // Its queue is full, so there is one.
        ErrorKind::WouldBlock => in_use(),
        ErrorKind::NotFound => Ok(()),
        ErrorKind::ConnectionRefused => match fs::remove_file(path) {
            // Somebody else may have been quicker.
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path, &error)),
            _ => Ok(()),
        },
        _ => refused(
            &format!("there is already a socket at this path that may be in use: {error}"),
            "`ss -xlp` shows whether a process uses it; if none does, remove the file",
        ),
    }
}

/// Connects, without waiting for anybody.
fn knock(path: &Path, kind: Type) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    fn refused(path: &Path, kind: Type, what: &str) {
        let inode = || {
            use std::os::unix::fs::MetadataExt as _;
            fs::symlink_metadata(path).map(|found| found.ino()).ok()
        };
        let before = inode();
        let failure = bind(path, kind).expect_err(what);
        assert!(failure.what.contains(what) && failure.hint.is_some(), "{failure}");
        assert_eq!(inode(), before, "it is left as it is");
    }

    #[test]
    fn a_dead_ones_is_replaced_and_a_living_ones_is_not() {
        for (kind, other) in [(Type::STREAM, Type::DGRAM), (Type::DGRAM, Type::STREAM)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("socket");
            let bound = bind(&path, kind).unwrap();
            refused(&path, kind, "already listens");
            // A living one of another kind cannot be asked, and is left alone.
            refused(&path, other, "may be in use");
            drop(bound);
            assert!(path.exists(), "its file stays, as after a kill");
            let _bound = bind(&path, kind).unwrap();
            match kind {
                Type::STREAM => drop(UnixStream::connect(&path).unwrap()),
                _ => UnixDatagram::unbound().unwrap().connect(&path).unwrap(),
            }
        }
    }

    #[test]
    fn one_whose_queue_is_full_is_alive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        assert_eq!(knock(&path, Type::STREAM).unwrap_err().kind(), ErrorKind::WouldBlock);
        refused(&path, Type::STREAM, "already listens");
    }

    #[test]
    fn what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "mine").unwrap();
        let _elsewhere = UnixListener::bind(dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &link).unwrap();
        for path in [&*file, &link, dir.path()] {
            refused(path, Type::STREAM, "not a socket");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        refused(&file.join("below"), Type::STREAM, "below");
        refused(&dir.path().join("none/socket"), Type::DGRAM, "No such file");
    }
}
