#!/bin/sh
# journald-alone.sh ROLECALL CONFIG ROLE_FILE: runs rolecall beside a journal of its own, lets its
# role change from what ROLE_FILE says to replica, and prints what it logged, one JSON object a line.
# Wants to be root in mount, pid and network namespaces of its own.
set -eu
ip link set lo up
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log
# The host's persistent journal must not be written to; without the folder journald stays in /run.
[ ! -d /var/log/journal ] || mount -t tmpfs tmpfs /var/log/journal
if [ ! -s /etc/machine-id ]; then
    mkdir /run/etc-upper /run/etc-work
    mount -t overlay -o lowerdir=/etc,upperdir=/run/etc-upper,workdir=/run/etc-work overlay /etc
    echo 0123456789abcdef0123456789abcdef >/etc/machine-id
fi

# until WHAT COMMAND...: waits at most 10 s for COMMAND to succeed.
await() {
    what=$1
    shift
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || { echo "journald-alone: no $what" >&2; journal >&2; exit 1; }
        sleep 0.05
    done
}
journal() { journalctl --sync; journalctl --no-pager --output json SYSLOG_IDENTIFIER=rolecall; }
says() { [ "$(bash -c 'exec 3<>/dev/tcp/127.0.0.1/5555 && cat <&3')" = "$1" ]; }
logged() { journal | grep -q "$1"; }

/lib/systemd/systemd-journald >&2 &
await "journal socket" test -S /run/systemd/journal/socket
"$1" run --config "$2" >&2 &
rolecall=$!
await "READY" says READY
echo replica >"$3.next"
mv "$3.next" "$3"
await "MAINT" says MAINT
await "log of the change" logged replica
kill "$rolecall"
wait "$rolecall"
journal
