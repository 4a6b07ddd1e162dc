//! Who asked for a service of a node, as the status page says it.

use serde::Serialize;

use crate::look::stamp::Stamp;
use crate::reply::asks::{self, Asks};
use crate::verdict::state::State;

/// How often a service was asked about a node at the agent port, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Asked {
    /// How long ago; `null`: never.
    pub last_ms: Option<u64>,
    /// By which address.
    pub by: Option<String>,
    /// Every address that asked in the last 24 hours, the newest first; 8 at most.
    pub askers: Vec<Asker>,
    /// How often it was told each state.
    pub ready: u64,
    /// See `ready`.
    pub drain: u64,
    /// See `ready`.
    pub not_ready: u64,
    /// See `ready`.
    pub unknown: u64,
    /// How often somebody was sent away who may not ask.
    pub strangers: u64,
}

/// An address that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Asker {
    /// The address.
    pub by: String,
    /// How long ago it asked last.
    pub last_ms: u64,
    /// How often it asked.
    pub count: u64,
}

impl Asked {
    /// Of one service about one node, at this moment.
    pub(super) fn of(now: Stamp, asks: &Asks) -> Self {
        let last = asks.last();
        Self {
            last_ms: last.map(|last| ago(now, last.at)),
            by: last.and_then(|last| last.by).map(|by| by.to_canonical().to_string()),
            askers: asks.askers(now).into_iter().map(|asker| of_asker(now, asker)).collect(),
            ready: asks.count(State::Ready),
            drain: asks.count(State::Drain),
            not_ready: asks.count(State::NotReady),
            unknown: asks.count(State::Unknown),
            strangers: asks.strangers(),
        }
    }
}

fn of_asker(now: Stamp, asker: asks::Asker) -> Asker {
    Asker { by: asker.by.to_string(), last_ms: ago(now, asker.at), count: asker.count }
}

/// Milliseconds from `before` to `now`.
fn ago(now: Stamp, before: Stamp) -> u64 {
    u64::try_from(now.since(before).as_millis()).unwrap_or(u64::MAX)
}
