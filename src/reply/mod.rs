//! Everything of an answer that needs no socket: the words of the agent protocol ([`grammar`]), how a verdict
//! is said in them ([`wording`]), which node and service a port is asked about ([`routes`]), and the memory of
//! who asked ([`asks`], [`strays`]).
//!
//! Pure: it names `look` and `verdict`, no I/O, no runtime, no clock.

pub mod asks;
pub mod grammar;
pub mod routes;
pub mod strays;
pub mod wording;
