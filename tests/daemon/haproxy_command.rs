//! `rolecall haproxy` without a cluster: what it prints for `[[node]]` and for what a Patroni says, that
//! every HAProxy here takes it, and what it refuses. tests/repmgr and tests/patroni route with it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use crate::fixtures::{Ground, Haproxy, needed_haproxies};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");

/// Runs it with this configuration; exit code, stdout and stderr.
fn haproxy(ground: &Ground, config: &str, arguments: &[&str]) -> (i32, String, String) {
    let file = ground.write("rolecall.toml", config);
    let mut rolecall = Command::new(ROLECALL);
    rolecall.arg("--config").arg(file).arg("haproxy").args(arguments);
    let output = rolecall.output().expect("rolecall");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

fn printed(ground: &Ground, config: &str, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = haproxy(ground, config, arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    stdout
}

fn lines(text: &str, beginning: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with(beginning));
    lines.map(str::to_owned).collect()
}

/// Every HAProxy here takes what is printed for its version without a warning.
fn is_valid(config: &str) {
    for (version, program) in needed_haproxies() {
        let ground = Ground::new();
        let text = printed(&ground, config, &["--haproxy-version", &version]);
        let cfg = ground.write("printed.cfg", &text);
        Haproxy::check(&ground, &program, &cfg, &[]);
    }
}

const NODES: &str = r#"
[haproxy]
agent_inter = "250ms"
check_fall = 3

[[service]]
name = "primary"
roles = ["primary"]

[[service]]
name = "replica"
roles = ["replica"]
listen = "5556"
agent_send = true
reply = "full"

[[service]]
name = "any"
roles = ["primary", "replica"]

[[node]]
name = "pg1"
cluster = "orders"
listen = { primary = "127.0.0.1:6001" }
source = { kind = "postgres", conninfo = "host=10.0.0.1" }

[[node]]
name = "pg2"
cluster = "orders"
listen = { primary = "[::1]:6002" }
source = { kind = "repmgr", two_node = "maint", conninfo = "host=db2 hostaddr=fd00::2 port=5433 dbname=repmgr" }

[[node]]
name = "pg3"
cluster = "users"
source = [{ kind = "static", role = "primary" }, { kind = "postgres", conninfo = "host=10.0.0.3" }]
"#;

#[test]
fn every_configured_node_stands_where_its_clients_and_its_agent_are() {
    let ground = Ground::new();
    let text = printed(&ground, NODES, &["--port", "6432"]);
    let server =
        |name: &str, address: &str, agent: &str| format!("server {name} {address} {agent}");
    let own = "addr 127.0.0.1 port 6001 agent-addr 127.0.0.1 agent-port 6001";
    let own_v6 = "addr [::1] port 6002 agent-addr ::1 agent-port 6002";
    let asked = |question: &str| {
        format!(
            "addr 127.0.0.1 port 5556 agent-addr 127.0.0.1 agent-port 5556 agent-send \"{question}\\n\""
        )
    };
    let wanted = [
        server("pg1", "10.0.0.1:5432", own),
        server("pg2", "[fd00::2]:5433", own_v6),
        server("pg1", "10.0.0.1:5432", &asked("pg1 replica")),
        server("pg2", "[fd00::2]:5433", &asked("pg2 replica")),
        server("pg1", "10.0.0.1:5432", &asked("pg1 any")),
        server("pg2", "[fd00::2]:5433", &asked("pg2 any")),
        server("pg3", "10.0.0.3:5432", &asked("pg3 primary")),
        server("pg3", "10.0.0.3:5432", &asked("pg3 replica")),
        server("pg3", "10.0.0.3:5432", &asked("pg3 any")),
    ];
    assert_eq!(lines(&text, "server "), wanted, "{text}");
    let binds: Vec<_> = (6432..6438).map(|port| format!("bind :{port}")).collect();
    assert_eq!(lines(&text, "bind "), binds);
    // Never to another cluster's primary.
    let fallbacks = [
        "use_backend postgres_orders.rw if { nbsrv(postgres_orders.ro) lt 1 }",
        "use_backend postgres_users.rw if { nbsrv(postgres_users.ro) lt 1 }",
    ];
    assert_eq!(lines(&text, "use_backend"), fallbacks);
    let server = lines(&text, "default-server");
    assert_eq!(
        server,
        ["default-server disabled check inter 250ms fall 3 rise 2 agent-check agent-inter 250ms \
          on-marked-down shutdown-sessions"]
    );
    assert_eq!(lines(&text, "timeout check"), ["timeout check   400ms"]);
}

/// The commands of docs/operations.md work on a printed file, and on one of the shipped.
#[test]
fn the_pools_have_the_names_of_the_shipped_files_or_those_of_their_services() {
    let names = |config: &str, arguments: &[&str]| {
        let ground = Ground::new();
        let text = printed(&ground, config, arguments);
        let pools = [lines(&text, "listen "), lines(&text, "backend ")].concat();
        let name = |line: String| line.split_once(' ').expect("a name").1.to_owned();
        pools.into_iter().map(name).collect::<Vec<_>>()
    };
    let node = "[[node]]\nname = \"pg1\"\nsource = { kind = \"postgres\", conninfo = \"host=10.0.0.1\" }\n";
    let services = |third: &str| {
        let service = |name: &str, role: &str, port: u16| {
            format!("[[service]]\nname = \"{name}\"\nroles = [\"{role}\"]\nlisten = \"{port}\"\n")
        };
        [
            service("primary", "primary", 6001),
            service("replica", "replica", 6002),
            service(third, "replica", 6003),
        ]
        .concat()
            + node
    };
    assert_eq!(names(&services("olap"), &[]), ["postgres_rw", "postgres_ro", "postgres_olap"]);
    let by_service = ["postgres_primary", "postgres_replica", "postgres_olap"];
    assert_eq!(names(&services("olap"), &["--pool-names", "service"]), by_service);
    // A service that has a short name itself must not share it.
    assert_eq!(
        names(&services("ro"), &[]),
        ["postgres_primary", "postgres_replica", "postgres_ro"]
    );
    for file in [
        "haproxy.cfg",
        "read-pool.cfg",
        "patroni.cfg",
        "repmgr.cfg",
        "repmgr-http.cfg",
        "central.cfg",
    ] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("haproxy").join(file);
        let text = std::fs::read_to_string(&path).expect(file);
        assert_eq!(lines(&text, "listen "), ["listen postgres_rw"], "{file}");
        assert!(
            lines(&text, "backend ").iter().all(|line| line == "backend postgres_ro"),
            "{file}"
        );
    }
}

