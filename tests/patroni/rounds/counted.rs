//! What clients noticed of one story, behind one HAProxy and behind the other.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::ledger::{Series, both, lost, none_and_two, promotions, strays};
use crate::fixtures::rows::Row;
use crate::fixtures::{Recorder, Sample, Session, now};
use crate::stage::Stage;
use crate::theirs::{Beside, Readers, longest, taken};
use crate::watch::Writable;

/// The columns, in this order; seconds or a number.
pub const COLUMNS: [&str; 9] = [
    "Patroni of the leader silent, s",
    "sessions cut needlessly",
    "no writes, s",
    "no reads, s",
    "two READY, s",
    "two writable, s",
    "wrong rows",
    "rows lost",
    "false DOWN",
];

/// A value for each of [`COLUMNS`].
pub type Counted = [f64; COLUMNS.len()];

/// Sessions that only read, behind each HAProxy: so many that each replica has some.
const READERS: usize = 4;

/// Longest wait of an open session for an answer: a busy machine is no reason to call it cut.
const WITHIN: Duration = Duration::from_secs(10);

/// So long before the first moment the last sample of everything was taken.
const BEFORE: Duration = Duration::from_secs(1);

/// A server is well that answered so long before and after.
const WELL: Duration = Duration::from_millis(500);

/// An open session, which is asked something all the time.
struct Held {
    own: bool,
    writes: bool,
    node: u8,
    alive: Recorder<bool>,
}

impl Held {
    fn open(front: SocketAddr, own: bool, writes: bool) -> Self {
        let mut session = Session::connect_as(front, "app", "postgres", WITHIN).expect("a session");
        let host = session.value("select host(inet_server_addr())").expect("its server");
        let host: Ipv4Addr = host.parse().expect("an address");
        let node = host.octets()[3] % 16;
        let every = Duration::from_millis(100);
        let alive = Recorder::start(every, move || Some(session.value("select 1").is_ok()));
        Self { own, writes, node, alive }
    }
}

/// What makes it another server: a session may not outlive a change of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    postmaster: Option<u32>,
    recovers: Option<String>,
}

/// Looks on from the beginning of a story.
pub struct Watch {
    from: Stamp,
    /// Who led then.
    old: u8,
    held: Vec<Held>,
    servers: BTreeMap<u8, Server>,
}

fn servers(stage: &Stage) -> BTreeMap<u8, Server> {
    let nodes = stage.cluster.nodes().iter();
    let of = nodes.map(|node| {
        let recovers = node.try_value("select pg_is_in_recovery()").ok();
        (node.id, Server { postmaster: node.postmaster(), recovers })
    });
    of.collect()
}

impl Watch {
    /// Opens sessions everywhere, and notes what the servers are.
    pub fn begin(stage: &Stage, beside: &Beside, leader: u8) -> Self {
        let own = [stage.write_front(), stage.read_front()];
        let mut held = Vec::new();
        for (fronts, own) in [(own, true), (beside.fronts(), false)] {
            held.push(Held::open(fronts[0], own, true));
            held.extend((0..READERS).map(|_| Held::open(fronts[1], own, false)));
        }
        Self { held, servers: servers(stage), old: leader, from: now() }
    }

