//! The host's clocks since its boot, which ages are measured by. (Its wall clock cannot be set for one process alone,
//! and no age is measured by it.)

use super::{Host, has_its_own_time, is_root};
use crate::fixtures::programs::missing;

/// Ten years, in seconds.
const LONG_UP: u64 = 315_360_000;

/// A line that starts it where the host has been up for ten years.
fn ten_years_up() -> String {
    format!("exec unshare --time --boottime {LONG_UP} --monotonic {LONG_UP} PROGRAM \"$@\"")
}

/// Whether it does not, which is then said.
fn lacks_time(host: &Host) -> bool {
    let lacks = !has_its_own_time(host);
    if lacks {
        missing("time namespaces that exec enters (Linux 6.3)");
    }
    lacks
}

#[test]
fn a_host_that_has_been_up_for_ten_years_is_like_any_other() {
    if !is_root() {
        return missing("root, for time namespaces");
    }
    let name = "a_host_that_has_been_up_for_ten_years_is_like_any_other";
    let host = Host::by(name, &ten_years_up());
    if !lacks_time(&host) {
        host.stays_ready();
        host.obeys();
    }
}

/// As after a boot, or where a machine is put back to a snapshot: what is in its folders was written at a moment
/// that is still to come.
#[test]
fn a_clock_that_is_behind_what_was_written_makes_nothing_wrong() {
    if !is_root() {
        return missing("root, for time namespaces");
    }
    let name = "a_clock_that_is_behind_what_was_written_makes_nothing_wrong";
    moved(
        name,
        &format!("if [ -e RUN/was ]; then exec PROGRAM \"$@\"; fi; : >RUN/was; {}", ten_years_up()),
        0,
    );
}

/// The other way round: all that was written is ten years old.
#[test]
fn a_clock_that_is_far_ahead_of_what_was_written_makes_nothing_wrong() {
    if !is_root() {
        return missing("root, for time namespaces");
    }
    let name = "a_clock_that_is_far_ahead_of_what_was_written_makes_nothing_wrong";
    moved(
        name,
        &format!(
            "if [ ! -e RUN/was ]; then : >RUN/was; exec PROGRAM \"$@\"; fi; {}",
            ten_years_up()
        ),
        1,
    );
}

/// Starts it twice, with an order between; the `other`th start has a time of its own.
fn moved(name: &'static str, line: &str, other: usize) {
    let mut host = Host::by(name, line);
    if other == 0 && lacks_time(&host) {
        return;
    }
    host.obeys();
    assert!(host.command(&["maint", "all", "--for", "1h"]).status.success());
    host.says("MAINT");
    host.rolecall.restart();
    if other == 1 && lacks_time(&host) {
        return;
    }
    // By this clock the order may have ended, and what has ended cannot be taken back.
    host.command(&["auto", "all"]);
    host.is_ready();
    host.stays_ready();
    host.obeys();
}
