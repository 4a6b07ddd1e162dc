//! Where the log goes: standard error, or the systemd journal with every field as its own.

use std::os::unix::fs::MetadataExt;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Log, LogFormat, LogTo};
use crate::failure::{Exit, Failure};

/// Fields of an event appear in the journal as `ROLECALL_NODE`, `ROLECALL_SERVICE` and so on.
const JOURNAL_PREFIX: &str = "ROLECALL";

/// The running log; its level can change.
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    configured: Log,
}

/// Starts the log. Once in the life of the process.
///
/// # Errors
/// The journal was asked for and does not answer.
pub fn start(log: Log) -> Result<Logging, Failure> {
    let (level, handle) = reload::Layer::new(LevelFilter::from_level(log.level));
    let registry = tracing_subscriber::registry().with(level);
    let journal = log.to == LogTo::Journald || (log.to == LogTo::Auto && stderr_is_the_journal());
    let started = if journal {
        let layer = tracing_journald::layer().map_err(|error| {
            Failure::new(
                Exit::Unavailable,
                format_args!("log.to: the journal does not answer: {error}"),
            )
            .hint("`to = \"stderr\"` needs no journal")
        })?;
        let layer = layer
            .with_field_prefix(Some(JOURNAL_PREFIX.to_owned()))
            // tracing-journald's own choice for info is `notice`, one step more urgent than what
            // operators expect of information.
            .with_priority_mappings(PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                trace: Priority::Debug,
                ..PriorityMappings::new()
            });
        registry.with(layer).try_init()
    } else {
        stderr(registry, log.format)
    };
    started.map_err(|error| Failure::new(Exit::Internal, format_args!("log: {error}")))?;
    Ok(Logging { level: handle, configured: log })
}

fn stderr<S>(registry: S, format: LogFormat) -> Result<(), TryInitError>
where
    S: SubscriberExt
        + for<'a> tracing_subscriber::registry::LookupSpan<'a>
        + tracing::Subscriber
        + Send
        + Sync,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(false).boxed()).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true).boxed()).try_init(),
    }
}

impl Logging {
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
        _ => Err("expected one of error, warn, info, debug, trace".to_owned()),
    }
}
