//! The holes that release 0.1.0 had, each as a script that is played at many phases: with rolecall as
//! it is nothing happens, with the repair taken back the hole is there again.
//!
//! A repair is taken back where it can be without a switch in what ships: a number of the
//! configuration that rolecall itself would refuse, what HAProxy is told, or, for a part of the rule,
//! the rule's text as the judge (see text.rs).

use crate::cluster::{Cluster, Event as E};
use crate::file::File;
use crate::oracle::Totals;
use crate::play::Play;
use crate::proxy::Haproxy;
use crate::reference::Mutant;
use crate::sim::Settings;
use crate::steps::Step as S;
use crate::{share, whole};

const PHASES: u64 = 50;

struct Hole {
    nodes: u8,
    witness: bool,
    settings: Settings,
    script: fn(&Play),
    until: u64,
}

impl Hole {
    fn play(&self, settings: Settings, seed: u64) -> Totals {
        let play = Play::new(Cluster::healthy(self.nodes, self.witness), settings, seed);
        (self.script)(&play);
        play.run(self.until);
        play.sim().totals
    }

    /// The phases at which it is open, and how bad it is there.
    fn open(
        &self,
        settings: Settings,
        phases: u64,
        bad: fn(&Totals) -> u64,
    ) -> impl Iterator<Item = (u64, u64)> {
        let played = (0..phases).map(move |phase| (phase, bad(&self.play(settings, phase))));
        played.filter(|(_, bad)| *bad > 0)
    }

    fn closed(&self, name: &str, bad: fn(&Totals) -> u64) {
        let phases = share(PHASES);
        let found: Vec<_> = self.open(self.settings, phases, bad).collect();
        assert_eq!(found, [], "{name}: as it is, open at these of {phases} phases, and how bad");
    }

    /// What the manual says that nothing closes; this fails once something does.
    fn stays_open(&self, name: &str, bad: fn(&Totals) -> u64) {
        let found = self.is_found(name, "as it is", self.settings, bad);
        assert!(found, "{name} is closed: say so in the manual");
    }

    fn opens(&self, name: &str, back: &str, settings: Settings, bad: fn(&Totals) -> u64) {
        let found = self.is_found(name, back, settings, bad);
        assert!(found, "{name}: {back}, and nothing is found");
    }

    /// Whether it is open at a phase: the first one is enough where only a share is played.
    fn is_found(&self, name: &str, how: &str, settings: Settings, bad: fn(&Totals) -> u64) -> bool {
        let mut open = self.open(settings, PHASES, bad);
        if !whole() {
            return open.next().is_some();
        }
        let bad: Vec<u64> = open.map(|(_, bad)| bad).collect();
        let worst = bad.iter().max().copied().unwrap_or_default();
        println!("{name}: {how}, open at {} of {PHASES} phases, {worst} at worst", bad.len());
        !bad.is_empty()
    }
}

fn writes(totals: &Totals) -> u64 {
    totals.two_written
}

fn words(totals: &Totals) -> u64 {
    totals.two_words
}

fn any(totals: &Totals) -> u64 {
    let overlap = totals.two_written.max(totals.two_words);
    overlap.max(totals.deposed.into())
}

/// The second is promoted by hand behind a cut link, and the third, seen by both, follows it.
fn a_vote_moves(play: &Play) -> u64 {
    play.cut(10_000, 0, 1);
    play.later(30_000, S::Event(E::PromoteByHand(1)));
    let moves = play.between(32_000, 33_000);
    play.later(moves, S::Event(E::FollowByHand(2, 1)));
    moves
}

