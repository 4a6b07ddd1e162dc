//! The program as its operators and HAProxy meet it: its ports, its commands, its documents and its units.
//!
//! Almost nothing here needs another program. What does (HAProxy, Prometheus, systemd's own checks) says
//! that it is left out where that is missing.

mod agent_send;
mod ask_running;
mod dashboard;
mod doors;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod haproxy_command;
mod haproxy_side;
mod history;
mod http;
mod monitoring;
mod orders;
mod overview;
mod packaging;
mod page;
mod prometheus;
mod proof;
mod readme;
