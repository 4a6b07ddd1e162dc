//! A host of the model: its server, its keeper, and the rolecall on it.

use rolecall::look::auto_failover::{Known, NodeState};
use rolecall::look::snapshot::Snapshot;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Down,
    Recovery,
    Promoting,
    Writable,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact that changes by itself")]
pub struct Host {
    pub name: String,
    pub up: bool,
    pub keeper: bool,
    /// From the monitors and the other hosts.
    pub cut: bool,
    pub server: Server,
    pub timeline: u32,
    /// What its data directory would be if it were started as it lies.
    pub was_primary: bool,
    pub state: NodeState,
    pub registered: bool,
    /// Which monitor its rolecall asks.
    pub asks: usize,
    pub known: Known,
    pub snapshot: Snapshot,
    pub skipped: bool,
}

impl Host {
    /// What its keeper does for this goal; what it does not know how to reach it does not.
    pub fn obey(&mut self, goal: NodeState, newest: u32) {
        use NodeState::{
            Catchingup, DemoteTimeout, Demoted, Draining, PreparePromotion, Primary, ReportLsn,
            Secondary, StopReplication, WaitPrimary,
        };
        match (self.state, goal) {
            (_, Draining | DemoteTimeout | Demoted) => {
                self.server = Server::Down;
                self.state = if goal == Draining { DemoteTimeout } else { goal };
            }
            (Demoted | Catchingup, Catchingup) => {
                (self.server, self.was_primary, self.timeline) = (Server::Recovery, false, newest);
                self.state = goal;
            }
            (Catchingup | ReportLsn | Secondary, Secondary) => {
                self.timeline = newest;
                (self.server, self.was_primary) = (Server::Recovery, false);
                self.state = goal;
            }
            (Secondary | ReportLsn, ReportLsn) | (PreparePromotion, StopReplication) => {
                self.state = goal;
            }
            (ReportLsn, PreparePromotion) => {
                (self.server, self.was_primary) = (Server::Promoting, true);
                self.timeline = newest + 1;
                self.state = goal;
            }
            (StopReplication | WaitPrimary | Primary, WaitPrimary | Primary) => {
                self.server = Server::Writable;
                self.state = goal;
            }
            _ => {}
        }
    }
}
