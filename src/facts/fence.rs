//! Whether the sessions of HAProxy's clients on this node are to be ended now.
//!
//! HAProxy can be frozen, reloaded, or paused with its host: no answer reaches the sessions that it
//! holds then. The rolecall beside the node knows better, and it can end them at the server itself.
//! Decided here is when, and nothing else: what is out and what is not, by what is *seen*.
//!
//! * READY, or drained, for any service for primaries: never. A `maint` by hand is the operator's own
//!   business, HAProxy ends its sessions by it; a forced `ready` ends the fence.
//! * Settling: never. It is no evidence against the node, and after a restart of rolecall that lost
//!   its record a healthy primary settles with all its sessions.
//! * A no by evidence: at once.
//! * Unknown past hold: once every HAProxy that lives has heard it, `heard` after the yes ran out. A
//!   lapse that no HAProxy hears of may end no session; and no other node can be READY so soon, since
//!   what settles there is longer than what HAProxy remembers. A process that has had no yes has none
//!   to hold on to: it waits for the longest hold first, which its predecessor's yes may have left.
//! * Seen in recovery by a look that still counts, or nobody listens there: there is nothing to do.
//!   That saves a connection. What keeps a standby untouched is the statement itself, which asks the
//!   server (`source::pg::sessions`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::facts::{NodeFacts, ServiceFacts};
use crate::look::error::{ErrorKind, SourceError};
use crate::look::kind::Shows;
use crate::look::role::Role;
use crate::look::stamp::Stamp;
use crate::verdict::order;
use crate::verdict::reason::Reason;
use crate::verdict::state::State;

/// Longest hold that repmgr.conf can give a primary, where nobody chose one.
const LONGEST_READ: Duration = Duration::from_secs(15);

/// What a node is to those who write, as it is seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It serves; until when, if nothing new is seen.
    Serves(Option<Stamp>),
    /// Nothing that would justify to end a session.
    Undecided,
    /// Nothing that may be used is known any more.
    Lapsed(Reason),
    /// Evidence says that it is out.
    Out(Reason),
}

/// Whether to end sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// No.
    Never,
    /// Not before this moment, if nothing new is seen.
    At(Stamp),
    /// Now, because of this.
    Now(Reason),
}

/// All the memory that the decision has; a new one for each configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    began: Stamp,
    /// From the end of a yes until every HAProxy that lives has heard of it.
    heard: Duration,
    /// The last moment of the last yes, if nothing new had been seen.
    yes_until: Option<Stamp>,
    /// Since when nothing is known.
    lapsed: Option<Stamp>,
}

impl Watch {
    /// A watch that begins now; `heard` is how long HAProxy's next question can take.
    pub fn new(now: Stamp, heard: Duration) -> Self {
        Self { began: now, heard, yes_until: None, lapsed: None }
    }

    /// What is to be done at this moment.
    pub fn due(&mut self, now: Stamp, node: &NodeFacts) -> Due {
        match standing(now, node) {
            Standing::Serves(until) => {
                self.yes_until = Some(until.unwrap_or(now));
                self.lapsed = None;
                Due::Never
            }
            Standing::Undecided => {
                self.lapsed = None;
                Due::Never
            }
            Standing::Lapsed(reason) => {
                let ended = match self.yes_until {
                    // The host may have stood still since.
                    Some(until) => until.min(now),
                    None => self.began.plus(longest_hold(node)),
                };
                let at = self.lapsed.get_or_insert(ended).plus(self.heard);
                if at <= now { Due::Now(reason) } else { Due::At(at) }
            }
            Standing::Out(reason) => Due::Now(reason),
        }
    }

    /// Whether it still stands at this moment, without taking notice: for the moment before a
    /// statement is sent.
    pub fn stands(&self, now: Stamp, node: &NodeFacts) -> bool {
        matches!(self.clone().due(now, node), Due::Now(_))
    }
}

fn for_primaries(node: &NodeFacts) -> impl Iterator<Item = &ServiceFacts> {
    node.services.iter().filter(|service| service.policy.roles.contains(&Role::Primary))
}

