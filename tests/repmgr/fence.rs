//! Two HAProxy processes that no answer reaches: their sessions on the old primary, with `[fence]` and without.
//!
//! The nodes' agents say READY on one node at a time throughout. What is counted is rows that the old
//! primary took after the new one was READY, in its own table, told to a client or not: by sessions
//! that HAProxy held, and by those that it opened after it went on, until it heard the next answer.

use std::net::SocketAddr;
use std::time::Duration;

use rolecall::look::stamp::Stamp;
use rustix::process::Signal;

use crate::fixtures::netns::host;
use crate::fixtures::repmgr::{CLIENT, PATIENCE, WITNESS};
use crate::fixtures::{FRONT_PORT, Ground, Haproxy, Recorder, Session, haproxies, now};
use crate::scenarios::lives;
use crate::stage::{Stage, addresses_at, front};

/// Clients that keep a session at each HAProxy.
const CLIENTS: usize = 3;
/// How often each of them writes.
const EVERY: Duration = Duration::from_millis(25);
/// Longest wait of such a client: longer than anything stands still here.
const PATIENT: Duration = Duration::from_secs(60);
/// Where clients reach the second HAProxy.
const SECOND_PORT: u16 = FRONT_PORT + 50;
/// Longer than a fence, an answer and a check take together after what stood still goes on.
const AFTER: Duration = Duration::from_secs(8);
/// After so long a HAProxy that goes on has heard the next answer, on a busy host too.
const HEARD: f64 = 2.0;

/// How long the shipped file lets an old worker live: less than a failover takes.
const SHIPPED_STOP: &str = "hard-stop-after 9s";
/// What many have, and the second HAProxy here: longer than a failover and all that is looked on.
const LONGER_STOP: &str = "hard-stop-after 60s";

/// What the clients write, and when their sessions began, by the server's clock.
const TABLE: &str = "
create function began() returns timestamptz language sql stable
as 'select backend_start from pg_stat_activity where pid = pg_backend_pid()';
create table kept (at timestamptz default clock_timestamp(), began timestamptz default began());
grant all on kept to app";

/// A second HAProxy beside the stage's, and clients at both that keep their sessions, as pools do.
struct Pair {
    second: Haproxy,
    _clients: Vec<Recorder<bool>>,
    _ground: Ground,
}

impl Pair {
    fn start(stage: &Stage) -> Self {
        stage.cluster.node(1).postgres.execute(TABLE);
        let ground = Ground::new();
        let client = stage.cluster.net().space(CLIENT);
        let (_, program) = haproxies().swap_remove(0);
        let at = SocketAddr::from((host(CLIENT), SECOND_PORT));
        let shipped = std::fs::read_to_string(&stage.release.cfg).expect("the shipped file");
        let longer = shipped.replace(SHIPPED_STOP, LONGER_STOP);
        assert_ne!(longer, shipped, "the shipped file no longer says `{SHIPPED_STOP}`");
        let cfg = ground.write("longer.cfg", &longer);
        let second = Haproxy::start_in(Some(client), &ground, &program, &cfg, &addresses_at(at));
        second.wait("postgres_rw/db1", PATIENCE, "is up", |s| s.status == "UP");
        let keep = |at| client.inside(move || keeping_writer(at));
        let fronts = [front(), at].into_iter().cycle().take(2 * CLIENTS);
        let clients: Vec<_> = fronts.map(keep).collect();
        for client in &clients {
            client.wait_since(0, PATIENCE, "a row of a client", |taken| *taken);
        }
        Self { second, _clients: clients, _ground: ground }
    }

