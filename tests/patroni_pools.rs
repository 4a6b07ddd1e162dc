//! Read pools on a real Patroni cluster: by tag, of sync, quorum and async replicas, beside what Patroni's own API
//! says of the same servers, and HAProxy with what `rolecall haproxy` prints.

#[path = "fixtures/mod.rs"]
mod fixtures;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use fixtures::patroni::{Cluster, PATIENCE, REST_PORT, Reachable, Shape, Template, patronis};
use fixtures::patroni_store::Protocol;
use fixtures::process::run;
use fixtures::{
    Ground, Haproxy, Rolecall, Session, command, eventually, haproxies, lacks, lacks_haproxy,
    lacks_postgres, missing, now,
};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");
/// HAProxy's place in the block of addresses.
const CLIENT: u8 = 10;
/// The first port of the agents, and the first of the clients; each service has the next one.
const AGENTS: u16 = 26000;
const FRONTS: u16 = 25100;
/// Longest wait of a client.
const WITHIN: Duration = Duration::from_secs(5);

/// A service, its keys, and what Patroni's own API is asked for the same servers: any 200 is a yes.
struct Pool {
    name: &'static str,
    keys: &'static str,
    patroni: &'static [&'static str],
}

/// With quorum commit rolecall's `sync_replica` takes those whom Patroni's `/quorum` names.
const POOLS: [Pool; 7] = [
    Pool { name: "primary", keys: r#"roles = ["primary"]"#, patroni: &["/primary"] },
    Pool { name: "replica", keys: r#"roles = ["replica"]"#, patroni: &["/replica"] },
    Pool {
        name: "olap",
        keys: "roles = [\"replica\"]\ntags = { nodetype = \"olap\" }\nmax_lag = \"1MB\"\non_lag = \"drain\"",
        patroni: &["/replica?tag_nodetype=olap"],
    },
    Pool { name: "sync", keys: r#"roles = ["sync_replica"]"#, patroni: &["/sync", "/quorum"] },
    Pool { name: "async", keys: r#"roles = ["async_replica"]"#, patroni: &["/async"] },
    Pool { name: "quorum", keys: r#"roles = ["quorum_replica"]"#, patroni: &["/quorum"] },
    Pool {
        name: "read_sync",
        keys: r#"roles = ["primary", "sync_replica"]"#,
        patroni: &["/read-only-sync", "/read-only-quorum"],
    },
];

struct Stage {
    haproxy: Haproxy,
    _rolecall: Rolecall,
    cluster: Cluster,
    ground: Ground,
}

/// One rolecall beside HAProxy, for three nodes.
fn config(ground: &Ground) -> String {
    let mut text =
        "[haproxy]\nagent_inter = \"250ms\"\n[defaults]\ninterval = \"200ms\"\n".to_owned();
    for Pool { name, keys, .. } in POOLS {
        write!(text, "[[service]]\nname = \"{name}\"\n{keys}\n").expect("a string");
    }
    for id in 1..=3 {
        let listen = (AGENTS..)
            .zip(POOLS)
            .map(|(port, pool)| format!("{} = \"{}\"", pool.name, ground.addr(id, port)));
        let listen = listen.collect::<Vec<_>>().join(", ");
        write!(
            text,
            "[[node]]\nname = \"n{id}\"\nlisten = {{ {listen} }}\n\
             source = {{ kind = \"patroni\", url = \"http://{}\" }}\n",
            ground.addr(id, REST_PORT)
        )
        .expect("a string");
    }
    text
}

impl Stage {
    fn start(template: &Template, program: &Path) -> Self {
        let ground = Ground::new();
        let program = program.to_owned();
        let shape = Shape {
            nodes: 3,
            program,
            failsafe: false,
            tls: None,
            hook: None,
            store: Protocol::Etcd3,
            stepped_clock: false,
        };
        let cluster = Cluster::start(&ground, template, shape);
        let text = config(&ground);
        let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &text);
        rolecall.start();
        let (version, haproxy) = haproxies().swap_remove(0);
        let mut print = command(Path::new(ROLECALL), None);
        print.arg("--config").arg(ground.write("print.toml", &text)).arg("haproxy");
        print.args(["--haproxy-version", &version, "--port", &FRONTS.to_string()]);
        print.args(["--pool-names", "service"]);
        let mut printed = run(print);
        assert!(
            printed.contains("\nlisten postgres_olap\n"),
            "no fallback to the primary: {printed}"
        );
        for (port, _) in (FRONTS..).zip(POOLS) {
            // Every address is not a test's to take.
            let (every, this) = (format!("bind :{port}\n"), ground.addr(CLIENT, port));
            assert_eq!(printed.matches(&every).count(), 1, "{every} in\n{printed}");
            printed = printed.replace(&every, &format!("bind {this}\n"));
        }
        let cfg = ground.write("printed.cfg", &printed);
        Haproxy::check(&ground, &haproxy, &cfg, &[]);
        let haproxy = Haproxy::start(&ground, &haproxy, &cfg, &[]);
        Self { haproxy, _rolecall: rolecall, cluster, ground }
    }

    /// The nodes that HAProxy has UP in a pool.
    fn up(&self, pool: &Pool) -> BTreeSet<u8> {
        let servers = self.haproxy.stats().servers().expect("show stat");
        let up = |id: &u8| servers[&format!("postgres_{}/n{id}", pool.name)].is_up();
        (1..=3).filter(up).collect()
    }

    /// The nodes that Patroni's own API has in it.
    fn by_patroni(&self, pool: &Pool) -> BTreeSet<u8> {
        let yes = |node: &&fixtures::patroni::Node| {
            let status = |question: &&str| node.get(question).map_or(0, |answer| answer.status);
            pool.patroni.iter().any(|question| status(question) == 200)
        };
        self.cluster.nodes().iter().filter(yes).map(|node| node.id).collect()
    }

    /// Waits until HAProxy and Patroni both have these nodes in these pools, and the same in every other.
    fn agree(&self, moment: &str, wanted: &[(&str, &[u8])]) {
        let began = now();
        let line = eventually(PATIENCE, moment, || {
            let mut line = String::new();
            for pool in &POOLS {
                let (own, theirs) = (self.up(pool), self.by_patroni(pool));
                let wanted = wanted.iter().find(|(name, _)| *name == pool.name);
                let wanted = wanted.is_none_or(|(_, ids)| own.iter().eq(ids.iter()));
                if own != theirs || !wanted {
                    return Err(format!("{}: up {own:?}, by Patroni {theirs:?}", pool.name));
                }
                write!(line, " {} {own:?}", pool.name).expect("a string");
            }
            Ok(line)
        });
        println!("{moment}, after {:.1?}:{line}", now().since(began));
    }

    fn tags(&self, id: u8, tags: &serde_json::Value) {
        self.cluster.tag(&self.ground, id, tags);
    }

    /// What reaches PostgreSQL through the pool.
    fn front(&self, name: &str) -> SocketAddr {
        let at = (FRONTS..).zip(POOLS).find(|(_, pool)| pool.name == name);
        self.ground.addr(CLIENT, at.expect("a pool").0)
    }

    fn write(&self, sql: &str) {
        let mut session = self.cluster.node(1).session();
        session.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// The node that a session has reached.
fn reached(stage: &Stage, session: &mut Session) -> u8 {
    let by = session.value("select host(inet_server_addr())").expect("a server");
    (1..=3).find(|id| stage.ground.host(*id).to_string() == by).expect("a node")
}

/// A long query keeps the replay of its own server up: the server drains, its query ends by itself, and who comes
/// meanwhile reaches another.
fn a_long_query_ends_by_itself(stage: &Stage) {
    stage.write("create table held as select 1");
    let front = stage.front("olap");
    let mut long = eventually(PATIENCE, "the replica has the table", || {
        let mut session = Session::connect(front, PATIENCE)?;
        session.value("select count(*)::text from held").map(|_| session)
    });
    let slow = reached(stage, &mut long);
    let other = 5 - slow;
    let mut holder = stage.cluster.node(slow).session();
    holder.query("select pg_advisory_lock(7)").expect("a lock");
    let query = std::thread::spawn(move || {
        long.value("select pg_advisory_lock(7)::text || 'done' from held")
    });
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
    eventually(PATIENCE, "the long query runs", || {
        match stage.cluster.node(slow).sql(waits).as_str() {
            "1" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    stage.write("drop table held");
    stage.write("select pg_logical_emit_message(false, 'rolecall', repeat('x', 4000000))");
    let began = now();
    let server = format!("postgres_olap/n{slow}");
    let drained =
        stage.haproxy.wait(&server, PATIENCE, "drains", |of| of.status.starts_with("DRAIN"));
    println!("n{slow} drains with {} sessions, after {:.1?}", drained.sessions, now().since(began));
    assert_eq!(drained.sessions, 1, "its session stays");
    // What was written takes the other one a moment, too.
    stage.haproxy.wait(
        &format!("postgres_olap/n{other}"),
        PATIENCE,
        "has caught up",
        fixtures::Server::is_up,
    );
    for _ in 0..5 {
        let mut session = Session::connect(front, WITHIN).expect("a server of the pool");
        assert_eq!(reached(stage, &mut session), other);
    }
    // A service without a limit has it still.
    assert!(stage.haproxy.server(&format!("postgres_replica/n{slow}")).is_up());
    assert!(!query.is_finished(), "nobody has cut it");
    holder.query("select pg_advisory_unlock(7)").expect("unlocked");
    assert_eq!(query.join().expect("a thread").expect("an answer"), "done");
    stage.haproxy.wait(&server, PATIENCE, "is back", fixtures::Server::is_up);
}

#[test]
fn read_pools_have_whom_patronis_own_api_has_in_them() {
    if lacks_postgres() || lacks(&["etcd"]) || lacks_haproxy() {
        return;
    }
    let found = patronis();
    let Some(newest) = found.iter().find(|(version, _)| version.starts_with("4.")) else {
        return missing("Patroni 4 in target/patroni");
    };
    let reachable = Reachable::copies_of(std::slice::from_ref(newest));
    let template = Template::make();
    let stage = Stage::start(&template, &reachable.found[0].1);
    let none: &[u8] = &[];

    let all = [("replica", &[2, 3][..]), ("async", &[2, 3]), ("olap", none), ("sync", none)];
    stage.agree("no tag, nobody synchronous", &all);

    stage.tags(2, &json!({"nodetype": "olap", "nosync": true}));
    stage.cluster.tell(1, "PATCH /config", &json!({"synchronous_mode": true}));
    let tagged = [("olap", &[2][..]), ("sync", &[3]), ("async", &[2]), ("read_sync", &[1, 3])];
    stage.agree("n2 tagged, n3 synchronous", &tagged);

    stage.tags(2, &json!({"nodetype": "OLAP"}));
    stage.tags(3, &json!({"nodetype": "olap", "nosync": true}));
    let moved = [("olap", &[3][..]), ("sync", &[2]), ("async", &[3]), ("read_sync", &[1, 2])];
    stage.agree("the tag and the sync standby have moved", &moved);

    stage.tags(2, &json!({"nodetype": "olap", "noloadbalance": false}));
    stage.agree("both tagged", &[("olap", &[2, 3]), ("sync", &[2]), ("async", &[3])]);
    a_long_query_ends_by_itself(&stage);

    stage.tags(3, &json!({"nodetype": "olap", "noloadbalance": true}));
    stage.cluster.tell(1, "PATCH /config", &json!({"synchronous_mode": "quorum"}));
    let quorum = [("quorum", &[2][..]), ("sync", &[2]), ("async", none), ("olap", &[2])];
    stage.agree("quorum commit, no reads of n3", &quorum);
}
