//! Whether a leader is to be held for longer than Patroni's lock lives, where Patroni can be asked.

use std::time::Duration;

use tokio::time::timeout;

use crate::config::{Config, Node, Source as Configured};
use crate::look::error::{ErrorKind, SourceError};
use crate::look::measure;
use crate::look::patroni::Times;
use crate::source::resolve::Resolver;
use crate::source::{RoleSource as _, Source};
use crate::verdict::lock::Cut;

/// Longest wait for one Patroni: who checks a file waits for it.
const WITHIN: Duration = Duration::from_secs(1);

pub use crate::source::patroni::TIMES_HINT as HINT;

/// What was found out by asking the Patronis of a configuration. One that does not answer is passed over:
/// it may be stopped while a file is checked.
#[derive(Default)]
pub struct Found {
    /// What is wrong with the `hold` of a source or service for primaries.
    pub held_too_long: Vec<String>,
    /// Which Patroni answered, and did not say its times, in words for a warning.
    pub unknown: Vec<String>,
}

/// Asks every Patroni of a configuration for its times.
pub async fn ask(config: &Config) -> Found {
    let mut found = Found::default();
    for node in &config.nodes {
        for (at, source) in node.sources.iter().enumerate() {
            match times(source).await {
                Some(Ok(times)) => found.held_too_long.extend(of_source(config, node, at, times)),
                Some(Err(error)) if answered(error.kind) => found.unknown.push(format!(
                    "rolecall could not read ttl, loop_wait and retry_timeout from the Patroni of \
                     node {}, so it assumes the shortest times that Patroni allows: {error}",
                    node.name
                )),
                Some(Err(_)) | None => {}
            }
        }
    }
    found
}

/// Whether somebody answered, who will not answer otherwise by himself.
fn answered(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Status | ErrorKind::Malformed | ErrorKind::TooLong)
}

async fn times(source: &Configured) -> Option<Result<Times, SourceError>> {
    source.kind.settings().lock_url()?;
    let mut asked = Source::new(source, &Resolver::system()).ok()?;
    timeout(WITHIN, asked.lock_times()).await.ok()?
}

fn of_source(config: &Config, node: &Node, at: usize, times: Times) -> Vec<String> {
    let cuts = config.services.iter().filter_map(|service| {
        let policy = service.policy(node);
        Cut::of(&service.name.as_str().into(), &policy, policy.trust.get(at)?, times)
    });
    let said = cuts.map(|cut| {
        format!(
            "service {} of node {}: {cut}\n  expected: a `hold` of at most {}\n  hint: remove \
             `hold` from rolecall's configuration, or raise ttl in Patroni's",
            cut.service,
            node.name,
            measure::time(cut.most)
        )
    });
    said.collect()
}
