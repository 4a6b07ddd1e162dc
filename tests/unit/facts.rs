//! What is asked of the facts as a whole: who is meant, whether every poller lives, how long a stop speaks.

use std::sync::Arc;
use std::time::Duration;

use rolecall::facts::{Facts, NodeFacts, ServiceFacts, beats, longest_last_word};
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::kind::{Shows, SourceKind};
use rolecall::look::observation::Observation;
use rolecall::look::role::Role;
use rolecall::look::snapshot::{Snapshot, SourceFacts};
use rolecall::look::stamp::Stamp;
use rolecall::reply::routes::{Answering, Route};
use rolecall::reply::wording::Wording;
use rolecall::verdict::decide::Verdict;
use rolecall::verdict::last_word::LastWord;
use rolecall::verdict::order::{Order, Target};
use rolecall::verdict::policy::{Policy, Pool, Trust};
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::{State, Wish, Word};

/// What interval and timeout allow.
const LOOK: u64 = 2_000;

fn at(ms: u64) -> Stamp {
    Stamp::new(Duration::from_millis(ms))
}

fn policy(role: Role, sources: usize) -> Policy {
    let (hold_by_repmgr, knows_lag, lock, electorate) = (false, false, None, None);
    let (hold, most_age) = (Duration::from_secs(3), Duration::from_millis(LOOK));
    let trust = Trust { hold, hold_by_repmgr, look: most_age, knows_lag, lock, electorate };
    let trust = vec![trust; sources];
    let (pool, settle) = (Pool::default(), Duration::ZERO);
    Policy { roles: vec![role], pool, lag: None, settle, trust }
}

fn service(name: &str, role: Role, sources: usize) -> ServiceFacts {
    let answering = Answering { allow: vec![], wording: Wording::plain(), last_word: None };
    ServiceFacts {
        name: name.into(),
        policy: Arc::new(policy(role, sources)),
        standing: Standing::default(),
        answering: Arc::new(answering),
        asks: Arc::default(),
        orders: Arc::new([]),
        last_word: None,
    }
}

/// A primary with the services `rw` and `ro`, each of whose sources was last looked at then.
fn node(name: &str, looks: &[u64]) -> NodeFacts {
    let looked = |began: &u64| {
        let mut own = Snapshot::default();
        own.record(at(*began), Ok(Observation::of(Role::Primary)));
        SourceFacts::of(own)
    };
    let (rw, ro) = (Role::Primary, Role::Replica);
    NodeFacts {
        name: name.into(),
        cluster: None,
        kinds: vec![SourceKind { word: "postgres", shows: Shows::Server }; looks.len()].into(),
        sources: looks.iter().map(looked).collect(),
        services: vec![service("rw", rw, looks.len()), service("ro", ro, looks.len())],
    }
}

fn facts(nodes: Vec<NodeFacts>) -> Facts {
    Facts { nodes, ..Facts::default() }
}

#[test]
fn a_port_asks_about_its_own_node_and_service_and_a_name_means_its_node() {
    let facts = facts(vec![node("n1", &[0]), node("n2", &[0])]);
    let asked = |node, service| {
        let asked = Route { node, service, agent_send: false };
        facts.asked(asked).map(|(node, service)| (&*node.name, &*service.name))
    };
    assert_eq!(asked(Some(1), 0), Some(("n2", "rw")));
    assert_eq!(asked(Some(0), 1), Some(("n1", "ro")));
    assert_eq!(asked(None, 1), Some(("n1", "ro")), "how any of them is answered");
    assert_eq!((asked(Some(2), 0), asked(Some(0), 2)), (None, None), "there is none");
    let named = |name| facts.node(name).map(|node| &*node.name);
    assert_eq!([named("n1"), named("n2"), named("n")], [Some("n1"), Some("n2"), None]);
}

/// What a service remembers goes on under its name, whatever becomes of its policy, and under another name
/// where the policy is the same.
#[test]
fn a_service_is_known_by_its_name_before_its_policy() {
    let node = node("n1", &[0]);
    let known = |name, role| node.known(name, &policy(role, 1)).map(|service| &*service.name);
    assert_eq!(node.service("ro").map(|service| &*service.name), Some("ro"));
    assert_eq!(node.service("renamed"), None);
    assert_eq!(known("ro", Role::Primary), Some("ro"));
    assert_eq!(known("renamed", Role::Replica), Some("ro"));
    assert_eq!(known("renamed", Role::StandbyLeader), None);
}

