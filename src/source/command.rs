//! A program of the operator's that knows the role.
//!
//! # The contract
//!
//! The program is started anew at every look, by its path and arguments and never through a shell.
//! It prints one word to stdout and exits with code 0:
//!
//! * a role, `primary`, `replica` (or `standby`), `sync_replica` or `standby_leader`;
//! * or `none`: this server must not be used. That is a no, and acts at once.
//!
//! White space around the word does not count. Everything else shows nothing, so that a program that
//! breaks is no evidence against a healthy server: another exit code (a script that dies ends with 1),
//! a signal, no word, two words, an unknown word, more than 4 KiB. The first line of stderr is then
//! part of the message.
//!
//! Its stdin is `/dev/null`. It has the environment of rolecall without what systemd tells a service
//! for itself. It leads a process group of its own, which is killed with `SIGKILL` when it has exited
//! and when the look's time is up: what it leaves running in its group does not outlive the look.

use std::fmt::Display;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::timeout;

use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::Observation;
use crate::look::role::{ROLES, Role};
use crate::look::text;
use crate::source::role_source::RoleSource;

/// Most bytes of stdout that are read; a word needs twenty.
const MAX_OUTPUT: usize = 4 * 1024;

/// Most bytes of stderr that are kept; the rest is read and thrown away.
const MAX_COMPLAINT: usize = 1024;

/// Most characters of the program's own words in a message.
const MAX_QUOTED: usize = 120;

/// How long the pipes are read after the end of the group. Their other ends close with it, except
/// those of a process that left the group; what is in them by then is all that counts.
const DRAIN: Duration = Duration::from_millis(100);

/// What systemd tells a service about itself. A program that took it for its own would speak for
/// rolecall, or read its credentials.
const OURS: [&str; 8] = [
    "CREDENTIALS_DIRECTORY",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// A program and its arguments.
#[derive(Debug, Clone)]
pub struct Command {
    argv: Vec<String>,
}

impl Command {
    /// A source that runs the program `argv[0]`, searched in `PATH` where it has no slash, with the
    /// rest of `argv` as its arguments.
    pub fn new(argv: Vec<String>) -> Self {
        Self { argv }
    }

    async fn ask(&self) -> Result<Observation, SourceError> {
        let mut running = Running::start(&self.argv)
            .map_err(|error| failed(format_args!("the command cannot be started: {error}")))?;
        let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
        let (mut output, mut complaint) = (Vec::new(), Vec::new());
        let lost =
            |error| failed(format_args!("the end of the command cannot be awaited: {error}"));
        {
            let read = async {
                tokio::try_join!(read_all(stdout, &mut output), skim(stderr, &mut complaint))
            };
            let mut read = std::pin::pin!(read);
            let mut open = true;
            loop {
                tokio::select! {
                    closed = &mut read, if open => {
                        closed?;
                        open = false;
                    }
                    exited = running.exited() => break exited.map_err(lost)?,
                }
            }
            running.group.kill();
            if open && let Ok(closed) = timeout(DRAIN, read).await {
                closed?;
            }
        }
        let status = running.child.wait().await.map_err(lost)?;
        read_answer(status, &output, &complaint)
    }
}

impl RoleSource for Command {
    fn waited_for(&self) -> Option<String> {
        self.argv.first().map(|program| format!("{program} did not end, and was killed"))
    }

    /// Needs a runtime with I/O enabled.
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        let program = self.argv.first().map_or("", String::as_str);
        let looked = self.ask().await;
        looked.map_err(|error| SourceError::new(error.kind, format_args!("{program}: {error}")))
    }
}

/// What the program said, by the contract above.
pub(crate) fn read_answer(
    status: ExitStatus,
    output: &[u8],
    complaint: &[u8],
) -> Result<Observation, SourceError> {
    let wrong = |what: &dyn Display| match quoted(complaint) {
        line if line.is_empty() => failed(what),
        line => failed(format_args!("{what}; its error output: {line}")),
    };
    if !status.success() {
        return Err(wrong(&format_args!("expected exit code 0, got {status}")));
    }
    let output = String::from_utf8_lossy(output);
    match output.trim_ascii() {
        "none" => Ok(Observation::no_role()),
        "" => Err(wrong(&"expected a role or `none`, but the command printed nothing")),
        word => word.parse().map(Observation::of).map_err(|_| {
            let word = quoted(word.as_bytes());
            let roles = ROLES.map(Role::as_str).join(", ");
            wrong(&format_args!(
                "expected one of the words {roles} or none, but the command printed: {word}"
            ))
        }),
    }
}

/// The first line that says something, fit for a message.
fn quoted(text: &[u8]) -> String {
    let said = String::from_utf8_lossy(text);
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    text::plain(line, MAX_QUOTED)
}

fn failed(detail: impl Display) -> SourceError {
    SourceError::new(ErrorKind::Command, detail)
}

/// Reads stdout to its end; errors beyond [`MAX_OUTPUT`].
async fn read_all(
    pipe: Option<impl AsyncRead + Unpin>,
    to: &mut Vec<u8>,
) -> Result<(), SourceError> {
    let Some(pipe) = pipe else { return Ok(()) };
    // One byte more than allowed tells too much from just enough.
    let mut pipe = pipe.take(MAX_OUTPUT as u64 + 1);
    pipe.read_to_end(to)
        .await
        .map_err(|error| failed(format_args!("its output cannot be read: {error}")))?;
    if to.len() > MAX_OUTPUT {
        return Err(failed(format_args!(
            "expected one word, but the command printed more than {MAX_OUTPUT} bytes"
        )));
    }
    Ok(())
}

/// Reads stderr to its end and keeps its beginning: a program that complains a lot must not block.
async fn skim(pipe: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>) -> Result<(), SourceError> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut piece = [0; 512];
    while let Ok(read @ 1..) = pipe.read(&mut piece).await {
        let room = MAX_COMPLAINT.saturating_sub(to.len()).min(read);
        to.extend_from_slice(&piece[..room]);
    }
    Ok(())
}

/// A started program. Dropping it kills its whole group, then lets Tokio reap it.
struct Running {
    /// Dropped before `child`: the group's number is its own as long as its leader is not reaped.
    group: Group,
    child: Child,
    children: Signals,
}

/// A process group that ends with this value.
struct Group(Option<Pid>);

impl Running {
    fn start(argv: &[String]) -> io::Result<Self> {
        let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        // Listens before the program can end.
        let children = signal(SignalKind::child())?;
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in OURS {
            command.env_remove(name);
        }
        let child = command.spawn()?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(Self { group: Group(pid), child, children })
    }

    /// Waits for the end of the program and does not reap it yet, so that its group's number stays
    /// taken and the kill cannot hit a stranger.
    async fn exited(&mut self) -> io::Result<()> {
        let Some(pid) = self.group.0 else { return Ok(()) };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(pid), look) {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => self.children.recv().await.ok_or(io::ErrorKind::BrokenPipe)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Group {
    fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            // It fails only where nobody is left.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
