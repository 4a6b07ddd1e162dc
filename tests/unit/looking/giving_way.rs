//! What the keeper says to a candidate of another host that asks a node here to give way.

use std::sync::Arc;
use std::time::Duration;

use rolecall::look::repmgr::NodeId;
use rolecall::look::role::Timeline;
use rolecall::source::releasing::{Key, nonce};
use rolecall::verdict::order::{Order, Target};
use rolecall::verdict::state::State;
use rolecall::verdict::state::Wish;
use rolecall::watch::poke::Poke;

use super::cluster::{Cluster, rhythm};
use super::logged;
use super::servers::{Asked, Primary, Server, fails, healthy, refuses, table};
use super::world::{ms, settle};

const SECOND: Duration = Duration::from_secs(1);

/// Node 1 was READY, and its server has just been seen to refuse connections.
async fn killed() -> Cluster {
    killed_as("n1").await
}

async fn killed_as(name: &str) -> Cluster {
    let cluster = Cluster::steady_as(name).await;
    cluster.servers.answer(Asked::Own(1), refuses());
    while cluster.source_facts(0).own.failing().is_none() {
        cluster.pass(ms(1)).await;
    }
    assert_ne!(cluster.says(0).0, State::Ready);
    cluster
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_its_server_gives_way_and_says_all_that_the_candidate_needs() {
    let cluster = killed_as("killed").await;
    let said = cluster.ask(1).await.expect("an answer");
    assert_eq!((said.node, &*said.system), (NodeId(1), "7001"));
    assert_eq!(said.timeline, Some(Timeline(1)), "as it was last seen");
    assert!(!said.claims);
    let config = cluster.config(1, "");
    let rules = config.nodes[0].sources[0].electorate().unwrap();
    assert_eq!((said.life, said.memory), (rules.life, rules.memory));
    let age = cluster.clock.now().since_boot();
    assert_eq!(said.last_ready.as_millis(), age.as_millis(), "as old as the process: it said none");
    assert_eq!(
        logged("killed", "killed gives way to node 2: the PostgreSQL of killed is gone").len(),
        1
    );
}

/// A candidate asks ten times a second: the log has one line for each whom the node gives way to, until its server has
/// been back.
#[tokio::test(start_paused = true)]
async fn giving_way_to_the_same_candidate_again_is_no_news() {
    let name = "asked often";
    let cluster = killed_as(name).await;
    let told = || logged(name, &format!("{name} gives way to node 2: ")).len();
    for _ in 0..3 {
        cluster.ask(1).await.expect("an answer");
    }
    assert_eq!(told(), 1);
    cluster.stand_behind_node_1();
    cluster.pass(SECOND).await;
    cluster.servers.answer(Asked::Own(1), refuses());
    cluster.pass(SECOND).await;
    assert!(!cluster.ask(1).await.expect("an answer").claims);
    assert_eq!(told(), 2);
}

/// The candidate waits until what an HAProxy may remember is over, counted from the last READY.
#[tokio::test(start_paused = true)]
async fn the_last_ready_is_told_by_its_age() {
    let cluster = killed().await;
    cluster.metrics.spoken.ready(cluster.clock.now());
    cluster.pass(ms(700)).await;
    assert_eq!(cluster.ask(1).await.unwrap().last_ready, ms(700));
}

/// An answer that was decided before and is not written yet may be a READY.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_still_under_way_is_a_claim() {
    let cluster = killed().await;
    let under_way = cluster.metrics.spoken.begin();
    assert!(cluster.ask(1).await.unwrap().claims);
    drop(under_way);
    assert!(!cluster.ask(1).await.unwrap().claims);
}

/// Two must not both go ahead: whoever has released begins from nothing.
#[tokio::test(start_paused = true)]
async fn what_has_given_way_begins_anew_when_its_server_comes_back() {
    for asked in [false, true] {
        let cluster = killed().await;
        assert!(cluster.record("n1").exists());
        let gave_way = cluster.clock.now();
        if asked {
            cluster.ask(1).await.expect("an answer");
        }
        assert_eq!(cluster.record("n1").exists(), !asked, "nor does a restart bring it back");
        cluster.stand_behind_node_1();
        cluster.pokes.send(Poke { node: None }).await.expect("the keeper lives");
        cluster.until_ready(0, cluster.policy(0).settle + SECOND).await;
        let standing = cluster.facts.borrow().nodes[0].services[0].standing;
        let since = standing.confirmed_since.expect("it is confirmed");
        assert_eq!(since >= gave_way, asked, "a short lapse alone costs nothing");
    }
}

/// A healthy primary is not talked out of it.
#[tokio::test(start_paused = true)]
async fn whose_server_is_well_claims_it_and_stays_ready() {
    let cluster = Cluster::steady().await;
    assert!(cluster.ask(1).await.expect("an answer").claims);
    settle().await;
    assert_eq!(cluster.says(0).0, State::Ready);
    assert!(cluster.record("n1").exists());
}