    /// Looks on, counts, and holds the count to what was configured. Something went on at `went_on`, or
    /// nothing did; `raced`: the server went on at the same moment, with statements that had come before.
    fn judge(self, stage: &Stage, story: &str, ready: Stamp, went_on: Option<Stamp>, raced: bool) {
        stage.look_on(AFTER);
        let (fence, ago) = (stage.setting.fence, |at: Stamp| now().since(at).as_secs_f64());
        let counted = stage.cluster.node(1).postgres.sql(&format!(
            "select concat_ws(' ', count(*) filter (where began <= ready), \
                    count(*) filter (where began > ready), \
                    coalesce(max(extract(epoch from at - went_on)), 0)) \
               from kept, (select clock_timestamp() - interval '{} s' as ready, \
                                  clock_timestamp() - interval '{} s' as went_on) moments \
              where at > ready",
            ago(ready),
            ago(went_on.unwrap_or(ready)),
        ));
        let mut numbers = counted.split(' ').map(|n| n.parse::<f64>().expect("a number"));
        let mut number = || numbers.next().expect("three numbers");
        let (held, new, last) = (number(), number(), number());
        println!(
            "{story}, fence {fence}: rows on the old primary after the new one was READY: {held} by \
             sessions that were held, {new} by new ones; the last {last:.3} s after all went on"
        );
        if fence {
            assert!(held < 1.0 || raced, "{story}: sessions that HAProxy held wrote on");
            assert!(new < 1.0 || went_on.is_some(), "{story}: nothing lets new sessions in");
            assert!(last < HEARD, "{story}: the old primary took rows for {last} s");
        } else if !raced {
            assert!(held > 0.0, "{story}: it shows nothing without a fence");
        }
        // Its clients wrote until here.
        drop(self);
    }
}

/// Writes a row over one session for as long as that lives, and waits for as long as it takes; over a
/// new one where it was cut. Tells whether the row was taken.
fn keeping_writer(front: SocketAddr) -> Recorder<bool> {
    let mut kept: Option<Session> = None;
    Recorder::start(EVERY, move || {
        kept = kept.take().or_else(|| Session::connect_as(front, "app", "postgres", PATIENT).ok());
        let written = kept.as_mut().map(|session| session.query("insert into kept default values"));
        let taken = matches!(written, Some(Ok(_)));
        if !taken {
            kept = None;
        }
        Some(taken)
    })
}

/// The old primary is cut off from the other nodes, not from HAProxy.
fn cut_off(stage: &Stage) {
    stage.cluster.partition(&[&[1], &[2, 3, WITNESS]]);
}

fn heal(stage: &mut Stage, new: u8, ready: Stamp) -> u8 {
    stage.cluster.heal();
    stage.cluster.rejoin(1, new);
    stage.never_ready_since(1, ready);
    new
}

/// Both of them are reloaded, and their old workers, which check nobody any more, keep the sessions.
pub fn reloaded(stage: &mut Stage) -> u8 {
    let pair = Pair::start(stage);
    let session = stage.session();
    stage.haproxy.reload();
    pair.second.reload();
    // On a healthy primary the fence leaves them alone.
    stage.look_on(Duration::from_secs(3));
    lives(&session.stop());
    stage.fault();
    cut_off(stage);
    let new = stage.wait_new_ready(1);
    let ready = now();
    pair.judge(stage, "both HAProxys reloaded, then cut", ready, None, false);
    heal(stage, new, ready)
}

/// The primary's host and one HAProxy stand still together and go on after the failover.
pub fn paused(stage: &mut Stage) -> u8 {
    let pair = Pair::start(stage);
    stage.fault();
    pair.second.freeze();
    stage.roles[&1].signal(Signal::STOP);
    stage.cluster.freeze(1);
    let new = stage.wait_new_ready(1);
    let ready = now();
    stage.wait_row(new);
    let went_on = now();
    stage.cluster.thaw(1);
    stage.roles[&1].signal(Signal::CONT);
    pair.second.thaw();
    pair.judge(stage, "host and HAProxy paused together", ready, Some(went_on), true);
    heal(stage, new, ready)
}

/// One HAProxy stands still while the others fail over; the kernel keeps its sessions.
pub fn frozen(stage: &mut Stage) -> u8 {
    let pair = Pair::start(stage);
    stage.fault();
    pair.second.freeze();
    cut_off(stage);
    let new = stage.wait_new_ready(1);
    let ready = now();
    stage.wait_row(new);
    let went_on = now();
    pair.second.thaw();
    pair.judge(stage, "a HAProxy frozen and thawed", ready, Some(went_on), false);
    heal(stage, new, ready)
}
