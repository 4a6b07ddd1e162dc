//! What is refused, in which words, and what is warned of.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use rolecall::config::document::Problem;
use rolecall::config::schema::{DEFAULT_PATH, Flags, MAX_FILE, load, read};
use rolecall::config::warning::Warning;
use rolecall::verdict::state::Word;

use super::{FULL, PACKAGED, accepted, printed, refused};

/// Each `bad/NAME.toml` is refused with the very words of `bad/NAME.txt`.
#[test]
fn every_problem_is_named_with_its_place_and_remedy() {
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config/bad");
    let files = fs::read_dir(bad).expect("the bad files").map(|entry| entry.expect("one").path());
    let files: Vec<PathBuf> =
        files.filter(|f| f.extension().is_some_and(|e| e == "toml")).collect();
    assert_eq!(files.len(), 29);
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let text = fs::read_to_string(&path).expect(name);
        let wanted = fs::read_to_string(path.with_extension("txt")).expect(name);
        let problems = read(name, &text, &Flags::default(), None).expect_err(name);
        assert_eq!(printed(&problems), wanted, "{name}");
        assert!(!wanted.contains("hunter2"), "{name}: a secret was repeated");
    }
}

/// Of two places of a password one would be used without anybody being told which.
#[test]
fn a_password_has_one_place() {
    for (conninfo, key) in [
        ("password=hunter2", "passfile = \"/p\""),
        ("password=hunter2", "password_credential = \"pg\""),
        ("passfile=/q", "passfile = \"/p\""),
        ("passfile=/q", "password_credential = \"pg\""),
    ] {
        let text =
            format!("[source]\nkind = \"postgres\"\nconninfo = \"host=db1 {conninfo}\"\n{key}\n");
        let problems = printed(&refused(&text, &Flags::default()));
        let within = conninfo.split('=').next().unwrap();
        assert!(
            problems.contains(&format!("is set, but `conninfo` contains `{within}` too")),
            "{problems}"
        );
        assert!(problems.contains("test.toml:4") && !problems.contains("hunter2"), "{problems}");
    }
}

/// Of several hosts of a source the first is the one that is acted at.
#[test]
fn sessions_are_ended_at_one_host() {
    let text = |fence: &str| {
        format!(
            "[source]\nkind = \"postgres\"\nconninfo = \"host=/run/postgresql,127.0.0.1 user=u\"\n[[service]]\n\
             name = \"primary\"\nroles = [\"primary\"]\nlisten = \"5555\"\n[fence]\nroles = [\"app\"]\n{fence}"
        )
    };
    let loaded = read("test.toml", &text(""), &Flags::default(), None).expect("accepted");
    let fence = loaded.config.fence.expect("a fence");
    assert_eq!(fence.server.conninfo.places().count(), 1);
    let problems =
        refused(&text("conninfo = \"host=/run/postgresql,127.0.0.1 user=u\"\n"), &Flags::default());
    assert!(printed(&problems).contains("contains several hosts"), "{}", printed(&problems));
}

#[test]
fn a_bad_connection_string_is_reported_at_its_line() {
    let problems =
        refused("[source]\nkind = \"postgres\"\nconninfo = \"nonsense\"", &Flags::default());
    let [problem] = &problems[..] else { panic!("{}", printed(&problems)) };
    assert_eq!((problem.line, problem.key.as_str()), (Some(3), "source.conninfo"));
}

/// The kind of F8 and F14: whatever is asked for and cannot be honoured is named when the file is read.
#[test]
fn what_cannot_be_honoured_is_named_when_the_file_is_read() {
    let said = |text: &str| printed(&refused(text, &Flags::default()));
    let old = said("[haproxy]\nversion = \"2.4\"\n");
    assert!(old.contains("HAProxy 2.4 is too old") && old.contains("2.6 or newer"), "{old}");
    let bare = said("[source]\nkind = \"patroni\"\nurl = \"http://fd00::1:8008\"\n");
    assert!(bare.contains("http://[fd00::1]:8008"), "{bare}");
    let many = said(
        "[source]\nkind = \"postgres\"\nconninfo = \"host=a,b sslcrl=/x target_session_attrs=primary\"\n",
    );
    for named in ["expected any;", "`sslcrl`", "`target_session_attrs`"] {
        assert!(many.contains(named), "{named}: {many}");
    }
}

/// A service file of the host serves the `conninfo` that an operator wrote.
#[test]
fn a_service_is_honoured_in_the_configuration() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "[db]\nhost=db1\nuser=rolecall\ndbname=postgres\n").expect("written");
    let conninfo = format!("service=db servicefile={} sslmode=require", file.path().display());
    let text = format!("[source]\nkind = \"postgres\"\nconninfo = \"{conninfo}\"\n");
    let shown = format!("{:?}", accepted(&text).config);
    assert!(shown.contains("db1") && shown.contains("rolecall"), "{shown}");
}