/// A rolecall hangs just after it said READY: HAProxy has it until the companion check has failed.
#[test]
fn c1_what_haproxy_remembers() {
    let hole = Hole {
        nodes: 3,
        witness: false,
        settings: Settings {
            socket_held: true,
            proxies: 2,
            file: File { hold: Some(0), ..Settings::usual().file },
            ..Settings::usual()
        },
        script: |play| {
            play.cut(10_000, 0, 1);
            play.later(30_000, S::Event(E::PromoteByHand(1)));
            play.run(33_000);
            play.until_asked(0, 2);
            // The voter has just answered. The next look is lost, and fails 1.3 s after this one began.
            play.step(S::Event(E::FollowByHand(2, 1)));
            play.cut(0, 0, 2);
            let asked = play.asked(0, 2).expect("a look").since_boot().as_millis();
            let fails = u64::try_from(asked).unwrap() + 1300;
            let hangs = fails - play.between(5, 150) - play.sim().now;
            play.later(hangs, S::StopDaemon(0));
        },
        until: 50_000,
    };
    let Haproxy { inter, fall, .. } = hole.settings.haproxy;
    let without_the_checks = 1700 + inter * u64::from(fall) + 100;
    let file = File { forced_settle: Some(without_the_checks), ..hole.settings.file };
    // The third node's rolecall would say how long a word lives.
    let short = Settings { file, release: false, ..hole.settings };
    hole.opens("C-1", "inter x fall", short, any);
    hole.closed("C-1", any);
}

/// The links are lost one after the other; the elected node tells the third to follow, which does so
/// at its first lost ping.
#[test]
fn c2_staggered_links() {
    let hole = Hole {
        nodes: 3,
        witness: false,
        settings: Settings { automatic: true, ..Settings::usual() },
        script: |play| {
            play.cut(20_300, 0, 1);
            let second = play.between(38_000, 46_000);
            play.cut(second, 0, 2);
        },
        until: 80_000,
    };
    let mutant = Some(Mutant::MajorityAttests);
    hole.opens("C-2", "a majority attests", Settings { mutant, ..hole.settings }, any);
    hole.closed("C-2", any);
}

/// repmgr sleeps between its attempts only: with one attempt it does not wait at all.
#[test]
fn c2b_the_patience_that_repmgr_has() {
    let hole = Hole {
        nodes: 3,
        witness: false,
        settings: Settings { automatic: true, ..Settings::usual() }.with_patience(1, 15_000),
        script: |play| {
            let lost = play.between(20_000, 22_000);
            play.later(lost, S::Event(E::Part(0b001)));
        },
        until: 60_000,
    };
    let file = File { failover_after: Some(15_000), ..hole.settings.file };
    let product = Settings { file, ..hole.settings };
    hole.opens("C-2b", "attempts x interval", product, any);
    hole.closed("C-2b", any);
}

/// A worker of HAProxy that a reload leaves behind checks nobody: its sessions write on to a primary
/// that is cut off from the others. They must end before a successor can be READY.
#[test]
fn c4_an_old_workers_sessions() {
    let settings = Settings { automatic: true, ..Settings::usual() };
    let haproxy = Haproxy { hard_stop_after: 40_000, ..settings.haproxy };
    let hole = Hole {
        nodes: 3,
        witness: false,
        settings,
        script: |play| {
            let reload = play.between(20_000, 21_000);
            play.later(reload, S::ReloadHaproxy(0, true));
            play.later(reload + 40, S::Event(E::Part(0b001)));
        },
        until: 80_000,
    };
    let bad = |totals: &Totals| totals.two_by_old_worker;
    hole.opens("C-4", "hard-stop-after 40s", Settings { haproxy, ..settings }, bad);
    hole.closed("C-4", bad);
}

/// The primary's virtual machine stands still, its clock with it, until another is READY. Two words
/// cannot be helped then; HAProxy must not believe the first that it hears. (A look that is late by
/// chance, at that very moment, was seen to leave two that take writes even so: 0.8 s at 1 of 400
/// phases. The manual says that such a machine must not go on.)
#[test]
fn c3_a_machine_whose_clock_stood_still() {
    let hole = Hole {
        nodes: 3,
        witness: false,
        settings: Settings { automatic: true, ..Settings::usual() },
        script: |play| {
            play.later(20_000, S::PauseVm(0));
            let goes_on = play.between(64_000, 66_000);
            play.later(goes_on, S::ResumeVm(0));
        },
        until: 90_000,
    };
    let haproxy = Haproxy { rise: 1, ..hole.settings.haproxy };
    hole.opens("C-3", "rise 1", Settings { haproxy, ..hole.settings }, writes);
    hole.closed("C-3", writes);
}

