//! What one look at one server shows: its role, its position, what it says of its cluster, or why it said
//! nothing. No opinion, and no time but the moment at which the look began.
//!
//! Everything above is made of these values; nothing here names any other folder. Pure:
//! no I/O, no runtime, no clock.

pub mod auto_failover;
pub mod error;
pub mod kind;
pub mod lease;
pub mod measure;
pub mod observation;
pub mod patroni;
pub mod place;
pub mod release;
pub mod replica;
pub mod repmgr;
pub mod role;
pub mod snapshot;
pub mod stamp;
pub mod tags;
pub mod text;
