//! `make demo`: HAProxy follows the PostgreSQL primary, and why a server's own word is not enough.
//!
//! Two PostgreSQL servers with streaming replication, a rolecall beside each, the shipped
//! `haproxy/haproxy.cfg` in front, clients that write all the time. The primary is killed, the
//! other one promoted, then the old one comes back. The exit code is 0 only if all of it happened
//! as told, so that the demo is a test as well. With `KEEP=1` everything stays up after the story.

mod client;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod needs;
mod scene;
mod screen;
mod stage;
mod timeline;

use std::process::ExitCode;
use std::time::Duration;

use fixtures::now;
use needs::{Needs, UNAVAILABLE};
use scene::{Scene, latest, turned};
use screen::{Ink, event, heading, ink, say};
use timeline::{Happening, await_all};

/// Longest wait for anything in the story: many times what it takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    stage::play(|| match Needs::find() {
        Ok(needs) => match story(&needs) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                println!("\n{} {why}", ink(Ink::Bad, "The story did not happen as told:"));
                ExitCode::FAILURE
            }
        },
        Err(missing) => {
            eprintln!("{missing}");
            ExitCode::from(UNAVAILABLE)
        }
    })
}

fn story(needs: &Needs) -> Result<(), String> {
    println!("{}", ink(Ink::Bold, "rolecall: HAProxy follows the PostgreSQL primary"));
    say("Two PostgreSQL servers, a rolecall beside each, HAProxy in front.");
    say("HAProxy keeps asking each rolecall: is your server the primary?");
    let mut scene = set_up(needs)?;
    fail_over(&mut scene)?;
    come_back(&mut scene)?;
    explain();
    if std::env::var_os("KEEP").is_some_and(|v| !v.is_empty() && v != "0") {
        keep(scene);
    }
    Ok(())
}

fn set_up(needs: &Needs) -> Result<Scene, String> {
    heading("1. Starting, a few seconds");
    let began = now();
    let scene = Scene::set(needs, say);
    let (pg1, pg2) = (&scene.pg1, &scene.pg2);
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
    Ok(scene)
}

fn fail_over(scene: &mut Scene) -> Result<(), String> {
    heading("2. pg1 dies, pg2 takes over");
    say("kill -9 for every process of pg1, then pg_promote() on pg2:");
    say("");
    let killed = now();
    scene.pg1.server.kill9();
    event(Duration::ZERO, "pg1: killed", "");
    scene.pg2.server.sql("select pg_promote(false)");
    event(now().since(killed), "pg2: told to take over", "");

    let (scene, pg1, pg2) = (&*scene, &scene.pg1, &scene.pg2);
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

fn come_back(scene: &mut Scene) -> Result<(), String> {
    heading("3. The old primary comes back, and nobody has told it");
    say("pg1 is started again, as after a reboot. It knows nothing of pg2's promotion:");
    let started = now();
    scene.pg1.server.start();
    let (scene, pg1, pg2) = (&*scene, &scene.pg1, &scene.pg2);
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
    let lonely = scene.rows_by(pg2);
    let theirs = pg2.server.addr().ip();
    let there = pg1.server.sql(&format!("select count(*) from rows where written_on = '{theirs}'"));
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
fn keep(mut scene: Scene) -> ! {
    scene.rest();
    heading("KEEP=1: everything stays up. To try, in another terminal");
    let (agent, pid) = (scene.pg1.agent(), scene.pg1.rolecall_pid());
    let (host, port) = (scene.front.ip(), scene.front.port());
    let logs = scene.dir().display();
    let try_it = |what: &str, how: String| println!("   {what:<28}{how}");
    try_it("ask the rolecall of pg1", format!("nc {} {}", agent.ip(), agent.port()));
    try_it("HAProxy's status page", scene.page());
    try_it("a session through HAProxy", format!("psql -h {host} -p {port} -U postgres"));
    try_it("freeze the rolecall of pg1", format!("kill -STOP {pid}, later kill -CONT {pid}"));
    try_it("all the logs", format!("ls {logs}/*.log"));
    say("");
    say("Ctrl-C here stops and removes all of it.");
    loop {
        std::thread::park();
    }
}
