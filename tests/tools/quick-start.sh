#!/bin/sh
# quick-start.sh ROLECALL: the README's first command in an empty network of its own, and what
# its default port says over IPv4 and over IPv6.
set -eu
ip link set lo up
"$1" run --source static --role primary >&2 &
rolecall=$!
answer() { bash -c "exec 3<>/dev/tcp/$1/5555 && cat <&3" 2>/dev/null; }
# 10 s: a loaded machine.
tries=0
until answer 127.0.0.1 >/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { echo "quick-start: nobody answers on 5555" >&2; exit 1; }
    sleep 0.05
done
answer 127.0.0.1
answer ::1
kill "$rolecall"
wait "$rolecall"
