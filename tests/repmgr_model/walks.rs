//! The walks: every one that is short, many that are long.

use crate::cluster::{Cluster, Event};
use crate::reference::Mutant;
use crate::walk::{Alphabet, Found, Operator, by_chance, events, everything, mutant_yeses, yeses};
use crate::{share, whole};

/// Events in a row that are walked through exhaustively, and for the share. Each one more takes ten times as long.
const DEPTH: usize = 7;
const SHARED_DEPTH: usize = 4;
const WALKS: u64 = 20_000;
const WALK_EVENTS: usize = 60;

fn depth() -> usize {
    if whole() { DEPTH } else { SHARED_DEPTH }
}

/// Where the operator may do anything: one event less, the states are many.
fn careless_depth() -> usize {
    depth() - 1
}

/// Healthy, and with a standby that is not registered yet.
fn roots(size: u8, witness: bool) -> Vec<Cluster> {
    let mut roots = vec![Cluster::healthy(size, witness)];
    if size - u8::from(witness) > 1 {
        roots.push(Cluster::with_a_new_clone(size, witness));
    }
    roots
}

/// The first node crashed, the second one was elected and everybody follows it.
fn failed_over(size: u8, witness: bool) -> Cluster {
    let mut cluster = Cluster::healthy(size, witness);
    let mut events = vec![Event::Crash(0), Event::Elect(1), Event::WriteRow(1)];
    for id in 2..size {
        if cluster.witness == Some(id) {
            events.push(Event::WitnessFollow(id, 1));
        } else {
            events.extend([Event::Follow(id, 1), Event::Replicate(id)]);
        }
    }
    for event in events {
        assert!(cluster.apply(event), "{event:?} cannot happen");
    }
    cluster
}

fn walked(roots: &[Cluster], depth: usize, alphabet: Alphabet, operator: Operator) -> Found {
    let (size, witness) = (roots[0].size, roots[0].witness.is_some());
    let events = events(&roots[0], alphabet);
    let found = everything(roots, depth, &events, operator, &|cluster| yeses(cluster, false));
    println!(
        "{size} nodes, witness {witness}, {operator:?} operator, {} events: {} states within {depth}; two READY in {}, and in {} whose tables list different nodes",
        events.len(),
        found.states,
        found.doubles,
        found.unequal,
    );
    found
}

fn safe(size: u8, witness: bool, alphabet: Alphabet) {
    let found = walked(&roots(size, witness), depth(), alphabet, Operator::Careful);
    assert_eq!(found.double, None);
}

#[test]
fn no_way_of_two_nodes_leads_to_two_ready() {
    safe(2, false, Alphabet::Everything);
}

#[test]
fn no_way_of_two_nodes_and_a_witness_leads_to_two_ready() {
    safe(3, true, Alphabet::Everything);
}

#[test]
fn no_way_of_three_nodes_leads_to_two_ready() {
    safe(3, false, Alphabet::Everything);
}

#[test]
fn no_way_of_three_nodes_and_a_witness_leads_to_two_ready() {
    // Every event takes ten times as long here: `make test-all` has the time.
    let all = std::env::var_os("ROLECALL_ALL").is_some();
    safe(4, true, if all { Alphabet::Everything } else { Alphabet::Core });
}

#[test]
fn no_way_after_a_failover_leads_to_two_ready() {
    for (size, witness) in [(2, false), (3, true), (3, false)] {
        let roots = [failed_over(size, witness)];
        let found = walked(&roots, depth(), Alphabet::Core, Operator::Careful);
        assert_eq!((found.double, found.unequal), (None, 0));
    }
}

/// What the manual warns of is counted; without `unregister` nothing is found within these bounds.
#[test]
fn only_unregistering_lets_a_careless_operator_have_two() {
    for (size, witness) in [(2, false), (3, true), (3, false)] {
        let found =
            walked(&roots(size, witness), careless_depth(), Alphabet::Everything, Operator::Any);
        let events: Vec<Event> = events(&Cluster::healthy(size, witness), Alphabet::Everything)
            .into_iter()
            .filter(|event| !matches!(event, Event::Unregister(..) | Event::RegisterPrimary(_)))
            .collect();
        let roots = roots(size, witness);
        let yeses = |cluster: &Cluster| yeses(cluster, false);
        let kept = everything(&roots, careless_depth(), &events, Operator::Any, &yeses);
        println!(
            "  without unregister and primary register: {} and {}",
            kept.doubles, kept.unequal
        );
        assert!(found.doubles >= kept.doubles);
        assert_eq!(kept.double, None);
    }
}

#[test]
fn long_walks_by_chance_find_no_two_ready() {
    let each = share(WALKS / 4);
    for (at, (size, witness)) in (0..).zip([(4, false), (4, true), (5, false), (5, true)]) {
        let start = Cluster::healthy(size, witness);
        let seeds = at * each..(at + 1) * each;
        let rule = |cluster: &Cluster| yeses(cluster, true);
        let (found, trace) = by_chance(&start, seeds, WALK_EVENTS, Operator::Careful, &rule);
        println!(
            "{size} nodes, witness {witness}: {each} walks, {} states, {} of them with two writable; two READY in {}, and in {} whose tables list different nodes",
            found.states, found.two_writable, found.doubles, found.unequal,
        );
        assert_eq!(found.double, None, "{trace:?}");
        // Nobody is registered here, and what is unregistered never comes back.
        assert_eq!(found.unequal, 0, "{trace:?}");
    }
}

#[test]
fn long_walks_of_a_careless_operator_are_counted() {
    for (size, witness) in [(4, false), (4, true), (5, false)] {
        let start = Cluster::healthy(size, witness);
        let rule = |cluster: &Cluster| yeses(cluster, false);
        let (found, _) = by_chance(&start, 0..share(WALKS / 10), WALK_EVENTS, Operator::Any, &rule);
        println!(
            "{size} nodes, witness {witness}, careless: {} states; two READY in {}, and in {} whose tables list different nodes",
            found.states, found.doubles, found.unequal,
        );
    }
}

/// The same search finds the hole that each change of the rule closed.
#[test]
fn the_walks_would_find_a_hole() {
    let two = roots(2, false);
    let events = events(&two[0], Alphabet::Everything);
    let mutant = |cluster: &Cluster| mutant_yeses(cluster, Mutant::InactiveLeaves);
    let found = everything(&two, DEPTH, &events, Operator::Careful, &mutant);
    println!("InactiveLeaves: two READY in {} states of two nodes", found.doubles);
    assert!(found.doubles > 0);

    let start = Cluster::healthy(4, true);
    let mutant = |cluster: &Cluster| mutant_yeses(cluster, Mutant::ChainByOthersWord);
    let (found, trace) = by_chance(&start, 0..WALKS / 4, WALK_EVENTS, Operator::Careful, &mutant);
    println!("ChainByOthersWord: two READY in {} of {} walks, {trace:?}", found.doubles, WALKS / 4);
    assert!(found.doubles > 0);

    let roots = [failed_over(3, false)];
    let events = self::events(&roots[0], Alphabet::Core);
    let mutant = |cluster: &Cluster| mutant_yeses(cluster, Mutant::EveryDeposedLeaves);
    let found = everything(&roots, DEPTH - 1, &events, Operator::Careful, &mutant);
    println!("EveryDeposedLeaves: two READY in {} states after a failover", found.doubles);
    assert!(found.doubles > 0);
}
