//! A model of repmgr's clusters, walked through by the rule that rolecall answers by.
//!
//! `cargo test` plays a share of it, `make test` all: a hole that is put back must be found either way.

mod answers;
mod cases;
mod cluster;
mod faults;
mod file;
mod gate;
mod holes;
mod network;
mod oracle;
mod play;
mod process;
mod proxy;
mod reference;
mod repmgr;
mod repmgrd;
mod rng;
mod script;
mod sim;
mod steps;
mod text;
mod timed;
mod timed_cases;
mod walk;
mod walks;

/// Of what is played many times, `cargo test` plays one in so many.
const SHARE: u64 = 40;

/// Whether all of it is played, as by `make test`, which builds the library and this model for speed. Without
/// that it would take a quarter of an hour, and `cargo test` plays a share.
fn whole() -> bool {
    std::env::var_os("ROLECALL_MODEL").is_some_and(|part| part == "whole")
}

/// So many, or the share of them.
fn share(of: u64) -> u64 {
    if whole() { of } else { of.div_ceil(SHARE) }
}
