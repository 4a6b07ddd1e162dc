//! Which node an address leads to.
//!
//! A standby streams from whatever `primary_conninfo` says, a name or an address, perhaps of a
//! network of its own for replication; `repmgr.nodes` may say the other. Both are compared as they
//! are written, then by the addresses they have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::config::Alias;
use crate::look::place::Place;
use crate::look::repmgr::{Attached, NodeId, Row};
use crate::source::resolve::Resolver;

/// More names of nodes, as configured.
pub type Aliases = BTreeMap<NodeId, Vec<Alias>>;

/// One thing that can be connected to, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// A name, in lower case, or the directory of a socket.
    Name(String, u16),
    At(IpAddr, u16),
}

impl End {
    /// A host as it is written.
    fn written(host: &str, port: u16) -> Self {
        match host.parse::<IpAddr>() {
            Ok(ip) => Self::At(ip.to_canonical(), port),
            Err(_) => Self::Name(host.trim_end_matches('.').to_ascii_lowercase(), port),
        }
    }

    /// The name to look up; an address and a directory have none.
    fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name, _) if !name.starts_with('/') => Some(name),
            _ => None,
        }
    }
}

/// Host and hostaddr as they are written.
fn written(place: &Place) -> Vec<End> {
    let addr = place.hostaddr.map(|ip| End::At(ip.to_canonical(), place.port));
    let named = place.host.is_some() || addr.is_none();
    named.then(|| End::written(place.name(), place.port)).into_iter().chain(addr).collect()
}

/// Names and the addresses they have now.
struct Known(BTreeMap<String, Vec<IpAddr>>);

impl Known {
    /// Asks for all of them at once; see [`Resolver::glance`] for how long that may take.
    async fn of(resolver: &Resolver, ends: impl IntoIterator<Item = &End>) -> Self {
        let names: BTreeSet<&str> = ends.into_iter().filter_map(End::name).collect();
        let found =
            names.into_iter().map(async |name| (name.to_owned(), resolver.glance(name).await));
        Self(join_all(found).await.into_iter().collect())
    }

    /// The end, and what its name leads to.
    fn resolved(&self, end: &End) -> Vec<End> {
        let found = end.name().and_then(|name| self.0.get(name)).into_iter().flatten();
        let port = match end {
            End::Name(_, port) | End::At(_, port) => *port,
        };
        found.map(|ip| End::At(ip.to_canonical(), port)).chain([end.clone()]).collect()
    }
}

/// The one node of which `is` holds.
fn only(table: &[Row], is: impl Fn(&Row) -> bool) -> Option<NodeId> {
    let mut found = table.iter().filter(|row| is(row));
    match (found.next(), found.next()) {
        (Some(row), None) => Some(row.id),
        _ => None,
    }
}

/// Whom a receiver that is streaming from `sender` follows: by the rows as they are written, by what
/// their names lead to, by the configured names, and by what repmgrd says in the end.
///
/// The vote that follows from it must be the same whoever asks. As they are written the rows are part of
/// the voter's own answer; what a name leads to here, and what this daemon's configuration calls a node,
/// are not: another asker's resolver or file may say otherwise, and the voter would have two votes. So
/// those count only where the voter's repmgrd (`told`) says the same; where it says nothing, only where
/// no address of the sender leads anywhere else.
pub async fn attached(
    table: &[Row],
    sender: Option<&(String, u16)>,
    told: Option<NodeId>,
    aliases: &Aliases,
    resolver: &Resolver,
) -> Attached {
    let Some((host, port)) = sender else {
        return told.map_or_else(|| Attached::Unknown("no address".into()), Attached::To);
    };
    let sender = End::written(host, *port);
    let own = |row: &Row| row.places.iter().flat_map(written).collect::<Vec<_>>();
    if let Some(id) = only(table, |row| own(row).contains(&sender)) {
        return Attached::To(id);
    }
    let other_names = |row: &Row| alias_ends(row, aliases);
    let ends: Vec<End> =
        table.iter().flat_map(|row| [own(row), other_names(row)].concat()).collect();
    let known = Known::of(resolver, ends.iter().chain([&sender])).await;
    let from = known.resolved(&sender);
    let reached = |ends: Vec<End>| -> Vec<End> {
        ends.iter().flat_map(|end| known.resolved(end)).filter(|end| from.contains(end)).collect()
    };
    let leads = |ends: Vec<End>| !reached(ends).is_empty();
    let led_to =
        only(table, |row| leads(own(row))).or_else(|| only(table, |row| leads(other_names(row))));
    let all_of_it = |id: &NodeId| {
        let Some(row) = table.iter().find(|row| row.id == *id) else { return false };
        let ends = reached([own(row), other_names(row)].concat());
        from.iter().filter(|end| matches!(end, End::At(..))).all(|end| ends.contains(end))
    };
    let agreed = match (led_to, told) {
        (Some(id), Some(told)) => (id == told).then_some(id),
        (Some(id), None) => Some(id).filter(all_of_it),
        (None, told) => told,
    };
    agreed.map_or_else(|| Attached::Unknown(shown(host, *port)), Attached::To)
}

