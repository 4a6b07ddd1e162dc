#!/bin/sh
# haproxy-tree.sh SUITE DIR: the HAProxy of another Debian release with all its libraries in DIR,
# where DIR/haproxy runs it beside the host's own. Needs no root and changes nothing else.
#
#     tests/tools/haproxy-tree.sh bookworm target/haproxy/bookworm     # 2.6
#     tests/tools/haproxy-tree.sh trixie   target/haproxy/trixie       # 3.0
#     tests/tools/haproxy-tree.sh sid      target/haproxy/sid          # 3.2
#     tests/tools/haproxy-tree.sh experimental target/haproxy/experimental   # newest
#
# Packages come from the Debian mirror that this machine's apt uses, with apt's own signature check.
set -eu

[ $# -eq 2 ] || { echo "usage: $0 SUITE DIR" >&2; exit 64; }
suite=$1
dir=$2
[ ! -x "$dir/haproxy" ] || exit 0

fail() { echo "haproxy-tree: $1" >&2; echo "hint: $2" >&2; exit 69; }

mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
    sed -n 's/^Debian Debian //p' | head -n 1)
[ -n "$mirror" ] || fail "apt here knows no Debian mirror" "apt-get update must have run once"
keyring=
for file in /usr/share/keyrings/debian-archive-keyring.pgp /usr/share/keyrings/debian-archive-keyring.gpg; do
    [ ! -e "$file" ] || keyring=$file
done
[ -n "$keyring" ] || fail "no Debian keyring" "install the package debian-archive-keyring"
arch=$(dpkg --print-architecture)

parent=$(dirname "$dir")
mkdir -p "$parent"
tmp=$(cd "$parent" && mktemp -d "$PWD/.haproxy-$suite.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP

mkdir -p "$tmp/apt/lists/partial" "$tmp/apt/archives/partial" "$tmp/apt/parts" "$tmp/tree"
: > "$tmp/apt/status"
# experimental is no whole release: what it lacks comes from sid.
[ "$suite" = experimental ] && suites="sid experimental" || suites=$suite
for one in $suites; do
    echo "deb [arch=$arch signed-by=$keyring] $mirror $one main"
done > "$tmp/apt/sources.list"
# An apt of its own: the host's lists, cache, status and hooks are neither read nor touched; its
# proxy settings hold. sid's Release file may be older than its own Valid-Until on a slow mirror.
cat > "$tmp/apt/conf" <<END
Dir::Etc::sourcelist "$tmp/apt/sources.list";
Dir::Etc::sourceparts "$tmp/apt/parts";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$tmp/apt/parts";
Dir::State "$tmp/apt";
Dir::State::lists "$tmp/apt/lists";
Dir::State::status "$tmp/apt/status";
Dir::Cache "$tmp/apt";
Dir::Cache::archives "$tmp/apt/archives";
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Architectures "$arch";
APT::Install-Recommends "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
END
own_apt() { "$@" -q -c "$tmp/apt/conf" </dev/null >>"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; fail "$1 failed for $suite" "see above"; }; }

echo "haproxy-tree: fetching HAProxy of Debian $suite from $mirror into $dir"
own_apt apt-get update
# With an empty status file nothing counts as installed: this fetches the whole closure.
own_apt apt-get install --download-only --yes --target-release "$suite" haproxy
for deb in "$tmp"/apt/archives/*.deb; do
    dpkg-deb -x "$deb" "$tmp/tree"
done

# The tree's loader runs it with the tree's libraries. --argv0 names this wrapper, so that the
# master process starts itself again through it on a reload.
cat > "$tmp/tree/haproxy" <<'END'
#!/bin/sh
tree=$(cd "$(dirname "$0")" && pwd)
for loader in "$tree"/lib64/ld-linux-*.so.* "$tree"/usr/lib64/ld-linux-*.so.* "$tree"/lib/ld-linux-*.so.* \
    "$tree"/lib/*/ld-linux-*.so.* "$tree"/usr/lib/*/ld-linux-*.so.*; do
    [ -e "$loader" ] && break
done
libraries=
for folder in "$tree"/usr/lib/*-linux-gnu* "$tree"/lib/*-linux-gnu*; do
    libraries=$libraries${libraries:+:}$folder
done
exec "$loader" --argv0 "$tree/haproxy" --library-path "$libraries" "$tree/usr/sbin/haproxy" "$@"
END
chmod 755 "$tmp/tree" "$tmp/tree/haproxy"
said=$("$tmp/tree/haproxy" -v | head -n 1)
[ -n "$said" ] || fail "the fetched HAProxy does not run" "is $suite a release for $arch?"
# Another run may have been quicker; its tree is as good.
mv -T "$tmp/tree" "$dir" 2>/dev/null || [ -x "$dir/haproxy" ]
echo "haproxy-tree: $said"
