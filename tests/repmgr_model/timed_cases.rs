//! What only goes wrong over time, as scripts at many phases of the loops: rolecall never has two
//! READY, and the driver with one part taken back has them at some phase.

use rolecall::look::error::ErrorKind;

use crate::cluster::{Cluster, Event as E};
use crate::oracle::Totals;
use crate::play::Play;
use crate::reference::Mutant;
use crate::sim::Settings;
use crate::steps::Step as S;
use crate::{share, whole};

/// A script is played with so many seeds: each puts the loops and the checks at other moments.
const PHASES: u64 = 50;
/// For an overlap that only a few of them show.
const MANY_PHASES: u64 = 200;

type Script = dyn Fn(&Play);

fn settings(mutant: Option<Mutant>) -> Settings {
    Settings { mutant, shadow: mutant.is_none(), ..Settings::usual() }
}

fn outcome(script: &Script, witness: bool, mutant: Option<Mutant>, seed: u64) -> Totals {
    let play = Play::new(Cluster::healthy(3, witness), settings(mutant), seed);
    script(&play);
    play.run(70_000);
    play.sim().totals
}

/// Never two READY by rolecall; with the mutant two at some phase.
fn shows(script: &Script, witness: bool, mutant: Mutant, phases: u64) {
    safe(script, witness, share(phases));
    let mut caught =
        (0..phases).filter(|seed| outcome(script, witness, Some(mutant), *seed).first.is_some());
    // One phase is enough; the whole counts them.
    assert!(caught.next().is_some(), "{mutant:?} is not caught");
    if whole() {
        println!("{mutant:?}: two READY at {} of {phases} phases", 1 + caught.count());
    }
}

fn safe(script: &Script, witness: bool, phases: u64) {
    for seed in 0..phases {
        let totals = outcome(script, witness, None, seed);
        assert!(totals.safe(), "phase {seed}: {totals:?}");
        assert!(totals.one_written > 10_000, "phase {seed}: nobody was READY: {totals:?}");
    }
}

/// The second is promoted by hand behind a cut link; the third, seen by both, is moved to it.
fn a_vote_moves(play: &Play) {
    play.cut(10_000, 0, 1);
    play.later(30_000, S::Event(E::PromoteByHand(1)));
    let moves = play.between(32_000, 33_000);
    let voter =
        if play.sim().cluster.witness == Some(2) { E::WitnessRegister } else { E::FollowByHand };
    play.later(moves, S::Event(voter(2, 1)));
}

#[test]
fn t1_a_yes_settles_longer_than_any_answer_lives() {
    for witness in [false, true] {
        shows(&a_vote_moves, witness, Mutant::NoSettle, PHASES);
    }
}

#[test]
fn t1_slow_answers_and_lost_ones_do_not_stretch_the_overlap() {
    let script = |play: &Play| {
        let slow = play.between(300, 1500);
        play.later(9000, S::Slow(2, slow));
        play.later(28_000, S::Slow(0, 700));
        a_vote_moves(play);
    };
    for seed in 0..share(PHASES) {
        assert!(outcome(&script, true, None, seed).safe());
    }
}

#[test]
fn a_stopped_daemon_that_goes_on_has_forgotten_its_answers() {
    let script = |play: &Play| {
        a_vote_moves(play);
        play.later(31_500, S::StopDaemon(0));
        let goes_on = play.between(39_000, 40_000);
        play.later(goes_on, S::ContinueDaemon(0));
    };
    shows(&script, false, Mutant::NoExpiry, PHASES);
}

#[test]
fn t2_a_lingering_receiver_attests_no_contact() {
    let script = |play: &Play| {
        for from in [1, 2] {
            play.later(20_000, S::Event(E::Cut(from, 0)));
        }
        play.later(40_000, S::Event(E::Elect(1)));
        play.later(40_000, S::Event(E::Part(0b001)));
        play.later(40_500, S::Event(E::Follow(2, 1)));
    };
    shows(&script, false, Mutant::FreshByReceiver, PHASES);
}

