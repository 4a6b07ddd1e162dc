//! What only goes wrong over time, as scripts at many phases of the loops: rolecall never has two
//! READY, and the driver with one part taken back has them at some phase.

use rolecall::observation::ErrorKind;

use crate::answers::node_id;
use crate::cluster::{Cluster, Event as E, Id};
use crate::reference::Mutant;
use crate::sim::{Settings, Sim, Step, Totals};

/// A script is played with so many seeds: each puts the loops and the checks at other moments.
const PHASES: u64 = 100;
/// For an overlap that only a few of them show.
const MANY_PHASES: u64 = 1000;

type Script = dyn Fn(&mut Sim);

fn settings(mutant: Option<Mutant>) -> Settings {
    Settings {
        detection: 20_000,
        hold: 15_000,
        mutant,
        automatic: false,
        slow: 20,
        shadow: mutant.is_none(),
        trace: false,
    }
}

fn play(script: &Script, witness: bool, mutant: Option<Mutant>, seed: u64) -> Totals {
    let mut sim = Sim::new(Cluster::healthy(3, witness), settings(mutant), seed);
    script(&mut sim);
    sim.run(70_000);
    sim.totals
}

/// Never two READY by rolecall; with the mutant two at some phase.
fn shows(script: &Script, witness: bool, mutant: Mutant, phases: u64) {
    safe(script, witness, phases);
    let caught = (0..phases)
        .filter(|seed| play(script, witness, Some(mutant), *seed).first_double.is_some());
    let caught = caught.count();
    println!("{mutant:?}: two READY at {caught} of {phases} phases");
    assert!(caught > 0, "{mutant:?} is not caught");
}

fn safe(script: &Script, witness: bool, phases: u64) {
    for seed in 0..phases {
        let totals = play(script, witness, None, seed);
        assert_eq!(totals.first_double, None, "phase {seed}: {totals:?}");
        assert!(totals.one_ready > 10_000, "phase {seed}: nobody was READY: {totals:?}");
    }
}

fn cut(sim: &mut Sim, at: u64, a: Id, b: Id) {
    sim.later(at, Step::Event(E::Cut(a, b)));
    sim.later(at, Step::Event(E::Cut(b, a)));
}

/// The second is promoted by hand behind a cut link; the third, seen by both, is moved to it.
fn a_vote_moves(sim: &mut Sim) {
    cut(sim, 10_000, 0, 1);
    sim.later(30_000, Step::Event(E::PromoteByHand(1)));
    let moves = sim.rng.between(32_000, 33_000);
    let voter = if sim.cluster.witness == Some(2) { E::WitnessRegister } else { E::FollowByHand };
    sim.later(moves, Step::Event(voter(2, 1)));
}

#[test]
fn t1_a_yes_settles_longer_than_any_answer_lives() {
    for witness in [false, true] {
        shows(&a_vote_moves, witness, Mutant::NoSettle, PHASES);
    }
}

#[test]
fn t1_slow_answers_and_lost_ones_do_not_stretch_the_overlap() {
    let script = |sim: &mut Sim| {
        let slow = sim.rng.between(300, 1500);
        sim.later(9000, Step::Slow(2, slow));
        sim.later(28_000, Step::Slow(0, 700));
        a_vote_moves(sim);
    };
    for seed in 0..PHASES {
        assert_eq!(play(&script, true, None, seed).first_double, None);
    }
}

#[test]
fn a_stopped_daemon_that_goes_on_has_forgotten_its_answers() {
    let script = |sim: &mut Sim| {
        a_vote_moves(sim);
        sim.later(31_500, Step::StopDaemon(0));
        let goes_on = sim.rng.between(39_000, 40_000);
        sim.later(goes_on, Step::ContinueDaemon(0));
    };
    shows(&script, false, Mutant::NoExpiry, PHASES);
}

#[test]
fn t2_a_lingering_receiver_attests_no_contact() {
    let script = |sim: &mut Sim| {
        for from in [1, 2] {
            sim.later(20_000, Step::Event(E::Cut(from, 0)));
        }
        sim.later(40_000, Step::Event(E::Elect(1)));
        sim.later(40_000, Step::Event(E::Part(0b001)));
        sim.later(40_500, Step::Event(E::Follow(2, 1)));
    };
    shows(&script, false, Mutant::FreshByReceiver, PHASES);
}

