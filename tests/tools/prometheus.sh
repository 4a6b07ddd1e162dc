#!/bin/sh
# prometheus.sh DIR: Prometheus and its promtool into DIR, out of Debian's package, which is not installed: it
# would start a server of its own. Needs no root where apt's lists are there.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 64; }
[ ! -x "$1/prometheus" ] || exit 0

parent=$(dirname "$1")
mkdir -p "$parent"
tmp=$(cd "$parent" && mktemp -d "$PWD/.prometheus.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
# apt downloads as a user of its own where root runs it.
chmod 755 "$tmp"
mkdir "$tmp/deb" "$tmp/programs"
cd "$tmp/deb"
download() { apt-get download -q -o APT::Sandbox::User= prometheus </dev/null >>"$tmp/log" 2>&1; }
if ! download; then
    root=
    [ "$(id -u)" -eq 0 ] || root=sudo
    $root apt-get update -q </dev/null >>"$tmp/log" 2>&1 || true
    download || { cat "$tmp/log" >&2; echo "prometheus: cannot fetch the package prometheus" >&2; exit 69; }
fi
dpkg-deb --fsys-tarfile ./*.deb |
    tar -x -C "$tmp/programs" --strip-components=3 ./usr/bin/prometheus ./usr/bin/promtool
for program in prometheus promtool; do
    "$tmp/programs/$program" --version >/dev/null
done
cd "$parent"
# Another run may have been quicker; its programs are as good.
mv -T "$tmp/programs" "$1" 2>/dev/null || [ -x "$1/prometheus" ]
