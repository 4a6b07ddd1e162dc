//! What turns the rule into a word over time: settling, holding, the record over a restart. Once as
//! rolecall has it, and once as the rule's text has it, with the switches of its mutants.

use std::time::Duration;

use rolecall::clock::Stamp;
use rolecall::policy::{Policy, Trust};
use rolecall::quorum::{self, expiries, rule};
use rolecall::role::Role;
use rolecall::snapshot::SourceFacts;
use rolecall::verdict::{Standing, State, decide};

use crate::reference::{Mutant, Reference, Says};

/// A yes as it is written down for the next process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub since: Stamp,
    pub good_until: Stamp,
    pub ready: bool,
}

/// A word, and when it has to be asked for again if nothing new is seen.
pub struct Word {
    pub ready: bool,
    pub until: Option<Stamp>,
}

pub trait Driver {
    /// The first own look of a process has finished.
    fn begin(&mut self, now: Stamp, record: Option<Record>, facts: &SourceFacts);
    fn looked(&mut self, now: Stamp, before: &SourceFacts, after: &SourceFacts);
    fn word(&mut self, now: Stamp, facts: &SourceFacts) -> Word;
    fn record(&self, now: Stamp, facts: &SourceFacts) -> Option<Record>;
}

/// rolecall's own.
pub struct Rolecall {
    policy: Policy,
    standing: Standing,
}

impl Rolecall {
    pub fn new(rules: &Reference, settle: Duration, hold: Duration, look: Duration) -> Self {
        let electorate = Some(rules.electorate);
        let trust = vec![Trust {
            hold,
            look,
            knows_lag: true,
            electorate,
            hold_by_repmgr: false,
            lock: None,
        }];
        let policy = Policy { roles: vec![Role::Primary], lag: None, settle, trust };
        Self { policy, standing: Standing::default() }
    }

    fn electorate(&self) -> &quorum::Electorate {
        self.policy.trust[0].electorate.as_ref().unwrap()
    }
}

impl Driver for Rolecall {
    fn begin(&mut self, now: Stamp, record: Option<Record>, facts: &SourceFacts) {
        let kept = record.map(|record| Standing {
            confirmed_since: Some(record.since),
            restored_until: Some(record.good_until),
            ..Standing::default()
        });
        let after = std::slice::from_ref(facts);
        self.standing = kept.unwrap_or_default().fold(now, &[], after, &self.policy);
    }

    fn looked(&mut self, now: Stamp, before: &SourceFacts, after: &SourceFacts) {
        let (before, after) = (std::slice::from_ref(before), std::slice::from_ref(after));
        self.standing = self.standing.fold(now, before, after, &self.policy);
    }

    fn word(&mut self, now: Stamp, facts: &SourceFacts) -> Word {
        let verdict = decide(now, std::slice::from_ref(facts), self.standing, &self.policy);
        Word { ready: verdict.state == State::Ready, until: verdict.until }
    }

    fn record(&self, now: Stamp, facts: &SourceFacts) -> Option<Record> {
        let good_until = rule(now, facts, self.electorate()).good_until?;
        let since = self.standing.confirmed_since?;
        Some(Record { since, good_until, ready: false })
    }
}

/// As the rule's text has it.
pub struct Text {
    rules: Reference,
    settle: Duration,
    hold: Duration,
    since: Option<Stamp>,
    ready: bool,
    last_fresh: Option<Stamp>,
    evaluated: Option<Stamp>,
    restored_until: Option<Stamp>,
    counted: Option<Stamp>,
    /// Since when a yes had stood that lapsed, and until when it may go on.
    lapse: Option<(Stamp, Stamp)>,
}

impl Text {
    pub fn new(rules: Reference, settle: Duration, hold: Duration) -> Self {
        let settle = if rules.mutant == Some(Mutant::NoSettle) { Duration::ZERO } else { settle };
        Self {
            rules,
            settle,
            hold,
            since: None,
            ready: false,
            last_fresh: None,
            evaluated: None,
            restored_until: None,
            counted: None,
            lapse: None,
        }
    }

