#!/bin/sh
# debian-tree.sh SUITE DIR [PACKAGE...]: a tree of a Debian release in DIR, with PACKAGEs in it; to be
# booted where systemd-sysv is one of them. Made once: with DIR there it does nothing. Wants root.
#
# Packages come from the Debian mirror that this machine's apt uses, with apt's own signature check.
set -eu

[ $# -ge 2 ] || { echo "usage: $0 SUITE DIR [PACKAGE...]" >&2; exit 64; }
suite=$1 dir=$2
shift 2
wanted="$suite $*"
[ "$(cat "$dir/etc/rolecall-tree" 2>/dev/null)" != "$wanted" ] || exit 0
[ "$(id -u)" -eq 0 ] || { echo "debian-tree: run as root: a tree has devices and owners" >&2; exit 77; }

mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
    sed -n 's/^Debian Debian //p' | head -n 1)
[ -n "$mirror" ] || { echo "debian-tree: apt here knows no Debian mirror" >&2
    echo "hint: apt-get update must have run once" >&2; exit 69; }

parent=$(dirname "$dir")
mkdir -p "$parent"
tmp=$(cd "$parent" && mktemp -d "$PWD/.$suite.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
chmod 755 "$tmp"

echo "debian-tree: Debian $suite from $mirror into $dir"
# An old release's Release file may be past its own Valid-Until.
mmdebstrap --quiet --variant=minbase ${1:+"--include=$*"} \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
    --aptopt='Acquire::Retries "3"' \
    "$suite" "$tmp" "$mirror"
echo "$wanted" >"$tmp/etc/rolecall-tree"
rm -rf "$dir"
mv -T "$tmp" "$dir"
