//! An operator's standing order about what a service is told of a node, and what it does to a verdict.
//!
//! HAProxy lets the agent's READY undo an operator's own `set server ... state maint` within one
//! check, so an order must be given to the agent.
//!
//! Of the orders that are about a service of a node the one with the narrowest target counts:
//! `SERVICE/NODE`, then `NODE`, then `SERVICE`, then `all`. Of one target there is one order, the last
//! that was given. What an order can do: `maint` takes out, whatever is seen; `drain` keeps a node
//! that would be READY from new sessions and leaves every no a no; `ready` speaks where nothing is
//! known, for services without primaries only, and never against a no. Forced, it speaks against
//! everything: that alone can send a write to a node that is not the primary.
//!
//! A no ends a `ready` at once, and in its file a moment later. Where the process may have died between
//! the two the order waits: it speaks again once all that it is about has been seen fit to serve.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::look::role::Role;
use crate::look::stamp::Stamp;
use crate::verdict::decide::Verdict;
use crate::verdict::policy::Policy;
use crate::verdict::reason::{Ordered, Reason};
use crate::verdict::state::{State, Wish};

/// Longest reason, in bytes.
pub const MOST_REASON: usize = 200;

/// What an order is about; both open: everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// Only this service.
    pub service: Option<String>,
    /// Only this node.
    pub node: Option<String>,
}

impl Target {
    /// Reads `SERVICE`, `NODE`, `SERVICE/NODE` or `all`, of what there is. `Err` says what there is.
    pub fn read(text: &str, services: &[&str], nodes: &[&str]) -> Result<Self, String> {
        let service = |name: &str| services.contains(&name).then(|| name.to_owned());
        let node = |name: &str| nodes.contains(&name).then(|| name.to_owned());
        let read = match text.split_once('/') {
            Some((of, at)) => service(of)
                .zip(node(at))
                .map(|(service, node)| Self { service: Some(service), node: Some(node) }),
            None if text == "all" => Some(Self::default()),
            None => match (service(text), node(text)) {
                (service @ Some(_), None) => Some(Self { service, node: None }),
                (None, node @ Some(_)) => Some(Self { service: None, node }),
                // A word that means two things means none.
                _ => None,
            },
        };
        read.ok_or_else(|| {
            let (services, nodes) = (services.join(", "), nodes.join(", "));
            format!("use `all`, a service ({services}), a node ({nodes}), or SERVICE/NODE")
        })
    }

    /// Whether it is about this service of this node.
    pub fn covers(&self, service: &str, node: &str) -> bool {
        self.service.as_deref().is_none_or(|of| of == service)
            && self.node.as_deref().is_none_or(|of| of == node)
    }

    /// The narrower the higher.
    fn narrowness(&self) -> u8 {
        u8::from(self.service.is_some()) + 2 * u8::from(self.node.is_some())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.service, &self.node) {
            (Some(service), Some(node)) => write!(f, "{service}/{node}"),
            (Some(one), None) | (None, Some(one)) => f.write_str(one),
            (None, None) => f.write_str("all"),
        }
    }
}

/// A standing order.
#[derive(Debug)]
pub struct Order {
    /// What it is about.
    pub target: Target,
    /// What is ordered.
    pub wish: Wish,
    /// Who said it, by the kernel's word.
    pub by: Arc<str>,
    /// Why, in the operator's words; may be empty.
    pub why: Arc<str>,
    /// Since when; the boot, where it is older.
    pub since: Stamp,
    /// How much older than the boot it is, by the wall clock.
    pub before_boot: Duration,
    /// Its last moment; `None`: until it is taken back.
    pub until: Option<Stamp>,
    /// Said with `--force`.
    pub forced: bool,
    /// A no was seen, and it speaks no more.
    dropped: AtomicBool,
    /// A no may have been seen that nobody wrote down.
    waits: AtomicBool,
}

