//! The configuration: what is read, and the exact words of what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use rolecall::answering::{Answering, Asked, Listen};
use rolecall::config::{
    Alias, Config, Control, Haproxy, Identity, Kind, Log, LogFormat, LogTo, Node, PasswordFrom,
    Patroni, Postgres, Repmgr, Service, Source,
};
use rolecall::document::Problem;
use rolecall::electorate::NodeId;
use rolecall::last_word::{LastWord, Word};
use rolecall::policy::{Hysteresis, LagLimit, OnLag};
use rolecall::quorum::{Electorate, TwoNode};
use rolecall::reply::{Custom, Wording};
use rolecall::role::Role;
use rolecall::schema::{DEFAULT_PATH, Flags, Loaded, MAX_FILE, load, read};
use rolecall::secret::Secret;
use rolecall::warning::Warning;

const FULL: &str = include_str!("data/config/full.toml");
const PACKAGED: &str = include_str!("../packaging/rolecall.toml");

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn accepted(text: &str) -> Loaded {
    read("test.toml", text, &Flags::default(), None).unwrap_or_else(|p| panic!("{}", printed(&p)))
}

fn refused(text: &str, flags: &Flags) -> Vec<Problem> {
    read("test.toml", text, flags, None).expect_err("a problem")
}

fn printed(problems: &[Problem]) -> String {
    let mut text: Vec<String> = problems.iter().map(Problem::to_string).collect();
    text.push(String::new());
    text.join("\n")
}

/// Patroni at this URL, in the rhythm that nobody chose.
fn patroni_at(url: &str) -> Kind {
    Kind::Patroni(Patroni::at(url))
}

fn built_in() -> Config {
    Config {
        haproxy: Haproxy { agent_inter: ms(1000), check_fall: 2, version: (2, 6) },
        nodes: vec![Node {
            name: "local".to_owned(),
            cluster: None,
            listen: BTreeMap::new(),
            sources: vec![Source {
                kind: patroni_at("http://127.0.0.1:8008"),
                interval: ms(500),
                timeout: ms(1500),
                hold: ms(6000),
                beside: ms(3000),
            }],
        }],
        services: vec![Service {
            name: "primary".to_owned(),
            roles: vec![Role::Primary],
            listen: vec![Listen::Everywhere(5555)],
            agent_send: false,
            answering: Answering { allow: vec![], wording: Wording::plain(), last_word: None },
            hold: None,
            lag: None,
        }],
        http: None,
        control: None,
        log: Log { to: LogTo::Auto, format: LogFormat::Text, level: tracing::Level::INFO },
    }
}

#[test]
fn nothing_written_is_what_is_built_in() {
    assert_eq!(accepted(""), Loaded { config: built_in(), warnings: vec![] });
}

#[test]
fn the_packaged_file_is_what_is_built_in() {
    assert_eq!(accepted(PACKAGED), Loaded { config: built_in(), warnings: vec![] });
}

/// What stands behind `#` in the packaged file under this kind of source, as a `[[source]]`.
fn commented_source(kind: &str) -> String {
    let (_, after) = PACKAGED.split_once(&format!("# kind = \"{kind}\"")).expect(kind);
    let (block, _) = after.split_once("\n\n").expect("an empty line");
    let keys = block.lines().filter_map(|line| line.strip_prefix("# "));
    let keys = keys.filter(|line| line.contains(" = ")).collect::<Vec<_>>().join("\n");
    assert!(!keys.is_empty(), "{kind}");
    format!("[[source]]\nkind = \"{kind}\"\n{keys}\n")
}

/// What is written behind comment signs from this head to the next empty line.
fn commented(head: &str) -> String {
    let (_, block) = PACKAGED.split_once(&format!("# {head}")).expect(head);
    let block = block.split("\n\n").next().unwrap_or_default();
    format!("{head}{}\n", block.replace("\n# ", "\n"))
}

#[test]
fn the_commented_node_of_the_packaged_file_is_right() {
    let services = "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\n\
                    [[service]]\nname = \"replica\"\nroles = [\"replica\"]\n";
    let config = accepted(&format!("{services}{}", commented("[[node]]"))).config;
    assert_eq!(config.nodes[0].cluster.as_deref(), Some("orders"));
    assert_eq!(config.listens().count(), 2);
}

