//! What people and programs are told beside HAProxy: the log of changes ([`announced`]), the counters and
//! metrics ([`metrics`]), `/status` ([`status`], [`asked`]) with the votes of a repmgr cluster ([`majority`]), the last
//! changes ([`history`]), both for a person's browser ([`page`]), when READY was last said ([`spoken`]), the orders
//! that stand ([`standing_orders`]), and the read handle of all doors ([`view`]).
//!
//! It reads the published facts and writes none; it opens no socket.

pub mod announced;
pub mod asked;
pub mod history;
pub mod majority;
pub mod metrics;
pub mod page;
pub mod spoken;
pub mod standing_orders;
pub mod status;
pub mod view;
