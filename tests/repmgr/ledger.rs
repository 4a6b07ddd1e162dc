//! What a scenario comes to: who was READY when, and which rows went where.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use rolecall::clock::Stamp;

use crate::watch::{Row, Taken};

/// What was seen of one thing on one node: it held from each moment until the next.
pub type Series = Vec<(Stamp, bool)>;

/// A server that left recovery, in seconds since 1970 of its own clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Promotion {
    pub node: u8,
    pub server_time: f64,
}

/// For how long none and for how long two or more of `all` held.
pub fn none_and_two(all: &BTreeMap<u8, Series>, from: Stamp, to: Stamp) -> (Duration, Duration) {
    let mut changes: Vec<(Stamp, u8, bool)> = Vec::new();
    for (node, series) in all {
        changes.extend(series.iter().map(|(at, held)| ((*at).clamp(from, to), *node, *held)));
    }
    changes.push((to, 0, false));
    changes.sort_by_key(|c| c.0);
    let (mut none, mut two) = (Duration::ZERO, Duration::ZERO);
    let (mut holding, mut since) = (HashSet::new(), from);
    for (at, node, held) in changes {
        match holding.len() {
            0 => none += at.since(since),
            1 => {}
            _ => two += at.since(since),
        }
        since = at;
        if held {
            holding.insert(node);
        } else {
            holding.remove(&node);
        }
    }
    (none, two)
}

/// Who held when, in seconds after `zero`: `1 ..0.4, 2 8.3..`.
pub fn who_when(all: &BTreeMap<u8, Series>, zero: Stamp) -> String {
    let mut spans: Vec<(Stamp, String)> = Vec::new();
    for (node, series) in all {
        let mut rest = series.as_slice();
        while let Some(begin) = rest.iter().position(|(_, held)| *held) {
            let began = rest[begin].0;
            let end = rest[begin..].iter().position(|(_, held)| !held);
            let mut span = format!("{node} ");
            if began > zero && began > series[0].0 {
                write!(span, "{:.1}", began.since(zero).as_secs_f64()).expect("a string");
            }
            span += "..";
            match end {
                Some(n) if rest[begin + n].0 > zero => {
                    let ended = rest[begin + n].0.since(zero);
                    write!(span, "{:.1}", ended.as_secs_f64()).expect("a string");
                }
                Some(_) => span += "0",
                None => {}
            }
            spans.push((began, span));
            rest = end.map_or(&[], |n| &rest[begin + n..]);
        }
    }
    spans.sort_by_key(|s| s.0);
    let spans: Vec<String> = spans.into_iter().map(|s| s.1).collect();
    spans.join(", ")
}

/// The promotions in the log of node `node`, whose lines begin with seconds since 1970.
pub fn promotions(node: u8, log: &str) -> Vec<Promotion> {
    let left = log.lines().filter(|l| l.contains("archive recovery complete"));
    let times = left.filter_map(|l| l.split(' ').next()?.parse().ok());
    times.map(|server_time| Promotion { node, server_time }).collect()
}

/// Rows that a node took while another one, promoted since, stood out of recovery.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// That other node took rows too, at some time after its promotion: these are on the wrong
    /// history.
    pub wrong: usize,
    /// That other node never took a row: nobody but its server calls it the primary.
    pub beside: usize,
}

/// Counts the rows that were taken by a node after another one had left recovery. A promotion of its
/// own, later still, makes a node the newer one.
pub fn strays(rows: &[Row], promotions: &[Promotion]) -> Strays {
    let taken: Vec<(u8, f64)> = rows.iter().filter_map(taken).collect();
    let mut strays = Strays::default();
    for (by, at) in &taken {
        let promoted = |p: &&Promotion| p.server_time < *at;
        let newest = promotions.iter().filter(promoted).filter(|p| p.node == *by);
        let newest = newest.map(|p| p.server_time).fold(0.0, f64::max);
        let others = promotions.iter().filter(promoted);
        let mut others = others.filter(|p| p.node != *by && p.server_time > newest).peekable();
        if others.peek().is_none() {
            continue;
        }
        let served = |p: &Promotion| taken.iter().any(|(n, t)| *n == p.node && *t > p.server_time);
        if others.any(served) {
            strays.wrong += 1;
        } else {
            strays.beside += 1;
        }
    }
    strays
}

