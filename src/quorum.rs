//! Rule R: whether this repmgr node is the primary that the cluster would agree on.
//!
//! repmgr promotes a standby by a majority of the standbys it can see; the old primary is not
//! asked, not fenced, and believes in itself when it comes back. So a node's own word counts for
//! nothing: it is the primary only while a majority of the rows of its own table stands behind it,
//! where each node has one vote, given by that node's own answer alone.
//!
//! Why this is safe: the old primary needs `floor(n/2)+1` of `n` nodes, itself among them; its
//! successor needs `floor((n-1)/2)+1` of the `n-1` others; together that is more than `n`, and no
//! node votes twice. What it rests on: only one deposed primary ever leaves the count, an inactive
//! row stays in it unless its server refuses connections now, and a yes settles for longer than any
//! old answer can live. The numbered conditions below are the rule's own.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::clock::Stamp;
use crate::electorate::{Answer, Attached, NodeId, Registered, Row, named, row};
use crate::observation::{ErrorKind, Observation};
use crate::reason::Reason;
use crate::role::{Role, Timeline};
use crate::snapshot::{Snapshot, SourceFacts};

/// A repmgrd that reached its upstream within this time attests a contact that is still good; three
/// times its shortest usual `monitor_interval_secs`.
pub const FRESH: Duration = Duration::from_secs(3);

/// What an operator chose for the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Electorate {
    /// How long an answer may be used, from the moment it was asked for:
    /// `max(interval + timeout, 2 x timeout) + 100 ms`.
    pub life: Duration,
    /// What a node says that has lost the only other voter.
    pub two_node: TwoNode,
    /// Whether a refused connection comes from the host itself: not so where a firewall answers
    /// with resets.
    pub trust_refused: bool,
}

/// What a primary does where two nodes vote and the other one is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwoNode {
    /// Not ready: nobody writes until the other is back, and there are never two primaries.
    Maint,
    /// Ready: writes go on, and go on here too when the other one has been promoted.
    Ready,
}

/// What the rule says about this node as the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// A majority votes for it; `fresh`: a majority whose repmgrd attests contact with it just now.
    Yes {
        /// See above.
        fresh: bool,
    },
    /// Too few votes, and nothing against it.
    Isolated(Reason),
    /// Its own server does not answer now; by its last answer and the peers' live ones nothing is
    /// against it.
    Silent(Reason),
    /// It is not the primary to be used.
    No(Reason),
}

/// What one other node contributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// It votes for this node; `fresh` as in [`Ruling::Yes`].
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
    /// It would vote for this node, but it is a deposed primary that was not registered again.
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

impl Vote {
    /// Whether this speaks against this node.
    pub fn is_contrary(&self) -> bool {
        matches!(
            self,
            Self::ForOther(_)
                | Self::Rival(_)
                | Self::WritableUnregistered
                | Self::NewerTimeline(_)
        )
    }
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForMe { fresh: true } => f.write_str("votes for this node, in fresh contact"),
            Self::ForMe { fresh: false } => f.write_str("votes for this node"),
            Self::ForOther(id) => write!(f, "votes for {id}"),
            Self::Rival(timeline) => write!(f, "says it is the primary, on timeline {timeline}"),
            Self::WritableUnregistered => f.write_str("takes writes, and nobody registered that"),
            Self::NewerTimeline(timeline) => write!(f, "follows the newer timeline {timeline}"),
            Self::Deposed => {
                f.write_str("a deposed primary: its vote counts once it is registered")
            }
            Self::Neutral => f.write_str("votes for nobody"),
            Self::UnknownUpstream => {
                f.write_str("votes for nobody known: add its upstream's name to `addresses`")
            }
            Self::Foreign => f.write_str("not counted: another cluster's or another node's answer"),
            Self::Unreachable => f.write_str("no answer, no vote"),
            Self::Refused => f.write_str("down and inactive: not counted among the nodes"),
        }
    }
}

