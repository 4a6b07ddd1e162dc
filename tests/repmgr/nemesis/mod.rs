//! `make prove`: whatever befalls a repmgr cluster, by chance and by a seed, one trial after the other on one
//! cluster, with two `HAProxys` that ask rolecall and one that asks the usual check beside them.
//!
//! A trial is one fault or two, a while, all of it mended, and an old primary that is started as it was. Counted is
//! what the clients of each HAProxy noticed; that nobody may see ends the run.

mod faults;
mod usual;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::ledger::{Series, both, lost};
use crate::fixtures::measuring::{number, said};
use crate::fixtures::nemesis::{Book, Counted, Entry, Rng, two, without_writes, wrong};
use crate::fixtures::netns::host;
use crate::fixtures::repmgr::{DATA, PATIENCE, SECOND_CLIENT, Shape, WITNESS};
use crate::fixtures::repmgr_template::Template;
use crate::fixtures::rows::{Row, Taken, writer_after};
use crate::fixtures::timeline::{self, Seen};
use crate::fixtures::{
    Beat, FRONT_PORT, Ground, Haproxy, Recorder, Sample, find_postgres, haproxies, now, proof,
    sampler, timing,
};
use crate::scenarios::FULL;
use crate::stage::{Setting, Stage, addresses_at, built, is_ready};
use faults::Fault;
use usual::Usual;

/// For so many minutes clusters are tried; set, nothing is tested.
const MINUTES: &str = "ROLECALL_PROVE_MINUTES";
/// The first seed; where it was played already the next one that was not is.
const SEED: &str = "ROLECALL_PROVE_SEED";
/// Where the book is kept; beside it the tables.
const FILE: &str = "ROLECALL_PROVE_FILE";
/// How many clusters at one time.
const CLUSTERS: &str = "ROLECALL_PROVE_CLUSTERS";

/// Trials of one round: a fresh cluster is made after so many.
const TRIALS: u32 = 10;
/// Nobody is READY for so long though all is mended: it is stuck.
const STUCK: Duration = Duration::from_secs(60);
/// The rows of the second HAProxy's writer have the numbers after this one.
const SECOND_ROWS: u64 = 2_000_000_000;

/// The kinds of cluster.
const CLUSTERS_TRIED: [(&str, Shape); 3] = [
    ("repmgr, 2 + witness", Shape::WITNESSED),
    ("repmgr, 3", Shape::THREE),
    ("repmgr, 3 + witness", Shape::FULL),
];

/// A second HAProxy, of another version and on a host of its own, and its clients.
pub struct Second {
    rows: Recorder<Row>,
    servers: Recorder<Sample>,
    haproxy: Haproxy,
    _ground: Ground,
}

/// One cluster, and everybody who looks on.
pub struct Round {
    usual: Usual,
    second: Second,
    stage: Stage,
    rng: Rng,
    /// Who is the primary, as far as this program knows.
    primary: u8,
    /// Whose rolecall is killed.
    killed: BTreeSet<u8>,
}

/// For how many minutes; `None`: test as ever.
pub fn wanted() -> Option<u64> {
    said(MINUTES).map(|_| number(MINUTES, 0))
}

