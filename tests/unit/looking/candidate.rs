//! A repmgr node that was promoted: whom it looks at and asks, how quickly, and until when.

use std::sync::Arc;
use std::time::Duration;

use rolecall::look::observation::Observation;
use rolecall::look::release::{LeftOut, Release};
use rolecall::look::repmgr::{Answer, NodeId};
use rolecall::look::role::{Role, Timeline};
use rolecall::verdict::state::State;
use rolecall::watch::poke::Poke;

use super::cluster::{Cluster, rhythm};
use super::servers::{
    Asked, Look, Primary, Server, Standby, Witness, after_failover, fails, healthy, refuses, table,
};
use super::world::{ms, settle};

const SECOND: Duration = Duration::from_secs(1);
/// A candidate hurries for so long.
const HURRY: Duration = Duration::from_secs(30);

/// How often each of them is looked at within `time`.
async fn looks(cluster: &Cluster, time: Duration, asked: &[Asked]) -> Vec<usize> {
    let before: Vec<_> = asked.iter().map(|asked| cluster.servers.looks(*asked)).collect();
    cluster.pass(time).await;
    let after = asked.iter().map(|asked| cluster.servers.looks(*asked));
    after.zip(before).map(|(after, before)| after - before).collect()
}

fn release(node: i32) -> Look {
    told(node, None)
}

/// The same, of a rolecall that was told that its node was left out.
#[expect(clippy::unnecessary_wraps, reason = "a look, beside those that fail")]
fn told(node: i32, left_out: Option<LeftOut>) -> Look {
    let release = Release {
        node: NodeId(node),
        system: "7001".into(),
        timeline: Some(Timeline(1)),
        claims: false,
        recovery: None,
        left_out,
        last_ready: Duration::from_secs(60),
        life: ms(1700),
        memory: ms(2500),
    };
    Ok(Observation { release: Some(Arc::new(release)), ..Observation::of(Role::Replica) })
}

/// The own server, the peers and the rolecalls of the others: every 100 ms, and for 30 s to the very end.
#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_not_ready_hurries_for_thirty_seconds_and_no_longer() {
    let cluster = Cluster::promoted().await;
    cluster.servers.answer(Asked::Peer(2), fails());
    cluster.servers.answer(Asked::Peer(3), fails());
    for number in [2, 3] {
        cluster.servers.answer(Asked::Release(number), fails());
    }
    let all = [Asked::Own(1), Asked::Peer(2), Asked::Peer(3), Asked::Release(2), Asked::Release(3)];
    cluster.pass(SECOND).await;
    assert_ne!(cluster.says(0).0, State::Ready);
    for (asked, looks) in all.iter().zip(looks(&cluster, SECOND, &all).await) {
        assert!((9..=11).contains(&looks), "{asked:?}: {looks} looks in a second");
    }
    let passed = cluster.clock.now().since(cluster.candidate_since());
    cluster.pass(HURRY.saturating_sub(passed)).await;
    for (asked, looks) in all[..3].iter().zip(looks(&cluster, ms(400), &all[..3]).await) {
        assert!(looks <= 1, "{asked:?}: {looks} looks in 0.4 s after the end");
    }
    let own = looks(&cluster, 10 * SECOND, &[Asked::Own(1)]).await[0];
    assert!((19..=21).contains(&own), "its own rhythm: {own} looks in 10 s");
    assert_eq!(cluster.servers.counts(Asked::Release(2)).running, 0, "and asks nobody any more");
}

