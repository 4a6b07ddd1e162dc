//! The one vote that another node of a repmgr cluster gives, by its own answer alone; `quorum` counts them.
//!
//! A vote is a pure function of the voter's answer, so that nobody ever has two; whom its receiver
//! streams from comes first, because repmgr's tables lag behind and differ from node to node. A
//! standby goes on voting while it is attached. A witness votes only while its repmgrd reaches the
//! primary: after a cut, a witness whose daemon hangs would go on naming the old primary for ever.

use std::fmt;
use std::time::Duration;

use crate::look::error::ErrorKind;
use crate::look::release::{LeftOut, Release};
use crate::look::repmgr::{Answer, Attached, NodeId, Registered, Row, named, row};
use crate::look::role::Timeline;
use crate::look::snapshot::{Heard, Snapshot, usable};
use crate::look::stamp::Stamp;
use crate::verdict::policy::Electorate;

/// A repmgrd that reached its upstream within this time attests a contact that is still good; three
/// times its shortest usual `monitor_interval_secs`.
pub const FRESH: Duration = Duration::from_secs(3);

/// What one other node contributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// It votes for this node; `fresh` as in [`crate::verdict::quorum::Ruling::Yes`].
    ForMe {
        /// See above.
        fresh: bool,
    },
    /// It stands behind another node.
    ForOther(NodeId),
    /// It is writable and its own table names it the primary.
    Rival(Timeline),
    /// It is writable and nobody registered it as the primary.
    WritableUnregistered,
    /// It replays a newer timeline than this node writes.
    NewerTimeline(Timeline),
    /// It would vote for this node, but another one was confirmed without it while its server was down,
    /// on a newer timeline.
    LeftOut(NodeId, Timeline),
    /// A deposed primary that follows this node and is not registered as its standby yet: its vote counts
    /// where all nodes are counted, itself among them.
    Deposed,
    /// It is attached to nobody and names somebody else, or names nobody.
    Neutral,
    /// It streams from an address that matches no row.
    UnknownUpstream,
    /// Its answer is another cluster's, another node's, or could be counted twice.
    Foreign,
    /// It gave no answer that may be used.
    Unreachable,
    /// Its server refuses connections and it is registered as inactive: it is out of the count.
    Refused,
}

/// For whom a vote counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This node.
    For,
    /// Another one.
    Against,
    /// Nobody.
    Neither,
}

impl Side {
    /// As `/status` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::For => "for",
            Self::Against => "against",
            Self::Neither => "neither",
        }
    }
}

impl Vote {
    /// For whom it counts. That of a deposed primary counts for this node only where it is needed.
    pub fn side(&self) -> Side {
        match self {
            Self::ForMe { .. } | Self::Deposed => Side::For,
            contrary if contrary.is_contrary() => Side::Against,
            _ => Side::Neither,
        }
    }

    /// Whether this speaks against this node.
    pub fn is_contrary(&self) -> bool {
        matches!(
            self,
            Self::ForOther(_)
                | Self::Rival(_)
                | Self::WritableUnregistered
                | Self::NewerTimeline(_)
                | Self::LeftOut(..)
        )
    }
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForMe { fresh: true } => {
                f.write_str("votes for this node, confirmed by a fresh answer")
            }
            Self::ForMe { fresh: false } => f.write_str("votes for this node"),
            Self::ForOther(id) => write!(f, "votes for {id}"),
            Self::Rival(timeline) => write!(f, "says it is the primary, on timeline {timeline}"),
            Self::WritableUnregistered => {
                f.write_str("accepts writes, but is not registered as the primary")
            }
            Self::NewerTimeline(timeline) => write!(f, "follows the newer timeline {timeline}"),
            Self::LeftOut(by, timeline) => write!(
                f,
                "was down when {by} was confirmed on the newer timeline {timeline}, and votes for \
                 no node on an older one"
            ),
            Self::Deposed => f.write_str(
                "is an old primary that follows this node, but is not registered as its standby \
                 yet",
            ),
            Self::Neutral => f.write_str("votes for no node"),
            Self::UnknownUpstream => {
                f.write_str("votes for no known node: add the name of its upstream to `addresses`")
            }
            Self::Foreign => {
                f.write_str("is not counted: the answer comes from another cluster or another node")
            }
            Self::Unreachable => f.write_str("did not answer, so it has no vote"),
            Self::Refused => {
                f.write_str("is down and inactive, so it is not counted among the nodes")
            }
        }
    }
}

