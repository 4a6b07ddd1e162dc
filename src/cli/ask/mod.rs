//! `rolecall ask`: what a running daemon answers; then one look without it, and what follows from that, and why.
//!
//! The daemon is asked first, where there is one (`running`): what it answers is what HAProxy is told, also where
//! a look from here would say something else.

mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::cli::failover_after::{self, Overrated};
use crate::cli::words;
use crate::config::{Config, Node, Source as Configured};
use crate::host::clock::{Clock, wall_clock};
use crate::host::failure::Failure;
use crate::look::error::SourceError;
use crate::look::measure;
use crate::look::observation::Observation;
use crate::look::release::Release;
use crate::look::repmgr::{Attached, NodeId, Registered, Row};
use crate::look::snapshot::{Snapshot, SourceFacts};
use crate::look::stamp::Stamp;
use crate::source::release::ReleaseSource;
use crate::source::resolve::Resolver;
use crate::source::{RoleSource as _, Source, role_source};
use crate::verdict::decide::{Verdict, decide};
use crate::verdict::failover;
use crate::verdict::handover::{self, Way};
use crate::verdict::policy::Policy;
use crate::verdict::quorum::{self, Round};
use crate::verdict::standing::Standing;
use crate::verdict::state::State;
use crate::watch::watched::others;

pub use running::Running;

/// What was seen of each node that was asked about, and what was decided.
pub struct Answer(Vec<OfNode>);

/// What one look at every source of a node showed and what each service makes of it.
struct OfNode {
    node: String,
    looks: Vec<Looked>,
    decided: Vec<(String, Verdict)>,
}

struct Looked {
    kind: &'static str,
    seen: Result<Observation, SourceError>,
    took_ms: u64,
    facts: SourceFacts,
    /// For a repmgr node that is a candidate: how rule R counts.
    round: Option<Round>,
    /// How other data nodes have given way to it.
    ways: BTreeMap<NodeId, Way>,
    /// A `failover_after` that the node's repmgr.conf does not bear out.
    overrated: Option<Overrated>,
}

/// Looks once at every source of `config`, all at one time, each within its own timeout, and
/// decides; of one service and one node alone where they are named. A repmgr node that is a
/// candidate for the primary has the other nodes of its table looked at too.
///
/// # Errors
/// A source cannot look at all: a file of its configuration cannot be read.
pub async fn ask(
    config: &Config,
    service: Option<&str>,
    node: Option<&str>,
) -> Result<Answer, Failure> {
    let resolver = Resolver::system();
    let nodes = config.nodes.iter().filter(|of| node.is_none_or(|node| of.name == node));
    let asked = nodes.map(|node| ask_about(config, node, service, &resolver));
    join_all(asked).await.into_iter().collect::<Result<_, _>>().map(Answer)
}

async fn ask_about(
    config: &Config,
    node: &Node,
    service: Option<&str>,
    resolver: &Resolver,
) -> Result<OfNode, Failure> {
    let clock = Clock::Boot;
    let mut sources = Vec::new();
    for configured in &node.sources {
        sources.push((configured, Source::new(configured, resolver)?));
    }
    let lag_matters = config.services.iter().any(|service| service.lag.is_some());
    let looks = sources
        .iter_mut()
        .map(|(configured, source)| look(configured, source, lag_matters, resolver, &clock));
    let looks = join_all(looks).await;
    let now = clock.now();
    let facts: Vec<_> = looks.iter().map(|look| look.facts.clone()).collect();
    let services = config.services.iter().filter(|of| service.is_none_or(|name| of.name == name));
    let decided = services.map(|service| {
        // One look says what is so now; for how long it has been so, only the daemon knows.
        let policy = Policy { settle: Duration::ZERO, ..service.policy(node) };
        let standing = Standing::default().fold(now, &[], &facts, &policy);
        (service.name.clone(), decide(now, &facts, standing, &policy))
    });
    Ok(OfNode { node: node.name.clone(), decided: decided.collect(), looks })
}

