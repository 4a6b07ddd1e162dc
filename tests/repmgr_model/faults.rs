//! What happens to a cluster by chance, and an operator who repairs it with care.

use rolecall::look::error::ErrorKind;

use crate::cluster::{Cluster, Event, Host, Id};
use crate::file::File;
use crate::sim::{Due, Sim, at};
use crate::steps::Step;

/// How long a fault lasts; around the times at which something else changes its mind.
const LASTS: [u64; 8] = [200, 900, 2500, 5000, 9000, 13_000, 22_000, 45_000];
const MOST_BETWEEN_FAULTS: u64 = 25_000;
const CARE_EVERY: u64 = 3000;
/// Nobody was READY for so long: the operator builds the cluster anew.
const PATIENCE: u64 = 60_000;

impl Sim {
    /// Faults and repairs from now on.
    pub fn let_things_happen(&mut self) {
        self.after(8000, Due::Fault);
        self.after(CARE_EVERY, Due::Caretaker);
    }

    fn any(&mut self) -> Id {
        Id::try_from(self.chance.between(0, u64::from(self.cluster.size))).unwrap()
    }

    fn server(&mut self) -> Id {
        let servers = self.cluster.size - u8::from(self.cluster.witness.is_some());
        Id::try_from(self.chance.between(0, u64::from(servers))).unwrap()
    }

    /// The node that is READY, where it is one.
    fn the_ready(&self) -> Option<Id> {
        let says = |id: &Id| self.processes.get(at(*id)).is_some_and(|p| p.answers() && p.ready);
        let mut ready = self.cluster.ids().filter(says);
        ready.next().filter(|_| ready.next().is_none())
    }

    fn for_a_while(&mut self, step: Step, lasts: u64, undo: Step) {
        self.step(step);
        self.later(lasts, undo);
    }

    fn cut(&mut self, from: Id, to: Id, lasts: u64) {
        self.for_a_while(
            Step::Event(Event::Cut(from, to)),
            lasts,
            Step::Event(Event::Heal(from, to)),
        );
    }

    fn part(&mut self, mask: u64, lasts: u64) {
        let inside = |id: Id| mask & (1 << id) != 0;
        for from in self.cluster.ids() {
            for to in self.cluster.ids() {
                if inside(from) != inside(to) {
                    self.cut(from, to, lasts);
                }
            }
        }
    }

    pub fn fault(&mut self) {
        let wait = self.chance.between(2000, MOST_BETWEEN_FAULTS);
        self.after(wait, Due::Fault);
        if self.now < self.quiet_until {
            return;
        }
        self.totals.faults += 1;
        let lasts = self.chance.pick(&LASTS).unwrap();
        let lasts = self.chance.between(lasts / 2, lasts * 2);
        // Mostly it hits the one that matters.
        let one = match self.the_ready() {
            Some(ready) if self.chance.one_in(2) => ready,
            _ => self.server(),
        };
        let other = self.any();
        match self.chance.between(0, 31) {
            0 => {
                self.cut(one, other, lasts);
                self.cut(other, one, lasts);
            }
            1 => self.cut(one, other, lasts),
            2 => self.cut(other, one, lasts),
            3 => self.part(1 << one, lasts),
            4 | 5 => {
                let mask = self.chance.next();
                self.part(mask, lasts);
            }
            6 | 7 => {
                let back = Step::Event(Event::Start(one));
                self.for_a_while(Step::Event(Event::Crash(one)), lasts, back);
            }
            8 => {
                let back = Step::Event(Event::HostUp(other));
                self.for_a_while(Step::Event(Event::HostDown(other)), lasts, back);
                let start = self.chance.between(0, 4000);
                self.later(lasts + start, Step::Event(Event::Start(other)));
            }
            9 => {
                let back = Step::Event(Event::Thaw(other));
                self.for_a_while(Step::Event(Event::Freeze(other)), lasts, back);
            }
            10 | 11 => self.slots_full(one, lasts),
            12 => {
                let slow = self.chance.between(300, 1200);
                self.for_a_while(Step::Slow(other, slow), lasts, Step::Slow(other, 0));
            }
            13 => self.for_a_while(Step::StopDaemon(one), lasts, Step::ContinueDaemon(one)),
            14 | 15 => {
                let lasts = self.chance.between(50, 2500);
                self.for_a_while(Step::KillDaemon(one), lasts, Step::StartDaemon(one));
            }
            16 => self.for_a_while(Step::KillDaemon(one), lasts, Step::StartDaemon(one)),
            17 => {
                let proxy = self.any_proxy();
                let cut = |cut| Step::CutHaproxy(proxy, one, cut);
                self.for_a_while(cut(true), lasts, cut(false));
            }
            18 => {
                let back = Step::Event(Event::StartRepmgrd(other));
                self.for_a_while(Step::Event(Event::StopRepmgrd(other)), lasts, back);
            }
            19 => self.step(Step::PauseReplay(one, self.now + lasts)),
            20 => {
                for from in self.cluster.ids().filter(|from| *from != one) {
                    self.cut(from, one, lasts);
                }
            }
            21 => self.switchover(),
            22 => self.move_a_vote(),
            23 => {
                let (proxy, with_state) = (self.any_proxy(), self.chance.one_in(2));
                self.step(Step::ReloadHaproxy(proxy, with_state));
            }
            24 => self.reload(one),
            25 => self.step(Step::Slept(one, lasts)),
            26 => self.step(Step::HangRepmgrd(other, lasts)),
            27 => self.register_by_force(one),
            28 if self.settings.machines_stand_still => {
                self.for_a_while(Step::PauseVm(one), lasts, Step::ResumeVm(one));
            }
            29 => self.unregister(other),
            _ => self.backup(one),
        }
    }

