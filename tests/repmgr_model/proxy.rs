//! A HAProxy: what it last heard of each server, when it asks again, and what it still sends there.
//!
//! As it was measured on 2.6 and 3.x: a check that has ended is followed by the next one `inter`
//! later, so the period is `inter` and the check's duration. A silent check is cut at `timeout check`,
//! by 2.6 and earlier not before `inter`; one whose connection nobody takes at `inter`. A check of the
//! agent that fails changes nothing: the last word stands, and only the companion check takes the
//! server down. In maintenance that one rests; a server leaves maintenance up, one failure from down.

use crate::cluster::{Id, MOST};
use crate::sim::at;

/// What HAProxy is told, and what it is; milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Haproxy {
    /// Of the companion check.
    pub inter: u64,
    /// Of the agent check.
    pub agent_inter: u64,
    pub timeout_check: u64,
    pub fall: u32,
    pub rise: u32,
    /// 2.6 or earlier.
    pub old: bool,
    /// How long the worker that a reload leaves behind keeps its sessions.
    pub hard_stop_after: u64,
}

/// What the shipped files say.
pub const SHIPPED: Haproxy = Haproxy {
    inter: 500,
    agent_inter: 500,
    timeout_check: 500,
    fall: 2,
    rise: 2,
    old: true,
    hard_stop_after: 9000,
};

impl Haproxy {
    /// Between the end of a check and the next one.
    pub fn between(&self, check: Check) -> u64 {
        match check {
            Check::Agent => self.agent_inter,
            Check::Companion => self.inter,
        }
    }

    /// The longest that a check waits for an answer once somebody took its connection.
    pub fn silent(&self, check: Check) -> u64 {
        if self.old { self.timeout_check.max(self.between(check)) } else { self.timeout_check }
    }

    /// The longest that it waits for its connection to be taken.
    pub fn unconnected(&self, check: Check) -> u64 {
        self.between(check).min(2000)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Agent,
    Companion,
}

/// A check of one server by one worker of one HAProxy.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub proxy: usize,
    pub worker: u32,
    pub server: Id,
    pub check: Check,
    pub began: u64,
}

/// A server as one HAProxy knows it. It begins `disabled`: in maintenance.
#[derive(Debug, Default, Clone, Copy)]
pub struct Server {
    /// The agent's last word was READY; else it is in maintenance.
    pub ready: bool,
    /// From zero to `rise + fall - 1`; up from `rise` on.
    health: u32,
    /// This HAProxy cannot reach the host.
    pub cut: bool,
}

impl Server {
    pub fn serves(self, conf: &Haproxy) -> bool {
        self.ready && self.health >= conf.rise
    }

    pub fn agent_said(&mut self, ready: bool, conf: &Haproxy) {
        if ready && !self.ready {
            self.health = conf.rise;
        }
        self.ready = ready;
    }

    pub fn companion(&mut self, passed: bool, conf: &Haproxy) {
        if !self.ready {
            return;
        }
        let most = conf.rise + conf.fall - 1;
        self.health = match (passed, self.health) {
            (true, health) if health + 1 >= conf.rise => most,
            (true, health) => health + 1,
            (false, health) if health > conf.rise => health - 1,
            (false, _) => 0,
        };
    }
}

#[derive(Debug, Default, Clone)]
pub struct Proxy {
    pub servers: [Server; MOST],
    /// Tells the checks of this worker from those of an older one.
    pub worker: u32,
    /// The sessions that workers before it keep: to which server, and until when.
    pub left: Vec<(Id, u64)>,
}

impl Proxy {
    /// A new worker takes over; without a state file it knows nothing of the servers.
    pub fn reload(&mut self, now: u64, with_state: bool, conf: &Haproxy) {
        for id in (0..).take(MOST) {
            if self.servers[at(id)].serves(conf) {
                self.left.push((id, now + conf.hard_stop_after));
            }
            if !with_state {
                let cut = self.servers[at(id)].cut;
                self.servers[at(id)] = Server { cut, ..Server::default() };
            }
        }
        self.worker += 1;
    }
}

/// The numbers above are those of the file that is shipped.
#[test]
fn the_shipped_file_says_so() {
    let file = include_str!("../../haproxy/repmgr.cfg");
    let lines = || file.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let server = lines().find(|line| line.starts_with("default-server")).expect("a default-server");
    let word = |line: &str, key: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != key);
        words.nth(1).unwrap_or_else(|| panic!("no {key} in {line:?}")).to_owned()
    };
    let ms = |text: String| {
        let time = humantime::parse_duration(&text).expect("a time");
        u64::try_from(time.as_millis()).unwrap()
    };
    let number = |key| word(server, key).parse::<u32>().expect("a number");
    let timeout = lines().find(|line| line.starts_with("timeout check")).expect("timeout check");
    let stop = lines().find(|line| line.starts_with("hard-stop-after")).expect("hard-stop-after");
    assert_eq!(ms(word(server, "inter")), SHIPPED.inter);
    assert_eq!(ms(word(server, "agent-inter")), SHIPPED.agent_inter);
    assert_eq!(ms(word(timeout, "check")), SHIPPED.timeout_check);
    assert_eq!((number("fall"), number("rise")), (SHIPPED.fall, SHIPPED.rise));
    assert_eq!(ms(word(stop, "hard-stop-after")), SHIPPED.hard_stop_after);
}