/// The witness acts on a notice of an older failover, hangs with its old upstream and an old table, and
/// after the partition votes for the primary that was deposed meanwhile.
#[test]
fn c5_a_stale_witness() {
    let hole = Hole {
        nodes: 3,
        witness: true,
        settings: Settings { automatic: true, ..Settings::usual() },
        script: |play| {
            play.cut(20_000, 0, 1);
            play.heal(55_000, 0, 1);
            play.later(56_000, S::Event(E::Crash(1)));
            play.later(57_000, S::Event(E::Rejoin(1, 0)));
            play.later(80_000, S::Event(E::Part(0b001)));
            let hangs = play.between(98_000, 102_000);
            play.later(hangs, S::HangRepmgrd(2, 35_000));
            let heals = hangs + play.between(10_000, 25_000);
            play.later(heals, S::Event(E::HealAll));
        },
        until: 160_000,
    };
    let mutant = Some(Mutant::WitnessByTable);
    hole.opens("C-5", "the witness's table", Settings { mutant, ..hole.settings }, any);
    hole.closed("C-5", any);
}

/// The old primary's answers live longer than the new one's file says.
#[test]
fn d6_files_that_differ() {
    let hole = Hole {
        nodes: 3,
        witness: false,
        settings: Settings {
            file: File { hold: Some(0), ..Settings::usual().file },
            ..Settings::usual()
        },
        script: |play| {
            let usual = play.sim().settings.file;
            play.later(5000, S::Reload(0, File { timeout: Some(4000), ..usual }));
            let moves = a_vote_moves(play);
            play.cut(moves + 5, 0, 2);
        },
        until: 60_000,
    };
    // The new primary is told by nobody: what the old one's rolecall would say is behind the cut.
    hole.stays_open("D6", any);
}

/// An operator wrote a longer settle on one node. A lapse there may not go on for longer: what the other
/// node waits for is its own settle.
#[test]
fn d6_a_longer_settle_allows_no_longer_lapse() {
    let hole = Hole {
        nodes: 3,
        witness: true,
        settings: Settings {
            file: File { hold: Some(0), ..Settings::usual().file },
            ..Settings::usual()
        },
        script: |play| {
            let usual = play.sim().settings.file;
            play.later(1000, S::Reload(0, File { settle: Some(20_000), ..usual }));
            play.cut(10_000, 0, 1);
            play.later(30_000, S::Event(E::PromoteByHand(1)));
            let moves = play.between(32_000, 33_000);
            play.later(moves, S::Event(E::WitnessRegister(2, 1)));
            let back = moves + play.between(6000, 12_000);
            play.later(back, S::Event(E::WitnessRegister(2, 0)));
        },
        until: 60_000,
    };
    // That it settles in full, and is then READY on an old timeline behind a witness that was registered
    // to it by hand, is what the manual says of such commands.
    hole.closed("D6, lapse", words);
}

/// On one host the name that the voter streams from leads to another node: one vote for two.
#[test]
fn d7_names_that_lead_elsewhere() {
    let hole = Hole {
        nodes: 3,
        witness: false,
        settings: Settings::usual(),
        script: |play| {
            play.later(10_000, S::Event(E::Crash(0)));
            play.later(11_000, S::Event(E::Elect(1)));
            play.later(13_000, S::Event(E::Follow(2, 1)));
            // The voter has not replayed that the old primary was rejoined.
            play.later(15_000, S::PauseReplay(2, 60_000));
            play.later(16_000, S::Event(E::Rejoin(0, 1)));
            let lost = play.between(20_000, 21_000);
            play.cut(lost, 0, 1);
            play.later(lost, S::Misled(0, 2, 0));
            play.later(lost + 5000, S::Event(E::PromoteByHand(0)));
        },
        until: 60_000,
    };
    hole.opens("D7", "names alone", Settings { names_alone: true, ..hole.settings }, any);
    hole.closed("D7", any);
}

