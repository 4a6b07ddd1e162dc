//! The decision: what was seen, how it is to be trusted, and the present moment in; one verdict out.
//!
//! Begin at [`decide`]: it judges a node by all its sources. What one source means is asked of the rules
//! beside it: rule R ([`quorum`]), rule M ([`monitor`]), Patroni's lock ([`lock`]), lag ([`lag`]), a standby's fitness ([`standby`]).
//! Pure and total: it names `look` alone, no I/O, no runtime, no clock.

pub mod decide;
pub mod failover;
pub mod finding;
mod fold;
pub mod handover;
mod hint;
pub mod lag;
pub mod last_word;
pub mod lock;
pub mod monitor;
pub mod order;
pub mod policy;
pub mod pool;
pub mod quorum;
pub mod reason;
pub mod standby;
pub mod standing;
pub mod state;
pub mod trust;
pub mod vote;
