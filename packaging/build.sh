#!/bin/sh
# build.sh: the packages, in target/packages: .deb, .rpm and the static program. `make package` brings
# what this needs.
set -eu
cd "$(dirname "$0")/.."

tools=$PWD/target/tools/bin
out=target/packages
stage=target/package
root=$stage/root
static=$(tests/tools/musl-target.sh)

cargo build --release --locked --bin rolecall
rolecall=target/release/rolecall
version=$($rolecall --version | cut -d' ' -f2)
rm -rf "$out" "$stage"
mkdir -p "$out" "$root"

# put FOLDER FILE...: files in a folder of both packages, with modes that no umask has a say in.
put() {
    folder=$root$1
    shift
    mkdir -p "$folder"
    for file in "$@"; do
        if [ -x "$file" ]; then mode=755; else mode=644; fi
        install -m "$mode" "$file" "$folder/"
    done
}

put /etc/rolecall packaging/rolecall.toml
put /usr/share/man/man5 packaging/man/*.5
put /usr/share/man/man8 packaging/man/*.8
put /usr/share/doc/rolecall README.md docs/*
install -m 644 CHANGELOG.md "$root/usr/share/doc/rolecall/changelog"
put /usr/share/doc/rolecall/haproxy haproxy/*
# Every other folder of packaging/ comes along as it is.
for folder in packaging/*/; do
    name=$(basename "$folder")
    case $name in debian | rpm | systemd | man) ;; *) put "/usr/share/rolecall/$name" "$folder"* ;; esac
done
for kind in sysusers tmpfiles; do
    mkdir -p "$root/usr/lib/$kind.d"
    install -m 644 "packaging/systemd/rolecall.$kind" "$root/usr/lib/$kind.d/rolecall.conf"
done
# complete SHELL FILE
complete() {
    mkdir -p "$root$(dirname "$2")"
    $rolecall completions "$1" >"$root$2"
    chmod 644 "$root$2"
}
complete bash /usr/share/bash-completion/completions/rolecall
complete fish /usr/share/fish/vendor_completions.d/rolecall.fish
complete zsh /usr/share/zsh/vendor-completions/_rolecall

# --no-strip: Cargo did it, so that both packages hold the same file.
"$tools/cargo-deb" --no-build --no-strip --quiet --output "$out/"

# cargo-generate-rpm takes no mode from a file, so each is named. Other distributions have other
# places for a few.
asset() { echo "  { source = \"$1\", dest = \"$2\", mode = \"$3\"${4:+, $4} },"; }
{
    echo 'assets = ['
    asset "$rolecall" /usr/bin/rolecall 755
    for unit in packaging/systemd/*.service packaging/systemd/*.socket; do
        asset "$unit" "/usr/lib/systemd/system/$(basename "$unit")" 644
    done
    for file in LICENSE-*; do
        asset "$file" "/usr/share/doc/rolecall/$file" 644 'doc = true'
    done
    find "$root" -type f | sort | while read -r file; do
        case ${file#"$root"} in
        /etc/*) more='config = "noreplace"' ;;
        /usr/share/man/* | /usr/share/doc/*) more='doc = true' ;;
        *) more= ;;
        esac
        dest=$(echo "${file#"$root"}" | sed 's|/zsh/vendor-completions/|/zsh/site-functions/|')
        asset "$file" "$dest" "$(stat --format %a "$file")" "$more"
    done
    echo ']'
} >"$stage/rpm.toml"
"$tools/cargo-generate-rpm" --metadata-overwrite "$stage/rpm.toml" --output "$out/"

# One file that needs nothing of its host, for what is older than the machine this was built on.
cargo build --release --locked --bin rolecall --target "$static"
tar --create --gzip --owner=0 --group=0 --file "$out/rolecall-$version-$static.tar.gz" \
    -C "target/$static/release" rolecall -C "$PWD" LICENSE-MIT LICENSE-APACHE packaging/rolecall.toml
ls -l "$out"