/// The rows that were taken by somebody and are not in `kept`.
pub fn lost(rows: &[Row], kept: &HashSet<u64>) -> usize {
    rows.iter().filter(|r| taken(r).is_some() && !kept.contains(&r.n)).count()
}

fn taken(row: &Row) -> Option<(u8, f64)> {
    match row.taken {
        Taken::By { by, server_time } => Some((by, server_time)),
        _ => None,
    }
}

/// What the table shows of one scenario.
#[derive(Debug)]
pub struct Line {
    pub name: &'static str,
    pub who: String,
    pub none: Duration,
    pub two: Duration,
    /// As HAProxy had its servers up.
    pub two_up: Duration,
    pub strays: Strays,
    pub lost: usize,
    pub taken: usize,
    pub own_row_two: Duration,
    pub not_in_recovery_two: Duration,
}

/// What stands above the lines.
pub const HEAD: &str = "\
two, none: seconds with two READY, with nobody READY. up: seconds with two servers up in HAProxy.
wrong: rows taken through HAProxy after another node, that took rows too, had left recovery.
beside: as wrong, but that node never took a row (a rogue promotion). lost: taken, and not on the
primary of the end (replication is asynchronous). N1, N2: seconds with two yes by `own row says
primary` and by `not in recovery`, the witness left out. READY: node FROM..TO in seconds after the fault.

scenario                          two  none    up wrong beside  lost  rows    N1    N2  READY";

impl Line {
    /// The line as it stands in the table.
    pub fn text(&self) -> String {
        let s = |d: Duration| d.as_secs_f64();
        format!(
            "{:<32}{:>5.2}{:>6.1}{:>6.2}{:>6}{:>7}{:>6}{:>6}{:>6.1}{:>6.1}  {}",
            self.name,
            s(self.two),
            s(self.none),
            s(self.two_up),
            self.strays.wrong,
            self.strays.beside,
            self.lost,
            self.taken,
            s(self.own_row_two),
            s(self.not_in_recovery_two),
            self.who
        )
    }
}

/// The counting itself, on cases made by hand: a count that is always 0 would show nothing.
pub fn prove() {
    let at = |ms| Stamp::new(Duration::from_millis(ms));
    let series =
        |changes: &[(u64, bool)]| changes.iter().map(|(ms, held)| (at(*ms), *held)).collect();
    let all = BTreeMap::from([
        (1, series(&[(0, true), (20, true), (100, false), (500, false)])),
        (2, series(&[(0, false), (80, true), (300, false), (400, true)])),
    ]);
    let ms = Duration::from_millis;
    assert_eq!(none_and_two(&all, at(0), at(600)), (ms(100), ms(20)));
    assert_eq!(who_when(&all, at(90)), "1 ..0.0, 2 ..0.2, 2 0.3..");

    let row = |n, by, server_time| Row { n, taken: Taken::By { by, server_time } };
    let promoted = |node, server_time| Promotion { node, server_time };
    let counts = |rows: &[Row], promotions: &[Promotion]| {
        let strays = strays(rows, promotions);
        (strays.wrong, strays.beside)
    };
    assert_eq!(counts(&[row(1, 1, 1.0), row(2, 2, 3.0)], &[promoted(2, 2.0)]), (0, 0));
    assert_eq!(counts(&[row(1, 1, 2.5), row(2, 2, 3.0)], &[promoted(2, 2.0)]), (1, 0));
    assert_eq!(counts(&[row(1, 1, 2.5), row(2, 1, 3.0)], &[promoted(2, 2.0)]), (0, 2));
    let there_and_back = [promoted(2, 2.0), promoted(1, 4.0)];
    assert_eq!(counts(&[row(1, 2, 3.0), row(2, 1, 5.0)], &there_and_back), (0, 0));
    assert_eq!(counts(&[row(1, 1, 5.0), row(2, 2, 6.0)], &there_and_back), (1, 0));
    assert_eq!(lost(&[row(1, 1, 1.0), row(2, 1, 2.0)], &HashSet::from([1])), 1);
    let log = "1795329620.798 [1] LOG:  archive recovery complete\n1795329621.0 [1] LOG:  other\n";
    assert_eq!(promotions(3, log), [promoted(3, 1_795_329_620.798)]);
}
