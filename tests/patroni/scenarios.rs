//! What befalls a cluster, and what must come of it.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::fixtures::patroni::PATIENCE;
use crate::fixtures::patroni_store::Protocol;
use crate::fixtures::{Beat, Server, eventually, now};
use crate::generated;
use crate::stage::{Clock, Names, Setting, Stage};
use crate::{beside, clocks, lost_dcs, paused, restarts};

/// One story of a cluster.
pub struct Scenario {
    pub name: &'static str,
    /// Also run where not everything is.
    pub quick: bool,
    pub setting: Setting,
    /// The first version of Patroni that can do it.
    pub since: &'static [u32],
    /// Two nodes pass the usual check, once it knows the word `primary`: it must be seen, or
    /// nothing was shown.
    pub fools_usual: bool,
    /// How long two may be READY.
    pub two: Two,
    /// Plays it on a healthy stage and returns the node whose rows count in the end.
    pub play: fn(&mut Stage) -> u8,
}

/// When two may be READY, of which one takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Two {
    Never,
    /// While the server of one of them is dead: Patroni went silent first, and the lease bridges that.
    OneDead,
    /// The same for one look: its port refuses.
    OneDeadAMoment,
}

/// Most scenarios in one way or the other.
const USUAL: Scenario = Scenario {
    name: "",
    quick: false,
    setting: Setting::USUAL,
    since: &[2, 1],
    fools_usual: false,
    two: Two::Never,
    play: switchover,
};

const ZOOKEEPER: Setting = Setting { store: Protocol::ZooKeeper, ..Setting::USUAL };
const ETCD2: Setting = Setting { store: Protocol::Etcd2, ..Setting::USUAL };
const OWN_CLOCK: Setting = Setting { clock: Clock::Own, ..Setting::USUAL };

/// Longer than rolecall's looks, HAProxy's checks and Patroni's loop together.
pub const LONG_ENOUGH: Duration = Duration::from_secs(5);

