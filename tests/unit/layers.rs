//! The folders of src/ stand in the order of the value's way, and imports run one way: a folder names only
//! those that its row here lists, no files import each other in a circle, and what decides knows nothing of the
//! runtime, of I/O or of the clock's reader.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rolecall::config::kind::KINDS;

/// What each folder may name of this crate beside itself: a folder, or one file of it. In the order of lib.rs.
const ROWS: [(&str, &[&str]); 13] = [
    ("look", &[]),
    ("verdict", &["look"]),
    ("reply", &["look", "verdict"]),
    ("facts", &["look", "verdict", "reply"]),
    ("host", &["look"]),
    ("config", &["look", "verdict", "reply", "host"]),
    ("source", &["look", "verdict::policy", "host", "config"]),
    ("report", &["look", "verdict", "reply", "facts", "host"]),
    ("watch", &["look", "verdict", "reply", "facts", "host", "config", "source", "report"]),
    // Both ends of the question between rolecalls are in one file.
    (
        "port",
        &["look", "verdict", "reply", "facts", "host", "config", "source::releasing", "report"],
    ),
    ("control", &["look", "verdict", "facts", "host", "config", "report", "watch"]),
    (
        "daemon",
        &[
            "look",
            "reply::asks",
            "facts",
            "host",
            "config",
            "source",
            "report",
            "watch",
            "port",
            "control",
        ],
    ),
    (
        "cli",
        &[
            "look", "verdict", "reply", "facts", "host", "config", "source", "watch", "control",
            "daemon",
        ],
    ),
];

/// What is decided in these can be tested by values alone.
const PURE: [&str; 4] = ["look", "verdict", "reply", "facts"];

const IMPURE_WORDS: [&str; 8] =
    ["tokio", "std::fs", "TcpListener", "std::io", "std::process", "std::env", "rustix", "reqwest"];

/// What a source may share with others in its folder, and the settings of a kind with others in theirs.
const SHARED_BY_SOURCES: [&str; 11] = [
    "pg",
    "passfile",
    "tls",
    "resolve",
    "dial",
    "stage",
    "web",
    "tcp_port",
    "releasing",
    "members",
    "role_source",
];
const SHARED_BY_SETTINGS: [&str; 1] = ["settings"];

/// Where kinds of source are registered; nobody else knows which there are.
const REGISTRIES: [&str; 2] = ["config::kind", "source"];

/// Lines of the description at the head of a folder.
const DESCRIBED_IN: std::ops::RangeInclusive<usize> = 3..=8;

/// The files of src/ by their modules' names (`watch::keeper::pace`), without comments and tests.
type Files = BTreeMap<String, String>;

