//! `make demo SOURCE=postgres`: why a server's own word is not enough.
//!
//! Two PostgreSQL servers with streaming replication, and nobody who knows which of them leads. The
//! primary is killed, the other one promoted by hand, then the old one comes back.

use std::path::Path;
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::client::TABLE;
use crate::fixtures::{Ground, Postgres, now};
use crate::needs::Needs;
use crate::scene::{Place, Scene, latest, turned};
use crate::screen::{Ink, event, heading, ink, say, try_it};
use crate::timeline::{Happening, await_all};
use crate::{PATIENCE, keeping, wait_for_the_end};

/// Everything on stage; what stands on something else is above it.
struct Stage {
    scene: Scene,
    pg1: Postgres,
    pg2: Postgres,
    ground: Ground,
    began: Stamp,
}

/// Tells it.
///
/// # Errors
/// What did not happen as told.
pub fn tell(needs: &Needs) -> Result<(), String> {
    println!("{}", ink(Ink::Bold, "rolecall: HAProxy follows the PostgreSQL primary"));
    say("Two PostgreSQL servers, a rolecall beside each, HAProxy in front.");
    say("HAProxy keeps asking each rolecall: is your server the primary?");
    let mut stage = set_up(needs)?;
    fail_over(&mut stage)?;
    come_back(&mut stage)?;
    explain();
    if keeping() {
        stage.scene.rest();
        keep(&stage.scene, stage.ground.dir());
    }
    Ok(())
}

impl Stage {
    fn start(needs: &Needs) -> Self {
        let began = now();
        let ground = Ground::new();
        say("pg1, then pg2 as its standby by streaming replication ...");
        let mut pg1 = Postgres::init(&ground, "pg1", ground.host(1));
        pg1.start();
        let mut pg2 = Postgres::standby_of(&ground, "pg2", ground.host(2), &pg1);
        pg2.start();
        pg1.execute(TABLE);
        pg1.wait_caught_up(&pg2);
        let place = |name, server: &Postgres| Place {
            name,
            addr: server.addr(),
            source: format!("kind = \"postgres\"\nconninfo = \"{}\"", server.conninfo()),
        };
        let places = [place("pg1", &pg1), place("pg2", &pg2)];
        let scene = Scene::set(&ground, needs, places);
        Self { scene, pg1, pg2, ground, began }
    }
}

fn set_up(needs: &Needs) -> Result<Stage, String> {
    heading("1. Starting, a few seconds");
    let stage = Stage::start(needs);
    let (scene, began) = (&stage.scene, stage.began);
    let (pg1, pg2) = (&scene.one, &scene.two);
    await_all(
        PATIENCE,
        [
            Happening::new("pg1 is the primary", "", || turned(&pg1.role, "primary", began)),
            Happening::new("pg2 is a standby", "", || turned(&pg2.role, "standby", began)),
            Happening::new("READY for pg1", "", || turned(&pg1.answer, "READY", began)),
            Happening::new("MAINT for pg2", "", || turned(&pg2.answer, "MAINT", began)),
            Happening::new("pg1 UP", "", || turned(&pg1.state, "UP", began)),
            Happening::new("pg2 in MAINT", "", || turned(&pg2.state, "MAINT", began)),
            Happening::new("a write on pg1", "", || scene.wrote(pg1, began)),
        ],
        |_, _| {},
    )?;
    say("");
    scene.show(began);
    Ok(stage)
}

