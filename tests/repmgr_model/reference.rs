//! The rule once more, as its text has it, with switches that take one part of it back.
//!
//! Written apart from `src/verdict/quorum.rs`: on every state of the searches both must say the same, and
//! each search must find the hole that a switch opens.

use rolecall::look::error::ErrorKind;
use rolecall::look::repmgr::{Answer, Attached, NodeId, Registered, Row, named, row};
use rolecall::look::role::Role;
use rolecall::look::snapshot::{Snapshot, SourceFacts};
use rolecall::look::stamp::Stamp;
use rolecall::verdict::policy::{Electorate, TwoNode};
use rolecall::verdict::quorum::{Round, Ruling};
use rolecall::verdict::vote::FRESH;

/// A part of the rule or of what rests on it, taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// F1: an inactive standby or witness leaves the count without refusing connections.
    InactiveLeaves,
    /// F3: whoever is attached to a node that says it is in recovery votes for everybody.
    ChainByOthersWord,
    /// F4: every deposed primary leaves the count.
    EveryDeposedLeaves,
    /// F5: a yes counts at once.
    NoSettle,
    /// F5: an answer may be used for ever.
    NoExpiry,
    /// F6: a streaming receiver attests contact.
    FreshByReceiver,
    /// F7: a majority that attests contact is enough, though a standby that could be elected does not.
    MajorityAttests,
    /// A witness that has lost its upstream votes for whom its table names, as at first.
    WitnessByTable,
    /// A silent node holds without asking what the peers say.
    SilenceAlone,
    /// A restart record is good for a whole life from when it is written.
    RecordForALife,
    /// HAProxy's companion check passes whatever the word is.
    CompanionOnMaint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    FreshYes,
    Yes,
    Isolated,
    Silent,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub says: Says,
    pub votes: usize,
    pub electors: usize,
    /// For a yes: until when the answers it was counted from may be used.
    pub good_until: Option<Stamp>,
}

impl Outcome {
    fn outright(says: Says) -> Self {
        Self { says, votes: 0, electors: 0, good_until: None }
    }

    pub fn is_yes(self) -> bool {
        matches!(self.says, Says::Yes | Says::FreshYes)
    }
}

/// What `src/verdict/quorum.rs` said, in the words of this file.
pub fn said(round: &Round) -> Outcome {
    let says = match round.ruling {
        Ruling::Yes { fresh: true } => Says::FreshYes,
        Ruling::Yes { fresh: false } => Says::Yes,
        Ruling::Isolated(_) => Says::Isolated,
        Ruling::Silent(_) => Says::Silent,
        Ruling::No(_) => Says::No,
    };
    Outcome { says, votes: round.votes, electors: round.electors, good_until: round.good_until }
}

struct Fact<'a> {
    asked: Stamp,
    in_recovery: bool,
    timeline: u32,
    said: &'a Answer,
}

/// The rule with its parameters.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    pub electorate: Electorate,
    pub mutant: Option<Mutant>,
}

impl Reference {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn young(&self, now: Stamp, asked: Stamp) -> bool {
        self.is(Mutant::NoExpiry) || now.since(asked) < self.electorate.life
    }

