//! Whether a leader would be held for longer than Patroni's lock lives, where Patroni can be asked.

use std::time::Duration;

use humantime::format_duration;
use tokio::time::timeout;

use crate::config::{Config, Kind, Node, Source};
use crate::role::Role;
use crate::source::patroni::Patroni;
use crate::source::resolve::Resolver;

/// Longest wait for one Patroni: who checks a file waits for it.
const WITHIN: Duration = Duration::from_secs(1);

/// What is wrong with the `hold` of every source and service for primaries, by the times that Patroni
/// has now. A Patroni that does not answer is passed over: nothing is known then.
pub async fn held_too_long(config: &Config) -> Vec<String> {
    let mut wrong = Vec::new();
    for node in &config.nodes {
        for source in &node.sources {
            if let Some(span) = span(source).await {
                wrong.extend(of_source(config, node, source, span));
            }
        }
    }
    wrong
}

async fn span(source: &Source) -> Option<Duration> {
    let Kind::Patroni(patroni) = &source.kind else { return None };
    let mut asked = Patroni::new(patroni, source.hold, Resolver::system()).ok()?;
    let times = timeout(WITHIN, asked.ask_times()).await.ok()?.ok()?;
    Some(times.span())
}

fn of_source(config: &Config, node: &Node, source: &Source, span: Duration) -> Vec<String> {
    let Kind::Patroni(patroni) = &source.kind else { return Vec::new() };
    let primaries = config.services.iter().filter(|service| service.roles.contains(&Role::Primary));
    let held = primaries.map(|service| (&service.name, service.hold.unwrap_or(source.hold)));
    let over = held.filter(|(_, hold)| !hold.is_zero() && *hold + patroni.beside >= span);
    let most = span.saturating_sub(patroni.beside + Duration::from_millis(1));
    over.map(|(service, hold)| {
        format!(
            "service {service} of {}: hold is {}, and with timeout, interval and agent_inter {}: not less \
             than Patroni's ttl - loop_wait - retry_timeout, {}\n  expected: hold of at most {}\n  hint: \
             lower `hold`, or raise ttl in Patroni's configuration",
            node.name,
            format_duration(hold),
            format_duration(hold + patroni.beside),
            format_duration(span),
            format_duration(most)
        )
    })
    .collect()
}
