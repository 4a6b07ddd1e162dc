//! What the table shows of one scenario.

use std::time::Duration;

use crate::fixtures::ledger::Strays;

/// One line of it.
#[derive(Debug)]
pub struct Line {
    pub name: String,
    pub who: String,
    pub none: Duration,
    pub two: Duration,
    /// Two READY, and both their servers took writes.
    pub two_writable: Duration,
    /// As HAProxy had its servers up.
    pub two_up: Duration,
    pub strays: Strays,
    pub lost: usize,
    pub taken: usize,
    /// For how long none and two were the primary by the usual check, as it is written and with
    /// the role's word of 4.x added.
    pub usual: (Duration, Duration),
    pub mended: (Duration, Duration),
    /// What else a scenario counted.
    pub note: String,
}

/// What stands above the lines.
pub const HEAD: &str = "\
two, none: seconds with two READY, with nobody READY. 2w: two READY and both take writes. up: seconds
with two servers up in HAProxy. wrong: rows taken through HAProxy after another node, that took rows too,
had left recovery. beside: as wrong, but that node never took a row. lost: taken, and not on the leader of
the end (replication is asynchronous). U2, U0: seconds with two and with no yes by the usual check
(`role == \"master\"`, status ignored, no timeout); M2, M0: the same once it knows the word `primary`.
READY: node FROM..TO in seconds after the fault.

scenario                                 two    2w  none    up wrong beside  lost  rows    U2    U0    M2    M0  READY";

impl Line {
    /// The line as it stands in the table.
    pub fn text(&self) -> String {
        let s = |d: Duration| d.as_secs_f64();
        format!(
            "{:<39}{:>5.2}{:>6.2}{:>6.1}{:>6.2}{:>6}{:>7}{:>6}{:>6}{:>6.1}{:>6.1}{:>6.1}{:>6.1}  {}{}",
            self.name,
            s(self.two),
            s(self.two_writable),
            s(self.none),
            s(self.two_up),
            self.strays.wrong,
            self.strays.beside,
            self.lost,
            self.taken,
            s(self.usual.1),
            s(self.usual.0),
            s(self.mended.1),
            s(self.mended.0),
            self.who,
            self.note
        )
    }
}