    fn any_proxy(&mut self) -> usize {
        let proxies = u64::try_from(self.proxies.len()).unwrap();
        usize::try_from(self.chance.between(0, proxies)).unwrap()
    }

    /// How long this node's rolecall may hold by its file.
    fn hold(&self, id: Id) -> u64 {
        let file = self.processes[at(id)].file;
        let hold = file.config(id, &self.settings.haproxy, None).nodes[0].sources[0].hold;
        u64::try_from(hold.as_millis()).unwrap()
    }

    /// Another file, with which it is as safe.
    fn reload(&mut self, id: Id) {
        let usual = self.settings.file;
        let file = match self.chance.between(0, 3) {
            0 => usual,
            1 => File { hold: Some(0), ..usual },
            _ => File { settle: Some(20_000), ..usual },
        };
        self.step(Step::Reload(id, file));
    }

    /// What is gone for good is taken out of the tables.
    fn unregister(&mut self, id: Id) {
        let Some(ready) = self.the_ready() else { return };
        if self.cluster.node(id).host == Host::Down {
            self.step(Step::Event(Event::Unregister(id, ready)));
        }
    }

    /// A backup is taken, and later put back; not one that is older than the last failover, which the
    /// manual warns of.
    fn backup(&mut self, id: Id) {
        let Some(ready) = self.the_ready().filter(|ready| *ready != id) else { return };
        match self.backups[at(id)] {
            Some(backup) if crate::cluster::named(&backup.rows) == Some(ready) => {
                self.step(Step::Restore(id));
                let start = self.chance.between(500, 5000);
                self.later(start, Step::Event(Event::Start(id)));
            }
            _ => self.step(Step::Backup(id)),
        }
    }

    /// An operator tells a node that is writable that it is the primary.
    fn register_by_force(&mut self, id: Id) {
        if self.the_ready().is_none() {
            self.step(Step::Event(Event::RegisterPrimary(id)));
        }
    }

    /// The server takes no new connections: rolecall's only, or repmgrd's as well.
    fn slots_full(&mut self, id: Id, lasts: u64) {
        let kind =
            if self.chance.one_in(2) { ErrorKind::SlotsFull } else { ErrorKind::NotAccepting };
        self.for_a_while(Step::Impair(id, kind), lasts, Step::Repair(id));
        if self.chance.one_in(2) {
            for from in self.cluster.ids().filter(|from| *from != id) {
                self.cut(from, id, lasts);
            }
        }
    }

