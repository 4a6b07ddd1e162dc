//! libpq connection strings.
/// A connection string, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conninfo {}

impl std::str::FromStr for Conninfo {
    type Err = ConninfoError;

    fn from_str(text: &str) -> Result<Self, ConninfoError> {
        if text.contains('=') { Ok(Self {}) } else { Err(ConninfoError) }
    }
}

/// A connection string that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a connection string")]
pub struct ConninfoError;
