//! What each query of the dashboard must find, by /status of the rolecalls and by what the play did.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::file::WINDOW_SECONDS;
use super::scene::{END, Now, Seen, cluster_of, list};
use super::server::Labels;

/// A range for each series, so that what moves between two questions is no difference.
pub type Wanted = BTreeMap<Labels, RangeInclusive<f64>>;

/// An age moves between the scrape and the question, in seconds.
const MOVES: f64 = 5.0;
/// Prometheus counts a little more than it saw, for the ends of its window.
const RATED: RangeInclusive<f64> = 0.8..=1.3;
/// No poll here takes longer, in seconds; more a second than that are not made.
const LONGEST: f64 = 15.0;
const MOST_POLLS: f64 = 3.0;
/// What pg7's command sleeps at least, and the bound of the histogram under it.
const SLOW: f64 = 0.3;
const UNDER_SLOW: f64 = 0.25;
/// The rule of `RolecallNobodyAsks` and the play's longest age of a configuration, in seconds.
const NOBODY: u64 = 60_000;
const OLDEST: f64 = 600.0;

const STATES: [&str; 4] = ["unknown", "not_ready", "drain", "ready"];
const ROLES: [&str; 6] =
    ["standby_leader", "async_replica", "quorum_replica", "sync_replica", "replica", "primary"];

/// # Panics
/// Of a query that is not known here: a new one needs its line.
pub fn wanted(panel: &str, query: &str, seen: &[Seen], now: &Now<'_>) -> Wanted {
    match (panel, query) {
        ("Primaries in each cluster", "A") => primaries_by_their_own_word(&now.of_clusters),
        ("Primaries in each cluster", "B") => ready_beside_their_databases(&now.of_clusters),
        ("State of each service over time", "A") => {
            each_service(seen, |of| Some((of.clustered(), code(&of.service["state"], &STATES))))
        }
        ("State and reason of each service now", "A") => {
            each_service(seen, |of| Some((of.labels.clone(), code(&of.service["state"], &STATES))))
        }
        ("State and reason of each service now", "B") => each_service(seen, |of| {
            Some((and(&of.labels, "reason", word(&of.service["reason"])), is(1.0)))
        }),
        ("State and reason of each service now", "C") | ("Age of the last agent check", "A") => {
            each_service(seen, |of| {
                let age = of.service["asked"]["last_ms"].as_u64()?;
                Some((of.labels.clone(), moving(age)))
            })
        }
        ("Role of each node", "A") => roles(seen),
        ("Pending and firing alerts", "A") => alerts(&now.of_jobs),
        ("Age of the last successful poll", "A") => each_source(seen, |_, source, labels| {
            source["good_ms"].as_u64().map_or_else(Vec::new, |age| vec![(labels, moving(age))])
        }),
        ("Duration of polls", "A" | "B") => each_source(seen, |node, _, labels| {
            let slow = if query == "A" { UNDER_SLOW } else { SLOW };
            let least = if node["node"] == "pg7" { slow } else { 0.0 };
            vec![(labels, least..=LONGEST)]
        }),
        ("Polls per second by result", "A") => each_source(seen, |_, source, labels| {
            let good = and(&labels, "result", "good");
            let polls = f64::MIN_POSITIVE..=MOST_POLLS;
            let Some(reason) = source["error"]["reason"].as_str() else {
                return vec![(good, polls)];
            };
            let fails = (and(&labels, "result", reason), polls);
            let was_good = source["good_ms"].is_u64().then(|| (good, is(0.0)));
            was_good.into_iter().chain([fails]).collect()
        }),
        ("State changes in the last hour", "A") => changes(seen, now),
        ("Orders in effect", "A") => each_service(seen, |of| {
            let order = &of.service["order"];
            let age = order["since_ms"].as_u64()?;
            Some((and(&of.labels, "order", word(&order["order"])), moving(age)))
        }),
        ("Agent checks per second by answer", "A") => checks(seen),
        ("Ports that were never asked", "A") => each_service(seen, |of| {
            of.service["asked"]["last_ms"].is_null().then(|| (of.clustered(), is(1.0)))
        }),
        ("Refused connections per second", "A") => each_service(seen, |of| {
            let count = of.service["asked"]["strangers"].as_f64().expect("a count");
            Some((and(&of.labels, "reason", "not_allowed"), rate(count)))
        }),
        ("Refused connections per second", "B") => each_instance(seen, |seen, labels| {
            [("busy", 0), ("not_allowed", seen.refused)]
                .map(|(reason, count)| (and(&labels, "reason", reason), rate(f64::from(count))))
                .into()
        }),
        ("agent-send questions with an unknown name", "A") => {
            each_instance(seen, |seen, labels| {
                let questions = list(&seen.status, "unknown_questions").iter();
                let one = |question: &Value| {
                    let labels = and(&labels, "service", word(&question["service"]));
                    let labels = and(&labels, "reason", word(&question["reason"]));
                    (labels, is(question["count"].as_f64().expect("a count")))
                };
                questions.map(one).collect()
            })
        }
        ("Certificates: days left", "A") => each_source(seen, |_, source, labels| {
            let days = (END - now.time) / 86400.0;
            let certificate = (and(&labels, "whose", "peer"), days - 0.01..=days + 0.01);
            Vec::from_iter((source["kind"] == "patroni").then_some(certificate))
        }),
        ("Reachable by Prometheus", "A") => answering(now),
        ("Version and configuration", "A") => each_instance(seen, |seen, labels| {
            vec![(and(&labels, "version", word(&seen.status["rolecall"])), is(1.0))]
        }),
        ("Version and configuration", "B") => each_instance(seen, |seen, labels| {
            let accepted = seen.status["refused_config"].is_null();
            vec![(labels, is(if accepted { 1.0 } else { 0.0 }))]
        }),
        ("Version and configuration", "C") => {
            each_instance(seen, |_, labels| vec![(labels, 0.0..=OLDEST)])
        }
        ("State of the fence", "A") => {
            fenced(seen, |fence| is(if fence["acts"] == true { 1.0 } else { 0.0 }))
        }
        ("Ended sessions and failed attempts in the last hour", "A") => {
            fenced(seen, |fence| grown(fence["ended"].as_f64().expect("a count")))
        }
        ("Ended sessions and failed attempts in the last hour", "B") => {
            fenced(seen, |fence| grown(fence["failed"].as_f64().expect("a count")))
        }
        other => panic!("it is not known here what {other:?} must show"),
    }
}

