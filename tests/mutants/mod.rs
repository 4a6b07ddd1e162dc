//! The quick tests of the decision, compiled into the library's own test: for `make mutants` alone, where
//! one crate to compile and one to link instead of eight makes a mutant three times as cheap.

#[path = "../unit/facts.rs"]
mod facts;
#[path = "../unit/fence_rule.rs"]
mod fence_rule;
#[path = "../unit/lease/mod.rs"]
mod lease;
#[path = "../unit/looking/mod.rs"]
mod looking;
#[path = "../unit/order_rule.rs"]
mod order_rule;
#[path = "../unit/quorum/mod.rs"]
mod quorum;
#[path = "../unit/reasons.rs"]
mod reasons;
#[path = "../unit/verdict.rs"]
mod verdict;
#[path = "../unit/verdict_port.rs"]
mod verdict_port;
