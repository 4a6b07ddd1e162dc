//! The door of the targets in fuzz/.

use std::path::PathBuf;
use std::time::Duration;

use super::{Aliases, Attached, NodeId, Resolver, Row, SourceError, address, answer, conf};

/// The rows of repmgr.nodes, and where the first of them keeps its repmgr.conf.
///
/// # Errors
/// As of a look.
pub fn nodes(text: &str) -> Result<(Vec<Row>, Option<PathBuf>), SourceError> {
    let listed = answer::parse(text)?;
    let conf = listed.table.first().and_then(|row| listed.conf(row.id)).map(PathBuf::from);
    Ok((listed.table, conf))
}

/// Whom a receiver follows that streams from there.
pub async fn attached(
    table: &[Row],
    sender: &(String, u16),
    told: Option<NodeId>,
    resolver: &Resolver,
) -> Attached {
    address::attached(table, Some(sender), told, &Aliases::new(), resolver).await
}

/// What a look does with the rows that it has read.
pub async fn settle(table: &mut [Row], me: NodeId, resolver: &Resolver) {
    address::only_elsewhere(table, me);
    address::mark_shared(table, resolver).await;
}

/// The settings of a repmgr.conf, and the patience that they mean.
pub fn conf(text: &str, me: NodeId) -> Option<(Vec<(String, String)>, Result<Duration, String>)> {
    conf::of_text(text, me)
}
