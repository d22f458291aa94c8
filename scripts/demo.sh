#!/usr/bin/env bash
# The main job on the recorded office, with every output that a scan can write.
set -euo pipefail
cd "$(dirname "$0")/.."
out=demo-out
rm -rf "$out"
mkdir -p "$out"

scan() { target/release/shadowtap scan --config examples/office/shadowtap.toml "$@" fixtures/office/office.pcap.zst; }

scan --store "$out/store.db" --alerts "$out/alerts.jsonl" --observations "$out/observations.jsonl" \
    --stats "$out/stats.json" | tee "$out/summary.txt"
scan --quiet --json >"$out/scan.json"

cat <<TEXT

Written to $out/:
  summary.txt         what stands above
  scan.json           the same as one document
  alerts.jsonl        alerts, $(wc -l <"$out/alerts.jsonl") lines
  observations.jsonl  every name that was read, $(wc -l <"$out/observations.jsonl") lines: a browsing log
  stats.json          packets, bytes, time, memory, anomalies, cap hits
  store.db            findings, evidence and totals (SQLite)
The decisions behind it: examples/office/policy.toml
TEXT
