#!/bin/sh
# fuzz.sh SECONDS [TARGET...]: runs each target of fuzz/, or those named, for so many seconds, and prints how
# many inputs each tried. What fails is kept in target/fuzz/failed, and ends this with an error.
#
# SEED=N: the same random numbers every time, and nothing is kept of what was found before.
# JOBS=N: so many targets at one time. SANITIZER=address: also what unsafe code of others does; half as fast.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
: "${SEED:=}" "${JOBS:=1}" "${SANITIZER:=none}"
seconds=${1:?"how many seconds shall each target run?"}
shift

# Coverage, and a harness that looks at it, are built by a nightly compiler alone.
nightly=nightly
if ! cargo "+$nightly" --version >/dev/null 2>&1; then
    echo "fuzz: Rust's nightly is not here; rustup fetches it"
    if ! rustup toolchain install --profile minimal "$nightly"; then
        echo "fuzz: error: there is no nightly Rust, which fuzzing needs" >&2
        echo "  hint: install rustup (https://rustup.rs), then: rustup toolchain install nightly" >&2
        exit 69
    fi
fi
# Short, for there are sockets in it.
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
trap 'exit 130' INT TERM HUP

# What is tried must be what is shipped.
versions() { awk -F'"' '/^name/ { name = $2 } /^version = "/ { print name, $2 }' "$1"; }
versions Cargo.lock >"$results/shipped"
versions fuzz/Cargo.lock >"$results/tried"
if ! awk 'NR == FNR { known[$1]; shipped[$0]; next }
    $1 in known && !($0 in shipped) { print "fuzz: fuzz/Cargo.lock has " $0; other = 1 }
    END { exit other }' "$results/shipped" "$results/tried" >&2; then
    echo "fuzz: error: Cargo.lock has other versions, which are shipped" >&2
    echo "  hint: cp Cargo.lock fuzz/ && cargo update --workspace --manifest-path fuzz/Cargo.toml" >&2
    exit 65
fi

tests/tools/cargo-tools.sh cargo-fuzz
PATH="$root/target/tools/bin:$PATH"
out=target/fuzz
[ "$SANITIZER" = none ] || out=target/fuzz-$SANITIZER
cargo "+$nightly" fuzz build --sanitizer "$SANITIZER" --target-dir "$out"

if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # one word for each target
    set -- $(cargo "+$nightly" fuzz list)
fi

# What was recorded for other tests serves here, too.
seeds() {
    echo "fuzz/seeds/$1"
    case $1 in
    patroni) echo tests/data/patroni ;;
    config) echo tests/data/config ;;
    esac
}

# The words of its format, and the longest input that it reads.
options() {
    case $1 in
    patroni | pg_auto_failover_rows) echo -dict=fuzz/dictionaries/json.dict -max_len=66000 ;;
    repmgr_nodes) echo -dict=fuzz/dictionaries/conninfo.dict -max_len=66000 ;;
    record | orders | control) echo -dict=fuzz/dictionaries/json.dict -max_len=8192 ;;
    conninfo | pgpass) echo -dict=fuzz/dictionaries/conninfo.dict -max_len=4096 ;;
    config) echo -dict=fuzz/dictionaries/config.dict -max_len=262144 ;;
    repmgr_conf) echo -max_len=66000 ;;
    http | patroni_look) echo -dict=fuzz/dictionaries/http.dict -max_len=66000 ;;
    pg_login | pg_scram) echo -dict=fuzz/dictionaries/pg.dict -max_len=33000 ;;
    pg_look) echo -dict=fuzz/dictionaries/pg.dict -max_len=66000 ;;
    haproxy) echo -max_len=66000 ;;
    question | reply | command | release) echo -max_len=1100 ;;
    *) echo -max_len=4096 ;;
    esac
}

bin=$out/$(rustc "+$nightly" -vV | sed -n 's/^host: //p')/release

one() {
    target=$1
    found=target/fuzz/corpus/$target
    [ -z "$SEED" ] || found=$results/corpus.$target
    mkdir -p "$found" "target/fuzz/failed/$target"
    log=$results/$target.log
    # Each target holds itself to 100 ms of CPU time and 64 MiB (fuzz/src/lib.rs); half a minute
    # without an end is a hang, however busy the host is. libFuzzer itself knows no CPU time.
    # shellcheck disable=SC2046 # one word for each option
    TMPDIR=$results "$bin/$target" $(options "$target") ${SEED:+-seed=$SEED} -max_total_time="$seconds" \
        -timeout=30 -report_slow_units=3600 -rss_limit_mb=2048 -malloc_limit_mb=64 -print_final_stats=1 \
        -artifact_prefix="target/fuzz/failed/$target/" \
        "$found" $(seeds "$target") >"$log" 2>&1 && ended=passed || ended=FAILED
    tried=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-14s %12s %8s %8s  %s\n' "$target" "${tried:-?}" "$seconds" \
        "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)" "$ended" >"$results/$target.row"
    if [ "$ended" = FAILED ]; then
        tail -n 40 "$log" >&2
    fi
}

printf '%-14s %12s %8s %8s\n' target inputs seconds branches
running=0
for target in "$@"; do
    one "$target" &
    running=$((running + 1))
    if [ "$running" -ge "$JOBS" ]; then
        wait
        running=0
    fi
done
wait
cat "$results"/*.row
awk '{ inputs += $2 } END { printf "%-14s %12s\n", "all", inputs }' "$results"/*.row
if grep -q 'FAILED$' "$results"/*.row; then
    echo "fuzz: error: what failed is in target/fuzz/failed" >&2
    echo "  hint: mend it, and make the input a test of the parser" >&2
    exit 1
fi
