//! What orders do to a verdict: the decision alone, as properties and as cases.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rolecall::clock::Stamp;
use rolecall::order::{self, Order, Target, Wish};
use rolecall::policy::Policy;
use rolecall::reason::Reason;
use rolecall::role::Role;
use rolecall::verdict::{State, Verdict};

fn at(ms: u64) -> Stamp {
    Stamp::new(Duration::from_millis(ms))
}

fn policy(role: Role) -> Policy {
    Policy { roles: vec![role], lag: None, settle: Duration::ZERO, trust: vec![] }
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
