//! The last changes of one verdict, bounded: what was said of one service of one node, from when until when.
//!
//! Pure. Moments are milliseconds of the history's own clock, which only goes forward (`book`).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::verdict::state::State;

/// Most entries of one verdict; the oldest goes.
pub const MOST_OF_ONE: usize = 64;
/// Most entries in a row that differ by their reason alone: polls that fail in turns must not push out what was so
/// before. The first stays, and the newest.
pub const MOST_REASONS: usize = 5;

/// Most bytes of a reason's words that are kept; the rest is cut off.
pub const MOST_DETAIL: usize = 300;
/// Most bytes of a name or a label that is read.
pub const MOST_WORD: usize = 64;

/// What is so from a moment on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// This was announced.
    Said(Said),
    /// Nobody knows: no rolecall ran here, or none that could write it down.
    NotRecorded,
    /// The configuration does not have it.
    NotWatched,
}

/// A verdict as it was announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What was said.
    pub state: State,
    /// The label of the reason.
    pub reason: Arc<str>,
    /// The same in words.
    pub detail: Arc<str>,
    /// Who ordered it, where an order decided.
    pub by: Option<Arc<str>>,
}

impl What {
    /// Its word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Said(said) => said.state.as_str(),
            Self::NotRecorded => "not_recorded",
            Self::NotWatched => "not_watched",
        }
    }

    /// Whether another one says the same of the node, whatever the reason.
    fn is_like(&self, other: &Self) -> bool {
        self.word() == other.word()
    }

    /// Whether nothing at all is new about another one.
    fn is_no_news_after(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Said(new), Self::Said(old)) => {
                new.state == old.state && new.reason == old.reason && new.by == old.by
            }
            _ => self.is_like(other),
        }
    }
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When, in milliseconds of the history's clock.
    pub at: u64,
    /// The host's wall clock then, in milliseconds since 1970.
    pub wall: u64,
    /// What was so from then on.
    pub what: What,
    /// How many changes of the reason alone after it were left out.
    pub left_out: u32,
    /// Its number in the whole history.
    pub number: u64,
}

/// The changes of one service of one node, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// The node.
    pub node: Arc<str>,
    /// The service.
    pub service: Arc<str>,
    /// The cluster the node belongs to, where that is said.
    pub cluster: Option<Arc<str>>,
    /// What was so before the first entry; `None`: it was not watched before.
    pub before: Option<&'static str>,
    /// The changes.
    pub entries: VecDeque<Entry>,
}

impl Track {
    /// One without a change.
    pub fn new(node: Arc<str>, service: Arc<str>, cluster: Option<Arc<str>>) -> Self {
        Self { node, service, cluster, before: None, entries: VecDeque::new() }
    }

    /// What is so now.
    pub fn last(&self) -> Option<&What> {
        self.entries.back().map(|entry| &entry.what)
    }

    /// Whether it is in the configuration, as far as is known.
    pub fn is_watched(&self) -> bool {
        self.last().is_some_and(|what| *what != What::NotWatched)
    }

    /// Adds a change, where it is one.
    pub fn push(&mut self, entry: Entry) -> bool {
        if let Some(last) = self.entries.back() {
            if entry.what.is_no_news_after(&last.what) {
                return false;
            }
        } else if entry.what == What::NotWatched {
            return false;
        }
        let at = self.entries.back().map_or(entry.at, |last| entry.at.max(last.at));
        self.entries.push_back(Entry { at, ..entry });
        self.leave_out_reasons();
        while self.entries.len() > MOST_OF_ONE {
            self.drop_oldest();
        }
        true
    }

    /// Of very many entries in a row that say the same for other reasons the second goes.
    fn leave_out_reasons(&mut self) {
        let Some(last) = self.entries.back() else { return };
        let alike = self.entries.iter().rev().take_while(|entry| entry.what.is_like(&last.what));
        let alike = alike.count();
        if alike <= MOST_REASONS {
            return;
        }
        let first = self.entries.len() - alike;
        if let Some(gone) = self.entries.remove(first + 1)
            && let Some(first) = self.entries.get_mut(first)
        {
            first.left_out = first.left_out.saturating_add(1).saturating_add(gone.left_out);
        }
    }

    /// Forgets the oldest entry.
    pub fn drop_oldest(&mut self) {
        if let Some(gone) = self.entries.pop_front() {
            self.before = Some(gone.what.word());
        }
    }

    /// Forgets what ended before this moment. Tells whether nothing is left that is of use.
    pub fn forget_before(&mut self, moment: u64) -> bool {
        while self.entries.get(1).is_some_and(|next| next.at <= moment) {
            self.drop_oldest();
        }
        !self.is_watched() && self.entries.back().is_none_or(|last| last.at <= moment)
    }
}
