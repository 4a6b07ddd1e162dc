//! Which verdicts fence a node: the decision alone, on facts made by hand.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rolecall::config::kind::KINDS;
use rolecall::facts::fence::{Due, Record, Watch};
use rolecall::facts::{NodeFacts, ServiceFacts};
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::kind::SourceKind;
use rolecall::look::observation::Observation;
use rolecall::look::role::Role;
use rolecall::look::snapshot::{Snapshot, SourceFacts};
use rolecall::look::stamp::Stamp;
use rolecall::reply::routes::Answering;
use rolecall::reply::wording::Wording;
use rolecall::verdict::last_word::LastWord;
use rolecall::verdict::order::{Order, Target};
use rolecall::verdict::policy::Pool;
use rolecall::verdict::policy::{Policy, Trust};
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::Wish;
use rolecall::verdict::state::Word;

const HOLD: u64 = 3_000;
const LOOK: u64 = 2_000;
const HEARD: u64 = 1_000;
/// The moment of every decision that is not about time.
const NOW: u64 = 60_000;

type Looked = Result<Observation, SourceError>;

fn at(ms: u64) -> Stamp {
    Stamp::new(Duration::from_millis(ms))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn trust() -> Trust {
    let (hold_by_repmgr, knows_lag, lock, electorate) = (false, false, None, None);
    Trust { hold: ms(HOLD), hold_by_repmgr, look: ms(LOOK), knows_lag, lock, electorate }
}

fn service(roles: &[Role], sources: usize) -> ServiceFacts {
    let trust = vec![trust(); sources];
    let policy = Policy {
        roles: roles.to_vec(),
        pool: Pool::default(),
        lag: None,
        settle: Duration::ZERO,
        trust,
    };
    ServiceFacts {
        name: "primary".into(),
        policy: Arc::new(policy),
        standing: Standing::default(),
        answering: Arc::new(Answering {
            allow: vec![],
            wording: Wording::plain(),
            last_word: None,
        }),
        asks: Arc::default(),
        orders: Arc::new([]),
        last_word: None,
    }
}

/// As a configured source of this kind is known.
fn known_as(word: &'static str) -> SourceKind {
    let kind = KINDS.iter().find(|kind| kind.profile.word == word).expect("a kind");
    SourceKind { word, shows: kind.profile.sees.server }
}

/// A node with these sources, each looked at so, one after the other, and one service for primaries.
fn node(sources: &[(&'static str, &[(u64, Looked)])]) -> NodeFacts {
    let seen = |looks: &[(u64, Looked)]| {
        let mut own = Snapshot::default();
        for (began, look) in looks {
            own.record(at(*began), look.clone());
        }
        SourceFacts::of(own)
    };
    NodeFacts {
        name: "local".into(),
        cluster: None,
        kinds: sources.iter().map(|(kind, _)| known_as(kind)).collect(),
        sources: sources.iter().map(|(_, looks)| seen(looks)).collect(),
        services: vec![service(&[Role::Primary], sources.len())],
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a look, beside those that fail")]
fn is(role: Role) -> Looked {
    Ok(Observation::of(role))
}

fn fails(kind: ErrorKind) -> Looked {
    Err(SourceError::new(kind, "as the test says"))
}

/// What a watch that has seen nothing before says at `NOW`.
fn due(node: &NodeFacts) -> Due {
    Watch::new(at(0), ms(HEARD)).due(at(NOW), node)
}

fn reason(due: &Due) -> Option<&'static str> {
    if let Due::Now(reason) = due { Some(reason.label()) } else { None }
}

#[test]
fn what_is_seen_fences_or_does_not() {
    use ErrorKind::{Denied, PortRefused, Refused, ServerDown, SlotsFull, Timeout};
    use Role::{Primary, Replica};
    let (fresh, old) = (NOW - 100, NOW - 50_000);
    let demoted = || Ok(Observation { leader: Some(false), ..Observation::of(Primary) });
    let stopping =
        || Ok(Observation { not_running: Some("stopping".into()), ..Observation::of(Replica) });
    for (kind, looks, wanted) in [
        ("postgres", vec![(fresh, is(Primary))], None),
        ("patroni", vec![(fresh, is(Primary))], None),
        // In recovery: nothing is to be done; the word of a program is not asked of the server.
        ("postgres", vec![(fresh, is(Replica))], None),
        ("repmgr", vec![(fresh, is(Replica))], None),
        ("patroni", vec![(fresh, is(Replica))], None),
        ("command", vec![(fresh, is(Replica))], Some("other_role")),
        // So it was once; what is so now only the server knows.
        ("postgres", vec![(old, is(Replica))], Some("stale")),
        ("patroni", vec![(fresh, stopping())], Some("not_running")),
        ("patroni", vec![(fresh, demoted())], Some("not_leader")),
        // Silence, within hold and past it.
        ("patroni", vec![(fresh, is(Primary)), (fresh, fails(Refused))], None),
        ("patroni", vec![(old, is(Primary)), (fresh, fails(Refused))], Some("refused")),
        ("postgres", vec![(old, is(Primary)), (fresh, fails(Timeout))], Some("timeout")),
        ("postgres", vec![(old, is(Primary)), (fresh, fails(SlotsFull))], Some("slots_full")),
        ("postgres", vec![(old, is(Primary)), (fresh, fails(Denied))], Some("denied")),
        ("patroni", vec![(old, is(Primary))], Some("stale")),
        // No server, no session.
        ("postgres", vec![(fresh, is(Primary)), (fresh, fails(ServerDown))], None),
        ("repmgr", vec![(fresh, fails(ServerDown))], None),
        // Patroni names the server's own port; behind any other the server may go on.
        ("patroni", vec![(fresh, fails(PortRefused))], None),
        ("tcp", vec![(fresh, fails(PortRefused))], Some("port_refused")),
        // The first look has not finished.
        ("postgres", vec![], None),
    ] {
        let node = node(&[(kind, &looks)]);
        assert_eq!(reason(&due(&node)), wanted, "{kind}: {looks:?}");
    }
}

#[test]
fn of_several_sources_one_that_saw_it_out_of_recovery_is_believed() {
    let fresh = NOW - 100;
    let (primary, replica) = ([(fresh, is(Role::Primary))], [(fresh, is(Role::Replica))]);
    let both = node(&[("patroni", &replica), ("postgres", &primary)]);
    assert_eq!(reason(&due(&both)), Some("other_role"));
    let standby = node(&[("patroni", &replica), ("postgres", &replica)]);
    assert_eq!(due(&standby), Due::Never);
    let blind = node(&[
        ("patroni", &[(NOW - 50_000, is(Role::Primary)), (fresh, fails(ErrorKind::Refused))]),
        ("postgres", &primary),
    ]);
    assert_eq!(
        reason(&due(&blind)),
        Some("refused"),
        "a Patroni that died, and a server that goes on"
    );
}

#[test]
fn settling_is_no_evidence() {
    let fresh = NOW - 100;
    let mut young = node(&[("postgres", &[(fresh, is(Role::Primary))])]);
    let service = &mut young.services[0];
    service.policy = Arc::new(Policy { settle: ms(10_000), ..(*service.policy).clone() });
    service.standing.confirmed_since = Some(at(NOW - 200));
    assert_eq!(young.seen(at(NOW), &young.services[0]).reason.label(), "settling");
    assert_eq!(due(&young), Due::Never);
}

/// A promise to one service for primaries is one to the node.
#[test]
fn a_node_that_serves_one_service_for_primaries_is_not_out() {
    let fresh = NOW - 100;
    let mut two = node(&[("command", &[(fresh, is(Role::Replica))])]);
    assert!(reason(&due(&two)).is_some());
    two.services.push(service(&[Role::Primary, Role::Replica], 1));
    assert_eq!(due(&two), Due::Never);
    // Services for replicas alone have no say.
    two.services[1] = service(&[Role::Replica], 1);
    assert!(reason(&due(&two)).is_some());
    two.services.remove(0);
    assert_eq!(due(&two), Due::Never, "nothing says when it is out");
}

#[test]
fn orders_end_no_session_and_force_ends_the_fence() {
    let fresh = NOW - 100;
    let order = |wish, forced| {
        let mut order = Order::new(Target::default(), wish, ("ann", ""), at(0));
        order.forced = forced;
        Arc::from([Arc::new(order)])
    };
    for (wish, forced, healthy, deposed) in [
        (Wish::Maint, false, false, true),
        (Wish::Drain, false, false, true),
        (Wish::Ready, false, false, true),
        (Wish::Ready, true, false, false),
    ] {
        for (seen, fenced) in [(Role::Primary, healthy), (Role::Replica, deposed)] {
            let mut node = node(&[("command", &[(fresh, is(seen))])]);
            node.services[0].orders = order(wish, forced);
            let found = reason(&due(&node)).is_some();
            assert_eq!(found, fenced, "{wish:?} forced {forced}, seen as {seen}");
            // What a stopping rolecall says is no order.
            node.services[0].last_word = Some(LastWord { word: Word::Maint, lasts: ms(1) });
            assert_eq!(reason(&due(&node)).is_some(), fenced, "{wish:?} forced {forced}, stopping");
        }
    }
}

/// A lapse that no HAProxy hears of ends nothing; a pause of the host is one that was long.
#[test]
fn a_yes_that_has_run_out_fences_once_everybody_has_heard_of_it() {
    let seen = |looks: &[(u64, Looked)]| node(&[("patroni", looks)]);
    let good = seen(&[(NOW, is(Role::Primary))]);
    let failing = seen(&[(NOW, is(Role::Primary)), (NOW + 500, fails(ErrorKind::Refused))]);
    let mut watch = Watch::new(at(NOW), ms(HEARD));
    assert_eq!(watch.due(at(NOW), &good), Due::Never);
    assert_eq!(watch.due(at(NOW + HOLD), &failing), Due::Never, "within hold");
    let over = NOW + HOLD + 1;
    let ends = NOW + HOLD + HEARD;
    assert_eq!(watch.due(at(over), &failing), Due::At(at(ends)));
    assert_eq!(watch.due(at(ends - 1), &failing), Due::At(at(ends)));
    assert!(!watch.stands(at(ends - 1), &failing));
    assert_eq!(reason(&watch.due(at(ends), &failing)), Some("refused"));
    assert!(watch.stands(at(ends), &failing));
    // Back in time: forgotten.
    assert_eq!(watch.due(at(ends), &seen(&[(ends, is(Role::Primary))])), Due::Never);

    // The process stood still, and its host with it: the yes ran out long ago.
    let mut watch = Watch::new(at(NOW), ms(HEARD));
    assert_eq!(watch.due(at(NOW), &good), Due::Never);
    assert_eq!(reason(&watch.due(at(NOW + 60_000), &good)), Some("stale"), "at once");
}

/// What its predecessor promised may stand for as long as the longest hold.
#[test]
fn a_process_that_has_had_no_yes_waits_for_the_longest_hold() {
    let failing = node(&[("patroni", &[(NOW, fails(ErrorKind::Refused))])]);
    let mut watch = Watch::new(at(NOW), ms(HEARD));
    let ends = NOW + HOLD + HEARD;
    assert_eq!(watch.due(at(NOW), &failing), Due::At(at(ends)));
    assert!(reason(&watch.due(at(ends), &failing)).is_some());
    // Evidence needs no patience.
    let out = node(&[("command", &[(NOW, is(Role::Replica))])]);
    assert!(reason(&Watch::new(at(NOW), ms(HEARD)).due(at(NOW), &out)).is_some());
    // repmgr.conf may have given it 15 s, which is not known before a look.
    let mut unread = node(&[("repmgr", &[(NOW, fails(ErrorKind::Timeout))])]);
    let service = &mut unread.services[0];
    let mut policy = (*service.policy).clone();
    (policy.trust[0].hold, policy.trust[0].hold_by_repmgr) = (Duration::ZERO, true);
    service.policy = Arc::new(policy);
    let ends = NOW + 15_000 + HEARD;
    assert_eq!(Watch::new(at(NOW), ms(HEARD)).due(at(NOW), &unread), Due::At(at(ends)));
}

/// `status` and metrics go on counting over a reload, and say nothing where there is no fence.
#[test]
fn what_the_fence_did_is_counted_while_there_is_one() {
    let record = Record::default();
    record.note(|deeds| deeds.ended += 1);
    assert_eq!(record.deeds(), None, "nobody has set one up");
    record.set_up(true);
    record.clone().note(|deeds| {
        deeds.ended += 2;
        deeds.acting = Some((at(NOW), rolecall::verdict::reason::Reason::NotLeader));
    });
    let deeds = record.deeds().expect("there is one");
    assert_eq!((deeds.ended, deeds.acting.is_some()), (2, true));
    record.set_up(true);
    let deeds = record.deeds().expect("there still is");
    assert_eq!((deeds.ended, deeds.acting), (2, None), "what is counted goes on");
    record.set_up(false);
    assert_eq!(record.deeds(), None, "it was taken away");
}

proptest! {
    /// Whatever was looked at, and whenever: nobody's session ends on a node that is READY, nor before
    /// its yes has been over for as long as a HAProxy may not have heard of it.
    #[test]
    fn nothing_ends_while_a_haproxy_may_rightly_send_traffic(
        looks in prop::collection::vec((0u64..2_000, 0u8..5), 1..20),
        heard in 0u64..3_000,
    ) {
        let mut own: Vec<(u64, Looked)> = Vec::new();
        let mut watch = Watch::new(at(0), ms(heard));
        let mut ready = None;
        let mut now = 0;
        for (later, kind) in looks {
            now += later;
            own.push((now, match kind {
                0 | 1 => is(Role::Primary),
                2 => fails(ErrorKind::Refused),
                3 => fails(ErrorKind::Timeout),
                _ => Ok(Observation { leader: Some(false), ..Observation::of(Role::Primary) }),
            }));
            let node = node(&[("patroni", &own)]);
            for step in 0..8 {
                let moment = now + step * 400;
                let seen = node.seen(at(moment), &node.services[0]);
                let fenced = matches!(watch.due(at(moment), &node), Due::Now(_));
                prop_assert!(!(seen.state == rolecall::verdict::state::State::Ready && fenced));
                let no = seen.state == rolecall::verdict::state::State::NotReady;
                if seen.state == rolecall::verdict::state::State::Ready {
                    ready = Some(moment);
                }
                let silent = ready.is_none_or(|ready| moment >= ready.saturating_add(heard));
                prop_assert!(!fenced || no || silent, "at {moment}, last READY at {ready:?}");
            }
            now += 8 * 400;
        }
    }
}