/// Everything, in the order of the table; those of one length beside each other.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "kill -9 of all, old leader back",
        quick: true,
        play: killed_and_back,
        ..USUAL
    },
    Scenario {
        name: "kill -9 of Patroni alone, back",
        quick: true,
        fools_usual: true,
        play: patroni_killed,
        ..USUAL
    },
    Scenario {
        name: "SIGSTOP, CONT of Patroni",
        quick: true,
        fools_usual: true,
        play: patroni_frozen,
        ..USUAL
    },
    Scenario {
        name: "etcd lost, failsafe",
        quick: true,
        since: &[3],
        setting: Setting { failsafe: true, ..Setting::USUAL },
        play: lost_dcs::with_failsafe,
        ..USUAL
    },
    Scenario {
        name: "etcd lost, no failsafe",
        quick: true,
        play: lost_dcs::without_failsafe,
        ..USUAL
    },
    Scenario {
        name: "paused, promoted by hand",
        quick: true,
        fools_usual: true,
        play: paused::promoted_by_hand,
        ..USUAL
    },
    Scenario { name: "switchover", quick: true, two: Two::OneDead, play: switchover, ..USUAL },
    Scenario {
        name: "switchover, servers by name",
        quick: true,
        setting: Setting { names: Names::Resolved, ..Setting::USUAL },
        two: Two::OneDead,
        play: switchover,
        ..USUAL
    },
    Scenario {
        name: "SIGTERM of the leader's Patroni",
        quick: true,
        two: Two::OneDeadAMoment,
        play: beside::stopped_patroni,
        ..USUAL
    },
    Scenario {
        name: "the same, no port asked",
        setting: Setting { keys: "postgres_address = \"none\"", ..Setting::USUAL },
        two: Two::OneDead,
        play: stopped,
        ..USUAL
    },
    Scenario {
        name: "the same, second opinion",
        setting: Setting { second_opinion: true, ..Setting::USUAL },
        play: stopped,
        ..USUAL
    },
    Scenario {
        name: "TLS, client certificates",
        quick: true,
        setting: Setting { tls: true, ..Setting::USUAL },
        two: Two::OneDead,
        play: encrypted,
        ..USUAL
    },
    Scenario {
        name: "replay held up past max_lag",
        quick: true,
        setting: Setting { replica_keys: "max_lag = \"1MB\"", ..Setting::USUAL },
        play: lagging,
        ..USUAL
    },
    Scenario { name: "five idle connections", quick: true, play: idle_connections, ..USUAL },
    Scenario { name: "noloadbalance", quick: true, play: noloadbalance, ..USUAL },
    Scenario {
        name: "read-only leader, second opinion",
        quick: true,
        setting: Setting { second_opinion: true, ..Setting::USUAL },
        play: read_only_leader,
        ..USUAL
    },
    Scenario { name: "PostgreSQL crash under Patroni", play: postgres_crash, ..USUAL },
    Scenario { name: "kill -9 of PostgreSQL", quick: true, play: beside::crashed, ..USUAL },
    Scenario { name: "fast stop of PostgreSQL", play: beside::stopped_fast, ..USUAL },
    Scenario { name: "POST /restart", play: beside::restarted_by_patroni, ..USUAL },
    Scenario { name: "the only replica crashed", play: beside::crashed_replica, ..USUAL },
    Scenario {
        name: "one replica of two crashed",
        quick: true,
        setting: Setting { nodes: 3, ..Setting::USUAL },
        play: beside::crashed_replica,
        ..USUAL
    },
    Scenario {
        name: "the replica's primary away, second opinion",
        quick: true,
        setting: Setting {
            second_opinion: true,
            replica_keys: "max_lag = \"16MB\"",
            ..Setting::USUAL
        },
        play: lag_without_a_primary,
        ..USUAL
    },
    Scenario {
        name: "paused, 3 restarts",
        quick: true,
        play: |stage| restarts::paused(stage, 3, restarts::LEASE),
        ..USUAL
    },
    Scenario {
        name: "paused, 10 restarts, hold 3 s",
        setting: Setting { hold: "3s", ..Setting::USUAL },
        play: |stage| restarts::paused(stage, 10, Duration::from_secs(3)),
        ..USUAL
    },
    Scenario {
        name: "paused, 10 restarts",
        play: |stage| restarts::paused(stage, 10, restarts::LEASE),
        ..USUAL
    },
    Scenario {
        name: "kill -9 of Patroni, started at once",
        quick: true,
        play: |stage| restarts::killed(stage, 1),
        ..USUAL
    },
    Scenario { name: "the same, 10 times", play: |stage| restarts::killed(stage, 10), ..USUAL },
    Scenario {
        name: "SIGSTOP of Patroni for 7 s",
        quick: true,
        play: |stage| restarts::frozen(stage, 1),
        ..USUAL
    },
    Scenario {
        name: "the same, 10 times, 7 s",
        play: |stage| restarts::frozen(stage, 10),
        ..USUAL
    },
    Scenario {
        name: "paused, promoted by hand, etcd lost",
        quick: true,
        fools_usual: true,
        play: lost_dcs::paused_and_two_writable,
        ..USUAL
    },
    Scenario {
        name: "the same, require_lock",
        setting: Setting { keys: "require_lock = true", ..Setting::USUAL },
        fools_usual: true,
        play: lost_dcs::paused_and_lock_required,
        ..USUAL
    },
    Scenario {
        name: "clock set back an hour",
        quick: true,
        setting: OWN_CLOCK,
        play: clocks::back_an_hour,
        ..USUAL
    },
    Scenario {
        name: "clock set back 7 s",
        setting: OWN_CLOCK,
        play: clocks::back_a_little,
        ..USUAL
    },
    Scenario { name: "clock set forward", setting: OWN_CLOCK, play: clocks::forward, ..USUAL },
    Scenario {
        name: "clock set back while Patroni stands still",
        fools_usual: true,
        setting: OWN_CLOCK,
        play: clocks::back_while_frozen,
        ..USUAL
    },
    Scenario { name: "etcd v2, kill -9 of all", setting: ETCD2, play: killed_and_back, ..USUAL },
    Scenario { name: "etcd v2, lost", setting: ETCD2, play: lost_dcs::without_failsafe, ..USUAL },
    Scenario {
        name: "etcd v2, SIGSTOP, CONT of Patroni",
        setting: ETCD2,
        play: patroni_frozen,
        ..USUAL
    },
    Scenario {
        name: "ZooKeeper, kill -9 of all",
        setting: ZOOKEEPER,
        play: killed_and_back,
        ..USUAL
    },
    Scenario {
        name: "ZooKeeper, lost",
        setting: ZOOKEEPER,
        play: lost_dcs::without_failsafe,
        ..USUAL
    },
    Scenario {
        name: "ZooKeeper, SIGSTOP, CONT of Patroni",
        setting: ZOOKEEPER,
        play: patroni_frozen,
        ..USUAL
    },
    Scenario {
        name: "ZooKeeper, SIGSTOP of Patroni for 7 s",
        setting: ZOOKEEPER,
        play: |stage| restarts::frozen(stage, 1),
        ..USUAL
    },
];

