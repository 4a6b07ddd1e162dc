//! Whatever others do to it, a healthy node stays READY: what broke release 0.1.0, and its like.
//!
//! A program of its own: the attacks take whatever CPU there is, and beside them nobody else is to measure
//! time. `ROLECALL_PROGRAM` names another rolecall to be tried; each case says its figures on one line.

mod dns;
mod doors;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod host;
mod keys;
mod meanwhile;
mod operators;
mod rows;
#[allow(dead_code, reason = "the soak uses the rest of it")]
mod servers;
mod sources;
mod well;