/// Tries clusters of all kinds, or of those that have one of `words` in their name.
pub fn prove(template: &Template, minutes: u64, words: &[String]) -> ExitCode {
    crate::fixtures::nemesis::prove();
    let file = said(FILE).unwrap_or_else(|| "target/prove.jsonl".to_owned());
    let repmgr = find_postgres().map(|bin| proof::version("repmgr", &bin.join("repmgr")));
    proof::sign(Path::new(&file), repmgr.as_slice());
    let book = Mutex::new(Book::open(Path::new(&file)));
    let chosen: Vec<_> = CLUSTERS_TRIED
        .iter()
        .filter(|(name, _)| {
            words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
        })
        .collect();
    let (began, first) = (now(), number(SEED, 1));
    let (long, violated) = (Duration::from_secs(60 * minutes), AtomicBool::new(false));
    // The next cluster's kind, and of each kind the seed that is played next.
    let plan: Mutex<(usize, BTreeMap<&str, u64>)> = Mutex::default();
    let next = || {
        let mut plan = plan.lock().expect("the plan");
        let (name, shape) = *chosen[plan.0 % chosen.len()];
        let unplayed = book.lock().expect("the book").next_seed(name, first);
        let seed = plan.1.get(name).map_or(unplayed, |last| unplayed.max(last + 1));
        plan.1.insert(name, seed);
        plan.0 += 1;
        (name, shape, seed)
    };
    let over = || now().since(began) >= long || violated.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..number(CLUSTERS, 1) {
            scope.spawn(|| {
                while !over() {
                    let (name, shape, seed) = next();
                    if !play(template, name, shape, seed, &book, &over) {
                        violated.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let book = book.into_inner().expect("the book");
    println!("\n{}", book.tables());
    println!("{} failovers; kept in {file}; remove it to begin anew", book.failovers());
    if violated.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Plays one round, as far as it goes; false where it showed what nobody may see.
fn play(
    template: &Template,
    name: &'static str,
    shape: Shape,
    seed: u64,
    book: &Mutex<Book>,
    over: &dyn Fn() -> bool,
) -> bool {
    // The panic has been printed; everything started has been ended on the way here.
    let Ok(mut round) = catch_unwind(AssertUnwindSafe(|| Round::start(template, shape, seed)))
    else {
        println!("{name} {seed} FAILED to start; load {}", timing::load());
        return true;
    };
    for trial in 1..=TRIALS {
        if over() {
            return true;
        }
        let entry = round.trial(name, seed, trial);
        println!("{}", entry.text());
        let (violation, goes_on) = (entry.violation(), entry.broke.is_none());
        book.lock().expect("the book").add(entry);
        if let Some(what) = violation {
            println!("VIOLATION: {what}; all of it is in {}", round.stage.keep().display());
            println!(
                "again: {SEED}={seed} {MINUTES}=1, of the same kind of cluster, trial {trial}"
            );
            return false;
        }
        if !goes_on {
            return true;
        }
    }
    true
}

impl Round {
    fn start(template: &Template, shape: Shape, seed: u64) -> Self {
        let setting = Setting { shape, ..FULL };
        let stage = Stage::start_with(template, setting, &built());
        let second = Second::start(&stage);
        let usual = Usual::start(&stage);
        // Each kind of cluster has its own numbers for the same seed.
        let size = u64::try_from(shape.nodes.len()).unwrap_or_default();
        let witness = u64::from(shape.nodes.contains(&WITNESS));
        let rng = Rng::new(seed.wrapping_mul(1000).wrapping_add(size * 2 + witness));
        Self { usual, second, stage, rng, primary: 1, killed: BTreeSet::new() }
    }

    fn ids(&self) -> Vec<u8> {
        self.stage.setting.shape.nodes.to_vec()
    }

    fn data(&self) -> Vec<u8> {
        self.ids().into_iter().filter(|id| DATA.contains(id)).collect()
    }

    fn has_witness(&self) -> bool {
        self.ids().contains(&WITNESS)
    }

    /// The standbys.
    fn others(&self) -> Vec<u8> {
        self.data().into_iter().filter(|id| *id != self.primary).collect()
    }

    fn others_and_witness(&self) -> Vec<u8> {
        self.ids().into_iter().filter(|id| *id != self.primary).collect()
    }

    /// A standby by chance.
    fn another(&mut self) -> u8 {
        let others = self.others();
        *self.rng.pick(&others)
    }

    /// One trial, from a cluster that is well to one that is well again.
    fn trial(&mut self, cluster: &str, seed: u64, trial: u32) -> Entry {
        let mut entry = Entry {
            cluster: cluster.to_owned(),
            seed,
            trial,
            faults: Vec::new(),
            load: String::new(),
            failover: false,
            stuck: None,
            broke: None,
            rolecall: Counted::default(),
            usual: Counted::default(),
        };
        let played = catch_unwind(AssertUnwindSafe(|| self.play(&mut entry)));
        if let Err(panic) = played {
            let text = panic.downcast_ref::<String>().map_or("a panic", |text| text.as_str());
            entry.broke = Some(text.chars().take(300).collect());
        }
        entry.load = timing::load();
        entry
    }

    fn play(&mut self, entry: &mut Entry) {
        self.usual.wait_row();
        self.stage.begin_here();
        let (old, session) = (self.primary, self.stage.session());
        self.stage.fault();
        let from = now();
        let mut all: Vec<&'static Fault> = vec![self.choose()];
        if self.rng.one_in(3) {
            let second = self.choose();
            if second.name != all[0].name {
                all.push(second);
            }
        }
        for fault in &all {
            entry.faults.push(format!(
                "{} at {:.1} s",
                fault.name,
                now().since(from).as_secs_f64()
            ));
            (fault.befall)(self);
            let span = self.rng.millis(0, 3000);
            self.stage.look_on(span);
        }
        let span = self.rng.millis(7000, 15_000);
        self.stage.look_on(span);
        let beats = session.stop();
        self.mend_hosts();
        let ready = self.wait_somebody().unwrap_or_else(|| {
            entry.stuck = Some(self.asked());
            self.newest()
        });
        self.mend_standbys(ready);
        self.primary = self.wait_somebody().expect("somebody is READY in the healthy cluster");
        let primary = self.primary;
        self.stage.wait_row(primary);
        self.usual.wait_row();
        entry.failover = primary != old;
        self.count(entry, from, &all, &beats, old, primary);
    }

    /// Who is READY and takes rows, within [`STUCK`].
    fn wait_somebody(&self) -> Option<u8> {
        let (began, marks) = (now(), self.stage.marks());
        while now().since(began) < STUCK {
            let ready = self.data().into_iter().find(|id| {
                self.stage
                    .heard_since(*id, marks[id])
                    .last()
                    .is_some_and(|check| is_ready(&check.heard))
            });
            if ready.is_some() {
                return ready;
            }
            self.stage.look_on(Duration::from_millis(100));
        }
        None
    }

    /// Whom an operator chooses where nobody is READY: of those that take writes the one on the newest timeline.
    fn newest(&self) -> u8 {
        let timeline = |id: &u8| {
            let said = self.stage.cluster.node(*id).ask(
                "select case when pg_is_in_recovery() then 0 else \
                 ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end",
            );
            said.ok().and_then(|said| said.parse::<u32>().ok()).unwrap_or_default()
        };
        self.data().into_iter().max_by_key(timeline).expect("a node")
    }

    /// What each node's rolecall says of it, in one line.
    fn asked(&self) -> String {
        let of = self.data().into_iter().map(|id| {
            let said = self.stage.asked(id);
            format!("node{id}: {}", said.split_whitespace().collect::<Vec<_>>().join(" "))
        });
        of.collect::<Vec<_>>().join(" | ").chars().take(3000).collect()
    }

    fn count(
        &self,
        entry: &mut Entry,
        from: Stamp,
        faults: &[&Fault],
        beats: &[Beat],
        old: u8,
        primary: u8,
    ) {
        let to = now();
        let left = self.stage.promotions_since_begin();
        let out = self.stage.simple_series(from, |s| s.not_in_recovery);
        let ready = self.stage.ready_series(from);
        let written: BTreeMap<u8, Series> =
            ready.iter().filter_map(|(id, r)| Some((*id, both(r, out.get(id)?)))).collect();
        let all_harmless = faults.iter().all(|fault| fault.harmless);
        let backend = beats.first().map(|beat| beat.answer.clone());
        let cut = all_harmless
            && old == primary
            && beats.iter().any(|b| Some(&b.answer) != backend.as_ref());
        let up =
            [&self.stage.servers, &self.second.servers].map(|servers| up_series(servers, from));
        // Before what they are compared with is asked for: every one of them is in it, or lost.
        let own_rows: Vec<Row> = [self.stage.rows.all(), self.second.rows.all()].concat();
        let their_rows = self.usual.rows.all();
        let kept = self.stage.kept(primary);
        let one =
            |rows: &[Row], up: &[BTreeMap<u8, Series>], rest: (f64, f64, f64, f64)| -> Counted {
                let rows: Vec<Row> = rows.iter().filter(|row| row.began >= from).cloned().collect();
                let by_winner: Vec<Row> = rows
                    .iter()
                    .filter(|row| {
                        matches!(row.taken, Taken::By { by, server_time } if by == primary
                    && left.iter().filter(|p| p.node == by).all(|p| p.server_time < server_time))
                    })
                    .cloned()
                    .collect();
                let two_up = up.iter().map(|up| two(up, from, to)).fold(0.0, f64::max);
                let (two_ready, written, down, cut) = rest;
                [
                    two_ready,
                    two_up,
                    written,
                    count_of(wrong(&rows, &left)),
                    count_of(lost(&by_winner, &kept)),
                    count_of(lost(&rows, &kept)),
                    down,
                    cut,
                    without_writes(&rows, from, to).as_secs_f64(),
                ]
            };
        let healthy = |servers: &Recorder<Sample>| count_of(self.down(servers, from, faults));
        let down = healthy(&self.stage.servers).max(healthy(&self.second.servers));
        let cut = f64::from(u8::from(cut));
        entry.rolecall =
            one(&own_rows, &up, (two(&ready, from, to), two(&written, from, to), down, cut));
        let theirs = up_series(&self.usual.servers, from);
        let written: BTreeMap<u8, Series> =
            theirs.iter().filter_map(|(id, up)| Some((*id, both(up, out.get(id)?)))).collect();
        let rest = (0.0, two(&written, from, to), healthy(&self.usual.servers), 0.0);
        let (own, usual) = ((&up[0], &own_rows[..]), (&theirs, &their_rows[..]));
        let (primary, ready, kept) = (&out, &ready, &kept);
        timeline::draw(entry, &Seen { from, to, primary, ready, own, usual, kept });
        entry.usual = one(&their_rows, &[theirs], rest);
    }

    /// How many servers were shown DOWN where nothing that touches a server or its links befell the cluster.
    fn down(&self, servers: &Recorder<Sample>, from: Stamp, faults: &[&Fault]) -> usize {
        // A rolecall that stands still is none: its server is taken out.
        let untouched =
            ["rolecall of the primary killed", "every rolecall", "both HAProxys", "repmgrd"];
        if !faults.iter().all(|f| untouched.iter().any(|name| f.name.starts_with(name))) {
            return 0;
        }
        let seen = servers.all().into_iter().filter(|sample| sample.at >= from);
        let down: BTreeSet<String> = seen
            .flat_map(|sample| {
                let down = sample.servers.into_iter().filter(|(_, server)| server.is_down());
                down.map(|(name, _)| name).collect::<Vec<_>>()
            })
            .filter(|name| self.data().iter().any(|id| name.ends_with(&format!("db{id}"))))
            .collect();
        down.len()
    }
}

impl Second {
    fn start(stage: &Stage) -> Self {
        let ground = Ground::new();
        let space = stage.cluster.net().space(SECOND_CLIENT);
        let front = SocketAddr::from((host(SECOND_CLIENT), FRONT_PORT));
        let (_, program) = haproxies().pop().expect("a HAProxy");
        let haproxy = Haproxy::start_in(
            Some(space),
            &ground,
            &program,
            &stage.release.cfg,
            &addresses_at(front),
        );
        let rows = space.inside(|| writer_after(front, SECOND_ROWS));
        let servers = sampler(haproxy.stats());
        haproxy.wait("postgres_rw/db1", PATIENCE, "is up", |s| s.status == "UP");
        Self { rows, servers, haproxy, _ground: ground }
    }
}

/// When each server of the pool for writes was up.
fn up_series(servers: &Recorder<Sample>, from: Stamp) -> BTreeMap<u8, Series> {
    let mut up: BTreeMap<u8, Series> = BTreeMap::new();
    for sample in servers.all().iter().filter(|sample| sample.at >= from) {
        for (name, server) in &sample.servers {
            let of_writes = name.starts_with("postgres_rw/") || name.starts_with("primary/");
            let id =
                name.chars().last().and_then(|c| c.to_digit(10)).and_then(|d| u8::try_from(d).ok());
            if let Some(id) = id.filter(|_| of_writes) {
                up.entry(id).or_default().push((sample.at, server.is_up()));
            }
        }
    }
    up
}

fn count_of(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
