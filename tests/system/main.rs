//! rolecall, HAProxy and PostgreSQL together, as they stand in production.

mod failover;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod ground;
mod operators;
mod pair;
mod process;
mod reloads;
mod restarts;
mod shipped_cfg;
mod wake;