#[test]
fn the_comments_of_the_packaged_file_are_right() {
    let (replica, http) = (commented("[[service]]"), commented("[http]") + &commented("[control]"));
    let (before_http, _) = PACKAGED.split_once("# [http]").expect("[http]");
    let first = before_http
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| ["allow", "hold", "reply = {"].iter().any(|key| line.starts_with(key)));
    let first: Vec<&str> = first.filter(|line| !line.contains("10s")).collect();
    assert_eq!(first.len(), 3, "{first:?}");
    // Of the two places of a password one can be used at a time.
    let postgres: String = commented_source("postgres")
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("password_credential"))
        .collect();
    let text = [
        commented_source("command").as_str(),
        commented_source("static").as_str(),
        postgres.as_str(),
        commented_source("repmgr").as_str(),
        "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"5555\"\n",
        first.join("\n").as_str(),
        "\n",
        replica.as_str(),
        http.as_str(),
    ]
    .concat();
    let config = accepted(&text).config;
    assert!(config.http.is_some_and(|http| http.allow.len() == 1));
    let control = Control { group: Some("dba".to_owned()), ..Control::default() };
    assert_eq!(
        config.control,
        Some(control),
        "what is commented is the default, but for the group"
    );
    assert_eq!(config.nodes[0].sources.len(), 4);
    assert_eq!(config.nodes[0].sources[3].hold, ms(15_000));
    assert_eq!(config.services[0].hold, Some(ms(6000)));
    let bytes = Hysteresis { max: 16 << 20, resume: 12 << 20 };
    let lag = LagLimit { bytes: Some(bytes), time: Some(ms(5000)), on_lag: OnLag::Maint };
    assert_eq!(config.services[1].lag, Some(lag));
}

#[test]
fn the_poke_socket_lies_beside_the_control_socket() {
    let poke = |text: &str| accepted(text).config.control.map(|control| control.poke);
    let usual = poke("[control]");
    assert_eq!(usual.as_deref(), Some(Path::new("/run/rolecall/poke.sock")));
    assert_eq!(poke("[control]\nsocket = \"/a/b.sock\""), Some("/a/poke.sock".into()));
    assert_eq!(poke(""), None);
}

#[test]
fn every_key_reaches_its_value() {
    let net = |text: &str| text.parse().expect("a network");
    let at = |text: &str| Listen::At(text.parse().expect("an address"));
    let own_words = Custom {
        ready: "up ready",
        not_ready: "maint up #not the primary",
        drain: None,
        unknown: None,
    };
    let conninfo = "host=/run/postgresql user=rolecall".parse().expect("a connection string");
    let config = Config {
        haproxy: Haproxy { agent_inter: ms(250), check_fall: 3, version: (3, 2) },
        nodes: vec![Node {
            name: "local".to_owned(),
            cluster: None,
            listen: BTreeMap::new(),
            sources: vec![
                Source {
                    kind: patroni_at("http://[::1]:8009"),
                    interval: ms(200),
                    timeout: ms(1500),
                    hold: ms(8000),
                    beside: ms(1950),
                },
                Source {
                    kind: Kind::Postgres(Postgres {
                        conninfo,
                        password: PasswordFrom::Passfile("/etc/rolecall/pgpass".into()),
                    }),
                    interval: ms(200),
                    timeout: ms(1200),
                    hold: ms(4000),
                    beside: ms(1650),
                },
            ],
        }],
        services: vec![
            Service {
                name: "primary".to_owned(),
                roles: vec![Role::Primary],
                listen: vec![at("10.0.0.1:5555"), at("[::1]:5555")],
                agent_send: false,
                answering: Answering {
                    allow: vec![
                        net("10.0.0.0/8"),
                        net("192.0.2.1/32"),
                        net("172.16.0.0/12"),
                        net("2001:db8::/32"),
                    ],
                    wording: Wording::custom(own_words, true).expect("a wording"),
                    last_word: None,
                },
                hold: None,
                lag: None,
            },
            Service {
                name: "replica".to_owned(),
                roles: vec![Role::Replica, Role::Primary],
                listen: vec![Listen::Everywhere(5556)],
                agent_send: false,
                answering: Answering {
                    allow: vec![],
                    wording: Wording::full(),
                    last_word: Some(LastWord { word: Word::Drain, lasts: ms(500) }),
                },
                hold: Some(ms(10_000)),
                lag: Some(LagLimit {
                    bytes: Some(Hysteresis { max: 16 << 20, resume: 12 << 20 }),
                    time: Some(ms(5000)),
                    on_lag: OnLag::Drain,
                }),
            },
            Service {
                name: "reports_2".to_owned(),
                roles: vec![Role::Replica],
                listen: vec![at("10.0.0.1:5557")],
                agent_send: false,
                answering: Answering { allow: vec![], wording: Wording::plain(), last_word: None },
                hold: None,
                lag: Some(LagLimit {
                    bytes: Some(Hysteresis { max: 1 << 30, resume: 0 }),
                    time: None,
                    on_lag: OnLag::Maint,
                }),
            },
        ],
        http: None,
        control: Some(Control {
            socket: "/run/rolecall/orders.sock".into(),
            mode: 0o600,
            group: Some("dba".to_owned()),
            state: "/var/lib/rolecall/o.json".into(),
            poke: "/run/rolecall/wake.sock".into(),
        }),
        log: Log { to: LogTo::Journald, format: LogFormat::Json, level: tracing::Level::DEBUG },
    };
    let span = Duration::from_millis(750);
    let passfile = Warning::NoFile { key: "passfile", path: "/etc/rolecall/pgpass".into() };
    let last = Warning::LastWord { service: "replica".to_owned(), word: Word::Drain };
    let warnings = vec![Warning::ShortFall { span }, last, passfile];
    assert_eq!(accepted(FULL), Loaded { config, warnings });
}

