# rolecall: `make demo` shows it, `make test` proves it. Both install what they need on Debian 12 and
# 13 and say what; with that present they need no root.

.PHONY: help demo test test-all sim bench bench-flip

help:
	@echo "make demo        a repmgr cluster, rolecall and HAProxy through a failover and what follows, live"
	@echo "                 SOURCE=postgres: two PostgreSQL servers alone"
	@echo "make test        everything that must hold before a change goes in"
	@echo "make test-all    also HAProxy's newest releases, many repeats and more random cases"
	@echo "make sim         repmgr clusters simulated for many more seeds: SEEDS=100000"
	@echo "make bench       what a check costs"
	@echo "make bench-flip  how long clients wait for the new primary"

demo:
	tests/tools/install.sh demo
	cargo build --release --locked --bin rolecall --example demo
	target/release/examples/demo

# ROLECALL_REQUIRE_SYSTEM=1: a test that finds its program missing fails instead of being skipped.
test:
	tests/tools/install.sh test
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	ROLECALL_REQUIRE_SYSTEM=1 cargo test --locked
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

REPEATS = 5

test-all: test
	tests/tools/install.sh test-all
	PROPTEST_CASES=20000 cargo test --locked --lib
	for run in $$(seq $(REPEATS)); do \
		ROLECALL_REQUIRE_SYSTEM=1 cargo test --locked --test system || exit 1; \
	done
	ROLECALL_ALL=1 cargo test --locked --test repmgr

SEEDS = 100000

sim:
	SIM_SEEDS=$(SEEDS) cargo test --locked --test repmgr_model timed -- --nocapture

bench:
	tests/tools/install.sh bench
	benches/run.sh

bench-flip:
	tests/tools/install.sh demo
	cargo build --release --locked --bin rolecall --example flip
	target/release/examples/flip