async fn look(
    configured: &Configured,
    source: &mut Source,
    lag_matters: bool,
    resolver: &Resolver,
    clock: &Clock,
) -> Looked {
    let began = clock.now();
    let seen = role_source::look(source, configured.timeout).await;
    let took = clock.now().since(began).as_millis();
    let took_ms = u64::try_from(took).unwrap_or(u64::MAX);
    let mut facts = SourceFacts::default();
    facts.record_own(clock.now(), began, seen.clone());
    if let (Some(peer_of), Ok(seen)) = (source.peers(), &seen) {
        let peers = others(seen, lag_matters).into_iter().map(async |row| {
            let began = clock.now();
            let looked = role_source::look(&mut peer_of(row), configured.timeout).await;
            let mut snapshot = Snapshot::default();
            snapshot.record(began, looked);
            (row.id, snapshot)
        });
        facts.peers = join_all(peers).await.into_iter().collect();
        facts.releases = releases(configured, seen, &facts, resolver, clock).await;
    }
    // The peers were asked after the own server, each within its own deadline.
    let now = clock.now();
    let electorate = configured.electorate();
    let round = electorate.map(|electorate| quorum::rule(now, &facts, &electorate));
    let ways = electorate.zip(round.as_ref());
    let ways = ways.map(|(electorate, round)| handover::ways(now, &facts, &electorate, round));
    let ways = ways.unwrap_or_default();
    let overrated = seen.as_ref().ok().and_then(|seen| Overrated::of(configured, seen));
    Looked { kind: configured.kind.as_str(), seen, took_ms, facts, round, ways, overrated }
}

/// Asks the rolecalls beside the servers that do not answer to give way to this candidate, as the daemon
/// does.
async fn releases(
    configured: &Configured,
    own: &Observation,
    facts: &SourceFacts,
    resolver: &Resolver,
    clock: &Clock,
) -> BTreeMap<NodeId, (Stamp, Option<Release>)> {
    let Some(release) = configured.kind.settings().releasing() else { return BTreeMap::new() };
    let Some(me) = own.repmgr.as_ref().and_then(|said| said.me) else { return BTreeMap::new() };
    let gone = |id| facts.peers.get(&id).is_some_and(|peer: &Snapshot| peer.failing().is_some());
    let data = |row: &&Row| row.registered != Registered::Witness && gone(row.id);
    let rows = others(own, false).into_iter().filter(data);
    let asked = rows.map(async |row| {
        let began = clock.now();
        let (port, file) = (release.port, release.key_file.clone());
        let mut asked = ReleaseSource::new(row, me, port, file, resolver.clone());
        let said = role_source::look(&mut asked, configured.timeout).await;
        let said = said.ok().and_then(|said| said.release.as_deref().cloned());
        (row.id, (began, said))
    });
    join_all(asked).await.into_iter().collect()
}

impl Answer {
    /// The worst state of all that was asked for: not ready before unknown before ready.
    /// What a daemon answers counts where one was asked.
    pub fn state(&self, running: &Running) -> State {
        let decided = self.0.iter().flat_map(|of| &of.decided);
        let decided = decided.map(|(_, verdict)| verdict.state).collect();
        let told = Some(running.states()).filter(|told| !told.is_empty());
        let mut states = told.unwrap_or(decided).into_iter();
        let first = states.next().unwrap_or(State::Unknown);
        states.fold(first, |worst, state| match (worst, state) {
            (State::NotReady | State::Drain, _) => worst,
            (_, State::NotReady | State::Drain | State::Unknown) => state,
            _ => worst,
        })
    }

    /// For a person; what the daemon says goes first. Each hint is given once. `host`: what this host is called.
    pub fn text(&self, running: &Running, host: Option<&str>) -> String {
        let mut hints = Hints::default();
        let told = running.text(&mut hints, host);
        self.0.iter().fold(told, |text, of| text + &of.text(&mut hints, host))
    }

    /// For a program: one object where one node was asked about, else all of them under `nodes`.
    pub fn json(&self, running: &Running) -> Value {
        let mut said = match self.0.as_slice() {
            [only] => only.json(),
            nodes => json!({ "nodes": nodes.iter().map(OfNode::json).collect::<Vec<_>>() }),
        };
        said["running"] = running.json();
        said
    }
}

/// The hints that were given.
#[derive(Default)]
pub struct Hints(BTreeSet<String>);

impl Hints {
    /// The line of a hint, unless it was given already.
    fn line(&mut self, hint: &str) -> String {
        if self.0.insert(hint.to_owned()) { format!("    hint: {hint}\n") } else { String::new() }
    }
}

