//! What repmgrd and PostgreSQL's replication do by themselves over time.

use std::time::Duration;

use crate::cluster::{Event, Host, Id};
use crate::sim::{Sim, at};

/// repmgrd elects when its reconnection attempts have failed; after that it only looks for a new
/// primary to follow (its degraded monitoring).
const ELECTION: u64 = 5000;

impl Sim {
    /// `get_upstream_last_seen()`: whole seconds.
    pub fn seen(&self, id: Id) -> Option<Duration> {
        let (to, when) = self.contact[at(id)]?;
        let same = self.cluster.node(id).upstream == Some(to);
        same.then(|| Duration::from_secs((self.now - when) / 1000))
    }

    /// A round of repmgrd's monitoring.
    pub fn monitor(&mut self, id: Id) {
        let node = self.cluster.node(id);
        if node.host != Host::Up || !node.repmgrd {
            return;
        }
        let (upstream, witness) = (node.upstream, self.cluster.witness == Some(id));
        if self.cluster.has_contact(id)
            && let Some(upstream) = upstream
        {
            self.contact[at(id)] = Some((upstream, self.now));
            self.reached[at(id)] = self.contact[at(id)];
            if witness && self.rng.one_in(15) {
                self.event(Event::Sync(id));
            }
        }
        if !self.settings.automatic {
            return;
        }
        self.event(Event::Failure(id));
        self.event(Event::Recovery(id));
        let lost = match self.reached[at(id)] {
            Some((_, when)) => self.now - when,
            // A repmgrd that is started without its upstream: the witness's looks for a primary.
            None if witness && !self.cluster.has_contact(id) => self.settings.detection,
            None => return,
        };
        if lost < self.settings.detection {
            return;
        }
        let to = self.rng.between(0, u64::from(self.cluster.size));
        let to = Id::try_from(to).unwrap();
        if witness {
            self.event(Event::WitnessFollow(id, to));
        } else if lost < self.settings.detection + ELECTION && self.rng.one_in(2) {
            self.event(Event::Elect(id));
        } else if self.cluster.writable(to) {
            self.event(Event::Follow(id, to));
        }
    }

    pub fn wal(&mut self, id: Id) {
        if self.now >= self.replay_paused[at(id)] && self.cluster.node(id).streaming {
            self.event(Event::Replicate(id));
        }
        if !self.settings.automatic {
            return;
        }
        if self.rng.one_in(60) {
            self.event(Event::Drop(id));
        }
        if self.rng.one_in(3) {
            self.event(Event::Attach(id));
        }
    }
}
