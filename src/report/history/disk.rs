//! The file in which the history survives a restart and a boot, and the thread that writes it.
//!
//! The thread takes what is new out of memory, so nobody ever waits for the disk, and no queue can overflow: a disk that
//! is slow or full only makes the file older than the memory. Lines are added; a file that has grown is written anew. A
//! damaged file is set aside and said once; it is no reason not to start.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::host::clock::Clock;
use crate::host::own_file::{self, Lock};
use crate::report::history::book::Book;
use crate::report::history::line::{self, Line, Run};
use crate::report::history::shared::{Patience, Shared, moment, wall};

/// Longest file that is read, in bytes: all that is kept, with the longest words there can be.
pub(crate) const MAX_FILE: usize = 8 * 1024 * 1024;
/// Bytes by which the file may grow before it is written anew.
pub(crate) const GROWS: usize = 1024 * 1024;
/// Least time between two writes: of many changes at once only the first is written alone.
const BETWEEN_WRITES: Duration = Duration::from_millis(200);
/// The name of the file in the state directory.
const NAME: &str = "history.jsonl";

/// The file, for the thread that writes it.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    boot_id: String,
    clock: Clock,
    /// That no other process writes it.
    _lock: Option<Lock>,
    /// Open to be added to; `None`: it must be written anew.
    file: Option<File>,
    /// How long it is, and how long it was when it was written anew.
    bytes: usize,
    anew: usize,
    /// The number of the last change in it.
    written: u64,
    /// That it cannot be written was said.
    told: bool,
}

/// What a file held, and the file for whoever goes on.
pub(super) struct Opened {
    pub(super) book: Book,
    pub(super) trouble: Option<String>,
    pub(super) disk: Disk,
}

impl Disk {
    /// Reads the file in this folder; `boot_id` is the id of the host's boot, empty where nobody says it.
    ///
    /// # Errors
    /// Another process has it, in words.
    pub(super) fn open(folder: &Path, boot_id: String, clock: Clock) -> Result<Opened, String> {
        let path = folder.join(NAME);
        let lock = match own_file::lock(&path) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(format!("{}: another process uses this history file", path.display()));
            }
            // Whatever it is, writing will say it.
            Err(_) => None,
        };
        let now = clock.now();
        let (book, trouble) =
            match own_file::read(&path, MAX_FILE).and_then(|text| line::read(&text)) {
                Ok(old) => (old.map(|old| old.go_on(&boot_id, now, wall())), None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
                Err(error) => (None, Some(set_aside(&path, &error))),
            };
        let book = book.unwrap_or_default();
        let (file, bytes, anew, written, told) = (None, 0, 0, 0, false);
        let disk = Self { path, boot_id, clock, _lock: lock, file, bytes, anew, written, told };
        Ok(Opened { book, trouble, disk })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes for as long as the process lives.
    pub(super) fn serve(mut self, history: Arc<Shared>) -> io::Result<()> {
        let run = move || {
            loop {
                let (book, ends) = history.wait_for_news(self.written, self.patience());
                let done = self.write(&book);
                self.tell(&history, done);
                if ends {
                    history.has_ended();
                    return;
                }
                history.wait_for_end(BETWEEN_WRITES);
            }
        };
        thread::Builder::new().name("history".to_owned()).spawn(run).map(drop)
    }

    /// How long nothing is written where nothing changes. What could not be written waits so long as well.
    fn patience(&self) -> Patience {
        match (&self.file, self.told) {
            (None, false) => Patience::None,
            (None, true) => Patience::WhateverComes,
            (Some(_), _) => Patience::UntilNews,
        }
    }

    /// Adds what is new, or writes all of it anew.
    fn write(&mut self, book: &Book) -> io::Result<()> {
        let now = self.clock.now();
        let alive = Line::Alive(moment(book, now));
        let grown = self.bytes > self.anew.saturating_add(GROWS);
        if let Some(mut file) = self.file.take_if(|_| !grown) {
            let mut lines = line::changes(book, self.written);
            let durable = !lines.is_empty();
            lines.push(alive);
            let text = line::text(&lines)?;
            file.write_all(&text)?;
            if durable {
                file.sync_data()?;
            }
            self.bytes = self.bytes.saturating_add(text.len());
            self.file = Some(file);
        } else {
            let mut lines = vec![Line::Run(Run::new(&self.boot_id, book.anchor()))];
            lines.extend(line::changes(book, 0));
            lines.push(alive);
            let text = line::text(&lines)?;
            own_file::replace(&self.path, &text, true)?;
            self.file = Some(own_file::append(&self.path)?);
            (self.bytes, self.anew) = (text.len(), text.len());
        }
        self.written = book.numbers();
        Ok(())
    }

    /// Says once that it cannot be written, and once that it can again.
    fn tell(&mut self, history: &Shared, done: io::Result<()>) {
        let path = self.path.display();
        match done {
            Ok(()) if std::mem::take(&mut self.told) => {
                info!("the history is written to {path} again");
                history.set_trouble(None);
            }
            Ok(()) => {}
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    let hint =
                        "let rolecall's user write there, and check the file system with `df -h`";
                    warn!(
                        hint,
                        "the history cannot be written to {path}: {error}; it goes on in memory"
                    );
                }
                let what = format!("the history cannot be written to {path}: {error}");
                history.set_trouble(Some(what));
            }
        }
    }
}

