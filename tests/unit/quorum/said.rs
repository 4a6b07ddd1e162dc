//! Answers of servers as values, and what the rule makes of them on node 1.

use std::sync::Arc;
use std::time::Duration;

use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::repmgr::{Answer, Attached, NodeId, Registered, Row, Table};
use rolecall::look::role::{Role, Timeline};
use rolecall::look::snapshot::SourceFacts;
use rolecall::look::stamp::Stamp;
use rolecall::verdict::policy::Pool;
use rolecall::verdict::policy::{Electorate, TwoNode};
use rolecall::verdict::policy::{Policy, Trust};
use rolecall::verdict::quorum::{Round, Ruling, rule};
use rolecall::verdict::reason::Reason;
use rolecall::verdict::vote::Vote;

pub use Registered::{Primary, Standby, Witness};

pub const LIFE: u64 = 1700;
pub const SETTLE: u64 = 5800;

pub const RULES: Electorate = Electorate {
    life: Duration::from_millis(LIFE),
    memory: Duration::from_secs(4),
    two_node: TwoNode::Maint,
    trust_refused: true,
};

pub fn at(ms: u64) -> Stamp {
    Stamp::new(Duration::from_millis(ms))
}

pub fn id(number: i32) -> NodeId {
    NodeId(number)
}

/// `(node_id, type, active)`
pub fn table(rows: &[(i32, Registered, bool)]) -> Table {
    let row = |(number, registered, active): &(i32, Registered, bool)| Row {
        id: id(*number),
        name: format!("node{number}").into(),
        registered: *registered,
        active: *active,
        places: Arc::default(),
        shares_address: false,
    };
    rows.iter().map(row).collect()
}

/// An answer of a server on timeline 1, with the table of a healthy cluster of three.
#[derive(Clone)]
pub struct Said {
    pub role: Role,
    pub timeline: u32,
    pub read_only: bool,
    pub answer: Answer,
}

pub fn healthy() -> Table {
    table(&[(1, Primary, true), (2, Standby, true), (3, Standby, true)])
}

pub fn primary() -> Said {
    let answer = Answer {
        me: Some(id(1)),
        system: "7001".into(),
        table: healthy(),
        local_id: None,
        upstream: None,
        upstream_seen: None,
        told: None,
        attached: Attached::Nobody,
        repmgrd_running: true,
        repmgrd_paused: false,
        failover_after: None,
    };
    Said { role: Role::Primary, timeline: 1, read_only: false, answer }
}

/// A standby that streams from this node, which its repmgrd has just reached.
pub fn follows(upstream: i32) -> Said {
    let mut said = primary();
    said.role = Role::Replica;
    said.answer.attached = Attached::To(id(upstream));
    said.answer.upstream = Some(id(upstream));
    said.answer.upstream_seen = Some(Duration::ZERO);
    said
}

/// A standby without a receiver.
pub fn orphan() -> Said {
    let mut said = follows(1);
    said.answer.attached = Attached::Nobody;
    said.answer.upstream_seen = Some(Duration::from_secs(60));
    said
}

pub fn witness(upstream: i32, seen: u64) -> Said {
    let mut said = primary();
    said.answer.system = "7002".into();
    said.answer.upstream = Some(id(upstream));
    said.answer.upstream_seen = Some(Duration::from_secs(seen));
    said
}

impl Said {
    pub fn by(mut self, rows: &[(i32, Registered, bool)]) -> Self {
        self.answer.table = table(rows);
        self
    }

    pub fn on(mut self, timeline: u32) -> Self {
        self.timeline = timeline;
        self
    }

    #[expect(clippy::unnecessary_wraps, reason = "a look, beside those that fail")]
    pub fn look(self) -> Result<Observation, SourceError> {
        Ok(Observation {
            timeline: Some(Timeline(self.timeline)),
            read_only: self.read_only,
            repmgr: Some(Arc::new(self.answer)),
            ..Observation::of(self.role)
        })
    }
}

pub fn fails(kind: ErrorKind) -> Result<Observation, SourceError> {
    Err(SourceError::new(kind, "in a test"))
}

/// What node 1 has seen, all of it asked for at 0 ms.
pub fn seen(own: Said, peers: impl IntoIterator<Item = (i32, Said)>) -> SourceFacts {
    let mut facts = SourceFacts::default();
    facts.own.record(at(0), own.look());
    for (number, said) in peers {
        facts.peers.entry(id(number)).or_default().record(at(0), said.look());
    }
    facts
}

pub fn with(
    mut facts: SourceFacts,
    number: i32,
    look: Result<Observation, SourceError>,
) -> SourceFacts {
    facts.peers.entry(id(number)).or_default().record(at(0), look);
    facts
}

pub fn ruled(facts: &SourceFacts) -> Round {
    rule(at(1), facts, &RULES)
}

pub fn vote(facts: &SourceFacts, number: i32) -> Vote {
    ruled(facts).peers[&id(number)].clone()
}

/// A service for these roles that settles and holds for so many milliseconds.
pub fn policy(hold: u64, roles: &[Role]) -> Policy {
    let trust = Trust {
        hold: Duration::from_millis(hold),
        hold_by_repmgr: false,
        lock: None,
        look: Duration::from_millis(LIFE),
        knows_lag: true,
        electorate: Some(RULES),
    };
    let settle = Duration::from_millis(SETTLE);
    Policy { roles: roles.to_vec(), pool: Pool::default(), lag: None, settle, trust: vec![trust] }
}

pub const YES: Ruling = Ruling::Yes { fresh: true };
pub const STALE_YES: Ruling = Ruling::Yes { fresh: false };

pub fn isolated(votes: usize, electors: usize) -> Ruling {
    Ruling::Isolated(Reason::NoMajority { votes, electors })
}

pub fn outvoted(votes: usize, electors: usize) -> Ruling {
    Ruling::No(Reason::NoMajority { votes, electors })
}
