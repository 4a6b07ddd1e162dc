//! What needs no program but rolecall itself, and no root: rules, protocols, keys, and the keeper with the clock held.
//!
//! One program, because each one costs a compilation of its own and a link of everything.

mod agent;
mod auto_failover;
mod bounds;
mod config;
mod dashboard;
mod example;
mod facts;
mod fence_rule;
mod layers;
mod lease;
mod links;
mod log_stalled;
mod looking;
mod manual;
mod messages;
mod order_rule;
mod patroni_answers;
mod patroni_port;
mod patroni_tls;
mod quorum;
mod reasons;
mod reply;
mod silent;
mod source_command;
mod source_patroni;
mod verdict;
mod verdict_port;
