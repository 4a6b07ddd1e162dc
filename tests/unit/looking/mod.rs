//! Poller and keeper in process, with the clock held still: hang, drip, hold, expiry, recovery,
//! several sources, start, reload, a host that slept.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use rolecall::config::Rhythm;
use rolecall::host::clock::Clock;
use rolecall::look::error::ErrorKind;
use rolecall::look::role::Role;
use rolecall::verdict::state::State;
use rolecall::watch::poller::{self, Poked};
use tokio::sync::mpsc;

mod candidate;
mod cluster;
mod followed;
mod giving_way;
mod nodes;
mod orders;
mod pokes;
mod reloads;
mod servers;
mod watching;
mod world;

use world::*;

const READY: (State, &str) = (State::Ready, "serves");

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_ends_ready_by_hold_though_nobody_asks() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let mut world = World::watching(&[("a", &source)]).await;
    assert_eq!(world.says(), READY);
    source.now_does(Does::Hangs);
    // The last good look began at 0; the look at 500 hangs and times out at 2000.
    world.announced.mark_unchanged();
    world.pass(ms(3000)).await;
    assert_eq!(world.says(), READY);
    world.pass(ms(2)).await;
    assert_eq!(world.says(), (State::Unknown, "timeout"));
    assert!(world.announced.has_changed().unwrap(), "time alone changed it, and that is announced");
    assert_eq!(world.announced.borrow()[0][0].verdict.state, State::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_drips_is_good_within_the_timeout_and_a_failure_after_it() {
    let source = Scripted::new([Does::Drips(ms(1499), Role::Primary)]);
    let world = World::watching(&[("a", &source)]).await;
    assert_eq!(world.says(), READY);
    source.now_does(Does::Drips(ms(1501), Role::Primary));
    world.pass(ms(10_000)).await;
    assert_eq!(world.says(), (State::Unknown, "timeout"));
}

#[tokio::test(start_paused = true)]
async fn the_age_of_an_answer_counts_from_when_the_look_began() {
    let source = Scripted::new([Does::Drips(ms(1000), Role::Primary), Does::Hangs]);
    let world = World::watching(&[("a", &source)]).await;
    let until = world.verdict().until.unwrap();
    assert_eq!(until.since(world.clock.now()) + ms(1000), HOLD);
}

#[tokio::test(start_paused = true)]
async fn a_look_over_its_time_is_dropped_and_the_next_starts_clean() {
    let source = Scripted::new([Does::Hangs]);
    let world = World::watching(&[("a", &source)]).await;
    assert_eq!(source.under_way.load(Ordering::SeqCst), 1, "the second look is under way");
    source.now_does(Does::Says(Role::Primary));
    world.pass(TIMEOUT + INTERVAL).await;
    assert_eq!(source.under_way.load(Ordering::SeqCst), 0);
    assert_eq!(world.says(), READY);
}

#[tokio::test(start_paused = true)]
async fn never_two_looks_at_one_time_and_no_burst_after_a_slow_one() {
    let source = Scripted::new([Does::Drips(ms(1400), Role::Primary)]);
    let world = World::watching(&[("a", &source)]).await;
    world.pass(ms(1)).await;
    let begun = source.begun.load(Ordering::SeqCst);
    source.now_does(Does::Says(Role::Primary));
    world.pass(ms(1400 + 5000)).await;
    assert!(source.under_way.load(Ordering::SeqCst) <= 1);
    let looks = source.begun.load(Ordering::SeqCst) - begun;
    assert!((10..=12).contains(&looks), "{looks} looks in 5 s at every 500 ms");
}

#[tokio::test(start_paused = true)]
async fn the_second_look_comes_a_phase_after_the_first_and_the_rhythm_goes_on_from_there() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let clock = Clock::held();
    let (report, mut looks) = mpsc::channel(16);
    let rhythm = Rhythm { interval: INTERVAL, timeout: TIMEOUT };
    let id = rolecall::watch::poller::PollerId(1);
    let begun = clock.now();
    let poller =
        tokio::spawn(poller::run(source, rhythm, ms(200), clock, id, report, Poked::default()));
    for expected in [0, 200, 700, 1200] {
        let look = looks.recv().await.expect("a look");
        assert_eq!(look.began.since(begun), ms(expected));
    }
    poller.abort();
}

#[tokio::test(start_paused = true)]
async fn a_no_acts_at_once_and_a_yes_comes_back_at_once() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let world = World::watching(&[("a", &source)]).await;
    source.now_does(Does::Says(Role::Replica));
    world.pass(INTERVAL).await;
    assert_eq!(world.says(), (State::NotReady, "other_role"));
    source.now_does(Does::Says(Role::Primary));
    world.pass(INTERVAL).await;
    assert_eq!(world.says(), READY);
}

