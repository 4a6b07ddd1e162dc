//! What happens to a cluster behind a shipped file, and what its clients may notice of it.

use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::{FRONT_PORT, Recorder, Server, eventually, now};
use crate::patterns::{FRONT, Place, READ_PORT};
use crate::servers::{Met, Session, Visit, session};
use crate::stage::{Role, SOON, Stage};

/// Longer than every check takes to come round twice.
const SAMPLES: usize = 60;
/// What a busy machine may add to the time after which a server is shown DOWN.
const BUSY: Duration = Duration::from_secs(2);

/// Longest that a client waits for a server that has crashed: `timeout connect` of the pool for reads twice, with
/// `retries 1`, and what a busy machine adds; less than HAProxy's own second.
const WAITS: Duration = Duration::from_millis(900);

/// The whole play; what it measured.
pub fn play(stage: &mut Stage) -> String {
    let mut told = vec![cold_start(stage), steady(stage), reload(stage), failover(stage)];
    told.push(start_anew(stage));
    if stage.pattern.reads {
        empty_pool(stage);
        drained_replica(stage);
        told.push(crashed_replicas(stage));
    }
    match stage.pattern.place {
        Place::EachNode => {
            told.push(rolecall_dies_on_the_primary(stage));
            rolecall_dies_on_a_standby(stage);
        }
        Place::BesideHaproxy => told.push(rolecall_dies(stage)),
    }
    told.push(stage.right());
    told.join("; ")
}

/// Nobody but the primary is met by those who write, from the first connection on: [`Stage::right`].
fn cold_start(stage: &Stage) -> String {
    let began = stage.writes.all().first().map_or_else(now, |v| v.began);
    stage.settled();
    let first = Stage::wait_met(&stage.writes, began, &[1]);
    format!("first write after {:.1?}", first.began.since(began))
}

fn steady(stage: &Stage) -> String {
    let from = now();
    stage.look_on(SAMPLES);
    format!("steady {}", undisturbed(stage, from))
}

/// The reload keeps everything as it was, from the first connection that the new worker takes.
fn reload(stage: &Stage) -> String {
    let from = now();
    stage.reload_haproxy();
    stage.look_on(SAMPLES);
    stage.settled();
    format!("reload {}", undisturbed(stage, from))
}

/// Since `from` every client met whom it should, and nobody was turned away.
fn undisturbed(stage: &Stage, from: Stamp) -> String {
    let primary = [stage.primary()];
    let writes = only(&stage.writes, from, &primary);
    let replicas = stage.all(Role::Replica);
    let reads = stage.reads.as_ref().map_or(0, |reads| only(reads, from, &replicas));
    format!("{writes} writes, {reads} reads")
}

/// Asserts that every client since `from` met one of `nodes`.
fn only(visits: &Recorder<Visit>, from: Stamp, nodes: &[u8]) -> usize {
    let met = Stage::met(visits, from);
    for one in &met {
        assert!(
            matches!(one, Met::Server(id) if nodes.contains(id)),
            "a client met {one:?}, not one of {nodes:?}"
        );
    }
    met.len()
}

/// Asserts that nobody met any server since `from`.
fn nobody(visits: &Recorder<Visit>, from: Stamp) {
    let met = Stage::met(visits, from);
    assert!(met.iter().all(|m| *m == Met::Nobody), "a client met somebody: {met:?}");
}

/// The primary dies, node 2 is promoted; the old one comes back as a standby.
fn failover(stage: &mut Stage) -> String {
    let began = now();
    stage.becomes(1, Role::Dead);
    stage.becomes(2, Role::Primary);
    // At once: nobody who came for the dead server may be sent to what it has become.
    stage.haproxy.wait(&stage.pattern.rw(1), SOON, "is in maintenance", Server::is_maint);
    stage.becomes(1, Role::Replica);
    let first = Stage::wait_met(&stage.writes, began, &[2]);
    stage.settled();
    format!("failover {:.1?}", first.at.since(began))
}

