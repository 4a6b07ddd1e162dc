//! One question that HAProxy asks, as configured, and the policy that follows from it and from the sources.

use std::time::Duration;

use crate::config::kind::settings::Lag;
use crate::config::node::{Node, Source};
use crate::look::role::Role;
use crate::reply::routes::{Answering, Listen};
use crate::verdict::policy::{LagLimit, Policy, Pool, Trust};

/// One question that HAProxy asks about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in logs.
    pub name: String,
    /// The roles that may serve.
    pub roles: Vec<Role>,
    /// Where it is asked about the only node, or about the one that a question names; empty where
    /// there are several and no question is read.
    pub listen: Vec<Listen>,
    /// Whether a question is read there before it is answered.
    pub agent_send: bool,
    /// By whom it is asked, and how it is answered.
    pub answering: Answering,
    /// Overrides the sources' `hold`.
    pub hold: Option<Duration>,
    /// What is wanted of replicas beside their role.
    pub pool: Pool,
    /// How far behind a replica may be.
    pub lag: Option<LagLimit>,
}

impl Service {
    /// How this service's verdicts about `node` are made.
    pub fn policy(&self, node: &Node) -> Policy {
        let trust = |source: &Source| {
            let (settings, times) = (source.kind.settings(), source.times());
            Trust {
                hold: self.hold.unwrap_or(source.hold),
                hold_by_repmgr: self.hold.is_none() && settings.learns_hold(),
                look: times.rhythm.look(),
                knows_lag: settings.profile().sees.lag == Lag::Counted,
                lock: settings.lock(&times, self.hold.is_some() || source.hold_chosen),
                electorate: settings.electorate(&times),
            }
        };
        // Only of primaries there must never be two.
        let settles = self.roles.contains(&Role::Primary);
        let settle = node.sources.iter().filter(|_| settles);
        let settle = settle.map(|source| source.kind.settings().settle()).max();
        Policy {
            roles: self.roles.clone(),
            pool: self.pool.clone(),
            lag: self.lag,
            settle: settle.unwrap_or(Duration::ZERO),
            trust: node.sources.iter().map(trust).collect(),
        }
    }
}
