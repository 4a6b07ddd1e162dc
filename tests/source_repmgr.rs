//! The `repmgr` source against real servers with repmgr's extension, registered by repmgr.

#[path = "source_repmgr/cluster.rs"]
mod cluster;
#[path = "source_postgres/server.rs"]
mod server;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::{Node, PASSWORD, settings, source};
use rolecall::config::{Alias, Identity};
use rolecall::electorate::{Answer, Attached, NodeId, Registered, Row};
use rolecall::observation::{ErrorKind, Observation, SourceError};
use rolecall::role::{Role, Timeline};
use rolecall::source::RoleSource;
use rolecall::source::conninfo::places;
use rolecall::source::repmgr::Repmgr;
use rolecall::source::resolve::Resolver;
use rolecall::standby::unfit;
use server::{PATIENCE, PORT, run};
use tokio::net::TcpListener;

/// What stands in connection strings and must never be seen.
const SECRET: &str = "swordfish";

fn answer(seen: &Observation) -> &Answer {
    seen.repmgr.as_deref().expect("repmgr's answer")
}

/// Looks until `wanted` holds; what was seen last is in the panic otherwise.
async fn eventually(source: &mut Repmgr, wanted: impl Fn(&Observation) -> bool) -> Observation {
    let mut last = None;
    let looking = tokio::time::timeout(PATIENCE, async {
        loop {
            match source.observe().await {
                Ok(seen) if wanted(&seen) => return seen,
                other => last = Some(other),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let ended = looking.await;
    ended.unwrap_or_else(|_| panic!("what is waited for did not come; seen last: {last:?}"))
}

fn names(table: &[Row]) -> Vec<(i32, &str, Registered, bool)> {
    table.iter().map(|row| (row.id.0, &*row.name, row.registered, row.active)).collect()
}

#[tokio::test]
async fn a_cluster_says_who_is_who_and_who_follows_whom() {
    let primary = Node::primary();
    let standby = Node::standby(2, &primary);
    let witness = Node::witness(3, &primary);
    for node in [&primary, &witness] {
        // Twice: the second time must change nothing.
        node.packaged_role();
        node.packaged_role();
    }
    let table = [
        (1, "db1", Registered::Primary, true),
        (2, "db2", Registered::Standby, true),
        (3, "db3", Registered::Witness, true),
    ];

    let mut own = primary.source();
    let seen = own.observe().await.unwrap();
    let said = answer(&seen);
    assert_eq!((seen.role, seen.timeline), (Some(Role::Primary), Some(Timeline(1))));
    assert_eq!((seen.replay, seen.upkeep), (None, None));
    assert_eq!(names(&said.table), table);
    assert!(said.table.iter().all(|row| !row.shares_address), "{said:?}");
    let system = primary.sql("SELECT system_identifier FROM pg_control_system()");
    assert_eq!(*said.system, *system);
    // No repmgrd has told the server anything.
    let untold = (None, None, None, None, false, false);
    let told = |said: &Answer| {
        let Answer { me, local_id, upstream, upstream_seen, .. } = said;
        (*me, *local_id, *upstream, *upstream_seen, said.repmgrd_running, said.repmgrd_paused)
    };
    assert_eq!(told(said), untold);
    assert_eq!(said.attached, Attached::Nobody);

    // The others, as the own table names them.
    let mut peers: Vec<Repmgr> = said.table[1..].iter().map(|row| own.peer(row)).collect();
    let streaming = |seen: &Observation| seen.replay.is_some_and(|replay| replay.streaming);
    let seen = eventually(&mut peers[0], streaming).await;
    let said = answer(&seen);
    assert_eq!((seen.role, seen.timeline), (Some(Role::Replica), Some(Timeline(1))));
    assert_eq!((&*said.system, &said.attached), (system.as_str(), &Attached::To(NodeId(1))));
    assert_eq!(names(&said.table), table);
    let upkeep = seen.upkeep.unwrap();
    // PostgreSQL's default is one minute.
    assert_eq!(upkeep.silent_after, Duration::from_secs(35));
    assert!(upkeep.heard.unwrap() < upkeep.silent_after && upkeep.apply_delay.is_zero());
    let seen = peers[1].observe().await.unwrap();
    assert_ne!(*answer(&seen).system, *system);
    assert_eq!(answer(&seen).me, None, "a peer's place is the asker's business");

    who_is_me(&primary, &standby, &witness).await;
    ways_to_follow(&primary, &standby).await;
    upkeep_of(&standby).await;
}

/// The own node, by its number, by its name, and by what repmgrd says.
async fn who_is_me(primary: &Node, standby: &Node, witness: &Node) {
    let me = async |node: &Node, identity: Identity| {
        let settings = rolecall::config::Repmgr { node: identity, ..node.with_password() };
        let seen = source(&settings).observe().await.unwrap();
        (answer(&seen).me, seen.role)
    };
    let named = |name: &str| Identity::Name(name.to_owned());
    let is_primary = (Some(NodeId(1)), Some(Role::Primary));
    assert_eq!(me(primary, Identity::Id(NodeId(1))).await, is_primary);
    assert_eq!(me(primary, named("db1")).await, is_primary);
    assert_eq!(me(primary, named("db9")).await, (None, Some(Role::Primary)));
    // One that is not in the table is still what the operator said; the rule tells.
    let stranger = (Some(NodeId(9)), Some(Role::Primary));
    assert_eq!(me(primary, Identity::Id(NodeId(9))).await, stranger);
    let is_standby = (Some(NodeId(2)), Some(Role::Replica));
    assert_eq!(me(standby, named("db2")).await, is_standby);

    for node in [primary, standby, witness] {
        assert_eq!(me(node, Identity::Told).await.0, None);
        node.told(node.id);
        assert_eq!(me(node, Identity::Told).await.0, Some(NodeId(node.id)));
    }
    // A witness is writable and has no role in the cluster.
    assert_eq!(me(witness, Identity::Told).await.1, None);
    assert_eq!(me(witness, Identity::Id(NodeId(3))).await.1, None);

    witness.sql("SELECT repmgr.set_upstream_node_id(1)");
    witness.sql("SELECT repmgr.set_upstream_last_seen(1)");
    let seen = witness.source().observe().await.unwrap();
    assert_eq!(answer(&seen).local_id, Some(NodeId(3)));
    assert_eq!(answer(&seen).upstream, Some(NodeId(1)));
    assert!(answer(&seen).upstream_seen.unwrap() < PATIENCE);
    assert_eq!(unfit(&seen).map(|reason| reason.label()), Some("witness"));
}

/// A receiver's address against the rows: by name and by address, either way.
async fn ways_to_follow(primary: &Node, standby: &Node) {
    let addr = IpAddr::from(primary.server.addr);
    let dns = Resolver::with(move |name| match name {
        "db1.test" => Ok(vec![addr]),
        _ => Err(std::io::Error::other("no such name")),
    });
    let addresses = |names: &[&str]| {
        let alias = |name: &&str| Alias { host: (*name).to_owned(), port: None };
        [(NodeId(1), names.iter().map(alias).collect())].into()
    };
    let by_address = format!("host={addr} port={PORT} user=repmgr password={SECRET}");
    let by_name = format!("host=db1.test port={PORT} password={SECRET} dbname=repmgr");
    let by_uri = format!("postgresql://repmgr:{SECRET}@db9.test,db1.test:{PORT}/repmgr?host=");
    let unknown = |name: &str| Attached::Unknown(format!("{name}:{PORT}").into());
    let to_primary = || Attached::To(NodeId(1));
    for (row, follows, names, wanted) in [
        (&by_address, "db1.test", &[][..], to_primary()),
        (&by_name, "", &[], to_primary()),
        (&by_name, "DB1.test", &[], to_primary()),
        (&by_uri, "", &[], to_primary()),
        (&by_address, "db1-repl.test", &[], unknown("db1-repl.test")),
        (&by_address, "db1-repl.test", &["db2.test", "db1-repl.test"], to_primary()),
    ] {
        let row = row.trim_end_matches("?host=");
        primary.sql(&format!("UPDATE repmgr.nodes SET conninfo = '{row}' WHERE node_id = 1"));
        let host = if follows.is_empty() { String::new() } else { format!("host={follows} ") };
        let from = format!("{host}hostaddr={addr} port={PORT} user=postgres");
        standby.sql(&format!("ALTER SYSTEM SET primary_conninfo = '{from}'"));
        standby.sql("SELECT pg_reload_conf()");
        let settings =
            rolecall::config::Repmgr { addresses: addresses(names), ..standby.with_password() };
        let mut source = Repmgr::new(&settings, PATIENCE, dns.clone()).unwrap();
        let host = if follows.is_empty() { addr.to_string() } else { follows.to_owned() };
        let sender = "SELECT sender_host FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        while standby.sql(sender) != host {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seen = eventually(&mut source, |seen| answer(seen).attached == wanted).await;
        assert!(!format!("{seen:?}").contains(SECRET), "{seen:?}");
    }
    // What repmgrd says comes last.
    standby.sql("SELECT repmgr.set_upstream_node_id(1)");
    let seen = standby.source().observe().await.unwrap();
    assert_eq!(answer(&seen).attached, to_primary());
}

/// What speaks against a standby.
async fn upkeep_of(standby: &Node) {
    let mut source = standby.source();
    let seen = source.observe().await.unwrap();
    assert_eq!(unfit(&seen), None);
    let set = |setting: &str| {
        standby.sql(&format!("ALTER SYSTEM SET {setting}"));
        standby.sql("SELECT pg_reload_conf()");
    };
    let because = |seen: &Observation, label| unfit(seen).is_some_and(|no| no.label() == label);
    set("recovery_min_apply_delay = '1d'");
    let seen = eventually(&mut source, |seen| because(seen, "apply_delay")).await;
    assert_eq!(seen.upkeep.unwrap().apply_delay, Duration::from_secs(24 * 3600));
    set("recovery_min_apply_delay = 0");
    set("wal_receiver_timeout = '100ms'");
    let short = |seen: &Observation| {
        seen.upkeep.unwrap().silent_after == Duration::from_secs(10) && unfit(seen).is_none()
    };
    eventually(&mut source, short).await;
    set("wal_receiver_timeout = '1min'");
    standby.sql("SELECT pg_wal_replay_pause()");
    eventually(&mut source, |seen| because(seen, "replay_paused")).await;
    standby.sql("SELECT pg_wal_replay_resume()");
    set("primary_conninfo = 'host=/nowhere'");
    let seen = eventually(&mut source, |seen| because(seen, "not_streaming")).await;
    assert_eq!(answer(&seen).attached, Attached::Nobody);
}

async fn refused(source: &mut Repmgr, kind: ErrorKind, said: &[&str]) -> SourceError {
    let error = source.observe().await.unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    for said in said {
        assert!(error.detail.contains(said), "expected {said:?}: {error}");
    }
    for secret in [SECRET, PASSWORD] {
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
    error
}

#[tokio::test]
async fn what_may_not_be_read_is_named() {
    let node = Node::primary();
    node.packaged_role();
    node.told(1);
    node.sql(&format!(
        "UPDATE repmgr.nodes SET conninfo = conninfo || ' password={SECRET} passfile=/{SECRET}'"
    ));
    least_privilege(&node);

    // By the view. The same source finds its way back after each.
    let mut source = node.source();
    assert_eq!(answer(&source.observe().await.unwrap()).me, Some(NodeId(1)));
    for grant in [
        "USAGE ON SCHEMA rolecall",
        "SELECT ON rolecall.nodes",
        "EXECUTE ON FUNCTION rolecall.repmgrd_state()",
    ] {
        node.sql(&format!("REVOKE {grant} FROM rolecall"));
        for _ in 0..2 {
            refused(&mut source, ErrorKind::Grant, &[r#""rolecall" lacks"#, grant]).await;
        }
        node.sql(&format!("GRANT {grant} TO rolecall"));
        source.observe().await.unwrap();
    }
    node.sql("DROP SCHEMA rolecall CASCADE");
    refused(&mut source, ErrorKind::Grant, &["USAGE ON SCHEMA repmgr", "SELECT ON repmgr.nodes"])
        .await;

    // By repmgr's own schema.
    let functions = "repmgr.get_local_node_id(), repmgr.get_upstream_node_id(), \
                     repmgr.get_upstream_last_seen(), repmgr.repmgrd_is_running(), \
                     repmgr.repmgrd_is_paused()";
    node.sql("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA repmgr FROM PUBLIC");
    node.sql(&format!("GRANT EXECUTE ON FUNCTION {functions} TO rolecall"));
    node.sql("GRANT USAGE ON SCHEMA repmgr TO rolecall; GRANT SELECT ON repmgr.nodes TO rolecall");
    let seen = source.observe().await.unwrap();
    assert_eq!(answer(&seen).me, Some(NodeId(1)));
    assert!(!format!("{seen:?}").contains(SECRET), "{seen:?}");
    let functions = functions.split(", ").map(|name| format!("EXECUTE ON FUNCTION {name}"));
    let others = ["USAGE ON SCHEMA repmgr", "SELECT ON repmgr.nodes"].map(str::to_owned);
    for grant in others.into_iter().chain(functions) {
        node.sql(&format!("REVOKE {grant} FROM rolecall"));
        refused(&mut source, ErrorKind::Grant, &[&grant]).await;
        node.sql(&format!("GRANT {grant} TO rolecall"));
        source.observe().await.unwrap();
    }

    // A standby's receiver hides from a role without this one.
    let standby = Node::standby(2, &node);
    let mut follower = standby.source();
    eventually(&mut follower, |seen| seen.replay.is_some_and(|replay| replay.streaming)).await;
    node.sql("REVOKE pg_read_all_stats FROM rolecall");
    let hidden = tokio::time::timeout(PATIENCE, async {
        while follower.observe().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    hidden.await.unwrap();
    refused(&mut follower, ErrorKind::Grant, &["lacks pg_read_all_stats"]).await;

    strangers(&node).await;
}

/// The packaged role sees hosts and ports, and can pause nothing.
fn least_privilege(node: &Node) {
    let ask = |sql: &str| {
        let mut psql = node.psql("rolecall");
        psql.args(["-c", sql]).output().unwrap()
    };
    let nodes = ask("SELECT * FROM rolecall.nodes");
    let nodes = String::from_utf8(nodes.stdout).unwrap();
    assert!(nodes.contains(&format!("host={} port={PORT}", node.server.addr)), "{nodes}");
    assert!(!nodes.contains(SECRET), "{nodes}");
    for forbidden in [
        "SELECT repmgr.repmgrd_pause(true)",
        "SELECT * FROM repmgr.nodes",
        "SELECT repmgr.set_upstream_node_id(1)",
        "CREATE TABLE rolecall.t (n int)",
    ] {
        let said = ask(forbidden);
        assert!(String::from_utf8_lossy(&said.stderr).contains("permission denied"), "{said:?}");
    }
    let places = |conninfo: &str| {
        node.sql(&format!("UPDATE repmgr.nodes SET conninfo = $x${conninfo}$x$"));
        let shown = node.sql("SELECT conninfo FROM rolecall.nodes");
        assert!(!shown.contains(SECRET), "{conninfo}: {shown}");
        places(&shown).unwrap_or_else(|error| panic!("{conninfo}: {shown}: {error}"))
    };
    let before = node.sql("SELECT conninfo FROM repmgr.nodes");
    for conninfo in [
        "host=db1 port=5433 user=repmgr password=swordfish",
        "password = 'swordfish host=db9' host = 'db1' hostaddr=10.0.0.1",
        r"password='sword\' host=db9 swordfish' host=db\1,db2 port=5433,5434",
        r"password=a\ host=db9\ swordfish host=db1",
        "host=db1 passfile=/swordfish host=db2",
        "hosts=db9 port=5433",
        "postgresql://repmgr:swordfish@db1:5433,[fd00::1]/repmgr?password=swordfish&connect_timeout=2",
        "postgres://db1/repmgr?user=repmgr&host=db2&sslpassword=swordfish&port=5433",
        "postgresql://repmgr:sword?host=swordfish@db1",
        "postgresql:///repmgr?hostaddr=10.0.0.1",
        "postgresql://%64b1",
    ] {
        let whole = rolecall::source::conninfo::places(conninfo).unwrap();
        assert_eq!(places(conninfo), whole, "{conninfo}");
    }
    node.sql(&format!("UPDATE repmgr.nodes SET conninfo = $x${before}$x$"));
}

/// Servers, databases and users that are not the right ones.
async fn strangers(node: &Node) {
    let to = |rest: &str| {
        source(&settings(&format!("host={} sslmode=disable {rest}", node.server.addr)))
    };
    let mut elsewhere = to("user=postgres dbname=postgres");
    let said = [r#"database "postgres" has no extension repmgr"#];
    refused(&mut elsewhere, ErrorKind::NotRepmgr, &said).await;
    node.sql("CREATE DATABASE bare");
    node.server.sql("SELECT 1");
    run(node.psql("postgres").args(["-d", "bare", "-c", "CREATE EXTENSION repmgr"]));
    refused(&mut to("user=postgres dbname=bare"), ErrorKind::NoNodes, &["is empty"]).await;
    run(node.psql("postgres").args([
        "-d",
        "bare",
        "-c",
        "ALTER EXTENSION repmgr DROP FUNCTION repmgr.get_upstream_node_id(); \
         DROP FUNCTION repmgr.get_upstream_node_id()",
    ]));
    let said = ["no get_upstream_node_id, expected repmgr 4.4 or later"];
    refused(&mut to("user=postgres dbname=bare"), ErrorKind::NotRepmgr, &said).await;

    refused(&mut to("user=nobody dbname=repmgr"), ErrorKind::Denied, &["28000"]).await;
    refused(&mut to("user=postgres dbname=nowhere"), ErrorKind::Denied, &["3D000"]).await;
    let mut wrong = to(&format!("user=rolecall dbname=repmgr password={SECRET}"));
    refused(&mut wrong, ErrorKind::Denied, &["28P01"]).await;
    node.sql("ALTER ROLE rolecall CONNECTION LIMIT 0");
    refused(&mut node.source(), ErrorKind::SlotsFull, &["53300"]).await;
}

#[tokio::test]
async fn a_peer_is_asked_at_each_of_its_places() {
    let node = Node::primary();
    node.packaged_role();
    node.told(1);
    let mut own = node.source();
    let addr = node.server.addr;
    own.observe().await.unwrap();

    let row = |conninfo: &str| Row {
        id: NodeId(1),
        name: "db1".into(),
        registered: Registered::Primary,
        active: true,
        places: places(conninfo).unwrap().into(),
        shares_address: false,
    };
    // Nobody listens on the first; on the other the kernel takes the connection and nobody answers.
    let silent = TcpListener::bind((addr, 0)).await.unwrap();
    let silent = silent.local_addr().unwrap().port();
    let refusing = TcpListener::bind((addr, 0)).await.unwrap().local_addr().unwrap().port();

    for conninfo in [
        format!("host={addr} port={PORT} user=nobody password=wrong dbname=nowhere"),
        format!("postgresql://nobody:wrong@{addr}:{refusing},{addr}:{PORT}/nowhere"),
        format!("host=no-such-name,{addr} hostaddr=,{addr} port={PORT}"),
    ] {
        let seen = own.peer(&row(&conninfo)).observe().await.unwrap();
        assert_eq!(answer(&seen).local_id, Some(NodeId(1)), "{conninfo}");
    }

    let mut down = own.peer(&row(&format!("host={addr},{addr} port={refusing},{refusing}")));
    refused(&mut down, ErrorKind::ServerDown, &["refused"]).await;
    // A name that leads nowhere leaves a doubt.
    let mut doubtful = own.peer(&row(&format!("host={addr},no-such-name port={refusing}")));
    refused(&mut doubtful, ErrorKind::Unresolved, &["no-such-name"]).await;
    let mut lost = own.peer(&Row { places: Vec::new().into(), ..row("") });
    refused(&mut lost, ErrorKind::Unresolved, &["leads nowhere"]).await;

    // The look that hung was dropped; the next one begins behind the place that hangs.
    let mut half = own.peer(&row(&format!("host={addr},{addr} port={silent},{PORT}")));
    let hung = tokio::time::timeout(Duration::from_millis(300), half.observe()).await;
    assert!(hung.is_err(), "{hung:?}");
    for _ in 0..2 {
        half.observe().await.unwrap();
    }
    let mut nobody = own.peer(&row("host=db9")).peer(&row("host=db9"));
    refused(&mut nobody, ErrorKind::Unresolved, &[]).await;
}

/// What is logged while it lives.
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&bytes);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || Writer(Arc::clone(&writer)))
            .finish();
        (Self(bytes), tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_an_operator_should_know_is_said_once_and_without_secrets() {
    let (logged, _guard) = Logged::start();
    let node = Node::primary();
    node.told(1);
    node.sql(&format!(
        "INSERT INTO repmgr.nodes (node_id, node_name, type, active, conninfo, repluser, config_file) \
         VALUES (2, 'db2', 'standby', true, 'host=db2 password=a {SECRET}', 'r', '')"
    ));
    let mut own = source(&node.settings("postgres"));
    for _ in 0..3 {
        let seen = own.observe().await.unwrap();
        assert!(answer(&seen).table[1].places.is_empty());
        assert!(!format!("{seen:?}").contains(SECRET), "{seen:?}");
    }
    let text = logged.text();
    for said in ["two nodes vote", "node=node 2"] {
        assert_eq!(text.matches(said).count(), 1, "{said}: {text}");
    }
    assert!(!text.contains(SECRET), "{text}");

    // A row that leads to where another one leads.
    node.sql(
        "UPDATE repmgr.nodes SET conninfo = (SELECT conninfo FROM repmgr.nodes WHERE node_id = 1)",
    );
    let seen = own.observe().await.unwrap();
    assert!(answer(&seen).table.iter().all(|row| row.shares_address), "{seen:?}");
    node.sql("INSERT INTO repmgr.nodes SELECT 3, 1, true, 'db3', 'bdr', 'x', 1, '', 'r', '', ''");
    let _ = refused(&mut own, ErrorKind::Malformed, &["`type`"]).await;
    assert_eq!(node.look("postgres").await.unwrap_err().kind, ErrorKind::Malformed);
}
