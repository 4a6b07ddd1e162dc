#!/bin/sh
# can-boot.sh TREE: whether this machine lets a tree of debian-tree.sh boot; says what stands in the way.
# The tree's own systemd comes up and powers off at once.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$1
no() {
    echo "can-boot: $1" >&2
    echo "hint: booting wants a virtual machine, or a container that may do what it likes (--privileged)" >&2
    exit 77
}
[ "$(id -u)" -eq 0 ] || { echo "can-boot: booting a machine needs root" >&2; exit 77; }
unshare --mount --net --propagation private -- true 2>/dev/null ||
    no "this machine allows no namespaces"

name=rolecall-can-boot-$$
dir=$(mktemp -d "$(dirname "$tree")/.can-boot.XXXXXX")
inside() { unshare --mount --net --propagation private -- "$@"; }
trap 'inside "$here/unboot.sh" "$name" || true; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM HUP
inside timeout --kill-after=10 120 "$here/boot.sh" "$tree" "$dir" "$name" "$here" --unit=poweroff.target \
    </dev/null >"$dir.log" 2>&1 && ended=0 || ended=$?
said=$(tail -n 5 "$dir.log")
rm -f "$dir.log"
[ "$ended" -eq 0 ] || no "no machine can be booted here: exit $ended: $said"
