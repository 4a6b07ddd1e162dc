//! What a server of the model answers to rolecall's query, in the very types that the rule reads.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::place::Place;
use rolecall::look::repmgr::{Answer, Attached, NodeId, Registered, Row, Table};
use rolecall::look::role::{Role, Timeline};
use rolecall::look::snapshot::SourceFacts;
use rolecall::look::stamp::Stamp;

use crate::cluster::{Cluster, Host, Id, Kind, Rows};

/// What a look shows.
pub type Look = Result<Observation, SourceError>;

/// What the shared memory of a server shows of its repmgrd.
#[derive(Debug, Default, Clone, Copy)]
pub struct Shown {
    /// How long ago it last reached its upstream.
    pub seen: Option<Duration>,
    /// Whom an elected node told it to follow.
    pub told: Option<Id>,
}

pub fn node_id(id: Id) -> NodeId {
    NodeId(i32::from(id) + 1)
}

thread_local! {
    // The same few tables come back in millions of states.
    static TABLES: RefCell<HashMap<Rows, Table>> = RefCell::default();
    // The cluster's system identifier, and the witness's.
    static SYSTEMS: [Arc<str>; 2] = ["7001".into(), "7002".into()];
    static FAILED: [SourceError; 4] = [
        SourceError::new(ErrorKind::Timeout, "timeout"),
        SourceError::new(ErrorKind::ServerDown, "refused"),
        SourceError::new(ErrorKind::SlotsFull, "slots full"),
        SourceError::new(ErrorKind::NotAccepting, "starting"),
    ];
}

fn table(rows: &Rows) -> Table {
    TABLES.with_borrow_mut(|known| known.entry(*rows).or_insert_with(|| written(rows)).clone())
}

fn written(rows: &Rows) -> Table {
    let row = |(id, row): (Id, &Option<crate::cluster::Row>)| {
        row.map(|row| Row {
            id: node_id(id),
            name: format!("node{}", id + 1).into(),
            registered: match row.kind {
                Kind::Primary => Registered::Primary,
                Kind::Standby => Registered::Standby,
                Kind::Witness => Registered::Witness,
            },
            active: row.active,
            places: [Place { host: Some(format!("n{}", id + 1)), hostaddr: None, port: 5432 }]
                .into(),
            shares_address: false,
        })
    };
    (0..).zip(rows).filter_map(row).collect()
}

pub fn failed(kind: ErrorKind) -> SourceError {
    FAILED.with(|all| {
        let known = all.iter().find(|error| error.kind == kind);
        known.cloned().unwrap_or_else(|| SourceError::new(kind, "failed"))
    })
}

impl Cluster {
    /// What a look from one host at another's server shows now.
    pub fn look(&self, from: Id, to: Id, shown: Shown) -> Look {
        let node = self.node(to);
        if node.host != Host::Up || !self.reaches(from, to) {
            return Err(failed(ErrorKind::Timeout));
        }
        if !node.postgres {
            return Err(failed(ErrorKind::ServerDown));
        }
        Ok(self.answer(to, shown))
    }

    fn answer(&self, id: Id, shown: Shown) -> Observation {
        let node = self.node(id);
        let witness = self.witness == Some(id);
        let timeline = if witness { 1 } else { node.timeline };
        let streams = node.follows.filter(|_| node.streaming);
        let answer = Answer {
            me: Some(node_id(id)),
            system: SYSTEMS.with(|both| both[usize::from(witness)].clone()),
            table: table(&node.rows),
            local_id: node.repmgrd.then(|| node_id(id)),
            upstream: node.upstream.map(node_id),
            upstream_seen: shown.seen.filter(|_| node.upstream.is_some()),
            told: shown.told.map(node_id),
            attached: streams.map_or(Attached::Nobody, |from| Attached::To(node_id(from))),
            repmgrd_running: node.repmgrd,
            repmgrd_paused: false,
            failover_after: None,
        };
        let role = if node.in_recovery { Role::Replica } else { Role::Primary };
        Observation {
            timeline: Some(Timeline(u32::from(timeline))),
            repmgr: Some(Arc::new(answer)),
            ..Observation::of(role)
        }
    }

    /// The contact of a repmgrd as it shows at an instant: now, or too long ago.
    fn shown_now(&self, id: Id) -> Shown {
        let witness = self.witness == Some(id);
        let fresh = if witness { self.node(id).seen } else { self.has_contact(id) };
        let seen = if fresh { Duration::ZERO } else { Duration::from_secs(100) };
        Shown { seen: Some(seen), told: None }
    }

    /// Everything a daemon on this node sees at one instant.
    pub fn instant_view(&self, from: Id) -> SourceFacts {
        let now = Stamp::new(Duration::ZERO);
        let mut facts = SourceFacts::default();
        facts.own.record(now, self.look(from, from, self.shown_now(from)));
        if self.writable(from) {
            for id in self.ids().filter(|id| *id != from && self.row(from, *id).is_some()) {
                let look = self.look(from, id, self.shown_now(id));
                facts.peers.entry(node_id(id)).or_default().record(now, look);
            }
        }
        facts
    }
}

/// The sender's name leads the asking host to another node than the answering one streams from. The
/// source believes a name only where repmgrd there names the same upstream, or none; see
/// `src/source/repmgr/address.rs`. `names_alone`: it believes it.
pub fn mislead(seen: &mut Observation, to: Id, names_alone: bool) {
    let Some(said) = &seen.repmgr else { return };
    if !matches!(said.attached, Attached::To(_)) {
        return;
    }
    let agrees = said.upstream.is_none_or(|upstream| upstream == node_id(to));
    let attached = if agrees || names_alone {
        Attached::To(node_id(to))
    } else {
        Attached::Unknown("names and repmgrd disagree".into())
    };
    seen.repmgr = Some(Arc::new(Answer { attached, ..Answer::clone(said) }));
}
