#!/bin/sh
# demo.sh [PROGRAM]: interrupts the built demo (or PROGRAM) at many moments, as Ctrl-C and others do,
# and looks for what it has left: processes, files, shared memory. A line per moment; SOURCE chooses the
# story, as for `make demo`.
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
program=${1:-$here/target/release/examples/demo}
# Root can have shared memory of its own, where nobody else's tests are seen.
if [ "$(id -u)" = 0 ] && [ -z "${DEMO_SH_ALONE:-}" ]; then
    DEMO_SH_ALONE=1 exec unshare --ipc "$0" "$program"
fi

TMPDIR=$(mktemp -d)
# KEEP: the story must not be over before the last moment.
KEEP=1
export TMPDIR KEEP
chmod 755 "$TMPDIR"
trap 'rm -rf "$TMPDIR"' EXIT

left() {
    for process in /proc/[0-9]*; do
        [ "$process" != "/proc/$$" ] || continue
        # A server stands in its directory; everything else has it in its environment or arguments.
        if { readlink "$process/cwd"; tr '\0' '\n' <"$process/environ"; tr '\0' '\n' <"$process/cmdline"; } \
            2>/dev/null | grep -qF "$TMPDIR/rolecall-"; then
            echo "process ${process#/proc/}: $(tr '\0' ' ' <"$process/cmdline")"
        fi
    done
    ls -d "$TMPDIR"/* 2>/dev/null || true
    if [ -n "${DEMO_SH_ALONE:-}" ]; then ipcs -m | grep '^0x' || true; fi
}

# interrupt SIGNAL MILLISECONDS EXPECTED: the signal goes to the whole foreground process group.
interrupt() {
    setsid "$program" >"$TMPDIR.log" 2>&1 &
    pid=$!
    sleep "$(echo "$2" | sed 's/\(...\)$/.\1/')"
    kill -s "$1" -- "-$pid" || true
    status=0
    wait "$pid" || status=$?
    found=$(left)
    echo "$1 after $2 ms: exit $status, at \"$(grep -v '^$' "$TMPDIR.log" | tail -2 | head -1 | cut -c 1-60)\""
    rm -f "$TMPDIR.log"
    if [ "$status" != "$3" ] || [ -n "$found" ]; then
        echo "expected exit $3 and nothing left; left: $found" >&2
        exit 1
    fi
}

for moment in 0100 0250 0400 0550 0700 0850 1000 1200 1400 1600 1800 2000 2300 2600 2900 3200 4000 4500 5000 6500 \
    8000 9000 9500 10000 13000 16000; do
    interrupt INT $moment 130
done
for moment in 0500 1500 2500; do
    interrupt TERM $moment 143
    interrupt HUP $moment 129
done
interrupt INT 35000 130
