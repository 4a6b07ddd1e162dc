//! `make demo`: the old primary of a repmgr cluster comes back, believes in itself, and gets nothing.
//!
//! Two data nodes and a witness with repmgrd on each, a rolecall on the data nodes, the shipped
//! `haproxy/haproxy.cfg` in front, clients that write all the time. The primary is killed, repmgrd
//! promotes the other one, then the old one is started again without a rejoin.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::cluster::{Cluster, own_row, place};
use crate::fixtures::{Ground, find_postgres, now};
use crate::needs::Needs;
use crate::scene::{Scene, latest, turned};
use crate::screen::{Ink, event, heading, ink, row, say, try_it};
use crate::timeline::{Happening, await_all};
use crate::{PATIENCE, keeping, wait_for_the_end};

/// rolecall's `settle` where nothing is set: how long a node must have had a majority before it is READY.
const SETTLE: Duration = Duration::from_millis(4300);
/// How long the old primary is watched after its return: over twice [`SETTLE`].
const WATCHED: Duration = Duration::from_secs(9);
/// What a server lets a client do that asks it directly, and what is left of it: nothing.
const TRIAL: &str = "begin; insert into rows default values; rollback";

/// How many rows a server has that were written since it was last started.
const ROWS_SINCE_START: &str = "select count(*) from rows where at >= pg_postmaster_start_time()";

/// Everything on stage; what stands on something else is above it.
struct Stage {
    scene: Scene,
    cluster: Cluster,
    ground: Ground,
}

/// Tells it.
///
/// # Errors
/// What did not happen as told.
pub fn tell(needs: &Needs) -> Result<(), String> {
    println!("{}", ink(Ink::Bold, "rolecall: the one primary of a repmgr cluster"));
    say("node1 and node2 have the data, node3 is the witness; repmgrd runs on each.");
    say("HAProxy keeps asking a rolecall beside node1 and one beside node2:");
    say("is your server the primary?");
    let mut stage = set_up(needs)?;
    fail_over(&mut stage)?;
    come_back(&mut stage, needs)?;
    explain();
    if keeping() {
        stage.scene.rest();
        keep(&stage, needs);
    }
    Ok(())
}

fn set_up(needs: &Needs) -> Result<Stage, String> {
    heading("1. Starting, a few seconds");
    let began = now();
    let ground = Ground::new();
    say("three PostgreSQL servers, registered with repmgr, and repmgrd for each ...");
    let cluster = Cluster::start(&ground);
    let places = [place("node1", &cluster.node1), place("node2", &cluster.node2)];
    let scene = Scene::set(&ground, needs, places);
    let stage = Stage { scene, cluster, ground };
    let scene = &stage.scene;
    let (node1, node2) = (&scene.one, &scene.two);
    await_all(
        PATIENCE,
        [
            Happening::new("node1 is the primary", "", || turned(&node1.role, "primary", began)),
            Happening::new("node2 is a standby", "", || turned(&node2.role, "standby", began)),
            Happening::new("READY for node1", "", || turned(&node1.answer, "READY", began)),
            Happening::new("MAINT for node2", "", || turned(&node2.answer, "MAINT", began)),
            Happening::new("node1 UP", "", || turned(&node1.state, "UP", began)),
            Happening::new("node2 in MAINT", "", || turned(&node2.state, "MAINT", began)),
            Happening::new("a write on node1", "", || scene.wrote(node1, began)),
        ],
        |_, _| {},
    )?;
    say("");
    stage.show(began)?;
    Ok(stage)
}

