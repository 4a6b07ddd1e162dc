//! A repmgr cluster with a rolecall for each node, HAProxy in front, and everybody who looks on.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rolecall::look::stamp::Stamp;
use serde_json::Value;

use crate::fixtures::ledger::{
    self, Promotion, Series, lost, moved, none_and_two, promotions, strays, waited, who_when,
};
use crate::fixtures::netns::host;
use crate::fixtures::release::Release;
use crate::fixtures::repmgr::{CLIENT, Cluster, DATA, PATIENCE, Shape};
use crate::fixtures::repmgr_template::Template;
use crate::fixtures::rows::{Row, Taken, writer};
use crate::fixtures::timing::Took;
use crate::fixtures::web::request;
use crate::fixtures::{
    AGENT_PORT, Beat, Check, FRONT_PORT, Ground, HTTP_PORT, Haproxy, Heard, PG_PORT, Recorder,
    Rolecall, Sample, checker, command, eventually, haproxies, held, now, open_session, sampler,
};
use crate::table::Line;
use crate::watch::{Simple, simple_rules};

/// The file as it is shipped.
const CFG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/haproxy/repmgr.cfg");

/// The program that is built.
pub fn built() -> Release {
    Release::built(env!("CARGO_BIN_EXE_rolecall"), CFG)
}

/// The program that the environment names.
pub fn other() -> Option<Release> {
    Release::other(CFG)
}

/// How often every agent port is asked.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// Longer than an agent may ever take; its answer is to be there at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What a scenario needs.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub shape: Shape,
    /// `two_node`, where it is chosen.
    pub two_node: Option<&'static str>,
    /// `failover_after`, where it is known.
    pub failover_after: Option<&'static str>,
    /// Whether a node that is out ends the sessions of HAProxy's host.
    pub fence: bool,
}

/// Everything; stopped from the top down.
pub struct Stage {
    /// Those through HAProxy.
    pub rows: Recorder<Row>,
    answers: BTreeMap<u8, Recorder<Check>>,
    simple: BTreeMap<u8, Recorder<Simple>>,
    /// HAProxy's servers.
    pub servers: Recorder<Sample>,
    /// HAProxy, on the client's host.
    pub haproxy: Haproxy,
    /// One for each node.
    pub roles: BTreeMap<u8, Rolecall>,
    /// The servers, their repmgrd and their network.
    pub cluster: Cluster,
    /// As it was asked for.
    pub setting: Setting,
    /// Which rolecall it is.
    pub release: Release,
    began: Stamp,
    /// The same moment by the servers' clock, in seconds since 1970.
    begins_at: f64,
    fault: Option<Stamp>,
    ground: Ground,
}

/// The configuration of the rolecall beside node `id`.
pub fn config(id: u8, setting: Setting, release: &Release, key_file: &Path) -> String {
    let key = |name: &str, value: Option<&str>| {
        value.map(|v| format!("{name} = \"{v}\"\n")).unwrap_or_default()
    };
    let haproxy = release.haproxy_keys();
    let release = if release.old {
        String::new()
    } else {
        let file = key_file.display();
        format!("release_key_file = \"{file}\"\nrelease_port = {HTTP_PORT}\n")
    };
    format!(
        r#"
[haproxy]
{haproxy}

[source]
kind = "repmgr"
conninfo = "host={host} port={PG_PORT} dbname=repmgr user=rolecall sslmode=disable"
node_id = {id}
{release}{two_node}{failover_after}
[http]
listen = "{host}:{HTTP_PORT}"

[[service]]
name = "primary"
roles = ["primary"]
listen = "{host}:{AGENT_PORT}"
{fence}"#,
        host = host(id),
        fence = if setting.fence {
            format!("[fence]\nclients = \"{}\"\n", host(CLIENT))
        } else {
            String::new()
        },
        two_node = key("two_node", setting.two_node),
        failover_after = key("failover_after", setting.failover_after),
    )
}

impl Stage {
    /// Starts it all and waits until node 1 is READY and takes rows.
    pub fn start(template: &Template, setting: Setting) -> Self {
        Self::start_with(template, setting, &other().unwrap_or_else(built))
    }

