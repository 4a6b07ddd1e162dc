# rolecall: `make demo` shows it, `make test` proves it. Both install what they need on Debian 12 and
# 13 and say what; with that present they need no root.

.PHONY: help demo test test-all test-versions fuzz mutants sim soak prove proof bench bench-flip bench-failover bench-patroni man docs package packaging-ground test-packaging release-check

help:
	@echo "make demo        a repmgr cluster, rolecall and HAProxy through a failover and what follows, live"
	@echo "                 SOURCE=postgres: two PostgreSQL servers alone"
	@echo "make test        everything that must hold before a change goes in"
	@echo "make test-all    also HAProxy's newest releases, many repeats and more random cases"
	@echo "make test-versions  a whole look at PostgreSQL 12 to 18, of which it fetches each"
	@echo "make mutants     changes the decision one place at a time: each change must fail a test; hours"
	@echo "                 MUTANTS=vote.rs: only what has this word in its name"
	@echo "make fuzz        gives random input to everything that reads what others write: SECONDS=300 for"
	@echo "                 each target, JOBS=2 at one time, TARGETS='http config' for these alone"
	@echo "make sim         repmgr clusters simulated for many more seeds: SEEDS=20000"
	@echo "make soak        every door attacked at once while a healthy primary must be READY: MINUTES=30"
	@echo "make prove       whatever befalls a cluster, by chance: HOURS=8 at most on repmgr and as many on Patroni, SEED=1"
	@echo "                 for the first one, CLUSTERS=1 at a time, KINDS='3 + witness' or KINDS='Patroni 4' alone; goes on"
	@echo "                 where an earlier run stood"
	@echo "                 FAULT='switchover' alone, TIMELINES=target/timelines draws each trial"
	@echo "make proof       writes docs/proof.md and docs/host-faults.md from the trials and from a run of the faults of a host"
	@echo "make package     .deb, .rpm and a static program, in target/packages"
	@echo "make test-packaging  installs, upgrades, hangs and purges them on booted Debian 12 and 13; root"
	@echo "make man         the manual pages anew, after a change of the command line"
	@echo "make docs        README.md and docs/ as a site, in target/site"
	@echo "make release-check   all that RELEASING.md leaves to a machine"
	@echo "make bench       what a check costs"
	@echo "make bench-flip  how long clients wait for the new primary"
	@echo "make bench-failover  the same in failovers of repmgr and Patroni: RUNS=10, OLD= and OLD_CFG= of"
	@echo "                 another release and its HAProxy file beside it, STORIES='kill -9, 3'"
	@echo "make bench-patroni  everything that befalls a Patroni cluster, beside Patroni's own HAProxy template:"
	@echo "                 RUNS=10 of each on VERSIONS='2.1.7 3.3.11 4.1.5', CLUSTERS=1 at a time, MINUTES=60 at most"

demo:
	tests/tools/install.sh demo
	cargo build --release --locked --bin rolecall --example demo
	target/release/examples/demo

# The whole of what tests/repmgr_model plays, with the library and the model itself built for speed: of the
# rest nothing is compiled a second time for it.
MODEL = ROLECALL_MODEL=whole cargo test --locked --config 'profile.test.package.rolecall.opt-level=2' \
	--test repmgr_model

# ROLECALL_REQUIRE_SYSTEM=1: a test that finds its program missing fails instead of being left out.
test:
	tests/tools/install.sh test
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --test packages -- -D warnings
	RUSTFLAGS="--cfg fuzzing" cargo check --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz-check
	ROLECALL_REQUIRE_SYSTEM=1 cargo test --locked
	$(MODEL)
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

REPEATS = 5

test-all: test
	tests/tools/install.sh test-all
	PROPTEST_CASES=20000 cargo test --locked --lib
	for run in $$(seq $(REPEATS)); do \
		ROLECALL_REQUIRE_SYSTEM=1 cargo test --locked --test system || exit 1; \
	done
	ROLECALL_ALL=1 ROLECALL_REQUIRE_SYSTEM=1 cargo test --locked --test haproxy
	ROLECALL_ALL=1 ROLECALL_REQUIRE_SYSTEM=1 cargo test --locked --test hostile host::
	ROLECALL_ALL=1 cargo test --locked --test repmgr
	ROLECALL_ALL=1 cargo test --locked --test pg_auto_failover
	ROLECALL_ALL=1 $(MODEL)
	ROLECALL_ALL=1 ROLECALL_REQUIRE_SYSTEM=1 cargo test --locked --test patroni
	ROLECALL_ALL=1 ROLECALL_REQUIRE_SYSTEM=1 cargo test --locked --test daemon prometheus::
	ROLECALL_ALL=1 ROLECALL_REQUIRE_SYSTEM=1 cargo test --locked --test real versions::
	$(RUN_MUTANTS) --exclude 'src/[!v]*/**' --exclude 'src/verdict/[!h]*.rs' --exclude 'src/verdict/*/**'
	$(MAKE) soak MINUTES=1
	SEED=1 JOBS=2 tests/tools/fuzz.sh 2

test-versions:
	tests/tools/install.sh test-versions
	ROLECALL_ALL=1 ROLECALL_REQUIRE_SYSTEM=1 cargo test --locked --test real versions::

# cargo-mutants takes a copy of the tree; what is compiled is kept beside it. One at a time: two would
# write into one folder. --re does not choose among changes of the kind `delete field` (27.1), which
# all come along; --exclude chooses among the files.
MUTANTS = .
RUN_MUTANTS = tests/tools/cargo-tools.sh cargo-mutants && PATH="$(CURDIR)/target/tools/bin:$$PATH" \
	CARGO_TARGET_DIR=$(CURDIR)/target/mutants PROPTEST_CASES=48 \
	cargo mutants --cargo-arg=--locked --jobs=1 --colors=never

