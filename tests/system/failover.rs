//! Clients reach the primary, whatever becomes of the servers.

use std::time::Duration;

use crate::fixtures::{Heard, Shutdown, Write, Written, checker, eventually, lacks_postgres};
use crate::pair::{Pair, no_row_went_astray, programs};
use crate::shipped_cfg::{PG1, PG2, SOON, on_every_haproxy};

/// The sources' hold where a test waits for its end.
const HOLD: Duration = Duration::from_secs(2);

/// How many rows were neither taken nor refused by a standby.
fn failed(writes: &[Write]) -> usize {
    writes.iter().filter(|w| matches!(w.written, Written::Failed(_))).count()
}

#[test]
fn clients_reach_the_primary_over_a_reload_and_a_switchover() {
    if lacks_postgres() {
        return;
    }
    on_every_haproxy(|_, program| {
        let mut pair = Pair::start(program, "3s");
        let writes = pair.writer();
        pair.wait_row(&writes, 0, 1);

        let mark = writes.mark();
        pair.haproxy.reload();
        pair.wait_row(&writes, writes.mark(), 1);
        pair.wait_up(PG1);
        let during = writes.since(mark);
        assert_eq!(failed(&during), 0, "rows failed during the reload: {during:?}");

        pair.nodes[0].stop(Shutdown::Fast);
        pair.nodes[1].promote();
        pair.wait_row(&writes, writes.mark(), 2);
        pair.wait_maint(PG1);
        pair.wait_up(PG2);
        let writes = writes.stop();
        no_row_went_astray(&pair, &writes);
        // A clean shutdown sends everything first: each row that was taken must be there.
        for row in writes.iter().filter(|w| matches!(w.written, Written::By(_))) {
            let found =
                pair.nodes[1].sql(&format!("select count(*) from rows where n={}", row.row));
            assert_eq!(found, "1", "row {} was taken and is lost", row.row);
        }
        pair.never_down();
    });
}

#[test]
fn a_killed_primary_is_left_at_once_and_its_standby_found_when_promoted() {
    let Some(program) = programs() else { return };
    let mut pair = Pair::start(&program, "3s");
    let writes = pair.writer();
    pair.wait_row(&writes, 0, 1);

    pair.nodes[0].kill9();
    pair.wait_maint(PG1);
    pair.nodes[1].promote();
    pair.wait_row(&writes, writes.mark(), 2);
    no_row_went_astray(&pair, &writes.stop());
    pair.never_down();
}

#[test]
fn a_hung_primary_stands_for_the_hold_and_no_longer() {
    let Some(program) = programs() else { return };
    let mut pair = Pair::start(&program, "2s");
    let session = pair.session();
    let answers = checker(pair.agent(1), Duration::from_millis(20), Duration::from_secs(5));
    let is_maint = |c: &crate::fixtures::Check| c.heard == Heard::Said("MAINT\n".to_owned());

    let paused = crate::fixtures::now();
    pair.nodes[0].pause();
    let first = answers.wait_since(0, SOON, "MAINT", is_maint);
    let stood = first.at.since(paused);
    println!("READY stood for {stood:?} after the primary hung, hold {HOLD:?}");
    // The last good look began at most an interval and its own length before; the checker asks
    // every 20 ms. What is left is for a loaded machine.
    assert!(stood >= HOLD.mul_f32(0.5), "READY was given up after {stood:?}");
    assert!(stood <= HOLD + Duration::from_secs(1), "READY stood for {stood:?}");
    pair.wait_maint(PG1);
    session.wait_since(0, SOON, "the session is cut", |b| b.answer.is_err());

    pair.nodes[0].resume();
    pair.wait_up(PG1);
    let writes = pair.writer();
    pair.wait_row(&writes, 0, 1);
    let unheard = answers.stop().into_iter().find(|c| !matches!(c.heard, Heard::Said(_)));
    assert!(unheard.is_none(), "no answer from rolecall: {unheard:?}");
    pair.never_down();
}

#[test]
fn a_dead_rolecall_fails_closed_and_its_return_opens_again() {
    let Some(program) = programs() else { return };
    let mut pair = Pair::start(&program, "3s");
    let writes = pair.writer();
    pair.wait_row(&writes, 0, 1);

    // Nobody holds the port for it: it is refused from now on.
    pair.roles[0].release();
    pair.roles[0].kill9();
    let down = |s: &crate::fixtures::Server| s.is_down() && s.agent_status == "L4CON";
    pair.haproxy.wait(PG1, SOON, "is down, its agent refused", down);
    let mark = writes.mark();
    writes
        .wait_since(mark, SOON, "a row nobody takes", |w| matches!(w.written, Written::Failed(_)));

    pair.roles[0].start();
    pair.wait_up(PG1);
    pair.wait_row(&writes, writes.mark(), 1);
    no_row_went_astray(&pair, &writes.stop());
}

#[test]
fn a_rolecall_that_dies_on_a_standby_and_returns_is_heard_again() {
    let Some(program) = programs() else { return };
    let mut pair = Pair::start(&program, "3s");
    pair.roles[1].release();
    pair.roles[1].kill9();
    let silent = |s: &crate::fixtures::Server| s.is_maint() && s.agent_status == "L4CON";
    pair.haproxy.wait(PG2, SOON, "stays in maintenance, its agent refused", silent);

    pair.nodes[0].stop(Shutdown::Fast);
    pair.nodes[1].promote();
    pair.wait_maint(PG1);
    pair.roles[1].start();
    pair.wait_up(PG2);
    let writes = pair.writer();
    pair.wait_row(&writes, 0, 2);
    eventually(SOON, "the old primary in maintenance", || {
        let server = pair.haproxy.server(PG1);
        if server.is_maint() { Ok(()) } else { Err(server.status) }
    });
}