    /// READY ends: for how long it may come back without settling again.
    fn lapses(&mut self, facts: &SourceFacts) {
        let refused = facts.own.failing().is_some_and(|(_, error)| error.kind.is_contrary());
        let short = self.settle.saturating_sub(2 * self.rules.electorate.life);
        let short = self.counted.map(|at| at.plus(short));
        let held = self.last_fresh.filter(|_| refused).map(|at| at.plus(self.hold));
        if self.ready {
            self.lapse = self.since.zip(short.max(held));
        }
        let demoted =
            |(_, seen): (_, &rolecall::observation::Observation)| seen.role != Some(Role::Primary);
        if facts.own.good().is_some_and(demoted) {
            self.lapse = None;
        }
        (self.since, self.ready) = (None, false);
    }

    fn evaluate(&mut self, now: Stamp, facts: &SourceFacts) {
        let life = self.rules.electorate.life;
        let no_expiry = self.rules.mutant == Some(Mutant::NoExpiry);
        let paused = self.evaluated.is_some_and(|at| now.since(at) > life) && !no_expiry;
        self.evaluated = Some(now);
        if paused {
            self.lapses(facts);
        }
        let outcome = self.rules.evaluate(now, facts);
        let everybody =
            facts.own.good().and_then(|(_, seen)| seen.repmgr.as_ref()).is_none_or(|said| {
                said.table.iter().filter(|row| Some(row.id) != said.me).all(|row| {
                    facts.peers.get(&row.id).is_some_and(|peer| peer.last_look().is_some())
                })
            });
        let holds = self.ready && self.last_fresh.is_some_and(|at| now < at.plus(self.hold));
        let restored = self.restored_until.is_some_and(|until| now < until) && !everybody;
        let alone =
            self.rules.mutant == Some(Mutant::SilenceAlone) && silent_alone(now, facts, life);
        match outcome.says {
            Says::Yes | Says::FreshYes => {
                self.restored_until = None;
                let gone_on = self.lapse.take().filter(|(_, until)| now < *until);
                let since = *self.since.get_or_insert(gone_on.map_or(now, |(since, _)| since));
                self.counted = Some(now);
                self.ready |= now.since(since) >= self.settle;
                if outcome.says == Says::FreshYes {
                    self.last_fresh = Some(now);
                }
            }
            Says::No if alone && holds => {}
            Says::Isolated | Says::Silent if holds || restored => {
                if restored && let Some(since) = self.since {
                    self.ready |= now.since(since) >= self.settle;
                }
            }
            _ => {
                if outcome.says == Says::No || everybody {
                    self.restored_until = None;
                }
                self.lapses(facts);
            }
        }
    }
}

/// The own server gave no answer, and what the peers say is not asked for.
fn silent_alone(now: Stamp, facts: &SourceFacts, life: Duration) -> bool {
    let contrary = facts.own.failing().is_some_and(|(_, error)| error.kind.is_contrary());
    let answered = facts.own.good().is_some_and(|(asked, _)| now.since(asked) < life);
    !contrary && (facts.own.failing().is_some() || !answered)
}

impl Driver for Text {
    fn begin(&mut self, now: Stamp, record: Option<Record>, facts: &SourceFacts) {
        self.since = record.map(|record| record.since);
        self.ready = record.is_some_and(|record| record.ready);
        self.restored_until = record.map(|record| record.good_until);
        self.evaluate(now, facts);
    }

    fn looked(&mut self, now: Stamp, before: &SourceFacts, after: &SourceFacts) {
        // What lapsed unseen was a break.
        self.evaluate(now, before);
        self.evaluate(now, after);
    }

    fn word(&mut self, now: Stamp, facts: &SourceFacts) -> Word {
        self.evaluate(now, facts);
        let ends = expiries(now, facts, &self.rules.electorate);
        let settled = self.since.map(|since| since.plus(self.settle));
        let held = self.last_fresh.map(|at| at.plus(self.hold));
        let due = [settled, held, self.restored_until].into_iter().flatten().filter(|at| *at > now);
        Word { ready: self.ready, until: ends.chain(due).min() }
    }

    fn record(&self, now: Stamp, facts: &SourceFacts) -> Option<Record> {
        let good_until = self.rules.evaluate(now, facts).good_until?;
        let for_a_life = self.rules.mutant == Some(Mutant::RecordForALife);
        let good_until = if for_a_life { now.plus(self.rules.electorate.life) } else { good_until };
        Some(Record { since: self.since?, good_until, ready: self.ready })
    }
}
