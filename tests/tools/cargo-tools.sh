#!/bin/sh
# cargo-tools.sh NAME...: programs of the Cargo ecosystem in target/tools/bin, each at one fixed
# version; minutes of compiling the first time, nothing after.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)/target/tools
mkdir -p "$root"
build=$(mktemp -d "$root/build.XXXXXX")
trap 'rm -rf "$build"' EXIT
trap 'exit 130' INT TERM HUP

version_of() {
    case $1 in
    cargo-deb) echo 3.8.0 ;;
    cargo-generate-rpm) echo 0.21.1 ;;
    cargo-deny) echo 0.20.2 ;;
    cargo-mutants) echo 27.1.0 ;;
    cargo-fuzz) echo 0.13.2 ;;
    mdbook) echo 0.5.4 ;;
    *) echo "cargo-tools: no version is chosen for $1" >&2; exit 64 ;;
    esac
}

for name in "$@"; do
    version=$(version_of "$name")
    if [ -x "$root/bin/$name" ] && grep -qF "\"$name $version " "$root/.crates.toml"; then
        echo "cargo-tools: $name $version is here"
        continue
    fi
    echo "cargo-tools: $name $version is compiled into $root"
    # That it is compiled quickly matters more than its own speed: it runs for seconds.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=0 \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_TARGET_DIR=$build \
        cargo install --quiet --locked --root "$root" "$name@$version"
done
