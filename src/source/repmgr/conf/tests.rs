//! repmgr.conf, read as repmgr reads it; `tests/real/source_repmgr/conf.rs` compares the two.

use super::*;
use crate::look::error::MOST_DETAIL;

/// The patience by a file of node 2 with files beside it, in seconds, or why it is not known.
fn seconds(text: &str) -> Result<u64, String> {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    put("repmgr.conf", text);
    put("more.conf", "reconnect_attempts 2\nreconnect_interval 7");
    for folder in ["conf.d", "conf.d/50.conf", "deep", "empty", "nested"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    put("conf.d/20.conf", "reconnect_attempts=3");
    put("conf.d/10.conf", "reconnect_attempts=9");
    put("conf.d/.30.conf", "reconnect_attempts=4");
    put("conf.d/40.sample", "reconnect_attempts=4");
    put("deep/1", "include '2'");
    put("deep/2", "reconnect_attempts 2");
    put("loop.conf", "include 'loop.conf'");
    put("long.conf", &"# \n".repeat(100_000));
    for from in 1..=6 {
        put(&format!("deep{from}"), &format!("include 'deep{}'", from + 1));
    }
    put("deep7", "reconnect_attempts=2");
    put("nested/1.conf", "include '../deep3'");
    let at = format!("{}/", dir.path().display());
    let read = failover_after(&dir.path().join("repmgr.conf"), NodeId(2));
    read.map(|after| after.as_secs()).map_err(|why| why.replace(&at, ""))
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
        ("node_id=2\nreconnect_attempts=''", 0),
        // The sleep is what is left of an interval, which may be nothing.
        ("node_id=2\nreconnect_loop_sync=true", 0),
        ("node_id=2\nreconnect_loop_sync off", 50),
        // Names are compared letter by letter: this one is another.
        ("node_id=2\nRECONNECT_ATTEMPTS=1", 50),
    ] {
        assert_eq!(seconds(text), Ok(wanted), "{text}");
    }
}

#[test]
fn what_it_includes_is_read_where_it_stands() {
    for (text, wanted) in [
        ("include 'more.conf'", 7),
        ("INCLUDE 'more.conf'\nreconnect_interval 9", 9),
        ("reconnect_interval 9\ninclude = 'more.conf'", 7),
        ("include_if_exists 'more.conf'", 7),
        ("include_dir 'conf.d'", 20),
        ("include_dir empty", 50),
        // Relative to the file that includes it.
        ("include 'deep/1'", 10),
        ("include 'deep3'", 10),
    ] {
        assert_eq!(seconds(&format!("node_id=2\n{text}")), Ok(wanted), "{text}");
    }
}

#[test]
fn what_cannot_be_trusted_says_nothing() {
    for (text, wanted) in [
        ("", "is not the repmgr.conf of node 2"),
        ("node_id=3", "is not the repmgr.conf of node 2"),
        ("node_id=2\nreconnect_attempts=many", "`reconnect_attempts` is not a number"),
        ("node_id=2\nreconnect_attempts=' '", "`reconnect_attempts` is not a number"),
        ("node_id=2\nreconnect_interval=-1", "`reconnect_interval` is not a number"),
        ("node_id=2\nreconnect_attempts=9999999999", "`reconnect_attempts` is not a number"),
        ("node_id=2\nreconnect_loop_sync=2", "`reconnect_loop_sync` is neither true nor false"),
        ("node_id=2\na b c", "line 2 of repmgr.conf is not a setting that repmgr understands"),
        (
            "node_id=2\ninclude more.conf",
            "line 2 of repmgr.conf is not a setting that repmgr understands",
        ),
        (
            "node_id=2\ninclude 'loop.conf'",
            "more than 64 files are included, or more than 5 levels deep",
        ),
        (
            "node_id=2\ninclude 'deep2'",
            "more than 64 files are included, or more than 5 levels deep",
        ),
        // What a folder holds is as deep as what a file includes.
        (
            "node_id=2\ninclude_dir 'nested'",
            "more than 64 files are included, or more than 5 levels deep",
        ),
        ("node_id=2\ninclude ''", "repmgr.conf includes \"\", which is not a path"),
        ("node_id=2\ninclude_dir ' '", "repmgr.conf includes \" \", which is not a path"),
        (
            "node_id=2\ninclude 'long.conf'",
            "long.conf cannot be read: longer than a repmgr.conf can be",
        ),
        ("node_id=2\ninclude conf", "conf cannot be read: No such file or directory (os error 2)"),
        (
            // repmgr 5.3.3 refuses this, too.
            "node_id=2\ninclude_if_exists conf",
            "conf cannot be read: No such file or directory (os error 2)",
        ),
        (
            "node_id=2\ninclude_dir none",
            "none cannot be read: No such file or directory (os error 2)",
        ),
        ("node_id=2\ninclude deep", "deep cannot be read: not a regular file"),
    ] {
        assert_eq!(seconds(text), Err(wanted.to_owned()), "{text}");
    }
    let missing = failover_after(Path::new("/nonexistent/repmgr.conf"), NodeId(2));
    assert!(missing.unwrap_err().contains("cannot be read"));
    assert!(failover_after(Path::new("/dev/zero"), NodeId(2)).is_err(), "no device is read");
}

