//! What the daemons of the simulation do over time: their looks, their word, their end and beginning.

use rolecall::observation::ErrorKind;

use crate::answers::failed;
use crate::cluster::{Host, Id};
use crate::daemon::{Daemon, Process};
use crate::sim::{Due, INTERVAL, Loop, Sim, TIMEOUT, at, stamp};

impl Sim {
    /// What a daemon does itself waits while it is stopped.
    pub fn of_daemon(&mut self, id: Id, due: Due) {
        if self.daemons[at(id)].process == Process::Stopped {
            self.waiting.push((id, due));
            return;
        }
        match due {
            Due::Poll(lane) if self.is_current(lane) => {
                let delay = self.delay(lane.target);
                self.after(delay, Due::Serve(lane, self.now));
            }
            Due::Arrive(lane, began, look) if self.is_current(lane) => {
                let next = (began + INTERVAL).saturating_sub(self.now);
                self.after(next, Due::Poll(lane));
                let began = stamp(began);
                let new = self.daemons[at(id)].looked(stamp(self.now), lane.target, began, look);
                for target in new {
                    self.start_loop(id, target);
                }
                self.judge(id);
            }
            Due::Wake(_, number) if self.daemons[at(id)].wake == number => {
                self.judge(id);
            }
            _ => {}
        }
    }

    fn is_current(&self, lane: Loop) -> bool {
        let daemon = &self.daemons[at(lane.daemon)];
        daemon.process == Process::Running && daemon.loops.get(&lane.target) == Some(&lane.number)
    }

    /// Half of the time that an answer takes.
    fn delay(&mut self, target: Id) -> u64 {
        let most = self.slow[at(target)];
        let usual = self.rng.between(1, 2 + self.settings.slow);
        if most > 0 {
            return most / 2;
        }
        if self.settings.automatic && self.rng.one_in(60) {
            usual + self.rng.between(20, 400)
        } else {
            usual
        }
    }

    /// The server looks at itself, halfway between question and answer.
    pub fn serve(&mut self, lane: Loop, began: u64) {
        let Loop { daemon, target, .. } = lane;
        let half = self.now - began;
        let mut look = self.cluster.look(daemon, target, self.seen(target));
        if let (Ok(_), Some(kind)) = (&look, self.impaired[at(target)]) {
            look = Err(failed(kind));
        }
        let timed_out =
            2 * half > TIMEOUT || matches!(&look, Err(error) if error.kind == ErrorKind::Timeout);
        if timed_out {
            look = Err(failed(ErrorKind::Timeout));
        }
        let wait = if timed_out { (began + TIMEOUT).saturating_sub(self.now) } else { half };
        self.after(wait, Due::Arrive(lane, began, look));
    }

    pub fn start_loop(&mut self, daemon: Id, target: Id) {
        self.loops += 1;
        let lane = Loop { daemon, target, number: self.loops };
        self.daemons[at(daemon)].loops.insert(target, self.loops);
        self.after(0, Due::Poll(lane));
    }

    /// Asks for the word, as the keeper does after every change and every moment that is due.
    pub fn judge(&mut self, id: Id) {
        let now = stamp(self.now);
        let daemon = &mut self.daemons[at(id)];
        if !daemon.answers() {
            return;
        }
        let word = daemon.driver.word(now, &daemon.facts);
        if let Some(shadow) = &mut daemon.shadow {
            let allowed = shadow.word(now, &daemon.facts).ready;
            assert!(allowed || !word.ready, "READY against the text at {} ms", self.now);
        }
        if self.settings.trace && daemon.ready != word.ready {
            println!(
                "{:>8} node {} says {}",
                self.now,
                id + 1,
                if word.ready { "READY" } else { "MAINT" }
            );
        }
        daemon.ready = word.ready;
        // Whatever was set before counts no more, as the keeper's timer is one.
        daemon.wake = self.sequence + 1;
        if let Some(until) = word.until.filter(|until| *until >= now) {
            let wait = u64::try_from(until.since(now).as_millis()).unwrap() + 1;
            self.after(wait, Due::Wake(id, self.sequence + 1));
        }
    }

    pub fn said_to_haproxy(&mut self, id: Id) -> Option<bool> {
        let cut = self.servers[at(id)].cut || self.cluster.node(id).host != Host::Up;
        if cut || !self.daemons[at(id)].answers() {
            return None;
        }
        self.judge(id);
        Some(self.daemons[at(id)].ready)
    }

    pub fn start_daemon(&mut self, id: Id) {
        let fresh = self.process(id);
        let daemon = &mut self.daemons[at(id)];
        if daemon.process != Process::Dead || self.cluster.node(id).host != Host::Up {
            return;
        }
        let record = daemon.record;
        *daemon = Daemon { process: Process::Running, record, ..fresh };
        self.start_loop(id, id);
    }

    pub fn kill_daemon(&mut self, id: Id) {
        let daemon = &mut self.daemons[at(id)];
        daemon.process = Process::Dead;
        daemon.wake = 0;
        daemon.loops.clear();
        (daemon.ready, daemon.accepts) = (false, false);
        self.waiting.retain(|(of, _)| *of != id);
    }

    pub fn stop_daemon(&mut self, id: Id) {
        let daemon = &mut self.daemons[at(id)];
        if daemon.process == Process::Running {
            daemon.process = Process::Stopped;
        }
    }

    pub fn continue_daemon(&mut self, id: Id) {
        let daemon = &mut self.daemons[at(id)];
        if daemon.process != Process::Stopped || self.cluster.node(id).host != Host::Up {
            return;
        }
        daemon.process = Process::Running;
        self.judge(id);
        for (of, due) in std::mem::take(&mut self.waiting) {
            if of == id {
                // A moment for each, so that HAProxy may ask between them.
                self.after(1, due);
            } else {
                self.waiting.push((of, due));
            }
        }
    }
}