#[test]
fn an_old_worker_ends_before_another_node_can_be_ready() {
    let ends = |config: &str| {
        let ground = Ground::new();
        lines(&printed(&ground, config, &[]), "hard-stop-after")
    };
    assert_eq!(ends(NODES), ["hard-stop-after 9s"], "nobody says when");
    let node = |name: &str, after: &str| {
        format!(
            "[[node]]\nname = \"n{name}\"\nlisten = {{ primary = \"127.0.0.1:60{name}\" }}\n\
             source = {{ kind = \"repmgr\", conninfo = \"host=10.0.0.{name}\", \
             failover_after = \"{after}\" }}\n"
        )
    };
    let service = "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\n";
    let both = |one: &str, other: &str| [service, &node("11", one), &node("12", other)].concat();
    // With the settling, 4.3 s, and less a second; the soonest of all nodes.
    assert_eq!(ends(&both("20s", "50s")), ["hard-stop-after 23s"]);
    assert_eq!(ends(&both("5s", "2s")), ["hard-stop-after 5s"]);
    assert_eq!(ends(&both("50s", "60s")), ["hard-stop-after 30s"]);
}

/// Whoever asked for some of the replicas shall not load the primary where none of them is up.
#[test]
fn a_pool_of_some_of_the_replicas_has_no_way_to_the_primary() {
    let service = |name: &str, keys: &str| format!("[[service]]\nname = \"{name}\"\n{keys}\n");
    let services = [
        service("primary", "roles = [\"primary\"]"),
        service("replica", "roles = [\"replica\"]\nreplication_state = \"streaming\""),
        service(
            "olap",
            "roles = [\"replica\"]\ntags = { nodetype = \"olap\" }\nmax_lag = \"1GB\"\non_lag = \"drain\"",
        ),
        service("sync", "roles = [\"sync_replica\"]"),
        service("others", "roles = [\"async_replica\", \"quorum_replica\"]"),
        service("both", "roles = [\"replica\", \"async_replica\"]"),
        service("read_sync", "roles = [\"primary\", \"sync_replica\"]\ntags = { a = 1 }"),
    ];
    let names = ["primary", "replica", "olap", "sync", "others", "both", "read_sync"];
    let listen = (6001..).zip(names).map(|(port, name)| format!("{name} = \"127.0.0.1:{port}\""));
    let listen = listen.collect::<Vec<_>>().join(", ");
    let node = |url: &str| {
        format!(
            "[[node]]\nname = \"pg1\"\nlisten = {{ {listen} }}\nsource = [{{ kind = \"postgres\", \
             conninfo = \"host=10.0.0.1\" }}, {{ kind = \"patroni\", url = \"{url}\" }}]\n"
        )
    };
    let config = [services.concat(), node("http://10.0.0.1:8008")].concat();
    let ground = Ground::new();
    let text = printed(&ground, &config, &[]);
    let sections =
        ["rw", "olap", "sync", "others", "read_sync"].map(|name| format!("listen postgres_{name}"));
    assert_eq!(lines(&text, "listen "), sections, "{text}");
    assert_eq!(lines(&text, "backend "), ["backend postgres_ro", "backend postgres_both"]);
    assert_eq!(lines(&text, "use_backend ").len(), 2);
    assert!(
        text.contains(
            "service olap: clients that only read, and reach nobody where no such replica is up."
        ),
        "{text}"
    );
    // A server that drains keeps its sessions: the check takes it for alive.
    let olap = text.split("listen postgres_olap").nth(1).and_then(|rest| rest.split("\n\n").next());
    assert!(olap.is_some_and(|olap| olap.contains("DRAIN")), "{text}");
    is_valid(&config);
}

