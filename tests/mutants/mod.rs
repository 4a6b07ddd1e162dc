//! The quick tests of the decision, compiled into the library's own test: for `make mutants` alone, where
//! one crate to compile and one to link instead of eight makes a mutant three times as cheap.

#[path = "../fence_rule.rs"]
mod fence_rule;
#[path = "../lease.rs"]
mod lease;
#[path = "../looking/main.rs"]
mod looking;
#[path = "../order_rule.rs"]
mod order_rule;
#[path = "../quorum/main.rs"]
mod quorum;
#[path = "../reasons.rs"]
mod reasons;
#[path = "../verdict.rs"]
mod verdict;
#[path = "../verdict_port.rs"]
mod verdict_port;
