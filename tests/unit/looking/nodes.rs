//! Several nodes in one daemon: none of them waits for another or answers for it.

use rolecall::look::error::ErrorKind;
use rolecall::look::role::Role;
use rolecall::verdict::state::State;

use super::world::{Does, HOLD, INTERVAL, Scripted, World, ms};
use super::{READY, logged};

fn says(role: Role) -> Scripted {
    Scripted::new([Does::Says(role)])
}

#[tokio::test(start_paused = true)]
async fn a_plan_comes_into_force_when_every_node_has_looked_also_those_that_hang() {
    let world = World::new("n");
    let (well, hung) = (says(Role::Primary), Scripted::new([Does::Hangs]));
    let nodes = vec![
        world.node("n1", INTERVAL, &[("a", &well)]),
        world.node("n2", INTERVAL, &[("b", &hung)]),
    ];
    let mut in_force = world.plan_nodes(nodes).await;
    world.pass(ms(1499)).await;
    assert!(in_force.try_recv().is_err(), "one of them has not looked yet");
    world.pass(ms(2)).await;
    assert!(in_force.try_recv().is_ok());
    assert_eq!(world.says_of(0), READY);
    assert_eq!(world.says_of(1), (State::Unknown, "timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_or_refuses_delays_no_other() {
    let world = World::new("n");
    let (well, hung) = (says(Role::Primary), Scripted::new([Does::Hangs]));
    let refusing = Scripted::new([Does::Fails(ErrorKind::ServerDown)]);
    let nodes = vec![
        world.node("n1", INTERVAL, &[("a", &hung)]),
        world.node("n2", INTERVAL, &[("b", &refusing)]),
        world.node("n3", INTERVAL, &[("c", &well)]),
    ];
    world.plan_nodes(nodes).await.await.expect("comes into force");
    well.now_does(Does::Says(Role::Replica));
    world.pass(INTERVAL).await;
    assert_eq!(world.says_of(2), (State::NotReady, "other_role"), "seen within its interval");
    well.now_does(Does::Says(Role::Primary));
    world.pass(INTERVAL).await;
    assert_eq!(world.says_of(2), READY);
    assert_eq!(world.says_of(1), (State::NotReady, "server_down"));
    assert_eq!(world.says_of(0), (State::Unknown, "timeout"));
}

#[tokio::test(start_paused = true)]
async fn what_time_alone_changes_of_one_node_is_announced_of_that_one() {
    let mut world = World::new("n");
    let (first, second) = (says(Role::Primary), says(Role::Primary));
    let nodes = vec![
        world.node("n1", INTERVAL, &[("a", &first)]),
        world.node("n2", INTERVAL, &[("b", &second)]),
    ];
    world.plan_nodes(nodes).await.await.expect("comes into force");
    second.now_does(Does::Hangs);
    world.pass(ms(1)).await;
    world.announced.mark_unchanged();
    world.pass(HOLD + INTERVAL).await;
    assert!(world.announced.has_changed().unwrap());
    let announced = world.announced.borrow();
    let said: Vec<_> = announced.iter().flat_map(|said| &**said).collect();
    let states: Vec<_> = said.iter().map(|said| (&*said.node, said.verdict.state)).collect();
    assert_eq!(states, [("n1", State::Ready), ("n2", State::Unknown)]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_nodes_that_stay_under_whatever_name_and_place() {
    let world = World::new("n");
    let (first, second) = (says(Role::Primary), says(Role::Replica));
    let nodes = vec![
        world.node("n1", INTERVAL, &[("a", &first)]),
        world.node("n2", INTERVAL, &[("b", &second)]),
    ];
    world.plan_nodes(nodes).await.await.expect("comes into force");
    // From now on only what was seen before can speak for them.
    let gone = Scripted::new([Does::Hangs]);
    let added = says(Role::Primary);
    let nodes = vec![
        world.node("renamed", INTERVAL, &[("b", &gone)]),
        world.node("n1", INTERVAL, &[("a", &gone)]),
        world.node("n3", INTERVAL, &[("c", &added)]),
    ];
    world.plan_nodes(nodes).await.await.expect("comes into force");
    assert_eq!(world.says_of(0), (State::NotReady, "other_role"));
    assert_eq!(world.says_of(1), READY);
    assert_eq!(world.says_of(2), READY);
    assert_eq!(gone.begun.load(std::sync::atomic::Ordering::SeqCst), 0, "their pollers went on");
    first.now_does(Does::Says(Role::Replica));
    world.pass(INTERVAL).await;
    assert_eq!(world.says_of(1), (State::NotReady, "other_role"), "and are this node's still");
}

/// Since when a node is READY, and what its log was told, belongs to its name.
#[tokio::test(start_paused = true)]
async fn a_reload_that_changes_no_verdict_announces_none_anew() {
    let world = World::new("n");
    let (first, second) = (says(Role::Primary), says(Role::Replica));
    let node = |name, source| world.node(name, INTERVAL, &[(name, source)]);
    let nodes = || [node("said 1", &first), node("said 2", &second)];
    world.plan_nodes(nodes().into()).await.await.expect("comes into force");
    let announced = || {
        let announced = world.announced.borrow();
        let said = announced.iter().flat_map(|said| &**said);
        let mut said: Vec<_> = said.map(|said| (said.node.clone(), said.since)).collect();
        said.sort();
        said
    };
    let before = announced();
    world.pass(HOLD).await;
    let [one, other] = nodes();
    world.plan_nodes(vec![other, one]).await.await.expect("comes into force");
    assert_eq!(announced(), before);
    for name in ["said 1", "said 2"] {
        assert_eq!(logged(name, "verdict changed: ").len(), 1, "{name}");
    }
}