fn src() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files() -> Files {
    fn walk(dir: &Path, prefix: &str, out: &mut Files) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                walk(&path, &format!("{prefix}{stem}::"), out);
            // The door of fuzz/ is no part of the program.
            } else if !["lib", "main", "tests", "fuzzing"].contains(&&*stem) {
                let name = match stem.as_str() {
                    "mod" => prefix.trim_end_matches(':').to_owned(),
                    _ => format!("{prefix}{stem}"),
                };
                out.insert(name, code(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut out = Files::new();
    walk(&src(), "", &mut out);
    out
}

fn code(text: &str) -> String {
    let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every path into this crate that the file `of` names, from the crate's root on.
fn named(of: &str, code: &str) -> BTreeSet<String> {
    let above = of.rsplit_once("::").map_or("", |(above, _)| above);
    let from_root = code.split("crate::").skip(1).flat_map(|rest| tree(rest).0);
    let from_above = code.split("super::").skip(1).flat_map(|rest| tree(rest).0);
    let from_above = from_above.map(|path| format!("{above}::{path}"));
    from_root.chain(from_above.filter(|_| !above.is_empty())).collect()
}

/// The paths of a `use` tree, or the one path, that `text` begins with; and what follows it.
fn tree(text: &str) -> (Vec<String>, &str) {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut paths = Vec::new();
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if rest.is_empty() || rest.starts_with('}') {
                return (paths, rest.trim_start_matches('}'));
            }
            let (more, after) = tree(rest);
            // Whatever is no path is passed over, so that this ends for any text.
            rest = if after.len() < rest.len() { after } else { &rest[1..] };
            paths.extend(more);
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match rest.strip_prefix("::") {
        Some(below) if below.starts_with(|c: char| c.is_alphabetic() || "_{".contains(c)) => {
            let (paths, rest) = tree(below);
            (paths.iter().map(|path| format!("{name}::{path}")).collect(), rest)
        }
        _ => (vec![name.to_owned()], rest),
    }
}

/// The file in which what `path` names stands.
fn file_of<'f>(files: &'f Files, path: &str) -> Option<&'f str> {
    let mut path = path;
    loop {
        if let Some((name, _)) = files.get_key_value(path) {
            return Some(name);
        }
        path = path.rsplit_once("::")?.0;
    }
}

fn folder(module: &str) -> &str {
    module.split("::").next().unwrap()
}

/// Whether `path` is `part`, or stands in it.
fn is_in(path: &str, part: &str) -> bool {
    path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What breaks the first rule: a folder that names what its row does not list.
fn against_the_rows(files: &Files) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, code) in files {
        let Some((own, row)) = ROWS.iter().find(|(own, _)| *own == folder(file)) else {
            wrong.push(format!("src/{file} is in no folder of the table"));
            continue;
        };
        for path in named(file, code) {
            let may = is_in(&path, own) || row.iter().any(|part| is_in(&path, part));
            if !may {
                wrong.push(format!("{file} names {path}, which the row of {own} does not list"));
            }
        }
    }
    wrong
}

/// What breaks the third rule: the files that import each other in a circle.
fn circles(files: &Files) -> Vec<String> {
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, code) in files {
        let to = named(file, code);
        let to = to.iter().filter_map(|path| file_of(files, path)).filter(|to| to != file);
        imports.entry(file).or_default().extend(to);
    }
    // What imports nothing that is left is in no circle; what stays is in one, or leads to one.
    loop {
        let ends: Vec<&str> =
            imports.iter().filter(|(_, to)| to.is_empty()).map(|(file, _)| *file).collect();
        if ends.is_empty() {
            break;
        }
        for end in &ends {
            imports.remove(end);
        }
        for to in imports.values_mut() {
            to.retain(|file| !ends.contains(file));
        }
    }
    imports.into_iter().map(|(file, to)| format!("{file} imports {to:?}")).collect()
}

/// What breaks the fourth rule: words of the runtime, of I/O or of the system where it is decided.
fn impure(files: &Files) -> Vec<String> {
    let pure = files.iter().filter(|(file, _)| PURE.contains(&folder(file)));
    let words = pure.flat_map(|(file, code)| {
        let found = IMPURE_WORDS.iter().filter(|word| code.contains(**word));
        found.map(move |word| format!("{file} must not know {word}"))
    });
    words.collect()
}

/// The kinds of source, by the files of their settings; the file or folder of who looks has the same name.
fn kinds(files: &Files) -> Vec<&str> {
    let kinds = files.keys().filter_map(|file| file.strip_prefix("config::kind::"));
    kinds.filter(|kind| !SHARED_BY_SETTINGS.contains(kind)).collect()
}

/// What breaks the fifth rule: a kind of source that names another.
fn kinds_that_name_each_other(files: &Files) -> Vec<String> {
    let kinds = kinds(files);
    let mut wrong = Vec::new();
    for (file, code) in files {
        for (above, shared) in
            [("source::", SHARED_BY_SOURCES.as_slice()), ("config::kind::", &SHARED_BY_SETTINGS)]
        {
            let own = file.strip_prefix(above).map(folder);
            let Some(kind) = own.filter(|own| kinds.contains(own)) else { continue };
            for path in named(file, code) {
                let Some(within) = path.strip_prefix(above).map(folder) else { continue };
                let is_file = within.starts_with(char::is_lowercase);
                if is_file && within != kind && !shared.contains(&within) {
                    wrong.push(format!("{file} names {path}"));
                }
            }
        }
    }
    wrong
}

