//! The memory of a verdict: since when a node has been confirmed, what a lapse costs, and when nothing
//! has to settle because every other data node has given way.

use std::time::Duration;

use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::release::Release;
use rolecall::look::repmgr::Registered;
use rolecall::look::role::{Role, Timeline};
use rolecall::look::snapshot::SourceFacts;
use rolecall::verdict::decide::decide;
use rolecall::verdict::policy::Policy;
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::State;

use super::said::{
    self, LIFE, Primary, SETTLE, Said, Standby, at, fails, follows, id, primary, witness,
};

/// repmgr waits 20 s here: hold is 15 s.
pub const HOLD: u64 = 15_000;
/// Every server is looked at so often, in milliseconds.
pub const EVERY: u64 = 100;

pub type Look = Result<Observation, SourceError>;

/// One node and what it sees over time.
pub struct Life {
    pub now: u64,
    pub facts: SourceFacts,
    pub standing: Standing,
    pub policy: Policy,
}

impl Life {
    pub fn new(roles: &[Role]) -> Self {
        let policy = said::policy(HOLD, roles);
        let (facts, standing) = (SourceFacts::default(), Standing::default());
        Self { now: 0, facts, standing, policy }
    }

    /// Lets `time` milliseconds pass in which looks show this.
    pub fn see(&mut self, time: u64, own: &Look, peers: &[(i32, Look)]) -> State {
        for _ in 0..time / EVERY {
            self.now += EVERY;
            let before = self.facts.clone();
            self.facts.record_own(at(self.now), at(self.now), own.clone());
            self.fold(&before);
            for (number, look) in peers {
                let before = self.facts.clone();
                // Asked after the own look had finished.
                let asked = at(self.now + 1);
                self.facts.peers.entry(id(*number)).or_default().record(asked, look.clone());
                self.fold(&before);
            }
        }
        self.state()
    }

    pub fn fold(&mut self, before: &SourceFacts) {
        let (before, after) = ([before.clone()], [self.facts.clone()]);
        self.standing = self.standing.fold(at(self.now + 2), &before, &after, &self.policy);
    }

    pub fn state(&self) -> State {
        let facts = [self.facts.clone()];
        decide(at(self.now + 2), &facts, self.standing, &self.policy).state
    }

    /// How long it takes until this node is READY, in milliseconds, at most 20 s.
    pub fn until_ready(&mut self, own: &Look, peers: &[(i32, Look)]) -> u64 {
        let from = self.now;
        while self.see(EVERY, own, peers) != State::Ready && self.now < from + 20_000 {}
        self.now - from
    }
}

fn known(said: Said, number: i32) -> Look {
    let mut said = said;
    said.answer.local_id = Some(id(number));
    said.look()
}

pub fn silent() -> Look {
    fails(ErrorKind::Timeout)
}

/// Node 1 as the primary of three, the others behind it. Nobody knows for certain whose answers those
/// are, so that 8b has nothing to go by.
pub fn steady() -> (Look, Vec<(i32, Look)>) {
    (primary().look(), vec![(2, follows(1).look()), (3, follows(1).look())])
}

/// A standby of node 3, which its own table names as the primary.
pub fn of_node_3() -> Said {
    follows(3).by(&[(1, Primary, false), (2, Standby, true), (3, Primary, true)])
}

pub fn ready(roles: &[Role]) -> Life {
    let mut life = Life::new(roles);
    let (own, peers) = steady();
    assert_eq!(life.see(SETTLE + 500, &own, &peers), State::Ready);
    life
}

/// D8: a service for primaries and replicas alike has a yes long before the promotion.
#[test]
fn settling_belongs_to_being_the_primary() {
    let roles = [Role::Primary, Role::Replica];
    let mut life = Life::new(&roles);
    let mut standby = follows(2).by(&[(1, Standby, true), (2, Primary, true), (3, Standby, true)]);
    standby.answer.me = Some(id(1));
    let mut seen = standby.look().unwrap();
    seen.replay = Some(rolecall::look::observation::Replay {
        streaming: true,
        paused: false,
        lag_bytes: Some(0),
        lag_time: Some(Duration::ZERO),
    });
    seen.upkeep = Some(rolecall::look::observation::Upkeep {
        heard: Some(Duration::ZERO),
        silent_after: Duration::from_secs(35),
        apply_delay: Duration::ZERO,
    });
    assert_eq!(life.see(SETTLE, &Ok(seen), &[]), State::Ready, "a replica serves at once");
    let (own, peers) = steady();
    let peers: Vec<_> = peers.into_iter().take(1).collect();
    let took = life.until_ready(&own, &peers);
    assert!((SETTLE..=SETTLE + EVERY).contains(&took), "{took}");
}