/// The witness follows a new primary before that has written its row, and loses it before it copies
/// the table again; the old primary is back and sees the witness.
#[test]
fn a_witness_does_not_go_back_to_whom_its_table_names() {
    let script = |sim: &mut Sim| {
        sim.later(10_000, Step::Event(E::Part(0b001)));
        sim.later(30_000, Step::Event(E::Elect(1)));
        sim.later(30_300, Step::Event(E::WitnessFollow(2, 1)));
        for (from, to) in [(0, 2), (2, 0)] {
            sim.later(36_000, Step::Event(E::Heal(from, to)));
        }
        cut(sim, 36_500, 1, 2);
    };
    shows(&script, true, Mutant::WitnessByTable, PHASES);
}

/// A stopped standby whose server refuses is out of the count, and its repmgrd may have lost the
/// primary long ago: it is elected "by default" as soon as it starts. So it counts among those who
/// must attest contact, and the old primary does not hold when it loses sight of it at that moment.
#[test]
fn a_refusing_standby_is_missed_among_those_who_attest_contact() {
    for seed in 0..PHASES {
        let mut sim = Sim::new(Cluster::healthy(2, false), settings(None), seed);
        sim.later(10_000, Step::Event(E::Crash(1)));
        sim.later(11_000, Step::Event(E::Failure(1)));
        sim.later(20_000, Step::Event(E::Cut(1, 0)));
        sim.later(38_000, Step::Event(E::Cut(0, 1)));
        sim.later(38_000, Step::Event(E::Start(1)));
        sim.later(40_000, Step::Event(E::Elect(1)));
        sim.run(90_000);
        assert_eq!(sim.totals.double_daemons, 0, "{:?}", sim.totals);
        assert_eq!(sim.totals.double_haproxy, 0, "{:?}", sim.totals);
    }
}

#[test]
fn a_silent_node_asks_its_peers() {
    let slots_full = |sim: &mut Sim| {
        sim.later(20_000, Step::Impair(0, ErrorKind::SlotsFull));
        for from in [1, 2] {
            sim.later(20_000, Step::Event(E::Cut(from, 0)));
        }
        sim.later(22_000, Step::Event(E::PromoteByHand(1)));
        sim.later(23_500, Step::Event(E::FollowByHand(2, 1)));
    };
    shows(&slots_full, false, Mutant::SilenceAlone, PHASES);
}

/// The voter moves just after it answered and is lost to the old primary, whose daemon is started
/// again and again as long as its record lasts; then HAProxy loses that daemon as well.
#[test]
fn a_record_is_good_as_long_as_its_answers() {
    let script = |sim: &mut Sim| {
        cut(sim, 10_000, 0, 1);
        sim.later(30_000, Step::Event(E::PromoteByHand(1)));
        sim.run(33_000);
        let asked = |sim: &Sim| sim.daemons[0].facts.peers[&node_id(2)].last_look();
        let before = asked(sim);
        while asked(sim) == before {
            sim.run(sim.now + 1);
        }
        sim.step(Step::Event(E::FollowByHand(2, 1)));
        cut(sim, 0, 0, 2);
        // The first look that is lost takes until 1.3 s after the one that was answered.
        for again in 0..3 {
            sim.later(1240 + 800 * again, Step::KillDaemon(0));
            sim.later(1241 + 800 * again, Step::StartDaemon(0));
        }
        let last = sim.rng.between(2500, 2900);
        sim.later(last, Step::CutHaproxy(0, true));
    };
    shows(&script, false, Mutant::RecordForALife, MANY_PHASES);
}

/// A restart costs a healthy primary nothing; one that finds its voters gone says so once all of them
/// have been asked, however long its record is good.
#[test]
fn a_restored_word_stands_until_everybody_was_asked() {
    let play = |lost: bool| {
        let settings = settings(None);
        let mut sim = Sim::new(Cluster::healthy(3, false), settings, 1);
        sim.run(20_000);
        for id in [1, 2] {
            if lost {
                sim.step(Step::Event(E::Crash(id)));
            }
        }
        sim.step(Step::KillDaemon(0));
        sim.step(Step::StartDaemon(0));
        let mut said = Vec::new();
        for _ in 0..200 {
            sim.run(sim.now + 1);
            if sim.daemons[0].answers() {
                said.push(sim.daemons[0].ready);
            }
        }
        said.dedup();
        said
    };
    assert_eq!(play(false), [true]);
    assert_eq!(play(true), [true, false]);
}

#[test]
fn the_companion_passes_only_on_ready() {
    let script = |sim: &mut Sim| {
        a_vote_moves(sim);
        sim.later(31_500, Step::KillDaemon(0));
        let back = sim.rng.between(45_000, 46_000);
        sim.later(back, Step::StartDaemon(0));
    };
    shows(&script, false, Mutant::CompanionOnMaint, PHASES);
}