/// The variants of `Kind`, as its registry has them.
fn variants(files: &Files) -> Vec<&str> {
    let registry = &files["config::kind"];
    let body = registry.split("pub enum Kind {").nth(1).and_then(|rest| rest.split('}').next());
    let lines = body.expect("the enum").lines().map(str::trim);
    lines.filter_map(|line| line.split_once('(').map(|(variant, _)| variant)).collect()
}

/// What breaks the sixth rule: each place outside the registries that names a kind of source by its variant, opens
/// the enum, or compares with the word for a kind.
fn places_that_know_a_kind(files: &Files) -> Vec<String> {
    let variants = variants(files);
    let words: Vec<String> = kinds(files)
        .iter()
        .map(|kind| {
            let settings = &files[&format!("config::kind::{kind}")];
            let word = settings.split("word: ").nth(1).expect("the word of a kind");
            word.split(',').next().unwrap_or_default().to_owned()
        })
        .collect();
    let mut places = Vec::new();
    for (file, code) in files {
        if REGISTRIES.contains(&file.as_str()) {
            continue;
        }
        for line in code.lines() {
            let opens = ["impl Kind", "Kind::*", "use Kind"].iter().any(|way| line.contains(way));
            let names = variants.iter().map(|variant| format!("Kind::{variant}")).any(|name| {
                line.match_indices(&name).any(|(at, _)| {
                    let is_word = |c: char| c.is_alphanumeric() || c == '_';
                    !line[..at].ends_with(is_word) && !line[at + name.len()..].starts_with(is_word)
                })
            });
            let own = file.starts_with("config::kind::");
            let compares = words.iter().any(|word| {
                let ways = [format!("== {word}"), format!("{word} =>"), format!("{word} |")];
                ways.iter().any(|way| line.contains(way))
            });
            if opens || names || (compares && !own) {
                places.push(format!("{file}: {}", line.trim()));
            }
        }
    }
    places
}

/// A change that breaks a rule: one more line in a file.
fn with(file: &str, line: &str) -> Files {
    let mut files = files();
    let code = files.get_mut(file).expect("a file to be broken");
    code.push_str(line);
    files
}