/// One evaluation of the rule, with all it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// What follows.
    pub ruling: Ruling,
    /// Nodes that count, this one among them; zero where it did not come to counting.
    pub electors: usize,
    /// Votes for this node, its own among them.
    pub votes: usize,
    /// What each other node of the own table contributes.
    pub peers: BTreeMap<NodeId, Vote>,
    /// Whether every server of the own table has been looked at at least once.
    pub everybody_asked: bool,
    /// For a yes: until when the answers it was counted from may be used.
    pub good_until: Option<Stamp>,
}

/// An answer with the observation it came with.
#[derive(Clone, Copy)]
pub struct Heard<'a> {
    /// When it was asked for.
    pub began: Stamp,
    /// What PostgreSQL said of itself.
    pub seen: &'a Observation,
    /// What it said of the cluster.
    pub said: &'a Answer,
}

impl Heard<'_> {
    fn in_recovery(&self) -> bool {
        self.seen.role != Some(Role::Primary)
    }
}

fn heard(snapshot: &Snapshot) -> Option<Heard<'_>> {
    let (began, seen) = snapshot.good()?;
    Some(Heard { began, seen, said: seen.repmgr.as_deref()? })
}

/// The answer that may be used now: asked for less than its life ago, and no later look failed.
pub fn usable(snapshot: &Snapshot, now: Stamp, life: Duration) -> Option<Heard<'_>> {
    heard(snapshot).filter(|h| snapshot.failing().is_none() && now.since(h.began) < life)
}

/// Time between the end of what an isolated primary may still say and the earliest moment at which
/// repmgr promotes another: what clocks, repmgrd's own pace and a loaded host may take of it.
const BEFORE_FAILOVER: Duration = Duration::from_secs(5);

/// Longest hold that is chosen without being asked for: a silence that is longer is no hiccup.
const USUAL_HOLD: Duration = Duration::from_secs(15);

/// Least patience of repmgr with which a hold is chosen at all.
const FAILOVER_WITH_HOLD: Duration = Duration::from_secs(10);

/// Longest hold of a primary where repmgr waits this long: over, before it can have promoted another.
pub fn most_hold(failover_after: Duration) -> Duration {
    failover_after.saturating_sub(BEFORE_FAILOVER)
}

/// The hold that nobody chose.
pub fn usual_hold(failover_after: Duration) -> Duration {
    if failover_after < FAILOVER_WITH_HOLD {
        return Duration::ZERO;
    }
    most_hold(failover_after).min(USUAL_HOLD)
}

