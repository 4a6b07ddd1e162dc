//! The places where a node's role can be learned.
//!
//! A source looks once and says what it saw. Rhythm, deadline, retry and policy belong to the
//! poller and the verdict, so a new source is one file or folder here, its keys in the configuration, its
//! arms in [`Source`] and one table of tests.

pub mod command;
mod dial;
pub mod fixed;
pub mod passfile;
pub mod patroni;
pub mod pg;
pub mod port;
pub mod postgres;
pub mod release;
pub mod releasing;
pub mod repmgr;
pub mod resolve;
pub mod tcp;
pub mod tls;
mod web;

use std::fs::File;
use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;

use crate::config::{self, Kind};
use crate::host::failure::{Exit, Failure};
use crate::look::error::SourceError;
use crate::look::observation::Observation;
use resolve::Resolver;

/// One place where the role of a node can be learned.
pub trait RoleSource: Send + 'static {
    /// Looks at one server once.
    ///
    /// No retry, rhythm, deadline or policy here. The poller drops the future when its time is up;
    /// whatever it held (sockets, children) must go with it, and the next call starts clean.
    fn observe(&mut self) -> impl Future<Output = Result<Observation, SourceError>> + Send;

    /// What may be done while no look is under way, such as asking for times that seldom change. The
    /// poller drops the future when the next look is due.
    fn between_looks(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// What a look was waiting for that was just dropped, where that is an address which has said nothing.
    fn waited_for(&self) -> Option<String> {
        None
    }

    /// Whether what the last look saw will be otherwise in a moment, so that the next one is worth while
    /// sooner. Whoever says it bounds for how long.
    fn expects_change(&self) -> bool {
        false
    }

    /// An operator had everything read again: what seldom changes is asked for anew, too.
    fn renew(&mut self) {}
}

/// A source of the kind that is configured.
pub enum Source {
    /// `kind = "patroni"`
    Patroni(Box<patroni::Patroni>),
    /// `kind = "repmgr"`
    Repmgr(Box<repmgr::Repmgr>),
    /// `kind = "postgres"`
    Postgres(Box<postgres::Postgres>),
    /// `kind = "tcp"`
    Tcp(tcp::Tcp),
    /// `kind = "command"`
    Command(command::Command),
    /// `kind = "static"`
    Static(fixed::Fixed),
}

impl Source {
    /// Makes the source ready to look; looks at nothing yet.
    ///
    /// # Errors
    /// A certificate file cannot be read, or a URL is not one.
    pub fn new(source: &config::Source, resolver: &Resolver) -> Result<Self, Failure> {
        let resolver = resolver.for_source();
        let unusable = |what: &dyn std::fmt::Display| {
            let kind = source.kind.as_str();
            Failure::new(Exit::Config, format_args!("source of kind {kind}: {what}"))
        };
        Ok(match &source.kind {
            Kind::Patroni(patroni) => {
                let patroni =
                    patroni::Patroni::new(patroni, resolver).map_err(|error| unusable(&error))?;
                Self::Patroni(Box::new(patroni.within(source.timeout)))
            }
            Kind::Repmgr(repmgr) => {
                let repmgr = repmgr::Repmgr::new(repmgr, source.timeout, resolver)
                    .map_err(|error| unusable(&error).hint(error.kind.hint()))?;
                Self::Repmgr(Box::new(repmgr))
            }
            Kind::Postgres(postgres) => {
                let postgres = postgres::Postgres::new(postgres, source.timeout, resolver)
                    .map_err(|error| unusable(&error).hint(error.kind.hint()))?;
                Self::Postgres(Box::new(postgres))
            }
            Kind::Tcp(tcp) => Self::Tcp(tcp::Tcp::new(tcp, resolver)),
            Kind::Command(command) => Self::Command(command::Command::new(command.argv.clone())),
            Kind::Static(fixed) => Self::Static(fixed::Fixed(fixed.role)),
        })
    }
}

/// The key of a source that systemd shows to the daemon alone, and so not to this process. The
/// credentials of a unit are hidden from what `ExecReload=` starts (systemd 252 and 257).
pub fn shown_to_the_daemon_alone(source: &config::Source) -> Option<&Path> {
    let key = source.kind.settings().client_certificate()?.key.as_path();
    let denied = || File::open(key).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    (key.starts_with("/run/credentials") && denied()).then_some(key)
}

impl RoleSource for Source {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        match self {
            Self::Patroni(source) => source.observe().await,
            Self::Repmgr(source) => source.observe().await,
            Self::Postgres(source) => source.observe().await,
            Self::Tcp(source) => source.observe().await,
            Self::Command(source) => source.observe().await,
            Self::Static(source) => source.observe().await,
        }
    }

    fn waited_for(&self) -> Option<String> {
        match self {
            Self::Patroni(source) => source.waited_for(),
            Self::Repmgr(source) => source.waited_for(),
            Self::Postgres(source) => source.waited_for(),
            Self::Command(_) | Self::Tcp(_) | Self::Static(_) => None,
        }
    }

    fn expects_change(&self) -> bool {
        match self {
            Self::Patroni(source) => source.expects_change(),
            _ => false,
        }
    }

    fn renew(&mut self) {
        if let Self::Patroni(source) = self {
            source.renew();
        }
    }

    async fn between_looks(&mut self) {
        if let Self::Patroni(source) = self {
            source.between_looks().await;
        }
    }
}
