//! A poke makes a source look at once and often for a moment, and no flood of them makes it more.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rolecall::config::Rhythm;
use rolecall::look::role::Role;
use rolecall::verdict::state::State;
use rolecall::watch::keeper::MOST_POKED;
use rolecall::watch::poke::Poke;
use rolecall::watch::poller::{self, Poked, PollerId};
use tokio::sync::mpsc;

use super::READY;
use super::world::{Does, INTERVAL, Scripted, TIMEOUT, World, ms, settle};

/// Long enough that no look of the usual rhythm comes into a test.
const SELDOM: Duration = Duration::from_secs(60);

fn says(role: Role) -> Scripted {
    Scripted::new([Does::Says(role)])
}

async fn poke(world: &World, node: Option<&str>) {
    world.pokes.send(Poke { node: node.map(str::to_owned) }).await.expect("the keeper lives");
    settle().await;
}

fn looks(source: &Scripted) -> usize {
    source.begun.load(Ordering::SeqCst)
}

/// A world of one node that has looked and does not look again by itself.
async fn idle(source: &Scripted) -> World {
    let world = World::new("n1");
    world.plan_every(SELDOM, &[("a", source)]).await.await.expect("comes into force");
    settle().await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_poke_is_followed_by_a_look_at_once_and_by_one_every_75_ms_for_three_seconds() {
    let source = says(Role::Replica);
    let world = idle(&source).await;
    let before = looks(&source);
    source.now_does(Does::Says(Role::Primary));
    poke(&world, None).await;
    assert_eq!(looks(&source), before + 1);
    assert_eq!(world.says(), READY, "by what it saw, at once");
    source.now_does(Does::Says(Role::Replica));
    world.pass(ms(76)).await;
    assert_eq!(looks(&source), before + 2);
    assert_eq!(world.says(), (State::NotReady, "other_role"));
    world.pass(ms(3000)).await;
    let burst = looks(&source) - before;
    assert!((38..=42).contains(&burst), "{burst} looks in three seconds");
    let after = looks(&source);
    world.pass(ms(5000)).await;
    assert_eq!(looks(&source), after, "and then its own rhythm again");
}

#[tokio::test(start_paused = true)]
async fn a_poke_says_nothing_by_itself() {
    let source = says(Role::Primary);
    let world = idle(&source).await;
    source.now_does(Does::Hangs);
    let seen = world.verdict();
    poke(&world, None).await;
    assert_eq!(world.verdict(), seen, "a look that has not finished has shown nothing");
    source.now_does(Does::Says(Role::Replica));
}

#[tokio::test(start_paused = true)]
async fn at_most_one_burst_in_five_seconds_whoever_pokes_and_however_often() {
    let source = says(Role::Primary);
    let world = idle(&source).await;
    let before = looks(&source);
    for _ in 0..400 {
        poke(&world, None).await;
        world.pass(ms(12)).await;
    }
    let burst = looks(&source) - before;
    assert!((38..=42).contains(&burst), "{burst} looks within 4.8 s of pokes");
    world.pass(ms(300)).await;
    poke(&world, None).await;
    assert_eq!(looks(&source), before + burst + 1, "five seconds are over");
}

#[tokio::test(start_paused = true)]
async fn a_poke_during_a_look_is_followed_by_another_look_and_never_by_two_at_a_time() {
    let source = Scripted::new([Does::Says(Role::Replica)]);
    let world = idle(&source).await;
    source.now_does(Does::Drips(ms(400), Role::Replica));
    // The usual look begins, and what it sees may be older than the poke.
    world.pass(SELDOM).await;
    assert_eq!(source.under_way.load(Ordering::SeqCst), 1);
    let during = looks(&source);
    poke(&world, None).await;
    assert_eq!(looks(&source), during);
    source.now_does(Does::Says(Role::Primary));
    world.pass(ms(401)).await;
    assert_eq!(looks(&source), during + 1);
    assert_eq!(world.says(), READY);
}

/// Whoever is told to hurry during its first look looks again at once, and quickly for as long as it is told; a
/// poke would have it look so for three seconds more.
#[tokio::test(start_paused = true)]
async fn to_be_told_to_hurry_during_a_look_is_no_poke() {
    let world = World::new("n1");
    let source = Scripted::new([Does::Drips(ms(200), Role::Replica), Does::Says(Role::Replica)]);
    let rhythm = Rhythm { interval: INTERVAL, timeout: TIMEOUT };
    let (report, mut reports) = mpsc::channel(1);
    let (clock, poked) = (world.clock.clone(), Poked::default());
    let (running, told) = (source.clone(), poked.clone());
    tokio::spawn(poller::run(running, rhythm, INTERVAL, clock, PollerId(1), report, told));
    tokio::spawn(async move { while reports.recv().await.is_some() {} });
    settle().await;
    poked.hurry(true);
    world.pass(ms(201)).await;
    assert_eq!(looks(&source), 2, "at once");
    world.pass(ms(1000)).await;
    let quick = looks(&source) - 2;
    assert!((9..=11).contains(&quick), "{quick} looks in a second");
    poked.hurry(false);
    world.pass(INTERVAL).await;
    let before = looks(&source);
    world.pass(2 * INTERVAL).await;
    assert_eq!(looks(&source), before + 2, "its own rhythm again");
}

#[tokio::test(start_paused = true)]
async fn looks_that_take_longer_than_the_burst_do_not_prolong_it() {
    let source = says(Role::Primary);
    let world = idle(&source).await;
    source.now_does(Does::Hangs);
    let before = looks(&source);
    poke(&world, None).await;
    world.pass(ms(10_000)).await;
    let burst = looks(&source) - before;
    assert!((2..=3).contains(&burst), "{burst} looks of 1.5 s each in three seconds");
}

#[tokio::test(start_paused = true)]
async fn a_poke_that_names_a_node_is_about_that_one_and_survives_a_reload() {
    let world = World::new("n");
    let (first, second) = (says(Role::Primary), says(Role::Replica));
    let nodes = || {
        vec![
            world.node("n1", SELDOM, &[("a", &first)]),
            world.node("n2", SELDOM, &[("b", &second)]),
        ]
    };
    world.plan_nodes(nodes()).await.await.expect("comes into force");
    world.plan_nodes(nodes()).await.await.expect("comes into force again");
    let before = (looks(&first), looks(&second));
    poke(&world, Some("n2")).await;
    poke(&world, Some("n3")).await;
    assert_eq!((looks(&first), looks(&second)), (before.0, before.1 + 1));
    poke(&world, None).await;
    assert_eq!(looks(&first), before.0 + 1);
    assert_eq!(looks(&second), before.1 + 1, "a moment ago");
}

#[tokio::test(start_paused = true)]
async fn only_a_few_of_many_nodes_are_looked_at_often_at_one_time() {
    let world = World::new("n");
    let sources: Vec<_> = (0..2 * MOST_POKED).map(|_| says(Role::Primary)).collect();
    let nodes = sources.iter().enumerate();
    let nodes = nodes
        .map(|(n, source)| world.node(&format!("n{n}"), SELDOM, &[(&format!("s{n}"), source)]));
    world.plan_nodes(nodes.collect()).await.await.expect("comes into force");
    settle().await;
    let before: usize = sources.iter().map(looks).sum();
    poke(&world, None).await;
    poke(&world, None).await;
    let after: usize = sources.iter().map(looks).sum();
    assert_eq!(after - before, MOST_POKED);
}

#[tokio::test(start_paused = true)]
async fn the_usual_rhythm_goes_on_after_a_poke() {
    let source = says(Role::Primary);
    let world = World::watching(&[("a", &source)]).await;
    poke(&world, None).await;
    world.pass(ms(3100)).await;
    let before = looks(&source);
    world.pass(10 * INTERVAL).await;
    let usual = looks(&source) - before;
    assert!((9..=11).contains(&usual), "{usual} looks in ten intervals");
}
