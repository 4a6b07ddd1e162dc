//! Every key reaches its value.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rolecall::config::schema::{Flags, Loaded, read};
use rolecall::config::warning::Warning;
use rolecall::config::{
    Address, Alias, Config, Control, Haproxy, Identity, Kind, Log, LogFormat, LogTo, Node,
    PasswordFrom, Postgres, Repmgr, ServerPort, Service, Source, Tcp,
};
use rolecall::look::repmgr::NodeId;
use rolecall::look::role::Role;
use rolecall::look::tags::Tags;
use rolecall::reply::routes::{Answering, Listen};
use rolecall::reply::wording::{Custom, Wording};
use rolecall::verdict::last_word::LastWord;
use rolecall::verdict::policy::{Electorate, TwoNode};
use rolecall::verdict::policy::{Hysteresis, LagLimit, OnLag};
use rolecall::verdict::policy::{Pool, ReplicationState};
use rolecall::verdict::state::Word;

use super::{FULL, accepted, ms, patroni_at, told};

fn tags<const N: usize>(tags: [(&str, &str); N]) -> Tags {
    tags.into_iter().map(|(tag, value)| (tag.to_owned(), value.to_owned())).collect()
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
#[expect(clippy::too_many_lines, reason = "one value of the whole configuration")]
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
        haproxy: Haproxy { socket: "/run/haproxy/stats.sock".into(), ..told(250, 3, 300, (3, 2)) },
        nodes: vec![Node {
            name: "local".to_owned(),
            cluster: None,
            listen: BTreeMap::new(),
            sources: vec![
                Source {
                    kind: patroni_at("http://[::1]:8009"),
                    interval: ms(200),
                    timeout: ms(1500),
                    hold: ms(6000),
                    hold_chosen: true,
                    beside: ms(3650),
                    memory: ms(1950),
                },
                Source {
                    kind: Kind::Postgres(Postgres {
                        conninfo,
                        password: PasswordFrom::Passfile("/etc/rolecall/pgpass".into()),
                    }),
                    interval: ms(200),
                    timeout: ms(1200),
                    hold: ms(4000),
                    hold_chosen: true,
                    beside: ms(3350),
                    memory: ms(1950),
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
                pool: Pool::default(),
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
                pool: Pool { tags: Tags::default(), replication_state: ReplicationState::Any },
                lag: Some(LagLimit {
                    bytes: Some(Hysteresis { max: 16 << 20, resume: 12 << 20 }),
                    time: Some(Hysteresis::time(ms(5000))),
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
                pool: Pool {
                    tags: tags([("nodetype", "olap"), ("shard", "5"), ("warm", "true")]),
                    replication_state: ReplicationState::Streaming,
                },
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
        fence: None,
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
        settle: ms(4300),
        trust_refused: true,
        addresses: [].into(),
        release: None,
    };
    assert_eq!(*keys_of(&source), wanted);
    let policy = config.services[0].policy(&config.nodes[0]);
    let electorate = Electorate {
        life: ms(1700),
        memory: ms(2500),
        two_node: TwoNode::Maint,
        trust_refused: true,
    };
    assert_eq!(policy.settle, ms(4300));
    assert_eq!(policy.trust[0].electorate, Some(electorate));
    assert!(policy.trust[0].knows_lag);
    let reads = Service { roles: vec![Role::Replica], ..config.services[0].clone() };
    assert_eq!(reads.policy(&config.nodes[0]).settle, ms(0));

    for (haproxy, keys, life, settle, hold) in [
        ("agent_inter = \"500ms\"\ncheck_fall = 1", "", 1700, 3300, 0),
        ("", "interval = \"2s\"", 2900, 5500, 0),
        ("", "settle = \"4300ms\"", 1700, 4300, 0),
        ("", "settle = \"10s\"", 1700, 10_000, 0),
        ("", "failover_after = \"9999ms\"", 1700, 4300, 0),
        ("", "failover_after = \"10s\"", 1700, 4300, 5000),
        ("", "failover_after = \"1m\"", 1700, 4300, 15_000),
        ("", "failover_after = \"1m\"\nhold = \"55s\"", 1700, 4300, 55_000),
        ("", "failover_after = \"6s\"\nhold = \"1s\"", 1700, 4300, 1000),
        ("", "failover_after = \"1m\"\nhold = \"0s\"", 1700, 4300, 0),
        ("", "hold = \"0s\"", 1700, 4300, 0),
    ] {
        let (source, _) = repmgr(haproxy, keys);
        assert_eq!(source.life(), ms(life), "{haproxy} {keys}");
        assert_eq!(keys_of(&source).settle, ms(settle), "{haproxy} {keys}");
        assert_eq!(source.hold, ms(hold), "{haproxy} {keys}");
    }
}

#[test]
fn haproxy_remembers_as_long_as_the_companion_needs_to_fail_and_one_check_more() {
    for (inter, fall, timeout, memory) in [
        (500, 2, 500, 2500),
        // No check of a rolecall that hangs is shorter than inter, in no version.
        (500, 2, 400, 2500),
        (500, 1, 500, 1500),
        (1000, 2, 800, 5000),
        (1000, 2, 2000, 8000),
        (250, 3, 300, 1950),
    ] {
        for version in [(2, 6), (3, 0), (3, 4)] {
            assert_eq!(told(inter, fall, timeout, version).memory(), ms(memory), "{version:?}");
        }
    }
    let read = |text: &str| read("test.toml", text, &Flags::default(), None).expect("valid").config;
    for (text, timeout) in [
        ("", 500),
        ("[haproxy]\nagent_inter = \"1s\"", 1000),
        ("[haproxy]\nagent_inter = \"100ms\"", 400),
        ("[haproxy]\ncheck_timeout = \"300ms\"", 300),
    ] {
        assert_eq!(read(text).haproxy.check_timeout, ms(timeout), "{text}");
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
    let electorate = Electorate {
        life: ms(1700),
        memory: ms(2500),
        two_node: TwoNode::Ready,
        trust_refused: false,
    };
    let policy = config.services[0].policy(&config.nodes[0]);
    assert_eq!(policy.trust[0].electorate, Some(electorate));
    let (source, _) = repmgr("", "node_name = \"db 2\"");
    assert_eq!(keys_of(&source).node, Identity::Name("db 2".to_owned()));
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
fn the_port_that_clients_reach_is_a_key() {
    let sources = |text: &str| {
        let node = accepted(text).config.nodes.remove(0);
        node.sources.into_iter().map(|source| source.kind).collect::<Vec<_>>()
    };
    let address = |host: &str, port| Address { host: host.to_owned(), port };
    let beside = "[[source]]\nkind = \"patroni\"\n[[source]]\nkind = \"tcp\"\n";
    for (written, wanted) in [
        ("127.0.0.1:6432", address("127.0.0.1", 6432)),
        ("[::1]:5432", address("::1", 5432)),
        ("db-1.example:5432", address("db-1.example", 5432)),
    ] {
        let kinds = sources(&format!("{beside}address = \"{written}\"\n"));
        assert_eq!(kinds[1], Kind::Tcp(Tcp { address: wanted.clone(), user: None }));
        assert_eq!(wanted.to_string(), written);
        let user = Some("rolecall".to_owned());
        let kinds = sources(&format!("{beside}address = \"{written}\"\nuser = \"rolecall\"\n"));
        assert_eq!(kinds[1], Kind::Tcp(Tcp { address: wanted.clone(), user }));
        let kinds =
            sources(&format!("[source]\nkind = \"patroni\"\npostgres_address = \"{written}\"\n"));
        let Kind::Patroni(patroni) = &kinds[0] else { panic!("{kinds:?}") };
        assert_eq!(patroni.server_port, ServerPort::At(wanted));
    }
    let kinds = sources("[source]\nkind = \"patroni\"\npostgres_address = \"none\"\n");
    let Kind::Patroni(patroni) = &kinds[0] else { panic!("{kinds:?}") };
    assert_eq!(patroni.server_port, ServerPort::NotAsked);
}

/// Patroni is asked with the limit also where PostgreSQL is, unless there are several.
#[test]
fn patroni_is_asked_with_the_one_limit_there_is() {
    let limit = |text: &str| {
        let node = accepted(text).config.nodes.remove(0);
        let Kind::Patroni(patroni) = &node.sources[0].kind else { panic!("{node:?}") };
        patroni.lag.map(|lag| (lag.max, lag.resume))
    };
    let patroni = "[[source]]\nkind = \"patroni\"\n";
    let both = format!("{patroni}[[source]]\nkind = \"postgres\"\nconninfo = \"host=/run\"\n");
    let reads = |port: u16, max: &str| {
        format!(
            "[[service]]\nname = \"r{port}\"\nroles = [\"replica\"]\nlisten = \"{port}\"\n\
             max_lag = \"{max}\"\n"
        )
    };
    for source in [patroni, &both] {
        assert_eq!(limit(&format!("{source}{}", reads(5556, "16B"))), Some((16, 12)));
        assert_eq!(
            limit(&format!("{source}{0}{1}", reads(5556, "16B"), reads(5557, "16B"))),
            Some((16, 12))
        );
    }
    assert_eq!(limit(&format!("{both}{}{}", reads(5556, "16B"), reads(5557, "8B"))), None);
}