    /// `repmgr standby switchover --siblings-follow`, step by step.
    fn switchover(&mut self) {
        let Some(old) = self.the_ready() else { return };
        let new = self.server();
        let cluster = &self.cluster;
        let follows = cluster.node(new).follows == Some(old) && cluster.node(new).streaming;
        if new == old || !follows || !cluster.answers(new, old) || !cluster.answers(old, new) {
            return;
        }
        self.quiet_until = self.now + 8000;
        self.step(Step::Impair(old, ErrorKind::NotAccepting));
        self.later(100, Step::Event(Event::Crash(old)));
        self.later(100, Step::Repair(old));
        self.later(1000, Step::IfNotWritable(old, Event::PromoteByHand(new)));
        self.later(2400, Step::IfNotWritable(old, Event::Rejoin(old, new)));
        for id in self.cluster.ids().filter(|id| *id != old && *id != new) {
            let wait = self.chance.between(2500, 3500);
            let event = if self.cluster.witness == Some(id) {
                Event::WitnessRegister(id, new)
            } else {
                Event::FollowByHand(id, new)
            };
            self.later(wait, Step::IfNotWritable(old, event));
        }
    }

    /// A second server is promoted by hand behind a cut link, and somebody whom the old primary
    /// still sees is moved to it. No other cut is near: within a hold that stays unsafe.
    fn move_a_vote(&mut self) {
        let Some(old) = self.the_ready() else { return };
        let (new, voter) = (self.server(), self.any());
        if new == old || voter == old || voter == new {
            return;
        }
        let hold = self.hold(old);
        self.quiet_until = self.now + 2 * hold + 12_000;
        let lasts = hold + 20_000;
        self.cut(old, new, lasts);
        self.cut(new, old, lasts);
        let begins = hold + 3000;
        self.later(begins, Step::Event(Event::PromoteByHand(new)));
        let wait = begins + self.chance.between(900, 3000);
        let event = if self.cluster.witness == Some(voter) {
            Event::WitnessRegister(voter, new)
        } else {
            Event::FollowByHand(voter, new)
        };
        self.later(wait, Step::IfLatest(new, event));
    }

    /// Brings the cluster back to health, with commands that go to the READY node only.
    pub fn caretaker(&mut self) {
        self.after(CARE_EVERY, Due::Caretaker);
        if self.now - self.nobody_since > PATIENCE {
            self.step(Step::BuildAnew);
            return;
        }
        let Some(ready) = self.the_ready().filter(|_| self.now >= self.quiet_until) else { return };
        for id in self.cluster.ids().filter(|id| *id != ready) {
            let node = *self.cluster.node(id);
            if node.host != Host::Up || !self.chance.one_in(4) {
                continue;
            }
            let attached = self.cluster.root(id) == ready;
            if self.cluster.witness == Some(id) {
                if node.upstream != Some(ready) {
                    self.step(Step::Event(Event::WitnessRegister(id, ready)));
                }
            } else if self.cluster.writable(id) {
                self.step(Step::Event(Event::Crash(id)));
                self.step(Step::Event(Event::Rejoin(id, ready)));
            } else if !node.postgres && !node.in_recovery {
                self.step(Step::Event(Event::Rejoin(id, ready)));
            } else if node.postgres && (!attached || self.chance.one_in(20)) {
                self.step(Step::Event(Event::FollowByHand(id, ready)));
            } else if node.postgres && self.chance.one_in(10) {
                let to = self.server();
                if self.cluster.root(to) == ready {
                    self.step(Step::Event(Event::FollowByHand(id, to)));
                }
            }
        }
    }

    pub fn build_anew(&mut self) {
        self.nobody_since = self.now;
        self.promoted = [0; crate::cluster::MOST];
        self.served = [false; crate::cluster::MOST];
        let healthy = Cluster::healthy(self.cluster.size, self.cluster.witness.is_some());
        let hosts = self.cluster.nodes.map(|node| node.host);
        self.cluster = healthy;
        for (node, host) in self.cluster.nodes.iter_mut().zip(hosts) {
            node.host = host;
            node.postgres &= host != Host::Down;
        }
    }
}