#[test]
fn the_reader_of_imports_sees_them() {
    let code = "use crate::host::clock::{Clock, Stamp};\nlet x = crate::verdict::judge(1);\n\
                use crate::role;\nuse super::pem::{self, Form};";
    let seen: Vec<_> = named("source::tls::key", code).into_iter().collect();
    let expected = [
        "host::clock::Clock",
        "host::clock::Stamp",
        "role",
        "source::tls::pem::Form",
        "source::tls::pem::self",
        "verdict::judge",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn each_folder_names_only_what_its_row_lists() {
    assert_eq!(against_the_rows(&files()), Vec::<String>::new());
    for (file, line) in [
        ("look::role", "use crate::verdict::policy::Policy;"),
        ("verdict::decide", "use crate::facts::Facts;"),
        ("reply::wording", "use crate::host::clock::Clock;"),
        ("source::pg", "use crate::verdict::decide::decide;"),
        ("port::http", "use crate::watch::keeper::Keeper;"),
        ("control::desk", "use crate::port::http::Pages;"),
        ("watch::keeper", "use crate::daemon::run;"),
    ] {
        assert_eq!(against_the_rows(&with(file, line)).len(), 1, "{file}: {line}");
    }
}

/// Every row lists folders above its own, so there is no circle of folders, and lib.rs declares them in this order.
#[test]
fn the_rows_have_no_circle_and_stand_in_the_order_of_lib_rs() {
    for (at, (own, row)) in ROWS.iter().enumerate() {
        for part in *row {
            let above = ROWS[..at].iter().any(|(name, _)| *name == folder(part));
            assert!(above, "{own} lists {part}, which does not stand above it");
        }
    }
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let declared: Vec<_> = declared.filter(|name| *name != "fuzzing").collect();
    assert_eq!(declared, ROWS.map(|(name, _)| name));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    assert_eq!(circles(&files()), Vec::<String>::new());
    let circle = with("look::role", "use crate::look::observation::Observation;");
    assert!(!circles(&circle).is_empty());
}

#[test]
fn what_decides_knows_no_runtime_no_input_and_no_clock() {
    assert_eq!(impure(&files()), Vec::<String>::new());
    for word in IMPURE_WORDS {
        assert_eq!(impure(&with("verdict::decide", word)).len(), 1, "{word}");
    }
}

#[test]
fn no_kind_of_source_names_another() {
    let files = files();
    assert_eq!(kinds_that_name_each_other(&files), Vec::<String>::new());
    for kind in kinds(&files) {
        let there = files.contains_key(&format!("source::{kind}"));
        assert!(there, "nobody looks for config::kind::{kind}");
    }
    for (file, line) in [
        ("source::patroni", "use crate::source::repmgr::Repmgr;"),
        ("source::pg", "use crate::source::repmgr::Repmgr;"),
        ("config::kind::repmgr", "use crate::config::kind::postgres::PROFILE;"),
    ] {
        let broken = usize::from(file != "source::pg");
        assert_eq!(kinds_that_name_each_other(&with(file, line)).len(), broken, "{file}");
    }
}

/// Whoever adds a kind finds every place that must know it by the compiler's errors in the two registries.
#[test]
fn only_the_registries_know_which_kinds_of_source_there_are() {
    assert_eq!(variants(&files()).len(), kinds(&files()).len());
    assert_eq!(variants(&files()).len(), KINDS.len(), "a kind has no row in the registry");
    assert_eq!(places_that_know_a_kind(&files()), Vec::<String>::new());
    for (file, line) in [
        ("daemon", "if let config::Kind::Repmgr(keys) = &source.kind {}"),
        ("config::exposure", "matches!(kind, Kind::Patroni(_))"),
        ("config::node", "impl Kind {"),
        ("cli::ask", "use crate::config::Kind::*;"),
        ("report::status", "if kind == \"patroni\" {"),
        ("config::review", "match kind.as_str() { \"tcp\" => {} }"),
    ] {
        let broken = with(file, &format!("\n{line}\n"));
        assert_eq!(places_that_know_a_kind(&broken).len(), 1, "{file}: {line}");
    }
    for line in ["ErrorKind::Command", "kind: Kind::of(x)", "\"patroni\": seen.patroni"] {
        let fine = with("cli::ask", &format!("\n{line}\n"));
        assert_eq!(places_that_know_a_kind(&fine), Vec::<String>::new(), "{line}");
    }
}

/// `make mutants` changes what stands there; a file that has moved must not be passed over in silence.
#[test]
fn what_is_changed_by_make_mutants_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = fs::read_to_string(root.join(".cargo/mutants.toml")).unwrap();
    let globs = config.lines().filter_map(|line| line.trim().strip_prefix("\"src/"));
    let globs: Vec<_> = globs.map(|rest| rest.trim_end_matches("\",")).collect();
    assert!(globs.len() > 20, "{globs:?}");
    for glob in globs {
        let path = src().join(glob.trim_end_matches("/*.rs"));
        let there = if glob.ends_with("/*.rs") { path.is_dir() } else { path.is_file() };
        assert!(there, "no src/{glob}");
    }
}

#[test]
fn every_folder_says_in_a_few_lines_what_is_in_it() {
    fn walk(dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                let head = path.join("mod.rs");
                let text = fs::read_to_string(&head).unwrap_or_else(|_| panic!("no {head:?}"));
                let lines = text.lines().take_while(|line| line.starts_with("//!")).count();
                assert!(DESCRIBED_IN.contains(&lines), "{head:?} has {lines} lines");
                walk(&path);
            }
        }
    }
    walk(&src());
}
