//! What is done to the world from outside, and what that means for those who run in it.

use rolecall::look::error::ErrorKind;

use crate::cluster::{Event, Host, Id};
use crate::file::File;
use crate::process::Life;
use crate::proxy::{Asked, Check};
use crate::sim::{Due, Sim, at};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    Event(Event),
    /// Happens only while the node takes no writes.
    IfNotWritable(Id, Event),
    /// Happens only where the node is the one that was promoted last.
    IfLatest(Id, Event),
    /// The server answers rolecall's looks with this.
    Impair(Id, ErrorKind),
    Repair(Id),
    /// The server takes so long for an answer.
    Slow(Id, u64),
    /// Replay stands still until then.
    PauseReplay(Id, u64),
    StopDaemon(Id),
    ContinueDaemon(Id),
    KillDaemon(Id),
    StartDaemon(Id),
    /// rolecall is reloaded with another file.
    Reload(Id, File),
    /// A virtual machine stands still with its clocks, and goes on.
    PauseVm(Id),
    ResumeVm(Id),
    /// The host slept: its clock has gone on, its timers have not.
    Slept(Id, u64),
    /// Between this HAProxy and the host.
    CutHaproxy(usize, Id, bool),
    /// With a state file or without.
    ReloadHaproxy(usize, bool),
    /// A backup of the node is taken, and put back in its place.
    Backup(Id),
    Restore(Id),
    /// On this host the name that a node streams from leads to another node.
    Misled(Id, Id, Id),
    /// A repmgrd hangs for so long.
    HangRepmgrd(Id, u64),
    BuildAnew,
}

/// A check that is answered at once takes so long at most; one in so many takes longer.
const QUICK: u64 = 6;
const LATE: u64 = 12;
/// How often a process that stands still is looked at for a check that waits for it.
const AGAIN: u64 = 20;

impl Sim {
    pub fn step(&mut self, step: Step) {
        self.script.push((self.now, step));
        if self.settings.trace {
            println!("{:>8} {step:?}", self.now);
        }
        match step {
            Step::Event(event) => self.event(event),
            Step::IfNotWritable(id, event) if !self.cluster.writable(id) => self.event(event),
            Step::IfNotWritable(..) => {}
            Step::IfLatest(id, event) => {
                if self.promoted.iter().all(|when| *when <= self.promoted[at(id)]) {
                    self.event(event);
                }
            }
            Step::Impair(id, kind) => self.impaired[at(id)] = Some(kind),
            Step::Repair(id) => self.impaired[at(id)] = None,
            Step::Slow(id, most) => self.slow[at(id)] = most,
            Step::PauseReplay(id, until) => self.replay_paused[at(id)] = until,
            Step::StopDaemon(id) => self.stop_process(id),
            Step::ContinueDaemon(id) => self.continue_process(id, None),
            Step::KillDaemon(id) => self.kill_process(id),
            Step::StartDaemon(id) => self.start_process(id),
            Step::Reload(id, file) => self.reload_process(id, file),
            Step::PauseVm(id) => self.pause_vm(id),
            Step::ResumeVm(id) => self.resume_vm(id),
            Step::Slept(id, ahead) => {
                if let Some(process) = self.processes.get(at(id)) {
                    process.clock.jump(crate::sim::ms(ahead));
                }
            }
            Step::CutHaproxy(proxy, id, cut) => self.proxies[proxy].servers[at(id)].cut = cut,
            Step::ReloadHaproxy(proxy, with_state) => {
                self.proxies[proxy].reload(self.now, with_state, &self.settings.haproxy);
                self.start_worker(proxy);
            }
            Step::Backup(id) => self.backups[at(id)] = Some(*self.cluster.node(id)),
            Step::Restore(id) => self.restore(id),
            Step::Misled(from, to, id) => self.misled.push((from, to, id)),
            Step::HangRepmgrd(id, lasts) => self.repmgrd[at(id)].hang(self.now + lasts),
            Step::BuildAnew => self.build_anew(),
        }
    }

    /// Lets an event happen in the cluster, with what it means for the daemons and for repmgrd.
    pub fn event(&mut self, event: Event) {
        if !self.cluster.apply(event) {
            return;
        }
        if self.settings.trace
            && !matches!(
                event,
                Event::Replicate(_) | Event::Sync(_) | Event::Cut(..) | Event::Heal(..)
            )
        {
            println!("{:>8} happened: {event:?}", self.now);
        }
        if let Event::Elect(id)
        | Event::PromoteByHand(id)
        | Event::PgPromote(id)
        | Event::Switch(id) = event
        {
            (self.promoted[at(id)], self.served[at(id)]) = (self.now, false);
        }
        match event {
            Event::Elect(id) | Event::PromoteByHand(id) => {
                self.totals.promotions += 1;
                let upstream = self.cluster.row(id, id).and_then(|row| row.upstream);
                self.repmgrd[at(id)].restart();
                let wait = self.rng.between(800, 1100);
                self.after(wait, Due::Happens(Event::WriteRow(id)));
                if self.settings.automatic {
                    let told = self.rng.between(0, 300);
                    self.after(wait + told, Due::Notify(id, upstream));
                }
            }
            Event::Crash(id) => {
                self.repmgrd[at(id)].forget();
                self.end_sessions(id);
            }
            Event::Start(id) | Event::Rejoin(id, _) => {
                self.repmgrd[at(id)].forget();
                self.started[at(id)] = self.now;
            }
            Event::Follow(id, _) | Event::FollowByHand(id, _) => self.repmgrd[at(id)].follows(),
            Event::WitnessFollow(id, _) | Event::WitnessRegister(id, _) => {
                self.repmgrd[at(id)].restart();
            }
            Event::StopRepmgrd(id) | Event::StartRepmgrd(id) => self.repmgrd[at(id)].restart(),
            Event::HostDown(id) => {
                self.repmgrd[at(id)].restart();
                self.repmgrd[at(id)].forget();
                self.end_sessions(id);
                self.kill_process(id);
                self.forget_records(id);
            }
            Event::HostUp(id) => self.start_process(id),
            Event::Freeze(id) => self.stop_process(id),
            Event::Thaw(id) => self.continue_process(id, None),
            _ => {}
        }
    }