/// Judges this node as the primary of its repmgr cluster.
pub fn rule(now: Stamp, facts: &SourceFacts, electorate: &Electorate) -> Round {
    let own_asked = facts.own.last_look().is_some();
    let outright = |ruling| Round {
        ruling,
        electors: 0,
        votes: 0,
        peers: BTreeMap::new(),
        everybody_asked: own_asked,
        good_until: None,
    };

    // 1. The own server, on a new connection, says it is the one active primary of its own table.
    let failure = facts.own.failing().map(|(_, error)| error);
    if let Some(error) = failure.filter(|error| error.kind.is_contrary()) {
        return outright(Ruling::No(Reason::Failed(error.clone())));
    }
    let unheard = failure.map_or(Reason::NoLookYet, |error| Reason::Failed(error.clone()));
    let Some(own) = heard(&facts.own) else { return outright(Ruling::Silent(unheard)) };
    let me = match own_place(own) {
        Ok(me) => me,
        Err(reason) => return outright(Ruling::No(reason)),
    };

    // 2. to 5. Every other node of the own table: who counts, and for whom it votes.
    let table = &own.said.table;
    let nobody = Snapshot::default();
    let peers: BTreeMap<_, _> = table
        .iter()
        .filter(|row| row.id != me)
        .map(|row| {
            let snapshot = facts.peers.get(&row.id).unwrap_or(&nobody);
            (row.id, contribution(now, row, snapshot, own, me, electorate))
        })
        .collect();
    let count = |wanted: &dyn Fn(&Vote) -> bool| peers.values().filter(|v| wanted(v)).count();
    let votes = 1 + count(&|vote| matches!(vote, Vote::ForMe { .. }));
    let fresh = 1 + count(&|vote| matches!(vote, Vote::ForMe { fresh: true }));
    let contrary = count(&Vote::is_contrary);

    // 3. One deposed primary leaves the count, and inactive others whose servers refuse now.
    let deposed = |row: &Row| row.registered == Registered::Primary && !row.active;
    let refused = count(&|vote| matches!(vote, Vote::Refused));
    let electors = table.len() - usize::from(table.iter().any(deposed)) - refused;

    let belt = belt(now, facts, electorate, me, own, &peers, votes);
    let ruling = match belt {
        // 7. Only where the votes are no majority of all rows.
        Some(reason) => Ruling::No(reason),
        // 6. A majority.
        // A server that refuses is out of the count and attests nothing: its repmgrd may have lost
        // this node long ago, and be elected as soon as its server starts.
        None if 2 * votes > electors => Ruling::Yes { fresh: 2 * fresh > electors + refused },
        None if electors == 2 && contrary == 0 && electorate.two_node == TwoNode::Ready => {
            Ruling::Yes { fresh: false }
        }
        None => {
            let reason = Reason::NoMajority { votes, electors };
            if contrary == 0 { Ruling::Isolated(reason) } else { Ruling::No(reason) }
        }
    };
    let live = usable(&facts.own, now, electorate.life).is_some();
    let ruling = match ruling {
        Ruling::Yes { .. } | Ruling::Isolated(_) if !live => Ruling::Silent(match failure {
            Some(error) => Reason::Failed(error.clone()),
            None => Reason::Stale,
        }),
        ruling => ruling,
    };
    let asked = |id| facts.peers.get(id).is_some_and(|peer| peer.last_look().is_some());
    let everybody_asked = own_asked && peers.keys().all(asked);
    let counted = |id: &NodeId| matches!(peers[id], Vote::ForMe { .. } | Vote::Refused);
    let used = facts.peers.iter().filter(|(id, _)| peers.contains_key(id) && counted(id));
    let looks = used.filter_map(|(_, peer)| peer.last_look()).chain([own.began]);
    let yes = matches!(ruling, Ruling::Yes { .. });
    let good_until = looks.min().filter(|_| yes).map(|began| began.plus(electorate.life));
    Round { ruling, electors, votes, peers, everybody_asked, good_until }
}

/// When each answer that may be used now ceases to be: the moments at which the ruling can change
/// though nothing new is seen.
pub fn expiries<'a>(
    now: Stamp,
    facts: &'a SourceFacts,
    electorate: &Electorate,
) -> impl Iterator<Item = Stamp> + 'a {
    let life = electorate.life;
    std::iter::once(&facts.own)
        .chain(facts.peers.values())
        .filter_map(Snapshot::last_look)
        .map(move |began| began.plus(life))
        .filter(move |ends| *ends > now)
}

/// Condition 1: which node this is, or why it is not the primary by its own answer.
fn own_place(own: Heard<'_>) -> Result<NodeId, Reason> {
    let said = own.said;
    let row_of = |me| row(&said.table, me);
    if said.me.and_then(row_of).is_some_and(|row| row.registered == Registered::Witness) {
        return Err(Reason::Witness);
    }
    if own.in_recovery() {
        return Err(Reason::OtherRole(own.seen.role.unwrap_or(Role::Replica)));
    }
    let me = said.me.ok_or(Reason::NodeUnknown)?;
    let Some(row) = row_of(me) else { return Err(Reason::NotRegistered(me)) };
    if let Some(other) = said.local_id.filter(|id| *id != me) {
        return Err(Reason::OtherNode { configured: me, told: other });
    }
    if row.registered != Registered::Primary || !row.active {
        return Err(Reason::OwnRow { registered: row.registered, active: row.active });
    }
    if named(&said.table) != Some(me) {
        return Err(Reason::SeveralPrimaries);
    }
    if own.seen.read_only {
        return Err(Reason::ReadOnly);
    }
    Ok(me)
}