fn alias_ends(row: &Row, aliases: &Aliases) -> Vec<End> {
    let names = aliases.get(&row.id).into_iter().flatten();
    let ports = |alias: &Alias| match alias.port {
        Some(port) => vec![port],
        None => row.places.iter().map(|place| place.port).collect(),
    };
    let ends = names
        .flat_map(|alias| ports(alias).into_iter().map(|port| End::written(&alias.host, port)));
    ends.collect()
}

fn shown(host: &str, port: u16) -> Arc<str> {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }.into()
}

/// Takes the places from the rows of other nodes that lead to this host, unless the own row does, too:
/// whole clusters on one host are registered by loopback addresses. `host=localhost` in the row of a node
/// that is elsewhere is true for that node alone; asked here it is this host that answers, or refuses.
pub fn only_elsewhere(table: &mut [Row], me: NodeId) {
    let here = |row: &Row| row.places.iter().any(Place::is_here);
    if table.iter().any(|row| row.id == me && here(row)) {
        return;
    }
    for row in table.iter_mut().filter(|row| row.id != me && here(row)) {
        row.places = Arc::default();
    }
}

/// Marks the rows that lead to where another row leads.
pub async fn mark_shared(table: &mut [Row], resolver: &Resolver) {
    let leads_to = |place: &Place| match place.hostaddr {
        Some(ip) => End::At(ip.to_canonical(), place.port),
        None => End::written(place.name(), place.port),
    };
    let ends: Vec<Vec<End>> =
        table.iter().map(|row| row.places.iter().map(leads_to).collect()).collect();
    let known = Known::of(resolver, ends.iter().flatten()).await;
    let ends: Vec<BTreeSet<End>> =
        ends.iter().map(|ends| ends.iter().flat_map(|end| known.resolved(end)).collect()).collect();
    for (at, row) in table.iter_mut().enumerate() {
        let others = ends.iter().enumerate().filter(|(other, _)| *other != at);
        row.shares_address = others.map(|(_, ends)| ends).any(|o| !o.is_disjoint(&ends[at]));
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::config::conninfo::places;
    use crate::look::repmgr::Registered;

    fn row(id: i32, conninfo: &str) -> Row {
        Row {
            id: NodeId(id),
            name: format!("db{id}").into(),
            registered: Registered::Standby,
            active: true,
            places: places(conninfo).unwrap().into(),
            shares_address: false,
        }
    }

    fn dns() -> Resolver {
        Resolver::with(|name| match name {
            "db1" | "db1.lan" => Ok(vec!["10.0.0.1".parse().unwrap()]),
            "db2" => Ok(vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()]),
            "db1-repl" => Ok(vec!["10.1.0.1".parse().unwrap()]),
            "vip" => Ok(vec!["10.0.0.2".parse().unwrap()]),
            _ => Err(io::Error::other("no such name")),
        })
    }

    async fn follows(table: &[Row], sender: &str, port: u16, told: Option<i32>) -> Attached {
        let alias = |host: &str, port| Alias { host: host.to_owned(), port };
        let aliases = Aliases::from([(
            NodeId(1),
            vec![alias("db1-repl", None), alias("10.2.0.1", Some(6432))],
        )]);
        let sender = (sender.to_owned(), port);
        attached(table, Some(&sender), told.map(NodeId), &aliases, &dns()).await
    }

    fn to(id: i32) -> Attached {
        Attached::To(NodeId(id))
    }

    #[tokio::test]
    async fn a_sender_is_found_by_name_and_by_address_either_way() {
        let names = [row(1, "host=db1"), row(2, "host=db2,db2b port=5433")];
        let addresses = [row(1, "hostaddr=10.0.0.1"), row(2, "host=10.0.0.2,fd00::2 port=5433")];
        let uris =
            [row(1, "postgresql://DB1./x"), row(2, "postgresql://10.0.0.2:5433,[fd00::2]:5433/x")];
        for table in [&names, &addresses, &uris] {
            for (sender, port, wanted) in [
                ("db1", 5432, to(1)),
                ("DB1", 5432, to(1)),
                ("db1.lan", 5432, to(1)),
                ("10.0.0.1", 5432, to(1)),
                ("::ffff:10.0.0.1", 5432, to(1)),
                ("db2", 5433, to(2)),
                ("10.0.0.1", 5433, Attached::Unknown("10.0.0.1:5433".into())),
                ("fd00::9", 5432, Attached::Unknown("[fd00::9]:5432".into())),
                // A network of its own for replication, which `addresses` names.
                ("10.1.0.1", 5432, to(1)),
                ("db1-repl", 5432, to(1)),
                ("10.2.0.1", 6432, to(1)),
                ("10.2.0.1", 5432, Attached::Unknown("10.2.0.1:5432".into())),
            ] {
                assert_eq!(follows(table, sender, port, None).await, wanted, "{sender}:{port}");
            }
        }
    }

    /// The receiver shows whichever of the two libpq was told.
    #[tokio::test]
    async fn a_row_with_host_and_hostaddr_is_found_by_either() {
        let table = [row(1, "host=db7 hostaddr=10.0.0.7"), row(2, "host=db2")];
        assert_eq!(follows(&table, "db7", 5432, None).await, to(1));
        assert_eq!(follows(&table, "10.0.0.7", 5432, None).await, to(1));
    }

    /// The folder of a socket and an address are no names that a name server could know.
    #[tokio::test]
    async fn only_names_are_looked_up() {
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let resolver = Resolver::with(move |name| {
            noted.lock().unwrap().push(name.to_owned());
            Err(io::Error::other("no such name"))
        });
        let mut table =
            [row(1, "host=db1"), row(2, "host=/run/postgresql"), row(3, "host=10.0.0.3")];
        mark_shared(&mut table, &resolver).await;
        assert_eq!(*asked.lock().unwrap(), ["db1"]);
    }

    /// Two askers whose resolvers differ must not find one voter behind two nodes.
    #[tokio::test]
    async fn what_a_name_leads_to_here_counts_only_where_the_voter_agrees() {
        let table = [row(1, "host=10.0.0.1"), row(2, "host=10.0.0.2"), row(3, "host=db3")];
        let unknown = |host: &str| Attached::Unknown(format!("{host}:5432").into());
        assert_eq!(follows(&table, "db1", 5432, Some(1)).await, to(1), "both say so");
        assert_eq!(follows(&table, "db1", 5432, Some(2)).await, unknown("db1"), "they differ");
        assert_eq!(follows(&table, "db1", 5432, None).await, to(1), "it leads nowhere else");
        // Of the two addresses of db2 the row has one.
        assert_eq!(follows(&table, "db2", 5432, None).await, unknown("db2"));
        assert_eq!(follows(&table, "db2", 5432, Some(2)).await, to(2));
        // A name of this daemon's own configuration.
        assert_eq!(follows(&table, "10.1.0.1", 5432, Some(2)).await, unknown("10.1.0.1"));
        assert_eq!(follows(&table, "10.1.0.1", 5432, Some(1)).await, to(1));
        // As it is written it is the voter's own word, and the receiver is ahead of repmgrd.
        assert_eq!(follows(&table, "10.0.0.1", 5432, Some(2)).await, to(1));
    }

    #[tokio::test]
    async fn what_repmgrd_says_comes_last() {
        let table = [row(1, "host=db1"), row(2, "host=db2")];
        assert_eq!(follows(&table, "db1", 5432, Some(2)).await, to(1));
        assert_eq!(follows(&table, "10.9.9.9", 5432, Some(2)).await, to(2));
        let nowhere = attached(&table, None, None, &Aliases::new(), &dns()).await;
        assert_eq!(nowhere, Attached::Unknown("no address".into()));
        let told = attached(&table, None, Some(NodeId(2)), &Aliases::new(), &dns()).await;
        assert_eq!(told, to(2));
    }

    #[tokio::test]
    async fn an_address_of_two_rows_tells_nothing() {
        let table = [row(1, "host=vip"), row(2, "host=db2")];
        let unknown = Attached::Unknown("10.0.0.2:5432".into());
        assert_eq!(follows(&table, "10.0.0.2", 5432, None).await, unknown);
        assert_eq!(follows(&table, "vip", 5432, None).await, to(1));
    }

    #[test]
    fn a_row_of_another_node_that_leads_to_this_host_leads_nowhere() {
        let left = |own: &str, other: &str| {
            let mut table = [row(1, own), row(2, other), row(3, "host=db3")];
            only_elsewhere(&mut table, NodeId(1));
            assert_eq!(table[2].places.len(), 1, "the third one is elsewhere");
            assert!(!table[0].places.is_empty(), "its own places are its own");
            !table[1].places.is_empty()
        };
        for here in [
            "host=localhost",
            "host=LOCALHOST. port=5433",
            "host=127.0.0.1",
            "host=127.9.9.9",
            "hostaddr=::1",
            "host=::ffff:127.0.0.1",
            "host=0.0.0.0",
            "host=db2,localhost",
            "host=/run/postgresql",
        ] {
            for own in ["host=db1", "hostaddr=10.0.0.1"] {
                assert!(!left(own, here), "{own}; {here}");
            }
            // All of it on one host.
            assert!(left("host=127.0.0.1 port=5434", here), "{here}");
        }
        for elsewhere in [
            "host=db2",
            "host=localhost.example",
            "host=10.0.0.2",
            "host=localhost hostaddr=10.0.0.2",
        ] {
            assert!(left("host=db1", elsewhere), "{elsewhere}");
            assert!(left("host=localhost", elsewhere), "{elsewhere}");
        }
    }

    #[tokio::test]
    async fn rows_that_lead_to_one_address_are_marked() {
        for (table, wanted) in [
            ([row(1, "host=db1"), row(2, "host=db2"), row(3, "host=db3")], [false; 3]),
            ([row(1, "host=db1"), row(2, "host=db2"), row(3, "host=vip")], [false, true, true]),
            ([row(1, "host=db1"), row(2, "host=db3"), row(3, "host=db3")], [false, true, true]),
            (
                [row(1, "host=a hostaddr=10.0.0.1"), row(2, "host=db9,db1"), row(3, "port=5433")],
                [true, true, false],
            ),
            ([row(1, "host=db1"), row(2, "host=db1 port=5433"), row(3, "port=5433")], [false; 3]),
        ] {
            let mut marked = table.clone();
            mark_shared(&mut marked, &dns()).await;
            assert_eq!(marked.map(|row| row.shares_address), wanted, "{table:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_resolver_costs_little_and_nothing_that_is_written_alike() {
        let (_hold, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let dead = Resolver::with(move |_| {
            let _ = wait.lock().unwrap().recv();
            Err(io::Error::other("the test is over"))
        });
        let mut table = [row(1, "host=db1"), row(2, "host=db2"), row(3, "host=db2")];
        let clock = crate::host::clock::Clock::held();
        let before = clock.now();
        let same = ("db1".to_owned(), 5432);
        assert_eq!(attached(&table, Some(&same), None, &Aliases::new(), &dead).await, to(1));
        assert_eq!(clock.now(), before);
        mark_shared(&mut table, &dead).await;
        assert_eq!(table.map(|row| row.shares_address), [false, true, true]);
        assert!(clock.now().since(before).as_millis() < 150);
    }
}