impl OfNode {
    fn text(&self, hints: &mut Hints, host: Option<&str>) -> String {
        let mut out = format!("node {}\n", words::node(&self.node, host));
        for look in &self.looks {
            let said = match &look.seen {
                Ok(seen) => in_words(seen),
                Err(error) => format!("{}: {error}", error.kind.label()),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  source {} ({} ms): {said}", look.kind, look.took_ms);
            if let Err(error) = &look.seen {
                out.push_str(&hints.line(error.kind.hint()));
            }
            if let Some(overrated) = &look.overrated {
                let _ = writeln!(out, "    warning: {overrated}");
                out.push_str(&hints.line(failover_after::HINT));
            }
            out.push_str(&look.cluster());
        }
        for (service, verdict) in &self.decided {
            let _ = writeln!(out, "  service {service}: {}, {}", verdict.state, verdict.reason);
            if let Some(hint) = verdict.reason.hint() {
                out.push_str(&hints.line(hint));
            }
        }
        out
    }

    fn json(&self) -> Value {
        let looks = self.looks.iter().map(|look| match &look.seen {
            Ok(seen) => json!({
                "kind": look.kind, "took_ms": look.took_ms, "observation": observation(seen),
                "votes": look.votes(),
                "warning": look.overrated.map(|overrated| overrated.to_string()),
            }),
            Err(error) => json!({
                "kind": look.kind, "took_ms": look.took_ms,
                "error": {
                    "kind": error.kind.label(), "detail": &*error.detail, "hint": error.kind.hint(),
                },
            }),
        });
        let decided = self.decided.iter().map(|(service, verdict)| {
            json!({
                "service": service, "state": verdict.state.as_str(),
                "reason": verdict.reason.label(), "detail": verdict.reason.to_string(),
            })
        });
        json!({
            "node": self.node,
            "sources": looks.collect::<Vec<_>>(),
            "services": decided.collect::<Vec<_>>(),
        })
    }
}

impl Looked {
    /// Each node of the own table: what it said of itself, whom it follows, its vote.
    fn cluster(&self) -> String {
        let mut out = String::new();
        let (Ok(seen), Some(round)) = (&self.seen, &self.round) else { return out };
        let Some(said) = &seen.repmgr else { return out };
        let troubles = failover::troubles(&self.facts);
        for row in said.table.iter() {
            let active = if row.active { "" } else { ", inactive" };
            let registered = row.registered.as_str();
            let _ =
                write!(out, "    {} {} (registered as {registered}{active}): ", row.id, row.name);
            let snapshot = self.facts.peers.get(&row.id);
            let answer =
                snapshot.and_then(|snapshot| match (snapshot.failing(), snapshot.good()) {
                    (Some((_, error)), _) => Some(format!("{}: {error}", error.kind.label())),
                    (None, Some((_, seen))) => {
                        Some(format!("{}{}", in_words(seen), following(seen)))
                    }
                    (None, None) => None,
                });
            let vote = round.peers.get(&row.id).map(|vote| format!("; {vote}"));
            let told = snapshot.and_then(|snapshot| snapshot.good()?.1.repmgr.as_ref()?.told);
            let told = told.filter(|told| said.me.is_some_and(|me| me != *told));
            let told = told.map(|told| format!("; repmgr has told it to follow {told}"));
            let trouble = troubles.get(&row.id).map(|trouble| format!("; {}", trouble.as_str()));
            let line = match answer {
                _ if said.me == Some(row.id) => {
                    format!("this node{}", trouble.unwrap_or_default())
                }
                Some(answer) => [Some(answer), vote, told, self.gave_way(row.id), trouble]
                    .into_iter()
                    .flatten()
                    .collect(),
                None if row.shares_address => {
                    "not polled: its row in repmgr.nodes has the address of another node, so \
                     neither of them votes"
                        .to_owned()
                }
                None if row.leads_to_its_server() => "not polled".to_owned(),
                None => "not polled: its row in repmgr.nodes has no address by which this host \
                         reaches it, so it never votes"
                    .to_owned(),
            };
            let _ = writeln!(out, "{line}");
        }
        if round.electors > 0 {
            let (votes, electors) = (round.votes, round.electors);
            let _ = writeln!(out, "    {votes} of {electors} nodes vote for this node");
        }
        out
    }

    /// Whether another data node has given way to this candidate, and by what word of its rolecall.
    fn gave_way(&self, id: NodeId) -> Option<String> {
        let released = self.facts.releases.get(&id);
        if let Some(way) = self.ways.get(&id) {
            return Some(format!("; {}", way.as_str()));
        }
        Some(match released? {
            (_, None) => {
                "; its rolecall has not given way: it did not answer, or its `release_key_file` \
                 is not the same as here"
                    .to_owned()
            }
            (_, Some(release)) if release.claims => {
                "; its rolecall has not given way: that node may still be the primary".to_owned()
            }
            (_, Some(release)) => format!(
                "; its rolecall has not given way yet: it last answered READY {} ago, and HAProxy may \
                 remember that for {}",
                measure::about(release.last_ready),
                measure::about(release.memory)
            ),
        })
    }

