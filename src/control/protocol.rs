//! What is asked at the control socket, and how: a line of JSON in, JSON out, the end.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::host::clock::Clock;
use crate::host::failure::{Exit, Failure};
use crate::look::stamp::Stamp;
use crate::look::text;

/// Longest question, in bytes.
pub(crate) const QUESTION: usize = 4096;
/// Most bytes of the words about a question that cannot be read.
pub const MOST_REPEATED: usize = 200;
/// Time for a client to ask, and again to read what it is told.
pub const CLIENT: Duration = Duration::from_secs(2);
/// Time within which rolecall shall act on a question; what it has not begun by then it refuses.
pub(crate) const ACT_WITHIN: Duration = Duration::from_secs(8);
/// Time for an action that has begun, and for its answer: orders in force, the disk.
pub(crate) const ACTION: Duration = Duration::from_secs(4);
/// The key of a question that says until when it is meant, in milliseconds since the host booted.
pub const UNTIL: &str = "until_boot_ms";
/// Longest `ready`: after a day nobody remembers why.
pub(crate) const MOST_READY: Duration = Duration::from_secs(24 * 3600);

/// What to do for somebody who may not ask.
pub(crate) const BECOME: &str = "run the command as root, or as a member of the `group` of \
                                 [control]";

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// Everything that is known.
    Status,
    /// The last changes of each verdict.
    History {
        /// Of which service, node, or service of a node; `None`: of all.
        target: Option<String>,
        /// Only so long ago; `None`: all that is kept.
        since_ms: Option<u64>,
    },
    /// A standing order.
    Order {
        /// `ready`, `drain` or `maint`.
        order: String,
        /// What it is about.
        target: String,
        /// For how long; `None`: until it is removed.
        for_ms: Option<u64>,
        /// Why.
        reason: String,
        /// Whether against what is seen.
        force: bool,
        /// Who became root by sudo to give it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sudo: Option<String>,
    },
    /// Removes an order.
    Auto {
        /// What it was about.
        target: String,
        /// Who became root by sudo to remove it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sudo: Option<String>,
    },
}

impl Question {
    /// As it is asked: meant until then, or for as long as the asker is there.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn line(&self, until: Option<Stamp>) -> io::Result<String> {
        let mut question = serde_json::to_value(self)?;
        if let Some(until) = until {
            let ms = u64::try_from(until.since_boot().as_millis()).unwrap_or(u64::MAX);
            question[UNTIL] = ms.into();
        }
        Ok(format!("{question}\n"))
    }

    /// What a line asks, and until when it is meant.
    ///
    /// # Errors
    /// It is no question.
    pub fn read(line: &[u8]) -> io::Result<(Self, Option<Stamp>)> {
        // The parser's words repeat what it read, and are logged.
        Self::parse(line).map_err(|error| {
            let what = text::plain(&error.to_string(), MOST_REPEATED);
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    }

    fn parse(line: &[u8]) -> serde_json::Result<(Self, Option<Stamp>)> {
        let mut question: Value = serde_json::from_slice(line)?;
        let until = question.as_object_mut().and_then(|question| question.remove(UNTIL));
        let until = until.map(serde_json::from_value::<u64>).transpose()?;
        let until = until.map(|ms| Stamp::new(Duration::from_millis(ms)));
        let keys = question.as_object().map_or(0, serde_json::Map::len);
        let question = serde_json::from_value(question)?;
        // Of a command without keys of its own serde passes over all that stands beside it.
        if matches!(question, Self::Status) && keys > 1 {
            return Err(serde::de::Error::custom("`status` allows no other key beside `command`"));
        }
        Ok((question, until))
    }

    /// Whether it changes something.
    pub fn acts(&self) -> bool {
        !matches!(self, Self::Status | Self::History { .. })
    }
}

/// Most bytes of the name that sudo gives.
const MOST_SUDO: usize = 64;

/// Who called sudo to become root, by sudo's own word. It is a claim: root can write anything there.
pub fn sudo() -> Option<String> {
    std::env::var("SUDO_USER").ok().filter(|name| is_name(name))
}

/// Whether a claimed name can be a user's, so that it forges nothing where it is shown.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "._-@+$\\".contains(c);
    !name.is_empty() && name.len() <= MOST_SUDO && name.chars().all(fits)
}

