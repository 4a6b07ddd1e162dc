//! A stage that is empty when the play is over, however it ends.
//!
//! The program runs twice. The outer process makes a directory, starts the inner one with it as
//! `TMPDIR`, and waits. The inner one tells the story and need not tidy up: it may panic, or be
//! killed at any moment. Then the outer one removes what is left, processes and files. Being the
//! nearest "child subreaper" (`prctl(2)`), it inherits every process whose parent is gone.
//!
//! The inner process has a process group of its own, so that Ctrl-C reaches the outer one alone.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Signal, WaitOptions, getpid, set_child_subreaper, wait};
use tokio::signal::unix::{SignalKind, signal};

use crate::fixtures::{children, command, free_memory, send};

/// Tells the inner process that it is the inner one.
const INNER: &str = "ROLECALL_ON_STAGE";

/// Killed processes are gone within milliseconds; this is for a machine that swaps.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How much of each log is shown after an end that nobody expected.
const LOG_LINES: usize = 12;

/// Plays `story` on a stage of its own and clears the stage. The story's exit code is the
/// program's; 128 + signal after a signal, as shells count.
pub fn play(story: fn() -> ExitCode) -> ExitCode {
    if std::env::var_os(INNER).is_some() {
        return story();
    }
    match outer() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn outer() -> std::io::Result<u8> {
    set_child_subreaper(Some(getpid()))?;
    let dir = tempfile::Builder::new().prefix("rolecall-").tempdir()?;
    // The servers that may not run as root must reach their own directory through this one.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(watch_over(dir.path()));
    let left = clear();
    for data in servers(dir.path()) {
        free_memory(&data);
    }
    if matches!(&ended, Ok(Ended::Unexpected(_))) {
        show_logs(dir.path());
    }
    let path = dir.path().to_owned();
    dir.close()?;
    if !left.is_empty() {
        return Err(std::io::Error::other(format!("processes that will not die: {left:?}")));
    }
    Ok(match ended? {
        Ended::Story(code) => code,
        Ended::Interrupted(signal) => {
            eprintln!("\nStopped. Every process is gone, and {} with them.", path.display());
            128 + signal
        }
        Ended::Unexpected(what) => {
            eprintln!("The story broke off: {what}. What it had started is stopped and removed.");
            1
        }
    })
}

/// How the inner process ended.
enum Ended {
    Story(u8),
    Interrupted(u8),
    Unexpected(String),
}

/// Runs the inner process until it ends or somebody wants it to.
async fn watch_over(dir: &Path) -> std::io::Result<Ended> {
    // Before the start, so that no signal finds the default action once there is something to clear.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let mut inner = command(&std::env::current_exe()?, None);
    inner.args(std::env::args_os().skip(1)).env(INNER, "1").env("TMPDIR", dir).process_group(0);
    let mut inner = tokio::process::Command::from(inner).spawn()?;
    let signal = tokio::select! {
        status = inner.wait() => {
            let status = status?;
            let code = status.code().and_then(|c| u8::try_from(c).ok());
            return Ok(match code {
                Some(code) => Ended::Story(code),
                None => Ended::Unexpected(format!("signal {}", status.signal().unwrap_or(0))),
            });
        }
        _ = interrupt.recv() => Signal::INT,
        _ = quit.recv() => Signal::QUIT,
        _ = terminate.recv() => Signal::TERM,
        _ = hangup.recv() => Signal::HUP,
    };
    inner.kill().await?;
    Ok(Ended::Interrupted(u8::try_from(signal.as_raw()).unwrap_or(0)))
}

/// Kills and reaps every process that this one has inherited; returns those that stay.
fn clear() -> Vec<u32> {
    let me = std::process::id();
    let tries = GONE_WITHIN.as_millis() / LOOK_AGAIN.as_millis();
    for _ in 0..tries {
        let left = children(me);
        if left.is_empty() {
            return left;
        }
        for pid in left {
            send(pid, Signal::KILL);
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        std::thread::sleep(LOOK_AGAIN);
    }
    children(me)
}

/// The files and folders in the grounds that the fixtures have made below `dir`.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.filter_map(|e| Some(e.ok()?.path())).collect()
    };
    list(dir).iter().flat_map(|ground| list(ground)).collect()
}

/// The data directories of the servers whose end was not a clean one.
fn servers(dir: &Path) -> Vec<PathBuf> {
    entries(dir).into_iter().filter(|p| p.join("postmaster.pid").exists()).collect()
}

fn show_logs(dir: &Path) {
    for log in entries(dir).iter().filter(|p| p.extension().is_some_and(|e| e == "log")) {
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let name = log.file_name().unwrap_or_default().display();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        eprintln!("--- the end of {name} ---\n{}", last.join("\n"));
    }
}