/// Whose vote another one's confirmation keeps from this node may be told of a newer one, or follow this node
/// in the end: it is asked for as long as that is so.
#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_barred_goes_on_asking_after_the_thirty_seconds() {
    let cluster = Cluster::promoted().await;
    for asked in [Asked::Peer(2), Asked::Peer(3), Asked::Release(2)] {
        cluster.servers.answer(asked, fails());
    }
    let newer = LeftOut { by: NodeId(2), timeline: Timeline(3) };
    cluster.servers.answer(Asked::Release(3), told(3, Some(newer)));
    cluster.pass(HURRY + SECOND).await;
    assert!(cluster.clock.now().since(cluster.candidate_since()) > HURRY);
    let running = || [2, 3].map(|number| cluster.servers.counts(Asked::Release(number)).running);
    assert_eq!(running(), [1, 1]);
    let own = looks(&cluster, 10 * SECOND, &[Asked::Own(1)]).await[0];
    assert!((19..=21).contains(&own), "in its own rhythm: {own} looks in 10 s");
    cluster.servers.answer(Asked::Release(3), release(3));
    cluster.pass(5 * SECOND).await;
    assert_eq!(running(), [0, 0], "nobody else's confirmation stands in its way any more");
}

/// Once the look that finished 30 s after the first one is folded in nobody hurries; the poller had
/// chosen its next one by then.
#[tokio::test(start_paused = true)]
async fn the_thirty_seconds_end_at_that_moment() {
    let cluster = Cluster::promoted().await;
    cluster.servers.answer(Asked::Peer(2), fails());
    cluster.servers.answer(Asked::Peer(3), fails());
    let passed = cluster.clock.now().since(cluster.candidate_since());
    cluster.pass(HURRY.saturating_sub(passed)).await;
    let last = cluster.source_facts(0).own.last_look().unwrap();
    assert_eq!(last.since(cluster.candidate_since()), HURRY, "the looks are in step with it");
    assert_eq!(looks(&cluster, ms(450), &[Asked::Own(1)]).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn who_is_ready_hurries_no_more() {
    let cluster = Cluster::new();
    cluster.stand_behind_node_1();
    cluster.plan(vec![cluster.node(1, "")]).await;
    let quick = looks(&cluster, SECOND, &[Asked::Own(1), Asked::Peer(2)]).await;
    assert!(quick.iter().all(|looks| *looks >= 9), "it waits to become READY: {quick:?}");
    let settle = cluster.policy(0).settle;
    cluster.until_ready(0, settle + SECOND).await;
    cluster.pass(SECOND).await;
    assert!(cluster.clock.now().since(cluster.candidate_since()) < HURRY / 2);
    let usual = looks(&cluster, 5 * SECOND, &[Asked::Own(1), Asked::Peer(2)]).await;
    assert!(usual.iter().all(|looks| (9..=11).contains(looks)), "{usual:?} looks in 5 s");
    assert_eq!(cluster.servers.counts(Asked::Release(2)).running, 0);
}

/// What costs every server of the cluster looks must have something to win.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_asked_for_replicas_only_never_hurries() {
    let replicas = "[[service]]\nname = \"replica\"\nlisten = \"5556\"\nroles = [\"replica\"]\n";
    let cluster = Cluster::new();
    cluster.stand_behind_node_1();
    cluster.plan(vec![cluster.node(1, replicas)]).await;
    let usual = looks(&cluster, 5 * SECOND, &[Asked::Own(1)]).await;
    assert!((9..=11).contains(&usual[0]), "{usual:?} looks in 5 s");
}

/// 8b, half (R): READY as soon as every other data node has been seen in recovery.
#[tokio::test(start_paused = true)]
async fn a_candidate_whose_rivals_are_in_recovery_is_ready_at_its_next_looks() {
    let cluster = Cluster::promoted().await;
    let rejoined = Server::standby(2, 1, &after_failover()).on(2);
    cluster.servers.answer(Asked::Peer(2), rejoined.look());
    let took = cluster.until_ready(0, cluster.policy(0).settle).await;
    assert!(took <= SECOND, "{took:?}");
}

/// 8b, half (Q): the rolecall of the host whose server is gone says so.
#[tokio::test(start_paused = true)]
async fn a_release_lets_a_candidate_be_ready_at_once_and_another_nodes_does_not() {
    for (who, releases, at_once) in [
        ("each for itself", [(2, release(2)), (3, release(3))], true),
        ("each for the other", [(2, release(3)), (3, release(2))], false),
        ("neither", [(2, fails()), (3, fails())], false),
    ] {
        let cluster = Cluster::promoted().await;
        cluster.servers.answer(Asked::Peer(2), refuses());
        for (number, release) in releases {
            cluster.servers.answer(Asked::Release(number), release);
        }
        let settle = cluster.policy(0).settle;
        let took = cluster.until_ready(0, settle + SECOND).await;
        assert_eq!(took <= SECOND, at_once, "{who}: {took:?}");
    }
}

/// What two rolecalls said is kept apart: the next candidacy asks anew.
#[tokio::test(start_paused = true)]
async fn what_each_rolecall_said_is_kept_of_that_node_with_the_moment_it_was_asked() {
    let cluster = Cluster::promoted().await;
    cluster.servers.answer(Asked::Peer(2), refuses());
    cluster.servers.answer(Asked::Release(3), release(3));
    cluster.pass(SECOND).await;
    let said = cluster.source_facts(0).releases;
    let of = |number| said[&NodeId(number)].1.as_ref().map(|release| release.node);
    assert_eq!(of(2), None, "it has not answered in time");
    assert_eq!(of(3), Some(NodeId(3)));
    assert!(said[&NodeId(3)].0 > cluster.candidate_since());
}

/// Its server would vote for the old primary when it starts: its rolecall is told for as long as it is left out, also
/// by a node that is READY.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_left_out_is_told_so_and_nobody_else_is() {
    let cluster = Cluster::new();
    cluster.stand_behind_node_1();
    let with = |active| table(&[(1, Primary, true), (2, Standby, true), (3, Standby, active)]);
    cluster.servers.answer(Asked::Own(1), Server::primary(1, &with(false)).on(2).look());
    cluster.servers.answer(Asked::Peer(2), Server::standby(2, 1, &with(false)).on(2).look());
    cluster.servers.answer(Asked::Peer(3), refuses());
    cluster.plan(vec![cluster.node(1, "")]).await;
    cluster.until_ready(0, cluster.policy(0).settle + SECOND).await;
    cluster.pass(SECOND).await;
    let asked = || [2, 3].map(|number| cluster.servers.counts(Asked::Release(number)).running);
    assert_eq!((asked(), cluster.servers.told(3)), ([0, 1], Some(Timeline(2))));
    cluster.servers.answer(Asked::Own(1), Server::primary(1, &with(true)).on(2).look());
    cluster.servers.answer(Asked::Peer(3), Server::standby(3, 1, &with(true)).on(2).look());
    cluster.pass(2 * SECOND).await;
    assert_eq!(asked(), [0, 0], "it is counted again");
}

