//! What a person or a program is shown of everything that is known: one model, from which every page
//! and every command is made.
//!
//! Its JSON has a version. A field may be added within one; a field that goes, or that means something
//! else, makes a new one. docs/http.md describes it, docs/status.schema.json is made of the types here.
//! Times are milliseconds before the moment at which it was made, so that no two clocks need to agree.

use std::time::Duration;

use serde::Serialize;

use crate::facts::fence::Deeds;
use crate::facts::{Facts, NodeFacts, ServiceFacts};
use crate::look::error::SourceError;
use crate::look::repmgr::NodeId;
use crate::look::role::Role;
use crate::look::snapshot::SourceFacts;
use crate::look::stamp::Stamp;
use crate::reply::routes::Routes;
use crate::reply::strays::Stray;
use crate::report::asked::Asked;
use crate::report::majority::Majority;
use crate::report::standing_orders::Kept;
use crate::verdict::failover::{self, Trouble};
use crate::verdict::finding::{Finding, findings};
use crate::verdict::order;
use crate::verdict::reason::{Alarm, Reason};

/// The version of the JSON.
pub(crate) const VERSION: u32 = 1;

/// Everything that rolecall knows at one moment, as its page /status says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "rolecall: /status"))]
pub struct Status {
    /// Of this form.
    #[cfg_attr(test, schemars(extend("const" = VERSION)))]
    pub version: u32,
    /// The program's own version.
    pub rolecall: &'static str,
    /// In the order of the configuration.
    pub nodes: Vec<Node>,
    /// Questions of agent-send that named nothing and were answered with `unknown`, the newest first.
    pub unknown_questions: Vec<Question>,
    /// Every order that stands, also one that counts nowhere: a narrower one does, or its target is gone.
    pub orders: Vec<Order>,
    /// What is wrong with the file of orders; `null` where nothing is.
    pub orders_damaged: Option<String>,
    /// What was done about the sessions of a node that is out; `null` where `[fence]` is not
    /// configured.
    pub fence: Option<Fence>,
    /// The configuration that was refused at the last reload; `null` where the last one is in force.
    pub refused_config: Option<Refused>,
}

/// A configuration that was refused: the one before it stays in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Refused {
    /// How long ago.
    pub since_ms: u64,
    /// Why, in the words of `rolecall check`.
    pub detail: String,
}

/// The fence, and what it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fence {
    /// Whether it ends sessions now: the server is out of recovery, and the node not READY.
    pub acts: bool,
    /// For how long it has; `null` where it does not.
    pub since_ms: Option<u64>,
    /// Why, where it does.
    pub because: Option<Explained>,
    /// How often a session was told to end.
    pub ended: u64,
    /// How long ago the last one was.
    pub last_ms: Option<u64>,
    /// How many attempts failed.
    pub failed: u64,
    /// How the last attempt failed, where it did.
    pub error: Option<Explained>,
}

/// A question that names nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Question {
    /// The service at whose address it came.
    pub service: String,
    /// Its words; what cannot be printed is escaped.
    pub question: String,
    /// What is wrong with it.
    #[serde(flatten)]
    pub why: Explained,
    /// How long ago it came last.
    pub last_ms: u64,
    /// By which address.
    pub by: Option<String>,
    /// How often it came.
    pub count: u64,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Node {
    /// Its name.
    pub node: String,
    /// The cluster it belongs to, where that is configured.
    pub cluster: Option<String>,
    /// What it was when it was last seen, by the first source that knew.
    pub role: Option<&'static str>,
    /// The timeline it was last seen on.
    pub timeline: Option<u32>,
    /// One for each source, in the order of the configuration.
    pub sources: Vec<Source>,
    /// One for each service, in the order of the configuration.
    pub services: Vec<Service>,
}

