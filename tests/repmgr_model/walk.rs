//! Walks through the states of a modelled cluster: every one within some events, or many by chance.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use rolecall::look::stamp::Stamp;
use rolecall::verdict::policy::{Electorate, TwoNode};
use rolecall::verdict::quorum::rule;

use crate::cluster::{Cluster, Event, Host, Id, Kind, MOST};
use crate::reference::{Mutant, Reference, said};
use crate::rng::{Rng, mixed};

pub const RULES: Electorate = Electorate {
    life: Duration::from_millis(1700),
    memory: Duration::from_secs(2),
    two_node: TwoNode::Maint,
    trust_refused: true,
};

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Attaches and registers only to the node that is READY, unregisters only what is gone for good.
    Careful,
    /// Anything the commands allow.
    Any,
}

/// Which nodes say yes in this state, as a bit mask. The two implementations of the rule must agree
/// about every node; `everybody`: also about those that are not writable, which never say yes.
pub fn yeses(cluster: &Cluster, everybody: bool) -> u8 {
    let now = Stamp::new(Duration::ZERO);
    let reference = Reference { electorate: RULES, mutant: None };
    let yes = |id: &Id| {
        let facts = cluster.instant_view(*id);
        let real = said(&rule(now, &facts, &RULES));
        assert_eq!(real, reference.evaluate(now, &facts), "node {} of {cluster:?}", id + 1);
        assert!(cluster.writable(*id) || !real.is_yes(), "node {} of {cluster:?}", id + 1);
        real.is_yes()
    };
    mask(cluster.ids().filter(|id| everybody || cluster.writable(*id)).filter(yes))
}

/// The same by the reference with a part of it taken back.
pub fn mutant_yeses(cluster: &Cluster, mutant: Mutant) -> u8 {
    let now = Stamp::new(Duration::ZERO);
    let reference = Reference { electorate: RULES, mutant: Some(mutant) };
    let yes = |id: &Id| reference.evaluate(now, &cluster.instant_view(*id)).is_yes();
    mask(cluster.ids().filter(|id| cluster.writable(*id)).filter(yes))
}

fn mask(ids: impl Iterator<Item = Id>) -> u8 {
    ids.fold(0, |mask, id| mask | 1 << id)
}

/// Whether a careful operator would do it in a state where these nodes say yes.
fn is_careful(cluster: &Cluster, event: Event, yes: u8) -> bool {
    let ready = |id: Id| yes & (1 << id) != 0;
    match event {
        Event::Rejoin(_, to) | Event::WitnessRegister(_, to) | Event::Register(_, to) => ready(to),
        Event::FollowByHand(_, to) => ready(cluster.root(to)),
        Event::Unregister(id, on) => ready(on) && cluster.node(id).host == Host::Down,
        Event::RegisterPrimary(id) => cluster.row(id, id).is_some(),
        _ => true,
    }
}

/// Which events a walk is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    Everything,
    /// Without what others stand for: a lost host is a crash behind a partition, a stopped repmgrd
    /// one that is never the first, and a switchover, a server promoted past repmgr and a cascade are
    /// sequences of the rest or rarer forms of it.
    Core,
}

impl Alphabet {
    fn has(self, event: Event) -> bool {
        use Event as E;
        let rare = matches!(
            event,
            E::HostDown(_)
                | E::HostUp(_)
                | E::StopRepmgrd(_)
                | E::StartRepmgrd(_)
                | E::PgPromote(_)
                | E::RegisterPrimary(_)
                | E::Switch(_)
                | E::Unregister(..)
        );
        self == Self::Everything || !rare
    }
}

/// The events there are for a cluster of this form.
pub fn events(cluster: &Cluster, alphabet: Alphabet) -> Vec<Event> {
    every_event(cluster).into_iter().filter(|event| alphabet.has(*event)).collect()
}

