//! One server by several hosts: those that `conninfo` lists, or a row of repmgr's table.
//!
//! libpq goes to whichever of them answers, and `target_session_attrs` lets it choose by role. A source must not:
//! what it says is believed of one node, and whoever is sent to another server would be READY in that one's name.
//! So of the hosts of the own `conninfo` the first says which server is meant, and another one counts only while the
//! very server process answers there that answered at the first: an address that moves to another node
//! after a failover, or a copied string of a whole cluster, leads nowhere. What a row of a table names is judged
//! by whoever counts votes.
//!
//! The hosts share the time of a look as the addresses of a name do: the next one is tried once the one before has
//! failed, or has taken no connection for its time alone. Of the own ones each look begins at the first, which may lead
//! elsewhere by now; of a row's the one that answered is asked first by the next look.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;
use tokio_postgres::Row;

use super::{Connector, column};
use crate::look::error::{ErrorKind, SourceError};
use crate::source::dial::Dialer;

/// What one host answered.
pub struct Answered<T> {
    /// What is made of it.
    pub what: T,
    /// When the server was started, where that was asked.
    pub started: Option<i64>,
}

impl<T> Answered<T> {
    /// With the column [`STARTED`](super::role::STARTED) of this row, where it was `asked`.
    pub fn of(what: T, row: &Row, asked: bool) -> Result<Self, SourceError> {
        let started = if asked { Some(column(row, "started")?) } else { None };
        Ok(Self { what, started })
    }
}

/// The hosts of one server.
#[derive(Clone)]
pub struct Hosts {
    servers: Vec<Result<Connector, SourceError>>,
    /// Which of a row's is asked first.
    first: usize,
    whose: Whose,
}

/// Who listed them.
#[derive(Clone)]
enum Whose {
    /// An operator: they are one server, which was started then when its first host answered last.
    Own(Option<i64>),
    /// A row of a table.
    Listed,
}

impl Hosts {
    /// Those of the own `conninfo`.
    pub fn own(connectors: Vec<Connector>) -> Self {
        let servers = connectors.into_iter().map(Ok).collect();
        Self { servers, first: 0, whose: Whose::Own(None) }
    }

    /// Those of a row; an error stands for one that cannot be asked.
    pub fn listed(servers: Vec<Result<Connector, SourceError>>) -> Self {
        Self { servers, first: 0, whose: Whose::Listed }
    }

    /// Whether whoever answers must be asked when it was started.
    pub(crate) fn must_agree(&self) -> bool {
        matches!(self.whose, Whose::Own(_)) && self.servers.len() > 1
    }

    /// The connector of the first host.
    pub fn first(&self) -> Option<&Connector> {
        self.servers.first().and_then(|server| server.as_ref().ok())
    }

    /// What is said of a look that was dropped: who was silent, and at what.
    pub(crate) fn waited_for(&self) -> Option<String> {
        let waited: Vec<_> =
            self.servers.iter().flatten().filter_map(Connector::waited_for).collect();
        (!waited.is_empty()).then(|| waited.join("; "))
    }

    /// Asks at the hosts until somebody answers at one of them.
    ///
    /// # Errors
    /// What stands in the way at the host that was reached; else the failure that counts: a refusal is evidence
    /// only where no host leaves a doubt. `None` where there is no host.
    pub async fn ask<T: Send>(
        &mut self,
        ask: impl for<'c> Fn(&'c mut Connector) -> BoxFuture<'c, Result<Answered<T>, SourceError>>
        + Send
        + Sync,
    ) -> Result<T, Option<SourceError>> {
        let Self { servers, first, whose } = self;
        let own = matches!(whose, Whose::Own(_));
        let (count, start) = (servers.len(), if own { 0 } else { *first });
        let several = count > 1;
        servers.iter().flatten().for_each(Connector::begin);
        let dialers: Vec<Option<Dialer>> = servers
            .iter()
            .map(|server| server.as_ref().ok().map(|server| server.dialer.clone()))
            .collect();
        let alone_for = dialers.iter().flatten().next().map_or(Duration::ZERO, Dialer::alone);
        let mut untried: Vec<_> = servers.iter_mut().enumerate().collect();
        untried.rotate_left(start.min(count));
        let mut untried = untried.into_iter();
        let (mut trying, mut failures) = (FuturesUnordered::new(), Failures::default());
        let mut alone = std::pin::pin!(sleep(alone_for));
        let mut next = true;
        loop {
            if next && let Some((at, server)) = untried.next() {
                // One at which a look hangs until it is dropped is asked last by the next one.
                *first = (at + 1) % count;
                let ask = &ask;
                trying.push(async move {
                    match server {
                        Ok(server) => (at, ask(server).await),
                        Err(error) => (at, Err(error.clone())),
                    }
                });
            }
            alone.set(sleep(alone_for));
            let (at, answered) = tokio::select! {
                biased;
                Some(ended) = trying.next() => ended,
                () = &mut alone, if untried.len() > 0 => {
                    // Who is slow to answer has been reached, and is no dead address.
                    next = !dialers.iter().flatten().any(Dialer::is_reached);
                    continue;
                }
                else => return Err(failures.counts()),
            };
            next = true;
            match answered {
                Ok(answered) if !several || whose.agrees(at, answered.started) => {
                    *first = at;
                    return Ok(answered.what);
                }
                Ok(_) => failures.other_server = true,
                Err(error) if is_nobody(error.kind) => failures.nobody.push(error),
                // Whoever says no there may be another server: only the first host says which one is meant.
                Err(error) if own && at > 0 => failures.nobody.push(error),
                Err(error) => return Err(Some(error)),
            }
            // It is no reason any more to wait with the next one.
            dialers[at].iter().for_each(Dialer::forget);
        }
    }
}

