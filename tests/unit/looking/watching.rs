//! What the keeper says and announces over orders, a stop and looks that change something or nothing.

use std::sync::Arc;
use std::time::Duration;

use rolecall::look::error::ErrorKind;
use rolecall::look::role::Role;
use rolecall::report::announced::BETWEEN_REASONS;
use rolecall::verdict::order::{Order, Target};
use rolecall::verdict::state::State;
use rolecall::verdict::state::Wish;

use super::cluster::Cluster;
use super::world::{Does, INTERVAL, Scripted, World, settle};
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

/// Looks that fail in turns say the same state for two reasons in turns: the log is told of one every few
/// seconds, and of the last one in any case.
#[tokio::test(start_paused = true)]
async fn the_log_is_told_of_another_reason_for_the_same_state_and_not_of_each() {
    let source = Scripted::new([Does::Says(Role::Replica)]);
    let world = World::watching_as("reasons", &[("a", &source)]).await;
    for _ in 0..15 {
        source.now_does(Does::Fails(ErrorKind::ServerDown));
        world.pass(INTERVAL).await;
        source.now_does(Does::Says(Role::Replica));
        world.pass(INTERVAL).await;
    }
    let told = |said: &str| logged("reasons", said).len();
    let still = "the reason for primary of reasons is now another one, it is still not_ready: ";
    assert!((2..=7).contains(&told(still)), "{} in 30 s", told(still));
    source.now_does(Does::Fails(ErrorKind::ServerDown));
    world.pass(BETWEEN_REASONS + INTERVAL).await;
    assert_eq!(logged("reasons", still).last().expect("a line")["reason"], "server_down");
    let before = told(still);
    world.pass(10 * BETWEEN_REASONS).await;
    assert_eq!(told(still), before, "nothing new");
}

/// Whoever waits for an announcement is not woken for nothing.
#[tokio::test(start_paused = true)]
async fn looks_that_show_what_is_known_are_not_announced() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let mut world = World::watching(&[("a", &source)]).await;
    world.pass(INTERVAL).await;
    world.announced.mark_unchanged();
    world.pass(5 * INTERVAL).await;
    assert!(!world.announced.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn of_a_service_that_a_reload_takes_away_nothing_is_announced_any_more() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let world = World::new("n1");
    let node = |services: usize| {
        let mut node = world.node("n1", INTERVAL, &[("a", &source)]);
        let mut second = node.services[0].clone();
        second.name = "second".into();
        node.services.push(second);
        node.services.truncate(services);
        node
    };
    for services in [2, 1] {
        world.plan_nodes(vec![node(services)]).await.await.expect("comes into force");
        settle().await;
        assert_eq!(world.announced.borrow()[0].len(), services);
    }
}

/// The one situation in which Patroni can show two leaders is warned of, once.
#[tokio::test(start_paused = true)]
async fn a_leader_without_a_lock_is_warned_of_once_and_one_with_a_lock_is_not() {
    let source = Scripted::new([Does::Leads(60 * SECOND)]);
    let world = World::watching_as("lock", &[("a", &source)]).await;
    let warned = || logged("lock", "primary of lock is ready without a leader lock").len();
    assert_eq!(warned(), 0);
    source.now_does(Does::LeadsWithoutLock);
    world.pass(5 * INTERVAL).await;
    assert_eq!((warned(), world.says().0), (1, State::Ready));
}
