//! What was said of each node, and when it changed: the last changes of each verdict, and for how long nobody was READY.
//!
//! The keeper notes each change that the log is told of ([`History::note`]); the doors read pages of it
//! ([`History::page`]). It is kept in memory, and on disk where there is a folder for it. All is
//! bounded, and neither the keeper nor a door ever waits for the disk.

pub mod book;
pub mod downtime;
pub mod page;
pub mod track;

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use crate::facts::NodeFacts;
use crate::host::clock::wall_time;
use crate::look::stamp::Stamp;
use crate::look::text;
use crate::report::announced::Announced;
use crate::report::history::book::{Book, Of, millis};
use crate::report::history::downtime::Moment;
use crate::report::history::page::{Page, Wanted};
use crate::report::history::track::{Said, What};
use crate::verdict::reason::Reason;

/// Most bytes of a reason's words that are kept; the rest is cut off.
pub const MOST_DETAIL: usize = 300;

/// The history, for whoever notes or reads it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Kept>,
    /// Something was noted.
    came: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    book: Book,
}

/// The host's wall clock, in milliseconds since 1970.
fn wall() -> u64 {
    wall_time().duration_since(UNIX_EPOCH).map_or(0, millis)
}

impl History {
    /// What a panic elsewhere left behind is a history all the same.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This was announced of a node of this cluster.
    pub fn note(&self, now: Stamp, cluster: Option<&Arc<str>>, new: &Announced) {
        let of = Of {
            node: Arc::clone(&new.node),
            service: Arc::clone(&new.service),
            cluster: cluster.cloned(),
        };
        let reason = &new.verdict.reason;
        let what = What::Said(Said {
            state: new.verdict.state,
            reason: reason.label().into(),
            detail: text::plain(&reason.to_string(), MOST_DETAIL).into(),
            by: match reason {
                Reason::Ordered(ordered) => Some(Arc::clone(&ordered.by)),
                _ => None,
            },
        });
        let mut kept = self.kept();
        let at = kept.book.clock(now);
        kept.book.note(of, at, wall(), what);
        drop(kept);
        self.0.came.notify_one();
    }

    /// These nodes are watched from now on, and no others.
    pub fn watch(&self, now: Stamp, nodes: &[NodeFacts]) {
        let pairs = nodes.iter().flat_map(|node| node.services.iter().map(move |of| (node, of)));
        let watched = pairs.map(|(node, service)| Of {
            node: Arc::clone(&node.name),
            service: Arc::clone(&service.name),
            cluster: node.cluster.clone(),
        });
        let watched: Vec<Of> = watched.collect();
        let mut kept = self.kept();
        let at = kept.book.clock(now);
        kept.book.watch(&watched, at, wall());
        drop(kept);
        self.0.came.notify_one();
    }

    /// The names of all services and of all nodes that there are changes of.
    pub fn names(&self) -> (BTreeSet<Arc<str>>, BTreeSet<Arc<str>>) {
        let kept = self.kept();
        let tracks = kept.book.tracks().iter();
        tracks.map(|track| (Arc::clone(&track.service), Arc::clone(&track.node))).unzip()
    }

    /// What is known of what is wanted.
    pub fn page(&self, now: Stamp, wanted: Wanted<'_>) -> Page {
        // Made of a copy: the keeper must not wait while a page is made.
        let book = self.kept().book.clone();
        let now = Moment { at: book.clock(now), wall: wall() };
        Page::of(&book, wanted, now)
    }
}

#[cfg(test)]
mod tests;
