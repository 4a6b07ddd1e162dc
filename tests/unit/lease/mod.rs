//! For how long a leader of Patroni's is held once it is silent: what its answers prove, and schedules of
//! faults in which nobody else may have its lock while it is.

pub mod model;

use std::time::Duration;

use proptest::prelude::*;
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::patroni::Patroni;
use rolecall::look::patroni::{MARGIN, Times};
use rolecall::look::role::{Role, Timeline};
use rolecall::look::snapshot::SourceFacts;
use rolecall::look::stamp::Stamp;
use rolecall::verdict::decide::decide;
use rolecall::verdict::lock::USUAL_TIMES;
use rolecall::verdict::policy::Lock;
use rolecall::verdict::policy::Pool;
use rolecall::verdict::policy::{Policy, Trust};
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::State;
use rolecall::verdict::trust::hold;

use model::{Story, play};

/// What HAProxy remembers.
const MEMORY: Duration = Duration::from_millis(2500);

/// Between the beginnings of two looks.
const INTERVAL: u64 = 500;

/// How long a look may take.
const TIMEOUT: u64 = 1500;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(ms: u64) -> Stamp {
    Stamp::new(Duration::from_millis(ms))
}

fn policy(chosen: Option<u64>) -> Policy {
    let beside = MEMORY + ms(INTERVAL + TIMEOUT);
    let lock = Lock { required: false, beside, memory: MEMORY, chosen: chosen.is_some() };
    Policy {
        roles: vec![Role::Primary],
        pool: Pool::default(),
        lag: None,
        settle: Duration::ZERO,
        trust: vec![Trust {
            hold: ms(chosen.unwrap_or(5000)),
            hold_by_repmgr: false,
            look: ms(INTERVAL + TIMEOUT),
            knows_lag: false,
            lock: Some(lock),
            electorate: None,
        }],
    }
}

/// Patroni's word with this number.
fn says(held: bool, number: i64) -> Observation {
    let patroni = Patroni {
        dcs_last_seen: Some(number),
        version: Some((4, 1)),
        times: Some(USUAL_TIMES),
        ..Patroni::default()
    };
    let timeline = Some(Timeline(1));
    Observation {
        leader: Some(held),
        timeline,
        patroni: Some(patroni),
        ..Observation::of(Role::Primary)
    }
}

fn fails(kind: ErrorKind) -> Result<Observation, SourceError> {
    Err(SourceError::new(kind, "as scripted"))
}

/// Looks at these moments, each of which takes 10 ms.
fn seen(looks: impl IntoIterator<Item = (u64, Result<Observation, SourceError>)>) -> SourceFacts {
    let mut facts = SourceFacts::default();
    for (began, look) in looks {
        facts.record_own(at(began + 10), at(began), look);
    }
    facts
}

/// Looks every half second until this moment at a Patroni that has read the store at these seconds.
fn steady(until: u64, reads: &[u64]) -> Vec<(u64, Result<Observation, SourceError>)> {
    let number = |now: u64| reads.iter().rev().find(|read| **read * 1000 <= now);
    let look = |began: u64| Some((began, Ok(says(true, i64::try_from(*number(began)?).unwrap()))));
    (0..=until).step_by(500).filter_map(look).collect()
}

fn says_at(now: u64, facts: &SourceFacts, policy: &Policy) -> State {
    decide(at(now), std::slice::from_ref(facts), Standing::default(), policy).state
}

/// How long the yes of the last good look stands, in milliseconds after it began.
fn held(facts: &SourceFacts) -> u64 {
    u64::try_from(hold(facts, &policy(None).trust[0]).as_millis()).unwrap()
}

#[test]
fn the_lease_counts_from_the_read_before_the_last_one() {
    let facts = seen(steady(35_000, &[3, 13, 23, 33]));
    // 23 was read after the look at 22.5 s.
    let ends = 22_500 + 30_000 - u64::try_from((MEMORY + MARGIN).as_millis()).unwrap();
    assert_eq!(35_000 + held(&facts), ends);
    let mut silent = facts.clone();
    silent.record_own(at(36_510), at(35_500), fails(ErrorKind::Timeout));
    assert_eq!(says_at(ends, &silent, &policy(None)), State::Ready);
    assert_eq!(says_at(ends + 1, &silent, &policy(None)), State::Unknown);
    assert_eq!(
        says_at(35_000 + 8000, &silent, &policy(Some(8000))),
        State::Ready,
        "an upper bound"
    );
    assert_eq!(says_at(35_000 + 8001, &silent, &policy(Some(8000))), State::Unknown);
}

