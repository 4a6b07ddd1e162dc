//! The changes of all verdicts, bounded, on a clock of their own.
//!
//! The clock counts milliseconds and only goes forward. Within one boot of the host it goes as `CLOCK_BOOTTIME`; over a
//! boot it goes on by as much as the wall clock says, and not at all where that was set back. So no duration is
//! negative, whatever becomes of the wall clock. Pure but for what it is told.

use std::sync::Arc;
use std::time::Duration;

use crate::look::stamp::Stamp;
use crate::report::history::downtime::Moment;
use crate::report::history::track::{Entry, Track, What};

/// Most entries of all verdicts together; the oldest go, and each verdict keeps its last.
pub const MOST_OF_ALL: usize = 4096;
/// For how long a change is kept; what is so still stays, however old it is.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Who a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Of {
    /// The node.
    pub node: Arc<str>,
    /// The service.
    pub service: Arc<str>,
    /// The cluster of the node, where that is said.
    pub cluster: Option<Arc<str>>,
}

/// How this process's stamps and the history's clock belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Anchor {
    /// A moment of this process.
    pub stamp: Stamp,
    /// The same on the history's clock, in milliseconds.
    pub at: u64,
}

/// All changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Book {
    tracks: Vec<Track>,
    anchor: Anchor,
    /// How many changes there were ever.
    numbers: u64,
}

impl Book {
    /// One whose clock goes on from here.
    #[must_use]
    pub fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    /// A moment on the history's clock.
    pub fn clock(&self, now: Stamp) -> u64 {
        self.anchor.at.saturating_add(millis(now.since(self.anchor.stamp)))
    }

    /// How this process's stamps and the clock belong together.
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// How many changes there were ever.
    pub fn numbers(&self) -> u64 {
        self.numbers
    }

    /// The changes, by verdict, in the order in which these were first seen.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.tracks.iter().map(|track| track.entries.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Something is so of a verdict from this moment on.
    pub fn note(&mut self, of: Of, at: u64, wall: u64, what: What) {
        self.restore(of, Moment { at, wall }, what, 0, None);
    }

    /// The same, of what was kept: after it so many changes of the reason were left out, and where it is the first one of
    /// its verdict, this was so before.
    pub fn restore(
        &mut self,
        of: Of,
        Moment { at, wall }: Moment,
        what: What,
        left_out: u32,
        before: Option<&'static str>,
    ) {
        let known = |track: &Track| track.node == of.node && track.service == of.service;
        let index = self.tracks.iter().position(known).unwrap_or_else(|| {
            self.tracks.push(Track::new(of.node, of.service, None));
            self.tracks.len() - 1
        });
        let track = &mut self.tracks[index];
        track.cluster = of.cluster;
        if track.entries.is_empty() {
            track.before = before;
        }
        let number = self.numbers + 1;
        if track.push(Entry { at, wall, what, left_out, number }) {
            self.numbers = number;
            self.keep_within(at);
        }
    }

    /// These are watched from this moment on, and no others.
    pub fn watch(&mut self, watched: &[Of], at: u64, wall: u64) {
        let is = |track: &Track, of: &Of| track.node == of.node && track.service == of.service;
        let gone = self.tracks.iter().filter(|track| track.is_watched());
        let gone = gone.filter(|track| !watched.iter().any(|of| is(track, of)));
        for of in gone.map(of).collect::<Vec<_>>() {
            self.note(of, at, wall, What::NotWatched);
        }
        for track in &mut self.tracks {
            if let Some(of) = watched.iter().find(|of| is(track, of)) {
                track.cluster.clone_from(&of.cluster);
            }
        }
    }

    /// From this moment on nobody recorded anything.
    pub fn interrupt(&mut self, at: u64, wall: u64) {
        let watched = self.tracks.iter().filter(|track| track.is_watched());
        for of in watched.map(of).collect::<Vec<_>>() {
            self.note(of, at, wall, What::NotRecorded);
        }
    }

    /// Forgets what is too old, and the oldest of what is too much.
    fn keep_within(&mut self, now: u64) {
        let oldest = now.saturating_sub(millis(KEPT_FOR));
        self.tracks.retain_mut(|track| !track.forget_before(oldest));
        for _ in MOST_OF_ALL..self.len() {
            // Those that are watched keep their last entry; the others end with `NotWatched`.
            let may_go = self.tracks.iter_mut().filter(|t| t.entries.len() > 1);
            let first = |track: &&mut Track| track.entries.front().map(|entry| entry.number);
            match may_go.min_by_key(first) {
                Some(track) => track.drop_oldest(),
                None => break,
            }
        }
        if self.len() > MOST_OF_ALL {
            self.tracks.retain(Track::is_watched);
        }
    }
}

fn of(track: &Track) -> Of {
    let (node, service) = (Arc::clone(&track.node), Arc::clone(&track.service));
    Of { node, service, cluster: track.cluster.clone() }
}

/// A time in milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