/// The witness follows a new primary before that has written its row, and loses it before it copies
/// the table again; the old primary is back and sees the witness.
#[test]
fn a_witness_does_not_go_back_to_whom_its_table_names() {
    let script = |play: &Play| {
        play.later(10_000, S::Event(E::Part(0b001)));
        play.later(30_000, S::Event(E::Elect(1)));
        play.later(30_300, S::Event(E::WitnessFollow(2, 1)));
        for (from, to) in [(0, 2), (2, 0)] {
            play.later(36_000, S::Event(E::Heal(from, to)));
        }
        play.cut(36_500, 1, 2);
    };
    shows(&script, true, Mutant::WitnessByTable, PHASES);
}

/// A stopped standby whose server refuses is out of the count, and its repmgrd may have lost the
/// primary long ago: it is elected "by default" as soon as it starts. So it counts among those who
/// must attest contact, and the old primary does not hold when it loses sight of it at that moment.
#[test]
fn a_refusing_standby_is_missed_among_those_who_attest_contact() {
    for seed in 0..share(PHASES) {
        let play = Play::new(Cluster::healthy(2, false), settings(None), seed);
        play.later(10_000, S::Event(E::Crash(1)));
        play.later(11_000, S::Event(E::Failure(1)));
        play.later(20_000, S::Event(E::Cut(1, 0)));
        play.later(38_000, S::Event(E::Cut(0, 1)));
        play.later(38_000, S::Event(E::Start(1)));
        play.later(40_000, S::Event(E::Elect(1)));
        play.run(90_000);
        let totals = play.sim().totals;
        assert!(totals.safe(), "phase {seed}: {totals:?}");
    }
}

#[test]
fn a_silent_node_asks_its_peers() {
    let slots_full = |play: &Play| {
        play.later(20_000, S::Impair(0, ErrorKind::SlotsFull));
        for from in [1, 2] {
            play.later(20_000, S::Event(E::Cut(from, 0)));
        }
        play.later(22_000, S::Event(E::PromoteByHand(1)));
        play.later(23_500, S::Event(E::FollowByHand(2, 1)));
    };
    shows(&slots_full, false, Mutant::SilenceAlone, PHASES);
}

/// The voter moves just after it answered and is lost to the old primary, whose daemon is started
/// again and again as long as its record lasts; then HAProxy loses that daemon as well.
#[test]
fn a_record_is_good_as_long_as_its_answers() {
    let script = |play: &Play| {
        play.cut(10_000, 0, 1);
        play.later(30_000, S::Event(E::PromoteByHand(1)));
        play.run(33_000);
        play.until_asked(0, 2);
        play.step(S::Event(E::FollowByHand(2, 1)));
        play.cut(0, 0, 2);
        // The first look that is lost takes until 1.3 s after the one that was answered.
        for again in 0..3 {
            play.later(1240 + 800 * again, S::KillDaemon(0));
            play.later(1241 + 800 * again, S::StartDaemon(0));
        }
        let last = play.between(2500, 2900);
        play.later(last, S::CutHaproxy(0, 0, true));
    };
    shows(&script, false, Mutant::RecordForALife, MANY_PHASES);
}

/// A restart costs a healthy primary nothing; one that finds its voters gone says so once all of them
/// have been asked, however long its record is good.
#[test]
fn a_restored_word_stands_until_everybody_was_asked() {
    let words = |lost: bool| {
        let settings = settings(None);
        let play = Play::new(Cluster::healthy(3, false), settings, 1);
        play.run(20_000);
        for id in [1, 2] {
            if lost {
                play.step(S::Event(E::Crash(id)));
            }
        }
        play.step(S::KillDaemon(0));
        play.step(S::StartDaemon(0));
        let mut said = Vec::new();
        for _ in 0..200 {
            play.pass(1);
            let process = &play.sim().processes[0];
            if process.answers() {
                said.push(process.ready);
            }
        }
        said.dedup();
        said
    };
    assert_eq!(words(false), [true]);
    assert_eq!(words(true), [true, false]);
}

#[test]
fn the_companion_passes_only_on_ready() {
    let script = |play: &Play| {
        a_vote_moves(play);
        play.later(31_500, S::KillDaemon(0));
        let back = play.between(45_000, 46_000);
        play.later(back, S::StartDaemon(0));
    };
    shows(&script, false, Mutant::CompanionOnMaint, PHASES);
}