/// A source of kind `repmgr` with these keys, under this `[haproxy]`.
fn repmgr(haproxy: &str, keys: &str) -> (Source, Config) {
    let conninfo = "conninfo = \"host=/run/postgresql dbname=repmgr\"";
    let text = format!("[haproxy]\n{haproxy}\n[source]\nkind = \"repmgr\"\n{conninfo}\n{keys}");
    let config = accepted(&text).config;
    (config.nodes[0].sources[0].clone(), config)
}

fn keys_of(source: &Source) -> &Repmgr {
    match &source.kind {
        Kind::Repmgr(repmgr) => repmgr,
        other => panic!("{other:?}"),
    }
}

#[test]
fn repmgrs_times_follow_from_each_other() {
    let (source, config) = repmgr("", "");
    assert_eq!((source.interval, source.timeout, source.hold), (ms(500), ms(800), ms(0)));
    assert_eq!(source.life(), ms(1700));
    let wanted = Repmgr {
        server: Postgres {
            conninfo: "host=/run/postgresql dbname=repmgr".parse().expect("a connection string"),
            password: PasswordFrom::Nowhere,
        },
        node: Identity::Told,
        two_node: TwoNode::Maint,
        failover_after: None,
        ask_conf: true,
        settle: ms(3800),
        trust_refused: true,
        addresses: [].into(),
    };
    assert_eq!(*keys_of(&source), wanted);
    let policy = config.services[0].policy(&config.nodes[0]);
    let electorate = Electorate { life: ms(1700), two_node: TwoNode::Maint, trust_refused: true };
    assert_eq!(policy.settle, ms(3800));
    assert_eq!(policy.trust[0].electorate, Some(electorate));
    assert!(policy.trust[0].knows_lag);
    let reads = Service { roles: vec![Role::Replica], ..config.services[0].clone() };
    assert_eq!(reads.policy(&config.nodes[0]).settle, ms(0));

    for (haproxy, keys, life, settle, hold) in [
        ("agent_inter = \"500ms\"\ncheck_fall = 1", "", 1700, 2300, 0),
        ("", "interval = \"2s\"", 2900, 5000, 0),
        ("", "settle = \"3800ms\"", 1700, 3800, 0),
        ("", "settle = \"10s\"", 1700, 10_000, 0),
        ("", "failover_after = \"9999ms\"", 1700, 3800, 0),
        ("", "failover_after = \"10s\"", 1700, 3800, 5000),
        ("", "failover_after = \"1m\"", 1700, 3800, 15_000),
        ("", "failover_after = \"1m\"\nhold = \"55s\"", 1700, 3800, 55_000),
        ("", "failover_after = \"6s\"\nhold = \"1s\"", 1700, 3800, 1000),
        ("", "failover_after = \"1m\"\nhold = \"0s\"", 1700, 3800, 0),
        ("", "hold = \"0s\"", 1700, 3800, 0),
    ] {
        let (source, _) = repmgr(haproxy, keys);
        assert_eq!(source.life(), ms(life), "{haproxy} {keys}");
        assert_eq!(keys_of(&source).settle, ms(settle), "{haproxy} {keys}");
        assert_eq!(source.hold, ms(hold), "{haproxy} {keys}");
    }
}