/// The least there is with Patroni's own times: the last look came just before it could tell that no renewal hung.
#[test]
fn at_least_so_long_is_bridged() {
    for last in (30_000..60_000).step_by(500) {
        let reads: Vec<u64> = (0..6).map(|round| 3 + 10 * round).collect();
        let held = held(&seen(steady(last, &reads)));
        assert!((5500..=16_000).contains(&held), "{held} after a look at {last}");
    }
}

#[test]
fn where_nothing_is_proven_the_bound_of_before_holds() {
    let usual = 5000;
    assert_eq!(held(&seen(steady(12_000, &[0]))), usual, "no read was seen");
    assert_eq!(held(&seen(steady(12_000, &[0, 5]))), usual, "one read");
    let no_number = steady(45_000, &[3, 13, 23, 33]).into_iter().map(|(began, look)| {
        let mut look = look.unwrap();
        look.patroni = Some(Patroni { times: Some(USUAL_TIMES), ..Patroni::default() });
        (began, Ok(look))
    });
    assert_eq!(held(&seen(no_number)), usual, "before 2.1.2");
}

/// Others read the store, too: what they read proves nothing, and what the loop read still does.
#[test]
fn a_read_that_comes_between_two_of_the_loop_is_not_counted_from() {
    let counted_from =
        |last: u64, reads: &[u64]| last + held(&seen(steady(last, reads))) + 3000 - 30_000;
    // A round began at 37 s or within 10 s, and 58.5 s is more than 20 s later; where nothing is proven, the
    // bound of before.
    assert_eq!(counted_from(36_000, &[3, 13, 18, 23, 33]), 36_000 + 5000 + 3000 - 30_000);
    let every_second: Vec<u64> = (0..60).collect();
    assert_eq!(counted_from(59_500, &every_second), 59_000 - 21_000 - 500);
}

#[test]
fn a_loop_that_hangs_is_held_no_longer() {
    let mut silent = seen(steady(48_000, &[3, 13, 23]));
    // 13 was read after the look at 12.5 s.
    let ends = 12_500 + 27_000;
    assert_eq!(says_at(ends - 1, &silent, &policy(None)), State::Ready);
    assert_eq!(says_at(ends + 1, &silent, &policy(None)), State::Unknown, "the lease has run out");
    silent.record_own(at(49_510), at(48_500), fails(ErrorKind::Timeout));
    assert_eq!(says_at(49_510, &silent, &policy(None)), State::Unknown);
}

/// A loop that was seen to begin a round and no other: one may take `loop_wait` or `retry_timeout`, whichever is longer,
/// and what looks cannot tell apart.
#[test]
fn a_loop_hangs_once_it_is_late_by_more_than_looks_can_miss() {
    let last = |began| {
        let first_round = steady(10_000, &[1]).into_iter().chain([(began, Ok(says(true, 1)))]);
        held(&seen(first_round))
    };
    // The round was seen by a look that ended at 1.01 s.
    assert_eq!(last(1010 + 10_000 + 1500), 5000, "the bound of before");
    assert_eq!(last(1010 + 10_000 + 1501), 0);
    assert_eq!(last(20_000), 0);
}

/// A lease that is proven is the whole truth: what times alone would allow makes it no longer.
#[test]
fn a_proven_lease_is_held_no_longer_than_it_lasts() {
    let facts = seen(steady(34_500, &[3, 13, 23]));
    // 13 was read after the look at 12.5 s; by times alone a second more than the 5 that are left.
    let leased = 12_500 + 27_000 - 34_500;
    let lock = Lock { chosen: false, ..policy(None).trust[0].lock.unwrap() };
    assert!(lock.most_hold(USUAL_TIMES.span()) > ms(leased));
    let (began, says) = facts.own.good().unwrap();
    let says = says.patroni.unwrap();
    assert_eq!(lock.hold(ms(10_000), began, &says, &facts.lease), ms(leased));
}

/// Reads that may be anybody's: the lease that they leave may have run out, though the loop goes on.
#[test]
fn where_others_read_the_store_too_a_lease_that_has_run_out_ends_nothing() {
    assert_eq!(held(&seen(steady(36_000, &[1, 3, 13, 18, 23, 33]))), 5000);
}

