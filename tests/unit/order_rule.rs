//! What orders do to a verdict: the decision alone, as properties and as cases.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rolecall::look::role::Role;
use rolecall::look::stamp::Stamp;
use rolecall::verdict::decide::Verdict;
use rolecall::verdict::order::{self, Order, Target};
use rolecall::verdict::policy::Policy;
use rolecall::verdict::policy::Pool;
use rolecall::verdict::reason::Reason;
use rolecall::verdict::state::State;
use rolecall::verdict::state::Wish;

fn at(ms: u64) -> Stamp {
    Stamp::new(Duration::from_millis(ms))
}

fn policy(role: Role) -> Policy {
    Policy {
        roles: vec![role],
        pool: Pool::default(),
        lag: None,
        settle: Duration::ZERO,
        trust: vec![],
    }
}

fn verdict(state: State) -> Verdict {
    let reason = Reason::Serves(Role::Primary);
    Verdict { state, reason, until: Some(at(1000)), timeline: None, seen: None }
}

fn targets() -> impl Strategy<Value = Target> {
    let name = |name: &'static str| prop::option::of(Just(name.to_owned()));
    (name("primary"), name("n1")).prop_map(|(service, node)| Target { service, node })
}

fn orders() -> impl Strategy<Value = Vec<Arc<Order>>> {
    let wish = prop::sample::select(vec![Wish::Ready, Wish::Drain, Wish::Maint]);
    let one = (targets(), wish, prop::option::of(0u64..2000), any::<bool>());
    let one = one.prop_map(|(target, wish, until, forced)| {
        let mut order = Order::new(target, wish, ("ann", "why"), at(0));
        (order.until, order.forced) = (until.map(at), forced);
        Arc::new(order)
    });
    prop::collection::vec(one, 0..5)
}

fn states() -> impl Strategy<Value = State> {
    prop::sample::select(vec![State::Ready, State::Drain, State::NotReady, State::Unknown])
}

proptest! {
    /// The safety of the whole: nothing but force puts a node in that is not ready by what is seen.
    #[test]
    fn no_order_but_a_forced_one_makes_a_primary_ready(
        orders in orders(), state in states(), now in 0u64..2000,
    ) {
        let about = order::about(&orders, "primary", "n1");
        let counts = order::counts(&about, at(now)).is_some_and(|order| order.forced && order.wish == Wish::Ready);
        let said = order::apply(at(now), verdict(state), &about, &policy(Role::Primary));
        if said.state == State::Ready && !counts {
            prop_assert_eq!(state, State::Ready);
        }
        // Sessions are kept on a node that would have them, and on no other.
        if said.state == State::Drain {
            prop_assert!(matches!(state, State::Ready | State::Drain));
        }
        // A no is a no for replicas as well.
        let said = order::apply(at(now), verdict(State::NotReady), &about, &policy(Role::Replica));
        prop_assert!(said.state == State::NotReady || counts);
    }

    /// The narrowest that stands counts, and what is said stands no longer than it.
    #[test]
    fn the_narrowest_order_counts(orders in orders(), state in states(), now in 0u64..2000) {
        let about = order::about(&orders, "primary", "n1");
        let width = |target: &Target| match (&target.node, &target.service) {
            (Some(_), Some(_)) => 0,
            (Some(_), None) => 1,
            (None, Some(_)) => 2,
            (None, None) => 3,
        };
        let stand = || orders.iter().filter(|order| order.until.is_none_or(|until| at(now) <= until));
        let narrowest = stand().map(|order| width(&order.target)).min();
        let counts = order::counts(&about, at(now));
        prop_assert_eq!(counts.map(|order| width(&order.target)), narrowest);
        let said = order::apply(at(now), verdict(state), &about, &policy(Role::Primary));
        if let Some(until) = counts.and_then(|order| order.until) {
            prop_assert!(said.until.is_some_and(|said| said <= until));
        }
        // Another node and another service have nothing to do with those that name these.
        let elsewhere = order::about(&orders, "replica", "n2");
        prop_assert!(elsewhere.iter().all(|order| order.target == Target::default()));
    }
}