/// systemd ends a rolecall of which a part hangs: no other part may cover that up.
#[test]
fn one_poller_that_hangs_is_no_beat_however_well_all_others_look() {
    let beats = |now, nodes: Vec<NodeFacts>| beats(at(now), &facts(nodes));
    assert!(!beats(0, vec![]), "nothing is looked at yet");
    let both = || vec![node("n1", &[0, 1]), node("n2", &[1, 1])];
    assert!(beats(2 * LOOK, both()), "to the last moment");
    assert!(!beats(2 * LOOK + 1, both()), "one of four is too old");

    let mut unheard = node("n1", &[0, 0]);
    unheard.sources[1] = SourceFacts::default();
    assert!(!beats(1, vec![unheard]), "its first look has not finished");
    let mut fewer = node("n1", &[0, 0]);
    fewer.sources.pop();
    assert!(!beats(1, vec![fewer]), "a source without facts");
    let mut nobody = node("n1", &[0]);
    nobody.services.clear();
    assert!(!beats(1, vec![nobody]), "a node that nobody asks about");
    // A look that failed is one, too: the poller lives.
    let mut failing = node("n1", &[0]);
    failing.sources[0].own.record(at(LOOK), Err(SourceError::new(ErrorKind::Timeout, "slow")));
    assert!(beats(3 * LOOK, vec![failing]));
}

/// The ports close together, after the last of all last words.
#[test]
fn a_stop_waits_for_the_longest_last_word() {
    assert_eq!(longest_last_word(&facts(vec![node("n1", &[0])])), Duration::ZERO);
    let mut nodes = vec![node("n1", &[0]), node("n2", &[0])];
    for (at, service, seconds) in [(0, 1, 5), (1, 0, 2)] {
        let lasts = Duration::from_secs(seconds);
        let answering = &mut nodes[at].services[service].answering;
        let last_word = Some(LastWord { word: Word::Maint, lasts });
        *answering = Arc::new(Answering { last_word, ..(**answering).clone() });
    }
    assert_eq!(longest_last_word(&facts(nodes)), Duration::from_secs(5));
}

/// `status` says that a node is held: it lets clients in, and a source that this rests on fails.
#[test]
fn held_is_what_lets_clients_in_by_a_look_whose_later_ones_fail() {
    let steady = node("n1", &[0]);
    let mut failing = steady.clone();
    failing.sources[0].own.record(at(500), Err(SourceError::new(ErrorKind::Timeout, "slow")));
    let held = |node: &NodeFacts, now| {
        let verdict = node.verdict(at(now), &node.services[0]);
        (verdict.state, node.is_held(&node.services[0], &verdict))
    };
    assert_eq!(held(&steady, 500), (State::Ready, false));
    assert_eq!(held(&failing, 500), (State::Ready, true));
    assert_eq!(held(&failing, 3_001), (State::Unknown, false), "past hold");
    let draining =
        Verdict { state: State::Drain, ..failing.verdict(at(500), &failing.services[0]) };
    assert!(failing.is_held(&failing.services[0], &draining), "which keeps its sessions");
    let mut ordered = failing.clone();
    let order = Order::new(Target::default(), Wish::Drain, ("ann", ""), at(0));
    ordered.services[0].orders = Arc::new([Arc::new(order)]);
    assert_eq!(held(&ordered, 500), (State::Drain, false), "an order rests on no look");
    let mut stopping = failing.clone();
    stopping.services[0].last_word =
        Some(LastWord { word: Word::Drain, lasts: at(1).since(at(0)) });
    assert_eq!(held(&stopping, 500), (State::Drain, false), "nor does a last word");
    // A source that the service is not decided by has no say.
    let mut more = steady.clone();
    more.sources.push(failing.sources[0].clone());
    assert_eq!(held(&more, 500), (State::Ready, false));
}
