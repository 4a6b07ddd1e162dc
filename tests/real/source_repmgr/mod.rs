//! The `repmgr` source against real servers with repmgr's extension, registered by repmgr.

mod cluster;
mod conf;
mod grants;
mod impostor;
mod nowhere;
mod secrets;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::fixtures::authority::Authority;
use crate::fixtures::lacks_repmgr;
use crate::server::{PATIENCE, PORT};
use cluster::{Node, PASSWORD, settings, source};
use rolecall::config::conninfo::places;
use rolecall::config::{Alias, Identity};
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::{Expiry, Observation};
use rolecall::look::repmgr::{Answer, Attached, NodeId, Registered, Row};
use rolecall::look::role::{Role, Timeline};
use rolecall::source::RoleSource;
use rolecall::source::repmgr::Repmgr;
use rolecall::source::resolve::Resolver;
use rolecall::verdict::standby::unfit;
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
    if lacks_repmgr() {
        return;
    }
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
    certificate_of(&primary).await;
}

/// By TLS, a look says when the server's certificate ends.
async fn certificate_of(node: &Node) {
    let (cert, key) = Authority::new().sign_until("db1.test", 2100);
    node.server.put_secret("data/server.crt", &cert);
    node.server.put_secret("data/server.key", &key);
    node.sql("ALTER SYSTEM SET ssl = on");
    node.sql("SELECT pg_reload_conf()");
    let by = |sslmode: &str| {
        let addr = node.server.addr;
        source(&settings(&format!(
            "host={addr} port={PORT} user=postgres dbname=repmgr sslmode={sslmode}"
        )))
    };
    // The beginning of 2100.
    let ends = Expiry { own: None, peer: Some(4_102_444_800) };
    eventually(&mut by("require"), |seen| seen.expiry == ends).await;
    assert_eq!(by("disable").observe().await.unwrap().expiry, Expiry::default());
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
    assert_eq!(unfit(&seen, None).map(|reason| reason.label()), Some("witness"));
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
    assert_eq!(unfit(&seen, None), None);
    let set = |setting: &str| {
        standby.sql(&format!("ALTER SYSTEM SET {setting}"));
        standby.sql("SELECT pg_reload_conf()");
    };
    let because =
        |seen: &Observation, label| unfit(seen, None).is_some_and(|no| no.label() == label);
    set("recovery_min_apply_delay = '1d'");
    let seen = eventually(&mut source, |seen| because(seen, "apply_delay")).await;
    assert_eq!(seen.upkeep.unwrap().apply_delay, Duration::from_secs(24 * 3600));
    set("recovery_min_apply_delay = 0");
    set("wal_receiver_timeout = '100ms'");
    let short = |seen: &Observation| {
        seen.upkeep.unwrap().silent_after == Duration::from_secs(10) && unfit(seen, None).is_none()
    };
    eventually(&mut source, short).await;
    set("wal_receiver_timeout = '1min'");
    standby.sql("SELECT pg_wal_replay_pause()");
    eventually(&mut source, |seen| because(seen, "replay_paused")).await;
    standby.sql("SELECT pg_wal_replay_resume()");
    set("primary_conninfo = 'host=/nowhere'");
    let cut_off = |seen: &Observation| seen.replay.is_some_and(|replay| !replay.streaming);
    let seen = eventually(&mut source, cut_off).await;
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

/// A host, or an address of a name, that drops whatever comes costs a share of a look; the one that answers comes
/// first the next time.
async fn dead_addresses(node: &Node, row: impl Fn(&str) -> Row) {
    let addr = node.server.addr;
    let [_, b, c, d] = addr.octets();
    let dead = Ipv4Addr::new(127, b.wrapping_add(100), c, d);
    let _held = crate::server::silent(dead);
    let both = [IpAddr::from(dead), addr.into()];
    let dns = Resolver::with(move |name| match name {
        "db1.test" => Ok(both.to_vec()),
        _ => Err(std::io::Error::other("no such name")),
    });
    // Takes every connection, and closes it.
    let closing = TcpListener::bind((addr, 0)).await.unwrap();
    let closes = closing.local_addr().unwrap().port();
    tokio::spawn(async move { while closing.accept().await.is_ok() {} });
    // Long: one address alone has 250 ms of it.
    let own = Repmgr::new(&node.with_password(), PATIENCE, dns).unwrap();
    let within = Duration::from_secs(3);
    let less_than_alone = Duration::from_millis(200);
    for conninfo in [
        format!("host={dead},{addr} port={PORT}"),
        format!("host=db1.test port={PORT}"),
        format!("host={addr},{dead},{addr} port={closes},{PORT},{PORT}"),
    ] {
        let mut peer = own.peer(&row(&conninfo));
        let seen = rolecall::watch::poller::look(&mut peer, within).await;
        assert_eq!(seen.map(|seen| answer(&seen).local_id), Ok(Some(NodeId(1))), "{conninfo}");
        // More than once on a loaded machine.
        let mut remembered = false;
        for _ in 0..20 {
            remembered |= rolecall::watch::poller::look(&mut peer, less_than_alone).await.is_ok();
        }
        assert!(remembered, "{conninfo}: the dead one is still asked first");
    }
}

#[tokio::test]
async fn a_peer_is_asked_at_each_of_its_places() {
    if lacks_repmgr() {
        return;
    }
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
    refused(&mut lost, ErrorKind::Unresolved, &["contains no usable address"]).await;

    // The look that hung was dropped; the next one begins behind the place that hangs.
    let mut half = own.peer(&row(&format!("host={addr},{addr} port={silent},{PORT}")));
    let hung = tokio::time::timeout(Duration::from_millis(300), half.observe()).await;
    assert!(hung.is_err(), "{hung:?}");
    for _ in 0..2 {
        half.observe().await.unwrap();
    }

    dead_addresses(&node, row).await;
    let mut nobody = own.peer(&row("host=db9")).peer(&row("host=db9"));
    refused(&mut nobody, ErrorKind::Unresolved, &[]).await;
}
