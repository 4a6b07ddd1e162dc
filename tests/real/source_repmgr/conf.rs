//! repmgr.conf, put to repmgr itself and to the source: what the one honours the other reads, and of what
//! the one refuses the other knows nothing.
//!
//! No command of repmgr says its `reconnect_interval`. It compares `archive_ready_critical`, a number that
//! is read in the same way, with `archive_ready_warning`, and refuses a file where it is not the greater
//! one: so every setting stands in the file under both names, and two questions tell the number.

use std::fs;
use std::path::Path;

use rolecall::source::RoleSource;

use super::answer;
use super::cluster::Node;
use crate::fixtures::lacks_repmgr;

/// What both make of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// This number, in seconds where it is a time.
    Number(u64),
    /// Nothing of the kind is set: repmgr's defaults.
    Default,
    /// repmgr says that the file is wrong.
    Refused,
}

use Read::{Default, Number, Refused};

/// Files beside one, by name and text.
type Beside = &'static [(&'static str, &'static str)];

/// `archive_ready_critical` and `reconnect_interval` where they are not set.
const DEFAULTS: (u64, u64) = (128, 10);

/// Spellings of a setting `NAME`, and files beside it.
const SPELLINGS: &[(&str, Beside, Read)] = &[
    ("", &[], Default),
    ("NAME=7", &[], Number(7)),
    ("NAME = 7", &[], Number(7)),
    ("NAME 7", &[], Number(7)),
    ("\t NAME\t7\t", &[], Number(7)),
    ("NAME=7\r", &[], Number(7)),
    ("NAME='7'", &[], Number(7)),
    ("NAME=' 7'", &[], Number(7)),
    ("NAME='7''8'", &[], Number(7)),
    ("NAME='\\067'", &[], Number(7)),
    ("NAME='7'# seven", &[], Number(7)),
    ("NAME=7#8", &[], Number(7)),
    ("# NAME=7", &[], Default),
    // No units: the digits count.
    ("NAME=7s", &[], Number(7)),
    ("NAME=7min", &[], Number(7)),
    ("NAME='7 min'", &[], Number(7)),
    ("NAME=7.9", &[], Number(7)),
    ("NAME=+7", &[], Number(7)),
    ("NAME=0007", &[], Number(7)),
    // Another name than this is passed over.
    ("Name=7", &[], Default),
    ("xNAME=7", &[], Default),
    ("x.NAME=7", &[], Default),
    ("\u{feff}NAME=7", &[], Default),
    ("NAME=7\nNAME=8", &[], Number(8)),
    ("NAME=8\nother=x\nNAME 7", &[], Number(7)),
    ("NAME=7\nother=a.b.c", &[], Number(7)),
    ("NAME=7\nother='it\\'s'", &[], Number(7)),
    ("NAME=7\nother='caf\u{e9}' # caf\u{e9}", &[], Number(7)),
    // What is no line of the syntax, and what is no number.
    ("NAME", &[], Refused),
    ("NAME=", &[], Refused),
    ("NAME=7 8", &[], Refused),
    ("NAME==7", &[], Refused),
    ("NAME='7", &[], Refused),
    ("NAME='7' x", &[], Refused),
    ("NAME=7\nother=/etc/x", &[], Refused),
    ("NAME=7\nother=a.b", &[], Refused),
    ("NAME=7\nother-one=1", &[], Refused),
    ("NAME=7\n;", &[], Refused),
    ("NAME=7\n\x0c", &[], Refused),
    ("NAME=many", &[], Refused),
    ("NAME=.7", &[], Refused),
    ("NAME=-7", &[], Refused),
    ("NAME=9999999999", &[], Refused),
    ("NAME=7\nreconnect_loop_sync=perhaps", &[], Refused),
    // Includes.
    ("NAME=7\ninclude 'more'", &[("more", "NAME=9")], Number(9)),
    ("include=more\nNAME=7", &[("more", "NAME=9")], Number(7)),
    ("INCLUDE more", &[("more", "NAME=9")], Number(9)),
    ("include more.conf", &[("more.conf", "NAME=9")], Refused),
    ("include 'more.conf'", &[("more.conf", "NAME=9")], Number(9)),
    ("include 'more'", &[("more", "NAME=9\nNAME='8")], Refused),
    ("NAME=7\ninclude 'none'", &[], Refused),
    ("NAME=7\ninclude_if_exists 'more'", &[("more", "NAME=9")], Number(9)),
    ("NAME=7\ninclude_if_exists 'none'", &[], Refused),
    ("include 'a/1'", &[("a/1", "include '2'"), ("a/2", "NAME=9"), ("2", "NAME=8")], Number(9)),
    ("include 'repmgr.conf'", &[], Refused),
    (
        "NAME=7\ninclude_dir 'd'",
        &[
            ("d/20.conf", "NAME=9"),
            ("d/10.conf", "NAME=8"),
            ("d/.30.conf", "NAME=10"),
            ("d/40.sample", "NAME=11"),
            ("d/50.conf/x.conf", "NAME=12"),
        ],
        Number(9),
    ),
    ("NAME=7\ninclude_dir 'none'", &[], Refused),
    ("NAME=7\ninclude_dir ''", &[], Refused),
    (
        "include '1'",
        &[
            ("1", "include '2'"),
            ("2", "include '3'"),
            ("3", "include '4'"),
            ("4", "include '5'"),
            ("5", "NAME=9"),
        ],
        Number(9),
    ),
    (
        "include '1'",
        &[
            ("1", "include '2'"),
            ("2", "include '3'"),
            ("3", "include '4'"),
            ("4", "include '5'"),
            ("5", "include '6'"),
            ("6", "NAME=9"),
        ],
        Refused,
    ),
];