/// Conditions 2 to 5 for one row of the own table, with what that node's rolecall last said.
pub(crate) fn contribution(
    now: Stamp,
    row: &Row,
    (snapshot, release): (&Snapshot, Option<&Release>),
    own: Heard<'_>,
    me: NodeId,
    electorate: &Electorate,
) -> Vote {
    let Some(peer) = usable(snapshot, now, electorate.life) else {
        let refused = snapshot.failing().is_some_and(|(began, error)| {
            error.kind == ErrorKind::ServerDown && now.since(began) < electorate.life
        });
        // One address of two rows may be the other one's.
        let leaves = row.registered != Registered::Primary
            && !row.active
            && !row.shares_address
            && electorate.trust_refused
            && refused;
        return if leaves { Vote::Refused } else { Vote::Unreachable };
    };
    let witness = row.registered == Registered::Witness;
    if !is_that_node(row, peer, own) {
        return Vote::Foreign;
    }
    if !witness && !peer.in_recovery() {
        return match named(&peer.said.table) {
            Some(id) if id == row.id => Vote::Rival(timeline(peer)),
            _ => Vote::WritableUnregistered,
        };
    }
    if !witness && peer.seen.timeline > own.seen.timeline {
        return Vote::NewerTimeline(timeline(peer));
    }
    match vote(row.id, peer.said) {
        Choice::For(id) if id == me && row.registered == Registered::Primary => {
            let follows = peer.said.attached != Attached::Nobody;
            if follows { Vote::Deposed } else { Vote::Neutral }
        }
        Choice::For(id) if id == me => {
            let newer =
                |said: &Release| said.newer_without(row.id, &own.said.system, own.seen.timeline);
            match release.and_then(newer) {
                Some(LeftOut { by, timeline }) => Vote::LeftOut(by, timeline),
                None => Vote::ForMe { fresh: attests_contact(now, peer, me) },
            }
        }
        Choice::For(id) if witness || peer.said.attached != Attached::Nobody => Vote::ForOther(id),
        Choice::For(_) | Choice::Nobody => Vote::Neutral,
        Choice::UnknownUpstream => Vote::UnknownUpstream,
    }
}

/// Condition 4: the answer is this cluster's and this row's, and counts for no other row.
pub(crate) fn is_that_node(row: &Row, peer: Heard<'_>, own: Heard<'_>) -> bool {
    let same_cluster = row.registered == Registered::Witness || peer.said.system == own.said.system;
    same_cluster && peer.said.local_id.is_none_or(|id| id == row.id) && !row.shares_address
}

/// For whom a node votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    For(NodeId),
    Nobody,
    UnknownUpstream,
}

/// The one vote of a node: a pure function of its own answer, so that nobody ever has two.
fn vote(voter: NodeId, said: &Answer) -> Choice {
    let table = &said.table;
    let by_table = named(table).map_or(Choice::Nobody, Choice::For);
    if row(table, voter).is_some_and(|row| row.registered == Registered::Witness) {
        // Without a contact it gives no vote, whatever its table names: that is a copy which is as old.
        let seen = said.upstream_seen.is_some_and(|ago| ago <= FRESH);
        return said.upstream.filter(|_| seen).map_or(Choice::Nobody, Choice::For);
    }
    match &said.attached {
        Attached::Nobody => by_table,
        Attached::Unknown(_) => Choice::UnknownUpstream,
        // A cascade: whom its upstream follows, its own table tells.
        Attached::To(id) if is_standby(table, *id) => by_table,
        Attached::To(id) => Choice::For(*id),
    }
}

fn is_standby(table: &[Row], id: NodeId) -> bool {
    row(table, id).is_some_and(|row| row.registered == Registered::Standby)
}

/// Whether the voter's repmgrd reached this node within [`FRESH`], and will wait for its own patience
/// before it follows another. A lingering WAL receiver proves nothing: it goes on "streaming" for up
/// to `wal_receiver_timeout`. A voter that was told to follow another one does so at its first lost
/// ping (`try_primary_reconnect` in repmgrd-physical.c; seen on 5.3.3).
fn attests_contact(now: Stamp, peer: Heard<'_>, me: NodeId) -> bool {
    let age = now.since(peer.began);
    peer.said.upstream == Some(me)
        && peer.said.upstream_seen.is_some_and(|ago| ago + age <= FRESH)
        && may_stay(peer.said, me)
}

/// Whether nobody told the voter to follow another node than this one.
fn may_stay(said: &Answer, me: NodeId) -> bool {
    said.told.is_none_or(|told| told == me)
}

/// Whether the voter's repmgrd watches a standby, as a cascading one does: repmgr never elects it
/// (`monitor_streaming_standby` elects only where the upstream is the primary).
pub(crate) fn watches_a_standby(voter: Heard<'_>, me: NodeId) -> bool {
    let upstream = voter.said.upstream.filter(|_| may_stay(voter.said, me));
    upstream.is_some_and(|id| is_standby(&voter.said.table, id))
}

/// The timeline that a server writes or replays; zero where it did not say.
pub fn timeline(heard: Heard<'_>) -> Timeline {
    heard.seen.timeline.unwrap_or(Timeline(0))
}
