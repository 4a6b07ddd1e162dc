//! Restart and reload of the rolecall on a healthy primary: nobody must notice.

use std::time::Duration;

use crate::fixtures::{Check, Heard, Recorder, checker, eventually, now, say};
use crate::pair::{Pair, programs};
use crate::shipped_cfg::{PG1, SOON};

const RESTARTS: usize = 50;
const RELOADS: usize = 20;
/// Answers that are awaited after each, so that they are spread over the time a restart takes and
/// HAProxy asks between them too.
const ANSWERS: usize = 30;
/// How many ask beside each other, so that one that waits keeps nobody from asking.
const CHECKERS: usize = 4;
/// Checks a second, on average over the whole series, whatever else the machine does.
const RATE: usize = 100;
/// A check is over by then, from its first packet to the line's end.
const LATEST: Duration = Duration::from_secs(1);

#[test]
fn fifty_restarts_and_twenty_reloads_are_invisible() {
    let Some(program) = programs() else { return };
    let mut pair = Pair::start(&program, "3s");
    let session = pair.session();
    let (agent, every) = (pair.agent(1), Duration::from_millis(8));
    let checkers: Vec<_> = (0..CHECKERS).map(|_| checker(agent, every, 10 * LATEST)).collect();
    let began = now();
    let count = || checkers.iter().map(Recorder::mark).sum::<usize>();
    let rate = |count: usize| {
        let ms = usize::try_from(now().since(began).as_millis()).expect("a short series");
        count * 1000 / ms.max(1)
    };
    let hear_some = || {
        let heard = count();
        eventually(SOON, "answers", || match count() {
            all if all - heard < ANSWERS || rate(all) < RATE => Err(all),
            _ => Ok(()),
        });
    };

    for _ in 0..RESTARTS {
        pair.roles[0].restart();
        hear_some();
    }
    for _ in 0..RELOADS {
        pair.roles[0].reload();
        hear_some();
    }

    let rate = rate(count());
    let answers: Vec<Check> = checkers.into_iter().flat_map(Recorder::stop).collect();
    let beats = session.stop();
    let count = |heard: &dyn Fn(&Heard) -> bool| answers.iter().filter(|c| heard(&c.heard)).count();
    let ready = count(&|h| *h == Heard::Said("READY\n".to_owned()));
    let maint = count(&|h| *h == Heard::Said("MAINT\n".to_owned()));
    let refused = count(&|h| *h == Heard::Refused);
    let reset = count(&|h| *h == Heard::Reset);
    let slowest = answers.iter().map(|c| c.took).max().unwrap_or_default();
    say(&format!(
        "{RESTARTS} restarts, {RELOADS} reloads: {} answers, {rate} a second, {ready} READY, {maint} MAINT, \
         {refused} refused, {reset} reset, slowest {slowest:?}; {} session beats",
        answers.len(),
        beats.len()
    ));
    let other: Vec<&Check> =
        answers.iter().filter(|c| c.heard != Heard::Said("READY\n".to_owned())).collect();
    assert!(other.is_empty(), "not READY: {other:?}");
    assert!(slowest <= LATEST, "the slowest check took {slowest:?}");

    let backend = beats[0].answer.clone().expect("the session's first answer");
    let lost = beats.iter().find(|b| b.answer.as_ref() != Ok(&backend));
    assert!(lost.is_none(), "the session through HAProxy was lost: {lost:?}");
    for sample in pair.samples.all().iter().skip_while(|s| !s.servers[PG1].is_up()) {
        let server = &sample.servers[PG1];
        assert!(server.is_up(), "the primary was not up: {server:?}");
        assert_eq!(server.agent_status, "CHECKED", "HAProxy missed an answer: {server:?}");
    }
    pair.never_down();
}