fn is(value: f64) -> RangeInclusive<f64> {
    value..=value
}

/// An age in milliseconds, as /status says it.
fn moving(age_ms: u64) -> RangeInclusive<f64> {
    let age = std::time::Duration::from_millis(age_ms).as_secs_f64();
    age - MOVES..=age + MOVES
}

/// So many since Prometheus came, as a rate over the window.
fn rate(count: f64) -> RangeInclusive<f64> {
    let rate = count / WINDOW_SECONDS;
    rate * RATED.start()..=rate * RATED.end()
}

/// What stood at nought, or went on growing while Prometheus looked.
fn grown(count: f64) -> RangeInclusive<f64> {
    if count > 0.0 { f64::MIN_POSITIVE..=count * RATED.end() } else { is(0.0) }
}

/// The number that the dashboard gives a word.
fn code(word: &Value, words: &[&str]) -> RangeInclusive<f64> {
    let at = words.iter().position(|of| word == of).expect("a known word");
    is(f64::from(u8::try_from(at).expect("few")))
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no word"))
}

fn and(labels: &Labels, name: &str, value: &str) -> Labels {
    let mut labels = labels.clone();
    labels.insert(name.to_owned(), value.to_owned());
    labels
}

fn of(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn of_instance(seen: &Seen) -> Labels {
    of(&[("job", seen.job), ("instance", &seen.instance.to_string())])
}

/// One service of one node.
struct Of<'a> {
    /// `job`, `instance`, `node` and `service`.
    labels: Labels,
    cluster: Option<&'a str>,
    service: &'a Value,
}

impl Of<'_> {
    fn clustered(&self) -> Labels {
        self.cluster.map_or_else(|| self.labels.clone(), |name| and(&self.labels, "cluster", name))
    }
}

fn services(seen: &[Seen]) -> impl Iterator<Item = Of<'_>> {
    seen.iter().flat_map(|seen| {
        seen.nodes.iter().flat_map(|node| {
            list(node, "services").iter().map(|service| {
                let labels = and(&of_instance(seen), "node", word(&node["node"]));
                let labels = and(&labels, "service", word(&service["service"]));
                Of { labels, cluster: cluster_of(node, seen.cluster), service }
            })
        })
    })
}

fn each_service(
    seen: &[Seen],
    want: impl Fn(&Of<'_>) -> Option<(Labels, RangeInclusive<f64>)>,
) -> Wanted {
    services(seen).filter_map(|of| want(&of)).collect()
}

fn each_source(
    seen: &[Seen],
    want: impl Fn(&Value, &Value, Labels) -> Vec<(Labels, RangeInclusive<f64>)>,
) -> Wanted {
    let mut wanted = Wanted::new();
    for seen in seen {
        for node in &seen.nodes {
            for source in list(node, "sources") {
                let labels = and(&of_instance(seen), "node", word(&node["node"]));
                let labels = and(&labels, "source", word(&source["kind"]));
                wanted.extend(want(node, source, labels));
            }
        }
    }
    wanted
}

fn each_instance(
    seen: &[Seen],
    want: impl Fn(&Seen, Labels) -> Vec<(Labels, RangeInclusive<f64>)>,
) -> Wanted {
    seen.iter().flat_map(|seen| want(seen, of_instance(seen))).collect()
}

/// Of a rolecall that has a fence, which has one node.
fn fenced(seen: &[Seen], want: impl Fn(&Value) -> RangeInclusive<f64>) -> Wanted {
    each_instance(seen, |seen, labels| {
        let fence = &seen.status["fence"];
        let labels = and(&labels, "node", word(&seen.nodes[0]["node"]));
        Vec::from_iter(fence.is_object().then(|| (labels, want(fence))))
    })
}

/// Added up for each job and cluster.
fn sums(counts: impl Iterator<Item = (Labels, bool)>) -> Wanted {
    let mut sums: BTreeMap<Labels, f64> = BTreeMap::new();
    for (labels, counts) in counts {
        *sums.entry(labels).or_default() += if counts { 1.0 } else { 0.0 };
    }
    sums.into_iter().map(|(labels, sum)| (labels, is(sum))).collect()
}

fn primaries_by_their_own_word(seen: &[Seen]) -> Wanted {
    sums(seen.iter().flat_map(|seen| {
        seen.nodes.iter().filter_map(|node| {
            let labels = of(&[("job", seen.job), ("cluster", node["cluster"].as_str()?)]);
            let newest = list(node, "sources").iter().filter(|source| source["error"].is_null());
            Some((labels, newest.clone().any(|source| source["role"] == "primary")))
        })
    }))
}

/// How many nodes of each job and cluster are READY for writes.
fn ready<'a>(of_these: impl Iterator<Item = Of<'a>>) -> Wanted {
    sums(of_these.filter(|of| of.labels["service"] == "primary").map(|it| {
        let mut labels = of(&[("job", &it.labels["job"])]);
        labels.extend(it.cluster.map(|name| ("cluster".to_owned(), name.to_owned())));
        (labels, it.service["state"] == "ready")
    }))
}

