//! Where the log goes: standard error, or the systemd journal with every field as its own.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Log, LogFormat, LogTo};
use crate::daemon::log_queue::{Flush, Happened, Queue};
use crate::host::failure::{Exit, Failure};

/// Where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Fields of an event appear in the journal as `ROLECALL_NODE`, `ROLECALL_SERVICE` and so on.
const JOURNAL_PREFIX: &str = "ROLECALL";

/// The running log; its level can change.
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    configured: Log,
    queue: Queue,
}

/// Starts the log. Once in the life of the process.
///
/// # Errors
/// The journal was asked for and does not answer, or there is no standard error.
pub fn start(log: Log) -> Result<Logging, Failure> {
    let queue = Queue::default();
    let journal = log.to == LogTo::Journald || (log.to == LogTo::Auto && stderr_is_the_journal());
    let writes = if journal { to_journald(&queue)? } else { to_stderr(&queue, log.format) };
    writes.map_err(|error| {
        Failure::new(Exit::Unavailable, format_args!("the log cannot be written: {error}"))
    })?;
    let (level, handle) = reload::Layer::new(LevelFilter::from_level(log.level));
    let started = tracing_subscriber::registry().with(level).with(queue.clone()).try_init();
    started.map_err(|error| {
        Failure::new(Exit::Internal, format_args!("the log cannot be opened: {error}"))
    })?;
    Ok(Logging { level: handle, configured: log, queue })
}

fn to_journald(queue: &Queue) -> Result<io::Result<()>, Failure> {
    knock().map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format_args!("log.to: the systemd journal does not answer: {error}"),
        )
        .hint("set `to = \"stderr\"`, which needs no journal")
    })?;
    Ok(queue.write_by(|| {
        // The crate waits for a journal whose queue is full, so this is for the thread that may wait.
        // Nobody can be told where the journal has ended since.
        let layer = tracing_journald::layer().ok().map(|layer| {
            layer
                .with_field_prefix(Some(JOURNAL_PREFIX.to_owned()))
                // tracing-journald's own choice for info is `notice`, one step more urgent than what
                // operators expect of information.
                .with_priority_mappings(PriorityMappings {
                    info: Priority::Informational,
                    debug: Priority::Debug,
                    trace: Priority::Debug,
                    ..PriorityMappings::new()
                })
        });
        tracing_subscriber::registry().with(layer)
    }))
}

/// Whether a journal is there, without waiting for it: a word that is empty is discarded by it, and one
/// whose queue is full is there, too.
fn knock() -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match socket.send_to(&[], JOURNAL) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

fn to_stderr(queue: &Queue, format: LogFormat) -> io::Result<()> {
    // A descriptor of its own: whoever else writes to stderr must not wait for its lock.
    let stderr = Arc::new(File::from(io::stderr().as_fd().try_clone_to_owned()?));
    let layer = tracing_subscriber::fmt::layer().with_writer(stderr).with_target(false);
    let layer = layer.with_timer(Happened);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    queue.write_by(|| tracing_subscriber::registry().with(layer))
}

impl Logging {
    /// Whoever holds it to the end of the process has the last lines written.
    pub(crate) fn flushed_at_the_end(&self) -> Flush {
        self.queue.flushed_at_the_end()
    }

    /// Applies what a reload changed. Returns whether a restart is needed for the rest.
    pub fn apply(&mut self, log: Log) -> bool {
        // The handle fails only where the subscriber is gone, and it lives as long as the process.
        let _ = self.level.reload(LevelFilter::from_level(log.level));
        let restart = (log.to, log.format) != (self.configured.to, self.configured.format);
        self.configured.level = log.level;
        restart
    }
}

/// Whether systemd connected standard error to the journal: it then names the stream's device and
/// inode in `JOURNAL_STREAM`.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Reads a level's word.
///
/// # Errors
/// It is none.
pub fn level(word: &str) -> Result<Level, String> {
    match word {
        "error" => Ok(Level::ERROR),
        "warn" => Ok(Level::WARN),
        "info" => Ok(Level::INFO),
        "debug" => Ok(Level::DEBUG),
        "trace" => Ok(Level::TRACE),
        _ => Err("expected error, warn, info, debug or trace".to_owned()),
    }
}
