//! The history as its page /history and `rolecall history` say it.
//!
//! Its JSON has a version, with the promises of that of /status. Moments are in UTC, and for those who compare no two
//! clocks also in milliseconds before the moment at which it was made.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::report::history::book::Book;
use crate::report::history::downtime::{self, Moment, Time, Total};
use crate::report::history::track::{Entry, Track, What};

/// The version of the JSON.
pub(crate) const VERSION: u32 = 1;

/// The last changes of each verdict, and for how long nobody was READY.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "rolecall: /history"))]
pub struct Page {
    /// Of this form.
    #[cfg_attr(test, schemars(extend("const" = VERSION)))]
    pub version: u32,
    /// The program's own version.
    pub rolecall: &'static str,
    /// When it was made, in UTC.
    pub at: String,
    /// The file that it is kept in; `null`: in memory alone, it ends with the process.
    pub file: Option<String>,
    /// What keeps it from being read or written, in words; `null`: nothing.
    pub trouble: Option<String>,
    /// For how long nobody was READY: one for each service of each cluster, or of each node without one.
    pub services: Vec<OfService>,
    /// The changes, the oldest first.
    pub changes: Vec<Change>,
}

/// For how long nobody was READY for a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OfService {
    /// Its name.
    pub service: String,
    /// The cluster, where that is configured.
    pub cluster: Option<String>,
    /// The nodes that are counted.
    pub nodes: Vec<String>,
    /// When the time begins that is counted, in UTC.
    pub since: String,
    /// How long ago that is.
    pub since_ms: u64,
    /// For how long of it no node was READY.
    pub nobody_ready_ms: u64,
    /// For how long of it that is not known, because no rolecall recorded it.
    pub not_recorded_ms: u64,
    /// The last times in which nobody was READY, the oldest first.
    pub nobody_ready: Vec<Span>,
}

/// A time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Span {
    /// When it began, in UTC.
    pub at: String,
    /// How long ago.
    pub ago_ms: u64,
    /// How long it lasted; `null`: it goes on.
    pub lasted_ms: Option<u64>,
}

/// A change of a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Change {
    /// When, in UTC.
    pub at: String,
    /// How long ago.
    pub ago_ms: u64,
    /// The node.
    pub node: String,
    /// The service.
    pub service: String,
    /// What was so before; `null`: it was not watched, or what was before is forgotten.
    #[cfg_attr(test, schemars(extend("enum" = ["ready", "drain", "not_ready", "unknown", "not_recorded",
        "not_watched", null])))]
    pub from: Option<&'static str>,
    /// What was so from then on. `not_recorded`: no rolecall ran, or none that could write it down; `not_watched`: the
    /// configuration does not have it.
    #[cfg_attr(test, schemars(extend("enum" = ["ready", "drain", "not_ready", "unknown", "not_recorded",
        "not_watched"])))]
    pub to: &'static str,
    /// Why, in the word of /status; `null` where nothing was said.
    pub reason: Option<String>,
    /// Why, in words.
    pub detail: Option<String>,
    /// Who gave the order, where one decided.
    pub by: Option<String>,
    /// How long it was so; `null`: it still is.
    pub lasted_ms: Option<u64>,
    /// How many changes of the reason alone after this one are not kept.
    pub left_out: u32,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Only so much time, until now.
    pub since: Option<Duration>,
    /// Only this service.
    pub service: Option<&'a str>,
    /// Only this node.
    pub node: Option<&'a str>,
}

impl Wanted<'_> {
    fn has(&self, track: &Track) -> bool {
        self.service.is_none_or(|name| *track.service == *name)
            && self.node.is_none_or(|name| *track.node == *name)
    }
}

/// A moment in UTC, of its milliseconds since 1970.
pub fn utc(wall: u64) -> String {
    // The year 9999 is the last one that can be written.
    let wall = wall.min(253_402_300_799_999);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(wall)).to_string()
}