/// Of a loop of 3 s or less nobody can tell which reads are its own: each counts as anybody's.
#[test]
fn a_loop_as_quick_as_looks_are_blurred_proves_only_what_was_decided_long_before() {
    let with = |loop_wait: u64| {
        let times = Times { loop_wait: ms(loop_wait), ..USUAL_TIMES };
        let reads: Vec<u64> = (1..40).step_by(3).collect();
        let looks = steady(39_000, &reads).into_iter().map(|(began, look)| {
            let mut look = look.unwrap();
            look.patroni = look.patroni.map(|says| Patroni { times: Some(times), ..says });
            (began, Ok(look))
        });
        39_000 + held(&seen(looks)) - 27_000
    };
    // A renewal that hung from 25 s on would have ended by 36 s; the read at 22 s is over 13 s before the last one.
    assert_eq!(with(3001), 24_500);
    assert_eq!(with(3000), 21_500);
}

/// By 3.1 a leader's loop need not speak with `ZooKeeper`, whose session is kept up every third of `ttl`.
#[test]
fn what_zookeeper_may_not_have_heard_is_not_counted_on() {
    let quick = Times { loop_wait: ms(1000), ..USUAL_TIMES };
    let reads: Vec<u64> = (0..40).collect();
    let with = |version| {
        let looks = steady(39_000, &reads).into_iter().map(|(began, look)| {
            let mut look = look.unwrap();
            look.patroni = look.patroni.map(|says| Patroni { times: Some(quick), version, ..says });
            (began, Ok(look))
        });
        held(&seen(looks))
    };
    assert_eq!(with(Some((3, 2))), 27_000 - 1000 - 11_500);
    for old in [Some((3, 1)), Some((2, 1)), None] {
        assert_eq!(with(old), with(Some((3, 2))).min(20_000 - 3000), "{old:?}");
    }
}

#[test]
fn a_no_and_failsafe_mode_end_all_that_was_proven() {
    let before = steady(35_000, &[3, 13, 23, 33]);
    let failsafe = Patroni { failsafe: true, ..says(true, 33).patroni.unwrap() };
    let failsafe = Observation { patroni: Some(failsafe), ..says(true, 33) };
    for between in [Ok(says(false, 33)), Ok(failsafe), fails(ErrorKind::NoBody)] {
        let mut facts = seen(before.clone());
        facts.record_own(at(35_510), at(35_500), between.clone());
        facts.record_own(at(36_010), at(36_000), Ok(says(true, 33)));
        assert_eq!(held(&facts), 5000, "{between:?}");
    }
}

/// Its loop hangs and its API says 200, for ever where its wall clock went back: the yes ends with the lease, as with
/// silence.
#[test]
fn the_200_of_a_loop_that_hangs_is_silence() {
    let mut facts = seen(steady(35_000, &[3, 13, 23, 33]));
    let silent = facts.clone();
    let ends = 35_000 + held(&silent);
    for began in (35_500..ends + 5_000).step_by(500) {
        facts.record_own(at(began + 1), at(began), Ok(says(true, 33)));
        let state = says_at(began + 1, &facts, &policy(None));
        assert_eq!(state == State::Ready, began < ends, "at {began}, the lease ends at {ends}");
    }
    assert_eq!(facts.own.failing().map(|(_, error)| error.kind), Some(ErrorKind::LoopHangs));
    // A round has ended after all.
    facts.record_own(at(ends + 6_001), at(ends + 6_000), Ok(says(true, 70)));
    assert_eq!(says_at(ends + 6_001, &facts, &policy(None)), State::Ready);
}

/// A Patroni that is restarted: refused, then a 503 before its first round has ended, then 200.
#[test]
fn the_first_503_of_a_patroni_that_has_just_started_is_silence() {
    let before = steady(35_000, &[3, 13, 23, 33]);
    let restarted = |after: Result<Observation, SourceError>, kind| {
        let mut facts = seen(before.clone());
        for began in (35_500..40_000).step_by(500) {
            facts.record_own(at(began + 1), at(began), fails(kind));
        }
        facts.record_own(at(40_010), at(40_000), after);
        facts
    };
    let state = |facts: &SourceFacts, now| says_at(now, facts, &policy(None));
    let mut facts = restarted(Ok(says(false, 39)), ErrorKind::Refused);
    assert_eq!(state(&facts, 40_010), State::Ready);
    assert_eq!(facts.own.failing().map(|(_, error)| error.kind), Some(ErrorKind::LockUnread));
    // It goes on saying so: that is its word then.
    facts.record_own(at(43_020), at(43_000), Ok(says(false, 39)));
    assert_eq!(state(&facts, 43_020), State::NotReady);

    let other = Observation { timeline: Some(Timeline(2)), ..says(false, 39) };
    let unlocked = Patroni { unlocked: true, ..says(false, 39).patroni.unwrap() };
    let unlocked = Observation { patroni: Some(unlocked), ..says(false, 39) };
    let starting = Observation { not_running: Some("starting".into()), ..says(false, 39) };
    let replica = Observation { role: Some(Role::Replica), ..says(false, 39) };
    for no in [other, unlocked, starting, replica] {
        let facts = restarted(Ok(no.clone()), ErrorKind::Refused);
        assert_eq!(state(&facts, 40_010), State::NotReady, "{no:?}");
    }
    let frozen = restarted(Ok(says(false, 39)), ErrorKind::Timeout);
    assert_eq!(state(&frozen, 40_010), State::NotReady, "the process is the same: it knows");

    let mut back = restarted(Ok(says(false, 39)), ErrorKind::Refused);
    back.record_own(at(40_510), at(40_500), Ok(says(true, 40)));
    // Its 200 is a renewal of its own, after the last look that was refused.
    assert_eq!(40_500 + held(&back), 39_500 + 27_000);
}

