//! Which other nodes of a repmgr cluster are looked at, and what the log is told of them.

use std::sync::LazyLock;
use std::time::Duration;

use rolecall::look::error::ErrorKind;
use rolecall::look::observation::Observation;
use rolecall::look::repmgr::{Answer, Attached, NodeId, Registered, Row};
use rolecall::look::role::Role;
use rolecall::watch::record::Records;
use rolecall::watch::watched::others;

use super::cluster::Cluster;
use super::servers::{Asked, Primary, Server, Standby, Witness, fails, healthy, refuses, table};
use super::world::{Does, Scripted, World};
use super::{LOGGING, lines, logged};

const SECOND: Duration = Duration::from_secs(1);

/// What cannot be written down costs a settling at the next start, and one line of the log.
#[tokio::test(start_paused = true)]
async fn a_yes_that_cannot_be_written_down_is_warned_of_once() {
    let cluster = Cluster::steady().await;
    let dir = cluster.record("n1").parent().unwrap().to_owned();
    std::fs::remove_dir_all(&dir).unwrap();
    cluster.pass(5 * SECOND).await;
    let of_it = |line: &serde_json::Value| line["dir"] == dir.display().to_string();
    let lines = lines("rolecall cannot write down that the primary was confirmed");
    assert_eq!(lines.iter().filter(|line| of_it(line)).count(), 1);
}

/// Who holds Patroni's lock is tried again at every look, and warned of once.
#[test]
fn a_lock_that_cannot_be_written_down_is_warned_of_once_and_tried_again() {
    LazyLock::force(&LOGGING);
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("runtime");
    let records = || Records::in_dir(&dir, "this boot".to_owned());
    let about = ("n1", 0, "http://127.0.0.1:8008");
    let mut writing = records();
    for held in [true, true, false, true] {
        writing.keep_held(about, held);
    }
    let of_it = |line: &serde_json::Value| line["dir"] == dir.display().to_string();
    let warned = lines("rolecall cannot write down who holds the leader lock");
    assert_eq!(warned.iter().filter(|line| of_it(line)).count(), 1);
    std::fs::create_dir(&dir).unwrap();
    writing.keep_held(about, true);
    assert_eq!(records().held(about), Some(true));
}

/// Who never was READY has no record, and that is no trouble.
#[tokio::test(start_paused = true)]
async fn a_node_that_gives_way_without_a_record_warns_of_nothing() {
    let cluster = Cluster::steady().await;
    cluster.servers.answer(Asked::Own(1), refuses());
    cluster.pass(SECOND).await;
    for _ in 0..2 {
        assert!(!cluster.ask(1).await.expect("an answer").claims);
    }
    assert_eq!(
        lines("the record of a node that gave way cannot be removed"),
        [] as [serde_json::Value; 0]
    );
}

/// The next failover will not come from a node whose repmgrd is paused: said once, after 30 s.
#[tokio::test(start_paused = true)]
async fn a_repmgrd_that_is_in_trouble_is_warned_of_once_after_thirty_seconds() {
    let name = "troubled";
    let cluster = Cluster::steady_as(name).await;
    let told = |begins: &str| logged(name, begins).len();
    let standby = |change: fn(&mut Answer)| {
        let mut server = Server::standby(2, 1, &healthy());
        change(&mut server.answer);
        server.look()
    };
    let answer = |look| cluster.servers.answer(Asked::Peer(2), look);
    let well_again = "repmgrd of node 2 is well again";
    let (paused, missing) = ("node 2: repmgrd is paused", "node 2: repmgrd does not run");

    // A switchover pauses it for some seconds.
    answer(standby(|answer| answer.repmgrd_paused = true));
    cluster.pass(29 * SECOND).await;
    answer(standby(|_| ()));
    cluster.pass(2 * SECOND).await;
    assert_eq!((told(paused), told(well_again)), (0, 0), "nothing worth a word");

    answer(standby(|answer| answer.repmgrd_paused = true));
    cluster.pass(32 * SECOND).await;
    let warned = logged(name, paused);
    assert_eq!(warned.len(), 1);
    assert_eq!(warned[0]["peer"], 2);
    assert_eq!(warned[0]["trouble"], "paused");
    assert!(warned[0]["hint"].as_str().is_some_and(|hint| hint.contains("repmgr service unpause")));
    cluster.pass(60 * SECOND).await;
    assert_eq!(told(paused), 1, "once");

    // It does not answer for a while, and is no better for that.
    answer(fails());
    cluster.pass(5 * SECOND).await;
    answer(standby(|answer| answer.repmgrd_paused = true));
    cluster.pass(40 * SECOND).await;
    assert_eq!((told(paused), told(well_again)), (1, 0));

    // Another trouble is another word, and no recovery.
    answer(standby(|answer| answer.repmgrd_running = false));
    cluster.pass(32 * SECOND).await;
    assert_eq!((told(missing), told(well_again)), (1, 0));
    answer(standby(|_| ()));
    cluster.pass(2 * SECOND).await;
    assert_eq!(told(well_again), 1);
}

