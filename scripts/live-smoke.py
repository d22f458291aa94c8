#!/usr/bin/env python3
"""A minute of real traffic in network namespaces, mirrored, and watched live.

    client 10.99.0.2 ── bridge without ageing ── server 192.0.2.10     a certificate of our own, real TLS
                              └─ mirror ─ shadowtap watch --json

usage: live-smoke.py SHADOWTAP [--seconds 60]

Checked: frames read = frames that the kernel gave the mirror port, none lost; the service that curl, Python and
openssl used is found, `used`, with exactly the bytes that the server's sockets took and gave; nothing else is.
Needs root, ip, curl, openssl; says so and is skipped where they are missing. Ends only what it started.
"""
import collections
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

SERVED, SERVER, CLIENT = "api.openai.com", "192.0.2.10", "10.99.0.2"
# Names that only look like it, and one that is nobody's.
ORDINARY = ("wiki.example.org", "api.openai.com.example.net")
SETTLE_S = 1.0


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, **options)


class Network:
    """Three hosts on a bridge. All interfaces live in the namespaces, so deleting these leaves nothing."""

    def __init__(self):
        self.names = {role: f"st-{role}-{os.getpid()}" for role in ("client", "server", "mirror", "switch")}
        self.made = []

    def build(self):
        for name in self.names.values():
            run("ip", "netns", "add", name)
            self.made.append(name)
            # Nobody speaks unasked: every frame is one that a client or the server caused.
            self.on_name(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
            self.on_name(name, "ip", "link", "set", "lo", "up")
        # Ageing 0: the bridge learns nothing, so each frame goes to every port, as on a mirror port.
        self.on("switch", "ip", "link", "add", "br0", "type", "bridge", "ageing_time", "0", "mcast_snooping", "0")
        for role in ("client", "server", "mirror"):
            self.on("switch", "ip", "link", "add", role, "type", "veth", "peer", "name", "eth0", "netns", self.names[role])
            self.on("switch", "ip", "link", "set", role, "master", "br0", "up")
            self.on(role, "ip", "link", "set", "eth0", "arp", "off" if role == "mirror" else "on", "up")
        self.on("switch", "ip", "link", "set", "br0", "up")
        self.on("client", "ip", "addr", "add", f"{CLIENT}/24", "dev", "eth0")
        self.on("server", "ip", "addr", "add", f"{SERVER}/24", "dev", "eth0")
        self.on("client", "ip", "route", "add", "192.0.2.0/24", "dev", "eth0")
        self.on("server", "ip", "route", "add", "10.99.0.0/24", "dev", "eth0")

    def command(self, role, *command):
        return ["ip", "netns", "exec", self.names[role], *map(str, command)]

    def on(self, role, *command, **options):
        return run(*self.command(role, *command), **options)

    def on_name(self, name, *command):
        return run("ip", "netns", "exec", name, *command)

    def mirrored(self):
        """Frames and losses at the mirror port, as the kernel counts them."""
        done = self.on("mirror", "ip", "-j", "-s", "link", "show", "eth0", capture_output=True, text=True)
        stats = json.loads(done.stdout)[0]["stats64"]["rx"]
        return stats["packets"], stats["dropped"] + stats["errors"]

    def remove(self):
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], check=False)


def reply(tls, pending):
    """Answers the first request in `pending` if it is whole: its host, whether to go on, what is left of it."""
    head, end, body = pending.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
    fields = {key.lower(): value for key, value in fields.items()}
    length = int(fields.get("content-length", 0))
    if not end or len(body) < length:
        return None, True, pending
    kept = fields.get("connection", "keep-alive")
    text = json.dumps({"object": "chat.completion", "echo": "x" * 4000}).encode()
    tls.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: {kept}\r\n"
              f"Content-Length: {len(text)}\r\n\r\n".encode() + text)
    return fields["host"], kept != "close", body[length:]


def serve(folder):
    """The server, in its namespace: TLS by hand over a socket, so that every octet on it is counted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    listener = socket.create_server((SERVER, 443), backlog=64)
    counts = collections.defaultdict(lambda: [0, 0, 0])
    lock, running = threading.Lock(), []

    def answer(connection):
        taken = given = 0
        inner, outer = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(inner, outer, server_side=True)
        pending, ready, done, asked = b"", False, False, None
        with connection:
            while True:
                closing = False
                try:
                    if not ready:
                        tls.do_handshake()
                        ready = True
                    while chunk := tls.read(65536):
                        pending += chunk
                        name, keep, pending = reply(tls, pending)
                        asked, closing = name or asked, not keep
                except ssl.SSLError:
                    # It wants more, or the client said that it is done: either way, read on.
                    pass
                if closing:
                    with contextlib.suppress(ssl.SSLError):
                        tls.unwrap()
                out = outer.read()
                if out and not done:
                    connection.sendall(out)
                    given += len(out)
                if closing:
                    connection.shutdown(socket.SHUT_WR)
                    done = True
                try:
                    data = connection.recv(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    break
                taken += len(data)
                inner.write(data)
        with lock:
            entry = counts[asked or "nobody"]
            entry[0] += taken
            entry[1] += given
            entry[2] += 1

    def stop(*_):
        raise SystemExit

    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    try:
        while True:
            connection, _ = listener.accept()
            thread = threading.Thread(target=answer, args=(connection,), daemon=True)
            thread.start()
            running.append(thread)
    finally:
        for thread in running:
            thread.join(2)
        print(json.dumps(counts), flush=True)


def use(name, turn):
    """One use by Python, in the client's namespace: two requests on one connection."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = socket.create_connection((SERVER, 443), 5)
    connection = http.client.HTTPSConnection(name)
    connection.sock = context.wrap_socket(raw, server_hostname=name)
    for size in (2_000, 500 * turn):
        connection.request("POST", "/v1/chat/completions", body=b"p" * size, headers={"User-Agent": "OpenAI/Python 2.1.0"})
        connection.getresponse().read()
    connection.close()