    fn votes(&self) -> Value {
        let Some(round) = &self.round else { return Value::Null };
        let peers =
            round.peers.iter().map(|(id, vote)| (id.0.to_string(), json!(vote.to_string())));
        json!({
            "votes": round.votes, "electors": round.electors,
            "nodes": peers.collect::<serde_json::Map<_, _>>(),
        })
    }
}

fn following(seen: &Observation) -> String {
    match seen.repmgr.as_ref().map(|said| &said.attached) {
        Some(Attached::To(id)) => format!(", follows {id}"),
        Some(Attached::Unknown(address)) => {
            format!(", follows {address}, which is the address of no known node")
        }
        Some(Attached::Nobody) | None => String::new(),
    }
}

fn in_words(seen: &Observation) -> String {
    let mut words = vec![seen.role.map_or("no role", crate::look::role::Role::as_str).to_owned()];
    match seen.leader {
        Some(true) => words.push("holds the leader lock".to_owned()),
        Some(false) if seen.role == Some(crate::look::role::Role::StandbyLeader) => {
            words.push(
                "leads a standby cluster, which has its own leader lock and no primary".to_owned(),
            );
        }
        Some(false) => words.push("does not hold the leader lock".to_owned()),
        None => {}
    }
    if let Some(patroni) = &seen.patroni {
        let flags = [
            (patroni.paused, "paused"),
            (patroni.unlocked, "no node holds the leader lock"),
            (patroni.failsafe, "failsafe mode is active"),
            (patroni.pending_restart, "a restart is pending"),
            (patroni.over_lag == Some(true), "lag exceeds max_lag"),
        ];
        words.extend(flags.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned()));
    }
    if let Some(state) = &seen.not_running {
        words.push(format!("PostgreSQL is {state}"));
    }
    if seen.read_only {
        words.push("default_transaction_read_only is on".to_owned());
    }
    if seen.no_load_balance {
        words.push("has the tag noloadbalance".to_owned());
    }
    if let Some(tags) = seen.tags.as_ref().filter(|tags| !tags.is_empty()) {
        words.push(format!("tags {tags}"));
    }
    words.extend(seen.timeline.map(|timeline| format!("timeline {timeline}")));
    words.extend(seen.lsn.map(|lsn| format!("LSN {lsn}")));
    if let Some(replay) = seen.replay {
        words.push(if replay.streaming { "streaming" } else { "not streaming" }.to_owned());
        if replay.paused {
            words.push("replay paused".to_owned());
        }
        words.extend(replay.lag_bytes.map(|bytes| format!("{} behind", measure::size(bytes))));
        words.extend(replay.lag_time.map(|time| format!("{} behind", measure::about(time))));
    }
    for (whose, end) in [("its", seen.expiry.peer), ("our", seen.expiry.own)] {
        words.extend(end.map(|end| format!("{whose} certificate expires {}", in_days(end))));
    }
    words.join(", ")
}

/// How far away a moment is, in days.
fn in_days(unix_seconds: i64) -> String {
    match (unix_seconds - wall_clock()) / (24 * 3600) {
        days if unix_seconds < wall_clock() => format!("{} days ago", -days),
        days => format!("in {days} days"),
    }
}

fn observation(seen: &Observation) -> Value {
    json!({
        "patroni": seen.patroni.map(|patroni| json!({
            "paused": patroni.paused,
            "cluster_unlocked": patroni.unlocked,
            "failsafe_mode_is_active": patroni.failsafe,
            "pending_restart": patroni.pending_restart,
            "over_lag": patroni.over_lag,
        })),
        "role": seen.role.map(crate::look::role::Role::as_str),
        "leader": seen.leader,
        "not_running": seen.not_running.as_deref(),
        "read_only": seen.read_only,
        "no_load_balance": seen.no_load_balance,
        "tags": seen.tags.as_deref(),
        "timeline": seen.timeline.map(|timeline| timeline.0),
        "lsn": seen.lsn.map(|lsn| lsn.to_string()),
        "replay": seen.replay.map(|replay| json!({
            "streaming": replay.streaming,
            "paused": replay.paused,
            "lag_bytes": replay.lag_bytes,
            "lag_seconds": replay.lag_time.map(|time| time.as_secs_f64()),
        })),
        "certificate_ends": seen.expiry.peer,
        "own_certificate_ends": seen.expiry.own,
    })
}
