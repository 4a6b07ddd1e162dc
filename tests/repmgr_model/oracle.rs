//! What must never be, and what came of a run.

use rolecall::look::repmgr::named;
use rolecall::look::role::Role;

use crate::cluster::{Id, named as named_by_model};
use crate::process::Life;
use crate::sim::{Sim, at};

/// What came of a run; milliseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Two servers out of recovery whose rolecall says READY.
    pub two_words: u64,
    /// Two servers out of recovery that some HAProxy sends writes to.
    pub two_written: u64,
    /// The same where one of them is written by sessions of a worker that a reload left behind.
    pub two_by_old_worker: u64,
    /// How often a node became READY though its own facts had a registered primary on a newer
    /// timeline, or though one lived that was promoted after it and had been READY since.
    pub deposed: u32,
    /// The same by the vote of a standby that was down at the promotion, attaches to the old primary when it
    /// is started, and whose rolecall nobody could tell: the manual names it.
    pub returned: u32,
    /// How often a node became READY for the first time since it was promoted, though a twin had been before:
    /// two standbys were elected beside each other, on one timeline, and what the twin wrote is lost. The
    /// manual names it.
    pub twins: u32,
    pub one_written: u64,
    /// When the first of these was, but that of the old worker.
    pub first: Option<u64>,
    /// When rolecall said READY where the text does not.
    pub against_text: Option<u64>,
    pub faults: u32,
    pub promotions: u32,
}

impl Totals {
    pub fn safe(&self) -> bool {
        self.first.is_none() && self.against_text.is_none()
    }
}

impl Sim {
    /// Lets time pass in which nothing happened.
    pub fn pass(&mut self, time: u64) {
        let passed = time - self.now;
        if passed == 0 {
            return;
        }
        let conf = self.settings.haproxy;
        let (mut words, mut written, mut left, mut ready) = (0, 0, 0, 0);
        for id in self.cluster.ids() {
            let Some(process) = self.processes.get(at(id)) else { continue };
            let says = process.ready && process.answers();
            ready += u32::from(says);
            let sent = self.proxies.iter().any(|proxy| proxy.servers[at(id)].serves(&conf));
            let kept =
                || self.proxies.iter().any(|proxy| proxy.left.iter().any(|(of, _)| *of == id));
            if self.cluster.writable(id) {
                words += u32::from(says);
                written += u32::from(sent);
                left += u32::from(sent || kept());
            }
        }
        if words > 1 {
            self.totals.two_words += passed;
        }
        if written > 1 {
            self.totals.two_written += passed;
        }
        if words > 1 || written > 1 {
            self.note_first("two");
        }
        if left > 1 && written <= 1 {
            self.totals.two_by_old_worker += passed;
        }
        if written == 1 {
            self.totals.one_written += passed;
        }
        if ready > 0 {
            self.nobody_since = time;
        }
        self.now = time;
        for proxy in &mut self.proxies {
            proxy.left.retain(|(_, until)| *until > time);
        }
    }

    fn note_first(&mut self, what: &str) {
        if self.totals.first.is_none() {
            self.totals.first = Some(self.now);
            if self.settings.trace {
                println!("{:>8} {what}", self.now);
            }
        }
    }

    /// A node's word changes.
    pub fn said(&mut self, id: Id, ready: bool) {
        let process = &mut self.processes[at(id)];
        if process.state == Life::Dead || process.ready == ready {
            return;
        }
        process.ready = ready;
        if self.settings.trace {
            let word = if ready { "READY" } else { "not READY" };
            println!("{:>8} node {} says {word}", self.now, id + 1);
        }
        if !ready {
            return;
        }
        let newer = |other: Id| {
            self.served[at(other)]
                && self.promoted[at(other)] > self.promoted[at(id)]
                && self.cluster.writable(other)
                && named_by_model(&self.cluster.node(other).rows) == Some(other)
        };
        let timeline = |of: Id| self.cluster.node(of).timeline;
        let later: Vec<Id> = self.cluster.ids().filter(|other| newer(*other)).collect();
        let newest = later.iter().map(|other| self.promoted[at(*other)]).max();
        let served = self.served[at(id)];
        let twins = !served && later.iter().all(|other| timeline(*other) == timeline(id));
        self.served[at(id)] |= self.cluster.writable(id);
        if newest.is_some_and(|promoted| self.started_since(promoted, id)) {
            self.totals.returned += 1;
        } else if newest.is_some() && twins && !self.knows_better(id) {
            self.totals.twins += 1;
        } else if newest.is_some() || self.knows_better(id) {
            self.totals.deposed += 1;
            self.note_first("READY again beside a registered primary that was promoted later");
        }
    }

    /// Whether a standby of this primary was started after that moment.
    fn started_since(&self, promoted: u64, primary: Id) -> bool {
        let mut others = self.cluster.ids().filter(|id| *id != primary);
        others.any(|id| {
            let node = self.cluster.node(id);
            self.started[at(id)] > promoted && node.streaming && node.follows == Some(primary)
        })
    }

    /// Whether the facts of this node show another one that is writable, registered as the primary
    /// and on a newer timeline.
    fn knows_better(&self, id: Id) -> bool {
        let process = &self.processes[at(id)];
        let now = process.clock.now();
        let facts = process.facts.borrow();
        let Some(source) = facts.nodes.first().and_then(|node| node.sources.first()) else {
            return false;
        };
        let own = source.own.good().and_then(|(_, seen)| seen.timeline);
        source.peers.iter().any(|(peer, snapshot)| {
            let Some((began, seen)) = snapshot.good().filter(|_| snapshot.failing().is_none())
            else {
                return false;
            };
            let said = seen.repmgr.as_ref();
            now.since(began).as_millis() < 1700
                && seen.role == Some(Role::Primary)
                && said.is_some_and(|said| named(&said.table) == Some(*peer))
                && seen.timeline > own
        })
    }
}
