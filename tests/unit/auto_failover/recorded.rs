//! What was recorded of real clusters (`tests/data/pg_auto_failover`), judged look by look, with the same rolecall beside
//! each node and in one place for both.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rolecall::look::auto_failover::{NodeState, Row};
use rolecall::look::role::Role;
use rolecall::verdict::monitor::objects;

use super::{a_row, at, said_of};

/// One line of a file.
struct Moment {
    seconds: f64,
    servers: [Server; 2],
    get_primary: Option<usize>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Writable,
    /// Out of recovery, and read-only by default.
    Promoting,
    Recovery,
    Down,
}

fn moments(name: &str) -> Vec<Moment> {
    let path = format!("tests/data/pg_auto_failover/{name}.tsv");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| moment(line).unwrap_or_else(|| panic!("{name}: {line}"))).collect()
}

fn moment(line: &str) -> Option<Moment> {
    let cells: Vec<&str> = line.split('\t').collect();
    let server = |word: &str| match word {
        "writable" => Some(Server::Writable),
        "promoting" => Some(Server::Promoting),
        "recovery" => Some(Server::Recovery),
        "down" => Some(Server::Down),
        _ => None,
    };
    let rows = cells[4..].iter().zip(1..).map(|(cell, id)| {
        let words: Vec<&str> = cell.split([' ', '>']).collect();
        let [reported, goal, health, ago] = words.try_into().ok()?;
        let ago = Duration::from_secs(ago.parse::<u64>().ok()?);
        let row = a_row(id, NodeState::read(reported)?, NodeState::read(goal)?);
        Some(Row { healthy: health == "1", reported_ago: ago, ..row })
    });
    Some(Moment {
        seconds: cells[0].parse().ok()?,
        servers: [server(cells[1])?, server(cells[2])?],
        get_primary: ["n1", "n2"].iter().position(|name| *name == cells[3]),
        rows: rows.collect::<Option<_>>()?,
    })
}

/// Whether rule M names this node of a moment; `beside`: its own server is asked, too.
fn named(moment: &Moment, node: usize, beside: bool) -> bool {
    let id = i64::try_from(node).unwrap() + 1;
    let server = moment.servers[node];
    if beside && server != Server::Writable {
        return false;
    }
    let said = said_of(id, moment.rows.clone(), at(moment.seconds));
    said.known.vouched_at.is_some() && objects(&said, Role::Primary, None, false).is_ok()
}

/// Whether what the monitor says speaks against this node.
fn objected(moment: &Moment, node: usize) -> bool {
    let id = i64::try_from(node).unwrap() + 1;
    let said = said_of(id, moment.rows.clone(), at(moment.seconds));
    !moment.rows.is_empty() && objects(&said, Role::Primary, None, false).is_err()
}

const FILES: [&str; 5] = [
    "whole-partition",
    "cut-from-the-monitor",
    "keeper-killed-then-cut",
    "monitor-restarted",
    "switchover-then-host-lost",
];

#[test]
fn never_two_and_never_one_that_refuses_writes() {
    for file in FILES {
        let moments = moments(file);
        assert!(moments.len() > 3, "{file}");
        for moment in &moments {
            for beside in [true, false] {
                let yes: Vec<usize> = (0..2).filter(|node| named(moment, *node, beside)).collect();
                assert!(yes.len() <= 1, "{file} at {} s: {yes:?}", moment.seconds);
                let refuses = |node: &&usize| {
                    matches!(moment.servers[**node], Server::Promoting | Server::Recovery)
                };
                let wrong = yes.iter().find(refuses);
                assert!(wrong.is_none(), "{file} at {} s: {wrong:?}", moment.seconds);
            }
        }
    }
}

/// From when on the old one is named no more, and from when on the new one is.
#[test]
fn the_old_primary_goes_before_its_server_does_and_the_new_one_comes_with_its_first_write() {
    for (file, old, gone, stopped, new, writes, come) in [
        ("whole-partition", 1, 28.8, Some(51.3), 0, 59.3, 59.3),
        ("cut-from-the-monitor", 0, 22.3, Some(41.9), 1, 52.4, 52.7),
        ("keeper-killed-then-cut", 1, 59.4, None, 0, 89.7, 89.7),
        ("switchover-then-host-lost", 0, 3.0, Some(3.3), 1, 4.5, 4.5),
    ] {
        let moments = moments(file);
        let first =
            |is: &dyn Fn(&Moment) -> bool| moments.iter().find(|m| is(m)).map(|m| m.seconds);
        assert_eq!(first(&|m| objected(m, old)), Some(gone), "{file}");
        assert_eq!(first(&|m| m.servers[old] == Server::Down), stopped, "{file}");
        assert_eq!(first(&|m| m.servers[new] == Server::Writable), Some(writes), "{file}");
        assert_eq!(first(&|m| named(m, new, false)), Some(come), "{file}");
    }
}

/// Started by hand as it lay there, it is writable, and the monitor's own check of it succeeds.
#[test]
fn an_old_primary_that_was_started_by_hand_is_not_named() {
    let moments = moments("switchover-then-host-lost");
    let back: Vec<_> = moments
        .iter()
        .filter(|m| m.servers == [Server::Writable; 2] && m.rows[1].healthy)
        .collect();
    assert!(!back.is_empty());
    assert!(back.iter().all(|m| named(m, 0, true) && !named(m, 1, true)));
}

/// The rows of a monitor that was restarted are as old as it was away: they say nothing, and not a no.
#[test]
fn a_monitor_that_was_away_vouches_for_nobody_at_first() {
    let moments = moments("monitor-restarted");
    let back = moments.iter().find(|m| !m.rows.is_empty() && m.seconds > 60.0).unwrap();
    assert!(back.rows[1].reported_ago > Duration::from_secs(60));
    assert!(!named(back, 1, true));
    let said = said_of(2, back.rows.clone(), at(0.0));
    assert_eq!(objects(&said, Role::Primary, None, false), Ok(()));
}

/// What people are told to ask instead, on the same moments.
#[test]
fn the_usual_advice_is_fooled_in_each_of_them() {
    let two =
        |m: &&Moment| m.servers.iter().all(|s| matches!(s, Server::Writable | Server::Promoting));
    let stopped =
        |m: &&Moment| m.get_primary.is_some_and(|node| m.servers[node] != Server::Writable);
    for file in ["whole-partition", "cut-from-the-monitor", "keeper-killed-then-cut"] {
        assert!(moments(file).iter().any(|m| two(&m)), "{file}: two are out of recovery");
    }
    for file in ["whole-partition", "cut-from-the-monitor", "switchover-then-host-lost"] {
        assert!(moments(file).iter().any(|m| stopped(&m)), "{file}: get_primary() is wrong");
    }
}