#[test]
fn every_haproxy_takes_what_is_printed_for_it() {
    is_valid(NODES);
}

/// A Patroni that answers one `GET /cluster` with this body.
fn patroni(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut head = [0; 1024];
        let read = client.read(&mut head).expect("a request");
        assert!(head[..read].starts_with(b"GET /cluster HTTP/1.1\r\n"));
        client.write_all(b"HTTP/1.0 200 OK\r\n\r\n").expect("written");
        client.write_all(body.as_bytes()).expect("written");
    });
    url
}

fn source(url: &str) -> String {
    format!(
        "[[source]]\nkind = \"patroni\"\nurl = \"{url}\"\n[[service]]\nname = \"primary\"\n\
         roles = [\"primary\"]\nlisten = [\"127.0.0.1:5555\", \"10.0.0.1:5557\"]\n"
    )
}

#[test]
fn patronis_members_become_servers_whatever_they_are_called() {
    const MEMBERS: &str = r#"{"scope": "demo", "members": [
        {"name": "n 1", "role": "leader", "state": "running", "host": "10.0.0.1", "port": 5433},
        {"name": "x\n    server evil 10.9.9.9:1\n#", "role": "replica", "state": "streaming",
         "host": "db2.example.net"},
        {"name": "n_1", "role": "standby_leader", "state": "stopped", "host": "fd00::3", "port": 5432},
        {"name": "new\none", "role": "replica", "state": "creating replica"}]}"#;
    let ground = Ground::new();
    let (code, text, stderr) = haproxy(&ground, &source(&patroni(MEMBERS)), &[]);
    assert_eq!(code, 0, "{stderr}");
    let wanted = [
        "server n_1 10.0.0.1:5433 port 5557 agent-port 5557",
        "server x_____server_evil_10.9.9.9:1__ db2.example.net:5432 port 5557 agent-port 5557",
        "server n_1_2 [fd00::3]:5432 port 5557 agent-port 5557",
    ];
    assert_eq!(lines(&text, "server "), wanted);
    let said = "warning: member \"new one\" has not published its address in Patroni yet; run this command again once it has one\n";
    assert_eq!(stderr, said);
}