fn fail_over(stage: &mut Stage) -> Result<(), String> {
    heading("2. pg1 dies, pg2 takes over");
    say("kill -9 for every process of pg1, then pg_promote() on pg2:");
    say("");
    let killed = now();
    stage.pg1.kill9();
    event(Duration::ZERO, "pg1: killed", "");
    stage.pg2.sql("select pg_promote(false)");
    event(now().since(killed), "pg2: told to take over", "");

    let scene = &stage.scene;
    let (pg1, pg2) = (&scene.one, &scene.two);
    await_all(
        PATIENCE,
        [
            Happening::new("pg1: answer changed", "rolecall: READY -> MAINT", || {
                turned(&pg1.answer, "MAINT", killed)
            }),
            Happening::new("pg1: state changed", "HAProxy: UP -> MAINT", || {
                turned(&pg1.state, "MAINT", killed)
            }),
            Happening::new("pg2: role changed", "SQL: standby -> primary", || {
                turned(&pg2.role, "primary", killed)
            }),
            Happening::new("pg2: answer changed", "rolecall: MAINT -> READY", || {
                turned(&pg2.answer, "READY", killed)
            }),
            Happening::new("pg2: state changed", "HAProxy: MAINT -> UP", || {
                turned(&pg2.state, "UP", killed)
            }),
            Happening::new("pg2: first write", "through HAProxy, on the new primary", || {
                scene.wrote(pg2, killed)
            }),
        ],
        |at, happening| event(at.since(killed), happening.what, happening.detail),
    )?;

    let promoted = turned(&pg2.role, "primary", killed).ok_or("pg2 is no primary any more")?;
    let first = scene.wrote(pg2, killed).ok_or("pg2 took no write")?;
    let last = scene.last_write(pg1, first).ok_or("pg1 took no write")?;
    if first < promoted {
        return Err("pg2 took a write before it was a primary".to_owned());
    }
    say("");
    say(&format!(
        "No client could write for {} ms, {} ms of it after pg2's role had changed.",
        first.since(last).as_millis(),
        first.since(promoted).as_millis()
    ));
    say("rolecall looked every 500 ms, HAProxy asked every 1 s. `make bench-flip`");
    say("measures 20 promotions with 100 ms for both.");
    Ok(())
}

fn come_back(stage: &mut Stage) -> Result<(), String> {
    heading("3. The old primary comes back, and nobody has told it");
    say("pg1 is started again, as after a reboot. It knows nothing of pg2's promotion:");
    let started = now();
    stage.pg1.start();
    let scene = &stage.scene;
    let (pg1, pg2) = (&scene.one, &scene.two);
    await_all(
        PATIENCE,
        [
            Happening::new("pg1 is a primary", "", || turned(&pg1.role, "primary", started)),
            Happening::new("READY for pg1", "", || turned(&pg1.answer, "READY", started)),
            Happening::new("pg1 UP", "", || turned(&pg1.state, "UP", started)),
            Happening::new("a write on pg1", "", || scene.wrote(pg1, started)),
        ],
        |_, _| {},
    )?;
    let up_again = turned(&pg1.state, "UP", started).unwrap_or(started);
    say("");
    scene.show(up_again);
    for (changes, wanted) in
        [(&pg1.answer, "READY"), (&pg2.answer, "READY"), (&pg1.state, "UP"), (&pg2.state, "UP")]
    {
        if latest(changes) != wanted {
            return Err(format!("not {wanted} twice"));
        }
    }
    let lonely = scene.rows_by(pg2, stage.began);
    let theirs = stage.pg2.addr().ip();
    let there = stage.pg1.sql(&format!("select count(*) from rows where node = '{theirs}'"));
    if there != "0" {
        return Err(format!("pg1 has {there} rows of pg2"));
    }
    say("");
    say(&ink(Ink::Bad, "READY twice: two primaries, both in use for HAProxy."));
    say(&format!(
        "{lonely} rows that clients wrote to pg2 are not on pg1. New rows go to pg1 alone,"
    ));
    say("the first server in the file. PostgreSQL cannot merge the two again.");
    Ok(())
}

fn explain() {
    heading("Why Patroni or repmgr are needed");
    say("A PostgreSQL server can only say whether it is in recovery. pg1 died as a");
    say("primary, so it comes back as one. That pg2 was promoted meanwhile is written");
    say("nowhere on pg1. Patroni (by a lock in etcd, Consul ...) and repmgr (by what a");
    say("majority of the nodes recorded) know who leads. With  kind = \"patroni\"  or");
    say("kind = \"repmgr\"  rolecall asks them and says MAINT for pg1.");
    say("Use  kind = \"postgres\"  alone only where an old primary cannot start by itself.");
}

/// Leaves everything up until the outer process ends this one.
fn keep(scene: &Scene, dir: &Path) -> ! {
    heading("KEEP=1: everything stays up. To try, in another terminal");
    let (agent, pid) = (scene.one.agent(), scene.one.rolecall_pid());
    let (host, port) = (scene.front.ip(), scene.front.port());
    let logs = dir.display();
    try_it("ask the rolecall of pg1", format!("nc {} {}", agent.ip(), agent.port()));
    try_it("HAProxy's status page", scene.page());
    try_it("a session through HAProxy", format!("psql -h {host} -p {port} -U postgres"));
    try_it("freeze the rolecall of pg1", format!("kill -STOP {pid}, later kill -CONT {pid}"));
    try_it("all the logs", format!("ls {logs}/*.log"));
    wait_for_the_end()
}