/// HAProxy is started anew; what its state file says is from before the failover.
fn start_anew(stage: &mut Stage) -> String {
    let began = now();
    stage.start_haproxy_anew();
    let first = Stage::wait_met(&stage.writes, began, &[stage.primary()]);
    stage.settled();
    format!("started anew {:.1?}", first.at.since(began))
}

/// No replica is fit: those who read are sent to the primary, and back.
fn empty_pool(stage: &mut Stage) {
    let replicas = stage.all(Role::Replica);
    for id in &replicas {
        stage.becomes(*id, Role::Leaving);
    }
    stage.settled();
    for id in &replicas {
        stage.becomes(*id, Role::Unfit);
    }
    let from = now();
    stage.look_on(SAMPLES / 4);
    only(reads(stage), from, &[stage.primary()]);
    for id in &replicas {
        stage.becomes(*id, Role::Replica);
    }
    stage.settled();
    let from = now();
    stage.look_on(SAMPLES / 4);
    only(reads(stage), from, &replicas);
}

/// Every replica crashes: nobody who reads waits in HAProxy for the second that it waits by default before it
/// tries again.
fn crashed_replicas(stage: &mut Stage) -> String {
    let replicas = stage.all(Role::Replica);
    let from = now();
    for id in &replicas {
        stage.becomes(*id, Role::Dead);
    }
    let first = Stage::wait_met(reads(stage), from, &[stage.primary()]);
    let came = reads(stage).all().into_iter().filter(|v| v.began >= from && v.began <= first.began);
    let longest = came.map(|v| v.at.since(v.began)).max().unwrap_or_default();
    assert!(longest <= WAITS, "a client was held for {longest:?}");
    for id in &replicas {
        stage.becomes(*id, Role::Replica);
    }
    stage.settled();
    format!("a crashed replica held a client for {longest:.1?}")
}

/// An operator drains a replica: its session stays, new ones go elsewhere, it is never DOWN.
fn drained_replica(stage: &Stage) {
    let (id, held) = session(stage.ground.addr(FRONT, READ_PORT)).expect("a replica");
    let server = stage.pattern.ro(id);
    stage.order("drain", id);
    let drains = |s: &Server| s.status.starts_with("DRAIN");
    stage.haproxy.wait(&server, SOON, "drains", drains);
    let from = now();
    for sample in stage.look_on(SAMPLES) {
        assert!(drains(&sample.servers[&server]), "not drained any more: {sample:?}");
    }
    assert!(held.lives(), "the drain cut a session");
    let met = Stage::met(reads(stage), from);
    assert!(met.iter().all(|m| ![Met::Server(id), Met::Nobody].contains(m)), "{met:?}");
    stage.order("auto", id);
    stage.wait_up(&server);
}

/// The primary's rolecall is killed: its server is DOWN in the time that the file says, and back with it.
fn rolecall_dies_on_the_primary(stage: &mut Stage) -> String {
    let id = stage.primary();
    let (rw, held) = (stage.pattern.rw(id), writer(stage));
    let killed = stage.kill_rolecall(id);
    let down = wait_down(stage, &rw, killed);
    eventually(SOON, "its session is cut", || if held.lives() { Err("lives") } else { Ok(()) });
    let from = now();
    let samples = stage.look_on(SAMPLES);
    nobody(&stage.writes, from);
    if stage.pattern.reads {
        only(reads(stage), from, &stage.all(Role::Replica));
        let ro = stage.pattern.ro(id);
        assert!(samples.iter().all(|s| s.servers[&ro].is_maint()), "{ro} is not in maintenance");
    }
    let seen = stage.haproxy.server(&rw);
    assert_eq!(seen.agent_status, "L4CON", "{seen:?}");
    back(stage, id);
    let from = now();
    Stage::wait_met(&stage.writes, from, &[id]);
    format!("DOWN {down:.1?} after its rolecall")
}

