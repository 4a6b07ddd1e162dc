//! What the keeper goes on saying over orders, stops, reloads and restarts, and what the log is told of
//! the other nodes.

use std::sync::Arc;
use std::time::Duration;

use rolecall::config::Config;
use rolecall::electorate::{Answer, Attached, NodeId, Registered, Row};
use rolecall::observation::{ErrorKind, Observation, SourceError};
use rolecall::order::{Order, Target, Wish};
use rolecall::plan::PlannedNode;
use rolecall::role::Role;
use rolecall::verdict::State;
use rolecall::watched::others;

use super::cluster::{
    Asked, Cluster, Primary, Server, Standby, Witness, fails, healthy, refuses, table,
};
use super::world::{Does, INTERVAL, Scripted, World, ms, settle};
use super::{READY, logged};

const SECOND: Duration = Duration::from_secs(1);

fn order(world: &World, wish: Wish, node: Option<&str>) -> Arc<Order> {
    let target = Target { service: None, node: node.map(str::to_owned) };
    Arc::new(Order::new(target, wish, ("ann", "a new disk"), world.clock.now()))
}

/// What is answered about a node, by its orders and by what is said at the end.
fn answered(world: &World, at: usize) -> State {
    let facts = world.facts.borrow();
    facts.nodes[at].verdict(world.clock.now(), &facts.nodes[at].services[0]).state
}

fn announced(world: &World) -> Vec<State> {
    let announced = world.announced.borrow();
    announced.iter().map(|said| said[0].verdict.state).collect()
}

/// Two nodes, both READY.
async fn two(world: &World) -> [Scripted; 2] {
    let sources = [(); 2].map(|()| Scripted::new([Does::Says(Role::Primary)]));
    let nodes = vec![
        world.node("n1", INTERVAL, &[("a", &sources[0])]),
        world.node("n2", INTERVAL, &[("b", &sources[1])]),
    ];
    world.plan_nodes(nodes).await.await.expect("comes into force");
    sources
}

/// Operators see what they ordered, and `systemctl status` does, without waiting for a look.
#[tokio::test(start_paused = true)]
async fn an_order_that_is_given_while_it_runs_is_said_and_announced_at_once() {
    let (world, orders) = World::ordered("n");
    let _sources = two(&world).await;
    for (node, expected) in
        [("n1", [State::NotReady, State::Ready]), ("n2", [State::Ready, State::NotReady])]
    {
        orders.send_replace(vec![order(&world, Wish::Maint, Some(node))]);
        settle().await;
        assert_eq!([0, 1].map(|at| answered(&world, at)), expected, "{node} is ordered out");
        assert_eq!(announced(&world), expected, "{node} is ordered out");
    }
    orders.send_replace(vec![]);
    settle().await;
    assert_eq!(announced(&world), [State::Ready; 2]);
}

/// A ready cannot be stored up for a node that is a no by what is seen: it is over at once.
#[tokio::test(start_paused = true)]
async fn a_ready_that_is_given_to_a_no_is_dropped_at_once() {
    let (world, orders) = World::ordered("n");
    let [first, _second] = two(&world).await;
    first.now_does(Does::Says(Role::Replica));
    world.pass(INTERVAL).await;
    let ready = order(&world, Wish::Ready, None);
    orders.send_replace(vec![Arc::clone(&ready)]);
    settle().await;
    assert!(!ready.stands(world.clock.now()));
}

/// Of one that was dropped meanwhile nobody is told that it counts again.
#[tokio::test(start_paused = true)]
async fn one_that_waits_and_was_dropped_is_not_seen_fit() {
    let (world, orders) = World::ordered("n");
    let _sources = two(&world).await;
    let ready = order(&world, Wish::Ready, None);
    ready.wait();
    ready.drop_it();
    orders.send_replace(vec![Arc::clone(&ready)]);
    world.pass(2 * INTERVAL).await;
    assert!(ready.waits());
}

