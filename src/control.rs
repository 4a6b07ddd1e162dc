//! What is asked at the control socket, and how: a line of JSON in, JSON out, the end.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// Longest question, in bytes.
pub const QUESTION: usize = 4096;
/// Time for a client to ask, and again to read what it is told.
pub const CLIENT: Duration = Duration::from_secs(2);
/// Longest `ready`: after a day nobody remembers why.
pub const MOST_READY: Duration = Duration::from_secs(24 * 3600);
/// Longest reason, in bytes.
pub const MOST_REASON: usize = 200;

/// What to do for somebody who may not ask.
pub const BECOME: &str = "become root, or a member of the `group` of [control]";

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// Everything that is known.
    Status,
    /// A standing order.
    Order {
        /// `ready`, `drain` or `maint`.
        order: String,
        /// What it is about.
        target: String,
        /// For how long; `None`: until it is taken back.
        for_ms: Option<u64>,
        /// Why.
        reason: String,
        /// Whether against what is seen.
        force: bool,
    },
    /// Takes an order back.
    Auto {
        /// What it was about.
        target: String,
    },
}

/// Asks a running daemon.
///
/// # Errors
/// Nobody answers there, or what is asked is refused.
pub fn ask(socket: &Path, question: &Question) -> Result<Value, Failure> {
    let unreachable = |error: io::Error| {
        let (exit, hint) = match error.kind() {
            io::ErrorKind::PermissionDenied => (Exit::Permission, BECOME),
            _ => {
                (Exit::Unavailable, "does rolecall run, and does its configuration have [control]?")
            }
        };
        Failure::new(exit, format_args!("{}: {error}", socket.display())).hint(hint)
    };
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream.set_read_timeout(Some(5 * CLIENT)).map_err(unreachable)?;
    let line = serde_json::to_string(question).map_err(|error| unreachable(error.into()))?;
    // One who is refused is told so before it has asked.
    let _ = stream.write_all(format!("{line}\n").as_bytes());
    let mut said = Vec::new();
    // The kernel resets the connection of one who is refused, for what it asked is not read: after the
    // answer, which is whole then.
    match stream.read_to_end(&mut said) {
        Err(error) if !said.ends_with(b"\n") => return Err(unreachable(error)),
        _ => {}
    }
    let said: Value = serde_json::from_slice(&said).map_err(|error| unreachable(error.into()))?;
    match said.get("error").and_then(Value::as_str) {
        Some(what) => {
            let hint = said.get("hint").and_then(Value::as_str).unwrap_or_default();
            let exit = said.get("exit").and_then(Value::as_u64);
            // One that is not known is a newer daemon's.
            let is = |known: &Exit| exit == Some(*known as u64);
            let exit = [Exit::Permission, Exit::Unavailable].into_iter().find(is);
            Err(Failure::new(exit.unwrap_or(Exit::Usage), what).hint(hint))
        }
        None => Ok(said.get("ok").cloned().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn who_is_refused_ends_with_the_exit_code_that_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let desk = UnixListener::bind(&socket).unwrap();
        for (exit, ends) in [
            (",\"exit\":77", Exit::Permission),
            (",\"exit\":69", Exit::Unavailable),
            (",\"exit\":64", Exit::Usage),
            (",\"exit\":1", Exit::Usage),
            ("", Exit::Usage),
        ] {
            let failure = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut client, _) = desk.accept().unwrap();
                    let said = format!("{{\"error\":\"no\",\"hint\":\"go\"{exit}}}\n");
                    client.write_all(said.as_bytes()).unwrap();
                });
                ask(&socket, &Question::Status).unwrap_err()
            });
            assert_eq!(failure, Failure::new(ends, "no").hint("go"), "{exit}");
        }
    }
}
