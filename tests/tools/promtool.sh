#!/bin/sh
# promtool.sh DIR: Prometheus's promtool into DIR, out of Debian's package, which is not installed: it
# would start a server. Needs no root where apt's lists are there.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 64; }
[ ! -x "$1/promtool" ] || exit 0

parent=$(dirname "$1")
mkdir -p "$parent"
tmp=$(cd "$parent" && mktemp -d "$PWD/.promtool.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
# apt downloads as a user of its own where root runs it.
chmod 755 "$tmp"
mkdir "$tmp/deb" "$tmp/promtool"
cd "$tmp/deb"
download() { apt-get download -q -o APT::Sandbox::User= prometheus </dev/null >>"$tmp/log" 2>&1; }
if ! download; then
    root=
    [ "$(id -u)" -eq 0 ] || root=sudo
    $root apt-get update -q </dev/null >>"$tmp/log" 2>&1 || true
    download || { cat "$tmp/log" >&2; echo "promtool: cannot fetch the package prometheus" >&2; exit 69; }
fi
dpkg-deb --fsys-tarfile ./*.deb | tar -x -C "$tmp/promtool" --strip-components=3 ./usr/bin/promtool
"$tmp/promtool/promtool" --version >/dev/null
cd "$parent"
# Another run may have been quicker; its program is as good.
mv -T "$tmp/promtool" "$1" 2>/dev/null || [ -x "$1/promtool" ]
