//! What the table shows of one scenario.

use std::time::Duration;

/// One line of it.
#[derive(Debug)]
pub struct Line {
    pub name: &'static str,
    pub who: String,
    pub none: Duration,
    pub two: Duration,
    /// As HAProxy had its servers up.
    pub two_up: Duration,
    pub lost: usize,
    pub taken: usize,
    /// From the first moment at which the monitor had the new primary as one to its READY.
    pub ready_after: Option<Duration>,
    /// Two nodes out of recovery.
    pub advice_two: Duration,
    /// `get_primary()` named a node that did not take writes.
    pub advice_wrong: Duration,
}

/// What stands above the lines.
pub const HEAD: &str = "\
two, none: seconds with two READY, with nobody READY. up: seconds with two servers up in HAProxy.
lost: rows that a node took and that the primary of the end does not have, which is the rows on a wrong node.
after: seconds from the moment when the monitor first had the new primary as wait_primary, by both states, to READY.
A1: seconds with two nodes not in recovery. A2: seconds in which get_primary() named a node that took no writes.
READY: node FROM..TO in seconds after the fault.

scenario                            two  none    up  lost  rows after    A1    A2  READY";

impl Line {
    /// The line as it stands in the table.
    pub fn text(&self) -> String {
        let s = |d: Duration| d.as_secs_f64();
        let after = self.ready_after.map_or("-".to_owned(), |after| format!("{:.2}", s(after)));
        format!(
            "{:<34}{:>5.2}{:>6.1}{:>6.2}{:>6}{:>6}{:>6}{:>6.1}{:>6.1}  {}",
            self.name,
            s(self.two),
            s(self.none),
            s(self.two_up),
            self.lost,
            self.taken,
            after,
            s(self.advice_two),
            s(self.advice_wrong),
            self.who
        )
    }
}