    /// The same with this release.
    pub fn start_with(template: &Template, setting: Setting, release: &Release) -> Self {
        let ground = Ground::new();
        let cluster = Cluster::start(&ground, template, setting.shape);
        let key_file = ground.dir().join("release.key");
        std::fs::write(&key_file, "the secret of this test's cluster").expect("the secret");
        let mut roles = BTreeMap::new();
        for node in cluster.nodes() {
            let (id, name) = (node.id, format!("rolecall{}", node.id));
            let agent = SocketAddr::from((host(id), AGENT_PORT));
            let records = ground.dir().join(format!("{name}-run"));
            std::fs::create_dir(&records).expect("mkdir");
            let state = ground.dir().join(format!("{name}-state"));
            std::fs::create_dir(&state).expect("mkdir");
            let text = config(id, setting, release, &key_file);
            let mut one = Rolecall::new(&ground, &name, &release.program, &text)
                .inside(node.space())
                .env("RUNTIME_DIRECTORY", &records.display().to_string())
                .env("STATE_DIRECTORY", &state.display().to_string())
                .sockets(vec![node.space().inside(|| held(agent))]);
            one.start();
            roles.insert(id, one);
        }
        let client = cluster.net().space(CLIENT);
        let (_, program) = haproxies().swap_remove(0);
        let haproxy =
            Haproxy::start_in(Some(client), &ground, &program, &release.cfg, &addresses());
        let look = |id: &u8| {
            let agent = SocketAddr::from((host(*id), AGENT_PORT));
            let space = cluster.node(*id).space();
            (*id, space.inside(|| checker(agent, SAMPLE_EVERY, ANSWER_WITHIN)))
        };
        let answers = roles.keys().map(look).collect();
        let data = roles.keys().filter(|id| DATA.contains(*id));
        let simple =
            data.map(|id| (*id, cluster.node(*id).space().inside(|| simple_rules(*id)))).collect();
        let servers = sampler(haproxy.stats());
        let rows = client.inside(|| writer(front()));
        let (began, fault) = (now(), None);
        let mut stage = Self {
            rows,
            answers,
            simple,
            servers,
            haproxy,
            roles,
            cluster,
            setting,
            release: release.clone(),
            began,
            begins_at: 0.0,
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

    /// What happened until now only made the stage what the story needs.
    pub fn begin_here(&mut self) {
        let now_there = self.cluster.node(1).postgres.sql("select extract(epoch from now())");
        self.begins_at = now_there.trim().parse().expect("seconds since 1970");
        self.began = now();
    }

    /// The moment from which the table counts.
    pub fn fault(&mut self) {
        self.fault = Some(now());
    }

    /// Waits until the agent of node `id` says READY.
    pub fn wait_ready(&self, id: u8) {
        let what = format!("node{id} is READY");
        self.answers[&id].wait(PATIENCE, &what, |c| c.heard.is_ready());
    }

    /// Waits until one of the other nodes is READY and takes rows, and returns it.
    pub fn wait_new_primary(&self, old: u8) -> u8 {
        let new = self.wait_new_ready(old);
        self.wait_row(new);
        new
    }

    /// Waits until one of the other nodes is READY, and returns it.
    pub fn wait_new_ready(&self, old: u8) -> u8 {
        let marks: BTreeMap<u8, usize> = self.answers.iter().map(|(n, a)| (*n, a.mark())).collect();
        eventually(PATIENCE, "another node is READY", || {
            let ready = |n: &u8| self.answers[n].since(marks[n]).iter().any(|c| c.heard.is_ready());
            marks.keys().filter(|n| **n != old).copied().find(ready).ok_or("nobody")
        })
    }

    /// Waits until the agent of node `id` says MAINT.
    pub fn wait_maint(&self, id: u8) {
        let what = format!("node{id} is in MAINT");
        self.answers[&id].wait(PATIENCE, &what, |c| c.heard == Heard::Said("MAINT\n".into()));
    }

    /// Waits until node `id` takes a row.
    pub fn wait_row(&self, id: u8) {
        let taken = |r: &Row| matches!(r.taken, Taken::By { by, .. } if by == id);
        self.rows.wait(PATIENCE, &format!("a row taken by node{id}"), taken);
    }

    /// Waits until another node than `old` has taken a row since the fault, and tells what took how long.
    pub fn took(&self, old: u8) -> Took {
        let fault = self.fault.expect("a fault");
        let another = |row: &Row| match row.taken {
            Taken::By { by, .. } if by != old && row.began >= fault => Some(by),
            _ => None,
        };
        let what = "a row taken by another node";
        let new = self.rows.wait_since(0, PATIENCE, what, |row| another(row).is_some());
        let new = another(&new).expect("as awaited");
        let left = promotions(new, &self.cluster.node(new).postgres.log_text());
        let moved = moved(&self.rows.all(), &left, new, fault)
            .expect("the promotion of a node that takes rows");
        // Whoever asks its agent may hear it a moment after the first client was let in.
        let said = |c: &Check| c.at >= fault && c.heard.is_ready();
        let ready = self.answers[&new].wait_since(0, PATIENCE, "the new one's READY", said).at;
        Took::of(fault, ready, &moved)
    }

    /// Prints how long new connections waited for node `id` since the fault.
    pub fn tell_waited(&self, why: &str, id: u8) {
        let fault = self.fault.expect("a fault");
        let rows: Vec<Row> = self.rows.all().into_iter().filter(|r| r.began >= fault).collect();
        let (waited, refused) = waited(&rows, id).expect("rows that nobody took, and then some");
        println!("{why}: new connections waited {waited:.1?}, {refused} were turned away");
    }

    /// Looks on for so long.
    pub fn look_on(&self, span: Duration) {
        let from = now();
        let answers = self.answers.values().next().expect("a node");
        answers.wait(PATIENCE + span, "more answers", |c| c.at.since(from) >= span);
    }

    /// Opens a session through HAProxy that is asked something all the time, and has answered.
    pub fn session(&self) -> Recorder<Beat> {
        let session = self.cluster.net().space(CLIENT).inside(|| open_session(front()));
        session.wait_since(0, PATIENCE, "the session answers", |b| b.answer.is_ok());
        session
    }

    /// The answers of node `id` since the fault.
    pub fn answers_of(&self, id: u8) -> Vec<Check> {
        let from = self.fault.unwrap_or(self.began);
        self.answers[&id].all().into_iter().filter(|c| c.at >= from).collect()
    }

    /// Asserts that node `id` was READY without a break since the fault.
    pub fn always_ready(&self, id: u8) {
        let answers = self.answers_of(id);
        assert!(answers.len() > 10, "too few answers: {}", answers.len());
        let other = answers.iter().find(|c| !c.heard.is_ready());
        assert!(other.is_none(), "node{id} was not READY: {other:?}");
    }

    /// Asserts that node `id` was never READY from the moment `from` on.
    pub fn never_ready_since(&self, id: u8, from: Stamp) {
        let answers = self.answers_of(id).into_iter().filter(|c| c.at >= from);
        let ready = answers.into_iter().find(|c| c.heard.is_ready());
        assert!(ready.is_none(), "node{id} was READY: {ready:?}");
    }

    /// The newest answer of node `id`.
    pub fn last_answer(&self, id: u8) -> Option<Check> {
        self.answers[&id].last()
    }

    /// What `rolecall ask` says on node `id`.
    pub fn asked(&self, id: u8) -> String {
        let mut ask = command(&self.release.program, None);
        ask.arg("--config").arg(self.ground.dir().join(format!("rolecall{id}.toml"))).arg("ask");
        let output = self.cluster.node(id).space().command(&ask).output();
        output.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    /// The changes that the rolecall of node `id` remembers: to what, and why.
    pub fn history(&self, id: u8) -> Vec<[String; 2]> {
        let addr = SocketAddr::from((host(id), HTTP_PORT));
        let ask = || request(addr, "GET /history", "", Some(ANSWER_WITHIN));
        let answer = self.cluster.node(id).space().inside(ask).expect("/history");
        let page: Value = serde_json::from_str(&answer.body).expect("JSON");
        let changes = page["changes"].as_array().expect("changes").iter();
        let word = |change: &Value, key: &str| change[key].as_str().unwrap_or("-").to_owned();
        changes.map(|change| ["to", "reason"].map(|key| word(change, key))).collect()
    }

    /// Where everything of it is, and that it stays there.
    pub fn keep(&mut self) -> &Path {
        self.ground.keep();
        self.ground.dir()
    }

    /// When each node said READY, since `from`.
    pub fn ready_series(&self, from: Stamp) -> BTreeMap<u8, Series> {
        ledger::ready_series(&self.answers, from)
    }

    /// What a simpler rule said of each node, since `from`.
    pub fn simple_series(&self, from: Stamp, yes: fn(&Simple) -> bool) -> BTreeMap<u8, Series> {
        let of = |(id, all): (&u8, &Recorder<Simple>)| {
            let all = all.all().into_iter().filter(|seen| seen.at >= from);
            (*id, all.map(|seen| (seen.at, yes(&seen))).collect())
        };
        self.simple.iter().map(of).collect()
    }

    /// Who left recovery since the story began: what came to nothing before that is no part of it.
    pub fn promotions_since_begin(&self) -> Vec<Promotion> {
        let data = self.cluster.nodes().iter().filter(|node| DATA.contains(&node.id));
        let left = data.flat_map(|node| promotions(node.id, &node.postgres.log_text()));
        left.filter(|promotion| promotion.server_time >= self.begins_at).collect()
    }

    /// Ends the looking on and counts. The rows that count are those of node `primary`.
    pub fn count(&self, name: &'static str, primary: u8) -> Line {
        let (from, to) = (self.began, now());
        let zero = self.fault.unwrap_or(from);
        let ready = self.ready_series(from);
        let mut up: BTreeMap<u8, Series> = BTreeMap::new();
        for sample in self.servers.all().iter().filter(|s| s.at >= from) {
            for (id, (_, server)) in (1..).zip(&sample.servers) {
                up.entry(id).or_default().push((sample.at, server.is_up()));
            }
        }
        let simple = |yes: fn(&Simple) -> bool| -> Duration {
            none_and_two(&self.simple_series(from, yes), from, to).1
        };
        let rows: Vec<Row> = self.rows.all().into_iter().filter(|r| r.began >= from).collect();
        let left = self.promotions_since_begin();
        let (none, two) = none_and_two(&ready, from, to);
        Line {
            name,
            who: who_when(&ready, zero),
            none,
            two,
            two_up: none_and_two(&up, from, to).1,
            strays: strays(&rows, &left),
            lost: lost(&rows, &self.kept(primary)),
            taken: rows.iter().filter(|r| matches!(r.taken, Taken::By { .. })).count(),
            own_row_two: simple(|s| s.own_row),
            not_in_recovery_two: simple(|s| s.not_in_recovery),
        }
    }

    /// The rows that node `id` has.
    pub fn kept(&self, id: u8) -> HashSet<u64> {
        let all = "select coalesce(string_agg(n::text, ' '), '') from rows";
        let all = self.cluster.node(id).postgres.sql(all);
        all.split_whitespace().map(|n| n.parse().expect("a row's number")).collect()
    }
}

/// Where clients connect.
pub fn front() -> SocketAddr {
    (host(CLIENT), FRONT_PORT).into()
}

/// Fills the shipped file's variables.
pub fn addresses() -> Vec<(&'static str, String)> {
    addresses_at(front())
}

/// The same for a HAProxy whose clients connect elsewhere.
pub fn addresses_at(front: SocketAddr) -> Vec<(&'static str, String)> {
    let server = |id| format!("{}:{PG_PORT}", host(id));
    vec![
        ("ROLECALL_DB1", server(1)),
        ("ROLECALL_DB2", server(2)),
        ("ROLECALL_DB3", server(3)),
        ("ROLECALL_AGENT_PORT", AGENT_PORT.to_string()),
        ("ROLECALL_BIND_RW", front.to_string()),
    ]
}
