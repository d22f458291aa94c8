#!/usr/bin/env python3
"""Measures the live sensor: over a veth pair between two network namespaces, or on a card of the owner's.

usage: live.py veth [--seconds N]        (root) the sender's ceiling, a bare receiver, shadowtap, in turn
       live.py nic INTERFACE [--seconds N]   what arrives there now: rate, losses, CPU (a right to capture)

In: target/release/shadowtap and bench-tool, which the Makefile builds. Out: a table; `veth` also writes
target/bench-peers/live.json, from which docs/performance.md takes its part.
Never: sends anything anywhere but into namespaces of its own, which it removes; sends at all with `nic`.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from run import PLACE, SHADOWTAP, TOOL, make

# Seconds until a sensor watches, and until it has written everything after its signal.
START_S, END_S = 30, 60
NEAR, FAR = f"bench-near-{os.getpid()}", f"bench-far-{os.getpid()}"
PORT = "veth0"


def ip(*words):
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def wire():
    """Two namespaces with one cable."""
    try:
        for name in (NEAR, FAR):
            ip("netns", "add", name)
        ip("link", "add", PORT, "netns", NEAR, "type", "veth", "peer", "name", PORT, "netns", FAR)
        for name in (NEAR, FAR):
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", PORT, "up", "mtu", "1500")
        yield
    finally:
        for name in (NEAR, FAR):
            subprocess.run(["ip", "netns", "del", name], check=False)


def within(name, command):
    return ["ip", "netns", "exec", name, *map(str, command)]


def ended(child):
    """CPU seconds of a process and of all that it waited for."""
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def sent_by(capture, seconds, rate):
    command = within(NEAR, [TOOL, "send", PORT, capture, seconds, rate])
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def bare(capture, seconds, rate):
    """The barest receiver, for a little longer than the sender sends."""
    receiver = subprocess.Popen(within(FAR, [TOOL, "receive", PORT, seconds + 3]), stdout=subprocess.PIPE, text=True)
    time.sleep(1.5)
    sent = sent_by(capture, seconds, rate)
    said = receiver.stdout.read()
    cpu_s = ended(receiver)
    return row("bare ring and flow table", sent, json.loads(said)["drops"], cpu_s)


def sensor(interface, folder, launch=lambda command: command):
    """A sensor that watches, and where it will write what it counted."""
    stats = folder / "stats.json"
    command = [str(SHADOWTAP), "watch", "-i", interface, "--threads", "1", "--ring", "256", "--store", str(folder / "s.db"), "--stats", str(stats)]
    child = subprocess.Popen(launch(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + START_S
    for line in child.stderr:
        if "watching" in line:
            return child, stats
        if time.monotonic() > until:
            break
    raise SystemExit("live: shadowtap does not watch")


def stop(child):
    os.kill(child.pid, signal.SIGTERM)
    signal.alarm(END_S)
    child.stderr.read()
    cpu_s = ended(child)
    signal.alarm(0)
    return cpu_s


def ours(capture, seconds, rate):
    with tempfile.TemporaryDirectory(dir=PLACE) as folder:
        # `ip netns exec` becomes the command: the process id is the sensor's.
        child, stats = sensor(PORT, pathlib.Path(folder), lambda command: within(FAR, command))
        time.sleep(1)
        sent = sent_by(capture, seconds, rate)
        time.sleep(1)
        cpu_s = stop(child)
        counted = json.loads(stats.read_text())
    # What was sent and neither read nor counted as lost would be worse than a loss.
    silent = sent["sent"] - counted["parsed"] - sum(counted["lost"].values())
    if silent > 0:
        print(f"live: {silent} frames are neither read nor counted as lost", file=sys.stderr)
    return row("shadowtap watch", sent, sum(counted["lost"].values()) + max(silent, 0), cpu_s)


def row(receiver, sent, lost, cpu_s):
    made = {"receiver": receiver, "sent": sent["sent"], "mpps": sent["sent"] / sent["ns"] * 1e3, "lost": lost, "cpu_s": cpu_s}
    print(f"  {receiver:26} {made['sent']:>12,} sent, {made['mpps']:.3f} Mpps, {lost:,} lost, {cpu_s / max(made['sent'], 1) * 1e6:.3f} CPU s a million", flush=True)
    return made


def veth(seconds):
    PLACE.mkdir(parents=True, exist_ok=True)
    capture = PLACE / "live.pcap"
    make(["tls", 20_000], capture)
    with wire():
        runs = [bare(capture, seconds, 0), ours(capture, seconds, 0)]
        ceiling = max(r["mpps"] for r in runs)
        # Where sender and sensor share cores, the rate is lowered until nothing is lost.
        while runs[-1]["lost"] and runs[-1]["mpps"] > ceiling / 10:
            rate = int(runs[-1]["mpps"] * 1e6 * 0.8)
            runs += [bare(capture, seconds, rate), ours(capture, seconds, rate)]
    held = [r["mpps"] for r in runs if r["receiver"].startswith("shadowtap") and not r["lost"]]
    result = {"seconds": seconds, "cores": os.cpu_count(), "ceiling_mpps": ceiling, "shown_mpps": max(held, default=0), "runs": runs}
    (PLACE / "live.json").write_text(json.dumps(result, indent=1))
    print(f"sender's ceiling {ceiling:.2f} Mpps; shadowtap shown to {result['shown_mpps']:.2f} Mpps without a loss")


def counters(interface):
    folder = pathlib.Path("/sys/class/net", interface, "statistics")
    return {name: int((folder / name).read_text()) for name in ("rx_packets", "rx_bytes", "rx_dropped", "rx_missed_errors", "rx_fifo_errors")}


def nic(interface, seconds):
    with tempfile.TemporaryDirectory() as folder:
        child, stats = sensor(interface, pathlib.Path(folder))
        before, begun = counters(interface), time.monotonic()
        time.sleep(seconds)
        after, lasted = counters(interface), time.monotonic() - begun
        cpu_s = stop(child)
        counted = json.loads(stats.read_text())
    grown = {name: after[name] - before[name] for name in after}
    packets = max(counted["packets"], 1)
    print(f"{interface}, {lasted:.0f} s: {grown['rx_packets'] / lasted:,.0f} packets/s, {grown['rx_bytes'] * 8 / lasted / 1e9:.3f} Gbit/s by the card's own count")
    print(f"shadowtap: {counted['parsed']:,} read of {counted['packets']:,}, lost {counted['lost'] or 'none'}, "
          f"{cpu_s / packets * 1e6:.3f} CPU s a million, {100 * cpu_s / lasted:.0f} % of a core")
    missed = {name: n for name, n in grown.items() if n and name not in ("rx_packets", "rx_bytes")}
    print(f"lost by the card or its driver, which no ring sees: {missed or 'none'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("veth", "nic"))
    parser.add_argument("interface", nargs="?")
    parser.add_argument("--seconds", type=int, default=30)
    args = parser.parse_args()
    if args.what == "veth":
        if os.geteuid() != 0:
            raise SystemExit("live: namespaces need root")
        veth(args.seconds)
    elif not args.interface:
        raise SystemExit("live: which interface? make bench-nic IFACE=eth1")
    else:
        nic(args.interface, args.seconds)


if __name__ == "__main__":
    main()
