//! What the keeper, the doors and the thread that writes share of the history, each for a moment at a time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use crate::host::clock::wall_time;
use crate::look::stamp::Stamp;
use crate::report::history::book::{Book, millis};
use crate::report::history::downtime::Moment;

/// How often it is noted that nothing has changed, and how often a file that could not be written is tried again.
pub(crate) const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// How long the end of the daemon waits for the disk.
pub(crate) const END_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Shared {
    kept: Mutex<Kept>,
    /// Something was noted, or the end has come.
    came: Condvar,
    /// All is written that will be.
    ended: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) book: Book,
    /// The file that it is kept in.
    pub(super) file: Option<String>,
    /// What keeps that from being read or written.
    pub(super) trouble: Option<String>,
    /// Nothing more comes.
    ends: bool,
    /// The thread that writes has ended, or there is none.
    pub(super) written: bool,
}

/// How long a thread waits for something to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Not at all.
    None,
    /// Until something has changed, for [`ALIVE_EVERY`] at most.
    UntilNews,
    /// For [`ALIVE_EVERY`], whatever changes.
    WhateverComes,
}

/// This moment, as the history has it.
pub(super) fn moment(book: &Book, now: Stamp) -> Moment {
    Moment { at: book.clock(now), wall: wall() }
}

/// The host's wall clock, in milliseconds since 1970.
pub(super) fn wall() -> u64 {
    wall_time().duration_since(UNIX_EPOCH).map_or(0, millis)
}

impl Shared {
    /// What a panic elsewhere left behind is a history all the same.
    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that something was noted.
    pub(super) fn tell(&self) {
        self.came.notify_one();
    }

    /// Has the last changes written, for [`END_WITHIN`] at most. Nothing is noted after it.
    pub(super) fn end(&self) {
        let mut kept = self.kept();
        kept.ends = true;
        if kept.file.is_none() {
            return;
        }
        self.came.notify_one();
        // However it ends, nothing more can be done.
        let waits = |kept: &mut Kept| !kept.written;
        let _ = self.ended.wait_timeout_while(kept, END_WITHIN, waits);
    }

    /// A copy of the book once there is something to write, and whether it is the last one.
    pub(super) fn wait_for_news(&self, written: u64, patience: Patience) -> (Book, bool) {
        let kept = self.kept();
        let waits = |kept: &mut Kept| {
            let news = patience == Patience::UntilNews && kept.book.numbers() > written;
            !kept.ends && !news
        };
        let kept = match patience {
            Patience::None => kept,
            _ => match self.came.wait_timeout_while(kept, ALIVE_EVERY, waits) {
                Ok((kept, _)) => kept,
                Err(poisoned) => poisoned.into_inner().0,
            },
        };
        (kept.book.clone(), kept.ends)
    }

    /// Lets more come together before it is written.
    pub(super) fn wait_for_end(&self, most: Duration) {
        let _ = self.came.wait_timeout_while(self.kept(), most, |kept| !kept.ends);
    }

    pub(super) fn has_ended(&self) {
        self.kept().written = true;
        self.ended.notify_all();
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        self.kept().trouble = trouble;
    }
}
