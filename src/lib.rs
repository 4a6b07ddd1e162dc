//! rolecall answers HAProxy's `agent-check` with the role of a PostgreSQL node.
#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
pub mod document;
pub mod grammar;
pub mod observation;
pub mod reply;
pub mod role;
pub mod schema;
mod schema_service;
mod schema_source;
pub mod secret;
pub mod snapshot;
pub mod source;
pub mod units;
pub mod verdict;
