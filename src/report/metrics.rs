//! What Prometheus is told: what happened is counted where it happens, what is so is read when it asks.
//!
//! docs/metrics.md names every metric. Names and label values never change once released.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::facts::fence::{Deeds, Record};
use crate::facts::{Facts, NodeFacts};
use crate::host::clock::Clock;
use crate::look::error::SourceError;
use crate::look::observation::Observation;
use crate::look::role::{ROLES, Role};
use crate::look::snapshot::SourceFacts;
use crate::look::stamp::Stamp;
use crate::look::text;
use crate::reply::asks::Asker;
use crate::reply::strays::{Strays, Unknown};
use crate::report::spoken::Spoken;
use crate::report::standing_orders::StandingOrders;
use crate::verdict::state::State;
use crate::verdict::{failover, order};

/// What Prometheus itself asks for. Others read the older form alone, in which no type is `info`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every state, for one gauge each.
const STATES: [State; 4] = [State::Ready, State::Drain, State::NotReady, State::Unknown];

/// Upper bounds of look durations, in seconds: a local answer, a busy one, one that times out.
const DURATIONS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

type Labels = Vec<(&'static str, String)>;
type Durations = Family<Labels, Histogram, fn() -> Histogram>;

/// What is counted. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    looks: Family<Labels, Counter>,
    durations: Durations,
    changes: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    questions: Family<Labels, Counter>,
    reload_good: Gauge,
    reload_time: Gauge,
    /// What was asked that named nothing, for the status.
    pub strays: Strays,
    /// When READY for primaries was last said; no metric, but known where answers are counted.
    pub spoken: Spoken,
    /// What the fence did, for the status.
    pub fence: Record,
    /// The configuration that was refused last, for the status.
    pub refused_config: RefusedConfig,
    /// The operators' orders that stand, for the status.
    pub orders: StandingOrders,
}

/// Most bytes that are kept of why a configuration was refused.
pub const MOST_OF_A_REFUSAL: usize = 2048;

/// When and why the last configuration was refused, where none has come into force since. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct RefusedConfig(Arc<Mutex<Option<(Stamp, String)>>>);

impl RefusedConfig {
    fn set(&self, refused: Option<(Stamp, String)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    /// As it stands now.
    pub fn last(&self) -> Option<(Stamp, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why an HTTP connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It had said the least for the longest, and made room for another.
    Busy,
    /// The address is not in `allow`.
    NotAllowed,
}

impl Refusal {
    /// The word for this in metrics; never changes once released.
    fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NotAllowed => "not_allowed",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(DURATIONS);
        let refused = Family::<Labels, Counter>::default();
        // They stand at 0 from the start, so that the first one is an increase.
        for reason in [Refusal::Busy, Refusal::NotAllowed] {
            drop(refused.get_or_create(&refused_for(reason)));
        }
        Self {
            looks: Family::default(),
            durations: Family::new_with_constructor(histogram),
            changes: Family::default(),
            refused,
            questions: Family::default(),
            reload_good: Gauge::default(),
            reload_time: Gauge::default(),
            strays: Strays::default(),
            spoken: Spoken::default(),
            fence: Record::default(),
            refused_config: RefusedConfig::default(),
            orders: StandingOrders::default(),
        }
    }
}

impl Metrics {
    /// A look at a node has come in, `took` after it began.
    pub fn looked(
        &self,
        node: &str,
        source: &str,
        took: Duration,
        result: &Result<Observation, SourceError>,
    ) {
        let result = result.as_ref().map_or_else(|error| error.kind.label(), |_| "good");
        let of = [("node", node.to_owned()), ("source", source.to_owned())];
        self.durations.get_or_create(&of.to_vec()).observe(took.as_secs_f64());
        let result = ("result", result.to_owned());
        self.looks.get_or_create(&of.into_iter().chain([result]).collect()).inc();
    }

    /// A service is now told another state of a node.
    pub fn changed(&self, node: &str, service: &str, to: State) {
        let labels = |to: State| {
            let labels = [("node", node), ("service", service), ("to", to.as_str())];
            labels.map(|(name, value)| (name, value.to_owned())).to_vec()
        };
        // The other states stand at 0 from the first word on, so that the first change to one is an increase.
        for state in STATES {
            drop(self.changes.get_or_create(&labels(state)));
        }
        self.changes.get_or_create(&labels(to)).inc();
    }

