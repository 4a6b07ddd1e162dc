//! The read handle that every door shares: what is known, what was said last and before, the clock, and the counters.

use tokio::sync::watch;

use crate::facts::Facts;
use crate::host::clock::Clock;
use crate::look::stamp::Stamp;
use crate::report::announced::Said;
use crate::report::history::History;
use crate::report::metrics::Metrics;
use crate::report::status::Status;

/// What the doors read; cheap to clone.
#[derive(Clone)]
pub struct View {
    /// What is known.
    pub facts: watch::Receiver<Facts>,
    /// What was last said.
    pub announced: watch::Receiver<Vec<Said>>,
    /// What was said before.
    pub history: History,
    /// The present moment.
    pub clock: Clock,
    /// What is counted here.
    pub counted: Metrics,
}

impl View {
    /// Everything that is known.
    pub fn status(&self, now: Stamp) -> Status {
        let announced = self.announced.borrow();
        let since = |node: &str, service: &str| {
            let mut said = announced.iter().flat_map(|said| &**said);
            said.find(|a| &*a.node == node && &*a.service == service).map(|a| a.since)
        };
        let (strays, fence) = (self.counted.strays.kept(), self.counted.fence.deeds());
        let refused = self.counted.refused_config.last();
        let orders = self.counted.orders.kept();
        Status::of(now, &self.facts.borrow(), strays, orders, fence, refused, since)
    }
}
