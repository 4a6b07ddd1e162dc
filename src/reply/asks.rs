//! Who asks about a node, and what they were told: counted where the answer is given, read by the
//! metrics and the status page. Nothing here is allocated or waited for at an answer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::look::stamp::Stamp;
use crate::verdict::state::State;

/// Nobody having asked for this long is worth a word: HAProxy asks every few seconds.
pub const QUIET_MS: u64 = 30_000;

/// The questions one service was asked about one node. It is kept over reloads.
#[derive(Debug, Default)]
pub struct Asks {
    ready: AtomicU64,
    drain: AtomicU64,
    not_ready: AtomicU64,
    unknown: AtomicU64,
    strangers: AtomicU64,
    last: Mutex<Option<Last>>,
}

/// The newest question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// When it came.
    pub at: Stamp,
    /// Who asked; `None` where the kernel did not tell.
    pub by: Option<IpAddr>,
}

impl Asks {
    /// A question was answered with this state.
    pub fn answered(&self, at: Stamp, by: Option<IpAddr>, state: State) {
        self.counter(state).fetch_add(1, Ordering::Relaxed);
        // What another thread left half done there is one value all the same.
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Last { at, by });
    }

    /// Somebody who may not ask was sent away. Tells how many there were with this one.
    pub(crate) fn sent_away(&self) -> u64 {
        self.strangers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many questions were answered with this state.
    pub fn count(&self, state: State) -> u64 {
        self.counter(state).load(Ordering::Relaxed)
    }

    /// How many were sent away.
    pub fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }

    /// The newest question; `None` before the first.
    pub fn last(&self) -> Option<Last> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, state: State) -> &AtomicU64 {
        match state {
            State::Ready => &self.ready,
            State::Drain => &self.drain,
            State::NotReady => &self.not_ready,
            State::Unknown => &self.unknown,
        }
    }
}

/// Two are equal where they are the same one: what was asked is no part of what is known of a node.
impl PartialEq for Asks {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Asks {}