    /// An HTTP connection was not served.
    pub fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&refused_for(reason)).inc();
    }

    /// A question at an agent port named nothing and was answered with `unknown`.
    pub(crate) fn unknown_question(&self, service: &str, why: Unknown) {
        let labels = [("service", service), ("reason", why.label())];
        let labels = labels.map(|(name, value)| (name, value.to_owned()));
        self.questions.get_or_create(&labels.to_vec()).inc();
    }

    /// A configuration is in force; by the wall clock, in seconds since 1970.
    pub fn reloaded(&self, unix_seconds: i64) {
        self.reload_good.set(1);
        self.reload_time.set(unix_seconds);
        self.refused_config.set(None);
    }

    /// A configuration was read and refused, for this reason: the one before it stays in force.
    pub fn reload_refused(&self, now: Stamp, why: &str) {
        self.reload_good.set(0);
        self.refused_config.set(Some((now, text::plain(why, MOST_OF_A_REFUSAL))));
    }
}

fn refused_for(reason: Refusal) -> Labels {
    vec![("reason", reason.label().to_owned())]
}

/// All that can be asked for.
pub struct Exposed(Registry);

impl Exposed {
    /// What is counted, and what is known.
    pub fn new(counted: &Metrics, facts: watch::Receiver<Facts>, clock: Clock) -> Self {
        let mut registry = Registry::with_prefix("rolecall");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of this program", build);
        registry.register("looks", "Polls of nodes, by result", counted.looks.clone());
        registry.register("look_duration_seconds", "Duration of polls", counted.durations.clone());
        registry.register(
            "verdict_changes",
            "Changes of the state of a service",
            counted.changes.clone(),
        );
        registry.register(
            "unknown_questions",
            "agent-send questions that named no known node or service and got the `unknown` answer",
            counted.questions.clone(),
        );
        registry.register(
            "http_connections_refused",
            "HTTP connections that were not served",
            counted.refused.clone(),
        );
        registry.register(
            "config_last_reload_successful",
            "1 if the last configuration that was read is in effect",
            counted.reload_good.clone(),
        );
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            "Time when the configuration in effect was read",
            counted.reload_time.clone(),
        );
        let fence = counted.fence.clone();
        registry.register_collector(Box::new(Known { facts, clock, fence }));
        Self(registry)
    }

    /// The text of all metrics at this moment, and what it is called, in the form that the one who
    /// asks takes: `accept` is what its request says of it.
    ///
    /// # Errors
    /// Never: a string takes everything.
    pub fn text(&self, accept: &str) -> Result<(&'static str, String), fmt::Error> {
        let mut text = String::new();
        if accept.contains("application/openmetrics-text") {
            encode(&mut text, &self.0)?;
            return Ok((OPENMETRICS, text));
        }
        prometheus_text::encode(&mut text, &self.0)?;
        Ok((prometheus_text::CONTENT_TYPE, text))
    }
}

/// What is so at the moment of asking.
struct Known {
    facts: watch::Receiver<Facts>,
    clock: Clock,
    fence: Record,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

/// One metric while it is written, a line for each set of labels.
struct Lines<'a>(MetricEncoder<'a>);

