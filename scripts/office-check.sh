#!/usr/bin/env bash
# Scans the recorded office and holds the answer against what really happened there.
# usage: office-check.sh [CAPTURE TRUTH]   another recording, from `make record SEED=2`
set -euo pipefail
cd "$(dirname "$0")/.."
capture=${1:-fixtures/office/office.pcap.zst}
truth=${2:-fixtures/office/office.truth.json}
shadowtap=${SHADOWTAP:-target/release/shadowtap}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for threads in 1 2 7; do
    $shadowtap scan --quiet --threads $threads --config examples/office/shadowtap.toml --json "$capture" >"$work/$threads.json"
done
cmp "$work/1.json" "$work/2.json"
cmp "$work/1.json" "$work/7.json"
echo "office: 1, 2 and 7 threads give identical bytes"
fixtures/office/check.py "$work/1.json" "$truth" --lookup "$shadowtap lookup -" --precision 0.99 --recall 0.97 --bytes 1.0
