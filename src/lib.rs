//! rolecall answers HAProxy's `agent-check` with the role of a PostgreSQL node.
//!
//! One value goes one straight way, from a server to HAProxy; ARCHITECTURE.md follows it through the folders. Here they
//! stand in the order of who may name whom: each names only those above it, and of these only what its row in
//! `tests/unit/layers.rs` lists.
//!
//! * [`look`]: what one look at one server shows.
//! * [`verdict`]: what that means for a service, decided when somebody asks ([`verdict::decide::decide`]).
//! * [`reply`]: the bytes in which a verdict is said.
//! * [`facts`]: what is known of all nodes, published as one value.
//! * [`host`]: what the operating system gives: clock, sockets, users, files.
//! * [`config`]: what an operator wrote, after every check.
//! * [`source`]: who looks: one file or folder for each kind of source.
//! * [`report`]: what people and programs are told beside HAProxy: log, metrics, `/status`.
//! * [`watch`]: the rhythm of looking, and the keeper, the only writer of the facts.
//! * [`port`]: the sockets that say it.
//! * [`control`]: the operators' socket, and their orders.
//! * [`daemon`]: starts, reloads and ends all of these.
//! * [`cli`]: the command line.
//!
//! Facts are cached, answers are not: a verdict is made when somebody asks, so a source that hangs
//! cannot leave an old READY behind. `look`, `verdict`, `reply` and `facts` are pure: no I/O, no runtime, no
//! clock.
//!
//! The library's interface is the program's own and promises nothing to other crates.
#![forbid(unsafe_code)]

pub mod look;

pub mod verdict;

pub mod reply;

pub mod facts;

pub mod host;

pub mod config;

pub mod source;

pub mod report;

pub mod watch;

pub mod port;

pub mod control;

pub mod daemon;

pub mod cli;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

// The tests in tests/ name this crate as everybody else does. Two lines of `cfg` each: cargo-mutants
// knows the plain `cfg(test)` alone.
#[cfg(test)]
#[cfg(mutants)]
extern crate self as rolecall;
#[cfg(test)]
#[cfg(mutants)]
#[path = "../tests/mutants/mod.rs"]
mod mutants;