/// A witness holds no data. A row that leads elsewhere now is asked there, and nobody else is started anew.
#[tokio::test(start_paused = true)]
async fn the_rolecalls_of_data_nodes_are_asked_where_their_rows_lead() {
    let rows = [(1, Primary, true), (2, Primary, false), (3, Standby, true), (4, Witness, true)];
    let cluster = Cluster::new();
    let own = Server::primary(1, &table(&rows));
    cluster.servers.answer(Asked::Own(1), own.clone().look());
    cluster.plan(vec![cluster.node(1, "")]).await;
    cluster.pass(SECOND).await;
    let started = |asked| cluster.servers.counts(asked).started;
    let all = |cluster: &Cluster| {
        let counts = |asked| cluster.servers.counts(asked);
        [Asked::Peer(2), Asked::Peer(3), Asked::Release(2), Asked::Release(3)]
            .map(|asked| (counts(asked).started, counts(asked).running))
    };
    assert_eq!(all(&cluster), [(1, 1); 4], "once each, for all that was looked since");
    assert_eq!((started(Asked::Peer(4)), started(Asked::Release(4))), (1, 0), "the witness");
    assert_eq!((started(Asked::Peer(1)), started(Asked::Release(1))), (0, 0), "the own one");

    // Node 3 is registered at another place.
    let mut moved = own.answer.table.to_vec();
    moved[2].places = table(&[(33, Standby, true)])[0].places.clone();
    let answer = Answer { table: moved.into(), ..own.answer.clone() };
    cluster.servers.answer(Asked::Own(1), Server { answer, ..own.clone() }.look());
    cluster.pass(SECOND).await;
    assert_eq!(all(&cluster), [(1, 1), (2, 1), (1, 1), (2, 1)]);

    // Node 2 has been unregistered; it is asked nothing any more, and nothing of it is kept.
    let rows = [(1, Primary, true), (3, Standby, true)];
    cluster.servers.answer(Asked::Own(1), Server::primary(1, &table(&rows)).look());
    cluster.pass(SECOND).await;
    assert_eq!(cluster.servers.counts(Asked::Peer(2)).running, 0);
    assert_eq!(cluster.servers.counts(Asked::Release(2)).running, 0);
    assert_eq!(cluster.source_facts(0).peers.get(&NodeId(2)), None);
}