/// Asks a running daemon.
///
/// # Errors
/// Nobody answers there, or what is asked is refused.
pub fn ask(socket: &Path, question: &Question) -> Result<Value, Failure> {
    let unreachable = |error: io::Error| {
        let (exit, hint) = match error.kind() {
            io::ErrorKind::PermissionDenied => (Exit::Permission, BECOME),
            _ => (
                Exit::Unavailable,
                "check that rolecall runs (systemctl status rolecall), and that its configuration \
                 has a section [control]",
            ),
        };
        Failure::new(exit, format_args!("{}: {error}", socket.display())).hint(hint)
    };
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream.set_read_timeout(Some(ACT_WITHIN + ACTION)).map_err(unreachable)?;
    let until = Clock::Boot.now().plus(ACT_WITHIN);
    let line = question.line(Some(until)).map_err(unreachable)?;
    // One who is refused is told so before it has asked.
    let asked = stream.write_all(line.as_bytes()).is_ok();
    let mut said = Vec::new();
    // The kernel resets the connection of one who is refused, for what it asked is not read: after the
    // answer, which is whole then.
    match stream.read_to_end(&mut said) {
        Err(_) if !said.ends_with(b"\n") && asked && question.acts() => {
            return Err(not_known(socket));
        }
        Ok(_) if said.is_empty() && asked && question.acts() => return Err(not_known(socket)),
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

/// It was asked, and may have acted without being able to say so.
fn not_known(socket: &Path) -> Failure {
    let what = format_args!(
        "{}: rolecall did not answer, so it is not known whether the order was carried out",
        socket.display()
    );
    Failure::new(Exit::Unavailable, what).hint("`rolecall status` shows the orders")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_question_is_read_as_it_was_asked_with_its_deadline_or_without() {
        let order = Question::Auto { target: "primary".to_owned(), sudo: None };
        for until in [None, Some(Stamp::new(Duration::from_millis(1234)))] {
            let (question, read) = Question::read(order.line(until).unwrap().as_bytes()).unwrap();
            assert!(matches!(question, Question::Auto { target, .. } if target == "primary"));
            assert_eq!(read, until);
        }
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"command": "status", "until_boot_ms": "soon"}"#,
            r#"{"command": "status", "node": "db1"}"#,
            r#"{"command": "auto", "target": "all", "force": true}"#,
        ] {
            assert!(Question::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_said_of_a_question_that_cannot_be_read_forges_no_line() {
        let long = "x".repeat(QUESTION);
        for word in ["\u{1b}[31m\u{202e}", "\n", long.as_str()] {
            for question in [
                serde_json::json!({ "command": word }),
                serde_json::json!({ "command": "auto", "target": "all", word: 1 }),
            ] {
                let error =
                    Question::read(question.to_string().as_bytes()).unwrap_err().to_string();
                assert!(text::is_plain(&error), "{error:?}");
                assert!(error.len() <= MOST_REPEATED + '…'.len_utf8(), "{error}");
            }
        }
    }

    #[test]
    fn an_order_whose_answer_does_not_come_is_not_said_to_have_failed() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let desk = UnixListener::bind(&socket).unwrap();
        for (question, says) in [
            (
                Question::Auto { target: "primary".to_owned(), sudo: None },
                "it is not known whether",
            ),
            (Question::Status, ""),
        ] {
            let failure = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut client, _) = desk.accept().unwrap();
                    let _ = client.read(&mut [0; 512]);
                });
                ask(&socket, &question).unwrap_err()
            });
            assert_eq!(failure.exit, Exit::Unavailable);
            assert!(failure.what.contains(says), "{failure}");
        }
    }

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
