#!/bin/sh
# book.sh: docs/ as a site, in target/site. README.md is its first page; what the pages link to is copied
# beside them, so that each link leads to the same place as in the tree.
set -eu
cd "$(dirname "$0")/../.."

stage=target/book
rm -rf "$stage" target/site
mkdir -p "$stage"
cp -r ./*.md LICENSE-* docs haproxy packaging src "$stage/"
# mdBook wants its table of contents at the top, with paths from there.
sed -e 's|](|](docs/|' -e 's|](docs/\.\./|](|' docs/SUMMARY.md >"$stage/SUMMARY.md"
rm "$stage/docs/SUMMARY.md"

target/tools/bin/mdbook build
echo "book: target/site/index.html"