fn ready_beside_their_databases(seen: &[Seen]) -> Wanted {
    ready(services(seen).filter(|of| of.labels["node"] == "local"))
}

fn roles(seen: &[Seen]) -> Wanted {
    let mut wanted = Wanted::new();
    for seen in seen {
        for node in &seen.nodes {
            let mut labels = and(&of_instance(seen), "node", word(&node["node"]));
            if let Some(cluster) = cluster_of(node, seen.cluster) {
                labels = and(&labels, "cluster", cluster);
            }
            let at = ROLES.iter().position(|role| node["role"] == *role).map_or(0, |at| at + 1);
            wanted.insert(labels, is(f64::from(u8::try_from(at).expect("few"))));
        }
    }
    wanted
}

fn changes(seen: &[Seen], now: &Now<'_>) -> Wanted {
    let each = services(seen).flat_map(|of| {
        STATES.map(|to| {
            let (node, service) = (of.labels["node"].as_str(), of.labels["service"].as_str());
            let count = now.changes.get(&(node, service, to)).map_or(0.0, |n| f64::from(*n));
            (and(&of.labels, "to", to), count * RATED.start()..=count * RATED.end())
        })
    });
    each.collect()
}

fn checks(seen: &[Seen]) -> Wanted {
    let each = services(seen).flat_map(|of| {
        STATES.map(|reply| {
            let count = of.service["asked"][reply].as_f64().expect("a count");
            (and(&of.labels, "reply", reply), rate(count))
        })
    });
    each.collect()
}

fn answering(now: &Now<'_>) -> Wanted {
    let chosen = now.of_jobs.iter().filter(|seen| now.chooses(seen.instance));
    let mut wanted: Wanted = chosen.map(|seen| (of_instance(seen), is(1.0))).collect();
    if let Some((job, instance)) = now.dead {
        wanted.insert(of(&[("job", job), ("instance", &instance.to_string())]), is(0.0));
    }
    wanted
}

/// Every alert that fires in the play; none waits for longer than a second.
fn alerts(seen: &[Seen]) -> Wanted {
    let mut wanted = Wanted::new();
    let mut fires = |name: &str, severity: &str, of: &Labels| {
        let of = and(&and(of, "alertname", name), "severity", severity);
        wanted.insert(and(&of, "alertstate", "firing"), is(1.0));
    };
    for service in services(seen) {
        match service.service["asked"]["last_ms"].as_u64() {
            None => fires("RolecallNobodyAsks", "warning", &service.labels),
            // A series keeps the label of its target.
            Some(age) if age > NOBODY => {
                let beside = service.labels["node"] == "local";
                let labels = if beside { service.clustered() } else { service.labels };
                fires("RolecallNobodyAsks", "warning", &labels);
            }
            Some(_) => {}
        }
    }
    for (labels, _) in each_source(seen, |_, source, mut labels| {
        labels.remove("source");
        Vec::from_iter(source["error"].is_object().then(|| (labels, is(1.0))))
    }) {
        fires("RolecallSourceFailing", "warning", &labels);
    }
    for seen in seen.iter().filter(|seen| seen.status["refused_config"].is_object()) {
        let labels = and(&of_instance(seen), "cluster", seen.cluster.expect("a label"));
        fires("RolecallReloadFailed", "warning", &labels);
    }
    for (labels, count) in primaries_by_their_own_word(seen) {
        if *count.start() > 1.0 {
            fires("RolecallSplitBrain", "critical", &labels);
        }
    }
    // The node without a cluster is alone, and no primary.
    for (labels, count) in ready(services(seen)) {
        if *count.end() < 1.0 {
            fires("RolecallNobodyReady", "critical", &labels);
        }
    }
    wanted
}
