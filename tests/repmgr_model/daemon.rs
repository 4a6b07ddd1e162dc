//! A rolecall of the timed simulation: what its keeper and its pollers do, without their runtime.

use std::collections::BTreeMap;

use rolecall::clock::Stamp;
use rolecall::snapshot::SourceFacts;
use rolecall::watched::others;

use crate::answers::{Look, node_id};
use crate::cluster::Id;
use crate::driver::{Driver, Record};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    Running,
    /// SIGSTOP, or the whole host stands still.
    Stopped,
    Dead,
}

pub struct Daemon {
    pub id: Id,
    pub process: Process,
    /// The number of the timer that is set.
    pub wake: u64,
    /// The loop that looks at each server; what belongs to an older one is dropped.
    pub loops: BTreeMap<Id, u32>,
    pub facts: SourceFacts,
    /// The first own look has finished: connections are accepted.
    pub accepts: bool,
    pub ready: bool,
    pub record: Option<Record>,
    pub driver: Box<dyn Driver>,
    /// The same word by the rule's text: rolecall may never say READY where that does not.
    pub shadow: Option<Box<dyn Driver>>,
}

impl Daemon {
    pub fn answers(&self) -> bool {
        self.process == Process::Running && self.accepts
    }

    /// Folds a look in; the peers whose loops begin now.
    pub fn looked(&mut self, now: Stamp, at: Id, began: Stamp, look: Look) -> Vec<Id> {
        let before = self.facts.clone();
        let mut new = Vec::new();
        if at == self.id {
            let answered = look.is_ok();
            self.facts.own.record(began, look);
            if answered {
                new = self.follow_table();
            }
        } else {
            self.facts.peers.entry(node_id(at)).or_default().record(began, look);
        }
        for driver in std::iter::once(&mut self.driver).chain(&mut self.shadow) {
            if self.accepts {
                driver.looked(now, &before, &self.facts);
            } else {
                let me = self.facts.own.good().and_then(|(_, seen)| seen.repmgr.as_ref()?.me);
                let usable = |r: &Record| r.since <= now && now < r.good_until && me.is_some();
                driver.begin(now, self.record.filter(usable), &self.facts);
            }
        }
        self.accepts = true;
        if let Some(record) = self.driver.record(now, &self.facts) {
            self.record = Some(record);
        }
        new
    }

    /// Starts and stops the loops as the keeper does.
    fn follow_table(&mut self) -> Vec<Id> {
        let seen = self.facts.own.good().map(|(_, seen)| seen);
        let rows = seen.map(|seen| others(seen, false)).unwrap_or_default();
        let wanted: Vec<Id> = rows.iter().map(|row| Id::try_from(row.id.0 - 1).unwrap()).collect();
        self.loops.retain(|id, _| *id == self.id || wanted.contains(id));
        self.facts.peers.retain(|id, _| wanted.iter().any(|known| node_id(*known) == *id));
        wanted.into_iter().filter(|id| !self.loops.contains_key(id)).collect()
    }
}

/// A server of HAProxy: what the agent last said, and what the companion check thinks.
#[derive(Debug, Default, Clone, Copy)]
pub struct Server {
    pub says_ready: bool,
    pub up: bool,
    pub failures: u32,
    /// HAProxy cannot reach the daemon.
    pub cut: bool,
}

impl Server {
    pub fn takes_writes(self) -> bool {
        self.says_ready && self.up
    }

    pub fn agent_said(&mut self, ready: bool) {
        // While it is in maintenance a server is not checked; it leaves maintenance up.
        if ready && !self.says_ready {
            (self.up, self.failures) = (true, 0);
        }
        self.says_ready = ready;
    }

    pub fn companion(&mut self, passed: bool, fall: u32) {
        if !self.says_ready {
            return;
        }
        self.failures = if passed { 0 } else { self.failures + 1 };
        self.up = passed || (self.up && self.failures < fall);
    }
}
