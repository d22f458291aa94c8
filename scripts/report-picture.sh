#!/usr/bin/env bash
# docs/report.png: the first page of the report on the recorded office, as it is printed (needs pdftoppm).
set -euo pipefail
cd "$(dirname "$0")/.."
shadowtap=${1:-target/release/shadowtap}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$shadowtap" scan --quiet --config examples/office/shadowtap.toml --store "$folder/office.db" fixtures/office/office.pcap.zst >/dev/null
"$shadowtap" report --config examples/office/shadowtap.toml --store "$folder/office.db" --output "$folder/report.pdf"
pdftoppm -r 100 -f 1 -l 1 -singlefile -png "$folder/report.pdf" docs/report