impl Lines<'_> {
    fn gauge(
        &mut self,
        labels: &[(&'static str, &str)],
        value: &impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_gauge(value)
    }

    fn counter(&mut self, labels: &[(&'static str, &str)], value: u64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }
}

impl Collector for Known {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let facts = self.facts.borrow();
        let now = self.clock.now();
        let mut metric = |name, help, kind, write: &dyn Fn(&mut Lines<'_>) -> fmt::Result| {
            write(&mut Lines(encoder.encode_descriptor(name, help, None, kind)?))
        };
        metric(
            "role",
            "Role that a node had in the last successful poll",
            MetricType::Gauge,
            &|lines| each(&facts, |node| roles(lines, node)),
        )?;
        let help = "State of a service of a node";
        metric("verdict", help, MetricType::Gauge, &|lines| {
            each(&facts, |node| verdicts(lines, now, node))
        })?;
        let help = "Reason for the state of a service of a node";
        metric("verdict_reason", help, MetricType::Gauge, &|lines| {
            each(&facts, |node| reasons(lines, now, node))
        })?;
        let help = "Age of the last successful poll of a source";
        metric("last_good_look_age_seconds", help, MetricType::Gauge, &|lines| {
            each(&facts, |node| ages(lines, now, node))
        })?;
        let help = "Nodes of a cluster that are a primary according to their last poll: more than \
                    one means split brain";
        metric("cluster_primaries", help, MetricType::Gauge, &|lines| primaries(lines, &facts))?;
        let help = "Answers at the agent port, by state";
        metric("checks", help, MetricType::Counter, &|lines| {
            each(&facts, |node| checks(lines, node))
        })?;
        let help = "Connections to the agent port that were closed without an answer";
        metric("connections_refused", help, MetricType::Counter, &|lines| {
            each(&facts, |node| strangers(lines, node))
        })?;
        let help = "Age of the operator's order that is in effect for a service of a node";
        metric("order_age_seconds", help, MetricType::Gauge, &|lines| {
            each(&facts, |node| orders(lines, now, node))
        })?;
        let help = "1 for a node of a repmgr cluster whose repmgrd is missing, paused or hung: \
                    the next failover may not happen";
        metric("repmgrd_trouble", help, MetricType::Gauge, &|lines| {
            each(&facts, |node| repmgrds(lines, node))
        })?;
        let help = "Time when a certificate expires";
        metric("certificate_expiry_timestamp_seconds", help, MetricType::Gauge, &|lines| {
            each(&facts, |node| certificates(lines, node))
        })?;
        let help =
            "Time since the last agent check of a service of a node; absent before the first one";
        metric("last_check_age_seconds", help, MetricType::Gauge, &|lines| {
            each(&facts, |node| last_checks(lines, now, node))
        })?;
        let help = "How long ago an address last asked for a service of a node that asks regularly; forgotten after a day";
        metric("asker_last_check_age_seconds", help, MetricType::Gauge, &|lines| {
            each(&facts, |node| askers(lines, now, node))
        })?;
        let deeds = self.fence.deeds();
        let fenced = |lines: &mut Lines<'_>, count: &dyn Fn(&Deeds) -> u64| {
            let Some(deeds) = &deeds else { return Ok(()) };
            each(&facts, |node| lines.counter(&[("node", &*node.name)], count(deeds)))
        };
        let help = "Sessions that the fence ended; absent without [fence]";
        metric("fence_sessions_ended", help, MetricType::Counter, &|lines| {
            fenced(lines, &|deeds| deeds.ended)
        })?;
        let help = "Failures of the fence; absent without [fence]";
        metric("fence_attempts_failed", help, MetricType::Counter, &|lines| {
            fenced(lines, &|deeds| deeds.failed)
        })?;
        let help = "1 while the fence ends sessions; absent without [fence]";
        metric("fence_acts", help, MetricType::Gauge, &|lines| {
            let Some(deeds) = &deeds else { return Ok(()) };
            let acts = i64::from(deeds.acting.is_some());
            each(&facts, |node| lines.gauge(&[("node", &*node.name)], &acts))
        })
    }
}

fn each(facts: &Facts, mut write: impl FnMut(&NodeFacts) -> fmt::Result) -> fmt::Result {
    facts.nodes.iter().try_for_each(&mut write)
}

/// Every role has a gauge; a node whose role is not known has none at 1.
fn roles(lines: &mut Lines<'_>, node: &NodeFacts) -> fmt::Result {
    let role = node.sources.iter().find_map(|source| source.own.good()?.1.role);
    let cluster = node.cluster.as_deref().unwrap_or_default();
    ROLES.into_iter().try_for_each(|of| {
        let labels = [("node", &*node.name), ("cluster", cluster), ("role", of.as_str())];
        lines.gauge(&labels, &i64::from(role == Some(of)))
    })
}

fn verdicts(lines: &mut Lines<'_>, now: Stamp, node: &NodeFacts) -> fmt::Result {
    let cluster = node.cluster.as_deref().unwrap_or_default();
    node.services.iter().try_for_each(|service| {
        let state = node.verdict(now, service).state;
        STATES.into_iter().try_for_each(|of| {
            let labels = [
                ("node", &*node.name),
                ("cluster", cluster),
                ("service", &*service.name),
                ("state", of.as_str()),
            ];
            lines.gauge(&labels, &i64::from(state == of))
        })
    })
}

/// The one reason that holds now.
fn reasons(lines: &mut Lines<'_>, now: Stamp, node: &NodeFacts) -> fmt::Result {
    node.services.iter().try_for_each(|service| {
        let verdict = node.verdict(now, service);
        let reason = ("reason", verdict.reason.label());
        lines.gauge(&[("node", &*node.name), ("service", &*service.name), reason], &1i64)
    })
}

/// Several sources of one kind are one line: that of the oldest look, since all of them must agree.
fn ages(lines: &mut Lines<'_>, now: Stamp, node: &NodeFacts) -> fmt::Result {
    let mut oldest: BTreeMap<&str, Stamp> = BTreeMap::new();
    for (kind, source) in node.each_source() {
        let Some((began, _)) = source.own.good() else { continue };
        let known = oldest.entry(kind.word).or_insert(began);
        *known = began.min(*known);
    }
    oldest.into_iter().try_for_each(|(source, began)| {
        let labels = [("node", &*node.name), ("source", source)];
        lines.gauge(&labels, &now.since(began).as_secs_f64())
    })
}

/// Whether the newest look shows a primary, whatever is told of it: a server that swears it is the
/// primary, and is told MAINT for it, is half of a split brain all the same.
fn leads(node: &NodeFacts) -> bool {
    let newest = |source: &SourceFacts| match source.own.failing() {
        None => source.own.good()?.1.role,
        Some(_) => None,
    };
    node.sources.iter().find_map(newest) == Some(Role::Primary)
}

/// Nodes without a cluster stand alone: nothing says that they belong together.
fn primaries(lines: &mut Lines<'_>, facts: &Facts) -> fmt::Result {
    let mut clusters: Vec<&Arc<str>> =
        facts.nodes.iter().filter_map(|n| n.cluster.as_ref()).collect();
    clusters.sort_unstable();
    clusters.dedup();
    clusters.into_iter().try_for_each(|cluster| {
        let members = facts.nodes.iter().filter(|node| node.cluster.as_ref() == Some(cluster));
        let count = members.filter(|node| leads(node)).count();
        lines.gauge(&[("cluster", &**cluster)], &i64::try_from(count).unwrap_or(i64::MAX))
    })
}

fn checks(lines: &mut Lines<'_>, node: &NodeFacts) -> fmt::Result {
    node.services.iter().try_for_each(|service| {
        STATES.into_iter().try_for_each(|of| {
            let labels =
                [("node", &*node.name), ("service", &*service.name), ("reply", of.as_str())];
            lines.counter(&labels, service.asks.count(of))
        })
    })
}

fn strangers(lines: &mut Lines<'_>, node: &NodeFacts) -> fmt::Result {
    node.services.iter().try_for_each(|service| {
        let labels =
            [("node", &*node.name), ("service", &*service.name), ("reason", "not_allowed")];
        lines.counter(&labels, service.asks.strangers())
    })
}

fn orders(lines: &mut Lines<'_>, now: Stamp, node: &NodeFacts) -> fmt::Result {
    node.services.iter().try_for_each(|service| {
        let Some(order) = order::counts(&service.orders, now) else { return Ok(()) };
        let wish = order.wish.as_str();
        let labels = [("node", &*node.name), ("service", &*service.name), ("order", wish)];
        lines.gauge(&labels, &order.age(now).as_secs_f64())
    })
}

/// Of several sources of one kind the certificate that ends first.
fn certificates(lines: &mut Lines<'_>, node: &NodeFacts) -> fmt::Result {
    let mut first: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for (kind, source) in node.each_source() {
        let Some((_, seen)) = source.own.good() else { continue };
        for (whose, end) in [("peer", seen.expiry.peer), ("own", seen.expiry.own)] {
            let Some(end) = end else { continue };
            let known = first.entry((kind.word, whose)).or_insert(end);
            *known = end.min(*known);
        }
    }
    first.into_iter().try_for_each(|((source, whose), end)| {
        lines.gauge(&[("node", &*node.name), ("source", source), ("whose", whose)], &end)
    })
}

fn repmgrds(lines: &mut Lines<'_>, node: &NodeFacts) -> fmt::Result {
    node.sources.iter().flat_map(failover::troubles).try_for_each(|(id, trouble)| {
        let (cluster, id) = (node.cluster.as_deref().unwrap_or_default(), id.0.to_string());
        let trouble = ("trouble", trouble.label());
        let labels = [("node", &*node.name), ("cluster", cluster), ("repmgr_node", &id), trouble];
        lines.gauge(&labels, &1i64)
    })
}

fn last_checks(lines: &mut Lines<'_>, now: Stamp, node: &NodeFacts) -> fmt::Result {
    node.services.iter().try_for_each(|service| {
        let Some(last) = service.asks.last() else { return Ok(()) };
        let labels = [("node", &*node.name), ("service", &*service.name)];
        lines.gauge(&labels, &now.since(last.at).as_secs_f64())
    })
}

/// A few addresses for each service of a node, however many ask: those that ask regularly.
fn askers(lines: &mut Lines<'_>, now: Stamp, node: &NodeFacts) -> fmt::Result {
    node.services.iter().try_for_each(|service| {
        let mut askers = service.asks.askers(now).into_iter().filter(Asker::is_regular);
        askers.try_for_each(|asker| {
            let by = asker.by.to_string();
            let labels = [("node", &*node.name), ("service", &*service.name), ("asker", &by)];
            lines.gauge(&labels, &now.since(asker.at).as_secs_f64())
        })
    })
}
