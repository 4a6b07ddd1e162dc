#!/bin/sh
# older-deb.sh NEW OLD: the package NEW under version 0.0.1, with another configuration file: an upgrade
# from it has something to keep and something to ask.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
dpkg-deb --raw-extract "$1" "$tmp/tree"
sed -i 's/^Version: .*/Version: 0.0.1-1/' "$tmp/tree/DEBIAN/control"
echo '# The older package.' >>"$tmp/tree/etc/rolecall/rolecall.toml"
dpkg-deb --root-owner-group --build "$tmp/tree" "$2" >/dev/null