fn fail_over(stage: &mut Stage) -> Result<(), String> {
    heading("2. node1 dies, repmgr promotes node2");
    say("kill -9 for every process of node1's PostgreSQL. repmgr does the rest:");
    say("");
    let killed = now();
    stage.cluster.node1.postgres.kill9();
    event(Duration::ZERO, "node1: killed", "");

    let scene = &stage.scene;
    let (node1, node2) = (&scene.one, &scene.two);
    await_all(
        PATIENCE,
        [
            Happening::new("node1: answer changed", "rolecall: READY -> MAINT", || {
                turned(&node1.answer, "MAINT", killed)
            }),
            Happening::new("node1: state changed", "HAProxy: UP -> MAINT", || {
                turned(&node1.state, "MAINT", killed)
            }),
            Happening::new("node2: role changed", "SQL: standby -> primary, by repmgrd", || {
                turned(&node2.role, "primary", killed)
            }),
            Happening::new("node2: answer changed", "rolecall: MAINT -> READY", || {
                turned(&node2.answer, "READY", killed)
            }),
            Happening::new("node2: state changed", "HAProxy: MAINT -> UP", || {
                turned(&node2.state, "UP", killed)
            }),
            Happening::new("node2: first write", "through HAProxy, on the new primary", || {
                scene.wrote(node2, killed)
            }),
        ],
        |at, happening| event(at.since(killed), happening.what, happening.detail),
    )?;

    let promoted = turned(&node2.role, "primary", killed).ok_or("node2 is no primary any more")?;
    let ready = turned(&node2.answer, "READY", killed).ok_or("node2 is not READY any more")?;
    let first = scene.wrote(node2, killed).ok_or("node2 took no write")?;
    let last = scene.last_write(node1, first).ok_or("node1 took no write")?;
    if first < promoted {
        return Err("node2 took a write before it was a primary".to_owned());
    }
    if ready.since(promoted) < SETTLE {
        return Err("node2 was READY before the settling time was over".to_owned());
    }
    say("");
    say(&format!(
        "No client could write for {} ms. repmgrd needed {} ms to give",
        first.since(last).as_millis(),
        promoted.since(killed).as_millis(),
    ));
    say(&format!(
        "node1 up and promote node2. rolecall needed {} ms more: until the",
        ready.since(promoted).as_millis()
    ));
    say("witness followed node2, and 4.3 s (`settle`) of a majority without a break. By");
    say("then no READY of node1 is in force anywhere, in HAProxy's memory neither.");
    Ok(())
}

fn come_back(stage: &mut Stage, needs: &Needs) -> Result<(), String> {
    heading("3. The old primary comes back, and nobody has told it");
    say("node1 is started again, as after a reboot, without `repmgr node rejoin`.");
    let started = now();
    stage.cluster.node1.postgres.start();
    let stage = &*stage;
    let (scene, cluster) = (&stage.scene, &stage.cluster);
    let (node1, node2) = (&scene.one, &scene.two);
    await_all(
        PATIENCE,
        [Happening::new("node1 is out of recovery", "", || {
            turned(&node1.role, "primary", started)
        })],
        |_, _| {},
    )?;
    let returned = now();
    say(&format!(
        "For {} s clients go on writing, and node1 has time to convince:",
        WATCHED.as_secs()
    ));
    await_all(
        WATCHED + PATIENCE,
        [Happening::new("writes all the time", "", || scene.wrote(node2, returned.plus(WATCHED)))],
        |_, _| {},
    )?;
    say("");
    stage.show(returned)?;
    stage.cluster.node1.postgres.execute(TRIAL);
    say("");
    say("node1 takes writes from whoever asks it directly (tried, and rolled back).");

    if own_row(&cluster.node1)? != "primary, active" {
        return Err("node1 does not call itself the primary".to_owned());
    }
    for (what, changes) in
        [("its rolecall said READY", &node1.answer), ("HAProxy had it UP", &node1.state)]
    {
        if changes.all().iter().any(|(at, seen)| *at > started && ["READY", "UP"].contains(seen)) {
            return Err(format!("node1 came back and {what}"));
        }
    }
    for (changes, wanted) in [
        (&node1.role, "primary"),
        (&node2.role, "primary"),
        (&node1.answer, "MAINT"),
        (&node2.answer, "READY"),
        (&node1.state, "MAINT"),
        (&node2.state, "UP"),
    ] {
        let seen = latest(changes);
        if seen != wanted {
            return Err(format!("{seen} where {wanted} was to be seen"));
        }
    }
    let rows2 = scene.rows_by(node2, started);
    let rows1 = cluster.node1.postgres.sql(ROWS_SINCE_START);
    say("");
    say("Its rolecall, asked why (`rolecall ask`):");
    say("");
    let why = ask(needs, &stage.ground)?;
    // Without the node's name and how long it took.
    for line in why.lines().skip(2) {
        let decisive = line.trim_start().starts_with("service ");
        say(&if decisive { ink(Ink::Bold, line) } else { line.to_owned() });
    }
    if !why.contains("service primary: not_ready, ") {
        return Err("rolecall ask gives no reason".to_owned());
    }
    say("");
    say(&format!(
        "Rows that clients wrote since node1 is back: {rows2} on node2, {rows1} on node1."
    ));
    if rows1 != "0" || rows2 == 0 {
        return Err("that should be some and 0".to_owned());
    }
    Ok(())
}

