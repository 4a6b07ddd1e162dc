//! What the table shows of one scenario.

use std::time::Duration;

use crate::fixtures::ledger::Strays;

/// One line of it.
#[derive(Debug)]
pub struct Line {
    pub name: &'static str,
    pub who: String,
    pub none: Duration,
    pub two: Duration,
    /// As HAProxy had its servers up.
    pub two_up: Duration,
    pub strays: Strays,
    pub lost: usize,
    pub taken: usize,
    pub own_row_two: Duration,
    pub not_in_recovery_two: Duration,
}

/// What stands above the lines.
pub const HEAD: &str = "\
two, none: seconds with two READY, with nobody READY. up: seconds with two servers up in HAProxy.
wrong: rows taken through HAProxy after another node, that took rows too, had left recovery.
beside: as wrong, but that node never took a row (a rogue promotion). lost: taken, and not on the
primary of the end (replication is asynchronous). N1, N2: seconds with two yes by `own row says
primary` and by `not in recovery`, the witness left out. READY: node FROM..TO in seconds after the fault.

scenario                          two  none    up wrong beside  lost  rows    N1    N2  READY";

impl Line {
    /// The line as it stands in the table.
    pub fn text(&self) -> String {
        let s = |d: Duration| d.as_secs_f64();
        format!(
            "{:<32}{:>5.2}{:>6.1}{:>6.2}{:>6}{:>7}{:>6}{:>6}{:>6.1}{:>6.1}  {}",
            self.name,
            s(self.two),
            s(self.none),
            s(self.two_up),
            self.strays.wrong,
            self.strays.beside,
            self.lost,
            self.taken,
            s(self.own_row_two),
            s(self.not_in_recovery_two),
            self.who
        )
    }
}
