//! The history as lines of text: how it is kept on disk, and read again.
//!
//! A line of JSON each: which process wrote, then the changes, and from time to time that it still lives. So a reader
//! knows until when the last one is to be believed. What a kill cuts off at the end is no line, and is passed over.
//! Pure.

use std::io;

use serde::{Deserialize, Serialize};

use crate::look::stamp::Stamp;
use crate::look::text;
use crate::report::history::book::{Anchor, Book, Of, millis};
use crate::report::history::downtime::Moment;
use crate::report::history::track::{Entry, MOST_DETAIL, MOST_WORD, Said, Track, What};
use crate::verdict::state::State;

/// The form of the lines.
const VERSION: u32 = 1;
/// No moment is later than this: the end of the year 9999, in milliseconds.
const LATEST: u64 = 253_402_300_799_999;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A process begins, or goes on in a new file.
    Run(Run),
    /// A change.
    Change(Change),
    /// Until here it is known that nothing else has changed.
    Alive(Moment),
}

/// Which process writes, and how its stamps and the history's clock belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    version: u32,
    /// The boot of the host; empty where nobody says which one it is.
    boot: String,
    /// A moment since that boot.
    boot_ms: u64,
    /// The same on the history's clock.
    at: u64,
}

/// A change as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    node: String,
    service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    at: u64,
    wall: u64,
    to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    left_out: u32,
    /// What was so before the oldest one that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Run {
    /// The process whose stamps belong to the clock in this way, in the boot of this id.
    pub fn new(boot: &str, anchor: Anchor) -> Self {
        let boot_ms = millis(anchor.stamp.since_boot());
        Self { version: VERSION, boot: boot.to_owned(), boot_ms, at: anchor.at }
    }
}

impl Change {
    /// As it is written of such an entry; the first one of its track says what was before.
    pub fn of(track: &Track, entry: &Entry) -> Self {
        let said = match &entry.what {
            What::Said(said) => Some(said),
            What::NotRecorded | What::NotWatched => None,
        };
        let first = track.entries.front().is_some_and(|first| first.number == entry.number);
        Self {
            node: track.node.to_string(),
            service: track.service.to_string(),
            cluster: track.cluster.as_deref().map(str::to_owned),
            at: entry.at,
            wall: entry.wall,
            to: entry.what.word().to_owned(),
            reason: said.map(|said| said.reason.to_string()),
            detail: said.map(|said| said.detail.to_string()),
            by: said.and_then(|said| said.by.as_deref()).map(str::to_owned),
            left_out: entry.left_out,
            before: track.before.filter(|_| first).map(str::to_owned),
        }
    }

    fn what(&self) -> Option<What> {
        // The file may have been written by somebody else.
        let plain = |of: &Option<String>, most| text::plain(of.as_deref().unwrap_or(""), most);
        Some(match word(&self.to)? {
            "not_recorded" => What::NotRecorded,
            "not_watched" => What::NotWatched,
            state => What::Said(Said {
                state: states().into_iter().find(|of| of.as_str() == state)?,
                reason: plain(&self.reason, MOST_WORD).into(),
                detail: plain(&self.detail, MOST_DETAIL).into(),
                by: self.by.as_ref().map(|by| text::plain(by, MOST_DETAIL).into()),
            }),
        })
    }
}

fn states() -> [State; 4] {
    [State::Ready, State::Drain, State::NotReady, State::Unknown]
}

/// The word that is meant, of those there are.
fn word(text: &str) -> Option<&'static str> {
    let words = states().map(State::as_str);
    words.into_iter().chain(["not_recorded", "not_watched"]).find(|word| *word == text)
}

/// A history that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Old {
    book: Book,
    run: Run,
    /// Until when it is known what was so.
    alive: Moment,
}

/// The lines as text.
///
/// # Errors
/// Never: all of it can be written as JSON.
pub fn text(lines: &[Line]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    Ok(text)
}

/// Every line of a book that is kept from the number `after` on.
pub fn changes(book: &Book, after: u64) -> Vec<Line> {
    let mut changes: Vec<(u64, Change)> = Vec::new();
    for track in book.tracks() {
        let new = track.entries.iter().rev().take_while(|entry| entry.number > after);
        changes.extend(new.map(|entry| (entry.number, Change::of(track, entry))));
    }
    changes.sort_by_key(|(number, _)| *number);
    changes.into_iter().map(|(_, change)| Line::Change(change)).collect()
}

/// What a text holds; `None` where it holds nothing.
///
/// # Errors
/// It is damaged, or of another version.
pub fn read(bytes: &[u8]) -> io::Result<Option<Old>> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut book = Book::default();
    let (mut run, mut alive) = (None, None::<Moment>);
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // What stands behind the last line's end was not written to its end.
    lines.pop();
    for (number, line) in lines.into_iter().enumerate() {
        let at = match serde_json::from_slice(line) {
            Ok(Line::Run(new)) => {
                if new.version != VERSION {
                    return Err(damaged("it is of another version"));
                }
                let at = new.at;
                run = Some(new);
                Moment { at, wall: 0 }
            }
            Ok(Line::Alive(moment)) => moment,
            Ok(Line::Change(change)) => {
                let Some(what) = change.what() else {
                    return Err(damaged(&format!("line {} has an unknown word", number + 1)));
                };
                let before = change.before.as_deref().and_then(word);
                let moment = Moment { at: change.at, wall: change.wall };
                let plain = |text: &str| text::plain(text, MOST_WORD).into();
                let of = Of {
                    node: plain(&change.node),
                    service: plain(&change.service),
                    cluster: change.cluster.as_deref().map(plain),
                };
                book.restore(of, moment, what, change.left_out, before);
                moment
            }
            // The parser's words repeat what it read.
            Err(error) => {
                let error = text::plain(&error.to_string(), MOST_DETAIL);
                return Err(damaged(&format!("line {}: {error}", number + 1)));
            }
        };
        if at.at > LATEST || at.wall > LATEST {
            return Err(damaged(&format!("line {} is of no time that can be", number + 1)));
        }
        if at.wall > 0 && alive.is_none_or(|alive| alive.at <= at.at) {
            alive = Some(at);
        }
    }
    match (run, alive) {
        (Some(run), Some(alive)) => Ok(Some(Old { book, run, alive })),
        (Some(_), None) => Ok(None),
        (None, None) if bytes.is_empty() => Ok(None),
        (None, _) => Err(damaged("it does not say who wrote it")),
    }
}

impl Old {
    /// Until when it is known what was so.
    #[cfg(test)]
    pub fn alive(&self) -> Moment {
        self.alive
    }

    /// It goes on in a process that began now, in the boot of this id: nobody knows what was so meanwhile.
    #[must_use]
    pub fn go_on(self, boot: &str, now: Stamp, wall: u64) -> Book {
        let Self { mut book, run, alive } = self;
        book.interrupt(alive.at, alive.wall);
        let at = if !boot.is_empty() && run.boot == boot {
            run.at.saturating_add(millis(now.since_boot()).saturating_sub(run.boot_ms))
        } else {
            alive.at.saturating_add(wall.saturating_sub(alive.wall))
        };
        book.anchored(Anchor { stamp: now, at: at.max(alive.at) })
    }
}