/// Its rolecall alone knows for certain whose server it is that was started again.
#[tokio::test(start_paused = true)]
async fn a_node_in_recovery_says_so_and_when_that_was_seen() {
    let cluster = Cluster::steady().await;
    assert_eq!(cluster.ask(1).await.expect("an answer").recovery, None, "it is the primary");
    cluster.servers.answer(Asked::Own(1), Server::standby(1, 2, &healthy()).look());
    cluster.pass(6 * SECOND).await;
    let began = || cluster.source_facts(0).own.good().expect("a look").0;
    let seen = began();
    while began() == seen {
        cluster.pass(ms(1)).await;
    }
    cluster.pass(ms(70)).await;
    let said = cluster.ask(1).await.expect("an answer");
    assert_eq!(said.recovery, Some(cluster.clock.now().since(began())));
    assert!(said.recovery.is_some_and(|age| age >= ms(70)));
    cluster.servers.answer(Asked::Own(1), fails());
    cluster.pass(SECOND).await;
    assert_eq!(cluster.ask(1).await.expect("an answer").recovery, None, "its last look failed");
}

/// A candidate may wait for that alone: a server that is not known to be in recovery is looked at when somebody asks,
/// and not more often than anybody may have it looked at.
#[tokio::test(start_paused = true)]
async fn who_is_asked_looks_at_its_server_at_once() {
    let cluster = killed().await;
    let looks = || cluster.servers.looks(Asked::Own(1));
    cluster.pass(ms(10)).await;
    let before = looks();
    cluster.ask(1).await.expect("an answer");
    settle().await;
    assert_eq!(looks(), before + 1, "at once");
    cluster.servers.answer(Asked::Own(1), Server::standby(1, 2, &healthy()).look());
    cluster.pass(ms(200)).await;
    let said = cluster.ask(1).await.expect("an answer");
    assert!(said.recovery.is_some_and(|age| age <= ms(100)), "{said:?}");
    // Nobody makes it look often by asking often.
    cluster.servers.answer(Asked::Own(1), refuses());
    cluster.pass(6 * SECOND).await;
    let before = looks();
    for _ in 0..100 {
        cluster.ask(1).await.expect("an answer");
        cluster.pass(ms(100)).await;
    }
    let asked = looks() - before;
    assert!((60..=110).contains(&asked), "{asked} looks in 10 s");
}

/// A refusal is young for an interval and a timeout: then the server may be there again.
#[tokio::test(start_paused = true)]
async fn a_refusal_says_something_until_the_next_look_must_have_finished() {
    let cluster = Cluster::steady().await;
    let (interval, timeout) = rhythm(&cluster);
    // The refusal takes its time, and so the look after it is still under way.
    cluster.servers.answer_after(timeout.saturating_sub(ms(100)), Asked::Own(1), refuses());
    while cluster.source_facts(0).own.failing().is_none() {
        cluster.pass(ms(1)).await;
    }
    cluster.servers.hang(Asked::Own(1));
    let refused = |cluster: &Cluster| {
        let facts = cluster.source_facts(0);
        facts.own.failing().map(|(began, _)| began).expect("refused")
    };
    let age = cluster.clock.now().since(refused(&cluster));
    cluster.pass((interval + timeout).saturating_sub(age)).await;
    assert_eq!(cluster.clock.now().since(refused(&cluster)), interval + timeout);
    assert!(!cluster.ask(1).await.unwrap().claims, "at its last moment");
    cluster.pass(ms(1)).await;
    assert!(cluster.ask(1).await.unwrap().claims, "too old");
}

/// An operator's forced order makes the node READY whatever is seen: it cannot give way.
#[tokio::test(start_paused = true)]
async fn a_forced_ready_is_a_claim() {
    let cluster = killed().await;
    let mut order = Order::new(Target::default(), Wish::Ready, ("ann", ""), cluster.clock.now());
    order.forced = true;
    cluster.orders.send_replace(vec![Arc::new(order)]);
    settle().await;
    assert_eq!(cluster.says(0).0, State::Ready);
    assert!(cluster.ask(1).await.unwrap().claims);
    cluster.orders.send_replace(vec![]);
    settle().await;
    assert!(!cluster.ask(1).await.unwrap().claims);
}

#[tokio::test(start_paused = true)]
async fn nobody_else_is_answered_and_nobody_without_the_secret() {
    let cluster = killed().await;
    assert_eq!(cluster.ask(3).await, None, "another node");
    let nonce = nonce().unwrap();
    assert_eq!(cluster.asked(1, &nonce, "00".repeat(32)).await, None, "a wrong code");
    let key = Key::read(&cluster.key_file()).unwrap();
    let code = key.ask(NodeId(1), NodeId(2), None, &nonce);
    assert!(cluster.asked(1, &nonce, code.clone()).await.is_some());
    std::fs::remove_file(cluster.key_file()).unwrap();
    assert_eq!(cluster.asked(1, &nonce, code).await, None, "the secret is gone");
}

/// A daemon may watch two clusters, each with a node 1.
#[tokio::test(start_paused = true)]
async fn of_two_nodes_of_one_number_neither_is_answered_for() {
    let cluster = Cluster::new();
    cluster.stand_behind_node_1();
    let mut elsewhere = Server::primary(1, &table(&[(1, Primary, true)]));
    elsewhere.answer.system = "7009".into();
    cluster.servers.answer(Asked::Own(2), elsewhere.look());
    cluster.plan(vec![cluster.node(1, ""), cluster.node(2, "")]).await;
    assert_eq!(cluster.ask(1).await, None);
    cluster.servers.answer(Asked::Own(2), Server::standby(2, 1, &healthy()).look());
    cluster.pass(SECOND).await;
    assert!(cluster.ask(1).await.is_some(), "the other one is node 2 now");
}
