//! A cluster of pg_auto_failover with a rolecall for each node, HAProxy in front, and everybody who looks on.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::auto_failover::{CLIENT, Cluster, MONITOR, PATIENCE, monitor_conninfo};
use crate::fixtures::ledger::{self, Series, lost, none_and_two, who_when};
use crate::fixtures::netns::host;
use crate::fixtures::process::run;
use crate::fixtures::rows::{Row, Taken, writer};
use crate::fixtures::{
    AGENT_PORT, Check, FRONT_PORT, Ground, Haproxy, Heard, PG_PORT, Recorder, Rolecall, Sample,
    Session, checker, command, eventually, haproxies, held, now, sampler,
};
use crate::table::Line;

/// The file as it is shipped.
const CFG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/haproxy/pg_auto_failover.cfg");

/// What the role `rolecall` needs on the monitor, as shipped.
const SQL: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/sql/pg_auto_failover.sql"));

/// How often every agent port is asked.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// Longer than an agent may ever take; its answer is to be there at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Longest single wait of the advice for a server.
const ADVICE_WITHIN: Duration = Duration::from_millis(800);
/// How often the advice looks.
const ADVICE_EVERY: Duration = Duration::from_millis(100);

/// What a scenario needs.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub nodes: u8,
    /// `monitor_lost`
    pub monitor_lost: &'static str,
}

/// What the advice that people follow says of one node.
#[derive(Debug, Clone, Copy)]
pub struct Advice {
    pub at: Stamp,
    pub not_in_recovery: bool,
    /// It takes writes without being asked to.
    pub writable: bool,
}

/// What the monitor says.
#[derive(Debug, Clone)]
pub struct Said {
    pub at: Stamp,
    /// Whom `get_primary()` names.
    pub primary: Option<u8>,
    /// Both states of each node.
    pub states: Vec<(u8, String)>,
}

/// Everything; stopped from the top down.
pub struct Stage {
    pub rows: Recorder<Row>,
    answers: BTreeMap<u8, Recorder<Check>>,
    advice: BTreeMap<u8, Recorder<Advice>>,
    pub said: Recorder<Said>,
    servers: Recorder<Sample>,
    haproxy: Haproxy,
    /// One for each node.
    _roles: BTreeMap<u8, Rolecall>,
    /// The monitor, the nodes and their network.
    pub cluster: Cluster,
    began: Stamp,
    fault: Option<Stamp>,
    ground: Ground,
}

/// The configuration of the rolecall beside node `id`.
fn config(id: u8, setting: Setting) -> String {
    format!(
        r#"
[haproxy]
agent_inter = "500ms"
check_fall = 2
check_timeout = "500ms"

[source]
kind = "pg_auto_failover"
monitor = "{monitor}"
conninfo = "host={host} port={PG_PORT} dbname=postgres user=rolecall sslmode=disable"
node_name = "node{id}"
monitor_lost = "{lost}"

[[service]]
name = "primary"
roles = ["primary"]
listen = "{host}:{AGENT_PORT}"

[[service]]
name = "replica"
roles = ["replica"]
listen = "{host}:{replica}"
max_lag = "16MB"
"#,
        monitor = monitor_conninfo(),
        host = host(id),
        lost = setting.monitor_lost,
        replica = AGENT_PORT + 1,
    )
}

impl Stage {
    /// Starts it all and waits until node 1 is READY and takes rows.
    pub fn start(setting: Setting) -> Self {
        let ground = Ground::new();
        let cluster = Cluster::start(&ground, setting.nodes, SQL);
        let mut roles = BTreeMap::new();
        for id in cluster.ids() {
            let agents =
                [AGENT_PORT, AGENT_PORT + 1].map(|port| SocketAddr::from((host(id), port)));
            let space = cluster.node(id).space();
            let name = format!("rolecall{id}");
            let text = config(id, setting);
            let mut one = Rolecall::new(&ground, &name, env!("CARGO_BIN_EXE_rolecall"), &text)
                .inside(space)
                .sockets(agents.map(|agent| space.inside(|| held(agent))).into());
            one.start();
            roles.insert(id, one);
        }
        let client = cluster.net().space(CLIENT);
        let (_, program) = haproxies().swap_remove(0);
        let haproxy =
            Haproxy::start_in(Some(client), &ground, &program, CFG.as_ref(), &addresses());
        let look = |id: &u8| {
            let agent = SocketAddr::from((host(*id), AGENT_PORT));
            let space = cluster.node(*id).space();
            (*id, space.inside(|| checker(agent, SAMPLE_EVERY, ANSWER_WITHIN)))
        };
        let answers = roles.keys().map(look).collect();
        let of = |id: &u8| (*id, cluster.node(*id).space().inside(|| advice(*id)));
        let advice = roles.keys().map(of).collect();
        let said = cluster.net().space(MONITOR).inside(said);
        let servers = sampler(haproxy.stats());
        let rows = client.inside(|| writer((host(CLIENT), FRONT_PORT).into()));
        let (began, fault) = (now(), None);
        let mut stage = Self {
            rows,
            answers,
            advice,
            said,
            servers,
            haproxy,
            _roles: roles,
            cluster,
            began,
            fault,
            ground,
        };
        stage.wait_ready(1);
        stage.wait_row(1);
        // A server is `UP 1/2` until a companion check has passed: no fault is to come before.
        stage.haproxy.wait("postgres_rw/db1", PATIENCE, "is up", |s| s.status == "UP");
        stage.began = now();
        stage
    }

