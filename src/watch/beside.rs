//! Whether a place is this host itself.
//!
//! What ends sessions must not rest on a name alone: a source that looks at another node would have
//! the sessions of this one ended for what that one is.

use std::net::IpAddr;

use crate::config::Source;
use crate::config::kind::settings::At;
use crate::host::own_address::is_here;
use crate::look::error::{ErrorKind, SourceError};
use crate::look::place::Place;
use crate::source::resolve::Resolver;

/// Checks that a source looks at this host. A program and a fixed role are about the host that they
/// are on.
///
/// # Errors
/// [`ErrorKind::Elsewhere`] where it does not, [`ErrorKind::Unresolved`] where that cannot be known.
pub(crate) async fn of_source(source: &Source, resolver: &Resolver) -> Result<(), SourceError> {
    match source.kind.settings().at() {
        At::Here => Ok(()),
        At::Server(place) => of_place(place, resolver).await,
        At::Host(host) => of_host(&host, resolver).await,
    }
}

/// Checks that a server is on this host. Errors as [`of_source`].
pub(crate) async fn of_place(place: &Place, resolver: &Resolver) -> Result<(), SourceError> {
    if place.socket_dir().is_some() {
        return Ok(());
    }
    match place.hostaddr {
        Some(addr) => of_address(addr),
        None => of_host(place.name(), resolver).await,
    }
}

async fn of_host(host: &str, resolver: &Resolver) -> Result<(), SourceError> {
    match host.parse() {
        Ok(addr) => of_address(addr),
        // Each of them may be the one that is asked.
        Err(_) => resolver.lookup(host).await?.into_iter().try_for_each(of_address),
    }
}

fn of_address(addr: IpAddr) -> Result<(), SourceError> {
    if is_here(addr) {
        return Ok(());
    }
    Err(SourceError::new(
        ErrorKind::Elsewhere,
        format_args!("{addr} is not an address of this host"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Kind, Patroni};
    use std::time::Duration;

    #[tokio::test]
    async fn a_source_elsewhere_is_found_out() {
        let resolver = Resolver::with(|host| match host {
            "own" => Ok(vec!["127.0.0.1".parse().unwrap()]),
            "both" => Ok(vec!["127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap()]),
            _ => Err(std::io::Error::other("no such name")),
        });
        let place = |text: &str| text.parse::<crate::config::conninfo::Conninfo>().unwrap().place;
        let kind = |checked: Result<(), SourceError>| checked.err().map(|error| error.kind);
        for (conninfo, wrong) in [
            ("host=/run/postgresql", None),
            ("host=own", None),
            ("host=own hostaddr=192.0.2.1", Some(ErrorKind::Elsewhere)),
            ("host=both", Some(ErrorKind::Elsewhere)),
            ("host=nowhere", Some(ErrorKind::Unresolved)),
        ] {
            assert_eq!(kind(of_place(&place(conninfo), &resolver).await), wrong, "{conninfo}");
        }
        for (url, wrong) in [
            ("http://127.0.0.1:8008", None),
            ("https://[::1]:8008", None),
            ("http://own:8008", None),
            ("http://192.0.2.1:8008", Some(ErrorKind::Elsewhere)),
        ] {
            let zero = Duration::ZERO;
            let (interval, timeout, hold, beside) = (zero, zero, zero, zero);
            let kind_of = Kind::Patroni(Patroni::at(url));
            let source = Source {
                kind: kind_of,
                interval,
                timeout,
                hold,
                hold_chosen: false,
                beside,
                memory: beside,
            };
            assert_eq!(kind(of_source(&source, &resolver).await), wrong, "{url}");
        }
    }
}