fn standing(now: Stamp, node: &NodeFacts) -> Standing {
    let (mut lapsed, mut out, mut undecided) = (None, None, false);
    for service in for_primaries(node) {
        let seen = node.seen(now, service);
        // What a stopping rolecall says last is no order, and nothing that is seen.
        let ordered = order::apply(now, seen.clone(), &service.orders, &service.policy);
        let serves = |state| matches!(state, State::Ready | State::Drain);
        if serves(seen.state) {
            return Standing::Serves(seen.until);
        }
        if serves(ordered.state) {
            return Standing::Serves(ordered.until);
        }
        match (seen.state, seen.reason) {
            // A witness is a server of its own, whose clients are none of the cluster's.
            (_, Reason::Settling | Reason::NoLookYet | Reason::Witness) => undecided = true,
            (State::Unknown, reason) => lapsed = lapsed.or(Some(reason)),
            (_, reason) => out = out.or(Some(reason)),
        }
    }
    if undecided || in_recovery(now, node) {
        return Standing::Undecided;
    }
    // Where one service knows nothing yet, its hold is over later than another's no.
    match (lapsed, out) {
        (Some(reason), _) => Standing::Lapsed(reason),
        (None, Some(reason)) => Standing::Out(reason),
        (None, None) => Standing::Undecided,
    }
}

/// Whether the newest looks, where they still count, leave no session that could be ended: somebody
/// saw the server in recovery, or not there at all, and nobody saw it out of recovery.
fn in_recovery(now: Stamp, node: &NodeFacts) -> bool {
    let Some(service) = for_primaries(node).next() else { return true };
    let mut nothing = false;
    for ((kind, source), trust) in node.each_source().zip(&service.policy.trust) {
        match (source.own.failing(), source.own.good()) {
            (Some((_, error)), _) => {
                nothing |= match kind.shows {
                    Shows::Server => error.kind == ErrorKind::ServerDown,
                    Shows::ManagedServer => error.kind == ErrorKind::PortRefused,
                    Shows::Nothing => false,
                };
            }
            (None, Some((_, seen))) if seen.role == Some(Role::Primary) => return false,
            (None, Some((began, seen))) => {
                let counts = now.since(began) <= trust.look && kind.shows != Shows::Nothing;
                nothing |= counts && seen.role.is_some() && seen.not_running.is_none();
            }
            (None, None) => {}
        }
    }
    nothing
}

/// The longest time that a yes of a process before this one may still stand.
fn longest_hold(node: &NodeFacts) -> Duration {
    let trusts = for_primaries(node).flat_map(|service| &service.policy.trust);
    let holds = trusts.map(|trust| {
        let read = if trust.hold_by_repmgr { LONGEST_READ } else { Duration::ZERO };
        let hold = trust.lock.map_or(trust.hold, |lock| lock.longest_hold(trust.hold));
        hold.max(trust.look).max(read)
    });
    holds.max().unwrap_or_default()
}

/// What the fence has done, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deeds {
    /// Since when sessions are ended, and why; `None`: they are not.
    pub acting: Option<(Stamp, Reason)>,
    /// How often a session was told to end.
    pub ended: u64,
    /// When the last one was.
    pub last: Option<Stamp>,
    /// How often the server could not be told.
    pub failed: u64,
    /// Why the last attempt failed, where it did.
    pub error: Option<SourceError>,
}

/// The deeds of the one fence there is; `None` inside: there is none. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Option<Deeds>>>);

impl Record {
    /// What was done, where there is a fence.
    pub fn deeds(&self) -> Option<Deeds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// There is a fence from now on, or none; what is counted goes on.
    pub fn set_up(&self, there: bool) {
        let mut deeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !there {
            *deeds = None;
            return;
        }
        let deeds = deeds.get_or_insert_default();
        (deeds.acting, deeds.error) = (None, None);
    }

    /// Notes something that was done.
    pub fn note(&self, note: impl FnOnce(&mut Deeds)) {
        if let Some(deeds) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            note(deeds);
        }
    }
}