fn switchover(stage: &mut Stage) -> u8 {
    generated::is_printed(stage);
    let session = stage.session();
    stage.fault();
    stage.cluster.tell(1, "POST /switchover", &json!({"leader": "n1", "candidate": "n2"}));
    stage.wait_ready(2);
    let done = now();
    stage.wait_row(2);
    stage.wait_replica(1, true);
    stage.look_on(LONG_ENOUGH);
    stage.never_ready(1, Some(done));
    is_cut(&session.stop());
    stage.tell_waited("a switchover of Patroni", 2);
    2
}

fn killed_and_back(stage: &mut Stage) -> u8 {
    stage.fault();
    let node = stage.cluster.node_mut(1);
    node.kill_patroni();
    node.kill_postgres();
    // Reads go on: the replica is well, and so is the leader that it becomes.
    stage.wait_read(2);
    back_as_a_replica(stage)
}

fn patroni_killed(stage: &mut Stage) -> u8 {
    let session = stage.session();
    stage.fault();
    stage.cluster.node_mut(1).kill_patroni();
    let new = back_as_a_replica(stage);
    is_cut(&session.stop());
    new
}

/// Node 2 becomes the leader, node 1 comes back and is never READY again.
fn back_as_a_replica(stage: &mut Stage) -> u8 {
    stage.wait_ready(2);
    stage.wait_row(2);
    let back = now();
    stage.cluster.node_mut(1).start();
    stage.wait_replica(1, true);
    stage.look_on(LONG_ENOUGH);
    stage.never_ready(1, Some(back));
    2
}

fn patroni_frozen(stage: &mut Stage) -> u8 {
    let session = stage.session();
    stage.fault();
    stage.cluster.node(1).freeze_patroni();
    stage.wait_ready(2);
    stage.wait_row(2);
    let back = now();
    stage.cluster.node(1).thaw_patroni();
    stage.wait_replica(1, true);
    stage.look_on(LONG_ENOUGH);
    stage.never_ready(1, Some(back));
    is_cut(&session.stop());
    2
}

/// As `systemctl stop patroni`: PostgreSQL stops first, then the lock is given up.
fn stopped(stage: &mut Stage) -> u8 {
    stage.fault();
    stage.cluster.node_mut(1).stop_patroni();
    back_as_a_replica(stage)
}

/// As [`stopped`], where nobody without a certificate is answered.
fn encrypted(stage: &mut Stage) -> u8 {
    let plain = stage.cluster.node(1).get("/primary");
    assert!(plain.is_err(), "an API that asks for certificates answered: {plain:?}");
    stopped(stage)
}