/// Conditions 2 to 5 for one row of the own table.
fn contribution(
    now: Stamp,
    row: &Row,
    snapshot: &Snapshot,
    own: Heard<'_>,
    me: NodeId,
    electorate: &Electorate,
) -> Vote {
    let Some(peer) = usable(snapshot, now, electorate.life) else {
        let refused = snapshot.failing().is_some_and(|(began, error)| {
            error.kind == ErrorKind::ServerDown && now.since(began) < electorate.life
        });
        let leaves = row.registered != Registered::Primary
            && !row.active
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
        Choice::For(id) if id == me && row.registered == Registered::Primary => Vote::Deposed,
        Choice::For(id) if id == me => Vote::ForMe { fresh: attests_contact(now, peer, me) },
        Choice::For(id) if witness || peer.said.attached != Attached::Nobody => Vote::ForOther(id),
        Choice::For(_) | Choice::Nobody => Vote::Neutral,
        Choice::UnknownUpstream => Vote::UnknownUpstream,
    }
}

/// Condition 4: the answer is this cluster's and this row's, and counts for no other row.
fn is_that_node(row: &Row, peer: Heard<'_>, own: Heard<'_>) -> bool {
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
        let seen = said.upstream_seen.is_some_and(|ago| ago <= FRESH);
        // Its table alone gives no vote: it may be older than what its repmgrd follows, and the vote
        // would go back to the old primary without the time that repmgrd's detection takes.
        let stands = |up: &NodeId| seen || named(table) == Some(*up);
        return said.upstream.filter(stands).map_or(Choice::Nobody, Choice::For);
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

/// Whether the voter's repmgrd reached this node within [`FRESH`]. A lingering WAL receiver proves
/// nothing: it goes on "streaming" for up to `wal_receiver_timeout`.
fn attests_contact(now: Stamp, peer: Heard<'_>, me: NodeId) -> bool {
    let age = now.since(peer.began);
    peer.said.upstream == Some(me) && peer.said.upstream_seen.is_some_and(|ago| ago + age <= FRESH)
}

fn timeline(heard: Heard<'_>) -> Timeline {
    heard.seen.timeline.unwrap_or(Timeline(0))
}

/// Condition 7, a belt for the reasons it prints: it only speaks where the votes are no majority of
/// all rows, else two nodes could keep each other out for ever after a partition heals.
fn belt(
    now: Stamp,
    facts: &SourceFacts,
    electorate: &Electorate,
    me: NodeId,
    own: Heard<'_>,
    peers: &BTreeMap<NodeId, Vote>,
    votes: usize,
) -> Option<Reason> {
    let rows = own.said.table.len();
    if 2 * votes > rows {
        return None;
    }
    for (id, vote) in peers {
        if let Vote::NewerTimeline(timeline) = vote {
            return Some(Reason::NewerTimeline { node: *id, timeline: *timeline });
        }
        let valid = !matches!(vote, Vote::Foreign | Vote::Unreachable | Vote::Refused);
        let writable = matches!(vote, Vote::Rival(_) | Vote::WritableUnregistered);
        let answer = facts.peers.get(id).and_then(|peer| usable(peer, now, electorate.life));
        let Some(peer) = answer.filter(|_| valid && !writable) else { continue };
        let deposed = row(&peer.said.table, me)
            .is_some_and(|row| row.registered == Registered::Primary && !row.active);
        if deposed && named(&peer.said.table).is_some() {
            return Some(Reason::DeposedBy(*id));
        }
    }
    peers.iter().find_map(|(id, vote)| {
        let Vote::Rival(timeline) = vote else { return None };
        let behind = peers.values().filter(|vote| **vote == Vote::ForOther(*id)).count();
        let stronger = Some(*timeline) >= own.seen.timeline || 2 * (1 + behind) > rows;
        stronger.then_some(Reason::Rival(*id))
    })
}