fn every_event(cluster: &Cluster) -> Vec<Event> {
    let mut events = vec![Event::HealAll];
    let all = (1u8 << cluster.size) - 1;
    // A set and its complement are the same partition.
    events.extend((1..all).filter(|mask| mask & 1 == 1).map(Event::Part));
    for id in cluster.ids() {
        use Event as E;
        let any = [E::Crash, E::Start, E::HostDown, E::HostUp, E::Freeze, E::Thaw]
            .into_iter()
            .chain([E::StopRepmgrd, E::StartRepmgrd, E::Failure, E::Recovery]);
        events.extend(any.map(|event| event(id)));
        if cluster.witness == Some(id) {
            events.extend([E::Sync(id), E::Lapse(id)]);
        } else {
            events.extend(
                [E::Elect, E::WriteRow, E::Replicate, E::Drop, E::Attach]
                    .into_iter()
                    .chain([E::PromoteByHand, E::PgPromote, E::RegisterPrimary, E::Switch])
                    .map(|event| event(id)),
            );
        }
        for other in cluster.ids().filter(|other| *other != id) {
            events.extend([E::Cut(id, other), E::Heal(id, other), E::Unregister(id, other)]);
            if cluster.witness == Some(other) {
                continue;
            }
            if cluster.witness == Some(id) {
                events.extend([E::WitnessFollow(id, other), E::WitnessRegister(id, other)]);
            } else {
                events.extend([E::Follow(id, other), E::FollowByHand(id, other)]);
                events.extend([E::Rejoin(id, other), E::Register(id, other)]);
            }
        }
    }
    events
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Found {
    pub states: usize,
    /// States with two servers that take writes.
    pub two_writable: usize,
    /// The first state with two yeses.
    pub double: Option<Cluster>,
    /// States with two yeses by tables of the same nodes.
    pub doubles: usize,
    /// States with two yeses by tables of different nodes: one was registered or unregistered and
    /// the other table has not replayed it. The majorities then need not meet.
    pub unequal: usize,
}

impl Found {
    fn note(&mut self, cluster: &Cluster, yes: u8) {
        self.states += 1;
        self.two_writable += usize::from(cluster.two_writable());
        if yes.count_ones() < 2 {
            return;
        }
        let mut tables = cluster
            .ids()
            .filter(|id| yes & (1 << id) != 0)
            .map(|id| cluster.node(id).rows.map(|row| row.is_some()));
        let first = tables.next();
        if tables.all(|table| Some(table) == first) {
            self.doubles += 1;
            self.double.get_or_insert(*cluster);
        } else {
            self.unequal += 1;
        }
    }
}

/// Takes keys that are well mixed already.
#[derive(Default)]
pub struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// Every state within so many events of the given ones, states that differ in the names of nodes
/// only taken as one. Of those that the last event leads to, only the ones with two writable servers
/// are looked at: where one server takes writes, one says yes at most.
pub fn everything(
    roots: &[Cluster],
    depth: usize,
    events: &[Event],
    operator: Operator,
    yeses: &dyn Fn(&Cluster) -> u8,
) -> Found {
    let orders = orders(&roots[0]);
    let mut known: HashSet<u64, BuildHasherDefault<Taken>> = HashSet::default();
    let mut found = Found::default();
    let mut front: Vec<Cluster> = Vec::new();
    for root in roots {
        if known.insert(key(root, &orders)) {
            front.push(*root);
        }
    }
    for done in 0..=depth {
        let mut next = Vec::new();
        for cluster in &front {
            let yes = yeses(cluster);
            found.note(cluster, yes);
            if done == depth {
                continue;
            }
            let last = done + 1 == depth;
            for event in events {
                if operator == Operator::Careful && !is_careful(cluster, *event, yes) {
                    continue;
                }
                let mut after = *cluster;
                let matters = |after: &Cluster| !last || after.two_writable();
                if after.apply(*event) && matters(&after) && known.insert(key(&after, &orders)) {
                    next.push(after);
                }
            }
        }
        front = next;
    }
    found
}

/// The orders of the nodes without the witness: what is told apart by nothing but its number.
fn orders(cluster: &Cluster) -> Vec<[Id; MOST]> {
    let movable = usize::from(cluster.size - u8::from(cluster.witness.is_some()));
    let mut orders = vec![[0, 1, 2, 3, 4]];
    for at in 0..movable {
        let so_far = orders.clone();
        orders = so_far
            .iter()
            .flat_map(|order| {
                (at..movable).map(move |with| {
                    let mut order = *order;
                    order.swap(at, with);
                    order
                })
            })
            .collect();
    }
    orders
}

/// A number of a state that is the same for every order of its nodes.
fn key(cluster: &Cluster, orders: &[[Id; MOST]]) -> u64 {
    orders.iter().map(|to| ordered_key(cluster, *to)).min().unwrap_or_default()
}

fn ordered_key(cluster: &Cluster, to: [Id; MOST]) -> u64 {
    let at = |id: Id| u64::from(to[usize::from(id)]);
    let maybe = |id: Option<Id>| id.map_or(7, at);
    let mut sum = 0u64;
    for id in cluster.ids() {
        let node = cluster.node(id);
        let mut word = node.host as u64;
        for flag in
            [node.postgres, node.in_recovery, node.streaming, node.repmgrd, node.seen, node.row_due]
        {
            word = word << 1 | u64::from(flag);
        }
        word = word << 4 | u64::from(node.timeline);
        word = word << 3 | maybe(node.follows);
        word = word << 3 | maybe(node.upstream);
        let mut rows = 0u64;
        let mut reach = 0u64;
        for other in cluster.ids() {
            let row = node.rows[usize::from(other)].map_or(0, |row| {
                let kind = match row.kind {
                    Kind::Primary => 1,
                    Kind::Standby => 2,
                    Kind::Witness => 3,
                };
                kind << 4 | u64::from(row.active) << 3 | maybe(row.upstream)
            });
            rows |= row << (6 * at(other));
            reach |= u64::from(cluster.reaches(id, other)) << at(other);
        }
        word = word << 5 | reach;
        // Each node's part is mixed with its place, so that the sum does not depend on the order.
        sum = sum.wrapping_add(mixed(mixed(word ^ at(id) << 58).wrapping_add(rows)));
    }
    sum
}

/// How often a walk by chance tries an event: what repairs and what goes on by itself more often than
/// what breaks, else a cluster is soon past every election.
fn tries(event: Event) -> usize {
    use Event as E;
    match event {
        E::Elect(_) | E::WriteRow(_) | E::Replicate(_) | E::PromoteByHand(_) => 6,
        E::Start(_)
        | E::HostUp(_)
        | E::Thaw(_)
        | E::StartRepmgrd(_)
        | E::Attach(_)
        | E::Rejoin(..)
        | E::Follow(..)
        | E::FollowByHand(..)
        | E::Recovery(_)
        | E::Switch(_) => 4,
        E::Part(_) | E::Failure(_) | E::Crash(_) | E::HealAll => 2,
        _ => 1,
    }
}

/// Walks by chance: each takes so many events that can happen.
pub fn by_chance(
    start: &Cluster,
    seeds: std::ops::Range<u64>,
    events: usize,
    operator: Operator,
    yeses: &dyn Fn(&Cluster) -> u8,
) -> (Found, Option<Vec<Event>>) {
    let alphabet: Vec<Event> = every_event(start)
        .into_iter()
        .flat_map(|event| std::iter::repeat_n(event, tries(event)))
        .collect();
    let mut found = Found::default();
    let mut first = None;
    for seed in seeds {
        let mut rng = Rng::new(seed);
        let mut cluster = *start;
        let mut yes = yeses(&cluster);
        let mut trace = Vec::new();
        while trace.len() < events {
            let event = rng.pick(&alphabet).unwrap();
            if operator == Operator::Careful && !is_careful(&cluster, event, yes) {
                continue;
            }
            if !cluster.apply(event) {
                continue;
            }
            trace.push(event);
            yes = yeses(&cluster);
            found.note(&cluster, yes);
            if yes.count_ones() > 1 {
                first.get_or_insert_with(|| trace.clone());
                break;
            }
            // A server that was taken away for good, or a timeline out of the model's range.
            if cluster.nodes.iter().any(|node| node.timeline > 12) {
                break;
            }
        }
    }
    (found, first)
}