#[tokio::test(start_paused = true)]
async fn failures_within_hold_are_not_seen_and_recovery_starts_it_again() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let world = World::watching(&[("a", &source)]).await;
    for _ in 0..3 {
        source.now_does(Does::Fails(ErrorKind::SlotsFull));
        world.pass(ms(2500)).await;
        assert_eq!(world.says(), READY);
        source.now_does(Does::Says(Role::Primary));
        world.pass(INTERVAL).await;
    }
    source.now_does(Does::Fails(ErrorKind::SlotsFull));
    world.pass(HOLD + ms(2)).await;
    assert_eq!(world.says(), (State::Unknown, "slots_full"));
    source.now_does(Does::Says(Role::Primary));
    world.pass(INTERVAL).await;
    assert_eq!(world.says(), READY);
}

#[tokio::test(start_paused = true)]
async fn a_refused_postgresql_is_a_no_at_once_and_hold_does_not_bring_the_yes_back() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let world = World::watching(&[("a", &source)]).await;
    source.now_does(Does::Fails(ErrorKind::ServerDown));
    world.pass(INTERVAL).await;
    assert_eq!(world.says(), (State::NotReady, "server_down"));
    source.now_does(Does::Fails(ErrorKind::Timeout));
    world.pass(INTERVAL).await;
    assert_eq!(world.says(), (State::Unknown, "timeout"));
}

