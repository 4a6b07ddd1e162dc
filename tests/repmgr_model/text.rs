//! The rule's text over time: settling, holding, the record over a restart, with the switches that take
//! one part of it back.
//!
//! A keeper cannot take a rule with a part taken back: its switches would have to ship. So a mutant is
//! judged here, over the very facts that the keeper of rolecall publishes in the same world, in the
//! place of its verdict; and in every eighth seed the unchanged text is asked beside rolecall, which may
//! never say READY where the text does not.

use std::time::Duration;

use rolecall::look::role::Role;
use rolecall::look::snapshot::SourceFacts;
use rolecall::look::stamp::Stamp;

use crate::cluster::Id;
use crate::process::Process;
use crate::reference::{Mutant, Reference, Says};
use crate::sim::{Sim, at};

/// A yes as it is written down for the next process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub since: Stamp,
    pub good_until: Stamp,
    pub ready: bool,
}

/// The text as the judge of one node's facts, over the processes that run there.
pub struct Judge {
    rules: Reference,
    settle: Duration,
    hold: Duration,
    text: Text,
    before: Option<SourceFacts>,
    record: Option<Record>,
}

impl Judge {
    pub fn new(rules: Reference, settle: Duration, hold: Duration) -> Self {
        let text = Text::new(rules, settle, hold);
        Self { rules, settle, hold, text, before: None, record: None }
    }

    /// Another configuration.
    pub fn reload(&mut self, settle: Duration, hold: Duration) {
        (self.settle, self.hold) = (settle, hold);
        self.text.reload(settle, hold);
    }

    /// Another process: what it has is the record.
    pub fn restart(&mut self) {
        self.text = Text::new(self.rules, self.settle, self.hold);
        self.before = None;
    }

    /// The host was booted.
    pub fn forget(&mut self) {
        self.record = None;
    }

    fn looked(&mut self, now: Stamp, facts: &SourceFacts) {
        if let Some(before) = self.before.replace(facts.clone()) {
            self.text.looked(now, &before, facts);
        } else {
            let me = facts.own.good().and_then(|(_, seen)| seen.repmgr.as_ref()?.me);
            let usable = |r: &Record| r.since <= now && now < r.good_until && me.is_some();
            self.text.begin(now, self.record.filter(usable), facts);
        }
        if let Some(record) = self.text.record(now, facts) {
            self.record = Some(record);
        }
    }

    fn says(&mut self, now: Stamp) -> bool {
        self.before.as_ref().is_some_and(|facts| self.text.word(now, facts))
    }
}

impl Process {
    /// What the text says at this moment.
    pub fn judge_says(&mut self) -> bool {
        let now = self.clock.now();
        self.judge.as_mut().is_some_and(|judge| judge.says(now))
    }
}

impl Sim {
    /// The keeper published other facts.
    pub fn judged(&mut self, id: Id, number: u32) {
        let mutant = self.settings.mutant.is_some();
        let process = &mut self.processes[at(id)];
        if process.number != number {
            return;
        }
        let now = process.clock.now();
        let facts = process.facts.borrow().nodes.first().map(|node| node.sources[0].clone());
        let Some((facts, judge)) = facts.zip(process.judge.as_mut()) else { return };
        judge.looked(now, &facts);
        if mutant {
            self.announced(id, number);
        } else {
            self.compare(id);
        }
    }

    /// rolecall may never say READY where the text does not, but for 8b.
    pub fn compare(&mut self, id: Id) {
        if self.settings.mutant.is_some() {
            return;
        }
        let process = &mut self.processes[at(id)];
        if process.judge.is_some()
            && process.says_ready()
            && !process.handed_over()
            && !process.judge_says()
        {
            self.totals.against_text.get_or_insert(self.now);
        }
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
    pub fn reload(&mut self, settle: Duration, hold: Duration) {
        let none = self.rules.mutant == Some(Mutant::NoSettle);
        (self.settle, self.hold) = (if none { Duration::ZERO } else { settle }, hold);
    }

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
        let demoted = |(_, seen): (_, &rolecall::look::observation::Observation)| {
            seen.role != Some(Role::Primary)
        };
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

impl Text {
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

    fn word(&mut self, now: Stamp, facts: &SourceFacts) -> bool {
        self.evaluate(now, facts);
        self.ready
    }

    fn record(&self, now: Stamp, facts: &SourceFacts) -> Option<Record> {
        let good_until = self.rules.evaluate(now, facts).good_until?;
        let for_a_life = self.rules.mutant == Some(Mutant::RecordForALife);
        let good_until = if for_a_life { now.plus(self.rules.electorate.life) } else { good_until };
        Some(Record { since: self.since?, good_until, ready: self.ready })
    }
}
