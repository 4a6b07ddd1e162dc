//! The door of the targets in fuzz/.

use super::{Row, SourceError, answer};

/// The rows of a group.
///
/// # Errors
/// As of a look.
pub fn rows(text: &str) -> Result<Vec<Row>, SourceError> {
    answer::rows(text)
}

/// How many standbys stream from a server.
///
/// # Errors
/// As of a look.
pub fn followers(text: &str) -> Result<usize, SourceError> {
    answer::followers(text).map(|followers| followers.len())
}