/// Whose looks fail now and how: each of the cluster is told apart from the others.
#[tokio::test(start_paused = true)]
async fn a_failing_peer_is_warned_of_once_by_its_number_and_its_recovery_too() {
    let name = "peers";
    let cluster = Cluster::steady_as(name).await;
    cluster.servers.answer(Asked::Peer(3), refuses());
    cluster.pass(5 * SECOND).await;
    cluster.stand_behind_node_1();
    cluster.pass(5 * SECOND).await;
    let failed = logged(name, "poll failed: ");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["peer"], 3);
    // The sentence is about the one that fails, not about the one that asks it.
    let said = failed[0].to_string();
    assert!(said.contains("repmgr of node 3, asked by "), "{said}");
    let well = logged(name, "polls succeed again");
    assert_eq!(well.len(), 1, "{well:?}");
    assert_eq!(well[0]["peer"], 3);
}

/// A server that fails in ever other ways does not fill the log, and how much was left out is said.
#[tokio::test(start_paused = true)]
async fn warnings_that_were_left_out_are_counted_in_the_next_one() {
    let kinds = [ErrorKind::Timeout, ErrorKind::SlotsFull];
    let script = (0..60).map(|n| Does::Fails(kinds[n % 2]));
    let source = Scripted::new(script);
    let world = World::watching_as("flood", &[("a", &source)]).await;
    world.pass(29 * SECOND).await;
    let untold: Vec<_> =
        logged("flood", "poll failed: ").iter().map(|line| line["untold"].as_u64()).collect();
    assert!(untold[..8].iter().all(Option::is_none), "{untold:?}");
    assert!(
        untold.len() < 12 && untold[8..].iter().any(|n| n.is_some_and(|n| n > 1)),
        "{untold:?}"
    );
}

/// Who is looked at beside the own server.
#[test]
fn a_registered_primary_looks_at_all_others_whose_rows_lead_to_one_server_each() {
    let rows =
        table(&[(1, Primary, true), (2, Standby, true), (3, Standby, true), (4, Witness, true)]);
    let looked_at = |me: i32, change: &dyn Fn(&mut Vec<Row>)| -> Vec<i32> {
        let mut rows = rows.to_vec();
        change(&mut rows);
        let mut server = Server::primary(1, &rows.into());
        server.answer.me = Some(NodeId(me));
        let seen = server.look().unwrap();
        others(&seen, false).iter().map(|row| row.id.0).collect()
    };
    assert_eq!(looked_at(1, &|_| ()), [2, 3, 4]);
    assert_eq!(looked_at(2, &|_| ()), [] as [i32; 0], "its own row is a standby's");
    assert_eq!(looked_at(9, &|_| ()), [] as [i32; 0], "it has no row");
    assert_eq!(looked_at(1, &|rows| rows[1].shares_address = true), [3, 4], "one address for two");
    assert_eq!(looked_at(1, &|rows| rows[1].places = [].into()), [3, 4], "it leads nowhere");
    let deposed = |rows: &mut Vec<Row>| {
        rows[0].registered = Registered::Standby;
        rows[1].registered = Registered::Primary;
    };
    assert_eq!(looked_at(1, &deposed), [] as [i32; 0], "another is registered as the primary");
}

/// How far behind a standby is can only be told with its primary.
#[test]
fn a_standby_looks_at_its_primary_alone_and_only_where_lag_matters() {
    let rows = table(&[(1, Standby, true), (2, Primary, true), (3, Standby, true)]);
    let looked_at = |lag_matters, me: Option<i32>, rows: &[Row]| -> Vec<i32> {
        let mut server = Server::standby(1, 2, &rows.into());
        (server.answer.me, server.answer.attached) = (me.map(NodeId), Attached::To(NodeId(2)));
        let seen: Observation = server.look().unwrap();
        others(&seen, lag_matters).iter().map(|row| row.id.0).collect()
    };
    assert_eq!(looked_at(true, Some(1), &rows), [2]);
    assert_eq!(looked_at(false, Some(1), &rows), [] as [i32; 0]);
    assert_eq!(looked_at(true, None, &rows), [] as [i32; 0], "nobody knows which node it is");
    let mut nowhere = rows.to_vec();
    nowhere[1].places = [].into();
    assert_eq!(
        looked_at(true, Some(1), &nowhere),
        [] as [i32; 0],
        "its row in repmgr.nodes contains no usable address"
    );
    let alone = Observation::of(Role::Primary);
    assert!(others(&alone, true).is_empty(), "it says nothing of a cluster");
}
