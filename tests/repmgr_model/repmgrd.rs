//! What repmgrd and PostgreSQL's replication do by themselves over time, as repmgrd-physical.c of
//! repmgr 5.3.3 has it.
//!
//! `try_primary_reconnect` sleeps between its attempts only, so a standby's patience is one interval
//! less than attempts times interval; and each second of that sleep it looks for a notification, and
//! follows whom it names at once. Nothing in the normal monitoring forgets a notification: it stays in
//! the server's shared memory until repmgrd begins to monitor anew or the server is restarted. The
//! witness waits without looking at it (`try_reconnect`), and acts on it then, however old it is.

use std::time::Duration;

use crate::cluster::{Event, Host, Id, Kind};
use crate::sim::{Sim, at};

/// `primary_notification_timeout`
const NOTIFICATION_TIMEOUT: u64 = 60_000;
const SECOND: u64 = 1000;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Watch {
    #[default]
    Up,
    /// Attempts that failed, and seconds slept since the last of them.
    Trying {
        failed: u64,
        slept: u64,
    },
    /// For the notification of whoever was elected.
    Waiting {
        until: u64,
    },
    Degraded,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Repmgrd {
    watch: Watch,
    /// When it last reached its upstream, and which that was; in the shared memory of its server, as
    /// the next field: `get_upstream_last_seen()`, `get_new_primary()`.
    contact: Option<(Id, u64)>,
    pub told: Option<Id>,
    hangs_until: u64,
    /// Since when its whole machine stands still.
    pub paused: Option<u64>,
}

impl Repmgrd {
    /// It begins to monitor anew.
    pub fn restart(&mut self) {
        (self.watch, self.told) = (Watch::Up, None);
    }

    /// Its server was restarted, and its shared memory with it.
    pub fn forget(&mut self) {
        (self.contact, self.told) = (None, None);
    }

    /// It follows another server, which takes a restart of its own.
    pub fn follows(&mut self) {
        self.restart();
        self.forget();
    }

    pub fn hang(&mut self, until: u64) {
        self.hangs_until = until;
    }

    /// The machine stood still for so long, with its clock.
    pub fn stood_still(&mut self, lasted: u64) {
        if let Some((_, when)) = &mut self.contact {
            *when += lasted;
        }
    }
}

impl Sim {
    /// `get_upstream_last_seen()`: whole seconds.
    pub fn seen(&self, id: Id) -> Option<Duration> {
        let (to, when) = self.repmgrd[at(id)].contact?;
        let same = self.cluster.node(id).upstream == Some(to);
        same.then(|| Duration::from_secs((self.now - when) / SECOND))
    }

    /// What a repmgrd does at this moment, and how long it waits then.
    pub fn monitor(&mut self, id: Id) -> u64 {
        let node = self.cluster.node(id);
        if node.host != Host::Up || !node.repmgrd || self.now < self.repmgrd[at(id)].hangs_until {
            return SECOND;
        }
        if self.settings.automatic {
            self.event(Event::Failure(id));
            self.event(Event::Recovery(id));
        }
        let Some(upstream) = self.cluster.node(id).upstream else { return self.settings.monitor };
        let witness = self.cluster.witness == Some(id);
        let reached = self.cluster.has_contact(id);
        match self.repmgrd[at(id)].watch {
            Watch::Up | Watch::Degraded if reached => {
                self.reached(id, upstream);
                if witness && self.rng.one_in(8) {
                    self.event(Event::Sync(id));
                }
                self.settings.monitor
            }
            Watch::Up => self.tries(id, 1),
            Watch::Trying { failed, slept } => self.trying(id, failed, slept),
            Watch::Waiting { until } => self.waiting(id, upstream, until),
            Watch::Degraded => {
                if self.settings.automatic {
                    self.look_for_a_primary(id);
                }
                self.settings.monitor
            }
        }
    }

    fn watch(&mut self, id: Id, watch: Watch) -> u64 {
        self.repmgrd[at(id)].watch = watch;
        SECOND
    }

    fn reached(&mut self, id: Id, upstream: Id) {
        let node = self.cluster.node(id);
        if node.postgres {
            self.repmgrd[at(id)].contact = Some((upstream, self.now));
        }
        self.repmgrd[at(id)].watch = Watch::Up;
    }

    /// So many attempts have failed.
    fn tries(&mut self, id: Id, failed: u64) -> u64 {
        if failed >= self.settings.attempts {
            return self.lost(id);
        }
        self.trying(id, failed, 0)
    }

    fn trying(&mut self, id: Id, failed: u64, slept: u64) -> u64 {
        if slept * SECOND >= self.settings.reconnect {
            if let Some(upstream) =
                self.cluster.node(id).upstream.filter(|_| self.cluster.has_contact(id))
            {
                self.reached(id, upstream);
                return self.settings.monitor;
            }
            return self.tries(id, failed + 1);
        }
        if let Some(to) = self.repmgrd[at(id)].told.filter(|_| self.looks_at_notices(id)) {
            // Whatever comes of it, it begins to monitor anew.
            self.event(Event::Follow(id, to));
            self.repmgrd[at(id)].restart();
            self.watch(id, Watch::Degraded);
            return SECOND;
        }
        self.watch(id, Watch::Trying { failed, slept: slept + 1 })
    }

    /// A standby of the primary does while it waits; the witness and a cascaded standby do not.
    fn looks_at_notices(&self, id: Id) -> bool {
        let upstream = self.cluster.node(id).upstream;
        let primary = upstream.and_then(|up| self.cluster.row(id, up));
        self.cluster.witness != Some(id) && primary.is_some_and(|row| row.kind == Kind::Primary)
    }

    /// Its patience is over.
    fn lost(&mut self, id: Id) -> u64 {
        let waits = Watch::Waiting { until: self.now + NOTIFICATION_TIMEOUT };
        if !self.settings.automatic {
            // Elections are the script's; a notice is acted on all the same.
            return self.watch(id, waits);
        }
        if self.cluster.witness == Some(id) {
            self.watch(id, waits);
            return self.monitor(id);
        }
        if !self.looks_at_notices(id) {
            return self.watch(id, Watch::Degraded);
        }
        if !self.cluster.can_elect(id) {
            self.look_for_a_primary(id);
            return self.watch(id, Watch::Degraded);
        }
        // The one with most WAL, which is left open; mostly the first of those that are alike.
        let visible: Vec<Id> = self.cluster.visible_siblings(id).chain([id]).collect();
        let first = visible.iter().min().copied();
        let chosen = if self.rng.one_in(3) { self.rng.pick(&visible) } else { first };
        if chosen == Some(id) {
            self.event(Event::Elect(id));
            return SECOND;
        }
        self.watch(id, waits)
    }

    fn waiting(&mut self, id: Id, upstream: Id, until: u64) -> u64 {
        let Some(to) = self.repmgrd[at(id)].told else {
            let over = self.now >= until;
            return if over { self.watch(id, Watch::Degraded) } else { SECOND };
        };
        if to == upstream {
            self.repmgrd[at(id)].restart();
            return SECOND;
        }
        let follow =
            if self.cluster.witness == Some(id) { Event::WitnessFollow } else { Event::Follow };
        self.event(follow(id, to));
        if self.cluster.node(id).upstream == Some(to) {
            return SECOND;
        }
        // It could not, and has not forgotten whom.
        self.watch(id, Watch::Degraded)
    }

    fn look_for_a_primary(&mut self, id: Id) {
        let found = self
            .cluster
            .ids()
            .find(|to| self.cluster.answers(id, *to) && self.cluster.writable(*to));
        let Some(to) = found else { return };
        let witness = self.cluster.witness == Some(id);
        // It says that it follows, and hangs before it has copied the table.
        if witness && self.rng.one_in(4) {
            let lasts = self.rng.between(2000, 40_000);
            self.repmgrd[at(id)].hang(self.now + lasts);
            return;
        }
        self.event(if witness { Event::WitnessFollow(id, to) } else { Event::Follow(id, to) });
    }

    /// The promoted node tells those who followed the same upstream, as far as it reaches them.
    pub fn notify_followers(&mut self, id: Id, upstream: Option<Id>) {
        if !self.cluster.writable(id) {
            return;
        }
        for sibling in self.cluster.siblings_of(id, upstream) {
            if self.cluster.answers(id, sibling) {
                self.repmgrd[at(sibling)].told = Some(id);
            }
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
