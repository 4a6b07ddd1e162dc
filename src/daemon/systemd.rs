//! What systemd is told: ready, reloading, stopping, the present verdict, still alive.
//!
//! Everything here does nothing where no service manager asked for it. A thread of its own says it: the
//! socket of a manager that stands still takes no more after a while, and nothing else may wait for that.

use std::sync::LazyLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{debug, warn};

use crate::report::announced::{Said, summary};

/// A status line is cut here; systemd shows one line.
const STATUS_BYTES: usize = 512;

/// What is asked for beyond the time for which the last word is said.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// Words that may wait for a service manager that stands still; one more is not said.
pub(crate) const WORDS_WAITING: usize = 16;

enum Word {
    States(Vec<NotifyState<'static>>),
    Status(String),
    /// Nothing for the manager: its end says that all before it was told.
    Mark(#[expect(dead_code, reason = "it is only dropped")] Sender<()>),
}

/// Every socket answers.
pub fn ready() {
    send(vec![NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(vec![NotifyState::Reloading, now]),
        Err(_) => send(vec![NotifyState::Reloading]),
    }
}

/// The daemon ends, after it has spoken for this long.
pub fn stopping(after: Duration) {
    send(vec![NotifyState::Stopping]);
    if !after.is_zero() {
        // It only ever lengthens `TimeoutStopSec=`, which can so stay short for a daemon that hangs.
        let most = u32::try_from((after + STOP_MARGIN).as_micros()).unwrap_or(u32::MAX);
        send(vec![NotifyState::ExtendTimeoutUsec(most)]);
    }
}

/// The present verdicts, in one line.
pub fn status(announced: &[Said]) {
    say(Word::Status(cut(summary(announced).replace('\n', " "))));
}

fn cut(mut line: String) -> String {
    let end = (0..=STATUS_BYTES.min(line.len())).rev().find(|end| line.is_char_boundary(*end));
    line.truncate(end.unwrap_or(0));
    line
}

/// The daemon and all its pollers live.
pub fn alive() {
    send(vec![NotifyState::Watchdog]);
}

/// Waits until all that was said so far is told, at most so long: the thread that tells it ends with the process.
pub fn wait_told(within: Duration) {
    let (mark, told) = channel();
    say(Word::Mark(mark));
    // Nobody ever sends: it ends once the mark is dropped, which is at once where there is no manager.
    let _ = told.recv_timeout(within);
}

/// How often to say [`alive`]: a quarter of the time after which systemd would end the daemon, so
/// that one beat may be skipped. `None`: there is no watchdog.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 4).filter(|every| !every.is_zero())
}

fn send(states: Vec<NotifyState<'static>>) {
    say(Word::States(states));
}

fn say(word: Word) {
    static WORDS: LazyLock<Option<SyncSender<Word>>> = LazyLock::new(manager);
    if let Some(words) = &*WORDS
        && let Err(error) = words.try_send(word)
    {
        debug!(%error, "systemd could not be notified");
    }
}

/// Starts the thread that tells the service manager, where there is one.
fn manager() -> Option<SyncSender<Word>> {
    std::env::var_os("NOTIFY_SOCKET")?;
    let (words, said) = sync_channel(WORDS_WAITING);
    let run = move || {
        for word in said {
            let told = match &word {
                Word::States(states) => sd_notify::notify(states),
                Word::Status(line) => sd_notify::notify(&[NotifyState::Status(line)]),
                Word::Mark(_) => Ok(()),
            };
            if let Err(error) = told {
                debug!(%error, "systemd could not be notified");
            }
        }
    };
    let started = thread::Builder::new().name("systemd".to_owned()).spawn(run);
    started.map(|_| words).map_err(|error| warn!(%error, "systemd is not notified")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_cut_between_two_signs() {
        let fits = "x".repeat(STATUS_BYTES);
        assert_eq!(cut(fits.clone()), fits);
        assert_eq!(cut(format!("{fits}y")), fits);
        let wide = "é".repeat(STATUS_BYTES);
        assert_eq!(cut(format!("x{wide}")).len(), STATUS_BYTES - 1);
    }
}
