//! The world of the model: monitors, hosts, and what may befall them, in steps.

use std::sync::Arc;

use rolecall::look::auto_failover::{Known, Monitored, NodeState, Row};
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::role::{Role, Timeline};
use rolecall::look::snapshot::{Snapshot, SourceFacts};
use rolecall::look::stamp::Stamp;
use rolecall::verdict::decide::decide;
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::State;

use super::super::{MOST_HOLD, SYSTEM, policy};
use super::host::{Host, Server};
use super::{STEP, Without};

/// The monitor's times, in steps: a node is unhealthy after 20 s, an old primary is given up after 30 s, a server is
/// checked every 5 s.
const UNHEALTHY: u64 = 40;
const DEMOTE: u64 = 60;
const CHECK: u64 = 10;

/// Three nodes at first, and a host that a node may be made on later.
const HOSTS: usize = 4;

#[derive(Clone)]
struct Entry {
    id: i64,
    host: usize,
    name: String,
    reported: NodeState,
    goal: NodeState,
    goal_at: u64,
    reported_at: u64,
    running: bool,
    healthy: bool,
    checked_at: u64,
    timeline: u32,
}

#[derive(Clone)]
struct Monitor {
    up: bool,
    rows: Vec<Entry>,
}

pub struct World {
    now: u64,
    chance: u64,
    hosts: Vec<Host>,
    monitors: Vec<Monitor>,
    backup: Option<Vec<Entry>>,
    next_id: i64,
    pub story: Vec<String>,
    without: Without,
}

impl World {
    pub fn new(seed: u64, without: Without) -> Self {
        let host = |n: usize| Host {
            name: format!("n{n}"),
            up: true,
            keeper: true,
            cut: false,
            server: if n == 0 { Server::Writable } else { Server::Recovery },
            timeline: 1,
            was_primary: n == 0,
            state: if n == 0 { NodeState::Primary } else { NodeState::Secondary },
            registered: n < 3,
            asks: 0,
            known: Known::default(),
            snapshot: Snapshot::default(),
            skipped: false,
        };
        let hosts: Vec<Host> = (0..HOSTS).map(host).collect();
        let mut world = Self {
            now: 0,
            chance: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            hosts,
            monitors: Vec::new(),
            backup: None,
            next_id: 1,
            story: Vec::new(),
            without,
        };
        let rows = (0..3).map(|n| world.entry(n)).collect();
        world.monitors.push(Monitor { up: true, rows });
        world
    }

    fn entry(&mut self, n: usize) -> Entry {
        let host = &self.hosts[n];
        let entry = Entry {
            id: self.next_id,
            host: n,
            name: host.name.clone(),
            reported: host.state,
            goal: host.state,
            goal_at: self.now,
            reported_at: self.now,
            running: host.server != Server::Down,
            healthy: true,
            checked_at: self.now,
            timeline: host.timeline,
        };
        self.next_id += 1;
        entry
    }