/// In the error that tells the number.
const GREATER: &str = "must be greater than";

/// The text with every line that has the setting under both names.
fn twice(text: &str) -> String {
    let each = |line: &str| {
        if !line.contains("NAME") {
            return line.to_owned();
        }
        let names = ["archive_ready_critical", "reconnect_interval"];
        names.map(|name| line.replace("NAME", name)).join("\n")
    };
    text.split('\n').map(each).collect::<Vec<_>>().join("\n")
}

/// repmgr's own reading of a file that it is given with a warning of this number: the errors it finds.
fn errors(node: &Node, file: &Path, text: &str, warning: u64) -> Option<String> {
    fs::write(file, format!("archive_ready_warning={warning}\n{text}")).unwrap();
    let mut repmgr = node.server.program("repmgr");
    let output = repmgr.arg("-f").arg(file).args(["node", "check", "--role"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let wrong = said.contains("errors were found in the configuration file");
    assert!(wrong || said.contains("connection to database failed"), "it read the file: {said}");
    wrong.then_some(said)
}

fn honoured(node: &Node, file: &Path, text: &str, number: u64) -> bool {
    let least = errors(node, file, text, number - 1);
    let most = errors(node, file, text, number);
    least.is_none() && most.is_some_and(|said| said.contains(GREATER))
}

#[tokio::test]
async fn repmgr_conf_says_here_what_it_says_to_repmgr() {
    if lacks_repmgr() {
        return;
    }
    let node = Node::primary();
    node.told(1);
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), open).unwrap();
    // Nobody listens at this port: the file is all that repmgr needs.
    let always = "node_id=1\nnode_name='db1'\nconninfo='host=127.0.0.1 port=1'\n\
                  data_directory='/nonexistent'\nreconnect_attempts=2\n";
    for (at, (spelling, beside, wanted)) in SPELLINGS.iter().enumerate() {
        let folder = folder.path().join(at.to_string());
        for (name, text) in *beside {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, twice(text)).unwrap();
        }
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("repmgr.conf");
        let text = format!("{always}{}", twice(spelling));
        match wanted {
            Number(number) => assert!(honoured(&node, &file, &text, *number), "{spelling:?}"),
            Default => assert!(honoured(&node, &file, &text, DEFAULTS.0), "{spelling:?}"),
            Refused => {
                let said = errors(&node, &file, &text, 1).unwrap_or_default();
                // The file's own errors, beside the one that tells the number.
                let own = |line: &&str| line.starts_with("  ") && !line.contains(GREATER);
                assert!(said.lines().any(|line| own(&line)), "{spelling:?}: {said}");
            }
        }
        let path = file.display();
        node.sql(&format!("UPDATE repmgr.nodes SET config_file = '{path}' WHERE node_id = 1"));
        let seen = node.source_as_postgres().observe().await.unwrap();
        let after = answer(&seen).failover_after.map(|after| after.as_secs());
        let expected = match wanted {
            Number(number) => Some(*number),
            Default => Some(DEFAULTS.1),
            Refused => None,
        };
        assert_eq!(after, expected, "{spelling:?}");
    }
}
