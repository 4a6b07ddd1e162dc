#!/bin/sh
# release-check.sh: what of RELEASING.md a machine can see. Names everything that is wrong, not the
# first alone. `make release-check` builds the packages before.
set -u
cd "$(dirname "$0")/../.." || exit 70

wrong=0
# check WHAT COMMAND...
check() {
    what=$1
    shift
    if said=$("$@" 2>&1); then
        echo "ok      $what"
    else
        wrong=$((wrong + 1))
        echo "WRONG   $what"
        echo "$said" | tail -n 20 | sed 's/^/        /'
    fi
}

field() { sed -n "s/^$1 = \"\\(.*\\)\"/\\1/p" Cargo.toml | head -n 1; }
version=$(field version)
msrv=$(field rust-version)
deb=$(echo target/packages/rolecall_*.deb)
rpm=$(echo target/packages/rolecall-*.rpm)

version_everywhere() {
    [ "$(dpkg-deb --field "$deb" Version)" = "$version-1" ] || { echo "$deb is not $version-1"; return 1; }
    case $rpm in *"/rolecall-$version-1."*) ;; *) echo "$rpm is not $version-1"; return 1 ;; esac
    [ "$(dpkg-parsechangelog --file packaging/debian/changelog --show-field Version)" = "$version-1" ] ||
        { echo "the first entry of packaging/debian/changelog is not $version-1"; return 1; }
    grep -q "^name = \"rolecall\"\$" Cargo.lock && cargo metadata --locked --no-deps --format-version 1 >/dev/null
}
# CHANGELOG.md: "## 1.2.3 - 2026-11-25", and in Debian's the same day.
changelog_dated() {
    day=$(sed -n "s/^## $version - \\([0-9]\\{4\\}-[0-9]\\{2\\}-[0-9]\\{2\\}\\)\$/\\1/p" CHANGELOG.md)
    [ -n "$day" ] || { echo "CHANGELOG.md has no line \`## $version - YYYY-MM-DD\`"; return 1; }
    debian=$(dpkg-parsechangelog --file packaging/debian/changelog --show-field Date)
    [ "$(date -u -d "$debian" +%F)" = "$day" ] ||
        { echo "CHANGELOG.md says $day, packaging/debian/changelog $debian"; return 1; }
    [ "$(date -u -d "$day" +%s)" -le "$(date +%s)" ] || { echo "$day is yet to come"; return 1; }
}
everything_committed() {
    left=$(git status --porcelain)
    [ -z "$left" ] || { echo "not committed:"; echo "$left"; return 1; }
}
# A real build by that very toolchain where rustup is here. Elsewhere the lockfile's packages say what
# they need, and clippy (`incompatible_msrv`) what the code does; neither is a proof.
msrv_builds() {
    if command -v rustup; then
        rustup toolchain install "$msrv" --profile minimal || return 1
        CARGO_TARGET_DIR=target/msrv CARGO_INCREMENTAL=0 cargo "+$msrv" check --locked
    else
        echo "no rustup: Rust $msrv itself cannot be tried here"
        return 1
    fi
}
static_is_static() {
    tar --extract --gzip --to-stdout --file "$(echo target/packages/*-linux-musl.tar.gz)" rolecall >target/package/static
    ! readelf --program-headers target/package/static | grep INTERP
}

check "version $version in Cargo.toml, both packages and their changelogs" version_everywhere
check "the changelogs are dated" changelog_dated
check "everything is committed" everything_committed
check "lintian finds nothing in the Debian package" lintian --fail-on error,warning "$deb"
check "the static program needs no library" static_is_static
check "the manual is that of the command line" cargo test --quiet --locked --test unit manual::
check "every licence is one of deny.toml's" target/tools/bin/cargo-deny --locked check bans licenses sources
check "Rust $msrv builds it" msrv_builds
check "clippy, incompatible_msrv among it" cargo clippy --quiet --locked --all-targets -- -D warnings

[ "$wrong" -eq 0 ] || { echo "$wrong of these must be put right first"; exit 1; }
