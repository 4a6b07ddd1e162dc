#!/bin/sh
# timelines.sh: plays each fault of tests/data/timelines.txt, and draws it into docs/timeline-FAULT.svg: the last trial of
# each that was played to its end. Half an hour on a quiet machine; on a busy one the pictures show that too.
set -eu
cd "$(dirname "$0")/../.."

drawn=target/timelines
rm -rf "$drawn" "$drawn.jsonl"
mkdir -p "$drawn"
while IFS= read -r fault <&3; do
	slug=$(printf '%s' "$fault" | tr 'A-Z' 'a-z' | tr -c 'a-z0-9' ' ' | xargs | tr ' ' '-')
	ROLECALL_PROVE_MINUTES=2 ROLECALL_PROVE_FAULT="$fault" ROLECALL_PROVE_FILE="$drawn.jsonl" \
		ROLECALL_TIMELINES="$PWD/$drawn" ROLECALL_REQUIRE_SYSTEM=1 \
		cargo test --release --locked --test repmgr '3 + witness'
	newest=$(ls -t "$drawn"/*-"$slug".svg | head -n 1)
	cp "$newest" "docs/timeline-$slug.svg"
done 3<tests/data/timelines.txt
