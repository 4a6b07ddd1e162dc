//! The example of docs/sources.md: its code is the code here, and it does what the page says.

mod role_file;
mod source;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rolecall::config::Rhythm;
use rolecall::config::document::{Document, Table};
use rolecall::host::clock::Clock;
use rolecall::look::error::ErrorKind;
use rolecall::look::observation::Observation;
use rolecall::look::role::Role;
use rolecall::source::Source;
use rolecall::watch::poller::{self, Poked, PollerId};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use role_file::RoleFile;

/// No test waits longer for what must happen.
const SOON: Duration = Duration::from_secs(10);

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The blocks of Rust of the page, each with the file that the line before it names.
fn blocks(page: &str) -> Vec<(String, String)> {
    let parts = page.split("\n```rust\n").collect::<Vec<_>>();
    let pairs = parts.windows(2).map(|pair| {
        let above = pair[0].lines().rev().find(|line| !line.is_empty()).unwrap_or_default();
        let named = above.split('`').find(|part| part.starts_with("src/")).unwrap_or_default();
        (named.to_owned(), pair[1].split("```").next().unwrap_or_default().to_owned())
    });
    pairs.collect()
}

#[test]
fn the_code_of_the_page_is_the_code_that_is_tried_here() {
    let page = file("docs/sources.md");
    let blocks = blocks(&page);
    let block = |of: &str| {
        let mut found = blocks.iter().filter(|(file, _)| file == of);
        let (_, code) = found.next().unwrap_or_else(|| panic!("no block of {of} in the page"));
        code.as_str()
    };
    for (shown, tried) in [
        ("src/config/kind/role_file.rs", "tests/unit/example/role_file.rs"),
        ("src/source/role_file.rs", "tests/unit/example/source.rs"),
    ] {
        let here = file(tried).replace("super::role_file", "crate::config::kind::role_file");
        assert_eq!(block(shown), here.replace("rolecall::", "crate::"), "{tried}");
    }
    // What is added to a registry is what kind `tcp` has there.
    for registry in ["src/config/kind/mod.rs", "src/config/mod.rs", "src/source/mod.rs"] {
        let code: Vec<String> = file(registry)
            .lines()
            .map(|line| line.trim().replace("(keys, resolver)", "(keys)"))
            .collect();
        let lines: Vec<&str> = block(registry).lines().map(str::trim).collect();
        assert!(!lines.is_empty());
        for line in lines {
            let of_tcp = line.replace("RoleFile", "Tcp").replace("role_file", "tcp");
            let known = of_tcp.starts_with("///") || code.contains(&of_tcp);
            assert!(
                known,
                "{registry} has no line {of_tcp:?}, so the page is wrong about {line:?}"
            );
        }
    }
}

/// What is read of the table of a source, and what is said of it.
fn read(text: &str) -> (Option<RoleFile>, Vec<String>) {
    let document = Document::new("test.toml", text);
    let entries = document.parse().expect("TOML");
    let table = Table::root(&document, &entries);
    let read = role_file::read(&table);
    table.finish();
    let said = document.into_problems().iter().map(ToString::to_string).collect();
    (read, said)
}

#[test]
fn its_key_is_read_and_what_is_wrong_with_it_is_said() {
    let settings = RoleFile { file: "/run/failover/role".into() };
    assert_eq!(read("file = \"/run/failover/role\""), (Some(settings), vec![]));
    let (none, said) = read("");
    assert_eq!(none, None);
    let missing = "test.toml:1: file: missing\n  expected: an absolute path\n  \
                   hint: such as \"/run/failover/role\"";
    assert_eq!(said, [missing]);
    let (none, said) = read("file = \"role\"");
    assert_eq!((none, said.len()), (None, 1));
    assert!(said[0].starts_with("test.toml:1: file: `role` is not an absolute path"), "{said:?}");
}

/// A poller looks at it as at any other source, and each look is about the file as it is then.
#[tokio::test]
async fn a_poller_sees_what_the_file_says() {
    let dir = TempDir::new().unwrap();
    let settings = RoleFile { file: dir.path().join("role") };
    let looks = Source::of(source::RoleFile::new(&settings));
    let rhythm = Rhythm { interval: Duration::from_millis(10), timeout: SOON };
    let (report, mut reports) = mpsc::channel(1);
    let id = PollerId(0);
    let poller =
        poller::run(looks, rhythm, Duration::ZERO, Clock::Boot, id, report, Poked::default());
    let poller = tokio::spawn(poller);
    let primary = Observation::of(Role::Primary);
    let replica = Observation::of(Role::Replica);
    for (written, wanted) in [
        (None, Err(ErrorKind::Credential)),
        (Some("primary\n"), Ok(primary)),
        (Some("replica"), Ok(replica)),
        (Some(" none "), Ok(Observation::no_role())),
        (Some("leader"), Err(ErrorKind::Malformed)),
        (Some(""), Err(ErrorKind::Malformed)),
    ] {
        if let Some(written) = written {
            fs::write(&settings.file, written).unwrap();
        }
        // One look may have begun before the file was written, and another one waits to be taken.
        let seen = async {
            loop {
                let look = reports.recv().await.expect("the poller goes on");
                let seen = look.result.map_err(|error| error.kind);
                if seen == wanted {
                    return;
                }
            }
        };
        timeout(SOON, seen).await.unwrap_or_else(|_| panic!("{written:?} was not seen"));
    }
    poller.abort();
}

#[tokio::test]
async fn a_wrong_word_is_repeated_on_one_line() {
    use rolecall::source::RoleSource as _;

    let dir = TempDir::new().unwrap();
    let settings = RoleFile { file: dir.path().join("role") };
    fs::write(&settings.file, format!("a\u{1b}[2J\n{}", "b".repeat(100))).unwrap();
    let error = source::RoleFile::new(&settings).observe().await.unwrap_err();
    let said = error.to_string();
    assert!(!said.contains(char::is_control) && said.len() < 200, "{said:?}");
    fs::write(&settings.file, "x".repeat(5000)).unwrap();
    let error = source::RoleFile::new(&settings).observe().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credential, "{error}");
}
