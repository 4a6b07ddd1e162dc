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

use crate::electorate::NodeId;

/// Longest file, in bytes; the commented sample that comes with repmgr has some 30,000.
const MAX_FILE: u64 = 256 * 1024;

/// Files that are read for one repmgr.conf, itself among them.
const MOST_FILES: usize = 64;

/// How deep files may include each other: repmgr's own bound.
const DEEPEST: usize = 10;

/// `reconnect_attempts` and `reconnect_interval`, in seconds, where they are not set.
const DEFAULTS: (u32, u32) = (6, 10);

/// What it says, where it is node `me`'s file; else why nothing is known, in words for the log.
pub fn failover_after(path: &Path, me: NodeId) -> Result<Duration, String> {
    let mut read = Reading { files: 0, settings: Vec::new() };
    read.file(path, 0)?;
    meaning(&read.settings, me)
}

/// The settings of a file and of those that it includes, in their order.
struct Reading {
    files: usize,
    settings: Vec<syntax::Setting>,
}

impl Reading {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), String> {
        self.files += 1;
        if self.files > MOST_FILES || depth > DEEPEST {
            return Err(format!("more than {MOST_FILES} files, or {DEEPEST} deep, are included"));
        }
        let shown = path.display();
        let text = contents(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        let settings = syntax::settings(&text)
            .map_err(|line| format!("line {line} of {shown} is no setting as repmgr reads them"))?;
        for (name, value) in settings {
            let at = path.parent().unwrap_or(Path::new("/")).join(&value);
            match name.to_ascii_lowercase().as_str() {
                "include" => self.file(&at, depth + 1)?,
                // One that is there and cannot be read is passed over by repmgr, too.
                "include_if_exists" if contents(&at).is_err() => {}
                "include_if_exists" => self.file(&at, depth + 1)?,
                "include_dir" => self.folder(&at, depth + 1)?,
                _ => self.settings.push((name, value)),
            }
        }
        Ok(())
    }

    /// Every `*.conf` in there by its name, none that is hidden.
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), String> {
        let unreadable = |error: io::Error| format!("{} cannot be read: {error}", path.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)?.take(MOST_FILES * MOST_FILES) {
            let path: PathBuf = entry.map_err(unreadable)?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let fits =
                |name: String| name.len() > 5 && !name.starts_with('.') && name.ends_with(".conf");
            if name.is_some_and(fits) && !path.is_dir() {
                found.push(path);
            }
        }
        found.sort();
        found.iter().try_for_each(|path| self.file(path, depth))
    }
}

fn contents(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other("longer than a repmgr.conf is"));
    }
    // A comment may be in any encoding; a setting that matters here is in ASCII.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The least patience that the settings leave; the last one of a name counts, and names are written in
/// lower case, as repmgr compares them.
fn meaning(settings: &[syntax::Setting], me: NodeId) -> Result<Duration, String> {
    let last = |wanted: &str| {
        let mut named = settings.iter().rev().filter(|(name, _)| name == wanted);
        named.next().map(|(_, value)| value.as_str())
    };
    let number = |name: &str, default: u32| match last(name) {
        Some(value) => integer(value).ok_or_else(|| format!("`{name}` is no number")),
        None => Ok(default),
    };
    if last("node_id").and_then(integer) != u32::try_from(me.0).ok() {
        return Err(format!("is not the file of {me}"));
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
/// 0. Below zero is an error of repmgr's.
fn integer(value: &str) -> Option<u32> {
    let value = value.trim_start();
    if value.is_empty() {
        return Some(0);
    }
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
mod tests {
    use super::*;

    fn seconds(text: &str) -> Result<u64, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("repmgr.conf");
        fs::write(&file, text).unwrap();
        fs::write(dir.path().join("more.conf"), "reconnect_attempts 2\nreconnect_interval 7")
            .unwrap();
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        fs::write(dir.path().join("conf.d/20.conf"), "reconnect_attempts=3").unwrap();
        fs::write(dir.path().join("conf.d/10.conf"), "reconnect_attempts=9").unwrap();
        fs::write(dir.path().join("conf.d/.30.conf"), "reconnect_attempts=4").unwrap();
        fs::write(dir.path().join("conf.d/40.sample"), "reconnect_attempts=4").unwrap();
        fs::write(dir.path().join("loop.conf"), "include loop.conf").unwrap();
        let at = dir.path().display().to_string();
        let read = failover_after(&file, NodeId(2)).map(|after| after.as_secs());
        read.map_err(|why| why.replace(&format!("{at}/"), ""))
    }

    #[test]
    fn repmgrd_sleeps_between_the_attempts() {
        for (text, wanted) in [
            ("node_id=2", 50),
            ("node_id = 2\nreconnect_attempts = 3", 20),
            ("# reconnect_attempts=1\nnode_id='2' # db2\nreconnect_interval='4'", 20),
            ("reconnect_attempts=2\nreconnect_interval=5 # quick\n\n  node_id  =  2  ", 5),
            ("node_id=2\nreconnect_attempts=2\nreconnect_attempts=4", 30),
            ("node_id=2\nconninfo='host=db2 user=repmgr'\nreconnect_attempts=0", 0),
            ("node_id=2\nreconnect_attempts=1\nreconnect_interval=15", 0),
            // Without `=`, as PostgreSQL lets it be.
            ("node_id 2\nreconnect_attempts 1", 0),
            ("node_id=2\nreconnect_attempts=3s", 20),
            ("node_id=2\nreconnect_loop_sync=true", 0),
            ("node_id=2\nreconnect_loop_sync off", 50),
            // Names are compared letter by letter: this one is another.
            ("node_id=2\nRECONNECT_ATTEMPTS=1", 50),
            ("node_id=2\ninclude 'more.conf'", 7),
            ("node_id=2\nINCLUDE more.conf\nreconnect_interval 9", 9),
            ("node_id=2\ninclude_if_exists 'none.conf'", 50),
            ("node_id=2\ninclude_if_exists 'more.conf'", 7),
            ("node_id=2\ninclude_dir 'conf.d'", 20),
        ] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_trusted_says_nothing() {
        for (text, wanted) in [
            ("", "is not the file of node 2"),
            ("node_id=3", "is not the file of node 2"),
            ("node_id=2\nreconnect_attempts=many", "`reconnect_attempts` is no number"),
            ("node_id=2\nreconnect_interval=-1", "`reconnect_interval` is no number"),
            ("node_id=2\nreconnect_attempts=9999999999", "`reconnect_attempts` is no number"),
            ("node_id=2\nreconnect_loop_sync=2", "`reconnect_loop_sync` is neither true nor false"),
            ("node_id=2\na b c", "line 2 of repmgr.conf is no setting as repmgr reads them"),
            ("node_id=2\ninclude 'loop.conf'", "more than 64 files, or 10 deep, are included"),
        ] {
            assert_eq!(seconds(text), Err(wanted.to_owned()), "{text}");
        }
        assert!(seconds("node_id=2\ninclude 'none.conf'").unwrap_err().contains("cannot be read"));
        let missing = failover_after(Path::new("/nonexistent/repmgr.conf"), NodeId(2));
        assert!(missing.unwrap_err().contains("cannot be read"));
        assert!(failover_after(Path::new("/dev/zero"), NodeId(2)).is_err(), "no device is read");
    }
}