#[tokio::test(start_paused = true)]
async fn all_sources_must_agree() {
    let (a, b) = (Scripted::new([Does::Says(Role::Primary)]), Scripted::new([Does::Hangs]));
    let world = World::watching(&[("a", &a), ("b", &b)]).await;
    assert_eq!(world.says(), (State::Unknown, "timeout"));
    b.now_does(Does::Says(Role::Primary));
    world.pass(TIMEOUT + INTERVAL).await;
    assert_eq!(world.says(), READY);
    b.now_does(Does::Says(Role::Replica));
    world.pass(INTERVAL).await;
    assert_eq!(world.says(), (State::NotReady, "other_role"));
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_in_force_only_when_every_source_has_looked_or_timed_out() {
    let (a, b) = (Scripted::new([Does::Says(Role::Primary)]), Scripted::new([Does::Hangs]));
    let world = World::new("n1");
    let mut in_force = world.plan(&[("a", &a), ("b", &b)]).await;
    world.pass(TIMEOUT.saturating_sub(ms(2))).await;
    assert!(in_force.try_recv().is_err(), "b has not finished its first look");
    assert_eq!(world.says(), (State::Unknown, "nothing is in force"));
    world.pass(ms(4)).await;
    assert!(in_force.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_pollers_and_facts_of_what_did_not_change() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let world = World::watching(&[("a", &source)]).await;
    source.now_does(Does::Fails(ErrorKind::Timeout));
    world.pass(ms(1000)).await;
    let other = Scripted::new([Does::Hangs]);
    // The same source again: its script is not asked, the poller that runs stays.
    world.plan(&[("a", &other)]).await.await.unwrap();
    assert_eq!(other.begun.load(Ordering::SeqCst), 0);
    assert_eq!(world.says(), READY, "held by the facts from before the reload");
    let begun = source.begun.load(Ordering::SeqCst);
    world.pass(INTERVAL).await;
    assert_eq!(source.begun.load(Ordering::SeqCst), begun + 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_to_another_source_is_ready_throughout() {
    let (old, new) = (
        Scripted::new([Does::Says(Role::Primary)]),
        Scripted::new([Does::Drips(ms(1200), Role::Primary)]),
    );
    let world = World::watching(&[("old", &old)]).await;
    let mut in_force = world.plan(&[("new", &new)]).await;
    for _ in 0..1300 {
        world.pass(ms(1)).await;
        assert_eq!(world.says(), READY);
    }
    assert!(in_force.try_recv().is_ok());
    let begun = old.begun.load(Ordering::SeqCst);
    world.pass(ms(2000)).await;
    assert_eq!(old.begun.load(Ordering::SeqCst), begun, "the old poller has ended");
}

#[tokio::test(start_paused = true)]
async fn a_reload_of_the_rhythm_alone_keeps_the_facts() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let world = World::watching(&[("a", &source)]).await;
    source.now_does(Does::Hangs);
    world.pass(ms(1000)).await;
    let slower = Scripted::new([Does::Hangs]);
    world.plan_every(ms(700), &[("a", &slower)]).await.await.unwrap();
    assert_eq!(world.says(), READY, "held by the facts from before the reload");
    settle().await;
    assert_eq!(source.under_way.load(Ordering::SeqCst), 0, "the old poller has ended");
    assert_eq!(slower.under_way.load(Ordering::SeqCst), 1, "the new one looks");
    world.pass(HOLD).await;
    assert_eq!(world.says(), (State::Unknown, "timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_reload_has_what_seldom_changes_asked_for_anew_where_the_poller_stays() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let world = World::watching(&[("a", &source)]).await;
    world.pass(3 * INTERVAL).await;
    assert_eq!(source.renewed.load(Ordering::SeqCst), 0);
    world.plan(&[("a", &source)]).await.await.unwrap();
    world.pass(3 * INTERVAL).await;
    assert_eq!(source.renewed.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_the_lock_cuts_is_warned_of_once_with_the_numbers_and_is_cut() {
    let second = Duration::from_secs(1);
    let source = Scripted::new([Does::Leads(8 * second)]);
    let world = World::watching_as("cut", &[("a", &source)]).await;
    let said = || logged("cut", "primary of cut: `hold` is ");
    world.pass(2 * INTERVAL).await;
    assert!(said().is_empty(), "3 s and 3 s beside it are less than 8 s");
    source.now_does(Does::Leads(5 * second));
    world.pass(3 * INTERVAL).await;
    let warned = said();
    assert_eq!(warned.len(), 1, "{warned:?}");
    let message = warned[0]["message"].as_str().unwrap_or_default();
    for number in ["`hold` is 3 s", "ttl of 5 s", "an answer (3 s)", "at most 1.5 s"] {
        assert!(message.contains(number), "{number} in {message}");
    }
    source.now_does(Does::Hangs);
    world.pass(INTERVAL + 2 * second).await;
    assert_eq!(world.says().0, State::Unknown, "no longer than that");
    source.now_does(Does::Leads(5 * second));
    world.pass(2 * INTERVAL + TIMEOUT).await;
    assert_eq!(said().len(), 1, "nothing new");
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_asks_the_same_source_twice_watches_it_twice() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let world = World::watching(&[("a", &source)]).await;
    world.plan(&[("a", &source), ("a", &source)]).await.await.unwrap();
    assert_eq!(world.facts.borrow().nodes[0].sources.len(), 2);
    assert_eq!(world.says(), READY);
}

#[tokio::test(start_paused = true)]
async fn a_second_reload_replaces_one_that_is_not_in_force_yet() {
    let first = Scripted::new([Does::Says(Role::Primary)]);
    let world = World::watching(&[("a", &first)]).await;
    let hangs = Scripted::new([Does::Hangs]);
    let replaced = world.plan(&[("b", &hangs)]).await;
    settle().await;
    let in_force = world.plan(&[("a", &first)]).await;
    in_force.await.unwrap();
    assert!(replaced.await.is_err());
    settle().await;
    assert_eq!(hangs.under_way.load(Ordering::SeqCst), 0, "its poller has ended");
    assert_eq!(world.says(), READY);
}

#[tokio::test(start_paused = true)]
async fn after_the_host_slept_nothing_old_is_said() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let world = World::watching(&[("a", &source)]).await;
    world.clock.jump(Duration::from_secs(60));
    assert_eq!(world.says(), (State::Unknown, "stale"));
    world.pass(INTERVAL).await;
    assert_eq!(world.says(), READY);
}

#[tokio::test(start_paused = true)]
async fn the_pollers_end_with_the_keeper() {
    let source = Scripted::new([Does::Hangs]);
    let world = World::watching(&[("a", &source)]).await;
    let World { facts, plans, .. } = world;
    drop(plans);
    settle().await;
    assert!(facts.has_changed().is_err(), "the keeper ended");
    assert_eq!(source.under_way.load(Ordering::SeqCst), 0);
}

/// What this process logged. One subscriber serves all tests: `tracing` remembers for the whole
/// process which events somebody wants.
static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

static LOGGING: LazyLock<()> = LazyLock::new(|| {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::INFO)
        .with_writer(|| Lines)
        .init();
});

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What was logged of `node` with a message that begins so.
fn logged(node: &str, begins: &str) -> Vec<serde_json::Value> {
    lines(begins).into_iter().filter(|line| line["node"] == node).collect()
}

/// What was logged with a message that begins so.
fn lines(begins: &str) -> Vec<serde_json::Value> {
    let text = String::from_utf8(LINES.lock().unwrap().clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let begins = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|message| message.starts_with(begins))
    };
    lines.filter(begins).collect()
}

#[tokio::test(start_paused = true)]
async fn a_change_is_logged_once_with_all_its_fields_and_a_failing_source_is_warned_of_once() {
    let source = Scripted::new([Does::Says(Role::Primary)]);
    let world = World::watching_as("logged", &[("a", &source)]).await;
    source.now_does(Does::Fails(ErrorKind::Refused));
    world.pass(ms(6000)).await;
    source.now_does(Does::Says(Role::Replica));
    world.pass(ms(2000)).await;

    let changes = logged("logged", "verdict changed: primary of logged is ");
    let field = |change: &serde_json::Value, key| change[key].as_str().unwrap().to_owned();
    let path: Vec<_> = changes
        .iter()
        .map(|c| [field(c, "from"), field(c, "verdict"), field(c, "reason")])
        .collect();
    assert_eq!(
        path,
        [
            ["unknown", "ready", "serves"],
            ["ready", "unknown", "refused"],
            ["unknown", "not_ready", "other_role"],
        ]
    );
    for change in &changes {
        assert_eq!(change["service"], "primary");
        assert_eq!(change["timeline"], 7);
        assert!(change["age_ms"].is_u64(), "{change}");
        // The one that was last seen, also where nothing may be said by it any more.
        assert!(change["role"].is_string(), "{change}");
        assert_eq!(change["to"], change["verdict"]);
    }
    assert_eq!(logged("logged", "poll failed: ").len(), 1);
    assert_eq!(logged("logged", "polls succeed again").len(), 1);
}