#[test]
fn ready_speaks_where_nothing_is_known_for_replicas_only() {
    let order = Order::new(Target::default(), Wish::Ready, ("ann", ""), at(0));
    let about = order::about(&[Arc::new(order)], "s", "n");
    let said = |role, state| order::apply(at(1), verdict(state), &about, &policy(role)).state;
    assert_eq!(said(Role::Replica, State::Unknown), State::Ready);
    assert_eq!(said(Role::Primary, State::Unknown), State::Unknown);
    assert_eq!(said(Role::Replica, State::NotReady), State::NotReady);
    assert!(about[0].drop_it() && !about[0].drop_it());
    assert_eq!(said(Role::Replica, State::Unknown), State::Unknown, "it was dropped");
}

/// An order that is given at 0 and ends at this moment.
fn ends(wish: Wish, forced: bool, until: Option<u64>) -> order::About {
    let mut order = Order::new(Target::default(), wish, ("ann", "a new disk"), at(0));
    (order.forced, order.until) = (forced, until.map(at));
    order::about(&[Arc::new(order)], "s", "n")
}

/// The keeper wakes at a verdict's last moment: were that later than the order's, the end of an order
/// would go unnoticed until the next look.
#[test]
fn a_verdict_stands_no_longer_than_the_order_and_the_facts_that_it_rests_on() {
    for (what, wish, forced, seen, order_ends, until) in [
        // The facts' own last moment is 1000.
        ("a no stays a no", Wish::Ready, false, State::NotReady, Some(400), Some(400)),
        ("a no outlasts the order", Wish::Ready, false, State::NotReady, Some(2000), Some(1000)),
        ("it keeps sessions", Wish::Drain, false, State::Ready, Some(400), Some(400)),
        ("of a node that is ready", Wish::Drain, false, State::Ready, Some(2000), Some(1000)),
        ("without an end", Wish::Drain, false, State::Ready, None, Some(1000)),
        ("whatever is seen", Wish::Maint, false, State::Ready, Some(2000), Some(2000)),
        ("whatever is seen, for ever", Wish::Maint, false, State::Ready, None, None),
        ("by force", Wish::Ready, true, State::NotReady, Some(2000), Some(2000)),
    ] {
        let about = ends(wish, forced, order_ends);
        let said = order::apply(at(1), verdict(seen), &about, &policy(Role::Primary));
        assert_eq!(said.until, until.map(at), "{what}");
    }
}

/// Who wonders why a healthy node is out reads the order in the reason; where the order changes nothing,
/// what is seen is the reason.
#[test]
fn the_reason_is_the_order_where_it_changes_the_verdict() {
    let reason = |wish, seen| {
        let about = ends(wish, false, None);
        order::apply(at(1), verdict(seen), &about, &policy(Role::Primary)).reason.to_string()
    };
    assert!(reason(Wish::Maint, State::Ready).contains("ordered maint by ann: a new disk"));
    assert!(reason(Wish::Drain, State::Ready).contains("ordered drain by ann: a new disk"));
    let seen = verdict(State::Ready).reason.to_string();
    assert_eq!(reason(Wish::Ready, State::Ready), seen);
}

/// What operators write and read, and what stands in the file over a restart.
#[test]
fn a_wish_and_a_target_are_read_as_they_are_written() {
    for (wish, word) in [(Wish::Ready, "ready"), (Wish::Drain, "drain"), (Wish::Maint, "maint")] {
        assert_eq!(wish.as_str(), word);
        assert_eq!(Wish::read(word), Some(wish));
    }
    assert_eq!(Wish::read("auto"), None);

    let read = |text: &str| Target::read(text, &["primary", "both"], &["n1", "both"]);
    let target = |service: Option<&str>, node: Option<&str>| Target {
        service: service.map(str::to_owned),
        node: node.map(str::to_owned),
    };
    for (text, wanted) in [
        ("all", target(None, None)),
        ("primary", target(Some("primary"), None)),
        ("n1", target(None, Some("n1"))),
        ("primary/n1", target(Some("primary"), Some("n1"))),
    ] {
        assert_eq!(read(text), Ok(wanted.clone()), "{text}");
        assert_eq!(wanted.to_string(), text);
    }
    for text in ["", "both", "n2", "n1/primary", "primary/n2", "replica/n1", "/", "ALL"] {
        let why = read(text).expect_err(text);
        assert_eq!(why, "use `all`, a service (primary, both), a node (n1, both), or SERVICE/NODE");
    }
}