    /// What it came to: rolecall's clients, and the template's.
    pub fn end(self, stage: &Stage, beside: &Beside, leader: u8) -> (Counted, Counted) {
        let (from, to, after) = (self.from, now(), servers(stage));
        let since = |at: Stamp| at.plus(BEFORE) >= from;
        let same = |node: u8| self.servers[&node] == after[&node];
        let cut = |own: bool| {
            let needless = self.held.iter().filter(|held| {
                let stays = same(held.node) && (!held.writes || held.node == leader);
                held.own == own && stays && held.alive.all().contains(&false)
            });
            needless.count()
        };
        let mut alive: BTreeMap<u8, Vec<Writable>> = BTreeMap::new();
        for (id, all) in &stage.writable {
            alive.insert(*id, all.all().into_iter().filter(|w| since(w.at)).collect());
        }
        let ready = stage.ready_series(from);
        let (samples, theirs) = (stage.servers.all(), beside.servers.all());
        let mut up: BTreeMap<u8, Series> = BTreeMap::new();
        for sample in theirs.iter().filter(|sample| since(sample.at)) {
            for (name, server) in &sample.servers {
                if name.starts_with("primary/") {
                    up.entry(node_of(name)).or_default().push((sample.at, server.is_up()));
                }
            }
        }
        let two = |ready: &BTreeMap<u8, Series>| {
            let writes = |id: &u8| alive[id].iter().map(|w| (w.at, w.writes)).collect();
            let written = ready.iter().map(|(id, ready)| (*id, both(ready, &writes(id))));
            let seconds = |all| none_and_two(all, from, to).1.as_secs_f64();
            (seconds(ready), seconds(&written.collect()))
        };
        let nodes = stage.cluster.nodes().iter();
        let left: Vec<_> = nodes.flat_map(|node| promotions(node.id, &node.log_text())).collect();
        let silent = silence(stage, self.old, from, to);
        // Before what they are compared with is asked for: every one of them is in it, or lost.
        let (own_rows, their_rows) = (stage.rows.all(), beside.writes.all());
        let kept = stage.kept(leader);
        let count =
            |own: bool, rows: &[Row], no_reads: Duration, samples: &[Sample], two: (f64, f64)| {
                let no_writes = longest(taken(rows), from).as_secs_f64();
                let rows: Vec<Row> = rows.iter().filter(|row| row.began >= from).cloned().collect();
                [
                    silent.as_secs_f64(),
                    number(cut(own)),
                    no_writes,
                    no_reads.as_secs_f64(),
                    two.0,
                    two.1,
                    number(strays(&rows, &left).wrong),
                    number(lost(&rows, &kept)),
                    number(false_downs(samples, from, &alive)),
                ]
            };
        let unread = |readers: &Readers| longest(readers.served().into_iter(), from);
        (
            count(true, &own_rows, unread(&beside.own_reads), &samples, two(&ready)),
            count(false, &their_rows, unread(&beside.reads), &theirs, two(&up)),
        )
    }
}

/// The longest time in which Patroni of node `id` did not say that it leads a running server, until it said so
/// again or all was over.
fn silence(stage: &Stage, id: u8, from: Stamp, to: Stamp) -> Duration {
    let said = stage.usual_of(id, from);
    let said = said.iter().filter(|seen| seen.strict && seen.at < to).map(|seen| seen.at);
    let moments: Vec<Stamp> = [from].into_iter().chain(said).chain([to]).collect();
    let gaps = moments.windows(2).map(|pair| pair[1].since(pair[0]));
    gaps.max().unwrap_or_default()
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// `pg2` and `n2` are node 2.
fn node_of(server: &str) -> u8 {
    let digit = server.chars().last().and_then(|c| c.to_digit(10));
    digit.and_then(|digit| u8::try_from(digit).ok()).expect("a server's number")
}

/// How often a server was shown DOWN, which it was not before, and was well.
fn false_downs(samples: &[Sample], from: Stamp, alive: &BTreeMap<u8, Vec<Writable>>) -> usize {
    let well = |id: u8, at: Stamp| {
        let near = |seen: &&Writable| seen.at.plus(WELL) >= at && at.plus(WELL) >= seen.at;
        let mut near = alive[&id].iter().filter(near).peekable();
        near.peek().is_some() && near.all(|seen| seen.alive)
    };
    let pairs = samples.windows(2).filter(|pair| pair[1].at >= from);
    let downs = pairs.flat_map(|pair| {
        pair[1].servers.iter().filter(|(name, server)| {
            let before = pair[0].servers.get(*name);
            server.is_down()
                && before.is_some_and(|before| !before.is_down())
                && well(node_of(name), pair[1].at)
        })
    });
    downs.count()
}