/// The looks of a peer are that peer's.
#[tokio::test(start_paused = true)]
async fn every_peers_looks_are_folded_in_as_its_own() {
    let cluster = Cluster::steady().await;
    cluster.servers.answer(Asked::Peer(3), refuses());
    cluster.pass(SECOND).await;
    let facts = cluster.source_facts(0);
    assert_eq!(facts.peers[&NodeId(2)].failing(), None);
    assert!(facts.peers[&NodeId(3)].failing().is_some());
    assert_eq!(facts.own.failing(), None);
    assert_eq!(cluster.says(0).0, State::Ready, "two of three");
}

/// A standby looks at nobody: what costs the other servers connections is a candidate's alone.
#[tokio::test(start_paused = true)]
async fn a_demoted_node_looks_at_nobody_and_forgets_what_it_saw_of_them() {
    let cluster = Cluster::steady().await;
    assert_eq!(cluster.servers.counts(Asked::Peer(2)).running, 1);
    cluster.servers.answer(Asked::Own(1), Server::standby(1, 2, &healthy()).look());
    cluster.pass(SECOND).await;
    for asked in [Asked::Peer(2), Asked::Peer(3), Asked::Release(2)] {
        assert_eq!(cluster.servers.counts(asked).running, 0, "{asked:?}");
    }
    assert!(cluster.source_facts(0).peers.is_empty());
}

/// While the own server does not answer, the last table stays in use: its peers' votes are what a held
/// primary rests on.
#[tokio::test(start_paused = true)]
async fn a_silent_own_server_leaves_its_peers_looked_at() {
    let cluster = Cluster::steady().await;
    cluster.servers.answer(Asked::Own(1), fails());
    cluster.pass(3 * SECOND).await;
    let looked = looks(&cluster, 3 * SECOND, &[Asked::Peer(2)]).await;
    assert!(looked[0] >= 5, "{looked:?}");
    assert_eq!(cluster.servers.counts(Asked::Peer(2)).started, 1);
}

/// A poke is passed on once in five seconds, to the millisecond.
#[tokio::test(start_paused = true)]
async fn a_poke_is_passed_on_five_seconds_after_the_last_one_and_no_sooner() {
    let cluster = Cluster::steady().await;
    let (interval, _) = rhythm(&cluster);
    let poke = || async {
        let before = cluster.servers.looks(Asked::Own(1));
        cluster.pokes.send(Poke { node: None }).await.expect("the keeper lives");
        settle().await;
        cluster.servers.looks(Asked::Own(1)) - before
    };
    assert_eq!(poke().await, 1);
    for (after, passed_on) in [(ms(4999), 0), (ms(5000), 1)] {
        cluster.pass(2 * interval + ms(5200)).await;
        assert_eq!(poke().await, 1, "long after the last one");
        cluster.pass(after).await;
        assert_eq!(poke().await, passed_on, "{after:?} after it");
    }
}
