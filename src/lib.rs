//! rolecall answers HAProxy's `agent-check` with the role of a PostgreSQL node.
//!
//! One value goes one straight way:
//!
//! ```text
//! source      one look at one server               source::RoleSource::observe
//!   poller    rhythm and deadline                  poller::run
//!   keeper    the only writer of the facts         keeper::Keeper
//!   facts     what was seen, and when              snapshot::Facts
//!   verdict   pure and total                       verdict::decide
//!   reply     the bytes of the agent protocol      reply::Wording::line
//! agent       one line for every connection        agent::Port::serve
//! ```
//!
//! Facts are cached, answers are not: a verdict is made when somebody asks, so a source that hangs
//! cannot leave an old READY behind. `role`, `observation`, `reason`, `snapshot`, `policy`,
//! `verdict` and `reply` are pure: no I/O, no runtime, no clock. `daemon` is the only file that
//! knows every other, and only `cli` imports it.
//!
//! The library's interface is the program's own and promises nothing to other crates.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod agent;
pub mod announced;
pub mod answering;
pub mod ask;
pub mod asking;
pub mod asks;
pub mod awake;
mod beside;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod descriptors;
pub mod desk;
pub mod document;
pub mod electorate;
pub mod exposure;
pub mod failover;
pub mod failure;
pub mod fence;
pub mod fencing;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod grammar;
pub mod handover;
pub mod haproxy;
pub mod http;
pub mod keeper;
pub mod lag;
pub mod last_word;
pub mod lease;
pub mod lock;
pub mod log_queue;
pub mod logging;
pub mod manual;
pub mod members;
pub mod metrics;
pub mod observation;
pub mod old_worker;
pub mod order;
pub mod order_book;
pub mod order_file;
pub mod overview;
pub mod own_address;
pub mod own_file;
mod patience;
mod patroni_times;
pub mod places;
pub mod plan;
pub mod poke;
pub mod policy;
pub mod poller;
pub mod ports;
pub mod question;
pub mod quorum;
pub mod reason;
pub mod record;
pub mod release;
pub mod releasing;
pub mod reply;
pub mod role;
pub mod schema;
mod schema_fence;
mod schema_node;
mod schema_repmgr;
mod schema_service;
mod schema_source;
pub mod secret;
pub mod seldom;
mod shutdown;
pub mod snapshot;
pub mod sockets;
pub mod source;
pub mod spoken;
pub mod standby;
pub mod standing;
pub mod status;
pub mod strays;
pub mod systemd;
pub mod text;
pub mod units;
pub mod unix_socket;
pub mod verdict;
pub mod vote;
pub mod warning;
pub mod watched;

// The tests in tests/ name this crate as everybody else does. Two lines of `cfg` each: cargo-mutants
// knows the plain `cfg(test)` alone.
#[cfg(test)]
#[cfg(mutants)]
extern crate self as rolecall;
#[cfg(test)]
#[cfg(mutants)]
#[path = "../tests/mutants/mod.rs"]
mod mutants;