/// Paused and the store lost: who had the lock stays, who had not stays out, by what was last known.
#[test]
fn of_two_that_say_they_lead_without_a_store_the_holder_alone_is_ready() {
    let lockless = |number| {
        let says = says(true, number);
        let patroni = Patroni { paused: true, unlocked: true, ..says.patroni.unwrap() };
        Ok(Observation { patroni: Some(patroni), ..says })
    };
    let judged = |before: &[Observation]| {
        let looks = before.iter().cloned().map(Ok).chain([lockless(9), lockless(9)]);
        let facts = seen(looks.enumerate().map(|(n, look)| (n as u64 * 500, look)));
        let now = (before.len() as u64 + 1) * 500 + 10;
        let verdict =
            decide(at(now), std::slice::from_ref(&facts), Standing::default(), &policy(None));
        (verdict.state, verdict.reason.label())
    };
    let replica = Observation { role: Some(Role::Replica), leader: None, ..says(false, 1) };
    let paused = |held| {
        let patroni = Patroni { paused: true, ..says(held, 2).patroni.unwrap() };
        Observation { patroni: Some(patroni), ..says(held, 2) }
    };
    assert_eq!(judged(&[paused(true)]), (State::Ready, "serves_lockless"));
    assert_eq!(judged(&[paused(true), paused(false)]), (State::NotReady, "not_holder"));
    assert_eq!(judged(&[paused(false), paused(true)]), (State::Ready, "serves_lockless"));
    assert_eq!(judged(&[replica]), (State::NotReady, "not_holder"));
    assert_eq!(judged(&[]), (State::Ready, "serves_lockless"), "nobody looked before");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever befalls the store, Patroni's process, its loop and its clock: while a leader is held over
    /// silence, and for as long as HAProxy remembers it, nobody else can take the lock.
    #[test]
    fn nobody_else_can_have_the_lock_of_a_leader_that_is_held(story in any::<Story>()) {
        let played = play(&story);
        prop_assert!(played.overlap.is_none(), "{:?} in {story:?}", played.overlap);
    }
}

/// The model can show what it is to show, and the lease is of use in it.
#[test]
fn in_the_model_leaders_are_held_and_others_take_over() {
    let mut held = 0;
    let mut taken = 0;
    for seed in 0..200 {
        let played = play(&Story::of(seed));
        held += u32::from(played.held > ms(6000));
        taken += u32::from(played.taken.is_some());
    }
    assert!(held > 40 && taken > 40, "{held} were held for over 6 s, {taken} locks were taken");
}
/// Somebody asks for `/cluster` while the loop's renewal hangs, as the store is gone: that is no round, and the lock is
/// worth what the round before has left of it. (Found by `nobody_else_can_have_the_lock_of_a_leader_that_is_held`.)
#[test]
fn a_read_of_somebody_elses_while_a_renewal_hangs_ends_no_round() {
    let times = Times { loop_wait: ms(5000), ..USUAL_TIMES };
    // Rounds at 1, 6, .. 66, 71 s; that of 71 never ends, and Patroni demotes at 81 s. Somebody's read at 80 s.
    let reads: Vec<u64> = (0..15).map(|round| 1 + 5 * round).chain([80]).collect();
    let looks = steady(80_500, &reads).into_iter().map(|(began, look)| {
        let mut look = look.unwrap();
        look.patroni = look.patroni.map(|says| Patroni { times: Some(times), ..says });
        (began, Ok(look))
    });
    // The last renewal that can be proven is of the round at 66 s.
    assert!(80_500 + held(&seen(looks)) <= 65_500 + 27_000);
}
