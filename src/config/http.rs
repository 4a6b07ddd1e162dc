//! The port for those who ask over HTTP, as configured.

use ipnet::IpNet;

use crate::reply::routes::Listen;

/// The port of the HTTP pages, on the loopback address unless another is asked for.
pub const HTTP_PORT: u16 = 5580;

/// Words that are HTTP pages, and so no names of services where there is an HTTP port.
pub const PAGES: [&str; 5] = ["status", "history", "metrics", "live", "ready"];

/// The port for those who ask over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Never empty.
    pub listen: Vec<Listen>,
    /// Who may ask; empty: everybody.
    pub allow: Vec<IpNet>,
}
