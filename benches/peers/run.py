#!/usr/bin/env python3
"""Measures shadowtap, other programs and two floors on the same captures, and writes docs/performance.md.

usage: run.py [--quick] [--runs N] [--only WORD ...] [--keep] [--page FILE]

In: target/release/shadowtap and bench-tool (`make bench-peers` builds both), and any of
tcpdump, tshark, ndpiReader, mercury, suricata, zeek in PATH; as root on Debian the first two are installed.
Out: captures in target/bench-peers (kept for the next run), results beside them as JSON, the page and its pictures.
Never: calls a run a result that missed names or failed: it is listed and marked as not counted.
--quick: a tenth of the sizes and one run, to see that everything works; writes its page beside the captures.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

import page
import peers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHADOWTAP = pathlib.Path(os.environ.get("SHADOWTAP", ROOT / "target" / "release" / "shadowtap"))
TOOL = ROOT / "target" / "bench-tool" / "release" / "bench-tool"
PLACE = ROOT / "target" / "bench-peers"
OFFICE = ROOT / "fixtures" / "office" / "office.pcap.zst"
# Seconds after which a program is ended: one that takes longer is hundreds of times over the floor.
TIMEOUT_S = 1200


def captures(quick):
    """Name, words for the generator, and what it shows."""
    part = 10 if quick else 1
    mix, tls, quic = 40 // part, 1_000_000 // part, 100_000 // part
    flows, frames = 1_000_000 // part, 20_000_000 // part
    rows = [
        ("mix", ["mix", "OFFICE", mix], f"the recorded office for {mix} groups of clients, frames at full length"),
        ("tls", ["tls", tls], f"{tls:,} TLS flows, 40 % of the hellos in two segments"),
        ("tiny", ["tiny", flows, frames], f"{frames:,} frames of 60 bytes over {flows:,} flows"),
        ("quic", ["quic", quic], f"{quic:,} QUIC flows with names, versions 1 and 2"),
    ]
    for size in (10_000, 100_000, 1_000_000, 4_000_000):
        size //= part
        rows.append((f"growth-{size}", ["tiny", size, 8_000_000 // part], f"{8_000_000 // part:,} frames over {size:,} flows"))
    # What is slower than this by far gets less of the same kind.
    rows += [
        ("mix-small", ["mix", "OFFICE", 2], "the same, 2 groups"),
        ("tls-small", ["tls", 10_000], "the same, 10,000 flows"),
        ("quic-small", ["quic", 2_000], "the same, 2,000 flows"),
    ]
    return rows


def make(words, path):
    """The capture and what is in it; made once."""
    facts = path.with_suffix(".json")
    if facts.exists() and path.exists():
        return json.loads(facts.read_text())
    if "OFFICE" in words:
        office = PLACE / "office.pcap"
        with open(office, "wb") as out:
            subprocess.run(["zstd", "-qdc", OFFICE], stdout=out, check=True)
        words = [office if w == "OFFICE" else w for w in words]
    print(f"  making {path.name}", flush=True)
    kind, *rest = map(str, words)
    said = subprocess.run([TOOL, kind, path, *rest], stdout=subprocess.PIPE, check=True, text=True).stdout
    made = json.loads(said)
    floor = json.loads(subprocess.run([TOOL, "flow", path], stdout=subprocess.PIPE, check=True, text=True).stdout)
    made["tuples"] = floor["flows"]
    if kind == "mix":
        # Which names are in the office is checked against its own truth by `make office`.
        made["named"] = named_in(PLACE / "office.pcap") * int(rest[1])
    facts.write_text(json.dumps(made))
    return made


def named_in(capture):
    with tempfile.TemporaryDirectory() as place:
        store = pathlib.Path(place) / "s.db"
        subprocess.run([SHADOWTAP, "scan", "-q", "--store", store, capture], stdout=subprocess.DEVNULL, check=True)
        return ours(store)[0]


def ours(store):
    """Flows named by their hello, and all flows, as the store has them."""
    with sqlite3.connect(store) as db:
        rows = dict(db.execute("select name, sum(count) from coverage group by name"))
    named = sum(rows.get(f"flows_named_by_{kind}", 0) for kind in ("sni", "quic_sni"))
    return named, rows.get("flows", 0)


def measured(command, folder):
    """Runs a program; CPU seconds and memory as the kernel accounts for the finished process."""
    with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
        begun = time.monotonic()
        child = subprocess.Popen([str(w) for w in command], stdout=out, stderr=err, cwd=folder,
                                 start_new_session=True, preexec_fn=lambda: signal.alarm(TIMEOUT_S))
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    return {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": time.monotonic() - begun,
            "memory": used.ru_maxrss * 1024, "status": child.returncode}


def programs(kind, flows):
    """Name, command and reader of results of everything that is measured on a capture of this kind."""
    capture = lambda folder: folder.parent / "capture.pcap"
    rows = [("floor: walk", lambda folder: [TOOL, "walk", capture(folder)], peers.floor),
            ("floor: flow", lambda folder: [TOOL, "flow", capture(folder), flows], peers.floor)]
    if kind == "quic":
        rows.append(("floor: Initials", lambda folder: [TOOL, "initials", capture(folder)], peers.floor))
    rows.append(("shadowtap", lambda folder: [SHADOWTAP, "scan", "--threads", "1", "--store", folder / "s.db", capture(folder)], lambda folder: ours(folder / "s.db")))
    return rows


def in_turn(name, facts, rows, runs):
    """Every program once, then every program again, so that a slow minute of the machine meets all."""
    results = {}
    for turn in range(runs):
        for program, command, reader in rows:
            with tempfile.TemporaryDirectory(dir=PLACE) as place:
                place = pathlib.Path(place)
                (place / "capture.pcap").symlink_to(PLACE / f"{name}.pcap")
                folder = place / "run"
                folder.mkdir()
                run = measured(command(folder), folder)
                try:
                    run["names"], run["flows"] = reader(folder) if run["status"] == 0 else (None, None)
                except (OSError, ValueError, sqlite3.Error) as error:
                    run.update(names=None, flows=None, status=f"unreadable: {error}")
                if run["status"] != 0:
                    run["said"] = (folder / "err").read_text(errors="replace")[-300:]
            results.setdefault(program, []).append(run)
            print(f"    {program:16} {run['cpu_s']:8.2f} CPU s {run['memory'] / 1e6:7.0f} MB  names {run['names']}", flush=True)
    return {program: judged(all_runs, facts) for program, all_runs in results.items()}


def judged(runs, facts):
    """Medians, and why the result does not count, if it does not."""
    row = {key: statistics.median(r[key] for r in runs) for key in ("cpu_s", "wall_s")}
    row["memory"] = max(r["memory"] for r in runs)
    row["names"], row["flows"] = runs[-1]["names"], runs[-1]["flows"]
    row["spread"] = [min(r["cpu_s"] for r in runs), max(r["cpu_s"] for r in runs)]
    failed = [r for r in runs if r["status"] != 0]
    if failed:
        row["not_counted"] = f"ended with {failed[0]['status']}"
    elif row["names"] is not None and row["names"] < facts["named"]:
        row["not_counted"] = f"misses {facts['named'] - row['names']:,} names"
    return row


def names_hold(name):
    """`True` if every name that the generator wrote was read as often, and no other."""
    beside = PLACE / f"{name}.pcap.names"
    if not beside.exists():
        return None
    found = {}
    command = [SHADOWTAP, "scan", "-q", "--observations", "-", PLACE / f"{name}.pcap"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as scan:
        for line in scan.stdout:
            if '"kind":"tls_sni"' in line or '"kind":"quic_sni"' in line:
                value = json.loads(line)["value"]
                found[value] = found.get(value, 0) + 1
    said = (line.rstrip("\n").split("\t") for line in open(beside, encoding="ascii"))
    return found == {name: int(count) for count, name in said}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--only", nargs="+", help="captures whose name begins so")
    parser.add_argument("--page", type=pathlib.Path)
    parser.add_argument("--keep", action="store_true", help="keep results of captures that this run leaves out")
    args = parser.parse_args()
    runs = args.runs or (1 if args.quick else 3)
    PLACE.mkdir(parents=True, exist_ok=True)
    peers.install()
    kept = PLACE / ("quick.json" if args.quick else "results.json")
    results = json.loads(kept.read_text()) if args.keep and kept.exists() else {}
    results["machine"] = peers.machine()
    results["versions"] = {"shadowtap": peers.version([SHADOWTAP, "--version"])}
    results.setdefault("captures", {})
    there = peers.there()
    results["versions"].update({peer.name: peers.version(peer.version) for peer in there})
    for name, words, shows in captures(args.quick):
        if args.only and not name.startswith(tuple(args.only)):
            continue
        print(f"{name}: {shows}", flush=True)
        file = f"{name}-quick" if args.quick else name
        facts = make(words, PLACE / f"{file}.pcap")
        with open(PLACE / f"{file}.pcap", "rb") as capture:
            while capture.read(1 << 24):
                pass
        rows = programs(words[0], facts["tuples"])
        small, growth = name.endswith("-small"), name.startswith("growth")
        alike = [p for p in there if not growth and (small or args.quick or p.fast)]
        rows += [(p.name, (lambda folder, p=p: p.command(folder.parent / "capture.pcap", folder)), p.read) for p in alike]
        result = {"shows": shows, "facts": facts, "programs": in_turn(file, facts, rows, 1 if small else runs)}
        result["every_name"] = names_hold(file)
        results["captures"][name] = result
        kept.write_text(json.dumps(results, indent=1))
    where = args.page or (PLACE / "performance.md" if args.quick else ROOT / "docs" / "performance.md")
    live = PLACE / "live.json"
    page.write(where, results, json.loads(live.read_text()) if live.exists() else None)
    print(f"written: {where}")
    missed = [n for n, r in results["captures"].items() if "not_counted" in r["programs"]["shadowtap"] or r["every_name"] is False]
    if missed:
        print(f"bench-peers: shadowtap missed names or failed on {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
