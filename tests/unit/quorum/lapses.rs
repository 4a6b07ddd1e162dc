//! What ends a confirmation, and what a word that was kept over a restart is worth.

use std::time::Duration;

use rolecall::look::observation::Observation;
use rolecall::look::role::Role;
use rolecall::verdict::decide::decide;
use rolecall::verdict::finding::{Finding, findings};
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::State;

use super::said::{SETTLE, at, follows, id, primary};
use super::standing::{
    EVERY, HOLD, Life, Look, of_node_3, promoted, ready, rejoined, silent, steady, third,
};

/// A restart's first facts: what a predecessor said stands until `RESTORED`.
const RESTORED: u64 = 10_000;
const BEFORE: u64 = 1000;

fn restarted() -> Life {
    let mut life = Life::new(&[Role::Primary]);
    life.standing = Standing {
        confirmed_since: Some(at(BEFORE)),
        restored_until: Some(at(RESTORED)),
        ..Standing::default()
    };
    life
}

/// The first fold of a process: nothing was seen before.
fn begins(now: u64, peers: &[(i32, Look)]) -> Standing {
    let mut life = restarted();
    life.facts.record_own(at(now), at(now), primary().look());
    for (number, look) in peers {
        life.facts.peers.entry(id(*number)).or_default().record(at(now), look.clone());
    }
    life.standing.fold(at(now), &[], &[life.facts.clone()], &life.policy)
}

#[test]
fn a_restored_confirmation_goes_on_before_its_end_and_settles_again_at_it() {
    let (_, peers) = steady();
    assert_eq!(begins(RESTORED - 1, &peers).confirmed_since, Some(at(BEFORE)));
    assert_eq!(begins(RESTORED, &peers).confirmed_since, Some(at(RESTORED)));
    assert_eq!(begins(RESTORED - 1, &[]).confirmed_since, Some(at(BEFORE)), "nobody was asked yet");
    assert_eq!(begins(RESTORED, &[]).confirmed_since, None, "it has ended");
}

/// Once this process's own answers say something, the predecessor's word is over.
#[test]
fn a_restored_word_ends_when_the_rule_has_been_evaluated() {
    let (_, peers) = steady();
    assert_eq!(begins(5000, &peers).restored_until, None, "a majority was counted");
    let all_silent = [(2, silent()), (3, silent())];
    assert_eq!(begins(5000, &all_silent).restored_until, None, "everybody was asked in vain");
    assert_eq!(begins(5000, &[(2, silent())]).restored_until, Some(at(RESTORED)), "not everybody");
}

/// Half a settling is worth nothing: who had not counted before a lapse does not go on after it.
#[test]
fn what_had_not_settled_settles_from_the_start_after_a_break() {
    let (own, peers) = steady();
    let mut life = Life::new(&[Role::Primary]);
    life.see(SETTLE / 2, &own, &peers);
    assert_ne!(life.see(3 * EVERY, &own, &[(2, of_node_3().look()), (3, silent())]), State::Ready);
    let took = life.until_ready(&own, &peers);
    assert!((SETTLE..=SETTLE + EVERY).contains(&took), "{took}");
}

/// A majority that was counted at the very moment at which the settling ended made the node READY.
#[test]
fn a_lapse_right_after_the_settling_goes_on_too() {
    let (own, peers) = steady();
    let mut life = Life::new(&[Role::Primary]);
    life.until_ready(&own, &peers);
    assert_eq!(life.standing.majority_at, Some(at(life.now + 2)));
    let counts = life.standing.counts_from(std::slice::from_ref(&life.facts), &life.policy);
    assert_eq!(counts, life.standing.majority_at);
    let before = life.facts.clone();
    life.now += EVERY;
    for (number, look) in [(2, of_node_3().look()), (3, silent())] {
        life.facts.peers.entry(id(number)).or_default().record(at(life.now), look);
    }
    life.fold(&before);
    assert_ne!(life.state(), State::Ready);
    assert_eq!(life.until_ready(&own, &peers), EVERY);
}

/// A rejoined node's rolecall must be able to release at once: nothing of the old claim is left.
#[test]
fn a_demotion_leaves_no_claim() {
    let mut standby = follows(2);
    standby.answer.me = Some(id(1));
    let demoted = |mut life: Life| {
        let before = life.facts.clone();
        life.now += EVERY;
        life.facts.record_own(at(life.now), at(life.now), standby.clone().look());
        life.fold(&before);
        life.standing
    };
    let settled = ready(&[Role::Primary]);
    assert!(!settled.standing.claims_nothing());
    assert!(demoted(settled).claims_nothing());
    let (mut handed_over, own) = promoted(SETTLE);
    handed_over.until_ready(&own, &[(2, rejoined(2)), third()]);
    assert!(handed_over.standing.handed_over.is_some());
    assert!(demoted(handed_over).claims_nothing());
}

/// Whatever could still speak is a claim, and giving way ends each; what was seen is not forgotten.
#[test]
fn giving_way_ends_every_claim_and_nothing_else() {
    let seen = Standing {
        majority_at: Some(at(1)),
        fresh_at: Some(at(2)),
        evaluated_at: Some(at(3)),
        over_lag: true,
        ..Standing::default()
    };
    let (own, peers) = steady();
    let mut lapsed = ready(&[Role::Primary]);
    lapsed.see(EVERY, &own, &[(2, of_node_3().look()), (3, silent())]);
    let lapse = lapsed.standing.lapse;
    assert!(lapse.is_some(), "it may go on");
    assert!(seen.claims_nothing());
    for claim in [
        Standing { confirmed_since: Some(at(4)), ..seen },
        Standing { handed_over: Some(at(4)), ..seen },
        Standing { restored_until: Some(at(4)), ..seen },
        Standing { lapse, ..seen },
    ] {
        assert!(!claim.claims_nothing(), "{claim:?}");
        assert_eq!(claim.released(), seen);
    }
    assert_eq!(lapsed.until_ready(&own, &peers), EVERY, "the lapse was a short one");
}

/// The keeper wakes at a verdict's last moment: a held one ends with its hold, though nobody asks.
#[test]
fn a_held_verdict_tells_when_the_hold_ends() {
    let (own, _) = steady();
    let mut life = ready(&[Role::Primary]);
    let fresh = life.standing.fresh_at.expect("all attest contact");
    life.see(5000, &own, &[(2, silent()), (3, silent())]);
    let fresh = life.standing.fresh_at.map_or(fresh, |last| last.max(fresh));
    let end = fresh.plus(Duration::from_millis(HOLD));
    let facts = [life.facts.clone()];
    // No look comes any more: every answer has expired, so that the hold alone is left.
    let held = |now| {
        let standing = Standing { evaluated_at: Some(now), ..life.standing };
        decide(now, &facts, standing, &life.policy)
    };
    let late = at(life.now + 4000);
    assert_eq!((held(late).state, held(late).until), (State::Ready, Some(end)));
    assert_eq!(held(end).until, None, "it is over");
    assert_ne!(held(end).state, State::Ready);
}

/// `status` shows what each source says.
#[test]
fn each_source_has_a_finding() {
    let life = ready(&[Role::Primary]);
    let found = |facts| findings(at(life.now + 2), &[facts], life.standing, &life.policy);
    assert_eq!(found(life.facts.clone()), [Finding::Yes(Role::Primary)]);
    let mut replica = life.facts.clone();
    replica.own.record(at(life.now), Ok(Observation::of(Role::Replica)));
    assert!(matches!(found(replica)[..], [Finding::No(_)]));
}
