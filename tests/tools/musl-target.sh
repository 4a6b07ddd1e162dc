#!/bin/sh
# musl-target.sh: the Rust target of the static program, fetched by rustup where it is missing; prints
# its name.
set -eu
target=$(uname -m)-unknown-linux-musl
if [ ! -d "$(rustc --print target-libdir --target "$target")" ]; then
    rustup target add "$target" >&2 || {
        echo "musl-target: no Rust target $target" >&2
        echo "hint: it comes by rustup" >&2
        exit 69
    }
fi
echo "$target"
