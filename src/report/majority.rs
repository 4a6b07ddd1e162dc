//! How the nodes of a repmgr cluster vote for the one that is asked, each in words: what rule R counts.

use serde::Serialize;

use crate::look::repmgr::Row;
use crate::look::snapshot::{SourceFacts, heard};
use crate::look::stamp::Stamp;
use crate::verdict::policy::Electorate;
use crate::verdict::quorum::{self, Round};
use crate::verdict::vote::{Side, Vote};

/// Who votes for a node of a repmgr cluster that is not in recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Majority {
    /// Nodes that vote for it, itself among them.
    pub votes: usize,
    /// Nodes that count, itself among them.
    pub electors: usize,
    /// One for each node of its own table, in the order of this.
    pub ballots: Vec<Ballot>,
}

/// What one node of the table contributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ballot {
    /// `node_id`
    pub node_id: i32,
    /// `node_name`
    pub name: String,
    /// What it is registered as.
    #[cfg_attr(test, schemars(extend("enum" = ["primary", "standby", "witness"])))]
    pub registered: &'static str,
    /// Whether its row is active.
    pub active: bool,
    /// For whom it counts.
    #[cfg_attr(test, schemars(extend("enum" = ["for", "against", "neither"])))]
    pub side: &'static str,
    /// Its vote in words.
    pub vote: String,
}

impl Majority {
    /// How the votes stand now; `None` where it did not come to counting.
    pub(crate) fn of(now: Stamp, facts: &SourceFacts, electorate: &Electorate) -> Option<Self> {
        let round = quorum::rule(now, facts, electorate);
        let table = &heard(&facts.own)?.said.table;
        let ballot = |row: &Row| {
            let vote = round.peers.get(&row.id);
            let side = vote.map_or(Side::For, Vote::side);
            Ballot {
                node_id: row.id.0,
                name: row.name.to_string(),
                registered: row.registered.as_str(),
                active: row.active,
                side: side.as_str(),
                vote: vote.map_or_else(|| "this node itself".to_owned(), ToString::to_string),
            }
        };
        let Round { votes, electors, .. } = round;
        (electors > 0).then(|| Self {
            votes,
            electors,
            ballots: table.iter().map(ballot).collect(),
        })
    }
}
