#!/usr/bin/env python3
"""Scores a scan of the capture corpus and fails if any kind falls under the level last reached.

usage: corpus.py [SHADOWTAP] [--raise]

In: the corpus beside this checkout (../shared/corpus, or the folder that CORPUS names) and
tests/corpus-ratchet.json. Out: a line a kind. `--raise` writes what was reached where that is more.
Without the corpus nothing is checked, and that is said. Exit: 0 held or skipped · 1 fell · 2 could not be run.
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
# What the project promises for these; below it, that is said on every run.
PROMISED = {kind: (98.0, 99.5) for kind in ("tls_sni", "quic_sni", "dns_query", "dns_answer", "http_host")}


def percent(part, whole):
    """Rounded down, so that 99.996 is not called 100."""
    return int(10_000 * part / whole) / 100 if whole else 100.0


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
        done = subprocess.run([sys.executable, corpus / "score", corpus / "truth.jsonl", observations.name, "--json"],
                              check=True, capture_output=True, text=True)
    kinds = json.loads(done.stdout)["kinds"]
    level = json.loads(RATCHET.read_text()) if RATCHET.exists() else {}
    fell, rose = [], []
    print(f"corpus: {'kind':14} {'recall':>8} {'last':>8} {'precision':>10} {'last':>8}")
    for kind, row in kinds.items():
        now = {"recall": percent(row["found"], row["wanted"]), "precision": percent(row["correct"], row["emitted"])}
        last = level.get(kind, {"recall": 0.0, "precision": 0.0})
        print(f"corpus: {kind:14} {now['recall']:8.2f} {last['recall']:8.2f} {now['precision']:10.2f} {last['precision']:8.2f}")
        for name, promised in zip(("recall", "precision"), PROMISED.get(kind, (0.0, 0.0))):
            if now[name] < promised:
                print(f"corpus: below the promise: {name} of {kind}: {now[name]:.2f} %, promised {promised:.2f} %")
            if now[name] < last[name]:
                fell.append(f"{name} of {kind}: {now[name]:.2f} %, last {last[name]:.2f} %")
            elif now[name] > last[name]:
                rose.append(f"{name} of {kind}: {last[name]:.2f} to {now[name]:.2f} %")
        level[kind] = {name: max(now[name], last[name]) for name in now}
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