impl Page {
    /// What a book says of what is wanted.
    pub fn of(book: &Book, wanted: Wanted<'_>, now: Moment) -> Self {
        let tracks: Vec<&Track> = book.tracks().iter().filter(|track| wanted.has(track)).collect();
        let since = wanted.since.map(|since| now.at.saturating_sub(super::book::millis(since)));
        let mut changes: Vec<(u64, u64, Change)> =
            tracks.iter().flat_map(|track| changes_of(track, since, now)).collect();
        changes.sort_by_key(|(at, number, _)| (*at, *number));
        Self {
            version: VERSION,
            rolecall: env!("CARGO_PKG_VERSION"),
            at: utc(now.wall),
            file: None,
            trouble: None,
            services: groups(&tracks)
                .into_iter()
                .filter_map(|group| of_group(&group, since, now))
                .collect(),
            changes: changes.into_iter().map(|(_, _, change)| change).collect(),
        }
    }
}

/// The tracks that are counted together: of a service at the nodes of a cluster. A node without a cluster is one of its
/// own, for nobody says which others serve the same.
fn groups<'a>(tracks: &[&'a Track]) -> Vec<Vec<&'a Track>> {
    let mut groups: Vec<Vec<&Track>> = Vec::new();
    for track in tracks {
        let same = |group: &&mut Vec<&Track>| {
            group.first().is_some_and(|first| {
                let cluster = track.cluster.is_some() && first.cluster == track.cluster;
                first.service == track.service && (cluster || first.node == track.node)
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(track),
            None => groups.push(vec![track]),
        }
    }
    groups
}

fn of_group(group: &[&Track], since: Option<u64>, now: Moment) -> Option<OfService> {
    let first = group.first()?;
    let Total { since, nobody_ready, not_recorded, times } = downtime::total(group, since, now)?;
    let span = |Time { from, to }: Time| Span {
        at: utc(from.wall),
        ago_ms: now.at.saturating_sub(from.at),
        lasted_ms: to.map(|to| to.at.saturating_sub(from.at)),
    };
    Some(OfService {
        service: first.service.to_string(),
        cluster: first.cluster.as_deref().map(str::to_owned),
        nodes: group.iter().map(|track| track.node.to_string()).collect(),
        since: utc(since.wall),
        since_ms: now.at.saturating_sub(since.at),
        nobody_ready_ms: nobody_ready,
        not_recorded_ms: not_recorded,
        nobody_ready: times.into_iter().map(span).collect(),
    })
}

/// The changes of a track that were in effect at some moment of the window.
fn changes_of(track: &Track, since: Option<u64>, now: Moment) -> Vec<(u64, u64, Change)> {
    let next = track.entries.iter().skip(1).map(Some).chain([None]);
    let mut before = track.before;
    let mut changes = Vec::new();
    for (entry, next) in track.entries.iter().zip(next) {
        let from = before.replace(entry.what.word());
        let over = next.zip(since).is_some_and(|(next, since)| next.at <= since);
        if !over {
            let lasted = next.map(|next| next.at.saturating_sub(entry.at));
            changes.push((entry.at, entry.number, change(track, entry, from, lasted, now)));
        }
    }
    changes
}

fn change(
    track: &Track,
    entry: &Entry,
    from: Option<&'static str>,
    lasted_ms: Option<u64>,
    now: Moment,
) -> Change {
    let said = match &entry.what {
        What::Said(said) => Some(said),
        What::NotRecorded | What::NotWatched => None,
    };
    Change {
        at: utc(entry.wall),
        ago_ms: now.at.saturating_sub(entry.at),
        node: track.node.to_string(),
        service: track.service.to_string(),
        from,
        to: entry.what.word(),
        reason: said.map(|said| said.reason.to_string()),
        detail: said.map(|said| said.detail.to_string()),
        by: said.and_then(|said| said.by.as_ref()).map(ToString::to_string),
        lasted_ms,
        left_out: entry.left_out,
    }
}