/// What one source knows of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Source {
    /// As the configuration calls it.
    pub kind: &'static str,
    /// What the last good look showed.
    pub role: Option<&'static str>,
    /// How long ago that look began; `null` where there is none that still holds.
    pub good_ms: Option<u64>,
    /// How long ago the last finished look began.
    pub looked_ms: Option<u64>,
    /// How the last look failed, where it did.
    pub error: Option<Explained>,
    /// How many bytes behind, where the source can tell.
    pub lag_bytes: Option<u64>,
    /// Whether Patroni knows nobody who holds the leader lock; `null` where no Patroni is asked.
    pub unlocked: Option<bool>,
    /// For a repmgr node that is a candidate: the other nodes that were asked, and whether each answers.
    pub peers: Vec<Peer>,
    /// For a repmgr node that is a candidate: who votes for it; `null` where no votes are counted.
    pub majority: Option<Majority>,
    /// For a repmgr node: those whose repmgrd is missing, paused or hung, this one among them. The next
    /// failover may not come.
    pub repmgrd: Vec<Repmgrd>,
}

/// A node of a repmgr cluster with whose repmgrd something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Repmgrd {
    /// `node_id`
    pub node_id: i32,
    /// What it is.
    #[serde(flatten)]
    pub why: Explained,
}

/// Another node of a repmgr cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Peer {
    /// `node_id`
    pub node_id: i32,
    /// How long ago its last good look began.
    pub good_ms: Option<u64>,
    /// How its last look failed, where it did.
    pub error: Option<Explained>,
}

/// A word that never changes, the words for a person, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Explained {
    /// The same in the log, in `ask` and in the metrics.
    pub reason: &'static str,
    /// In words.
    pub detail: String,
    /// The remedy, where there is one.
    pub hint: Option<&'static str>,
}

/// What one service is told of a node, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Service {
    /// Its name.
    pub service: String,
    /// The roles that may serve it.
    pub roles: Vec<&'static str>,
    /// Where it is asked about this node.
    pub listen: Vec<Listening>,
    /// What it is told.
    #[cfg_attr(test, schemars(extend("enum" = ["ready", "drain", "not_ready", "unknown"])))]
    pub state: &'static str,
    /// The line that HAProxy is sent, without its end.
    pub answer: String,
    /// Why.
    #[serde(flatten)]
    pub why: Explained,
    /// How much the reason wants a person; `null` where it wants nobody.
    #[cfg_attr(test, schemars(extend("enum" = ["warning", "critical", null])))]
    pub alarm: Option<&'static str>,
    /// How long it has been so; `null` before it was first announced.
    pub since_ms: Option<u64>,
    /// How long it stays so if nothing new is seen; `null`: for ever.
    pub stands_ms: Option<u64>,
    /// Whether it is in service by what was seen before, and no look confirms that any more: held for
    /// `stands_ms`.
    pub held: bool,
    /// How long ago the oldest look began that it rests on.
    pub seen_ms: Option<u64>,
    /// What each source means for it, in the order of the sources.
    pub findings: Vec<Found>,
    /// The operator's order that counts, where there is one.
    pub order: Option<Order>,
    /// Who asked.
    pub asked: Asked,
}

/// An address at which a service is asked about a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Listening {
    /// Address and port; `*:5555` for every address of the host.
    pub at: String,
    /// Whether a question is read there, which may name another node and another service.
    pub agent_send: bool,
}

/// An operator's standing order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Order {
    /// What is to be said.
    #[cfg_attr(test, schemars(extend("enum" = ["ready", "drain", "maint"])))]
    pub order: &'static str,
    /// What it is about.
    pub target: String,
    /// Who gave it.
    pub by: String,
    /// Why.
    pub why: String,
    /// How long ago.
    pub since_ms: u64,
    /// How long it still stands; `null`: until it is taken back.
    pub ends_ms: Option<u64>,
    /// Given with `--force`.
    pub forced: bool,
    /// A `ready` of before a kill: it speaks once a look has shown the node fit.
    pub waits: bool,
}

/// What one source means for one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Found {
    /// `silent`: evidence is missing.
    #[cfg_attr(test, schemars(extend("enum" = ["yes", "no", "silent"])))]
    pub says: &'static str,
    /// Why.
    #[serde(flatten)]
    pub why: Explained,
}

