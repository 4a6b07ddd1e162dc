//! A port of TCP: whether anybody listens there, and a connection to it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::net::TcpStream;

use crate::config::Address;
use crate::look::error::{ErrorKind, SourceError};
use crate::source::resolve::Resolver;

/// A port, and who knows the addresses of its host.
#[derive(Clone)]
pub struct Port {
    address: Address,
    resolver: Resolver,
}

impl Port {
    /// The port at `address`.
    pub fn new(address: Address, resolver: Resolver) -> Self {
        Self { address, resolver }
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// As [`Self::connect`], at the addresses that are known of a name now, so that no look-up delays what is
    /// to be seen; it is looked up for the next time.
    pub(crate) async fn connect_at_once(&self) -> Result<TcpStream, SourceError> {
        self.connect_to(self.resolver.glance(&self.address.host).await).await
    }

    /// Connects to whichever address of the host answers first. No deadline of its own.
    ///
    /// # Errors
    /// [`ErrorKind::PortRefused`] where every address refuses: one that is silent leaves a doubt. Else
    /// [`ErrorKind::Unreachable`], and [`ErrorKind::Unresolved`] where the name has no address.
    pub async fn connect(&self) -> Result<TcpStream, SourceError> {
        self.connect_to(self.resolver.lookup(&self.address.host).await?).await
    }

    async fn connect_to(&self, addresses: Vec<IpAddr>) -> Result<TcpStream, SourceError> {
        let dials = addresses.into_iter().map(async |ip| {
            let at = SocketAddr::new(ip, self.address.port);
            TcpStream::connect(at).await.map_err(|error| (at, error))
        });
        let mut dials: FuturesUnordered<_> = dials.collect();
        let mut failed: Option<SourceError> = None;
        while let Some(dialled) = dials.next().await {
            match dialled {
                Ok(stream) => return Ok(stream),
                Err((at, error)) => {
                    let named = self.address.host.parse() != Ok(at.ip());
                    let by = if named { format!("{at}: ") } else { String::new() };
                    let error = self.failed(kind(&error), format_args!("{by}{error}"));
                    if failed.as_ref().is_none_or(|f| f.kind == ErrorKind::PortRefused) {
                        failed = Some(error);
                    }
                }
            }
        }
        Err(failed.unwrap_or_else(|| self.failed(ErrorKind::Unresolved, "no address")))
    }

    /// A failure at this port.
    pub fn failed(&self, kind: ErrorKind, what: impl std::fmt::Display) -> SourceError {
        SourceError::new(kind, format_args!("{}: {what}", self.address))
    }
}

fn kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorKind::PortRefused,
        _ => ErrorKind::Unreachable,
    }
}
