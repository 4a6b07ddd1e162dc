//! What the rolecall of another data node says when a candidate asks it to give way (message Q).
//!
//! A server that was killed can neither say that it is in recovery nor keep anybody from believing that
//! it still writes. Its rolecall knows better: it saw the server refuse connections, it claims nothing,
//! and it knows when it last said READY to anybody. How that message travels, and how it is known to
//! be that node's, stands in [`crate::http`].

use std::sync::Arc;
use std::time::Duration;

use crate::electorate::NodeId;
use crate::role::Timeline;

/// Added to life and memory, as in the least settling time: what scheduling may add.
pub const MARGIN: Duration = Duration::from_millis(100);

/// One answer of another node's rolecall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which node answers for itself.
    pub node: NodeId,
    /// `system_identifier` of its server, as last seen.
    pub system: Arc<str>,
    /// The timeline that its server was last seen on.
    pub timeline: Option<Timeline>,
    /// It may still speak for its server: that one was not refusing connections at the last look, or a
    /// claim to be the primary stands, was restored, or may go on.
    pub claims: bool,
    /// How long ago it last said READY for primaries to anybody; the age of its process where it never
    /// did, for its predecessor may have.
    pub last_ready: Duration,
    /// How long it uses an answer.
    pub life: Duration,
    /// How long an HAProxy remembers its word, by its own configuration.
    pub memory: Duration,
}

impl Release {
    /// Whether this lets a candidate of that cluster and timeline go ahead of node `node`.
    ///
    /// The timeline must be older than the candidate's: a node that is on the same or a newer one was
    /// not what the candidate followed.
    pub fn lets(&self, node: NodeId, system: &str, candidate: Option<Timeline>) -> bool {
        self.node == node
            && *self.system == *system
            && self.timeline.is_some()
            && self.timeline < candidate
            && !self.claims
            && self.last_ready >= self.memory
    }

    /// How long a word of that node may live: the least for which another one's must settle.
    pub fn longest_word(&self) -> Duration {
        self.life + self.memory + MARGIN
    }
}