impl Status {
    /// What is known at this moment. `since` tells when the state of a service about a node was last
    /// another one.
    pub fn of(
        now: Stamp,
        facts: &Facts,
        strays: Vec<Stray>,
        orders: Kept,
        fence: Option<Deeds>,
        refused: Option<(Stamp, String)>,
        since: impl Fn(&str, &str) -> Option<Stamp>,
    ) -> Self {
        let nodes = facts.nodes.iter().enumerate();
        let nodes = nodes.map(|(at, node)| of_node(now, node, &facts.routes, at, &since));
        let standing = orders.orders.iter().filter(|order| order.stands(now));
        Self {
            version: VERSION,
            rolecall: env!("CARGO_PKG_VERSION"),
            nodes: nodes.collect(),
            unknown_questions: strays.into_iter().map(|stray| of_stray(now, stray)).collect(),
            orders: standing.map(|order| Order::of(now, order)).collect(),
            orders_damaged: orders.damaged,
            fence: fence.map(|deeds| of_fence(now, &deeds)),
            refused_config: refused
                .map(|(when, detail)| Refused { since_ms: ago(now, when), detail }),
        }
    }

    /// What one service is told of one node.
    pub fn service(&self, node: &str, service: &str) -> Option<&Service> {
        let node = self.nodes.iter().find(|of| of.node == node)?;
        node.services.iter().find(|of| of.service == service)
    }
}

fn of_fence(now: Stamp, deeds: &Deeds) -> Fence {
    Fence {
        acts: deeds.acting.is_some(),
        since_ms: deeds.acting.as_ref().map(|(since, _)| ago(now, *since)),
        because: deeds.acting.as_ref().map(|(_, reason)| explained(reason)),
        ended: deeds.ended,
        last_ms: deeds.last.map(|last| ago(now, last)),
        failed: deeds.failed,
        error: deeds.error.as_ref().map(failure),
    }
}

/// `place` is that of the node among the configured ones.
fn of_node(
    now: Stamp,
    node: &NodeFacts,
    routes: &Routes,
    place: usize,
    since: impl Fn(&str, &str) -> Option<Stamp>,
) -> Node {
    let services = node.services.iter().enumerate().map(|(at, service)| {
        let since = since(&node.name, &service.name);
        let listen = routes.places(place, at).into_iter();
        let listen = listen.map(|(at, agent_send)| Listening { at: at.to_string(), agent_send });
        of_service(now, node, service, listen.collect(), since)
    });
    // Whom a source is asked about is the same for every service.
    let trust = node.services.first().map(|service| service.policy.trust.as_slice());
    let electorate = |at: usize| trust.unwrap_or_default().get(at)?.electorate.as_ref();
    let sources = node.each_source().enumerate().map(|(at, (kind, facts))| {
        let majority = electorate(at).and_then(|electorate| Majority::of(now, facts, electorate));
        of_source(now, kind.word, facts, majority)
    });
    let seen = || node.sources.iter().filter_map(|source| Some(source.own.good()?.1));
    Node {
        node: node.name.to_string(),
        cluster: node.cluster.as_deref().map(str::to_owned),
        role: seen().find_map(|seen| seen.role).map(Role::as_str),
        timeline: seen().find_map(|seen| seen.timeline).map(|timeline| timeline.0),
        sources: sources.collect(),
        services: services.collect(),
    }
}

fn of_source(
    now: Stamp,
    kind: &'static str,
    facts: &SourceFacts,
    majority: Option<Majority>,
) -> Source {
    let good = facts.own.good();
    let peers = facts.peers.iter().map(|(id, peer)| Peer {
        node_id: id.0,
        good_ms: peer.good().map(|(began, _)| ago(now, began)),
        error: peer.failing().map(|(_, error)| failure(error)),
    });
    Source {
        kind,
        role: good.and_then(|(_, seen)| seen.role).map(Role::as_str),
        good_ms: good.map(|(began, _)| ago(now, began)),
        looked_ms: facts.own.last_look().map(|began| ago(now, began)),
        error: facts.own.failing().map(|(_, error)| failure(error)),
        lag_bytes: good.and_then(|(_, seen)| seen.replay?.lag_bytes),
        unlocked: good.and_then(|(_, seen)| seen.patroni).map(|patroni| patroni.unlocked),
        peers: peers.collect(),
        majority,
        repmgrd: failover::troubles(facts).into_iter().map(of_trouble).collect(),
    }
}

