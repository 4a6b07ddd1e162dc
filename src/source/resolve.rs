//! Names of hosts, looked up.

use std::net::IpAddr;

use crate::observation::{ErrorKind, SourceError};

/// Looks names up.
#[derive(Debug, Clone, Default)]
pub struct Resolver;

impl Resolver {
    /// A resolver that knows nothing yet.
    pub fn new() -> Self {
        Self
    }

    /// The addresses of `host`, never empty; [`ErrorKind::Unresolved`] otherwise.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, SourceError> {
        let unresolved = |e: &dyn std::fmt::Display| {
            SourceError::new(ErrorKind::Unresolved, format!("{host}: {e}"))
        };
        let found = tokio::net::lookup_host((host, 0)).await.map_err(|e| unresolved(&e))?;
        let found: Vec<_> = found.map(|addr| addr.ip()).collect();
        if found.is_empty() { Err(unresolved(&"no address")) } else { Ok(found) }
    }
}
