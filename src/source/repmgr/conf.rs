//! repmgr.conf of the own node: how long repmgr waits before it promotes another one.
//!
//! repmgrd tries `reconnect_attempts` times, every `reconnect_interval` seconds (repmgr manual,
//! "Configuration for automatic failover"; 6 and 10 where they are not set). It is the other nodes' files
//! that count, and this one stands for them: an operator whose files differ sets `failover_after`.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use crate::electorate::NodeId;

/// Longest file, in bytes; the commented sample that comes with repmgr has some 30,000.
const MAX_FILE: u64 = 256 * 1024;

/// `reconnect_attempts` and `reconnect_interval`, in seconds, where they are not set.
const DEFAULTS: (u32, u32) = (6, 10);

/// What it says, where it is node `me`'s file; else why nothing is known, in words for the log.
pub fn failover_after(path: &Path, me: NodeId) -> Result<Duration, String> {
    let text = contents(path).map_err(|error| format!("cannot be read: {error}"))?;
    read(&text, me)
}

fn contents(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

fn read(text: &str, me: NodeId) -> Result<Duration, String> {
    let (mut attempts, mut interval) = DEFAULTS;
    let mut id = None;
    for line in text.lines().map(str::trim) {
        let Some((key, value)) = setting(line) else {
            if line.split_whitespace().next().is_some_and(|word| word.starts_with("include")) {
                return Err("includes another file, which is not followed".to_owned());
            }
            continue;
        };
        let into: &mut u32 = match key {
            "node_id" => id.insert(0),
            "reconnect_attempts" => &mut attempts,
            "reconnect_interval" => &mut interval,
            _ => continue,
        };
        *into = value.parse().map_err(|_| format!("`{key}` is not a number"))?;
    }
    if id != u32::try_from(me.0).ok() {
        return Err(format!("is not the file of {me}"));
    }
    Ok(Duration::from_secs(u64::from(attempts) * u64::from(interval)))
}

/// `KEY = VALUE` or `KEY='VALUE'`, with a comment after it or not.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
    let rest = rest.trim();
    let value = match rest.strip_prefix('\'') {
        Some(quoted) => quoted.split('\'').next(),
        None => rest.split('#').next(),
    };
    Some((key.trim(), value?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Result<u64, String> {
        read(text, NodeId(2)).map(|after| after.as_secs())
    }

    #[test]
    fn attempts_times_interval_with_repmgrs_own_defaults() {
        for (text, wanted) in [
            ("node_id=2", 60),
            ("node_id = 2\nreconnect_attempts = 3", 30),
            ("# reconnect_attempts=1\nnode_id='2' # db2\nreconnect_interval='4'", 24),
            ("reconnect_attempts=2\nreconnect_interval=5 # quick\n\n  node_id  =  2  ", 10),
            ("node_id=2\nreconnect_attempts=2\nreconnect_attempts=4", 40),
            ("node_id=2\nconninfo='host=db2 user=repmgr'\nreconnect_attempts=0", 0),
        ] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_trusted_says_nothing() {
        for (text, wanted) in [
            ("", "is not the file of node 2"),
            ("node_id=3", "is not the file of node 2"),
            ("node_id=2\nreconnect_attempts=many", "`reconnect_attempts` is not a number"),
            ("node_id=2\nreconnect_interval=-1", "`reconnect_interval` is not a number"),
            ("node_id=2\ninclude_dir 'conf.d'", "includes another file, which is not followed"),
            ("node_id=2\ninclude 'more.conf'", "includes another file, which is not followed"),
        ] {
            assert_eq!(seconds(text), Err(wanted.to_owned()), "{text}");
        }
        let missing = failover_after(Path::new("/nonexistent/repmgr.conf"), NodeId(2));
        assert!(missing.unwrap_err().starts_with("cannot be read"));
        assert!(failover_after(Path::new("/dev/zero"), NodeId(2)).is_err(), "no device is read");
    }
}
