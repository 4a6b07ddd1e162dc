//! The places where a node's role can be learned.
//!
//! A source looks once and says what it saw. Rhythm, deadline, retry and policy belong to the
//! poller and the verdict, so a new source is one file here, its keys in the configuration, one
//! arm of the `match` that spawns it and one table of tests.

pub mod command;
pub mod conninfo;
pub mod fixed;
pub mod passfile;
pub mod patroni;
pub mod pg;
pub mod postgres;
pub mod resolve;
pub mod tls;

use std::future::Future;

use crate::observation::{Observation, SourceError};

/// One place where the role of a node can be learned.
pub trait RoleSource: Send + 'static {
    /// Its name in the configuration, in logs and as a metric label.
    const KIND: &'static str;

    /// Looks at one server once.
    ///
    /// No retry, rhythm, deadline or policy here. The poller drops the future when its time is up;
    /// whatever it held (sockets, children) must go with it, and the next call starts clean.
    fn observe(&mut self) -> impl Future<Output = Result<Observation, SourceError>> + Send;
}
