//! The places where a node's role can be learned: one file or folder for each kind, and what they share.
//!
//! A source looks once and says what it saw ([`role_source`]). Rhythm, deadline, retry and policy belong to the poller
//! and the verdict. This file is the registry of those who look; docs/sources.md adds one step by step.

pub mod command;
mod dial;
pub mod fixed;
pub mod members;
pub mod passfile;
pub mod patroni;
pub mod pg;
pub mod pg_auto_failover;
pub mod postgres;
pub mod release;
pub mod releasing;
pub mod repmgr;
pub mod resolve;
pub mod role_source;
mod stage;
pub mod tcp;
pub mod tcp_port;
pub mod tls;
mod web;

use std::fs::File;
use std::io;
use std::path::Path;

use crate::config::{self, Kind};
use crate::host::failure::{Exit, Failure};
use crate::look::error::SourceError;
use crate::source::resolve::Resolver;
pub use crate::source::role_source::{RoleSource, Source};

impl Source {
    /// Makes the source ready to look; looks at nothing yet.
    ///
    /// # Errors
    /// A certificate file cannot be read, or a URL is not one.
    pub fn new(source: &config::Source, resolver: &Resolver) -> Result<Self, Failure> {
        made(source, resolver.for_source()).map_err(|Unusable { what, hint }| {
            let kind = source.kind.as_str();
            let failure = Failure::new(Exit::Config, format_args!("source of kind {kind}: {what}"));
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })
    }
}

/// The source of each kind.
fn made(source: &config::Source, resolver: Resolver) -> Result<Source, Unusable> {
    let timeout = source.timeout;
    Ok(match &source.kind {
        Kind::Patroni(keys) => Source::of(patroni::Patroni::new(keys, resolver)?.within(timeout)),
        Kind::Repmgr(keys) => Source::of(repmgr::Repmgr::new(keys, timeout, resolver)?),
        Kind::PgAutoFailover(keys) => {
            Source::of(pg_auto_failover::PgAutoFailover::new(keys, source, resolver)?)
        }
        Kind::Postgres(keys) => Source::of(postgres::Postgres::new(keys, timeout, resolver)?),
        Kind::Tcp(keys) => Source::of(tcp::Tcp::new(keys, resolver)),
        Kind::Command(keys) => Source::of(command::Command::new(keys.argv.clone())),
        Kind::Static(keys) => Source::of(fixed::Fixed(keys.role)),
    })
}

/// Why a source cannot look at all.
struct Unusable {
    what: String,
    hint: Option<&'static str>,
}

impl From<SourceError> for Unusable {
    fn from(error: SourceError) -> Self {
        Self { what: error.to_string(), hint: Some(error.kind.hint()) }
    }
}

impl From<patroni::BadUrl> for Unusable {
    fn from(error: patroni::BadUrl) -> Self {
        Self { what: error.to_string(), hint: None }
    }
}

/// The key of a source that systemd shows to the daemon alone, and so not to this process. The
/// credentials of a unit are hidden from what `ExecReload=` starts (systemd 252 and 257).
pub(crate) fn shown_to_the_daemon_alone(source: &config::Source) -> Option<&Path> {
    let key = source.kind.settings().client_certificate()?.key.as_path();
    let denied = || File::open(key).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
    (key.starts_with("/run/credentials") && denied()).then_some(key)
}
