//! What was said of each node, and when it changed: the last changes of each verdict, and for how long nobody was READY.
//!
//! The keeper notes each change that the log is told of ([`History::note`]); the doors read pages of it
//! ([`History::page`]). It is kept in memory, and on disk where there is a folder for it. All is
//! bounded, and neither the keeper nor a door ever waits for the disk.

pub mod book;
mod disk;
pub mod downtime;
pub mod line;
pub mod page;
mod shared;
pub mod track;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tracing::warn;

use crate::facts::NodeFacts;
use crate::host::clock::Clock;
use crate::look::stamp::Stamp;
use crate::look::text;
use crate::report::announced::Announced;
use crate::report::history::book::Of;
use crate::report::history::disk::Disk;
use crate::report::history::page::{Page, Wanted};
use crate::report::history::shared::{Shared, moment, wall};
use crate::report::history::track::{MOST_DETAIL, Said, What};
use crate::verdict::reason::Reason;

/// The history, for whoever notes or reads it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Shared>);

impl History {
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
        let mut kept = self.0.kept();
        let at = kept.book.clock(now);
        kept.book.note(of, at, wall(), what);
        drop(kept);
        self.0.tell();
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
        let mut kept = self.0.kept();
        let at = kept.book.clock(now);
        kept.book.watch(&watched, at, wall());
        drop(kept);
        self.0.tell();
    }

    /// The names of all services and of all nodes that there are changes of.
    pub fn names(&self) -> (BTreeSet<Arc<str>>, BTreeSet<Arc<str>>) {
        let kept = self.0.kept();
        let tracks = kept.book.tracks().iter();
        tracks.map(|track| (Arc::clone(&track.service), Arc::clone(&track.node))).unzip()
    }

    /// What is known of what is wanted.
    pub fn page(&self, now: Stamp, wanted: Wanted<'_>) -> Page {
        // Made of a copy: the keeper must not wait while a page is made.
        let kept = self.0.kept();
        let (book, file, trouble) = (kept.book.clone(), kept.file.clone(), kept.trouble.clone());
        drop(kept);
        Page { file, trouble, ..Page::of(&book, wanted, moment(&book, now)) }
    }

    /// The history that is kept in this folder, with what is there already; `boot` is the id of the host's boot. Where it
    /// cannot be kept there it is in memory alone, and says why.
    pub fn kept_in(folder: &Path, boot: Option<String>, clock: Clock) -> Self {
        let history = Self::default();
        let opened = match Disk::open(folder, boot.unwrap_or_default(), clock) {
            Ok(opened) => opened,
            Err(what) => {
                warn!("the history is kept in memory only: {what}");
                history.0.set_trouble(Some(what));
                return history;
            }
        };
        let mut kept = history.0.kept();
        kept.book = opened.book;
        kept.trouble = opened.trouble;
        kept.file = Some(opened.disk.path().display().to_string());
        drop(kept);
        if let Err(error) = opened.disk.serve(Arc::clone(&history.0)) {
            let what = format!("the thread that writes it cannot be started: {error}");
            warn!("the history is kept in memory only: {what}");
            history.0.set_trouble(Some(what));
            history.0.kept().written = true;
        }
        history
    }

    /// Has the last changes written, for [`shared::END_WITHIN`] at most. Nothing is noted after it.
    pub fn end(&self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests;