fn of_trouble((id, trouble): (NodeId, Trouble)) -> Repmgrd {
    let (reason, detail) = (trouble.label(), trouble.as_str().to_owned());
    Repmgrd { node_id: id.0, why: Explained { reason, detail, hint: Some(trouble.hint()) } }
}

fn of_service(
    now: Stamp,
    node: &NodeFacts,
    service: &ServiceFacts,
    listen: Vec<Listening>,
    since: Option<Stamp>,
) -> Service {
    let verdict = node.verdict(now, service);
    let answer = service.answering.wording.line(verdict.state, &verdict.reason);
    let found = findings(now, &node.sources, service.standing, &service.policy);
    Service {
        service: service.name.to_string(),
        roles: service.policy.roles.iter().map(|role| role.as_str()).collect(),
        listen,
        state: verdict.state.as_str(),
        answer: String::from_utf8_lossy(&answer).trim_end().to_owned(),
        why: explained(&verdict.reason),
        alarm: verdict.reason.alarm().map(Alarm::as_str),
        since_ms: since.map(|since| ago(now, since)),
        held: node.is_held(service, &verdict),
        stands_ms: verdict.until.map(|until| ago(until, now)),
        seen_ms: verdict.seen.map(|seen| ago(now, seen)),
        findings: found.into_iter().map(of_finding).collect(),
        order: order::counts(&service.orders, now).map(|order| Order::of(now, order)),
        asked: Asked::of(now, &service.asks),
    }
}

impl Order {
    /// An order, as it stands at this moment.
    pub fn of(now: Stamp, order: &order::Order) -> Self {
        Self {
            order: order.wish.as_str(),
            target: order.target.to_string(),
            by: order.by.to_string(),
            why: order.why.to_string(),
            since_ms: millis(order.age(now)),
            ends_ms: order.until.map(|until| ago(until, now)),
            forced: order.forced,
            waits: order.waits(),
        }
    }
}

fn of_finding(finding: Finding) -> Found {
    let (says, reason) = match finding {
        Finding::Yes(role) => ("yes", Reason::Serves(role)),
        Finding::Answers => ("yes", Reason::Answers),
        Finding::No(reason) => ("no", reason),
        Finding::Silent(reason) => ("silent", reason),
    };
    Found { says, why: explained(&reason) }
}

fn of_stray(now: Stamp, stray: Stray) -> Question {
    let Stray { service, question, why, by, at, count } = stray;
    Question {
        service: service.to_string(),
        question,
        why: Explained { reason: why.label(), detail: why.to_string(), hint: Some(why.hint()) },
        last_ms: ago(now, at),
        by: by.map(|by| by.to_canonical().to_string()),
        count,
    }
}

fn explained(reason: &Reason) -> Explained {
    Explained { reason: reason.label(), detail: reason.to_string(), hint: reason.hint() }
}

fn failure(error: &SourceError) -> Explained {
    let kind = error.kind;
    Explained { reason: kind.label(), detail: error.to_string(), hint: Some(kind.hint()) }
}

/// Milliseconds from `before` to `now`.
fn ago(now: Stamp, before: Stamp) -> u64 {
    millis(now.since(before))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `ROLECALL_WRITE_SCHEMA=1` writes it.
    #[test]
    fn the_committed_schema_is_the_one_of_these_types() {
        // As it is written: every key is there, if only as null.
        let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
        let schema = settings.into_generator().into_root_schema_for::<Status>();
        let made = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status.schema.json");
        if std::env::var_os("ROLECALL_WRITE_SCHEMA").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap();
        assert_eq!(committed, made, "ROLECALL_WRITE_SCHEMA=1 cargo test --lib schema writes it");
    }
}