/// HAProxy has to hear it before the ports close.
#[tokio::test(start_paused = true)]
async fn the_last_word_is_said_from_the_moment_of_the_stop_and_announced() {
    let last_word = "[[service]]\nname = \"primary\"\nlisten = \"5555\"\nroles = [\"primary\"]\n\
                     on_stop = \"maint\"\n";
    let cluster = Cluster::new();
    cluster.stand_behind_node_1();
    cluster.plan(vec![cluster.node(1, last_word)]).await;
    cluster.until_ready(0, cluster.policy(0).settle + SECOND).await;
    let announced = || cluster.announced.borrow()[0][0].verdict.state;
    assert_eq!(announced(), State::Ready);
    cluster.stopping.cancel();
    settle().await;
    assert_eq!(cluster.says(0), (State::NotReady, "stopping"));
    assert_eq!(announced(), State::NotReady);
    // A reload while it stops does not take it back.
    cluster.plan(vec![cluster.node(1, last_word)]).await;
    assert_eq!(cluster.says(0).0, State::NotReady);
}

/// What has not changed is not announced as if it had.
#[tokio::test(start_paused = true)]
async fn a_reload_announces_nothing_of_nodes_that_stay_what_they_are() {
    let world = World::new("n");
    let sources = [(); 2].map(|()| Scripted::new([Does::Says(Role::Primary)]));
    let nodes = || {
        vec![
            world.node("kept1", INTERVAL, &[("a", &sources[0])]),
            world.node("kept2", INTERVAL, &[("b", &sources[1])]),
        ]
    };
    world.plan_nodes(nodes()).await.await.expect("comes into force");
    let since = world.announced.borrow()[0][0].since;
    world.pass(3 * INTERVAL).await;
    world.plan_nodes(nodes()).await.await.expect("comes into force again");
    settle().await;
    assert_eq!(world.announced.borrow()[0][0].since, since);
    for node in ["kept1", "kept2"] {
        assert_eq!(logged(node, "verdict changed: ").len(), 1, "{node}");
    }
}

/// The time of the last change is of that change, whatever the reason does meanwhile.
#[tokio::test(start_paused = true)]
async fn another_reason_for_the_same_state_is_announced_and_since_stays() {
    let source = Scripted::new([Does::Says(Role::Replica)]);
    let world = World::watching_as("reason", &[("a", &source)]).await;
    let said = || {
        let announced = world.announced.borrow();
        (announced[0][0].verdict.reason.label(), announced[0][0].since)
    };
    let (reason, since) = said();
    assert_eq!(reason, "other_role");
    source.now_does(Does::Fails(ErrorKind::ServerDown));
    world.pass(INTERVAL).await;
    assert_eq!(said(), ("server_down", since));
    assert_eq!(logged("reason", "verdict changed: ").len(), 1, "it was not ready all along");
    source.now_does(Does::Says(Role::Primary));
    world.pass(INTERVAL).await;
    assert!(said().1 > since);
    assert_eq!(world.says(), READY);
}

/// A settled confirmation belongs to the server: it goes on under whatever name and place.
#[tokio::test(start_paused = true)]
async fn a_reload_that_renames_nodes_and_changes_their_order_costs_no_settling() {
    for (first, second) in [("n1", "n2"), ("n2", "n1"), ("other", "another")] {
        for swapped in [false, true] {
            let cluster = two_clusters().await;
            let [one, other] = [(1, first), (2, second)].map(|(number, name)| PlannedNode {
                name: name.into(),
                ..cluster.node(number, "")
            });
            let nodes = if swapped { vec![other, one] } else { vec![one, other] };
            cluster.plan(nodes).await;
            for at in [0, 1] {
                let said = cluster.says(at).0;
                assert_eq!(said, State::Ready, "{first}, {second}, {swapped}: the one at {at}");
            }
        }
    }
}

/// The primaries of two clusters, each its own majority, both READY.
async fn two_clusters() -> Cluster {
    let cluster = Cluster::new();
    for number in [1, 2] {
        let mut server = Server::primary(number, &table(&[(number, Primary, true)]));
        server.answer.system = format!("700{number}").into();
        cluster.servers.answer(Asked::Own(number), server.look());
    }
    cluster.plan(vec![cluster.node(1, ""), cluster.node(2, "")]).await;
    let settle = cluster.policy(0).settle;
    for at in [0, 1] {
        cluster.until_ready(at, settle + SECOND).await;
    }
    cluster
}