#[test]
fn every_key_of_repmgr_reaches_its_value() {
    let (source, config) = repmgr(
        "",
        "node_id = 2\ntwo_node = \"ready\"\ntrust_refused = false\n\
         addresses = { 3 = [\"10.1.0.3\", \"db3-repl:5433\", \"[fd00::3]:5434\", \"fd00::3\"], 1 = \"db1-repl\" }",
    );
    let alias = |host: &str, port| Alias { host: host.to_owned(), port };
    let addresses = [
        (NodeId(1), vec![alias("db1-repl", None)]),
        (
            NodeId(3),
            vec![
                alias("10.1.0.3", None),
                alias("db3-repl", Some(5433)),
                alias("fd00::3", Some(5434)),
                alias("fd00::3", None),
            ],
        ),
    ];
    let keys = keys_of(&source);
    assert_eq!(keys.node, Identity::Id(NodeId(2)));
    assert_eq!(keys.addresses, addresses.into());
    let electorate = Electorate { life: ms(1700), two_node: TwoNode::Ready, trust_refused: false };
    let policy = config.services[0].policy(&config.nodes[0]);
    assert_eq!(policy.trust[0].electorate, Some(electorate));
    let (source, _) = repmgr("", "node_name = \"db 2\"");
    assert_eq!(keys_of(&source).node, Identity::Name("db 2".to_owned()));
}

/// Each `bad/NAME.toml` is refused with the very words of `bad/NAME.txt`.
#[test]
fn every_problem_is_named_with_its_place_and_remedy() {
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config/bad");
    let files = fs::read_dir(bad).expect("the bad files").map(|entry| entry.expect("one").path());
    let files: Vec<PathBuf> =
        files.filter(|f| f.extension().is_some_and(|e| e == "toml")).collect();
    assert_eq!(files.len(), 21);
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let text = fs::read_to_string(&path).expect(name);
        let wanted = fs::read_to_string(path.with_extension("txt")).expect(name);
        let problems = read(name, &text, &Flags::default(), None).expect_err(name);
        assert_eq!(printed(&problems), wanted, "{name}");
        assert!(!wanted.contains("hunter2"), "{name}: a secret was repeated");
    }
}

#[test]
fn a_bad_connection_string_is_reported_at_its_line() {
    let problems =
        refused("[source]\nkind = \"postgres\"\nconninfo = \"nonsense\"", &Flags::default());
    let [problem] = &problems[..] else { panic!("{}", printed(&problems)) };
    assert_eq!((problem.line, problem.key.as_str()), (Some(3), "source.conninfo"));
}

#[test]
fn a_long_list_of_problems_is_cut() {
    let keys: Vec<String> = (0..250).map(|n| format!("key_{n} = 1")).collect();
    let problems = refused(&keys.join("\n"), &Flags::default());
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[100].fault.what, "150 more problems follow");
}

#[test]
fn flags_replace_the_sources_and_the_first_listener() {
    let text = "[defaults]\ninterval = \"1s\"\n[source]\nkind = \"static\"\nrole = \"leader\"\n\
                [[service]]\nname = \"a\"\nroles = [\"replica\"]\n\
                [[service]]\nname = \"b\"\nroles = [\"primary\"]\nlisten = \"5556\"\n";
    let flags = Flags {
        url: Some("http://db1:8009".to_owned()),
        listen: Some("127.0.0.1:7777".to_owned()),
        ..Flags::default()
    };
    let config = read("test.toml", text, &flags, None).expect("a configuration").config;
    let kind = patroni_at("http://db1:8009");
    let source =
        Source { kind, interval: ms(1000), timeout: ms(1500), hold: ms(6000), beside: ms(3500) };
    assert_eq!(config.nodes[0].sources, [source]);
    assert_eq!(config.services[0].listen, [Listen::At(([127, 0, 0, 1], 7777).into())]);
    assert_eq!(config.services[1].listen, [Listen::Everywhere(5556)]);
}

