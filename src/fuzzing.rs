//! The door of the targets in fuzz/ to what is private; the program has nothing of it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;

use crate::look::error::SourceError;
use crate::look::observation::Observation;
use crate::look::stamp::Stamp;
use crate::verdict::order::Order;

pub use crate::source::patroni::{read_members, read_times};
pub use crate::source::pg::fuzzing as pg;
pub use crate::source::pg_auto_failover::fuzzing as pg_auto_failover;
pub use crate::source::repmgr::fuzzing as repmgr;

/// The orders that stand by the text of their file.
///
/// # Errors
/// It is damaged.
pub fn orders(text: &[u8], boot: &str, now: Stamp, wall: i64) -> std::io::Result<Vec<Arc<Order>>> {
    crate::control::order_file::read(text, boot, now, wall)
}

/// What a program said that ended with this code.
///
/// # Errors
/// As of a look at it.
pub fn command(code: u8, output: &[u8], complaint: &[u8]) -> Result<Observation, SourceError> {
    let status = ExitStatus::from_raw(i32::from(code) << 8);
    crate::source::command::read_answer(status, output, complaint)
}