mutants:
	$(RUN_MUTANTS) --re '$(MUTANTS)'

# Each target for so long; tests/tools/fuzz.sh says what else there is to choose.
SECONDS = 300
JOBS = 2
TARGETS =

fuzz:
	tests/tools/install.sh fuzz
	JOBS=$(JOBS) tests/tools/fuzz.sh $(SECONDS) $(TARGETS)

SEEDS = 20000

sim:
	SIM_SEEDS=$(SEEDS) $(MODEL) timed::never_two -- --nocapture

MINUTES = 30

# What else the machine does shows in the answers: its load is printed with them.
soak:
	tests/tools/install.sh test
	cargo build --release --locked --bin rolecall --example soak
	target/release/examples/soak $(MINUTES)

bench:
	tests/tools/install.sh bench
	benches/run.sh

bench-flip:
	tests/tools/install.sh demo
	cargo build --release --locked --bin rolecall --example flip
	target/release/examples/flip

RUNS = 10
BENCH_FAILOVER = ROLECALL_RUNS=$(RUNS) ROLECALL_PROGRAM=$(OLD) ROLECALL_REQUIRE_SYSTEM=1

# Another release: OLD=target/rolecall-0.1.0, and a folder with the files that it was shipped with,
# OLD_CFG=target/haproxy-0.1.0. Paths from the root on.
bench-failover:
	tests/tools/install.sh test
	$(BENCH_FAILOVER) ROLECALL_PROGRAM_CFG=$(OLD_CFG) \
		cargo test --release --locked --test repmgr --test patroni $(if $(STORIES),-- $(STORIES))

# A round of a version takes 6 minutes. Each is written down when it is done: one that was ended goes on
# where it stood. The table is ROUNDS with .md at its end.
VERSIONS = 2.1.7 3.3.11 4.1.5
CLUSTERS = 1
ROUNDS = target/patroni-rounds.jsonl
BENCH_PATRONI = ROLECALL_ROUNDS=$(RUNS) ROLECALL_VERSIONS="$(VERSIONS)" ROLECALL_CLUSTERS=$(CLUSTERS) \
	ROLECALL_ROUNDS_FILE=$(ROUNDS) ROLECALL_REQUIRE_SYSTEM=1

bench-patroni: MINUTES = 10000
bench-patroni:
	tests/tools/install.sh test-all
	$(BENCH_PATRONI) ROLECALL_MINUTES=$(MINUTES) \
		cargo test --release --locked --test patroni $(if $(STORIES),-- $(STORIES))

# Each trial is written down when it is over. The tables are PROOF with .md at its end. A new PROOF begins with the
# trials that are in the repository, and goes on from there.
HOURS = 8
SEED = 1
PROOF = target/prove.jsonl
KINDS =
FAULT =
TIMELINES =
TRIALS = tests/data/proof.jsonl

prove:
	tests/tools/install.sh test-all
	mkdir -p $(dir $(PROOF))
	test -e $(PROOF) || cp $(TRIALS) $(PROOF)
	ROLECALL_PROVE_MINUTES=$$(awk 'BEGIN { print int(60 * $(HOURS) + 0.5) }') ROLECALL_PROVE_SEED=$(SEED) \
		ROLECALL_PROVE_CLUSTERS=$(CLUSTERS) ROLECALL_PROVE_FILE=$(PROOF) ROLECALL_REQUIRE_SYSTEM=1 \
		ROLECALL_PROVE_FAULT='$(FAULT)' ROLECALL_TIMELINES=$(abspath $(TIMELINES)) \
		cargo test --release --locked --test repmgr --test patroni $(if $(KINDS),-- '$(KINDS)')

# Takes the trials of PROOF into the repository, and writes docs/proof.md and docs/host-faults.md.
proof:
	tests/tools/install.sh test
	test ! -e $(PROOF) || cp $(PROOF) $(TRIALS)
	ROLECALL_ALL=1 ROLECALL_WRITE_PROOF=1 ROLECALL_REQUIRE_SYSTEM=1 cargo test --locked --test hostile host::
	ROLECALL_WRITE_PROOF=1 cargo test --locked --test daemon proof::

man:
	ROLECALL_WRITE_MAN=1 cargo test --locked --test unit manual::

docs:
	tests/tools/cargo-tools.sh mdbook
	tests/tools/book.sh

package:
	tests/tools/install.sh package
	tests/tools/cargo-tools.sh cargo-deb cargo-generate-rpm
	packaging/build.sh

BOOTED = systemd systemd-sysv dbus libnss-systemd iproute2 procps rpm postgresql

# What machine and network must give: where this fails, nothing can be said of the packages.
packaging-ground:
	tests/tools/install.sh test-packaging
	tests/tools/cargo-tools.sh cargo-deb cargo-generate-rpm
	tests/tools/musl-target.sh
	tests/tools/debian-tree.sh bookworm target/trees/bookworm $(BOOTED)
	tests/tools/debian-tree.sh trixie target/trees/trixie $(BOOTED)
	tests/tools/debian-tree.sh bullseye target/trees/bullseye
	tests/tools/can-boot.sh target/trees/bookworm

test-packaging: packaging-ground package
	lintian --fail-on error,warning target/packages/*.deb
	cargo test --locked --test packages

release-check: package
	tests/tools/install.sh test-packaging
	tests/tools/cargo-tools.sh cargo-deny
	tests/tools/release-check.sh
