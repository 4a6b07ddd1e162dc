//! The rows of repmgr.nodes, each with its connection string.

#![no_main]

use rolecall::fuzzing::repmgr::{attached, nodes, settle};
use rolecall::look::error::MOST_DETAIL;
use rolecall::look::repmgr::NodeId;
use rolecall::source::repmgr::MAX_ROWS;
use rolecall::source::resolve::Resolver;
use rolecall_fuzz::{cleaned, one_line, run, target, text};

target!(|data| {
    let (mut table, conf) = match nodes(text(data)) {
        Ok(listed) => listed,
        Err(error) => return cleaned(&error.detail, MOST_DETAIL),
    };
    assert!(table.len() <= MAX_ROWS);
    if let Some(path) = conf {
        assert!(path.is_absolute());
        one_line(&path.to_string_lossy());
    }
    for row in &table {
        cleaned(&row.name, 64);
        assert!(row.places.len() <= 8, "{row:?}");
        for place in &*row.places {
            // What it names leads somewhere, and is shown as it is written.
            assert!(
                place.port > 0 && (place.host.is_some() || place.hostaddr.is_some()),
                "{place:?}"
            );
        }
    }
    // A node that streams from another's own place is that one's, if it is one's alone.
    let resolver = Resolver::with(|_| Err(std::io::Error::other("no such name")));
    let sender = table.iter().flat_map(|row| &*row.places).next();
    let sender =
        sender.map_or(("db1".to_owned(), 5432), |place| (place.name().to_owned(), place.port));
    run(async {
        let _ = attached(&table, &sender, Some(NodeId(1)), &resolver).await;
        settle(&mut table, NodeId(1), &resolver).await;
    });
});