#[test]
fn a_name_in_another_encoding_is_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("repmgr.conf");
    fs::write(&file, b"# caf\xe9\nnode_id=2\nnode_name='caf\xe9'\n").unwrap();
    assert_eq!(failover_after(&file, NodeId(2)), Ok(Duration::from_secs(50)));
    fs::write(&file, b"node_id=2\ninclude 'caf\xe9'\n").unwrap();
    assert!(failover_after(&file, NodeId(2)).unwrap_err().contains("which is not a path"));
}

#[test]
fn a_folder_of_very_many_entries_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("repmgr.conf");
    fs::write(&file, "node_id=2\ninclude_dir 'd'\n").unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    for number in 0..MOST_ENTRIES {
        fs::write(dir.path().join(format!("d/{number}")), "").unwrap();
    }
    assert!(failover_after(&file, NodeId(2)).is_ok());
    fs::write(dir.path().join("d/more"), "").unwrap();
    let why = failover_after(&file, NodeId(2)).unwrap_err();
    assert!(why.contains("more than 4096 entries"), "{why}");
}

/// 64 files, the first one among them, and no more.
#[test]
fn a_folder_without_end_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("repmgr.conf");
    fs::write(&file, "node_id=2\ninclude_dir 'd'\n").unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let put = |number: usize| fs::write(dir.path().join(format!("d/{number}.conf")), "").unwrap();
    (1..MOST_FILES).for_each(put);
    assert_eq!(failover_after(&file, NodeId(2)), Ok(Duration::from_secs(50)));
    put(MOST_FILES);
    assert!(failover_after(&file, NodeId(2)).unwrap_err().contains("more than 64 files"));
}

/// The bound is one for all files together, to the byte.
#[test]
fn what_is_longer_than_any_repmgr_conf_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("repmgr.conf");
    let text = "node_id=2\ninclude 'one'\ninclude 'other'\n";
    fs::write(&file, text).unwrap();
    let most = usize::try_from(MOST_BYTES).unwrap();
    let comment = |bytes: usize| "#".repeat(bytes);
    fs::write(dir.path().join("one"), comment(most / 2)).unwrap();
    for (more, good) in [(0, true), (1, false)] {
        let rest = most - most / 2 - text.len() + more;
        fs::write(dir.path().join("other"), comment(rest)).unwrap();
        assert_eq!(failover_after(&file, NodeId(2)).is_ok(), good, "{more} more");
    }
}

#[test]
fn the_name_of_a_file_that_cannot_be_read_forges_no_line() {
    let long = "a".repeat(5000);
    for name in ["a\\nb", "\\033[31m", "a\u{202e}b", long.as_str()] {
        let why = seconds(&format!("node_id=2\ninclude '{name}'")).unwrap_err();
        assert!(text::is_plain(&why), "{why:?}");
        assert!(why.len() <= MOST_DETAIL + '…'.len_utf8(), "{} bytes", why.len());
    }
}
