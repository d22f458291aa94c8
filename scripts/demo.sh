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

report() { target/release/shadowtap report --config examples/office/shadowtap.toml --store "$out/store.db" "$@" 2>/dev/null; }
report --output "$out/report.html"
report --output "$out/report.pdf"
report --output "$out/report.xlsx"
target/release/shadowtap export rpz --config examples/office/shadowtap.toml --store "$out/store.db" --what-if >"$out/what-if.txt"

cat <<TEXT

Written to $out/:
  summary.txt         what stands above
  scan.json           the same as one document
  alerts.jsonl        alerts, $(wc -l <"$out/alerts.jsonl") lines
  observations.jsonl  every name that was read, $(wc -l <"$out/observations.jsonl") lines: a browsing log
  stats.json          packets, bytes, time, memory, anomalies, cap hits
  report.html         for people who decide; report.pdf and report.xlsx say the same
  what-if.txt         what a block of everything unapproved would break
  store.db            findings, evidence and totals (SQLite)
The decisions behind it: examples/office/policy.toml
TEXT
