//! What a reload and a restart carry over of what was seen and confirmed, and what they must not.

use std::sync::Arc;
use std::time::Duration;

use rolecall::config::schema::{Flags, read};
use rolecall::look::role::Role;
use rolecall::verdict::policy::Policy;
use rolecall::verdict::state::State;
use rolecall::watch::plan::PlannedNode;

use super::cluster::Cluster;
use super::servers::{Asked, Primary, Server, Standby, fails, table};
use super::world::{Does, INTERVAL, Scripted, World, ms};

const SECOND: Duration = Duration::from_secs(1);

/// What one server showed says nothing of another one.
#[tokio::test(start_paused = true)]
async fn a_plan_for_another_server_waits_for_that_servers_own_first_look() {
    let old = Scripted::new([Does::Says(Role::Primary)]);
    let new = Scripted::new([Does::Drips(SECOND, Role::Replica)]);
    let world = World::watching(&[("old", &old)]).await;
    let mut in_force = world.plan(&[("new", &new)]).await;
    world.pass(SECOND / 2).await;
    assert!(in_force.try_recv().is_err(), "nothing is known of it yet");
    world.pass(SECOND).await;
    assert!(in_force.try_recv().is_ok());
    assert_eq!(world.says(), (State::NotReady, "other_role"));
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

/// The primaries of two clusters of three, nodes 1 and 2, both READY: of each one other node votes for it, and of the
/// third nothing is known, so that who forgets what was confirmed has to settle.
async fn two_clusters() -> Cluster {
    let cluster = Cluster::new();
    for (number, voter, lost) in [(1, 11, 12), (2, 21, 22)] {
        let table =
            table(&[(number, Primary, true), (voter, Standby, true), (lost, Standby, true)]);
        let mut servers = [Server::primary(number, &table), Server::standby(voter, number, &table)];
        for server in &mut servers {
            server.answer.system = format!("700{number}").into();
        }
        let [own, peer] = servers.map(Server::look);
        cluster.servers.answer(Asked::Own(number), own);
        cluster.servers.answer(Asked::Peer(voter), peer);
        cluster.servers.answer(Asked::Peer(lost), fails());
    }
    cluster.plan(vec![cluster.node(1, ""), cluster.node(2, "")]).await;
    let settle = cluster.policy(0).settle;
    for at in [0, 1] {
        cluster.until_ready(at, settle + SECOND).await;
    }
    cluster
}

/// The same server, reached in another way.
fn reached_otherwise(cluster: &Cluster) -> PlannedNode {
    let text = format!(
        "[source]\nkind = \"repmgr\"\nnode_id = 1\nhold = \"0s\"\n\
         conninfo = \"host=n1 dbname=repmgr user=another\"\nrelease_key_file = \"{}\"\n",
        cluster.key_file().display()
    );
    let config = read("cluster.toml", &text, &Flags::default(), None).unwrap().config;
    cluster.planned(1, &config)
}

/// A new password or user is the same server.
#[tokio::test(start_paused = true)]
async fn a_reload_that_reaches_the_same_server_otherwise_goes_on_with_its_confirmation() {
    let cluster = Cluster::new();
    cluster.servers.answer(Asked::Own(1), Server::primary(1, &table(&[(1, Primary, true)])).look());
    cluster.plan(vec![cluster.node(1, "")]).await;
    cluster.until_ready(0, cluster.policy(0).settle + SECOND).await;
    let started = cluster.servers.counts(Asked::Own(1)).started;
    cluster.plan(vec![reached_otherwise(&cluster)]).await;
    assert_eq!(cluster.servers.counts(Asked::Own(1)).started, started + 1, "a poller of its own");
    assert_eq!(cluster.says(0).0, State::Ready);
}

/// A node whose sources are others now is known by its name: what has settled there goes on.
#[tokio::test(start_paused = true)]
async fn a_reload_to_other_sources_of_a_node_goes_on_under_its_name() {
    let says = |role| Scripted::new([Does::Says(role)]);
    let (primary, replica) = (says(Role::Primary), says(Role::Replica));
    let world = World::new("n");
    let nodes = |sources: [&str; 2]| {
        let scripts = [("n1", sources[0], &replica), ("n2", sources[1], &primary)];
        let settling = scripts.map(|(name, source, script)| {
            let mut node = world.node(name, INTERVAL, &[(source, script)]);
            let policy = &mut node.services[0].policy;
            *policy = Arc::new(Policy { settle: 10 * SECOND, ..(**policy).clone() });
            node
        });
        Vec::from(settling)
    };
    world.plan_nodes(nodes(["a", "b"])).await.await.expect("comes into force");
    assert_eq!(world.says_of(1), (State::NotReady, "settling"));
    world.pass(11 * SECOND).await;
    assert_eq!(world.says_of(1).0, State::Ready);
    world.plan_nodes(nodes(["c", "d"])).await.await.expect("comes into force");
    assert_eq!(world.says_of(1).0, State::Ready);
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