    fn end_sessions(&mut self, id: Id) {
        for proxy in &mut self.proxies {
            proxy.left.retain(|(of, _)| *of != id);
        }
    }

    fn pause_vm(&mut self, id: Id) {
        if self.cluster.apply(Event::Freeze(id)) {
            self.repmgrd[at(id)].paused = Some(self.now);
            self.stop_process(id);
        }
    }

    fn resume_vm(&mut self, id: Id) {
        let Some(since) = self.repmgrd[at(id)].paused.take() else { return };
        if self.cluster.apply(Event::Thaw(id)) {
            let lasted = self.now - since;
            self.repmgrd[at(id)].stood_still(lasted);
            self.continue_process(id, Some(lasted));
        }
    }

    /// The host is rebuilt from what was saved of it; its server was stopped for that.
    fn restore(&mut self, id: Id) {
        let Some(backup) = self.backups[at(id)] else { return };
        self.event(Event::Crash(id));
        let node = self.cluster.node_mut(id);
        let host = node.host;
        *node = backup;
        (node.host, node.follows, node.streaming) = (host, None, false);
        node.postgres = false;
        self.repmgrd[at(id)].restart();
        self.repmgrd[at(id)].forget();
    }

    /// A worker of this HAProxy begins its checks.
    pub fn start_worker(&mut self, proxy: usize) {
        let worker = self.proxies[proxy].worker;
        let witness = self.cluster.witness;
        for server in self.cluster.ids().filter(|id| witness != Some(*id)) {
            for check in [Check::Agent, Check::Companion] {
                let phase = self.rng.between(0, self.settings.haproxy.between(check));
                self.after(phase, Due::Check(Asked { proxy, worker, server, check, began: 0 }));
            }
        }
    }

    pub fn check(&mut self, asked: Asked) {
        let conf = self.settings.haproxy;
        let proxy = &self.proxies[asked.proxy];
        if proxy.worker != asked.worker {
            return;
        }
        let server = &proxy.servers[at(asked.server)];
        if asked.check == Check::Companion && !server.ready {
            // It rests in maintenance.
            return self.after(conf.between(asked.check), Due::Check(asked));
        }
        let asked = Asked { began: self.now, ..asked };
        if server.cut || self.cluster.node(asked.server).host != Host::Up {
            return self.after(conf.unconnected(asked.check), Due::Checked(asked, None));
        }
        let late = self.rng.one_in(LATE);
        let there = if late && self.rng.one_in(2) {
            self.rng.between(0, conf.silent(asked.check))
        } else {
            1
        };
        let back = if late {
            self.rng.between(0, conf.silent(asked.check))
        } else {
            self.rng.between(0, QUICK)
        };
        self.after(there, Due::Answered(asked, back));
    }

    /// The check has reached the host; the answer takes so long back.
    pub fn answered(&mut self, asked: Asked, back: u64) {
        let conf = self.settings.haproxy;
        let cut_at = asked.began + conf.silent(asked.check);
        let up = self.cluster.node(asked.server).host == Host::Up;
        let (state, accepts) = {
            let process = &self.processes[at(asked.server)];
            (process.state, process.accepts)
        };
        match state {
            Life::Dead if up && !self.settings.socket_held => {
                self.after(back.min(QUICK), Due::Checked(asked, None));
            }
            Life::Running if up && accepts => {
                self.compare(asked.server);
                let mutant = self.settings.mutant.is_some();
                let process = &mut self.processes[at(asked.server)];
                let ready = if mutant { process.judge_says() } else { process.says_to_haproxy() };
                let arrives = self.now + back;
                let heard = (arrives <= cut_at).then_some(ready);
                self.after(arrives.min(cut_at) - self.now, Due::Checked(asked, heard));
            }
            // It waits, and may be answered yet.
            _ if self.now + AGAIN < cut_at => self.after(AGAIN, Due::Answered(asked, back)),
            _ => self.after(cut_at.saturating_sub(self.now), Due::Checked(asked, None)),
        }
    }

    pub fn checked(&mut self, asked: Asked, ready: Option<bool>) {
        let conf = self.settings.haproxy;
        let on_maint = self.settings.mutant == Some(crate::reference::Mutant::CompanionOnMaint);
        let proxy = &mut self.proxies[asked.proxy];
        if proxy.worker != asked.worker {
            return;
        }
        let server = &mut proxy.servers[at(asked.server)];
        let before = server.serves(&conf);
        match (asked.check, ready) {
            (Check::Agent, Some(ready)) => server.agent_said(ready, &conf),
            (Check::Agent, None) => {}
            (Check::Companion, said) => {
                server.companion(said.is_some_and(|ready| ready || on_maint), &conf);
            }
        }
        let after = server.serves(&conf);
        if self.settings.trace && before != after {
            let word = if after { "up" } else { "out" };
            println!(
                "{:>8} HAProxy {}: server {} {word}",
                self.now,
                asked.proxy + 1,
                asked.server + 1
            );
        }
        self.after(conf.between(asked.check), Due::Check(asked));
    }
}