    /// The moment from which the table counts.
    pub fn fault(&mut self) {
        self.fault = Some(now());
    }

    /// How much of the answers of each node was heard so far.
    pub fn marks(&self) -> BTreeMap<u8, usize> {
        self.answers.iter().map(|(id, answers)| (*id, answers.mark())).collect()
    }

    /// Waits until the agent of node `id` says READY.
    pub fn wait_ready(&self, id: u8) {
        let what = format!("node{id} is READY");
        self.answers[&id].wait(PATIENCE, &what, |c| c.heard.is_ready());
    }

    /// Waits until the agent of node `id` says MAINT.
    pub fn wait_maint(&self, id: u8) {
        let what = format!("node{id} is in MAINT");
        self.answers[&id].wait(PATIENCE, &what, |c| c.heard == Heard::Said("MAINT\n".into()));
    }

    /// Waits until one of the other nodes is READY and takes rows, and returns it.
    pub fn wait_new_primary(&self, old: u8) -> u8 {
        let marks = self.marks();
        let new = eventually(PATIENCE, "another node is READY", || {
            let ready = |n: &u8| self.answers[n].since(marks[n]).iter().any(|c| c.heard.is_ready());
            marks.keys().filter(|n| **n != old).copied().find(ready).ok_or("nobody")
        });
        self.wait_row(new);
        new
    }

    /// Waits until node `id` takes a row.
    pub fn wait_row(&self, id: u8) {
        let taken = |r: &Row| matches!(r.taken, Taken::By { by, .. } if by == id);
        self.rows.wait(PATIENCE, &format!("a row taken by node{id}"), taken);
    }

    /// Waits until the server of node `id` takes writes.
    pub fn wait_writable(&self, id: u8) {
        self.advice[&id].wait(PATIENCE, &format!("node{id} takes writes"), |a| a.writable);
    }

    /// Looks on for so long.
    pub fn look_on(&self, span: Duration) {
        let from = now();
        let answers = self.answers.values().next().expect("a node");
        answers.wait(PATIENCE + span, "more answers", |c| c.at.since(from) >= span);
    }

    /// Asserts that node `id` was READY without a break since the fault.
    pub fn always_ready(&self, id: u8) {
        let from = self.fault.expect("a fault");
        let answers: Vec<_> =
            self.answers[&id].all().into_iter().filter(|c| c.at >= from).collect();
        assert!(answers.len() > 10, "too few answers: {}", answers.len());
        let other = answers.iter().find(|c| !c.heard.is_ready());
        assert!(other.is_none(), "node{id} was not READY: {other:?}");
    }

    /// Waits until the replica service of node `id` says this word.
    pub fn wait_replica(&self, id: u8, word: &str) {
        let agent = SocketAddr::from((host(id), AGENT_PORT + 1));
        let space = self.cluster.node(id).space().clone();
        let wanted = Heard::Said(format!("{word}\n"));
        eventually(PATIENCE, &format!("the replica service of node{id} says {word}"), || {
            let heard = space.inside(|| crate::fixtures::ask(agent, ANSWER_WITHIN)).heard;
            if heard == wanted { Ok(()) } else { Err(heard) }
        });
    }

    /// Asserts that `rolecall haproxy` on node 1 prints a server for each node.
    pub fn members_are_printed(&self) {
        let mut print = command(env!("CARGO_BIN_EXE_rolecall").as_ref(), None);
        print.arg("--config").arg(self.ground.dir().join("rolecall1.toml")).arg("haproxy");
        let printed = run(self.cluster.node(1).space().command(&print));
        for id in self.cluster.ids() {
            let server = format!("server node{id} {}:{PG_PORT}", host(id));
            assert!(printed.contains(&server), "no {server} in\n{printed}");
        }
    }