/// A node's order is narrower than a service's, and one that names both is the narrowest.
#[test]
fn the_narrowest_stands_first_and_what_it_does_not_name_is_not_its() {
    let target = |service: bool, node: bool| Target {
        service: service.then(|| "s".to_owned()),
        node: node.then(|| "n".to_owned()),
    };
    let widths = [(false, false), (true, false), (false, true), (true, true)];
    let orders = widths.map(|(service, node)| {
        Arc::new(Order::new(target(service, node), Wish::Maint, ("ann", ""), at(0)))
    });
    let about = order::about(&orders, "s", "n");
    let found: Vec<_> = about.iter().map(|order| order.target.clone()).collect();
    let expected = widths.map(|(service, node)| target(service, node));
    assert_eq!(found.into_iter().rev().collect::<Vec<_>>(), expected);
    for (service, node, covered) in [
        ("s", "n", [true, true, true, true]),
        ("s", "m", [true, true, false, false]),
        ("t", "n", [true, false, true, false]),
        ("t", "m", [true, false, false, false]),
    ] {
        let covers = |order: &Arc<Order>| order.target.covers(service, node);
        assert_eq!(orders.each_ref().map(covers), covered, "{service} of {node}");
    }
}

type Change = fn(&mut Order);

/// A reload compares orders, and so does what is published.
#[test]
fn orders_are_equal_where_they_say_the_same() {
    let given = || Order::new(Target::default(), Wish::Ready, ("ann", "why"), at(5));
    let same = given();
    same.drop_it();
    same.wait();
    assert_eq!(given(), same, "what became of it is another matter");
    let changes: [Change; 7] = [
        |order| order.wish = Wish::Drain,
        |order| order.since = at(6),
        |order| order.until = Some(at(9)),
        |order| order.forced = true,
        |order| order.target.node = Some("n1".to_owned()),
        |order| order.by = "bob".into(),
        |order| order.why = "".into(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut other = given();
        change(&mut other);
        assert_ne!(given(), other, "the change at {number}");
    }
}

#[test]
fn an_order_is_as_old_as_it_is_over_a_boot_too() {
    let mut order = Order::new(Target::default(), Wish::Maint, ("ann", ""), at(100));
    order.before_boot = Duration::from_secs(1);
    assert_eq!(order.age(at(150)), Duration::from_millis(1050));
}

/// To its last moment, and not once a no was seen.
#[test]
fn an_order_stands_until_its_end_or_until_it_is_dropped() {
    let mut order = Order::new(Target::default(), Wish::Ready, ("ann", ""), at(0));
    assert!(order.stands(at(1_000_000)), "without an end");
    order.until = Some(at(400));
    assert!(order.stands(at(400)));
    assert!(!order.stands(at(401)));
    assert!(order.ends_at_a_no());
    assert!(order.drop_it());
    assert!(!order.stands(at(1)));
    for (wish, forced) in [(Wish::Ready, true), (Wish::Drain, false), (Wish::Maint, true)] {
        let mut order = Order::new(Target::default(), wish, ("ann", ""), at(0));
        order.forced = forced;
        assert!(!order.ends_at_a_no(), "{wish:?}, forced: {forced}");
    }
}

/// After a kill nobody knows whether a no was seen: it says nothing for what is unknown until then.
#[test]
fn a_ready_that_waits_does_not_speak() {
    let order = Arc::new(Order::new(Target::default(), Wish::Ready, ("ann", ""), at(0)));
    let about = order::about(&[Arc::clone(&order)], "s", "n");
    let said =
        || order::apply(at(1), verdict(State::Unknown), &about, &policy(Role::Replica)).state;
    assert!(!order.waits());
    assert_eq!(said(), State::Ready);
    order.wait();
    assert!(order.waits());
    assert_eq!(said(), State::Unknown);
    assert!(order.seen_fit(), "it had waited");
    assert!(!order.seen_fit() && !order.waits());
    assert_eq!(said(), State::Ready);
}