#[test]
fn a_host_that_is_none_is_refused_and_nothing_is_printed() {
    const NO_HOST: &str =
        r#"{"members": [{"name": "n1", "host": "10.0.0.1:1 server evil 10.9.9.9"}]}"#;
    const TWO_LINES: &str =
        r#"{"members": [{"name": "n1", "host": "10.0.0.1:1\n    server evil 10.9.9.9"}]}"#;
    let ground = Ground::new();
    for (members, refused, why) in [
        (NO_HOST, 78, "is no host that HAProxy can connect to"),
        // What nobody is called is no host at all.
        (TWO_LINES, 69, "has no server yet"),
    ] {
        let (code, text, stderr) = haproxy(&ground, &source(&patroni(members)), &[]);
        assert_eq!((code, text.as_str()), (refused, ""), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
        assert!(!stderr.contains("\n    server"), "{stderr}");
    }
}

/// What cannot be printed: exit code, words of the error, configuration, arguments.
const REFUSED: [(i32, &str, &str, &[&str]); 11] = [
    (
        78,
        "kind postgres does not know the other servers",
        "[source]\nkind = \"postgres\"\n\
      conninfo = \"host=10.0.0.1\"\n",
        &[],
    ),
    (78, "kind static does not know", "[source]\nkind = \"static\"\nrole = \"primary\"\n", &[]),
    (
        78,
        "kind command does not know",
        "[source]\nkind = \"command\"\ncommand = [\"/bin/true\"]\n",
        &[],
    ),
    (
        69,
        "Patroni's /cluster: refused",
        "[source]\nkind = \"patroni\"\nurl = \"http://127.0.0.1:1\"\n",
        &[],
    ),
    (
        69,
        "repmgr.nodes: server_down",
        "[source]\nkind = \"repmgr\"\ntwo_node = \"maint\"\n\
      conninfo = \"host=127.0.0.1 port=1 dbname=repmgr user=u\"\n",
        &[],
    ),
    (
        78,
        "node pg1 is reached by the socket in /run/postgresql",
        "[[node]]\nname = \"pg1\"\n\
      listen = { primary = \"127.0.0.1:6001\" }\n\
      source = { kind = \"postgres\", conninfo = \"host=/run/postgresql\" }\n",
        &[],
    ),
    (
        78,
        "node pg1: its source does not say at which address",
        "[[node]]\nname = \"pg1\"\n\
      listen = { primary = \"127.0.0.1:6001\" }\nsource = { kind = \"static\", role = \"primary\" }\n",
        &[],
    ),
    (
        78,
        "is \"up 100%\", which contains neither `ready`",
        "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\n\
      reply = { ready = \"up 100%\", not_ready = \"down\" }\n[[node]]\nname = \"pg1\"\n\
      listen = { primary = \"127.0.0.1:6001\" }\n\
      source = { kind = \"postgres\", conninfo = \"host=10.0.0.1\" }\n",
        &[],
    ),
    (64, "HAProxy 2.4 is too old", NODES, &["--haproxy-version", "2.4.1"]),
    (64, "the ports for clients would exceed 65535", NODES, &["--port", "65531"]),
    (
        64,
        "port 6001 is meant for clients, but rolecall itself listens on it",
        NODES,
        &["--port", "6000"],
    ),
];

#[test]
fn what_cannot_be_printed_is_refused_with_a_hint() {
    for (code, words, config, arguments) in REFUSED {
        let ground = Ground::new();
        let (got, stdout, stderr) = haproxy(&ground, config, arguments);
        assert_eq!((got, stdout.as_str()), (code, ""), "{config}\n{stderr}");
        assert!(stderr.contains(words) && stderr.contains("hint: "), "{words}: {stderr}");
    }
}

#[test]
fn loopback_alone_is_refused_where_the_servers_are_elsewhere() {
    const MEMBERS: &str = r#"{"members": [{"name": "n1", "host": "10.0.0.1", "port": 5432}]}"#;
    let ground = Ground::new();
    let config = source(&patroni(MEMBERS)).replace(", \"10.0.0.1:5557\"", "");
    let (code, _, stderr) = haproxy(&ground, &config, &[]);
    assert_eq!(code, 78);
    assert!(stderr.contains("listens on the loopback address only"), "{stderr}");
}