    /// Ends the looking on and counts. The rows that count are those of node `primary`.
    pub fn count(&self, name: &'static str, primary: u8) -> Line {
        let (from, to) = (self.began, now());
        let zero = self.fault.unwrap_or(from);
        let series = |id: &u8, all: Vec<(Stamp, bool)>| {
            (*id, all.into_iter().filter(|s| s.0 >= from).collect::<Series>())
        };
        let ready = ledger::ready_series(&self.answers, from);
        let mut up: BTreeMap<u8, Series> = BTreeMap::new();
        for sample in self.servers.all().iter().filter(|s| s.at >= from) {
            for (id, (_, server)) in (1..).zip(&sample.servers) {
                up.entry(id).or_default().push((sample.at, server.is_up()));
            }
        }
        let advice: BTreeMap<u8, Series> = self
            .advice
            .iter()
            .map(|(id, a)| series(id, a.all().iter().map(|c| (c.at, c.not_in_recovery)).collect()))
            .collect();
        let rows: Vec<Row> = self.rows.all().into_iter().filter(|r| r.began >= from).collect();
        let (none, two) = none_and_two(&ready, from, to);
        Line {
            name,
            who: who_when(&ready, zero),
            none,
            two,
            two_up: none_and_two(&up, from, to).1,
            lost: lost(&rows, &self.kept(primary)),
            taken: rows.iter().filter(|r| matches!(r.taken, Taken::By { .. })).count(),
            ready_after: self.ready_after(primary, zero),
            advice_two: none_and_two(&advice, from, to).1,
            advice_wrong: self.advice_wrong(from),
        }
    }

    /// How long after the monitor had node `id` as the new primary it was READY; `None` where it was before.
    pub fn ready_after(&self, id: u8, zero: Stamp) -> Option<Duration> {
        let has = |said: &&Said| {
            let both =
                |(n, states): &(u8, String)| *n == id && states == "wait_primary>wait_primary";
            said.at >= zero && said.states.iter().any(both)
        };
        let from = self.said.all().iter().find(has)?.at;
        let ready = |c: &&Check| c.at >= from && c.heard.is_ready();
        Some(self.answers[&id].all().iter().find(ready)?.at.since(from))
    }

    /// For how long `get_primary()` named a node that took no writes.
    fn advice_wrong(&self, from: Stamp) -> Duration {
        let said: Vec<Said> = self.said.all().into_iter().filter(|s| s.at >= from).collect();
        let writable = |id: u8, at: Stamp| {
            let seen = self.advice.get(&id).map(Recorder::all).unwrap_or_default();
            seen.iter().rev().find(|a| a.at <= at).is_some_and(|a| a.writable)
        };
        let pairs = said.iter().zip(said.iter().skip(1));
        let wrong = pairs.filter(|(one, _)| one.primary.is_some_and(|id| !writable(id, one.at)));
        wrong.map(|(one, next)| next.at.since(one.at)).sum()
    }

    fn kept(&self, id: u8) -> HashSet<u64> {
        let all = "select coalesce(string_agg(n::text, ' '), '') from rows";
        let all = self.cluster.node(id).try_value("postgres", all).expect("the rows");
        all.split_whitespace().map(|n| n.parse().expect("a row's number")).collect()
    }
}

/// Asks node `id`, over a fresh connection each time. No answer is a no.
fn advice(id: u8) -> Recorder<Advice> {
    let addr = SocketAddr::from((host(id), PG_PORT));
    let sql = "select concat(not pg_is_in_recovery(), ' ', \
               current_setting('default_transaction_read_only') = 'off' and not pg_is_in_recovery())";
    Recorder::start(ADVICE_EVERY, move || {
        let at = now();
        let session = Session::connect_as(addr, "app", "postgres", ADVICE_WITHIN);
        let said = session.and_then(|mut s| s.value(sql)).unwrap_or_default();
        let (not_in_recovery, writable) = (said.starts_with('t'), said.ends_with('t'));
        Some(Advice { at, not_in_recovery, writable })
    })
}

/// Asks the monitor on its own host what it tells whoever asks.
fn said() -> Recorder<Said> {
    let addr = SocketAddr::from((host(MONITOR), PG_PORT));
    let sql = "select concat((select primary_name from pgautofailover.get_primary()), ' ', \
               string_agg(concat(nodename, ' ', reportedstate, '>', goalstate), ' ' order by nodeid)) \
               from pgautofailover.node";
    Recorder::start(ADVICE_EVERY / 2, move || {
        let at = now();
        let session = Session::connect_as(addr, "autoctl_node", "pg_auto_failover", ADVICE_WITHIN);
        let said = session.and_then(|mut s| s.value(sql)).ok()?;
        let number = |name: &str| name.strip_prefix("node")?.parse::<u8>().ok();
        let words: Vec<&str> = said.split_whitespace().collect();
        let (primary, rest) = words.split_first()?;
        let states = rest.chunks_exact(2);
        let states = states.filter_map(|pair| Some((number(pair[0])?, pair[1].to_owned())));
        Some(Said { at, primary: number(primary), states: states.collect() })
    })
}

/// Fills the shipped file's variables.
fn addresses() -> Vec<(&'static str, String)> {
    let server = |id| format!("{}:{PG_PORT}", host(id));
    vec![
        ("ROLECALL_DB1", server(1)),
        ("ROLECALL_DB2", server(2)),
        ("ROLECALL_DB3", server(3)),
        ("ROLECALL_AGENT_PORT", AGENT_PORT.to_string()),
        ("ROLECALL_BIND_RW", SocketAddr::from((host(CLIENT), FRONT_PORT)).to_string()),
    ]
}
