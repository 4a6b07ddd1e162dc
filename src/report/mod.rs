//! What people and programs are told beside HAProxy: the log of changes ([`announced`]), the counters and
//! metrics ([`metrics`]), `/status` ([`status`], [`asked`]), when READY was last said ([`spoken`]), and the
//! read handle of all doors ([`view`]).
//!
//! It reads the published facts and writes none; it opens no socket.

pub mod announced;
pub mod asked;
pub mod metrics;
pub mod spoken;
pub mod status;
pub mod view;
