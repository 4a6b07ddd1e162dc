//! The servers of a cluster as their source lists them, for `rolecall haproxy`.

use crate::host::failure::{Exit, Failure};
use crate::look::error::SourceError;
use crate::look::place::Place;

/// Where clients reach a server: a name or an address, and the port.
pub type Reached = (String, u16);

/// The servers of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// What lists them, in words.
    pub from: &'static str,
    /// Those that HAProxy can connect to.
    pub servers: Vec<Member>,
    /// The others, and why not, each in a sentence.
    pub left_out: Vec<String>,
}

/// One server, as the list calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub at: Reached,
}

/// Where HAProxy can connect to a server that is reached at `place`.
///
/// # Errors
/// It is reached by a socket, which is of no use to HAProxy.
pub fn reached(place: &Place, whose: &str) -> Result<Reached, Failure> {
    let host = place.hostaddr.map_or_else(|| place.name().to_owned(), |addr| addr.to_string());
    if place.socket_dir().is_some() {
        let what = format_args!("{whose} is reached by the socket in {host}");
        let hint = "HAProxy needs an address: set host in the node's `conninfo`";
        return Err(Failure::new(Exit::Config, what).hint(hint));
    }
    Ok((host, place.port))
}

/// What lists the servers does not answer.
pub(crate) fn unavailable(what: &str, error: &SourceError) -> Failure {
    Failure::new(Exit::Unavailable, format_args!("{what}: {}: {error}", error.kind.label()))
        .hint(error.kind.hint())
}
