"""Other programs that read names from captures: how each is called, and how its output is counted.

Every command is one that its manual gives for reading a file, with logging reduced to names and flows where it can be.
"""
import csv
import datetime
import json
import os
import platform
import shutil
import subprocess


class Peer:
    def __init__(self, name, version, command, read, fast=False):
        self.name, self.version, self.command, self.read = name, version, command, read
        # Fast enough for the large captures.
        self.fast = fast


def floor(folder):
    """Names are nobody's business there; flows are counted by the second floor."""
    return None, json.loads((folder / "out").read_text()).get("flows")


def nothing(_folder):
    return None, None


def tshark(folder):
    """A line for each packet in which a hello with a name was completed."""
    with open(folder / "out", "rb") as out:
        return sum(1 for _ in out), None


def ndpi(folder):
    with open(folder / "flows.csv", encoding="utf-8", errors="replace") as table:
        rows = csv.reader(table)
        head = next(rows)
        place = next(i for i, column in enumerate(head) if "server_name" in column)
        named = flows = 0
        for row in rows:
            flows += 1
            named += len(row) > place and bool(row[place])
    return named, flows


def mercury(folder):
    with open(folder / "names.json", encoding="utf-8", errors="replace") as lines:
        return sum('"server_name"' in line for line in lines), None


def suricata(folder):
    named = flows = 0
    with open(folder / "eve.json", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            flows += '"event_type":"flow"' in line
            named += '"sni":' in line and ('"event_type":"tls"' in line or '"event_type":"quic"' in line)
    return named, flows


def zeek(folder):
    named = flows = 0
    for log, key in (("ssl.log", "server_name"), ("quic.log", "server_name"), ("conn.log", None)):
        if not (folder / log).exists():
            continue
        with open(folder / log, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                flows += key is None
                named += key is not None and f'"{key}":' in line
    return named, flows


SURICATA = """%YAML 1.1
---
outputs:
  - eve-log: {enabled: yes, filetype: regular, filename: eve.json, types: [{tls: {extended: no, custom: [sni]}}, quic, flow]}
app-layer: {protocols: {tls: {enabled: yes, detection-ports: {dp: 443}}, quic: {enabled: yes}}}
flow: {memcap: 8gb, hash-size: 1048576, prealloc: 10000}
stream: {memcap: 8gb, reassembly: {memcap: 8gb}}
"""


def suricata_command(capture, folder):
    (folder / "suricata.yaml").write_text(SURICATA)
    return ["suricata", "-c", folder / "suricata.yaml", "-S", "/dev/null", "-k", "none", "--runmode", "single", "-l", folder, "-r", capture]


PEERS = [
    Peer("tcpdump", ["tcpdump", "--version"], lambda capture, _: ["tcpdump", "-n", "-r", capture, "-w", "/dev/null"], nothing, fast=True),
    Peer("mercury", ["mercury", "--version"], lambda capture, folder: ["mercury", "-r", capture, "-f", folder / "names.json"], mercury, fast=True),
    Peer("ndpiReader", ["ndpiReader", "-h"], lambda capture, folder: ["ndpiReader", "-q", "-i", capture, "-C", folder / "flows.csv"], ndpi),
    Peer("suricata", ["suricata", "-V"], suricata_command, suricata),
    Peer("zeek", ["zeek", "--version"], lambda capture, _: ["zeek", "-C", "-r", capture, "LogAscii::use_json=T"], zeek),
    Peer("tshark", ["tshark", "--version"], lambda capture, _: [
        "tshark", "-n", "-r", capture, "-Y", "tls.handshake.extensions_server_name", "-T", "fields",
        "-e", "tls.handshake.extensions_server_name"], tshark),
]


def install():
    """Debian's tcpdump and tshark, where that is possible."""
    missing = [tool for tool in ("tcpdump", "tshark", "zstd") if not shutil.which(tool)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=quiet, check=False)
        subprocess.run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing], env=quiet, check=False,
                       stdout=subprocess.DEVNULL)


def there():
    return [peer for peer in PEERS if shutil.which(peer.name)]


def version(command):
    """The first line that says a number."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    lines = [line.strip().rstrip(".") for line in done.stdout.splitlines()]
    return next((line for line in lines if any(c.isdigit() for c in line)), "unknown")


def machine():
    model = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="ascii", errors="replace") if line.startswith("model name")]
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo", encoding="ascii") if line.startswith("MemTotal"))
    huge = "/sys/kernel/mm/transparent_hugepage/enabled"
    return {
        "processor": model[0] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory * 1024 / 1e9),
        "kernel": platform.release(),
        "large_pages": open(huge, encoding="ascii").read().split("[")[1].split("]")[0] if os.path.exists(huge) else "unknown",
        "date": datetime.date.today().isoformat(),
        "load": os.getloadavg()[0],
    }
