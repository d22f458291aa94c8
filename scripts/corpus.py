#!/usr/bin/env python3
"""Scores a scan of the capture corpus and fails if any kind falls under the level last reached.

usage: corpus.py [SHADOWTAP] [--raise]

In: the corpus beside this checkout (../shared/corpus, or the folder that CORPUS names),
tests/corpus-ratchet.json, and tests/corpus-differences.json: differences from the truth that have a reason, which
are counted apart and may be 1 % of the items at most. Out: a line a kind. `--raise` writes what was reached where
that is more. Without the corpus nothing is checked, and that is said. Exit: 0 held or skipped · 1 fell · 2 could not be run.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATCHET = ROOT / "tests" / "corpus-ratchet.json"
# Longer than a scan takes on a slow machine by far: it is there to end a hang.
SCAN_TIMEOUT_S = 900
DIFFERENCES = ROOT / "tests" / "corpus-differences.json"
# What the project promises for these; below it, that is said on every run.
PROMISED = {kind: (99.8, 99.9) for kind in ("tls_sni", "quic_sni", "dns_query", "dns_answer", "http_host")}
# Kinds with fewer items than this cannot reach that with one mistake: one of each sort is forgiven.
FEW = 1_000


def percent(part, whole):
    """Rounded down, so that 99.996 is not called 100."""
    return int(10_000 * part / whole) / 100 if whole else 100.0


def explained(items, side):
    """How many of the items that the score lists have a reason, and those that have none."""
    reasons = json.loads(DIFFERENCES.read_text()) if DIFFERENCES.exists() else []
    def known(item):
        capture, kind, *_, value = item
        return any(r["side"] == side and r["capture"] == capture and kind in r["kinds"] and value.startswith(r["value"])
                   for r in reasons)
    return sum(known(i) for i in items), [i for i in items if not known(i)]


def scan(shadowtap, corpus, observations):
    command = [shadowtap, "scan", "--quiet", "--separate", "--json", "--observations", observations, str(corpus / "pcaps")]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=SCAN_TIMEOUT_S)
    # 1: some of these files are damaged on purpose, and the rest was read.
    if done.returncode not in (0, 1):
        print(done.stderr[-2000:], file=sys.stderr)
        raise SystemExit(f"corpus: the scan ended with {done.returncode}")


def main():
    shadowtap = next((a for a in sys.argv[1:] if not a.startswith("--")), "target/release/shadowtap")
    corpus = pathlib.Path(os.environ.get("CORPUS", ROOT.parent / "shared" / "corpus"))
    if not (corpus / "score").exists():
        print(f"corpus: SKIPPED: there is no capture corpus at {corpus}")
        return 0
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as observations:
        scan(str(pathlib.Path(shadowtap).resolve()), corpus, observations.name)
        done = subprocess.run([sys.executable, corpus / "score", corpus / "truth.jsonl", observations.name, "--json",
                               "--misses", "100000", "--wrong", "100000"],
                              check=True, capture_output=True, text=True)
    scored = json.loads(done.stdout)
    kinds = scored["kinds"]
    level = json.loads(RATCHET.read_text()) if RATCHET.exists() else {}
    fell, rose = [], []
    print(f"corpus: {'kind':14} {'recall':>8} {'last':>8} {'precision':>10} {'last':>8}")
    for kind, row in kinds.items():
        now = {"recall": percent(row["found"], row["wanted"]), "precision": percent(row["correct"], row["emitted"])}
        last = level.get(kind, {"recall": 0.0, "precision": 0.0})
        print(f"corpus: {kind:14} {now['recall']:8.2f} {last['recall']:8.2f} {now['precision']:10.2f} {last['precision']:8.2f}")
        for name, promised in zip(("recall", "precision"), PROMISED.get(kind, (0.0, 0.0))):
            if row["wanted"] >= FEW and now[name] < promised:
                print(f"corpus: below the promise: {name} of {kind}: {now[name]:.2f} %, promised {promised:.2f} %")
            if now[name] < last[name]:
                fell.append(f"{name} of {kind}: {now[name]:.2f} %, last {last[name]:.2f} %")
            elif now[name] > last[name]:
                rose.append(f"{name} of {kind}: {last[name]:.2f} to {now[name]:.2f} %")
        level[kind] = {name: max(now[name], last[name]) for name in now}
        for side, items in (("missed", scored["misses"].get(kind, [])), ("extra", scored["wrong"].get(kind, []))):
            told, rest = explained(items, side)
            if told:
                print(f"corpus: {kind}: {told} {side} with a reason")
            if told > max(1, row["wanted"] // 100):
                fell.append(f"{kind}: {told} explained differences are more than 1 % of {row['wanted']} items")
            for capture, _, client, server, port, value in rest:
                print(f"corpus: {kind}: {side}: {capture}: {client} > {server}:{port} {value[:80]}")
            if row["wanted"] < FEW and len(rest) > 1:
                fell.append(f"{kind}: {len(rest)} {side} without a reason, 1 allowed")
    for line in fell:
        print(f"corpus: FELL: {line}", file=sys.stderr)
    if rose and "--raise" in sys.argv:
        RATCHET.write_text(json.dumps(level, indent=2) + "\n")
        print(f"corpus: raised {len(rose)} levels in {RATCHET.relative_to(ROOT)}")
    elif rose:
        print(f"corpus: better than last time: {'; '.join(rose)}\n"
              "corpus: to keep it: scripts/corpus.py --raise, and commit tests/corpus-ratchet.json")
    return 1 if fell else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.TimeoutExpired:
        print(f"corpus: the scan did not end within {SCAN_TIMEOUT_S} s", file=sys.stderr)
        sys.exit(2)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        print(f"corpus: {error}", file=sys.stderr)
        sys.exit(2)
