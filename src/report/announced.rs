//! What was last said of the nodes, and what the log is told of it.
//!
//! A reader of the journal sees no fields, so each message says all that a person needs.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::look::error::SourceError;
use crate::look::measure;
use crate::look::release::Release;
use crate::look::repmgr::NodeId;
use crate::look::role::Role;
use crate::look::stamp::Stamp;
use crate::verdict::decide::Verdict;
use crate::verdict::lock::Cut;
use crate::verdict::order::Order;
use crate::verdict::reason::Alarm;
use crate::verdict::state::State;

/// What was last said of a node to the services, in the order of the configuration.
pub type Said = Arc<[Announced]>;

/// What was last said of a node to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The node.
    pub node: Arc<str>,
    /// The service.
    pub service: Arc<str>,
    /// What is said.
    pub verdict: Verdict,
    /// Since when it is this state that is said.
    pub since: Stamp,
    /// The reason that the log was told last, and when.
    pub logged: (&'static str, Stamp),
}

/// The least time between two lines of the log about the reasons of one state.
pub const BETWEEN_REASONS: Duration = Duration::from_secs(5);

impl Announced {
    /// Whether the log is to be told of another reason for the same state: at most one in
    /// [`BETWEEN_REASONS`], so that looks which fail in turns do not fill it; the last one is told in any case.
    pub(crate) fn has_news(&self, now: Stamp) -> bool {
        let (reason, when) = self.logged;
        reason != self.verdict.reason.label() && now.since(when) >= BETWEEN_REASONS
    }
}

/// Another verdict; `from` is none for the first one, `role` is the one that was last seen. `handed_over`: a repmgr
/// node is confirmed as the primary and needs not settle, because every other data node has given way (condition 8b).
pub(crate) fn log_change(
    now: Stamp,
    from: Option<State>,
    role: Option<Role>,
    handed_over: bool,
    new: &Announced,
) {
    let Announced { node, service, verdict, .. } = new;
    let how = match verdict.state {
        State::Ready if handed_over => "; every other data node has given way to it",
        _ => "",
    };
    // What has not been said yet is as good as unknown, so a first verdict that is unknown, too, is no change.
    let from = from.unwrap_or(State::Unknown);
    let (node, service) = (&**node, &**service);
    let role = role.map(Role::as_str);
    let reason = verdict.reason.label();
    let timeline = verdict.timeline.map(|timeline| timeline.0);
    let age_ms = verdict.seen.map(|seen| now.since(seen).as_millis()).map(saturated);
    if from == verdict.state {
        info!(
            node,
            service,
            verdict = %verdict.state,
            role,
            reason,
            timeline,
            age_ms,
            "first verdict: {service} of {node} is {}: {}",
            verdict.state,
            verdict.reason
        );
        return;
    }
    info!(
        node,
        service,
        from = %from,
        to = %verdict.state,
        verdict = %verdict.state,
        role,
        reason,
        timeline,
        age_ms,
        handed_over,
        "verdict changed: {service} of {node} is {}: {}{how}",
        verdict.state,
        verdict.reason
    );
}

/// Another reason for the same state than the one of this label: loudly where somebody has to be woken up.
pub(crate) fn log_reason(before: &str, new: &Announced) {
    let Announced { node, service, verdict, .. } = new;
    let (reason, hint) = (verdict.reason.label(), verdict.reason.hint());
    let (node, service) = (&**node, &**service);
    let said = format_args!(
        "the reason for {service} of {node} is now another one, it is still {}: {} (before: {before})",
        verdict.state, verdict.reason
    );
    if let Some(Alarm::Critical) = verdict.reason.alarm() {
        warn!(node, service, before, reason, hint, "{said}");
    } else {
        info!(node, service, before, reason, hint, "{said}");
    }
}

/// The one situation in which two nodes can be READY with Patroni, if nobody asked for more.
pub(crate) fn log_lockless(new: &Announced) {
    let Announced { node, service, verdict, .. } = new;
    warn!(
        node = &**node,
        service = &**service,
        hint = verdict.reason.hint(),
        "{service} of {node} is {} without a leader lock: {}; set `require_lock = true` to \
         prevent this",
        verdict.state,
        verdict.reason
    );
}

fn saturated(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}

/// A candidate was told that it has to wait.
pub(crate) fn log_claims(node: &str, to: NodeId) {
    debug!(node, to = to.0, "{to} asked {node} to give way: it may still be the primary");
}

/// A candidate was told that it may go ahead.
pub(crate) fn log_gave_way(node: &str, to: NodeId, release: &Release) {
    info!(
        node,
        to = to.0,
        last_ready_ms = saturated(release.last_ready.as_millis()),
        "{node} gives way to {to}: the PostgreSQL of {node} is gone, and its rolecall last \
         answered READY {} ago",
        measure::about(release.last_ready)
    );
}

/// A candidate cannot be answered.
pub(crate) fn log_no_release(error: &SourceError) {
    let hint = error.kind.hint();
    warn!(
        hint,
        "a new primary asked this node to give way, and rolecall cannot answer it: {error}"
    );
}

/// An order that a no ends.
pub(crate) fn log_dropped(node: &str, service: &str, order: &Order, seen: &Verdict) {
    warn!(
        node,
        service,
        by = &*order.by,
        "the order `ready` for {} is removed: {service} of {node} is not ready: {}",
        order.target,
        seen.reason
    );
}

/// An order that waited for it after a kill.
pub(crate) fn log_seen_fit(order: &Order) {
    let (target, by) = (order.target.to_string(), &*order.by);
    info!(
        target_of_order = target,
        by, "the order `ready` for {target} is in effect again: a poll showed that its node is fit"
    );
}

/// A hold that Patroni's lock cuts, and what is in force instead.
pub(crate) fn log_cut(node: &str, cut: &Cut) {
    let most = measure::time(cut.most);
    warn!(
        node,
        service = &*cut.service,
        hint = "remove `hold` from rolecall's configuration, or raise ttl in Patroni's",
        "{} of {node}: {cut}; without successful polls a leader stays READY for at most {most}",
        cut.service
    );
}

/// Every verdict with its reason where there is one node; of several, the nodes by their state.
pub(crate) fn summary(announced: &[Said]) -> String {
    let [first, _, ..] = announced else {
        let said = announced.iter().flat_map(|said| &**said);
        let said =
            said.map(|a| format!("{}: {}, {}", a.service, a.verdict.state, a.verdict.reason));
        return said.collect::<Vec<_>>().join("; ");
    };
    let services = first.iter().enumerate().map(|(at, of)| {
        let states = [State::Ready, State::Drain, State::Unknown, State::NotReady];
        let states = states.iter().filter_map(|state| {
            let all = announced.iter().filter_map(|said| said.get(at));
            let named = all.filter(|a| a.verdict.state == *state).map(|a| &*a.node);
            let named: Vec<&str> = named.collect();
            (!named.is_empty()).then(|| format!("{state} {}", named.join(" ")))
        });
        format!("{}: {}", of.service, states.collect::<Vec<_>>().join(", "))
    });
    services.collect::<Vec<_>>().join("; ")
}
