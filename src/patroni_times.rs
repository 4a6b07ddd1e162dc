//! Whether a leader would be held for longer than Patroni's lock lives, where Patroni can be asked.

use std::time::Duration;

use humantime::format_duration;
use tokio::time::timeout;

use crate::config::{Config, Kind, Node, Source};
use crate::lock::Cut;
use crate::source::patroni::Patroni;
use crate::source::resolve::Resolver;

/// Longest wait for one Patroni: who checks a file waits for it.
const WITHIN: Duration = Duration::from_secs(1);

/// What is wrong with the `hold` of every source and service for primaries, by the times that Patroni
/// has now. A Patroni that does not answer is passed over: nothing is known then.
pub async fn held_too_long(config: &Config) -> Vec<String> {
    let mut wrong = Vec::new();
    for node in &config.nodes {
        for (at, source) in node.sources.iter().enumerate() {
            if let Some(span) = span(source).await {
                wrong.extend(of_source(config, node, at, span));
            }
        }
    }
    wrong
}

async fn span(source: &Source) -> Option<Duration> {
    let Kind::Patroni(patroni) = &source.kind else { return None };
    let mut asked = Patroni::new(patroni, Resolver::system()).ok()?;
    let times = timeout(WITHIN, asked.ask_times()).await.ok()?.ok()?;
    Some(times.span())
}

fn of_source(config: &Config, node: &Node, at: usize, span: Duration) -> Vec<String> {
    let cuts = config.services.iter().filter_map(|service| {
        let policy = service.policy(node);
        Cut::of(&service.name.as_str().into(), &policy, policy.trust.get(at)?, span)
    });
    let said = cuts.map(|cut| {
        format!(
            "service {} of {}: {cut}\n  expected: hold of at most {}\n  hint: lower `hold`, or raise ttl \
             in Patroni's configuration",
            cut.service,
            node.name,
            format_duration(cut.most)
        )
    });
    said.collect()
}
