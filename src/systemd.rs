//! What systemd is told: ready, reloading, stopping, the present verdict, still alive.
//!
//! Everything here does nothing where no service manager asked for it.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

use crate::clock::Stamp;
use crate::keeper::Announced;
use crate::snapshot::NodeFacts;

/// A status line is cut here; systemd shows one line.
const STATUS_BYTES: usize = 512;

/// Every socket answers.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// The daemon ends.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// The present verdict of every service, in one line.
pub fn status(announced: &[Announced]) {
    let mut line = announced
        .iter()
        .map(|a| format!("{}: {}, {}", a.service, a.verdict.state, a.verdict.reason))
        .collect::<Vec<_>>()
        .join("; ")
        .replace('\n', " ");
    let end = (0..=STATUS_BYTES.min(line.len())).rev().find(|end| line.is_char_boundary(*end));
    line.truncate(end.unwrap_or(0));
    send(&[NotifyState::Status(&line)]);
}

/// The daemon and all its pollers live.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// How often to say [`alive`]: a quarter of the time after which systemd would end the daemon, so
/// that one beat may be skipped. `None`: there is no watchdog.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 4).filter(|every| !every.is_zero())
}

/// Whether every poller's last look began less than twice the time ago that interval and timeout
/// allow: the watchdog watches the part that can hang.
pub fn beats(now: Stamp, facts: &NodeFacts) -> bool {
    let Some(service) = facts.services.first() else { return false };
    let trust = &service.policy.trust;
    facts.sources.len() == trust.len()
        && facts.sources.iter().zip(trust).all(|(source, trust)| {
            source.own.last_look().is_some_and(|began| now.since(began) <= trust.look * 2)
        })
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager could not be told");
    }
}