/// A damaged file is kept, the last one of them. In words, what became of it.
fn set_aside(path: &Path, error: &io::Error) -> String {
    let aside = path.with_extension("damaged");
    let kept = match fs::rename(path, &aside) {
        Ok(()) => format!("the file is kept as {}", aside.display()),
        Err(error) => format!("the file could not be moved to {}: {error}", aside.display()),
    };
    let path = path.display();
    let hint = "the file can be deleted: nothing else depends on it";
    error!(
        hint,
        "the history file {path} cannot be read ({error}), so the history begins anew; {kept}"
    );
    format!(
        "the history file {path} could not be read ({error}), so the history began anew; {kept}"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::look::stamp::Stamp;
    use crate::report::history::book::Of;
    use crate::report::history::downtime::Moment;
    use crate::report::history::page::{Page, Wanted};
    use crate::report::history::shared::END_WITHIN;
    use crate::report::history::track::{MOST_DETAIL, MOST_OF_ONE, MOST_WORD, Said, What};
    use crate::verdict::state::State;

    const BOOT: &str = "0123456789abcdef0123456789abcdef";

    fn open(dir: &Path) -> Opened {
        Disk::open(dir, BOOT.to_owned(), Clock::Boot).unwrap()
    }

    fn note(book: &mut Book, at: u64, state: State) {
        let of = Of { node: "pg1".into(), service: "primary".into(), cluster: None };
        let (reason, by) = ("x".into(), Some("ann".into()));
        let said = Said { state, reason, detail: "in words".into(), by };
        book.note(of, at, wall(), What::Said(said));
    }

    fn told(book: &Book) -> Vec<(Option<&'static str>, &'static str)> {
        let now = Moment { at: u64::MAX, wall: wall() };
        let page = Page::of(book, Wanted::default(), now);
        page.changes.iter().map(|change| (change.from, change.to)).collect()
    }

    #[test]
    fn what_was_written_is_read_by_the_next_one_with_a_gap_and_a_cut_line_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = open(dir.path());
        assert!(first.book.is_empty() && first.trouble.is_none());
        let mut book = first.book;
        note(&mut book, 10, State::Ready);
        first.disk.write(&book).unwrap();
        // Added to what is there, one by one.
        note(&mut book, 20, State::NotReady);
        first.disk.write(&book).unwrap();
        let path = first.disk.path().to_owned();
        let lines = fs::read_to_string(&path).unwrap();
        assert_eq!(lines.lines().count(), 1 + 2 * 2, "{lines}");
        fs::write(&path, format!("{lines}{{\"change\": {{\"node\"")).unwrap();
        drop(first.disk);
        let next = open(dir.path());
        assert_eq!(next.trouble, None);
        let gap =
            [(None, "ready"), (Some("ready"), "not_ready"), (Some("not_ready"), "not_recorded")];
        assert_eq!(told(&next.book), gap);
        let (then, now) = (book.clock(Clock::Boot.now()), next.book.clock(Clock::Boot.now()));
        assert!(now.abs_diff(then) < 60_000, "{then} {now}");
    }

    #[test]
    fn a_file_of_another_process_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let _first = open(dir.path());
        let second = Disk::open(dir.path(), BOOT.to_owned(), Clock::Boot);
        assert!(second.is_err_and(|what| what.contains("another process uses this history file")));
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_a_new_one_begins() {
        let run = format!(r#"{{"run":{{"version":1,"boot":"{BOOT}","boot_ms":1,"at":1}}}}"#);
        let change = |more: &str| {
            format!(r#"{{"change":{{"node":"pg1","service":"primary","at":5,"wall":5{more}}}}}"#)
        };
        let (other, nobody) =
            (run.replace(":1,\"boot\"", ":2,\"boot\""), "{\"alive\":{\"at\":1,\"wall\":1}}");
        for (text, says) in [
            ("\0\0\n".to_owned(), "line 1: "),
            (format!("{run}\nnonsense\n"), "line 2: "),
            (format!("{other}\n"), "of another version"),
            (format!("{nobody}\n"), "does not say who wrote it"),
            (format!("{run}\n{}\n", change(r#","to":"well""#)), "line 2 has an unknown word"),
            (format!("{run}\n{}\n", change("")), "missing field `to`"),
            (
                format!("{run}\n{{\"alive\":{{\"at\":{},\"wall\":1}}}}\n", u64::MAX),
                "no time that can be",
            ),
            ("x".repeat(MAX_FILE + 1), "too long"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(NAME), &text).unwrap();
            let mut opened = open(dir.path());
            let trouble = opened.trouble.unwrap_or_default();
            assert!(trouble.contains(says), "{says}: {trouble}");
            assert!(opened.book.is_empty());
            let aside = dir.path().join("history.damaged");
            assert_eq!(fs::read_to_string(&aside).unwrap(), text);
            note(&mut opened.book, 1, State::Ready);
            opened.disk.write(&opened.book).unwrap();
            drop(opened.disk);
            assert_eq!(open(dir.path()).trouble, None);
        }
    }

    #[test]
    fn a_file_that_has_grown_is_written_anew_with_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { mut book, mut disk, .. } = open(dir.path());
        let path = disk.path().to_owned();
        let (mut longest, mut at, mut anew) = (0, 0, 0);
        while anew < 2 {
            let before = disk.anew;
            for _ in 0..MOST_OF_ONE {
                at += 1;
                note(&mut book, at, if at % 2 == 0 { State::Ready } else { State::Unknown });
            }
            disk.write(&book).unwrap();
            anew += usize::from(disk.anew != before);
            let long = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
            assert_eq!(long, disk.bytes);
            longest = longest.max(long);
        }
        assert!(longest < GROWS + 64 * 1024, "{longest}");
        assert!(disk.bytes < 64 * 1024, "{}", disk.bytes);
        drop(disk);
        assert_eq!(told(&open(dir.path()).book).len(), MOST_OF_ONE);
    }

    #[test]
    fn where_it_cannot_be_written_it_is_said_once_and_all_of_it_is_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { mut book, mut disk, .. } = open(dir.path());
        let shared = Shared::default();
        note(&mut book, 1, State::Ready);
        let folder = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode));
        // Something in the way of what is written first: root is kept out by it, too.
        let new = disk.path().with_extension("new");
        fs::create_dir(&new).unwrap();
        folder(0o500).unwrap();
        for _ in 0..2 {
            let done = disk.write(&book);
            assert!(done.is_err());
            disk.tell(&shared, done);
            assert!(disk.told && disk.patience() == Patience::WhateverComes);
            let trouble = shared.kept().trouble.clone().unwrap();
            assert!(trouble.contains("cannot be written"), "{trouble}");
        }
        folder(0o700).unwrap();
        fs::remove_dir(&new).unwrap();
        note(&mut book, 2, State::NotReady);
        let done = disk.write(&book);
        disk.tell(&shared, done);
        assert_eq!((disk.told, shared.kept().trouble.clone()), (false, None));
        assert_eq!(disk.patience(), Patience::UntilNews);
        drop(disk);
        assert_eq!(told(&open(dir.path()).book).len(), 3);
    }

    /// Of another boot nothing but the wall clock tells how long it was.
    #[test]
    fn over_a_boot_the_wall_clock_counts_and_one_that_was_set_back_makes_no_time_negative() {
        for (later, gap) in [(7_000, 7_000), (-3_600_000, 0)] {
            let dir = tempfile::tempdir().unwrap();
            let Opened { mut book, mut disk, .. } = open(dir.path());
            note(&mut book, 10, State::Ready);
            disk.write(&book).unwrap();
            let text = fs::read(disk.path()).unwrap();
            let old = line::read(&text).unwrap().unwrap();
            let alive = old.alive();
            let now = Stamp::new(Duration::from_secs(3));
            let wall = alive.wall.saturating_add_signed(later);
            let mut next = old.go_on("another boot", now, wall);
            assert_eq!(next.clock(now), alive.at + gap, "{later}");
            let at = next.clock(now);
            note(&mut next, at, State::Ready);
            let now = Moment { at, wall };
            let page = Page::of(&next, Wanted::default(), now);
            let lasted: Vec<_> =
                page.changes.iter().filter_map(|change| change.lasted_ms).collect();
            assert_eq!(lasted, [alive.at - 10, gap]);
            assert_eq!(page.services[0].not_recorded_ms, gap);
        }
    }

    /// A thread of its own writes, and the end waits for it.
    #[test]
    fn the_end_has_the_last_changes_written() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { book, disk, .. } = open(dir.path());
        let path = disk.path().to_owned();
        let shared = Arc::new(Shared::default());
        shared.kept().book = book;
        shared.kept().file = Some(path.display().to_string());
        disk.serve(Arc::clone(&shared)).unwrap();
        for at in 0..100 {
            let state = if at % 2 == 0 { State::Ready } else { State::Drain };
            note(&mut shared.kept().book, at, state);
            shared.tell();
        }
        shared.end();
        assert!(shared.kept().written);
        let text = fs::read(path).unwrap();
        let old = line::read(&text).unwrap().unwrap().go_on(BOOT, Clock::Boot.now(), wall());
        assert_eq!(told(&old).len(), MOST_OF_ONE);
    }

    #[test]
    fn the_end_waits_so_long_for_a_disk_that_hangs() {
        let shared = Shared::default();
        // Nobody writes.
        shared.kept().file = Some("history.jsonl".to_owned());
        let began = Clock::Boot.now();
        shared.end();
        let took = Clock::Boot.now().since(began);
        assert!(took >= END_WITHIN && took < 30 * END_WITHIN, "{took:?}");
    }

    #[test]
    fn what_somebody_else_wrote_is_plain_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(1000);
        let text = format!(
            "{}\n{}\n",
            r#"{"run":{"version":1,"boot":"","boot_ms":1,"at":1}}"#,
            serde_json::json!({ "change": { "node": format!("\u{1b}[2J{long}"), "service": long, "at": 5,
                "wall": 5, "to": "ready", "reason": long, "detail": format!("a\nb{long}"), "by": long } })
        );
        fs::write(dir.path().join(NAME), text).unwrap();
        let opened = open(dir.path());
        let track = &opened.book.tracks()[0];
        let cut = |most: usize| most + '…'.len_utf8();
        assert_eq!((track.node.len(), track.service.len()), (cut(MOST_WORD), cut(MOST_WORD)));
        assert!(track.node.starts_with("[2Jxx"), "{}", track.node);
        let What::Said(said) = &track.entries[0].what else { panic!("{track:?}") };
        assert_eq!((said.reason.len(), said.detail.len()), (cut(MOST_WORD), cut(MOST_DETAIL)));
        assert!(said.detail.starts_with("a bx"), "{}", said.detail);
    }
}
