//! rolecall, HAProxy and PostgreSQL together, as they stand in production.

#[path = "../fixtures/mod.rs"]
mod fixtures;
mod ground;
mod shipped_cfg;