    /// A number below this one.
    fn below(&mut self, most: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % most
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn some_host(&mut self) -> usize {
        usize::try_from(self.below(HOSTS as u64)).unwrap()
    }

    fn current(&mut self) -> &mut Monitor {
        self.monitors.last_mut().unwrap()
    }

    pub fn tell(&mut self, what: &str) {
        self.story.push(format!("{} s: {what}", self.now / 2));
    }

    /// What may befall them.
    fn fate(&mut self) {
        if !self.one_in(25) {
            return;
        }
        let n = self.some_host();
        match self.below(12) {
            0 | 1 => {
                self.hosts[n].cut = !self.hosts[n].cut;
                self.tell(&format!("cut {n}: {}", self.hosts[n].cut));
            }
            2 => {
                self.hosts[n].keeper = !self.hosts[n].keeper && self.hosts[n].up;
                self.tell(&format!("keeper {n}: {}", self.hosts[n].keeper));
            }
            3 => {
                let host = &mut self.hosts[n];
                (host.up, host.keeper, host.server) = (!host.up, !host.up, Server::Down);
                self.tell(&format!("host {n}: {}", self.hosts[n].up));
            }
            4 => {
                let host = &mut self.hosts[n];
                if host.up && !host.keeper && host.server == Server::Down {
                    host.server =
                        if host.was_primary { Server::Writable } else { Server::Recovery };
                    self.tell(&format!("server {n} started by hand"));
                }
            }
            5 => {
                let up = !self.current().up;
                self.current().up = up;
                self.tell(&format!("monitor: {up}"));
            }
            6 | 7 => self.switch_over(),
            8 => self.drop_by_force(n),
            9 => self.replace_monitor(),
            10 => {
                let old = self.backup.replace(self.monitors.last().unwrap().rows.clone());
                if let Some(mut rows) = old.filter(|_| self.one_in(2)) {
                    rows.retain(|row| self.hosts[row.host].registered);
                    self.current().rows = rows;
                    self.tell("monitor restored");
                }
            }
            _ => {
                let last = self.monitors.len() - 1;
                self.hosts[n].asks = last;
            }
        }
    }

    fn switch_over(&mut self) {
        let now = self.now;
        let monitor = self.current();
        let settled = |e: &&mut Entry, state| e.reported == state && e.goal == state;
        if !monitor.up || !monitor.rows.iter_mut().any(|e| settled(&e, NodeState::Secondary)) {
            return;
        }
        let primary = monitor.rows.iter_mut().find(|e| e.goal.takes_writes());
        let Some(primary) = primary.filter(|e| e.reported.takes_writes()) else { return };
        (primary.goal, primary.goal_at) = (NodeState::Draining, now);
        self.tell("switchover");
        self.elect();
    }

    /// Those who may be promoted say how far they came, and one of them is chosen once all have.
    fn elect(&mut self) {
        for row in &mut self.current().rows {
            if row.goal == NodeState::Secondary {
                row.goal = NodeState::ReportLsn;
            }
        }
    }

    /// While it lives. Its name may be given to another host at once.
    fn drop_by_force(&mut self, n: usize) {
        if !self.hosts[n].registered || self.hosts[n].cut || !self.current().up {
            return;
        }
        // Whoever asks another monitor would not see it: the first thing to do after a replacement.
        let last = self.monitors.len() - 1;
        if self.hosts[n].asks != last {
            return;
        }
        self.current().rows.retain(|row| row.host != n);
        self.hosts[n].registered = false;
        self.tell(&format!("drop {n} by force"));
        if !self.current().rows.iter().any(|row| row.goal.takes_writes()) {
            self.elect();
        }
        let spare = (0..HOSTS).find(|other| *other != n && !self.hosts[*other].registered);
        let primary = self.current().rows.iter().find(|row| row.goal.takes_writes()).cloned();
        if let Some((spare, primary)) = spare.zip(primary).filter(|_| self.one_in(2)) {
            let host = &mut self.hosts[spare];
            (host.up, host.keeper, host.cut) = (true, true, false);
            (host.server, host.was_primary) = (Server::Recovery, false);
            (host.state, host.timeline) = (NodeState::Secondary, primary.timeline);
            host.registered = true;
            let mut entry = self.entry(spare);
            entry.name.clone_from(&self.hosts[n].name);
            self.hosts[spare].name.clone_from(&entry.name);
            self.hosts[spare].asks = last;
            self.current().rows.push(entry);
            self.tell(&format!("{spare} has the name of {n}"));
        }
    }

    /// The first one lives on, and goes on checking servers; rolecalls follow one by one.
    pub fn replace_monitor(&mut self) {
        let calm = self.current().rows.iter().all(|row| row.goal == row.reported);
        let cut = self.hosts.iter().any(|host| host.registered && (host.cut || !host.keeper));
        if !calm || cut || !self.current().up || self.monitors.len() > 2 {
            return;
        }
        let new = self.current().clone();
        self.monitors.push(new);
        self.tell("second monitor");
    }

    fn monitors_check(&mut self) {
        if !self.now.is_multiple_of(CHECK) {
            return;
        }
        for monitor in self.monitors.iter_mut().filter(|monitor| monitor.up) {
            for row in &mut monitor.rows {
                let host = &self.hosts[row.host];
                row.healthy = host.up && !host.cut && host.server != Server::Down;
                row.checked_at = self.now;
            }
        }
    }

    fn keepers_report(&mut self) {
        for n in 0..HOSTS {
            let host = &self.hosts[n];
            let due = (self.now + n as u64).is_multiple_of(2);
            if !due || !host.up || !host.keeper || host.cut || !self.monitors.last().unwrap().up {
                continue;
            }
            let (state, running) = (host.state, host.server != Server::Down);
            let (timeline, now) = (host.timeline, self.now);
            let rows = &mut self.monitors.last_mut().unwrap().rows;
            let Some(row) = rows.iter_mut().find(|row| row.host == n) else { continue };
            (row.reported, row.running, row.reported_at) = (state, running, now);
            row.timeline = timeline;
            let goal = row.goal;
            let newest = self.hosts.iter().map(|host| host.timeline).max().unwrap_or(1);
            self.hosts[n].obey(goal, newest);
        }
    }

    /// The states of the monitor, as far as who takes writes depends on them.
    fn monitor_decides(&mut self) {
        let now = self.now;
        if !self.current().up {
            return;
        }
        let rows = &mut self.current().rows;
        let lost = |row: &Entry| !row.healthy && now - row.reported_at > UNHEALTHY;
        let secondary = |row: &Entry| row.goal == NodeState::Secondary && !lost(row);
        if rows.iter().any(secondary)
            && let Some(primary) = rows.iter_mut().find(|row| row.goal.takes_writes() && lost(row))
        {
            (primary.goal, primary.goal_at) = (NodeState::DemoteTimeout, now);
            self.elect();
        }
        let rows = &mut self.current().rows;
        let promoting = [NodeState::PreparePromotion, NodeState::StopReplication];
        let led = rows.iter().any(|row| row.goal.takes_writes() || promoting.contains(&row.goal));
        let told = |row: &Entry| row.goal != NodeState::ReportLsn || row.reported == row.goal;
        if !led && rows.iter().all(told) {
            let newest = rows.iter_mut().filter(|row| row.goal == NodeState::ReportLsn);
            if let Some(chosen) = newest.max_by_key(|row| (row.healthy, row.timeline)) {
                (chosen.goal, chosen.goal_at) = (NodeState::PreparePromotion, now);
            }
        }
        let old = [NodeState::Draining, NodeState::DemoteTimeout];
        let waits = rows.iter().any(|row| {
            let gone = [NodeState::DemoteTimeout, NodeState::Demoted, NodeState::Draining];
            old.contains(&row.goal) && !gone.contains(&row.reported) && now - row.goal_at < DEMOTE
        });
        let leads = rows.iter().any(|row| row.goal.takes_writes() && row.reported == row.goal);
        for row in rows.iter_mut() {
            let next = match (row.reported, row.goal) {
                (NodeState::PreparePromotion, NodeState::PreparePromotion) => {
                    NodeState::StopReplication
                }
                (NodeState::StopReplication, NodeState::StopReplication) if !waits => {
                    NodeState::WaitPrimary
                }
                (_, goal) if old.contains(&goal) && leads => NodeState::Demoted,
                (NodeState::Demoted, NodeState::Demoted) if leads => NodeState::Catchingup,
                (NodeState::Catchingup, NodeState::Catchingup)
                | (NodeState::ReportLsn, NodeState::ReportLsn)
                    if leads =>
                {
                    NodeState::Secondary
                }
                _ => continue,
            };
            row.goal = next;
        }
        // The wait begins anew once the candidate has left recovery.
        if rows.iter().any(|row| {
            row.goal == NodeState::StopReplication && row.reported == NodeState::PreparePromotion
        }) {
            for row in rows.iter_mut().filter(|row| old.contains(&row.goal)) {
                row.goal_at = now;
            }
        }
    }

    fn rolecalls_look(&mut self) {
        for n in 0..HOSTS {
            // One look of two may take long.
            let skips = self.one_in(4) && !self.hosts[n].skipped;
            self.hosts[n].skipped = skips;
            if skips || !self.hosts[n].up {
                continue;
            }
            let began = moment(self.now);
            let rows = self.rows_for(n);
            let without = self.without;
            let host = &mut self.hosts[n];
            let lost = match rows {
                Some(rows) => {
                    let me = rows.iter().find(|row| *row.name == *host.name).map(|row| row.id);
                    let vouches = host.known.hear(began, me, rows);
                    (me.is_some() && !vouches).then(|| fails(ErrorKind::MonitorOld))
                }
                None => Some(fails(ErrorKind::NoMonitor)),
            };
            let look = match host.server {
                Server::Down => Err(fails(ErrorKind::ServerDown)),
                server => {
                    let role =
                        if server == Server::Recovery { Role::Replica } else { Role::Primary };
                    let timeline =
                        Some(Timeline(host.timeline)).filter(|_| without != Without::Timelines);
                    let most_hold =
                        if without == Without::HoldsEnd { STEP * 10_000 } else { MOST_HOLD };
                    let said = Monitored {
                        known: host.known.clone(),
                        lost,
                        most_hold,
                        system: SYSTEM,
                        followed: None,
                    };
                    Ok(Observation {
                        timeline,
                        read_only: server == Server::Promoting,
                        monitored: Some(Arc::new(said)),
                        ..Observation::of(role)
                    })
                }
            };
            host.snapshot.record(began, look);
        }
    }

    /// What the monitor shows the rolecall of this host; `None` where it does not answer.
    fn rows_for(&self, n: usize) -> Option<Vec<Row>> {
        let host = &self.hosts[n];
        let monitor = self.monitors.get(host.asks).filter(|it| it.up && !host.cut)?;
        let row = |entry: &Entry| {
            let checked = self.now - entry.checked_at;
            let believed =
                self.without == Without::OthersReports && entry.healthy && checked <= CHECK;
            let reported = if believed { 0 } else { self.now - entry.reported_at };
            let timeline = if self.without == Without::Timelines { 1 } else { entry.timeline };
            Row {
                id: entry.id,
                name: entry.name.as_str().into(),
                host: "h".into(),
                port: 5432,
                reported: entry.reported,
                goal: entry.goal,
                running: entry.running,
                reported_ago: STEP * u32::try_from(reported).unwrap(),
                healthy: entry.healthy,
                checked_ago: STEP * u32::try_from(checked).unwrap(),
                candidate: true,
                timeline: Timeline(timeline),
                system: Some(SYSTEM),
            }
        };
        // The first monitor is asked for the group of the node.
        let rows: Vec<Row> = monitor.rows.iter().map(row).collect();
        Some(if rows.iter().any(|row| *row.name == *host.name) { rows } else { Vec::new() })
    }

    pub fn ready(&self) -> Vec<usize> {
        let mut policy = policy(Role::Primary);
        if self.without == Without::HoldsEnd {
            policy.trust[0].hold = STEP * 10_000;
        }
        let says = |n: &usize| {
            let host = &self.hosts[*n];
            let facts = [SourceFacts::of(host.snapshot.clone())];
            let verdict = decide(moment(self.now), &facts, Standing::default(), &policy);
            host.up && verdict.state == State::Ready
        };
        (0..HOSTS).filter(says).collect()
    }

    pub fn step(&mut self) {
        self.now += 1;
        self.fate();
        self.monitors_check();
        self.keepers_report();
        self.monitor_decides();
        self.rolecalls_look();
    }
}

fn moment(step: u64) -> Stamp {
    Stamp::new(STEP * u32::try_from(step).unwrap())
}

fn fails(kind: ErrorKind) -> SourceError {
    SourceError::new(kind, "in a model")
}
