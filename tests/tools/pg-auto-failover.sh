#!/bin/sh
# pg-auto-failover.sh DIR: PostgreSQL 15 with pg_auto_failover in DIR, out of Debian 12's packages. They are not
# installed: the server finds its extensions beside itself, so a copy of the installed PostgreSQL 15 gets this one. Needs
# no root where apt's lists are there. Debian 13 has neither package; there nothing is made.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 64; }
[ ! -x "$1/usr/bin/pg_autoctl" ] || exit 0

server=/usr/lib/postgresql/15
share=/usr/share/postgresql/15
[ -x $server/bin/postgres ] || { echo "pg-auto-failover: no PostgreSQL 15 in $server" >&2; exit 69; }

parent=$(dirname "$1")
mkdir -p "$parent"
tmp=$(cd "$parent" && mktemp -d "$PWD/.pg-auto-failover.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
# apt downloads as a user of its own where root runs it, and the servers run as another one.
umask 022
chmod 755 "$tmp"
mkdir "$tmp/deb" "$tmp/tree"
cd "$tmp/deb"
packages="pg-auto-failover-cli postgresql-15-auto-failover"
# shellcheck disable=SC2086 # one word a package
download() { apt-get download -q -o APT::Sandbox::User= $packages </dev/null >>"$tmp/log" 2>&1; }
if ! download; then
    root=
    [ "$(id -u)" -eq 0 ] || root=sudo
    $root apt-get update -q </dev/null >>"$tmp/log" 2>&1 || true
    download || { cat "$tmp/log" >&2; echo "pg-auto-failover: cannot fetch $packages" >&2; exit 69; }
fi
mkdir -p "$tmp/tree$server" "$tmp/tree$share"
cp -R $server/bin $server/lib "$tmp/tree$server"
cp -R $share/. "$tmp/tree$share"
for package in ./*.deb; do
    dpkg-deb -x "$package" "$tmp/tree"
done
PG_CONFIG=$server/bin/pg_config "$tmp/tree/usr/bin/pg_autoctl" version >/dev/null
cd "$parent"
# Another run may have been quicker; its tree is as good.
mv -T "$tmp/tree" "$1" 2>/dev/null || [ -x "$1/usr/bin/pg_autoctl" ]