/// The last value that is taken of each number with a bound that no other table has, and the first that
/// is not.
#[test]
fn a_value_is_taken_up_to_its_bound() {
    let source = "[source]\nkind = \"patroni\"\n";
    let service = "[[service]]\nname = \"replica\"\nroles = [\"replica\"]\nlisten = \"5556\"\n";
    for (before, value, more, over) in [
        ("[haproxy]\ncheck_fall = ", "1000", "1001", "`1001` is out of range"),
        ("max_lag_time = ", "\"86400s\"", "\"86401s\"", "`86401s` is out of range"),
    ] {
        let text = |value: &str| match before.strip_prefix("max_lag") {
            Some(_) => format!(
                "[source]\nkind = \"postgres\"\nconninfo = \"host=db1\"\n{service}{before}{value}\n"
            ),
            None => format!("{before}{value}\n{source}{service}"),
        };
        assert!(!said(&text(value)).contains("out of range"), "{}", said(&text(value)));
        assert!(said(&text(more)).contains(over), "{}", said(&text(more)));
    }
    // Of a long value the beginning is shown.
    let long = "x".repeat(1000);
    let said = said(&format!("[source]\nkind = \"{long}\"\n"));
    assert!(said.contains(&"x".repeat(50)) && !said.contains(&"x".repeat(61)), "{said}");
}

/// What is said of a configuration that may be refused.
fn said(text: &str) -> String {
    read("test.toml", text, &Flags::default(), None).map_or_else(|p| printed(&p), |_| String::new())
}

#[test]
fn a_long_list_of_problems_is_cut() {
    let keys: Vec<String> = (0..250).map(|n| format!("key_{n} = 1")).collect();
    let problems = refused(&keys.join("\n"), &Flags::default());
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[100].fault.what, "150 more problems are not shown");
}

#[test]
fn what_may_surprise_is_said() {
    let postgres = "[[source]]\nkind = \"postgres\"\nconninfo = \"host=/run/postgresql\"\n";
    let patroni = "[[source]]\nkind = \"patroni\"\n";
    let fixed = "[[source]]\nkind = \"static\"\nrole = \"primary\"\n";
    // What the network may do is another table's, in exposure.rs.
    let verified = "sslmode=verify-full sslrootcert=system";
    let repmgr = format!("[[source]]\nkind = \"repmgr\"\nconninfo = \"host=db1 {verified}\"\n");
    // Open to nobody else.
    let key = tempfile::NamedTempFile::new().expect("a file");
    let key_file = format!("release_key_file = {:?}\n", key.path());
    let patient = format!("{repmgr}failover_after = \"1m\"\n");
    let reads = "[[service]]\nname = \"a\"\nroles = [\"replica\"]\nlisten = \"5556\"\n";
    let last = reads.replace("\"5556\"", "\"5556\"\non_stop = \"drain\"");
    let (slow, word) = (
        |inter: &str| format!("[haproxy]\nagent_inter = \"{inter}\"\n{postgres}{last}"),
        || Warning::LastWord { service: "a".to_owned(), word: Word::Drain },
    );
    let short = |inter| Warning::ShortLastWord {
        service: "a".to_owned(),
        lasts: Duration::from_secs(60),
        inter: Duration::from_secs(inter),
    };
    assert_eq!(
        short(31).to_string(),
        "service a: the answer of `on_stop` is given for 1 min, which is less than 2 x agent_inter (1 min 2 s): HAProxy asks \
         every 31 s and may miss it"
    );
    for (text, warnings) in [
        (postgres.to_owned(), vec![Warning::PostgresAlone]),
        (slow("30s"), vec![word()]),
        (slow("31s"), vec![short(31), word()]),
        (slow("31s") + "stop_for = \"60s\"", vec![short(31), word()]),
        (slow("31s") + "stop_for = \"31s\"", vec![word()]),
        (slow("90s"), vec![short(90), word()]),
        ([postgres, postgres].concat(), vec![Warning::PostgresAlone]),
        ([postgres, patroni].concat(), vec![]),
        ([postgres, reads].concat(), vec![]),
        ([postgres, fixed].concat(), vec![Warning::StaticRole]),
        (fixed.to_owned(), vec![Warning::StaticRole]),
        (patroni.to_owned(), vec![]),
        (repmgr.clone(), vec![Warning::NoFailoverAfter, Warning::NoRelease]),
        ([&*repmgr, reads].concat(), vec![]),
        (patient.clone(), vec![Warning::NoRelease]),
        ([&*patient, &*key_file].concat(), vec![Warning::ReleaseUnheard]),
        ([&*patient, &*key_file, "[http]\nlisten = \"5580\""].concat(), vec![]),
        (
            "[haproxy]\nagent_inter = \"499ms\"".to_owned(),
            vec![Warning::ShortFall { span: Duration::from_millis(998) }],
        ),
        ("[haproxy]\nagent_inter = \"500ms\"".to_owned(), vec![]),
        (
            [patroni, "hold = \"2s\"\ntimeout = \"1501ms\""].concat(),
            vec![Warning::ShortMemory {
                kind: "patroni",
                memory: Duration::from_millis(2001),
                timeout: Duration::from_millis(1501),
            }],
        ),
        ([patroni, "hold = \"27s\""].concat(), vec![]),
        (
            [patroni, "hold = \"27001ms\""].concat(),
            vec![Warning::LongHold {
                hold: Duration::from_millis(27_001),
                most: Duration::from_secs(27),
            }],
        ),
        (
            [patroni, &reads.replace("\"5556\"", "\"5556\"\non_stop = \"maint\"")].concat(),
            vec![Warning::LastWord { service: "a".to_owned(), word: Word::Maint }],
        ),
        (
            "[[source]]\nkind = \"command\"\ncommand = [\"/nowhere/role\"]".to_owned(),
            vec![Warning::NoFile { key: "command", path: "/nowhere/role".into() }],
        ),
    ] {
        let said = accepted(&text).warnings;
        assert_eq!(said, warnings, "{text}");
        assert!(said.iter().all(|w| !w.to_string().is_empty() && !w.hint().is_empty()));
    }
}

