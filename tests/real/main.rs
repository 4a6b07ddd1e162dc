//! One real program at a time, and what rolecall sees of it: PostgreSQL, repmgr's tables, PgBouncer, Patroni's
//! own reading of its times. Whole clusters are in tests/system, tests/repmgr and tests/patroni.

mod fence;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod nodes;
mod patroni_times;
mod pgbouncer;
mod server;
mod source_postgres;
mod source_repmgr;
mod source_tcp;
mod tls_matrix;
mod versions;