#[test]
fn every_source_can_be_a_flag() {
    let patroni = patroni_at("http://127.0.0.1:8008");
    let conninfo = "host=db1".parse().expect("a connection string");
    let postgres = Kind::Postgres(Postgres { conninfo, password: PasswordFrom::Nowhere });
    let flag = |text: &str| Some(text.to_owned());
    let none = Flags::default();
    for (flags, kind) in [
        (Flags { source: flag("patroni"), ..none.clone() }, patroni),
        (Flags { conninfo: Some(Secret::new("host=db1")), ..none.clone() }, postgres),
        (Flags { role: flag("replica"), ..none.clone() }, Kind::Static(Role::Replica)),
        (
            Flags { source: flag("static"), role: flag("primary"), ..none },
            Kind::Static(Role::Primary),
        ),
    ] {
        let config = read("test.toml", "", &flags, None).expect("a configuration").config;
        assert_eq!(config.nodes[0].sources[0].kind, kind, "{flags:?}");
        assert_eq!(config.services, built_in().services);
    }
}

#[test]
fn problems_of_flags_name_the_flags() {
    let flags = Flags {
        source: Some("postgres".to_owned()),
        url: Some("http://db1:8008".to_owned()),
        listen: Some("db1".to_owned()),
        ..Flags::default()
    };
    let wanted = "\
test.toml:1: zzz: unknown key
  expected: one of haproxy, defaults, node, source, service, http, log, control
  hint: see the commented configuration that comes with rolecall
command line: --conninfo: missing
  expected: a libpq connection string
  hint: such as \"host=/run/postgresql user=rolecall dbname=postgres\"
command line: --listen: `db1` is not an address to listen on
  expected: \"ADDRESS:PORT\", \"[IPV6]:PORT\" or \"PORT\"
  hint: names are not looked up here, IPv6 addresses stand in brackets, ports end at 65535
command line: --url: a source of kind `postgres` has no such key
  expected: no `url`
  hint: it is a key of kind patroni
";
    assert_eq!(printed(&refused("zzz = 1", &flags)), wanted);
    let flags = Flags { source: Some("patrony".to_owned()), ..Flags::default() };
    let wanted = "\
command line: --source: `patrony` is not known
  expected: one of patroni, repmgr, postgres, command, static
  hint: did you mean `patroni`?
";
    assert_eq!(printed(&refused("", &flags)), wanted);
}

#[test]
fn a_credential_is_a_file_in_systemds_directory() {
    let text =
        "[source]\nkind = \"postgres\"\nconninfo = \"host=db1\"\npassword_credential = \"pg\"";
    for (directory, file) in [
        (Some(Path::new("/run/credentials/other.service")), "/run/credentials/other.service/pg"),
        // A person who runs `check` is told of the running unit's.
        (None, "/run/credentials/rolecall.service/pg"),
    ] {
        let loaded = read("test.toml", text, &Flags::default(), directory).expect("accepted");
        let Kind::Postgres(postgres) = &loaded.config.nodes[0].sources[0].kind else {
            panic!("postgres")
        };
        assert_eq!(postgres.password, PasswordFrom::File(file.into()));
    }
}

