//! Kinds of Patroni clusters for `make prove`, with two `HAProxys` that ask rolecall and one with Patroni's own
//! template beside them.

mod faults;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use rolecall::look::stamp::Stamp;
use serde_json::json;

use crate::fixtures::nemesis::Rng;
use crate::fixtures::patroni::{PATIENCE, Template};
use crate::fixtures::proving::{self, Fault, Observed, Tried};
use crate::fixtures::rows::{Row, Taken, writer_every};
use crate::fixtures::{
    Beat, FRONT_PORT, Ground, Haproxy, Recorder, Sample, eventually, haproxies, now, proof, sampler,
};
use crate::front::{READ_PORT, addresses, fronts};
use crate::scenarios::LONG_ENOUGH;
use crate::stage::{Clock, ROLECALL, Setting, Stage, built};
use crate::theirs::Beside;

/// The rows of the second HAProxy's writer have the numbers after this one.
const SECOND_ROWS: u64 = 2_000_000_000;
/// How often each writer writes: at the usual pace one cluster takes a whole core.
const WRITES_EVERY: Duration = Duration::from_millis(60);
/// Longest wait for what Patroni is told.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// Which version on how many nodes.
struct Kind {
    version: &'static str,
    nodes: u8,
    /// Each kind of cluster has its own numbers for the same seed.
    salt: u64,
}

const fn kind(version: &'static str, nodes: u8, salt: u64) -> Kind {
    Kind { version, nodes, salt }
}

const KINDS: [(&str, Kind); 4] = [
    ("Patroni 2.1.7, 3 nodes", kind("2.1.7", 3, 101)),
    ("Patroni 3.3.11, 3 nodes", kind("3.3.11", 3, 102)),
    ("Patroni 4.1.5, 3 nodes", kind("4.1.5", 3, 103)),
    ("Patroni 4.1.5, 2 nodes", kind("4.1.5", 2, 104)),
];

/// A second HAProxy, of another version and on a ground of its own, and its clients.
struct Second {
    rows: Recorder<Row>,
    servers: Recorder<Sample>,
    haproxy: Haproxy,
    ground: Ground,
}

/// One cluster, and everybody who looks on.
pub struct Round {
    beside: Beside,
    second: Second,
    stage: Stage,
    rng: Rng,
    /// Who leads, as far as this program knows.
    leader: u8,
    /// Whose rolecall is killed.
    killed: BTreeSet<u8>,
    /// The cluster was paused.
    paused: bool,
    /// The clock of node 1's Patroni was set.
    stepped: bool,
}

/// Tries clusters of all kinds, or of those that have one of `words` in their name. `found`: each Patroni that is
/// installed, by its version.
pub fn prove(
    template: &Template,
    found: &[(String, PathBuf)],
    minutes: u64,
    words: &[String],
) -> ExitCode {
    let program = |version: &str| {
        let (_, program) = found.iter().find(|(one, _)| one == version).unwrap_or_else(|| {
            panic!("no Patroni {version} in target/patroni; hint: tests/tools/install.sh test-all")
        });
        program
    };
    let kinds = proving::chosen(&KINDS, words);
    let versions: BTreeSet<&str> = kinds.iter().map(|(_, kind)| kind.version).collect();
    let mut programs: Vec<String> = versions.iter().map(|v| format!("Patroni {v}")).collect();
    programs.push(proof::version("etcd", Path::new("/usr/bin/etcd")));
    proving::prove(minutes, &kinds, &programs, |kind, seed| {
        Round::start(template, program(kind.version), kind, seed)
    })
}

impl Round {
    fn start(template: &Template, program: &Path, kind: &Kind, seed: u64) -> Self {
        let setting =
            Setting { nodes: kind.nodes, every: WRITES_EVERY, clock: Clock::Own, ..Setting::USUAL };
        let stage = Stage::start_with(template, program, kind.version, setting, &built());
        let second = Second::start(&stage);
        let beside = Beside::start(&stage);
        let rng = Rng::new(seed.wrapping_mul(1000).wrapping_add(kind.salt));
        let mut round = Self {
            beside,
            second,
            stage,
            rng,
            leader: 1,
            killed: BTreeSet::new(),
            paused: false,
            stepped: false,
        };
        round.settle();
        round
    }

    fn ids(&self) -> Vec<u8> {
        self.stage.cluster.nodes().iter().map(|node| node.id).collect()
    }

    /// The replicas.
    fn others(&self) -> Vec<u8> {
        self.ids().into_iter().filter(|id| *id != self.leader).collect()
    }

    /// A replica by chance.
    fn another(&mut self) -> u8 {
        let others = self.others();
        *self.rng.pick(&others)
    }

    /// Waits until one node leads, everybody else follows it, and each HAProxy brings those who write to it.
    fn settle(&mut self) {
        self.leader = eventually(PATIENCE, "somebody leads", || {
            let leads = |id: &u8| self.stage.cluster.node(*id).is_leader().is_ok();
            self.ids().into_iter().find(leads).ok_or("nobody")
        });
        let id = self.leader;
        self.stage.wait_ready(id);
        let own = format!("postgres_rw/pg{id}");
        let theirs = format!("primary/n{id}");
        let haproxies = [
            (&self.stage.haproxy, &own),
            (&self.second.haproxy, &own),
            (&self.beside.haproxy, &theirs),
        ];
        for (haproxy, server) in haproxies {
            haproxy.wait(server, PATIENCE, "is up", |server| server.status == "UP");
        }
        for other in self.others() {
            self.stage.wait_replica(other, true);
        }
        self.stage.cluster.wait_streams(id);
        self.everybody_writes();
    }

