//! Rule R: whether this repmgr node is the primary that the cluster would agree on.
//!
//! repmgr promotes a standby by a majority of the standbys it can see; the old primary is not
//! asked, not fenced, and believes in itself when it comes back. So a node's own word counts for
//! nothing: it is the primary only while a majority of the rows of its own table stands behind it,
//! where each node has one vote, given by that node's own answer alone.
//!
//! Why this is safe: the old primary needs `floor(n/2)+1` of `n` nodes, itself among them; its
//! successor needs `floor((n-1)/2)+1` of the `n-1` others; together that is more than `n`, and no
//! node votes twice. Where the old one is in recovery and streams from its successor already, it may be
//! counted as a voter of that one, among all `n`: two majorities of the same nodes have one in common. What it rests on: only one deposed primary ever leaves the count, an inactive
//! row stays in it unless its server refuses connections now, and a yes settles for longer than any
//! old answer can live. The numbered conditions below are the rule's own.

use std::collections::BTreeMap;

use crate::look::repmgr::{NodeId, Registered, Row, named, row};
use crate::look::role::Role;
use crate::look::snapshot::{Heard, Snapshot, SourceFacts, heard, usable};
use crate::look::stamp::Stamp;
use crate::verdict::policy::{Electorate, TwoNode};
use crate::verdict::reason::Reason;
use crate::verdict::vote::{Vote, contribution, watches_a_standby};

/// What the rule says about this node as the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// A majority votes for it; `fresh`: nobody can be promoted by repmgr before a whole patience of
    /// its has passed from now on, because all who could be elected have just been in contact.
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
    /// Another node is writable, names itself the primary, and is on a newer timeline than this one.
    pub newer_rival: Option<NodeId>,
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
        newer_rival: None,
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
            let release = facts.releases.get(&row.id).and_then(|(_, release)| release.as_ref());
            (row.id, contribution(now, row, (snapshot, release), own, me, electorate))
        })
        .collect();
    let count = |wanted: &dyn Fn(&Vote) -> bool| peers.values().filter(|v| wanted(v)).count();
    let votes = 1 + count(&|vote| matches!(vote, Vote::ForMe { .. }));
    let contrary = count(&Vote::is_contrary);

    // 3. One deposed primary leaves the count, and inactive others whose servers refuse now.
    let deposed = |row: &Row| row.registered == Registered::Primary && !row.active;
    let refused = count(&|vote| matches!(vote, Vote::Refused));
    let others = table.len() - usize::from(table.iter().any(deposed)) - refused;
    // It comes back into the count with its vote where it follows this node before its row says so.
    let follows = usize::from(count(&|vote| matches!(vote, Vote::Deposed)) > 0);
    let (without, with) = ((votes, others), (votes + follows, others + follows));
    let (votes, electors) = if !is_majority(without) && is_majority(with) { with } else { without };

    let belt = belt(now, facts, electorate, me, own, &peers, votes);
    let ruling = match belt {
        // 7. Only where the votes are no majority of all rows.
        Some(reason) => Ruling::No(reason),
        // 6. A majority.
        // A server that refuses is out of the count and attests nothing: its repmgrd may have lost
        // this node long ago, and be elected as soon as its server starts.
        None if is_majority((votes, electors)) => Ruling::Yes {
            fresh: nobody_near_election(
                now,
                facts,
                electorate,
                me,
                table,
                &peers,
                electors + refused,
            ),
        },
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
    let counted =
        |id: &NodeId| matches!(peers[id], Vote::ForMe { .. } | Vote::Refused | Vote::Deposed);
    let used = facts.peers.iter().filter(|(id, _)| peers.contains_key(id) && counted(id));
    let looks = used.filter_map(|(_, peer)| peer.last_look()).chain([own.began]);
    let yes = matches!(ruling, Ruling::Yes { .. });
    let good_until = looks.min().filter(|_| yes).map(|began| began.plus(electorate.life));
    let newer_rival = peers.iter().find_map(|(id, vote)| match vote {
        Vote::Rival(timeline) if Some(*timeline) > own.seen.timeline => Some(*id),
        _ => None,
    });
    Round { ruling, electors, votes, peers, everybody_asked, good_until, newer_rival }
}

/// Whether so many votes are more than half of so many electors.
fn is_majority((votes, electors): (usize, usize)) -> bool {
    2 * votes > electors
}

/// Whether repmgr can promote nobody before its whole patience has passed from now on.
///
/// A majority must attest contact, and beside it every standby that could be elected: one that lost
/// this node long ago may be elected at any moment, and tells the others to follow it, which they do at
/// their first lost ping and not after a patience of their own. Only a witness never listens while it
/// waits (`monitor_streaming_witness`), so a majority of this node and witnesses alone does as well.
fn nobody_near_election(
    now: Stamp,
    facts: &SourceFacts,
    electorate: &Electorate,
    me: NodeId,
    table: &[Row],
    peers: &BTreeMap<NodeId, Vote>,
    electors: usize,
) -> bool {
    let attests = |row: &Row| peers.get(&row.id) == Some(&Vote::ForMe { fresh: true });
    let never_elected = |row: &Row| {
        let answer = facts.peers.get(&row.id).and_then(|peer| usable(peer, now, electorate.life));
        let votes_for_me = matches!(peers.get(&row.id), Some(Vote::ForMe { .. }));
        votes_for_me && answer.is_some_and(|voter| watches_a_standby(voter, me))
    };
    let others = || table.iter().filter(|row| row.id != me);
    let mut standbys = others().filter(|row| row.registered == Registered::Standby);
    let all_standbys = standbys.all(|row| attests(row) || never_elected(row));
    let attesting = others().filter(|row| attests(row));
    let (witnesses, servers): (Vec<&Row>, Vec<&Row>) =
        attesting.partition(|row| row.registered == Registered::Witness);
    let majority = |others: usize| 2 * (1 + others) > electors;
    majority(witnesses.len()) || (all_standbys && majority(witnesses.len() + servers.len()))
}

/// The nodes that a confirmed primary leaves out of the count because their servers are down: each is told
/// so, for started again it may still follow an older primary.
pub fn left_out(now: Stamp, facts: &SourceFacts, electorate: &Electorate) -> Vec<NodeId> {
    let round = rule(now, facts, electorate);
    let confirmed = matches!(round.ruling, Ruling::Yes { .. });
    let refused = round.peers.into_iter().filter(|(_, vote)| confirmed && *vote == Vote::Refused);
    refused.map(|(id, _)| id).collect()
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
        if let Vote::LeftOut(node, timeline) = vote {
            return Some(Reason::NewerTimeline { node: *node, timeline: *timeline });
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