def drive(network, folder, seconds):
    """Clients of three kinds, one after another, until time is up."""
    body = pathlib.Path(folder, "body.json")
    body.write_text(json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "word " * 3000}]}))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 20}
    end, turn = time.monotonic() + seconds, 0
    while time.monotonic() < end or turn < 2:
        turn += 1
        for name in (SERVED,) + ORDINARY:
            network.on("client", "curl", "-sSk", "--resolve", f"{name}:443:{SERVER}", "-d", f"@{body}",
                       f"https://{name}/v1/chat/completions", **quiet)
            network.on("client", sys.executable, __file__, "--use", name, turn, **quiet)
            request = f"GET /v1/models HTTP/1.1\r\nHost: {name}\r\nX-Pad: {'y' * 600}\r\nConnection: close\r\n\r\n"
            network.on("client", "openssl", "s_client", "-quiet", "-connect", f"{SERVER}:443", "-servername", name,
                       input=request.encode(), **quiet)
        time.sleep(min(1.0, seconds / 60))
    return turn


def missing():
    if os.geteuid() != 0:
        return "it needs root to make network namespaces"
    for tool in ("ip", "curl", "openssl", "sysctl"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    probe = f"st-probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if done.returncode:
        return f"network namespaces cannot be made here: {done.stderr.strip()}"
    try:
        for kind in (("test0", "bridge"), ("test1", "veth")):
            done = subprocess.run(["ip", "-n", probe, "link", "add", "name", kind[0], "type", kind[1]], capture_output=True, text=True)
            if done.returncode:
                return f"the kernel has no {kind[1]}: {done.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", probe], check=False)
    return None


def lookup(shadowtap, name):
    done = run(shadowtap, "lookup", name, capture_output=True, text=True)
    return done.stdout.split("\t")[1].strip() if "\t" in done.stdout else ""


def smoke(shadowtap, seconds, folder):
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", f"/CN={SERVED}", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem", stderr=subprocess.DEVNULL)
    network, started = Network(), []
    try:
        network.build()
        server = subprocess.Popen(network.command("server", sys.executable, __file__, "--serve", folder), stdout=subprocess.PIPE, text=True)
        started.append(server)
        assert server.stdout.readline() == "ready\n", "the server did not start"
        before, _ = network.mirrored()
        with open(f"{folder}/watch.json", "wb") as out:
            watch = subprocess.Popen(network.command("mirror", shadowtap, "watch", "-i", "eth0", "--json", "--socket", f"{folder}/views.sock",
                                                     "--stats", f"{folder}/stats.json"), stdout=out, stderr=subprocess.PIPE)
        started.append(watch)
        assert any(b"watching" in line for line in iter(watch.stderr.readline, b"")), "the sensor did not start"
        turns = drive(network, folder, seconds)
        time.sleep(SETTLE_S)
        after, lost = network.mirrored()
        watch.send_signal(signal.SIGTERM)
        watch.stderr.read()
        code = watch.wait(60)
        server.terminate()
        counts = json.loads(server.communicate(timeout=20)[0])
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
        network.remove()
    document, stats = json.load(open(f"{folder}/watch.json")), json.load(open(f"{folder}/stats.json"))
    return judge(shadowtap, document, stats, counts, after - before, lost, code, turns)


def judge(shadowtap, document, stats, counts, mirrored, lost, code, turns):
    service = lookup(shadowtap, SERVED)
    found = [f for f in document["findings"] if f["service"] == service]
    used = [f for f in found if f["level"] in ("used", "bulk")]
    sent = sum(f["bytes_sent"] for f in found)
    received = sum(f["bytes_received"] for f in found)
    want = counts.get(SERVED, [0, 0, 0])
    checks = (
        ("the sensor ended well", code, 0),
        ("frames read, of those that the kernel mirrored", stats["parsed"], mirrored),
        ("frames that the sensor lost, by reason", stats["lost"], {}),
        ("frames that the kernel lost", lost, 0),
        ("clients' connections to the service, by the server", want[2], 3 * turns),
        (f"{SERVED} is in the catalogue", bool(service), True),
        (f"{service} found used, by one device", len(used), 1),
        ("bytes sent, of those that the server took", sent, want[0]),
        ("bytes received, of those that the server gave", received, want[1]),
        ("services found beside it", sorted({f["service"] for f in document["findings"]} - {service}), []),
    )
    failed = 0
    for what, have, wanted in checks:
        failed += have != wanted
        print(f"smoke: {'ok    ' if have == wanted else 'FAILED'} {what}: {have}" + ("" if have == wanted else f", wanted {wanted}"))
    return 1 if failed else 0


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["--serve"]:
        return serve(arguments[1])
    if arguments[:1] == ["--use"]:
        return use(arguments[1], int(arguments[2]))
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    # Ended from outside, it still takes its namespaces along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seconds = float(arguments[arguments.index("--seconds") + 1]) if "--seconds" in arguments else 60.0
    why = missing()
    if why:
        print(f"smoke: SKIPPED: {why}")
        return 0
    with tempfile.TemporaryDirectory(prefix="shadowtap-smoke-") as folder:
        return smoke(str(pathlib.Path(arguments[0]).resolve()), seconds, folder)


if __name__ == "__main__":
    sys.exit(main())
