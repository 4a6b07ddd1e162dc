//! `make bench-patroni`: everything that befalls a cluster, one thing after the other on the same cluster, and what
//! the clients of rolecall's HAProxy notice of it beside those of Patroni's own template.
//!
//! A round is one cluster of three nodes on which every story is played, and one of two nodes for those that
//! are about two. What was counted is written down at once: a run that is ended goes on where it stood.

mod book;
mod counted;
mod stories;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::fixtures::measuring::{number, said};
use crate::fixtures::patroni::{PATIENCE, Template};
use crate::fixtures::{eventually, now, timing};
use crate::restarts::lease_is_known;
use crate::scenarios::LONG_ENOUGH;
use crate::stage::{Setting, Stage, built};
use crate::theirs::Beside;
use book::{Book, Entry};
use counted::Watch;
use stories::Story;

/// How many rounds of every version; set, clusters are measured instead of tested.
const WANTED: &str = "ROLECALL_ROUNDS";
/// Where the book is kept; beside it the table.
const FILE: &str = "ROLECALL_ROUNDS_FILE";
/// Which versions, separated by blanks; all that are there where it is not said.
const VERSIONS: &str = "ROLECALL_VERSIONS";
/// How many clusters at one time.
const CLUSTERS: &str = "ROLECALL_CLUSTERS";
/// After so many minutes no cluster is started any more.
const MINUTES: &str = "ROLECALL_MINUTES";

/// How often each writer writes: at the usual pace one cluster takes a whole core, and its load would be measured.
const WRITES_EVERY: Duration = Duration::from_millis(60);

/// One cluster, each HAProxy, and who leads it.
pub struct Round {
    beside: Beside,
    stage: Stage,
    leader: u8,
}

/// One cluster on which so many nodes see these stories.
struct Task<'a> {
    version: &'a str,
    program: &'a Path,
    nodes: u8,
    round: usize,
}

/// How many rounds are asked for; `None`: test as ever.
pub fn wanted() -> Option<usize> {
    said(WANTED).map(|_| number(WANTED, 0))
}

/// Plays them; `words`: stories that have one of these in their name, all where there are none.
pub fn measure(
    template: &Template,
    found: &[(String, PathBuf)],
    rounds: usize,
    words: &[String],
) -> ExitCode {
    let file = said(FILE).unwrap_or_else(|| "target/patroni-rounds.jsonl".to_owned());
    let book = Mutex::new(Book::open(Path::new(&file)));
    let versions: Vec<String> = match said(VERSIONS) {
        Some(said) => said.split_whitespace().map(str::to_owned).collect(),
        None => found.iter().map(|(version, _)| version.clone()).collect(),
    };
    let mut tasks = Vec::new();
    for round in 0..rounds {
        for version in &versions {
            let program = found.iter().find(|(one, _)| one == version);
            let (_, program) = program
                .unwrap_or_else(|| panic!("no Patroni {version}; hint: tests/tools/install.sh"));
            tasks.extend([3, 2].map(|nodes| Task { version, program, nodes, round }));
        }
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (began, minutes) = (now(), number(MINUTES, usize::MAX));
    let long = Duration::from_secs(60) * u32::try_from(minutes).unwrap_or(u32::MAX).min(10_000);
    std::thread::scope(|scope| {
        for _ in 0..number(CLUSTERS, 1) {
            scope.spawn(|| {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed))
                    && now().since(began) < long
                {
                    failed.fetch_add(play(template, task, words, &book), Ordering::Relaxed);
                }
            });
        }
    });
    let book = book.into_inner().expect("the book");
    println!("\n{}", book.table());
    println!("kept in {file}; remove it to begin anew");
    if failed.into_inner() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays what is missing of one round on a cluster of its own, and says how much failed.
fn play(template: &Template, task: &Task<'_>, words: &[String], book: &Mutex<Book>) -> usize {
    let &Task { version, program, nodes, round } = task;
    let missing: Vec<&Story> = stories::ALL
        .iter()
        .filter(|story| story.nodes == nodes)
        .filter(|story| {
            words.is_empty() || words.iter().any(|word| story.name.contains(word.as_str()))
        })
        .filter(|story| book.lock().expect("the book").runs(version, story.name) <= round)
        .collect();
    if missing.is_empty() {
        return 0;
    }
    // The panic has been printed; everything started has been ended on the way here.
    let set = || Round::start(template, program, version, nodes);
    let Ok(mut set) = catch_unwind(AssertUnwindSafe(set)) else {
        println!("{version}, {nodes} nodes  FAILED to start; load {}", timing::load());
        return 1;
    };
    for story in missing {
        let told = format!("{version:<7} {:<44}", story.name);
        let Ok((own, theirs)) = catch_unwind(AssertUnwindSafe(|| set.play(story))) else {
            println!("{told} FAILED; load {}", timing::load());
            return 1;
        };
        let entry = Entry {
            version: version.to_owned(),
            story: story.name.to_owned(),
            load: timing::load(),
            own,
            theirs,
        };
        println!("{told} {}", entry.text());
        book.lock().expect("the book").add(entry);
    }
    0
}

impl Round {
    fn start(template: &Template, program: &Path, version: &str, nodes: u8) -> Self {
        let setting = Setting { nodes, every: WRITES_EVERY, ..Setting::USUAL };
        let stage = Stage::start_with(template, program, version, setting, &built());
        let beside = Beside::start(&stage);
        let mut round = Self { beside, stage, leader: 1 };
        round.settle();
        round
    }

    /// Plays it, and counts what was noticed from its beginning until all is well again.
    fn play(&mut self, story: &Story) -> (counted::Counted, counted::Counted) {
        (story.prepare)(self);
        // The story before may have taken it away.
        lease_is_known(&self.stage, self.leader);
        let watch = Watch::begin(&self.stage, &self.beside, self.leader);
        (story.befall)(self);
        if story.heals {
            self.settle();
        }
        let counted = watch.end(&self.stage, &self.beside, self.leader);
        (story.mend)(self);
        counted
    }

    /// Waits until one node leads, everybody else follows it, and each HAProxy uses all of them.
    fn settle(&mut self) {
        self.leader = eventually(PATIENCE, "somebody leads", || {
            let leads = |id: &u8| self.stage.cluster.node(*id).is_leader().is_ok();
            self.ids().into_iter().find(leads).ok_or("nobody")
        });
        self.leads();
        for id in self.others() {
            self.stage.wait_replica(id, true);
            self.is_up(&format!("postgres_ro/pg{id}"), &format!("replica/n{id}"));
        }
        self.beside.wait_reads();
        self.stage.cluster.wait_streams(self.leader);
        self.stage.look_on(LONG_ENOUGH / 2);
    }

    /// Waits until each HAProxy brings those who write to the leader.
    fn leads(&self) {
        let id = self.leader;
        self.stage.wait_ready(id);
        self.is_up(&format!("postgres_rw/pg{id}"), &format!("primary/n{id}"));
        self.stage.wait_row(id);
        self.beside.wait_writes();
    }

    fn is_up(&self, own: &str, theirs: &str) {
        self.stage.haproxy.wait(own, PATIENCE, "is up", |s| s.status == "UP");
        self.beside.haproxy.wait(theirs, PATIENCE, "is up", |s| s.status == "UP");
    }

    fn ids(&self) -> Vec<u8> {
        self.stage.cluster.nodes().iter().map(|node| node.id).collect()
    }

    /// Everybody but the leader.
    fn others(&self) -> Vec<u8> {
        self.ids().into_iter().filter(|id| *id != self.leader).collect()
    }
}