/// A service for every role has said yes of the standby for long when that is promoted. HAProxy still
/// has that word, and nobody can help it: such a service is for reads. What is said afterwards counts.
#[test]
fn d8_a_standbys_yes_does_not_settle_the_primary() {
    for reload in [false, true] {
        let hole = Hole {
            nodes: 3,
            witness: false,
            settings: Settings {
                file: File { any_role: true, ..Settings::usual().file },
                ..Settings::usual()
            },
            script: if reload {
                |play| {
                    let moves = a_vote_moves(play);
                    let any = play.sim().settings.file;
                    let one_role = File { any_role: false, ..any };
                    let when = moves - play.between(0, 1000);
                    play.later(when, S::Reload(1, one_role));
                }
            } else {
                |play| {
                    a_vote_moves(play);
                }
            },
            until: 60_000,
        };
        let file = File { forced_settle: Some(0), ..hole.settings.file };
        hole.opens("D8", "nothing settles", Settings { file, ..hole.settings }, words);
        hole.closed("D8", words);
    }
}

/// A standby is rebuilt from a backup older than the failover, and attached to nobody.
#[test]
fn d9_an_old_backup_votes_for_the_primary_of_its_day() {
    let hole = Hole {
        nodes: 3,
        witness: false,
        settings: Settings { automatic: true, ..Settings::usual() },
        script: |play| {
            play.later(10_000, S::Backup(2));
            play.later(20_000, S::Event(E::Part(0b001)));
            play.later(70_000, S::Restore(2));
            play.later(70_000, S::Event(E::Start(2)));
            play.heal(71_000, 0, 2);
            play.cut(71_000, 1, 2);
        },
        until: 100_000,
    };
    hole.stays_open("D9", any);
}

/// A standby is down and registered as inactive when the other one loses the primary: repmgr asks nobody
/// then, and rolecall leaves the standby out of the count. Started again it attaches to the old primary,
/// which it reaches. Its rolecall was told that it was left out: without that its vote gives the old
/// primary its majority back. There are never two, but the primary moves back.
#[test]
fn a_standby_that_was_left_out_brings_no_old_primary_back() {
    let hole = Hole {
        nodes: 3,
        witness: false,
        settings: Settings { automatic: true, ..Settings::usual() },
        script: |play| {
            play.later(10_000, S::Event(E::Crash(1)));
            play.cut(20_000, 0, 2);
            let starts = play.between(60_000, 70_000);
            play.later(starts, S::Event(E::Start(1)));
        },
        until: 90_000,
    };
    let back = |totals: &Totals| totals.returned.into();
    let silent = Settings { release: false, ..hole.settings };
    hole.opens("left out", "nobody is told", silent, back);
    hole.closed("left out", back);
    hole.closed("left out", any);
}

/// The primary is lost, and two standbys do not see each other, but both see the third: repmgr elects both,
/// and each writes the same timeline. The third follows one of them, which is READY; when that one is cut off
/// as well, it follows the other. There are never two, but what the first one wrote is lost, and nothing that
/// the servers say tells which came first.
#[test]
fn of_two_that_were_elected_at_once_the_second_may_be_ready_after_the_first() {
    let hole = Hole {
        nodes: 4,
        witness: false,
        settings: Settings::usual(),
        script: |play| {
            play.later(10_000, S::Event(E::Part(0b0001)));
            play.cut(25_000, 1, 2);
            play.later(30_000, S::Event(E::Elect(2)));
            play.later(30_500, S::Event(E::Elect(1)));
            play.later(31_600, S::Event(E::Follow(3, 1)));
            // Node 2 is READY by now, and its twin has never been.
            play.later(45_000, S::Event(E::Part(0b0010)));
            play.heal(45_000, 1, 2);
            play.cut(45_000, 1, 2);
            play.later(47_000, S::Event(E::Follow(3, 2)));
        },
        until: 70_000,
    };
    hole.stays_open("twins", |totals| totals.twins.into());
    hole.closed("twins", any);
}
