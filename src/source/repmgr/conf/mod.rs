//! repmgr.conf of the own node: how long repmgr waits at least before it promotes another one.
//!
//! repmgrd tries `reconnect_attempts` times and sleeps `reconnect_interval` seconds *between* the
//! attempts (`try_primary_reconnect` in repmgrd-physical.c of 5.3.3; 6 and 10 where they are not set). A
//! server that refuses answers at once, so its patience is `(reconnect_attempts - 1) x reconnect_interval`.
//! With `reconnect_loop_sync` an attempt that was slow shortens the sleep after it, in the worst case to
//! nothing. It is the other nodes' files that count, and this one stands for them: an operator whose
//! files differ sets `failover_after`.

mod syntax;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::look::error::MOST_DETAIL;
use crate::look::repmgr::NodeId;
use crate::look::text;

/// What is read for one repmgr.conf at most, in bytes, with all that it includes; the commented sample
/// that comes with repmgr has some 30,000.
const MOST_BYTES: u64 = 256 * 1024;

/// Files that are read for one repmgr.conf, itself among them.
const MOST_FILES: usize = 64;

/// Entries of a folder that are looked at.
const MOST_ENTRIES: usize = 4096;

/// How deep files may include each other. repmgr's bound is 10, and every include counts twice.
const DEEPEST: usize = 5;

/// `reconnect_attempts` and `reconnect_interval`, in seconds, where they are not set.
const DEFAULTS: (u32, u32) = (6, 10);

/// What it says, where it is node `me`'s file; else why nothing is known, in words for the log. Whatever
/// repmgr 5.3.3 would not start with, or what is not understood here, is nothing known: never a default.
pub fn failover_after(path: &Path, me: NodeId) -> Result<Duration, String> {
    let mut reading = Reading { files: 0, bytes: 0, settings: Vec::new() };
    let read = reading.file(path, 0).and_then(|()| meaning(&reading.settings, me));
    // The names of files stand in a file that others write.
    read.map_err(|why| text::plain(&why, MOST_DETAIL))
}

/// The settings of one text, and what they mean.
#[cfg(fuzzing)]
pub fn of_text(text: &str, me: NodeId) -> Option<(Vec<syntax::Setting>, Result<Duration, String>)> {
    let settings = syntax::settings(text).ok()?;
    let means = meaning(&settings, me);
    Some((settings, means))
}

/// The settings of a file and of those that it includes, in their order.
struct Reading {
    files: usize,
    bytes: u64,
    settings: Vec<syntax::Setting>,
}

impl Reading {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), String> {
        self.files += 1;
        if self.files > MOST_FILES || depth > DEEPEST {
            return Err(format!(
                "more than {MOST_FILES} files are included, or more than {DEEPEST} levels deep"
            ));
        }
        let text = self.contents(path).map_err(|error| unreadable(path, &error))?;
        let settings = syntax::settings(&text).map_err(|line| {
            format!("line {line} of {} is not a setting that repmgr understands", path.display())
        })?;
        for (name, value) in settings {
            match name.to_ascii_lowercase().as_str() {
                // Though repmgr says "skipping" of one that does not exist, it counts as an error
                // (5.2.0 to 5.5.0): repmgrd does not start, and a reload keeps what was before.
                "include" | "include_if_exists" => self.file(&beside(path, &value)?, depth + 1)?,
                "include_dir" => self.folder(&beside(path, &value)?, depth + 1)?,
                _ => self.settings.push((name, value)),
            }
        }
        Ok(())
    }

    /// Every `*.conf` in there by its name, none that is hidden.
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), String> {
        let mut found = Vec::new();
        let failed = |error| unreadable(path, &error);
        for (count, entry) in fs::read_dir(path).map_err(failed)?.enumerate() {
            if count == MOST_ENTRIES {
                return Err(format!("{} has more than {MOST_ENTRIES} entries", path.display()));
            }
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            if name.len() > 5 && name[0] != b'.' && name.ends_with(b".conf") {
                found.push(entry.path());
            }
        }
        found.sort();
        found.retain(|path| !path.is_dir());
        found.iter().try_for_each(|path| self.file(path, depth))
    }

    fn contents(&mut self, path: &Path) -> io::Result<String> {
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut text = Vec::new();
        let left = MOST_BYTES - self.bytes;
        let read = File::open(path)?.take(left + 1).read_to_end(&mut text)? as u64;
        if read > left {
            return Err(io::Error::other("longer than a repmgr.conf can be"));
        }
        self.bytes += read;
        // A comment may be in any encoding; a setting that matters here is in ASCII.
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

/// A file that another one names: relative to the folder of that one. One in an encoding that is not
/// UTF-8 cannot be told from another.
fn beside(path: &Path, named: &str) -> Result<PathBuf, String> {
    if named.trim().is_empty() || named.contains(char::REPLACEMENT_CHARACTER) {
        return Err(format!("{} includes {named:?}, which is not a path", path.display()));
    }
    Ok(path.parent().unwrap_or(Path::new("/")).join(named))
}

/// The least patience that the settings leave; the last one of a name counts, and names are written in
/// lower case, as repmgr compares them.
fn meaning(settings: &[syntax::Setting], me: NodeId) -> Result<Duration, String> {
    let last = |wanted: &str| {
        let mut named = settings.iter().rev().filter(|(name, _)| name == wanted);
        named.next().map(|(_, value)| value.as_str())
    };
    let number = |name: &str, default: u32| match last(name) {
        Some(value) => integer(value).ok_or_else(|| format!("`{name}` is not a number")),
        None => Ok(default),
    };
    if last("node_id").and_then(integer) != u32::try_from(me.0).ok() {
        return Err(format!("is not the repmgr.conf of {me}"));
    }
    let attempts = number("reconnect_attempts", DEFAULTS.0)?;
    let interval = number("reconnect_interval", DEFAULTS.1)?;
    let synchronous = match last("reconnect_loop_sync") {
        Some(value) => truth(value).ok_or("`reconnect_loop_sync` is neither true nor false")?,
        None => false,
    };
    if synchronous {
        return Ok(Duration::ZERO);
    }
    let pauses = u64::from(attempts.saturating_sub(1));
    Ok(Duration::from_secs(pauses * u64::from(interval)))
}

/// As C's `strtol` reads it, which stops where the digits end: "3s" and "2.5" are 3 and 2, and "0x10" is
/// 0, as is nothing at all. There are no units. Below zero is an error of repmgr's.
fn integer(value: &str) -> Option<u32> {
    if value.is_empty() {
        return Some(0);
    }
    let value = value.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let unsigned = value.strip_prefix('+').unwrap_or(value);
    let end = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
    unsigned[..end].parse().ok().filter(|number| *number <= i32::MAX.unsigned_abs())
}

fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "0" | "false" | "off" | "no" => Some(false),
        "1" | "true" | "on" | "yes" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