#[test]
fn what_may_surprise_is_said() {
    let postgres = "[[source]]\nkind = \"postgres\"\nconninfo = \"host=db1\"\n";
    let patroni = "[[source]]\nkind = \"patroni\"\n";
    let fixed = "[[source]]\nkind = \"static\"\nrole = \"primary\"\n";
    let repmgr = "[[source]]\nkind = \"repmgr\"\nconninfo = \"host=db1\"\n";
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
        "service a: what `on_stop` says is said for 1m, less than 2 x agent_inter, which is 1m 2s: \
         HAProxy asks every 31s and may not hear it"
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
        (repmgr.to_owned(), vec![Warning::NoFailoverAfter]),
        ([repmgr, reads].concat(), vec![]),
        (patient, vec![]),
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
        (
            [patroni, "hold = \"7s\""].concat(),
            vec![Warning::LongHold { span: Duration::from_secs(10) }],
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

#[test]
fn several_nodes_have_addresses_and_sources_of_their_own() {
    let text = "[defaults]\nkind = \"patroni\"\ninterval = \"1s\"\n\
                [[service]]\nname = \"primary\"\nroles = [\"primary\"]\n\
                [[service]]\nname = \"replica\"\nroles = [\"replica\"]\n\
                [[node]]\nname = \"pg1\"\ncluster = \"orders\"\nsource = { url = \"http://10.0.0.1:8008\" }\n\
                listen = { primary = \"127.0.0.1:6001\", replica = [\"127.0.0.1:6002\", \"6003\"] }\n\
                [[node]]\nname = \"pg2\"\nlisten = { primary = \"127.0.0.1:6011\" }\n\
                [[node.source]]\nurl = \"http://10.0.0.2:8008\"\n\
                [[node.source]]\nkind = \"static\"\nrole = \"replica\"\n";
    let config = accepted(text).config;
    let names: Vec<_> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["pg1", "pg2"]);
    assert_eq!(config.nodes[0].cluster.as_deref(), Some("orders"));
    assert_eq!(config.nodes[0].sources[0].interval, ms(1000), "from [defaults]");
    let kinds: Vec<_> = config.nodes[1].sources.iter().map(|s| s.kind.as_str()).collect();
    assert_eq!(kinds, ["patroni", "static"]);
    let routes = config.routes();
    let asked = |addr: &str| routes.at(addr.parse().unwrap()).map(|a| (a.node, a.service));
    assert_eq!(asked("127.0.0.1:6001"), Some((Some(0), 0)));
    assert_eq!(asked("127.0.0.1:6002"), Some((Some(0), 1)));
    assert_eq!(asked("[::]:6003"), Some((Some(0), 1)));
    assert_eq!(asked("127.0.0.1:6011"), Some((Some(1), 0)));
    assert_eq!(asked("127.0.0.1:6012"), None);
    assert_eq!(config.listens().count(), 4);
}

#[test]
fn one_address_may_ask_for_several_nodes_where_a_question_is_read() {
    let text = "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"5555\"\nagent_send = true\n\
                [[service]]\nname = \"replica\"\nroles = [\"replica\"]\n\
                [[node]]\nname = \"pg1\"\nsource = { kind = \"static\", role = \"primary\" }\n\
                listen = { primary = \"127.0.0.1:6001\" }\n\
                [[node]]\nname = \"pg2\"\nsource = { kind = \"static\", role = \"replica\" }\n";
    let Loaded { config, warnings } = accepted(text);
    assert!(warnings.contains(&Warning::AgentSend));
    let routes = config.routes();
    let asked = |addr: &str| routes.at(addr.parse().unwrap());
    let reading = Asked { node: None, service: 0, agent_send: true };
    assert_eq!(asked("[::]:5555"), Some(reading));
    let own = Asked { node: Some(0), service: 0, agent_send: false };
    assert_eq!(asked("127.0.0.1:6001"), Some(own), "it says all that is asked there");
    let alone = accepted(
        &text
            .replace("5555\"\nagent_send = true", "5555\"")
            .replace(
                "[[node]]\nname = \"pg2\"\nsource = { kind = \"static\", role = \"replica\" }\n",
                "",
            )
            .replace("[\"replica\"]", "[\"replica\"]\nlisten = \"5556\""),
    );
    assert!(!alone.warnings.contains(&Warning::AgentSend));
}

#[test]
fn a_question_needs_an_address_that_it_is_read_at() {
    let text = "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\nagent_send = true\n\
                [[node]]\nname = \"pg1\"\nsource = { kind = \"static\", role = \"primary\" }\n\
                listen = { primary = \"127.0.0.1:6001\" }\n";
    let problems = refused(text, &Flags::default());
    assert_eq!(
        printed(&problems),
        "test.toml:4: service[1].agent_send: stands without `listen`\n  expected: `listen` too\n  \
         hint: an address of a [[node]] says all that is asked there\n"
    );
}
