//! libpq connection strings.
/// A connection string, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conninfo {}