/// What `rolecall ask` says beside node 1. Its exit code 1 is MAINT.
fn ask(needs: &Needs, ground: &Ground) -> Result<String, String> {
    let config = configuration(ground.dir(), "node1");
    let asked = Command::new(&needs.rolecall).args(["ask", "--config"]).arg(config).output();
    let asked = asked.map_err(|e| format!("rolecall ask: {e}"))?;
    let errors = String::from_utf8_lossy(&asked.stderr);
    match asked.status.code() {
        Some(1) => Ok(String::from_utf8_lossy(&asked.stdout).into_owned()),
        _ => Err(format!("rolecall ask: {}, not exit code 1\n{errors}", asked.status)),
    }
}

fn explain() {
    heading("Why");
    say("repmgr neither fences an old primary nor corrects it: node1 knows nothing of");
    say("node2's promotion, takes writes, and says `primary, active` in good faith.");
    say("rolecall believes no node's own word: it asks every node over and over, and a");
    say("node is READY only while a majority of the cluster stands behind it, by its own");
    say("answers. Here node2 and the witness stand behind node2, so node1 is in MAINT");
    say("until `repmgr node rejoin` makes it a standby.");
}

impl Stage {
    /// Shows what everybody says, and what each node's own row says of it.
    fn show(&self, since: Stamp) -> Result<(), String> {
        self.scene.show(since);
        row(
            "its own repmgr row says",
            &own_row(&self.cluster.node1)?,
            &own_row(&self.cluster.node2)?,
        );
        Ok(())
    }
}

/// Leaves everything up until the outer process ends this one.
fn keep(stage: &Stage, needs: &Needs) -> ! {
    heading("KEEP=1: everything stays up. To try, in another terminal");
    let (scene, cluster, dir) = (&stage.scene, &stage.cluster, stage.ground.dir());
    let (agent, front) = (scene.one.agent(), scene.front);
    let ask = |node| {
        format!("{} ask --config {}", needs.rolecall.display(), configuration(dir, node).display())
    };
    // repmgr, like PostgreSQL, refuses to run as root.
    let user = stage.ground.user().map(|u| format!("runuser -u {} -- ", u.name));
    let (user, bin) = (user.unwrap_or_default(), find_postgres().unwrap_or_default());
    let conf = cluster.node1.conf().display();
    let cluster_show = format!("{user}{}/repmgr -f {conf} cluster show", bin.display());
    try_it("ask the rolecall of node1", format!("nc {} {}", agent.ip(), agent.port()));
    try_it("the same, with its reasons", ask("node1"));
    try_it("and that of node2", ask("node2"));
    try_it(
        "what node1 tells of itself",
        format!("psql '{}' -c 'table repmgr.nodes'", cluster.node1.conninfo()),
    );
    try_it("what repmgr shows on node1", cluster_show);
    try_it("HAProxy's status page", scene.page());
    try_it(
        "a session through HAProxy",
        format!("psql -h {} -p {} -U postgres", front.ip(), front.port()),
    );
    try_it("all the logs", format!("ls {}/*.log", dir.display()));
    wait_for_the_end()
}

/// The configuration of a node's rolecall.
fn configuration(dir: &Path, node: &str) -> PathBuf {
    dir.join(format!("rolecall-{node}.toml"))
}
