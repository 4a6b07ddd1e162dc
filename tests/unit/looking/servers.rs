//! What the servers and rolecalls of a repmgr cluster answer to the pollers of one node, as a test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::place::Place;
use rolecall::look::repmgr::{Answer, Attached, NodeId, Registered, Row, Table};
use rolecall::look::role::{Role, Timeline};
use rolecall::source::RoleSource;
use rolecall::source::releasing::Without;

pub use Registered::{Primary, Standby, Witness};

pub type Look = Result<Observation, SourceError>;

/// `repmgr.nodes`: every node at a place of its own, which is its name.
pub fn table(rows: &[(i32, Registered, bool)]) -> Table {
    let place = |number| Place { host: Some(format!("n{number}")), hostaddr: None, port: 5432 };
    let row = |(number, registered, active): &(i32, Registered, bool)| Row {
        id: NodeId(*number),
        name: format!("node{number}").into(),
        registered: *registered,
        active: *active,
        places: [place(*number)].into(),
        shares_address: false,
    };
    rows.iter().map(row).collect()
}

/// What the server of a node answers; `me`: which node the own server is.
#[derive(Clone)]
pub struct Server {
    pub role: Role,
    pub timeline: u32,
    pub answer: Answer,
}

impl Server {
    /// One that takes writes.
    pub fn primary(number: i32, table: &Table) -> Self {
        let answer = Answer {
            me: Some(NodeId(number)),
            system: "7001".into(),
            table: table.clone(),
            local_id: Some(NodeId(number)),
            upstream: None,
            upstream_seen: None,
            told: None,
            attached: Attached::Nobody,
            repmgrd_running: true,
            repmgrd_paused: false,
            failover_after: None,
        };
        Self { role: Role::Primary, timeline: 1, answer }
    }

    /// One that streams from that node, which its repmgrd has just reached.
    pub fn standby(number: i32, upstream: i32, table: &Table) -> Self {
        let mut server = Self::primary(number, table);
        server.role = Role::Replica;
        server.answer.attached = Attached::To(NodeId(upstream));
        server.answer.upstream = Some(NodeId(upstream));
        server.answer.upstream_seen = Some(Duration::ZERO);
        server
    }

    pub fn on(mut self, timeline: u32) -> Self {
        self.timeline = timeline;
        self
    }

    #[expect(clippy::unnecessary_wraps, reason = "a look, beside those that fail")]
    pub fn look(self) -> Look {
        Ok(Observation {
            timeline: Some(Timeline(self.timeline)),
            repmgr: Some(Arc::new(self.answer)),
            ..Observation::of(self.role)
        })
    }
}

pub fn refuses() -> Look {
    Err(SourceError::new(ErrorKind::ServerDown, "refused"))
}

pub fn fails() -> Look {
    Err(SourceError::new(ErrorKind::Timeout, "in a test"))
}

/// Whom a poller of the node asks, by repmgr's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// The node's own server.
    Own(i32),
    /// Another node's.
    Peer(i32),
    /// Another node's rolecall.
    Release(i32),
}

/// What has been asked of one of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub looks: usize,
    /// Pollers that were started.
    pub started: usize,
    /// Those that run.
    pub running: usize,
}

#[derive(Default)]
struct Network {
    /// What is answered; who is not in here hangs.
    answers: BTreeMap<Asked, (Duration, Look)>,
    counts: BTreeMap<Asked, Counts>,
    /// What the rolecalls of the other nodes are told.
    told: BTreeMap<i32, Without>,
}

/// Everything that can be asked, shared by all pollers.
#[derive(Clone, Default)]
pub struct Servers(Arc<Mutex<Network>>);

impl Servers {
    fn network(&self) -> MutexGuard<'_, Network> {
        self.0.lock().unwrap()
    }

    pub fn answer(&self, asked: Asked, look: Look) {
        self.answer_after(Duration::ZERO, asked, look);
    }

    /// The look takes so long.
    pub fn answer_after(&self, time: Duration, asked: Asked, look: Look) {
        self.network().answers.insert(asked, (time, look));
    }

    pub fn hang(&self, asked: Asked) {
        self.network().answers.remove(&asked);
    }

    pub fn counts(&self, asked: Asked) -> Counts {
        self.network().counts.get(&asked).copied().unwrap_or_default()
    }

    pub fn looks(&self, asked: Asked) -> usize {
        self.counts(asked).looks
    }

    /// A rolecall of that node is asked from now on, and told this.
    pub fn tell(&self, node: i32, without: Without) {
        self.network().told.insert(node, without);
    }

    /// On which timeline the rolecall of that node is told that its node was left out.
    pub fn told(&self, node: i32) -> Option<Timeline> {
        self.network().told.get(&node)?.said()
    }

    fn count(&self, asked: Asked, change: impl FnOnce(&mut Counts)) {
        change(self.network().counts.entry(asked).or_default());
    }

    /// A source that asks so.
    pub fn asking(&self, asked: Asked) -> Asking {
        self.count(asked, |counts| {
            counts.started += 1;
            counts.running += 1;
        });
        Asking { servers: self.clone(), asked }
    }
}

/// What a poller asks; it ends with its poller.
pub struct Asking {
    servers: Servers,
    asked: Asked,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.servers.count(self.asked, |counts| counts.running -= 1);
    }
}

impl RoleSource for Asking {
    async fn observe(&mut self) -> Look {
        self.servers.count(self.asked, |counts| counts.looks += 1);
        let answer = self.servers.network().answers.get(&self.asked).cloned();
        match answer {
            Some((time, look)) => {
                if !time.is_zero() {
                    tokio::time::sleep(time).await;
                }
                look
            }
            None => std::future::pending().await,
        }
    }
}

/// The table of a healthy cluster of three, whose primary is node 1.
pub fn healthy() -> Table {
    table(&[(1, Primary, true), (2, Standby, true), (3, Standby, true)])
}

/// The table before and after node 1 was promoted in the place of node 2.
pub fn before_failover() -> Table {
    table(&[(1, Standby, true), (2, Primary, true), (3, Standby, true)])
}

pub fn after_failover() -> Table {
    table(&[(1, Primary, true), (2, Primary, false), (3, Standby, true)])
}