/// Two are equal where they say the same.
impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        let said = |order: &Self| (order.wish, order.since, order.until, order.forced);
        said(self) == said(other)
            && (&self.target, &self.by, &self.why) == (&other.target, &other.by, &other.why)
    }
}

impl Eq for Order {}

impl Order {
    /// An order that stands.
    pub fn new(target: Target, wish: Wish, (by, why): (&str, &str), since: Stamp) -> Self {
        let (by, why) = (by.into(), why.into());
        let (before_boot, dropped, waits) = Default::default();
        Self {
            target,
            wish,
            by,
            why,
            since,
            before_boot,
            until: None,
            forced: false,
            dropped,
            waits,
        }
    }

    /// How long ago it was given.
    pub fn age(&self, now: Stamp) -> Duration {
        now.since(self.since).saturating_add(self.before_boot)
    }

    /// Whether it speaks at this moment.
    pub fn stands(&self, now: Stamp) -> bool {
        !self.dropped.load(Ordering::Relaxed) && self.until.is_none_or(|until| now <= until)
    }

    /// Whether a no ends it.
    pub fn ends_at_a_no(&self) -> bool {
        self.wish == Wish::Ready && !self.forced
    }

    /// It speaks no more. Tells whether it did before.
    pub fn drop_it(&self) -> bool {
        !self.dropped.swap(true, Ordering::Relaxed)
    }

    /// It may have been dropped before, and nobody knows: it waits to be seen fit.
    pub fn wait(&self) {
        self.waits.store(true, Ordering::Relaxed);
    }

    /// Whether it still waits.
    pub fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// All that it is about has been seen fit to serve. Tells whether it had waited for that.
    pub fn seen_fit(&self) -> bool {
        self.waits.swap(false, Ordering::Relaxed)
    }

    /// What a verdict becomes by it at a moment at which it stands.
    fn on(&self, seen: Verdict, policy: &Policy) -> Verdict {
        let state = match (self.wish, seen.state) {
            (Wish::Maint, _) => State::NotReady,
            // A drain keeps sessions, which a node that is not ready must lose.
            (Wish::Drain, State::Ready | State::Drain) => State::Drain,
            (Wish::Ready, State::NotReady | State::Drain | State::Unknown) if self.forced => {
                State::Ready
            }
            (Wish::Ready, State::Unknown)
                if !self.waits() && !policy.roles.contains(&Role::Primary) =>
            {
                State::Ready
            }
            _ => {
                let until = [seen.until, self.until].into_iter().flatten().min();
                return Verdict { until, ..seen };
            }
        };
        let rests_on_facts = self.wish != Wish::Maint && !self.forced;
        let facts = seen.until.filter(|_| rests_on_facts);
        Verdict {
            state,
            reason: Reason::Ordered(Ordered {
                wish: self.wish,
                by: Arc::clone(&self.by),
                why: Arc::clone(&self.why),
            }),
            until: [facts, self.until].into_iter().flatten().min(),
            ..seen
        }
    }
}

/// The orders about one service of one node, the narrowest first.
pub type About = Arc<[Arc<Order>]>;

/// Those of `orders` that are about this service of this node.
pub fn about(orders: &[Arc<Order>], service: &str, node: &str) -> About {
    let mut of: Vec<_> =
        orders.iter().filter(|order| order.target.covers(service, node)).cloned().collect();
    of.sort_by_key(|order| std::cmp::Reverse(order.target.narrowness()));
    of.into()
}

/// The one of them that counts at this moment.
pub fn counts(orders: &[Arc<Order>], now: Stamp) -> Option<&Order> {
    orders.iter().find(|order| order.stands(now)).map(|order| &**order)
}

/// What a verdict becomes by the order that counts.
pub fn apply(now: Stamp, seen: Verdict, orders: &[Arc<Order>], policy: &Policy) -> Verdict {
    match counts(orders, now) {
        Some(order) => order.on(seen, policy),
        None => seen,
    }
}