    fn everybody_writes(&self) {
        self.stage.wait_row(self.leader);
        let taken = |row: &Row| matches!(row.taken, Taken::By { by, .. } if by == self.leader);
        self.second.rows.wait(PATIENCE, "a row through the second HAProxy", taken);
        self.beside.wait_writes();
    }
}

impl Tried for Round {
    fn faults() -> &'static [Fault<Self>] {
        &faults::ALL
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    fn primary(&self) -> u8 {
        self.leader
    }

    fn begin(&mut self) {
        self.everybody_writes();
        self.stage.fault();
    }

    fn session(&self) -> Recorder<Beat> {
        self.stage.session()
    }

    fn look_on(&self, span: Duration) {
        self.stage.look_on(span);
    }

    fn mend(&mut self) {
        self.mend_nodes();
        if std::mem::take(&mut self.paused) {
            eventually(PATIENCE, "the pause is ended", || {
                let body = json!({"pause": null});
                let ids = self.ids();
                let told = ids.iter().map(|id| {
                    self.stage.cluster.try_tell(*id, "PATCH /config", &body, TOLD_WITHIN)
                });
                told.fold(Err("nobody was told".to_owned()), Result::or)
            });
        }
    }

    fn ready_after(&self, moment: Stamp) -> Option<u8> {
        self.ids().into_iter().find(|id| self.stage.is_ready_after(*id, moment))
    }

    fn asked(&self) -> String {
        let of = self.ids().into_iter().map(|id| {
            let mut ask = Command::new(ROLECALL);
            ask.arg("--config").arg(self.stage.ground.dir().join(format!("rolecall{id}.toml")));
            let said = ask.arg("ask").output().map_or_else(
                |error| error.to_string(),
                |output| String::from_utf8_lossy(&output.stdout).into_owned(),
            );
            format!("n{id}: {}", said.split_whitespace().collect::<Vec<_>>().join(" "))
        });
        of.collect::<Vec<_>>().join(" | ")
    }

    /// Patroni elects by itself: there is nothing to be brought about.
    fn make_whole(&mut self, _ready: Option<u8>) {
        self.settle();
        self.stage.look_on(LONG_ENOUGH / 2);
    }

    fn observed(&self, from: Stamp) -> Observed<'_> {
        let own_rows = [self.stage.rows.all(), self.second.rows.all()].concat();
        let usual_rows = self.beside.writes.all();
        Observed {
            to: now(),
            promotions: self.stage.promotions(),
            writable: self.stage.write_series(from),
            ready: self.stage.ready_series(from),
            own_servers: [&self.stage.servers, &self.second.servers],
            own_rows,
            usual_servers: &self.beside.servers,
            usual_rows,
            kept: self.stage.kept(self.leader),
        }
    }

    fn keep(&mut self) -> PathBuf {
        self.stage.keep().to_owned()
    }
}

impl Second {
    fn start(stage: &Stage) -> Self {
        let ground = Ground::new();
        let (_, program) = haproxies().pop().expect("a HAProxy");
        let env = Self::env(stage, &ground);
        let haproxy = Haproxy::start(&ground, &program, &stage.cfg, &env);
        let rows = writer_every(ground.addr(1, FRONT_PORT), SECOND_ROWS, stage.every);
        let servers = sampler(haproxy.stats());
        Self { rows, servers, haproxy, ground }
    }

    fn env(stage: &Stage, ground: &Ground) -> Vec<(&'static str, String)> {
        let fronts = [FRONT_PORT, READ_PORT].map(|port| ground.addr(1, port));
        let nodes = u8::try_from(stage.cluster.nodes().len()).expect("a few nodes");
        addresses(&stage.ground, nodes, &fronts)
    }

    /// Ends it and starts it again, with the state that it saved last.
    fn restart(&mut self, stage: &Stage) {
        self.haproxy.stop();
        let (_, program) = haproxies().pop().expect("a HAProxy");
        let env = Self::env(stage, &self.ground);
        self.haproxy =
            Haproxy::start_with_its_state(None, &self.ground, &program, &stage.cfg, &env);
    }
}

impl Round {
    /// Ends both `HAProxys` that ask rolecall, and starts them again.
    fn restart_haproxies(&mut self) {
        self.second.restart(&self.stage);
        let stage = &mut self.stage;
        stage.haproxy.stop();
        let nodes = u8::try_from(stage.cluster.nodes().len()).expect("a few nodes");
        let env = addresses(&stage.ground, nodes, &fronts(&stage.ground));
        let (_, program) = haproxies().swap_remove(0);
        stage.haproxy =
            Haproxy::start_with_its_state(None, &stage.ground, &program, &stage.cfg, &env);
    }
}