/// C-5: after a cut has healed nobody becomes READY whose rows a registered successor will throw away.
#[test]
fn nobody_becomes_ready_beside_a_newer_rival_and_who_is_ready_stays_so() {
    let rows = [(1, Primary, false), (2, Primary, true), (3, Standby, true)];
    let rival = (2, known(primary().by(&rows).on(2), 2));
    let (own, peers) = steady();
    let with_rival = vec![rival, peers[1].clone()];

    let mut life = ready(&[Role::Primary]);
    assert_eq!(
        life.see(2 * SETTLE, &own, &with_rival),
        State::Ready,
        "#821: it was READY all along"
    );
    let alone = [(2, silent()), (3, silent())];
    assert_ne!(life.see(HOLD + 5000, &own, &alone), State::Ready);
    assert_ne!(life.see(3 * SETTLE, &own, &with_rival), State::Ready, "back with a majority");
    let took = life.until_ready(&own, &peers);
    assert!((SETTLE..=SETTLE + EVERY).contains(&took), "the rival was rejoined: {took}");
}

/// No rival can have settled within settle - 2 x life.
#[test]
fn a_short_lapse_costs_nothing_and_a_longer_one_settles_again() {
    let (own, peers) = steady();
    let contrary = [(2, of_node_3().look()), (3, silent())];
    let short = SETTLE - 2 * LIFE;
    for (lapse, wanted) in [(short - EVERY, EVERY), (short, SETTLE + EVERY)] {
        let mut life = ready(&[Role::Primary]);
        // The answers of before live on for a moment, except that of node 2.
        assert_ne!(life.see(lapse, &own, &contrary), State::Ready);
        let took = life.until_ready(&own, &peers);
        assert!((wanted - EVERY..=wanted).contains(&took), "after {lapse} ms: {took}");
    }
}

/// repmgr promotes nobody within `hold` of the last fresh contact: a restart of PostgreSQL is over then.
#[test]
fn a_restart_of_the_own_server_within_hold_costs_nothing() {
    let (own, peers) = steady();
    let refused = fails(ErrorKind::ServerDown);
    for (down, wanted) in [(HOLD - 1000, EVERY), (HOLD + 1000, SETTLE + EVERY)] {
        let mut life = ready(&[Role::Primary]);
        assert_eq!(life.see(down, &refused, &peers), State::NotReady);
        let took = life.until_ready(&own, &peers);
        assert!((wanted - EVERY..=wanted).contains(&took), "down for {down} ms: {took}");
    }
    // It may as well have been demoted meanwhile: then nothing goes on.
    let mut life = ready(&[Role::Primary]);
    life.see(1000, &refused, &peers);
    let mut demoted = follows(2);
    demoted.answer.me = Some(id(1));
    life.see(EVERY, &demoted.look(), &[]);
    assert!(life.until_ready(&own, &peers) >= SETTLE);
    // And where it gave way to another node.
    let mut life = ready(&[Role::Primary]);
    life.see(1000, &refused, &peers);
    assert!(!life.standing.claims_nothing(), "it may go on");
    life.standing = life.standing.released();
    assert!(life.standing.claims_nothing());
    assert!(life.until_ready(&own, &peers) >= SETTLE);
}

/// Node 1 was a standby for as long as `watched` ms, and is promoted: the old primary is node 2.
pub fn promoted(watched: u64) -> (Life, Look) {
    let mut life = Life::new(&[Role::Primary]);
    let old = [(1, Standby, true), (2, Primary, true), (3, Standby, true)];
    let mut standby = follows(2).by(&old);
    standby.answer.me = Some(id(1));
    life.see(watched, &standby.look(), &[]);
    (life, primary().by(&NEW).on(2).look())
}

const NEW: [(i32, Registered, bool); 3] =
    [(1, Primary, true), (2, Primary, false), (3, Standby, true)];

pub fn third() -> (i32, Look) {
    (3, known(follows(1).by(&NEW).on(2), 3))
}

/// A standby again, which its own repmgrd has told the server.
pub fn rejoined(number: i32) -> Look {
    known(follows(1).by(&NEW).on(2), number)
}

#[test]
fn a_candidate_whose_rivals_are_all_in_recovery_needs_not_settle() {
    let (mut life, own) = promoted(SETTLE);
    assert_eq!(life.until_ready(&own, &[(2, rejoined(2)), third()]), EVERY, "8b");
    assert!(life.standing.handed_over.is_some());
    // It counts as settled: what comes later changes nothing.
    assert_eq!(life.see(1000, &own, &[(2, silent()), third()]), State::Ready);
}

#[test]
fn what_is_missing_of_8b_makes_it_settle() {
    let own_or_settles = |what: &str, watched: u64, peers: &[(i32, Look)]| {
        let (mut life, own) = promoted(watched);
        let took = life.until_ready(&own, peers);
        assert!((SETTLE..=SETTLE + EVERY).contains(&took), "{what}: {took}");
        assert_eq!(life.standing.handed_over, None, "{what}");
    };
    let unknown = || follows(1).by(&NEW).on(2).look();
    own_or_settles("the old primary does not answer", SETTLE, &[(2, silent()), third()]);
    own_or_settles("nobody knows whose answer it is", SETTLE, &[(2, unknown()), third()]);
    own_or_settles("it is another node's", SETTLE, &[(2, rejoined(3)), third()]);
    let other = |number| {
        let mut said = follows(1).by(&NEW).on(2);
        said.answer.system = "7009".into();
        known(said, number)
    };
    own_or_settles("it is another cluster's", SETTLE, &[(2, other(2)), third()]);
    own_or_settles("it follows another", SETTLE, &[(2, known(of_node_3().on(2), 2)), third()]);
    let writable = primary().by(&[(1, Standby, true), (2, Primary, true)]);
    own_or_settles("it takes writes", SETTLE, &[(2, known(writable, 2)), third()]);
    own_or_settles("a standby is not seen", SETTLE, &[(2, rejoined(2)), (3, unknown())]);
}