/// A standby's rolecall is killed and the standby promoted: it stays in MAINT until rolecall is back.
fn rolecall_dies_on_a_standby(stage: &mut Stage) {
    let old = stage.primary();
    let id = *stage.all(Role::Replica).last().expect("a standby");
    let rw = stage.pattern.rw(id);
    let killed = stage.kill_rolecall(id);
    if stage.pattern.reads {
        wait_down(stage, &stage.pattern.ro(id), killed);
    }
    let dead = |s: &Server| s.is_maint() && s.agent_status == "L4CON";
    stage.haproxy.wait(&rw, SOON, "has a dead agent", dead);
    let from = now();
    stage.look_on(SAMPLES / 4);
    only(&stage.writes, from, &[old]);
    if stage.pattern.reads {
        let mut others = stage.all(Role::Replica);
        others.retain(|other| *other != id);
        only(
            reads(stage),
            from,
            if others.is_empty() { std::slice::from_ref(&old) } else { &others },
        );
    }
    promote_in_vain(stage, old, id);
    back(stage, id);
    let from = now();
    Stage::wait_met(&stage.writes, from, &[id]);
}

/// Node `old` dies and `id`, whose rolecall is dead, is promoted: it stays in MAINT, nobody writes.
fn promote_in_vain(stage: &mut Stage, old: u8, id: u8) {
    let rw = stage.pattern.rw(id);
    stage.becomes(old, Role::Dead);
    stage.becomes(id, Role::Primary);
    let from = now();
    for sample in stage.look_on(SAMPLES) {
        assert!(sample.servers[&rw].is_maint(), "{rw} is in service: {sample:?}");
    }
    nobody(&stage.writes, from);
}

/// The one rolecall is killed: nobody is served, whatever is promoted, until it is back.
fn rolecall_dies(stage: &mut Stage) -> String {
    let (old, standbys) = (stage.primary(), stage.all(Role::Replica));
    let (rw, held) = (stage.pattern.rw(old), writer(stage));
    let killed = stage.kill_rolecall(old);
    let down = wait_down(stage, &rw, killed);
    for id in &standbys {
        wait_down(stage, &stage.pattern.ro(*id), killed);
    }
    eventually(SOON, "its session is cut", || if held.lives() { Err("lives") } else { Ok(()) });
    let from = now();
    for sample in stage.look_on(SAMPLES / 4) {
        for id in &standbys {
            let rw = stage.pattern.rw(*id);
            assert!(sample.servers[&rw].is_maint(), "{rw} is not in maintenance: {sample:?}");
        }
    }
    nobody(&stage.writes, from);
    nobody(reads(stage), from);
    promote_in_vain(stage, old, standbys[0]);
    nobody(reads(stage), from);
    back(stage, standbys[0]);
    let from = now();
    Stage::wait_met(&stage.writes, from, &standbys[..1]);
    Stage::wait_met(reads(stage), from, &standbys[1..]);
    format!("all DOWN {down:.1?} after rolecall")
}

/// Starts the rolecall of node `id` again; everything comes back by itself.
fn back(stage: &mut Stage, id: u8) {
    stage.revive_rolecall(id);
    stage.settled();
    stage.end_excuses();
}

/// Waits until `server` is shown DOWN, and asserts that it took no longer than the file says.
fn wait_down(stage: &Stage, server: &str, since: Stamp) -> Duration {
    let down = stage.samples.wait_since(0, SOON, &format!("{server} is down"), |sample| {
        sample.at >= since && sample.servers[server].is_down()
    });
    let took = down.at.since(since);
    assert!(took <= stage.pattern.falls_within() + BUSY, "{server} was down after {took:?}");
    took
}

/// A session with the primary.
fn writer(stage: &Stage) -> Session {
    session(stage.ground.addr(FRONT, FRONT_PORT)).expect("the primary").1
}

fn reads(stage: &Stage) -> &Recorder<Visit> {
    stage.reads.as_ref().expect("a pool for reads")
}