impl Whose {
    /// Whether the server at this host of the list, which was started then, is the one that is meant.
    fn agrees(&mut self, at: usize, started: Option<i64>) -> bool {
        match self {
            Self::Listed => true,
            Self::Own(known) if at == 0 => {
                *known = started;
                true
            }
            Self::Own(known) => started.is_some() && *known == started,
        }
    }
}

/// Why no host gave an answer that counts.
#[derive(Default)]
struct Failures {
    nobody: Vec<SourceError>,
    other_server: bool,
}

impl Failures {
    fn counts(self) -> Option<SourceError> {
        let other = "another host of `conninfo` leads to a server, and the first host has not \
                     shown that it is the same one";
        let doubt = self.nobody.iter().find(|error| !error.kind.is_contrary());
        match (doubt.or(self.nobody.first()), self.other_server) {
            // It may be the server that is meant, started again: then it is not gone.
            (Some(error), true) if doubt.is_none() => {
                Some(SourceError::new(ErrorKind::OtherServer, format_args!("{error}; {other}")))
            }
            (Some(error), true) => {
                let both = format_args!("{error}; {other}");
                Some(SourceError::new(error.kind, both))
            }
            (Some(error), false) => Some(error.clone()),
            (None, true) => Some(SourceError::new(ErrorKind::OtherServer, other)),
            (None, false) => None,
        }
    }
}

/// Whether nobody was reached, so that another host may fare better.
fn is_nobody(kind: ErrorKind) -> bool {
    use ErrorKind::{Credential, ServerDown, Tls, Unreachable, Unresolved};
    matches!(kind, ServerDown | Unreachable | Unresolved | Tls | Credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_host_says_which_server_is_meant() {
        let mut own = Whose::Own(None);
        assert!(!own.agrees(1, Some(7)), "nobody has said which one it is");
        assert!(own.agrees(0, Some(7)) && own.agrees(1, Some(7)));
        assert!(!own.agrees(2, Some(8)), "another server");
        assert!(!own.agrees(1, None));
        assert!(own.agrees(0, Some(9)) && !own.agrees(1, Some(7)) && own.agrees(1, Some(9)));
        assert!(Whose::Listed.agrees(1, None));
    }

    #[test]
    fn a_refusal_counts_only_where_no_host_leaves_a_doubt() {
        let error = |kind: ErrorKind| SourceError::new(kind, kind.label());
        let counts = |kinds: &[ErrorKind], other_server| {
            let nobody = kinds.iter().map(|kind| error(*kind)).collect();
            Failures { nobody, other_server }.counts().map(|error| error.kind)
        };
        let (down, unreachable) = (ErrorKind::ServerDown, ErrorKind::Unreachable);
        assert_eq!(counts(&[], false), None);
        assert_eq!(counts(&[down, down], false), Some(down));
        assert_eq!(counts(&[down, unreachable], false), Some(unreachable));
        // A server that lives is no evidence that the one that is meant does not: it may be that one, started again.
        assert_eq!(counts(&[down], true), Some(ErrorKind::OtherServer));
        assert_eq!(counts(&[down, unreachable], true), Some(unreachable));
        assert_eq!(counts(&[], true), Some(ErrorKind::OtherServer));
    }
}