    fn answer<'a>(&self, snapshot: Option<&'a Snapshot>, now: Stamp) -> Option<Fact<'a>> {
        let fact = last(snapshot?)?;
        (snapshot?.failing().is_none() && self.young(now, fact.asked)).then_some(fact)
    }

    fn refused(&self, snapshot: Option<&Snapshot>, now: Stamp) -> Option<Stamp> {
        let (asked, error) = snapshot?.failing()?;
        (error.kind == ErrorKind::ServerDown && self.young(now, asked)).then_some(asked)
    }

    fn vote(
        &self,
        facts: &SourceFacts,
        now: Stamp,
        me: NodeId,
        voter: NodeId,
        f: &Fact<'_>,
    ) -> Option<NodeId> {
        let table = &f.said.table;
        let witness = row(table, voter).is_some_and(|r| r.registered == Registered::Witness);
        let by = if witness {
            f.said.upstream.filter(|_| f.said.upstream_seen.is_some_and(|ago| ago <= FRESH))
        } else {
            match f.said.attached {
                Attached::To(id) => Some(id),
                Attached::Unknown(_) => return None,
                Attached::Nobody => None,
            }
        };
        if witness && by.is_none() && !self.is(Mutant::WitnessByTable) {
            return None;
        }
        let Some(by) = by else { return named(table) };
        if self.is(Mutant::ChainByOthersWord) && by != me {
            let theirs = self.answer(facts.peers.get(&by), now);
            return if theirs.is_some_and(|theirs| theirs.in_recovery) {
                Some(me)
            } else {
                Some(by)
            };
        }
        let standby = row(table, by).is_some_and(|r| r.registered == Registered::Standby);
        if !witness && standby { named(table) } else { Some(by) }
    }

    #[expect(clippy::too_many_lines, reason = "as the text has it, condition after condition")]
    pub fn evaluate(&self, now: Stamp, facts: &SourceFacts) -> Outcome {
        // 1.
        if let Some((_, error)) = facts.own.failing()
            && error.kind == ErrorKind::ServerDown
        {
            return Outcome::outright(Says::No);
        }
        let Some(own) = last(&facts.own) else { return Outcome::outright(Says::Silent) };
        let live = self.answer(Some(&facts.own), now).is_some();
        let Some(me) = place(&own) else { return Outcome::outright(Says::No) };
        let table = &own.said.table;
        let rows = table.len();
        let mut electors = rows;
        let deposed = |r: &Row| r.registered == Registered::Primary && !r.active;
        let gone = table.iter().filter(|r| deposed(r)).count();
        electors -= if self.is(Mutant::EveryDeposedLeaves) { gone } else { gone.min(1) };

        let (mut votes, mut fresh, mut against, mut belt) = (1, 1, 0, false);
        // F7: the witnesses among those who attest, and whether a standby that could be elected does not.
        let (mut fresh_witnesses, mut unattested) = (1, 0);
        let mut rivals = Vec::new();
        let mut attached = Vec::new();
        let mut oldest = own.asked;
        // Out of the count, but not out of those who would have to attest contact.
        let mut refusing = 0;
        // The deposed primary follows this node already.
        let mut follows = 0;
        for r in table.iter().filter(|r| r.id != me) {
            let snapshot = facts.peers.get(&r.id);
            unattested += usize::from(r.registered == Registered::Standby);
            let other_kind = r.registered != Registered::Primary;
            if self.is(Mutant::InactiveLeaves) && other_kind && !r.active {
                electors -= 1;
                continue;
            }
            // 2. and 3.
            let Some(f) = self.answer(snapshot, now) else {
                if other_kind
                    && !r.active
                    && self.electorate.trust_refused
                    && let Some(asked) = self.refused(snapshot, now)
                {
                    electors -= 1;
                    refusing += 1;
                    oldest = oldest.min(asked);
                }
                continue;
            };
            // 4.
            let witness = r.registered == Registered::Witness;
            let same = witness || f.said.system == own.said.system;
            if !same || f.said.local_id.is_some_and(|id| id != r.id) || r.shares_address {
                continue;
            }
            // 5.
            if !witness && !f.in_recovery {
                against += 1;
                if named(&f.said.table) == Some(r.id) {
                    rivals.push((r.id, f.timeline));
                }
                continue;
            }
            if !witness && f.timeline > own.timeline {
                (against, belt) = (against + 1, true);
                continue;
            }
            belt |= row(&f.said.table, me).is_some_and(deposed) && named(&f.said.table).is_some();
            match self.vote(facts, now, me, r.id, &f) {
                Some(id) if id == me && deposed(r) && f.said.attached != Attached::Nobody => {
                    follows = 1;
                    oldest = oldest.min(f.asked);
                }
                Some(id) if id == me && deposed(r) => {}
                Some(id) if id == me => {
                    votes += 1;
                    let attests = self.attests(now, me, &f);
                    fresh += usize::from(attests);
                    fresh_witnesses += usize::from(attests && witness);
                    let of_a_standby = f.said.told.is_none_or(|told| told == me)
                        && f.said
                            .upstream
                            .and_then(|up| row(&f.said.table, up))
                            .is_some_and(|up| up.registered == Registered::Standby);
                    unattested -= usize::from(!witness && (attests || of_a_standby));
                    oldest = oldest.min(f.asked);
                }
                Some(id) if witness || f.said.attached != Attached::Nobody => {
                    against += 1;
                    attached.push(id);
                }
                _ => {}
            }
        }
        if 2 * votes <= electors && 2 * (votes + follows) > electors + follows {
            (votes, electors) = (votes + follows, electors + follows);
        }
        // 7. and 6.
        let mut no = false;
        if 2 * votes <= rows {
            no = belt
                || rivals.iter().any(|(id, timeline)| {
                    let behind = attached.iter().filter(|to| *to == id).count();
                    *timeline >= own.timeline || 2 * (1 + behind) > rows
                });
        }
        let two = electors == 2 && against == 0 && self.electorate.two_node == TwoNode::Ready;
        let says = if no {
            Says::No
        } else if 2 * votes > electors {
            let everybody = unattested == 0 || self.is(Mutant::MajorityAttests);
            let attested = 2 * fresh > electors + refusing
                && (everybody || 2 * fresh_witnesses > electors + refusing);
            if attested { Says::FreshYes } else { Says::Yes }
        } else if two {
            Says::Yes
        } else if against == 0 {
            Says::Isolated
        } else {
            Says::No
        };
        let says = if live || says == Says::No { says } else { Says::Silent };
        let yes = matches!(says, Says::Yes | Says::FreshYes);
        let good_until = Some(oldest.plus(self.electorate.life)).filter(|_| yes);
        Outcome { says, votes, electors, good_until }
    }

    fn attests(&self, now: Stamp, me: NodeId, f: &Fact<'_>) -> bool {
        let age = now.since(f.asked);
        let contact = f.said.upstream == Some(me)
            && f.said.upstream_seen.is_some_and(|ago| ago + age <= FRESH)
            && f.said.told.is_none_or(|told| told == me);
        let receiver = self.is(Mutant::FreshByReceiver) && f.said.attached == Attached::To(me);
        contact || receiver
    }
}

fn last(snapshot: &Snapshot) -> Option<Fact<'_>> {
    let (asked, seen) = snapshot.good()?;
    Some(Fact {
        asked,
        in_recovery: seen.role != Some(Role::Primary),
        timeline: seen.timeline?.0,
        said: seen.repmgr.as_deref()?,
    })
}

/// Condition 1 by the own answer.
fn place(own: &Fact<'_>) -> Option<NodeId> {
    let me = own.said.me?;
    let own_row = row(&own.said.table, me)?;
    let mine = own.said.local_id.is_none_or(|id| id == me);
    let primary = own_row.registered == Registered::Primary && own_row.active;
    (!own.in_recovery && mine && primary && named(&own.said.table) == Some(me)).then_some(me)
}
