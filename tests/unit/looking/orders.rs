//! What ends an order, as the keeper sees it.

use std::sync::Arc;
use std::time::Duration;

use rolecall::look::error::ErrorKind;
use rolecall::look::role::Role;
use rolecall::verdict::order::{Order, Target};
use rolecall::verdict::policy::Policy;
use rolecall::verdict::state::State;
use rolecall::verdict::state::Wish;
use rolecall::watch::plan::PlannedNode;

use super::world::{Does, INTERVAL, Scripted, TIMEOUT, World, ms};

/// A node whose one service wants replicas, and which remembers nothing once a look fails.
fn replica(world: &World, name: &str, source: &Scripted) -> PlannedNode {
    let mut node = world.node(name, INTERVAL, &[("a", source)]);
    let service = &mut node.services[0];
    let mut policy = Policy { roles: vec![Role::Replica], ..(*service.policy).clone() };
    policy.trust[0].hold = Duration::ZERO;
    (service.policy, service.name) = (Arc::new(policy), "replica".into());
    node
}

fn ready(world: &World, node: Option<&str>) -> Arc<Order> {
    let target = Target { service: None, node: node.map(str::to_owned) };
    Arc::new(Order::new(target, Wish::Ready, ("ann", ""), world.clock.now()))
}

/// What is answered about the first node, by its orders too.
fn answered(world: &World) -> State {
    let facts = world.facts.borrow();
    facts.nodes[0].verdict(world.clock.now(), &facts.nodes[0].services[0]).state
}

#[tokio::test(start_paused = true)]
async fn a_no_at_the_first_look_of_all_ends_a_ready() {
    let (world, orders) = World::ordered("n1");
    orders.send_replace(vec![ready(&world, Some("n1"))]);
    // A primary, which is a no for replicas; after it nothing is known any more.
    let source = Scripted::new([Does::Says(Role::Primary), Does::Fails(ErrorKind::Timeout)]);
    world.plan_nodes(vec![replica(&world, "n1", &source)]).await.await.expect("in force");
    assert_eq!(answered(&world), State::NotReady);
    world.pass(INTERVAL + TIMEOUT + ms(10)).await;
    assert_eq!(world.says().0, State::Unknown);
    assert_eq!(answered(&world), State::Unknown, "it was dropped");
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_speaks_once_all_that_it_is_about_is_seen_fit() {
    let (world, orders) = World::ordered("n1");
    let order = ready(&world, None);
    order.wait();
    orders.send_replace(vec![Arc::clone(&order)]);
    let (one, other) = (
        Scripted::new([Does::Fails(ErrorKind::Timeout)]),
        Scripted::new([Does::Says(Role::Replica)]),
    );
    let nodes = vec![replica(&world, "n1", &one), replica(&world, "n2", &other)];
    world.plan_nodes(nodes).await.await.expect("in force");
    world.pass(INTERVAL * 3).await;
    assert!(order.waits(), "nothing is known of one of them");
    assert_eq!(answered(&world), State::Unknown);
    one.now_does(Does::Says(Role::Replica));
    world.pass(INTERVAL).await;
    assert!(!order.waits());
    one.now_does(Does::Fails(ErrorKind::Timeout));
    world.pass(INTERVAL).await;
    assert_eq!(world.says().0, State::Unknown);
    assert_eq!(answered(&world), State::Ready, "by the order");
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_is_dropped_at_a_no_all_the_same() {
    let (world, orders) = World::ordered("n1");
    let order = ready(&world, Some("n1"));
    order.wait();
    orders.send_replace(vec![Arc::clone(&order)]);
    let source = Scripted::new([Does::Fails(ErrorKind::Timeout)]);
    world.plan_nodes(vec![replica(&world, "n1", &source)]).await.await.expect("in force");
    source.now_does(Does::Says(Role::Primary));
    world.pass(INTERVAL).await;
    source.now_does(Does::Says(Role::Replica));
    world.pass(INTERVAL).await;
    source.now_does(Does::Fails(ErrorKind::Timeout));
    world.pass(INTERVAL).await;
    assert_eq!(answered(&world), State::Unknown);
    assert!(!order.stands(world.clock.now()));
}
