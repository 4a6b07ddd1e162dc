//! For how long nobody was READY: the changes of a service at all nodes of a cluster, laid beside each other.
//!
//! Pure. At every moment one of four things is so. Some node was READY: the service was to be had, whatever is not
//! known of the others. Else, where a node is not recorded, it is not known. Else nobody was READY, and that is what
//! is counted. Where no node was watched at all, nothing is counted.

use serde::{Deserialize, Serialize};

use crate::report::history::track::{Track, What};
use crate::verdict::state::State;

/// Most times without a READY that are told one by one; the oldest go, and count in the sum all the same.
pub const MOST_TIMES: usize = 32;

/// A moment: of the history's clock, and of the wall then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// In milliseconds of the history's clock.
    pub at: u64,
    /// In milliseconds since 1970.
    pub wall: u64,
}

/// A time in which nobody was READY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Its beginning, or that of the window.
    pub from: Moment,
    /// Its end; `None`: it goes on.
    pub to: Option<Moment>,
}

/// What a window holds, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// Where the window begins: where it was asked to, or where anything is known.
    pub since: Moment,
    /// How long nobody was READY.
    pub nobody_ready: u64,
    /// For how long it is not known whether anybody was.
    pub not_recorded: u64,
    /// The last times in which nobody was READY, the oldest first.
    pub times: Vec<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Ready,
    NotReady,
    NotRecorded,
    NotWatched,
}

impl Is {
    fn of(what: &What) -> Self {
        match what {
            What::Said(said) if said.state == State::Ready => Self::Ready,
            What::Said(_) => Self::NotReady,
            What::NotRecorded => Self::NotRecorded,
            What::NotWatched => Self::NotWatched,
        }
    }

    /// Before the first entry of a track: what was there is forgotten, or there was nothing.
    fn before(track: &Track) -> Self {
        if track.before.is_some() { Self::NotRecorded } else { Self::NotWatched }
    }
}

/// What is so of all together.
fn together(each: &[Is]) -> Is {
    let any = |is| each.contains(&is);
    [Is::Ready, Is::NotRecorded, Is::NotReady]
        .into_iter()
        .find(|is| any(*is))
        .unwrap_or(Is::NotWatched)
}

/// The sums of a service at these nodes, from `since` on, where anything is known so early, until `now`.
pub fn total(tracks: &[&Track], since: Option<u64>, now: Moment) -> Option<Total> {
    let firsts = tracks.iter().filter_map(|track| track.entries.front());
    let first = firsts.min_by_key(|entry| entry.at)?;
    let begins = match since {
        Some(since) if since > first.at => {
            let since = since.min(now.at);
            Moment { at: since, wall: now.wall.saturating_sub(now.at - since) }
        }
        _ => Moment { at: first.at, wall: first.wall },
    };
    let mut each: Vec<Is> = tracks.iter().map(|track| Is::before(track)).collect();
    let mut changes: Vec<(Moment, usize, Is)> = Vec::new();
    for (index, track) in tracks.iter().enumerate() {
        for entry in &track.entries {
            let is = Is::of(&entry.what);
            if entry.at <= begins.at {
                each[index] = is;
            } else if entry.at <= now.at {
                changes.push((Moment { at: entry.at, wall: entry.wall }, index, is));
            }
        }
    }
    changes.sort_by_key(|(moment, ..)| moment.at);
    let mut total = Total { since: begins, nobody_ready: 0, not_recorded: 0, times: Vec::new() };
    let mut is = together(&each);
    let mut from = begins;
    for (moment, index, now_is) in changes {
        each[index] = now_is;
        let next = together(&each);
        // What several nodes change at one moment is one change.
        if next != is {
            total.add(is, from, moment.at, Some(moment));
            (is, from) = (next, moment);
        }
    }
    total.add(is, from, now.at, None);
    let told = total.times.len().saturating_sub(MOST_TIMES);
    total.times.drain(..told);
    Some(total)
}

impl Total {
    fn add(&mut self, is: Is, from: Moment, until: u64, to: Option<Moment>) {
        let lasted = until.saturating_sub(from.at);
        match is {
            Is::NotReady if lasted > 0 || to.is_none() => {
                self.nobody_ready += lasted;
                self.times.push(Time { from, to });
            }
            Is::NotRecorded => self.not_recorded += lasted,
            _ => {}
        }
    }
}