/// (T): a row that was unregistered in this failover must not be forgotten.
#[test]
fn the_table_must_have_been_watched_for_settle_and_lost_no_data_node() {
    let peers = [(2, rejoined(2)), third()];
    let (mut life, own) = promoted(SETTLE - 3000);
    let took = life.until_ready(&own, &peers);
    assert!((2900..=3100).contains(&took), "watched too shortly: {took}");

    let mut life = Life::new(&[Role::Primary]);
    let four = [(1, Standby, true), (2, Primary, true), (3, Standby, true), (4, Standby, true)];
    let mut standby = follows(2).by(&four);
    standby.answer.me = Some(id(1));
    life.see(SETTLE, &standby.look(), &[]);
    let took = life.until_ready(&own, &peers);
    assert!((SETTLE..=SETTLE + EVERY).contains(&took), "node 4 has left: {took}");
}

/// Evidence that is older than the candidacy says nothing: two nodes must not let each other ahead.
#[test]
fn evidence_from_before_the_promotion_counts_for_nothing() {
    let (mut life, own) = promoted(SETTLE);
    let asked_before = life.now;
    for (number, look) in [(2, rejoined(2)), third()] {
        life.facts.peers.entry(id(number)).or_default().record(at(asked_before), look);
    }
    life.see(EVERY, &own, &[]);
    assert_eq!(life.state(), State::NotReady);
    assert_eq!(life.standing.handed_over, None);
    assert_eq!(life.until_ready(&own, &[(2, rejoined(2)), third()]), EVERY);
}

fn release() -> Release {
    Release {
        node: id(2),
        system: "7001".into(),
        timeline: Some(Timeline(1)),
        claims: false,
        recovery: None,
        left_out: None,
        last_ready: Duration::from_millis(2500),
        life: Duration::from_millis(1700),
        memory: Duration::from_millis(2500),
    }
}

/// How long the candidate takes where node 2's server is gone and its rolecall says this.
fn with_release(said: Option<&Release>) -> u64 {
    let (mut life, own) = promoted(SETTLE);
    let from = life.now;
    loop {
        let asked = at(life.now + EVERY + 1);
        life.see(EVERY, &own, &[(2, fails(ErrorKind::ServerDown)), third()]);
        let before = life.facts.clone();
        life.facts.releases.insert(id(2), (asked, said.cloned()));
        life.fold(&before);
        if life.state() == State::Ready || life.now > from + 20_000 {
            return life.now - from;
        }
    }
}

#[test]
fn a_release_stands_for_an_answer_in_recovery() {
    assert_eq!(with_release(Some(&release())), EVERY);
    for (what, said) in [
        ("none", None),
        ("it claims something", Some(Release { claims: true, ..release() })),
        ("it is another node's", Some(Release { node: id(3), ..release() })),
        ("its timeline is the candidate's", {
            Some(Release { timeline: Some(Timeline(2)), ..release() })
        }),
        ("an HAProxy may remember its READY", {
            Some(Release { last_ready: Duration::from_millis(2400), ..release() })
        }),
    ] {
        let took = with_release(said.as_ref());
        assert!((SETTLE..=SETTLE + EVERY).contains(&took), "{what}: {took}");
    }
}

/// D6: files differ, and another node's word lives longer than this one's file says.
#[test]
fn the_longest_word_that_another_node_tells_of_is_waited_for() {
    let slow = Release { claims: true, memory: Duration::from_secs(8), ..release() };
    let took = with_release(Some(&slow));
    assert!((9800..=9900).contains(&took), "1.7 + 8 + 0.1 s: {took}");
}

/// A witness holds no data, and gives way by nothing.
#[test]
fn a_witness_is_not_asked_to_give_way() {
    let rows = [(1, Primary, true), (2, Primary, false), (3, Registered::Witness, true)];
    let mut life = Life::new(&[Role::Primary]);
    let mut standby =
        follows(2).by(&[(1, Standby, true), (2, Primary, true), (3, Registered::Witness, true)]);
    standby.answer.me = Some(id(1));
    life.see(SETTLE, &standby.look(), &[]);
    let own = primary().by(&rows).on(2).look();
    let votes = witness(1, 0).by(&rows).look();
    let back = known(follows(1).by(&rows).on(2), 2);
    assert_eq!(life.until_ready(&own, &[(2, back), (3, votes)]), EVERY);
}