/// The same server, reached in another way.
fn reached_otherwise(cluster: &Cluster) -> (Config, PlannedNode) {
    let text = format!(
        "[source]\nkind = \"repmgr\"\nnode_id = 1\nhold = \"0s\"\n\
         conninfo = \"host=n1 dbname=repmgr user=another\"\nrelease_key_file = \"{}\"\n",
        cluster.key_file().display()
    );
    let flags = rolecall::schema::Flags::default();
    let config = rolecall::schema::read("cluster.toml", &text, &flags, None).unwrap().config;
    let node = cluster.planned(1, &config);
    (config, node)
}

/// A new password or user is the same server.
#[tokio::test(start_paused = true)]
async fn a_reload_that_reaches_the_same_server_otherwise_goes_on_with_its_confirmation() {
    let cluster = Cluster::new();
    cluster.servers.answer(Asked::Own(1), Server::primary(1, &table(&[(1, Primary, true)])).look());
    cluster.plan(vec![cluster.node(1, "")]).await;
    cluster.until_ready(0, cluster.policy(0).settle + SECOND).await;
    let started = cluster.servers.counts(Asked::Own(1)).started;
    let (_, node) = reached_otherwise(&cluster);
    cluster.plan(vec![node]).await;
    assert_eq!(cluster.servers.counts(Asked::Own(1)).started, started + 1, "a poller of its own");
    assert_eq!(cluster.says(0).0, State::Ready);
}

/// Who moves to another server begins there from nothing.
#[tokio::test(start_paused = true)]
async fn a_reload_to_another_server_of_the_same_name_settles() {
    let cluster = two_clusters().await;
    let moved = PlannedNode { name: "n1".into(), ..cluster.node(3, "") };
    let mut server = Server::primary(3, &table(&[(3, Primary, true)]));
    server.answer.system = "7003".into();
    cluster.servers.answer(Asked::Own(3), server.look());
    cluster.plan(vec![moved]).await;
    assert_eq!(cluster.says(0), (State::NotReady, "settling"));
}

/// The other keys of a repmgr source say how answers are judged: what was seen stays, and the peers are
/// looked at from the first moment on.
#[tokio::test(start_paused = true)]
async fn a_reload_with_another_rhythm_follows_the_table_at_once() {
    let cluster = Cluster::steady().await;
    let mut config = cluster.config(1, "");
    config.nodes[0].sources[0].interval = ms(700);
    // The own server is silent from now on.
    cluster.servers.answer(Asked::Own(1), fails());
    let node = cluster.planned(1, &config);
    cluster.plan(vec![node]).await;
    for number in [2, 3] {
        let counts = cluster.servers.counts(Asked::Peer(number));
        assert_eq!((counts.started, counts.running), (2, 1), "node {number}");
    }
}

/// `hold = 0` and a restart of the daemon: what was written down spares a settling.
#[tokio::test(start_paused = true)]
async fn a_restart_of_the_daemon_goes_on_with_the_yes_that_was_written_down() {
    let cluster = Cluster::steady().await;
    assert!(cluster.record("n1").exists());
    let now = cluster.clock.now();
    let cluster = cluster.restarted();
    // The clock of the host has gone on.
    cluster.clock.jump(now.since_boot());
    cluster.stand_behind_node_1();
    cluster.plan(vec![cluster.node(1, "")]).await;
    assert_eq!(cluster.says(0).0, State::Ready);
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
    assert_eq!(told(paused), 1);
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
    let failed = logged(name, "look failed: ");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["peer"], 3);
    let well = logged(name, "looks succeed again");
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
        logged("flood", "look failed: ").iter().map(|line| line["untold"].as_u64()).collect();
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
    assert_eq!(looked_at(true, Some(1), &nowhere), [] as [i32; 0], "its row leads nowhere");
    let failed: Result<Observation, SourceError> = Ok(Observation::of(Role::Primary));
    assert!(others(&failed.unwrap(), true).is_empty(), "it says nothing of a cluster");
}
