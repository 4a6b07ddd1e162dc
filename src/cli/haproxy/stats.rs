//! Asks a HAProxy what it shows: at its stats socket, or in texts that somebody else has asked for.

use std::io::{self, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::cli::haproxy::told::{self, MOST_TEXT, QUESTION, Told};
use crate::host::clock::Clock;
use crate::host::failure::{Exit, Failure};

/// Time for a HAProxy to say all that it was asked.
const ANSWER: Duration = Duration::from_secs(5);

const PIPED: &str = r#"echo "show info;show stat;show servers state" | socat -t 10 - /run/haproxy/admin.sock | rolecall status --haproxy -"#;

/// Asks at the stats socket. Reads only: nothing of HAProxy's changes.
///
/// # Errors
/// Nobody answers there in time, or what is said is no HAProxy's.
pub fn at(socket: &Path) -> Result<Told, Failure> {
    let failed = |error: &io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "become root, or a member of the group of `stats socket` in HAProxy's configuration"
                    .to_owned()
            }
            _ => format!(
                "does HAProxy run, and is this its `stats socket`? `[haproxy] socket` names another; from another host: {PIPED}"
            ),
        };
        Failure::new(Exit::Unavailable, format_args!("HAProxy at {}: {error}", socket.display()))
            .hint(hint)
    };
    let mut stream = UnixStream::connect(socket).map_err(|error| failed(&error))?;
    let until = Clock::Boot.now().plus(ANSWER);
    let mut said = Vec::new();
    let asked =
        stream.set_write_timeout(Some(ANSWER)).and_then(|()| stream.write_all(QUESTION.as_bytes()));
    asked.map_err(|error| failed(&error))?;
    let mut part = [0; 16 * 1024];
    loop {
        let left = until.since(Clock::Boot.now());
        if left.is_zero() {
            let slow = io::Error::new(io::ErrorKind::TimedOut, "no whole answer within 5 s");
            return Err(failed(&slow));
        }
        stream.set_read_timeout(Some(left)).map_err(|error| failed(&error))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(&error)),
        }
        if said.len() > MOST_TEXT {
            break;
        }
    }
    read(&said, &format!("HAProxy at {}", socket.display()))
}

/// Reads what a HAProxy said to somebody else.
///
/// # Errors
/// It cannot be read, or is no HAProxy's.
pub fn piped(from: impl Read) -> Result<Told, Failure> {
    let mut said = Vec::new();
    let most = u64::try_from(MOST_TEXT).unwrap_or(u64::MAX);
    let read_all = from.take(most.saturating_add(1)).read_to_end(&mut said);
    read_all.map_err(|error| {
        Failure::new(Exit::Unavailable, format_args!("standard input cannot be read: {error}"))
    })?;
    read(&said, "standard input")
}

fn read(said: &[u8], whose: &str) -> Result<Told, Failure> {
    told::read(&String::from_utf8_lossy(said)).map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format_args!("{whose} says nothing that can be compared: {error}"),
        )
        .hint(format_args!("expected is what this reads: {PIPED}"))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_haproxy_that_says_nothing_is_not_waited_for_longer_than_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let hangs = UnixListener::bind(&socket).unwrap();
        let began = Clock::Boot.now();
        let failure = at(&socket).unwrap_err();
        let took = Clock::Boot.now().since(began);
        assert!(failure.what.contains("no whole answer within 5 s"), "{failure}");
        assert!(took >= ANSWER && took < ANSWER * 4, "{took:?}");
        drop(hangs);
        let failure = at(&socket).unwrap_err();
        assert!(failure.what.contains("refused") && failure.hint.is_some(), "{failure}");
    }

    #[test]
    fn what_is_no_haproxys_is_refused() {
        for text in ["", "node1 READY\n", "Unknown command\n"] {
            let failure = piped(text.as_bytes()).unwrap_err();
            assert!(failure.what.contains("this is no answer of HAProxy"), "{failure}");
        }
        let many = vec![b'x'; MOST_TEXT + 10];
        assert!(piped(many.as_slice()).unwrap_err().what.contains("longer"));
    }
}
