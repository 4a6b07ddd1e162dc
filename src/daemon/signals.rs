//! What an operator or the service manager asks of the daemon by signals, and how long an end takes.

use std::future::pending;
use std::pin::Pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Sleep;
use tracing::info;

/// What a signal asks for.
pub enum Told {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP
    Reload,
}

/// The signals that are heard.
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    /// Hears them from now on, so that none ends the process by itself.
    ///
    /// # Errors
    /// The kernel or the runtime refuses.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.term.recv() => Told::Stop,
            _ = self.int.recv() => Told::Stop,
            _ = self.hup.recv() => Told::Reload,
        }
    }
}

/// The last words, while they are said.
pub type LastWords = Pin<Box<Sleep>>;

/// Ends when the last words have been said; never before there are any.
pub async fn said(last_words: &mut Option<LastWords>) {
    match last_words {
        Some(said) => said.await,
        None => pending().await,
    }
}

/// An operator who asks twice wants no more words.
pub(crate) fn log_at_once() {
    info!("second signal to stop: stopping at once");
}