fn load_refused(path: &Path) -> Problem {
    let mut problems = load(Some(path), &Flags::default(), None).expect_err("a problem");
    assert_eq!(problems.len(), 1, "{}", printed(&problems));
    let problem = problems.remove(0);
    assert_eq!(problem.file, path.to_str().expect("UTF-8"));
    problem
}

#[test]
fn a_named_file_must_be_there_and_readable() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("rolecall.toml");
    assert!(load_refused(&file).fault.what.contains("No such file"));
    assert!(load_refused(dir.path()).fault.what.contains("not a regular file"));

    fs::write(&file, b"[log]\n# caf\xE9\n").expect("written");
    let problem = load_refused(&file);
    assert_eq!((problem.line, problem.fault.what.as_str()), (Some(2), "is not UTF-8"));

    let longest = usize::try_from(MAX_FILE).expect("a size");
    fs::write(&file, "#".repeat(longest + 1)).expect("written");
    assert!(load_refused(&file).fault.what.contains("longer than"));
    fs::write(&file, "#".repeat(longest)).expect("written");
    assert_eq!(load(Some(&file), &Flags::default(), None), Ok(accepted("")));

    fs::write(&file, FULL).expect("written");
    assert_eq!(load(Some(&file), &Flags::default(), None), Ok(accepted(FULL)));
}

#[test]
fn without_a_named_file_the_default_one_is_read_if_it_is_there() {
    let flags = Flags { role: Some("primary".to_owned()), ..Flags::default() };
    let wanted = if Path::new(DEFAULT_PATH).exists() {
        load(Some(Path::new(DEFAULT_PATH)), &flags, None)
    } else {
        read(DEFAULT_PATH, "", &flags, None)
    };
    assert_eq!(load(None, &flags, None), wanted);
}

/// Reads the text and holds every problem to its form.
fn survives(text: &str) {
    if let Err(problems) = read("test.toml", text, &Flags::default(), None) {
        assert!(!problems.is_empty(), "refused without a word: {text:?}");
        let lines = 1 + text.matches('\n').count();
        for problem in problems {
            assert!(problem.line.is_some_and(|line| (1..=lines).contains(&line)), "{problem}");
            let shown = problem.to_string();
            assert_eq!(shown.lines().count(), 3, "{shown}");
            assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn any_text_of_tomls_own_signs_is_read_or_refused(
        text in "([\\[\\]{}=\",.#\\n \\\\']|source|service|listen|[a-z0-9µ]|\"5555\"|\"1s\")*"
    ) {
        survives(&text);
    }

    /// A good file with a few places overwritten, one of them by a whole piece of another kind.
    #[test]
    fn a_damaged_file_is_read_or_refused(
        packaged in any::<bool>(),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0..6_usize, ".{0,4}"), 1..6),
        piece in proptest::sample::select(
            &["[[source]]\n", "{", "\"", "\"\"\"", "[", "]", " = ", "5", "true", "[node]\n", "\0"][..]
        ),
        at in any::<prop::sample::Index>(),
    ) {
        let mut text: Vec<char> = if packaged { PACKAGED } else { FULL }.chars().collect();
        for (start, len, with) in cuts {
            let start = start.index(text.len());
            let end = (start + len).min(text.len());
            text.splice(start..end, with.chars());
        }
        let at = at.index(text.len());
        text.splice(at..at, piece.chars());
        survives(&text.into_iter().collect::<String>());
    }
}