/// A query on the replica stands in the way of what it is to replay.
fn lagging(stage: &mut Stage) -> u8 {
    let write = |stage: &Stage, sql: &str| {
        let mut session = stage.cluster.node(1).session();
        session.query(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    };
    write(stage, "create table held ()");
    let mut reader = eventually(PATIENCE, "the replica has the table", || {
        let mut reader = stage.cluster.node(2).session();
        reader.query("begin isolation level repeatable read")?;
        reader.value("select count(*)::text from held").map(|_| reader)
    });
    stage.wait_read(2);
    stage.fault();
    write(stage, "drop table held");
    write(stage, "select pg_logical_emit_message(false, 'rolecall', repeat('x', 4000000))");
    stage.wait_replica(2, false);
    stage.wait_read(1);
    reader.query("rollback").expect("the end of the reader's transaction");
    stage.wait_replica(2, true);
    stage.wait_read(2);
    stage.always_ready(1);
    1
}

/// While the primary is away PostgreSQL cannot know how far behind a replica is, and Patroni can: those who
/// read keep it, and their sessions.
fn lag_without_a_primary(stage: &mut Stage) -> u8 {
    stage.wait_read(2);
    stage.fault();
    let node = stage.cluster.node_mut(1);
    node.kill_patroni();
    node.kill_postgres();
    stage.look_on(LONG_ENOUGH);
    stage.replica_always_ready(2);
    back_as_a_replica(stage)
}

fn postgres_crash(stage: &mut Stage) -> u8 {
    let session = stage.session();
    stage.fault();
    stage.cluster.node(1).kill_postgres();
    // The lock is kept: either Patroni starts it again or, where that takes too long, somebody else's.
    stage.wait_maint(1);
    stage.wait_ready(1);
    stage.wait_row(1);
    stage.look_on(LONG_ENOUGH);
    stage.never_ready(2, None);
    is_cut(&session.stop());
    1
}

/// From 3.3.9, 4.0.8 and 4.1.1 the API has five workers and no timeout.
fn idle_connections(stage: &mut Stage) -> u8 {
    stage.fault();
    let rest = stage.cluster.node(1).rest();
    let idle: Vec<_> = (0..5).map(|_| TcpStream::connect(rest).expect("an idle one")).collect();
    if stage.version < vec![3, 3, 9] {
        stage.look_on(2 * LONG_ENOUGH);
        drop(idle);
        stage.always_ready(1);
        return 1;
    }
    stage.wait_maint(1);
    drop(idle);
    stage.wait_ready(1);
    stage.wait_row(1);
    stage.never_ready(2, None);
    1
}

/// A replica that says it wants no clients is none, and the leader serves who only reads.
fn noloadbalance(stage: &mut Stage) -> u8 {
    stage.wait_read(2);
    stage.fault();
    stage.cluster.tag(&stage.ground, 2, &json!({"noloadbalance": true}));
    stage.wait_replica(2, false);
    stage.haproxy.wait("postgres_ro/pg2", PATIENCE, "is in MAINT", Server::is_maint);
    stage.wait_read(1);
    stage.cluster.tag(&stage.ground, 2, &json!({}));
    stage.wait_replica(2, true);
    stage.wait_read(2);
    stage.always_ready(1);
    1
}

/// A leader that holds the lock and refuses writes: Patroni says 200, `primary`, `running`.
fn read_only_leader(stage: &mut Stage) -> u8 {
    stage.fault();
    set_read_only(stage, "on");
    stage.wait_maint(1);
    let said = eventually(PATIENCE, "Patroni's word", || stage.cluster.node(1).get("/primary"));
    assert!(said.status == 200 && said.body.contains("running"), "it was to hold: {said:?}");
    stage.look_on(LONG_ENOUGH);
    set_read_only(stage, "off");
    stage.wait_ready(1);
    stage.wait_row(1);
    stage.never_ready(2, None);
    1
}

fn set_read_only(stage: &Stage, word: &str) {
    let node = stage.cluster.node(1);
    let mut session = node.session();
    // Of these two only the session's own counts for the statement itself.
    for sql in [
        "set default_transaction_read_only = off",
        &format!("alter system set default_transaction_read_only = {word}"),
        "select pg_reload_conf()",
    ] {
        session.query(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

/// The session lived, and was cut: it never outlived its server's being READY.
pub fn is_cut(beats: &[Beat]) {
    assert!(beats.first().is_some_and(|b| b.answer.is_ok()), "no session: {:?}", beats.first());
    let last = beats.last().expect("a sign of life");
    assert!(last.answer.is_err(), "the session lived on: {last:?}");
}
