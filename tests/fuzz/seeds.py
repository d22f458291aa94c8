#!/usr/bin/env python3
"""Writes first inputs of every fuzz target, as tests/fuzz/corpus/TARGET/seed-NAME.

In: the recorded office (fixtures/office), for what real clients say; the rest is made here after the RFC
of each layer. Out: small files. A fuzzer that begins with nothing takes days to find a magic number.
"""
import itertools
import pathlib
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "fixtures" / "layers"))
from make import LINKS, eth, ip4, layers, question, udp  # noqa: E402

QUESTION = question("chat")
CORPUS = ROOT / "tests" / "fuzz" / "corpus"


def seed(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed-{name}").write_bytes(data[:4096])


def pieces(*parts):
    return b"".join(struct.pack(">H", len(p)) + p for p in parts)


def talk(*said):
    """A conversation for a stream target: lengths to cut at, then pieces with their speaker."""
    return bytes([7, 90]) + pieces(*(bytes([who]) + data for who, data in said))


UP, DOWN = 0, 1


def office():
    raw = subprocess.run(["zstd", "-dc", ROOT / "fixtures/office/office.pcap.zst"], check=True, capture_output=True).stdout
    at, frames = 24, []
    while at + 16 <= len(raw):
        captured = struct.unpack_from("<I", raw, at + 8)[0]
        frames.append(raw[at + 16:at + 16 + captured])
        at += 16 + captured
    return raw[:24], frames


def transport(frame):
    """Protocol, ports and payload of an Ethernet frame with IPv4 or IPv6, or nothing."""
    if frame[12:14] == b"\x08\x00":
        size, protocol, length = (frame[14] & 15) * 4, frame[23], struct.unpack_from(">H", frame, 16)[0]
        packet = frame[14 + size:14 + length]
    elif frame[12:14] == b"\x86\xdd":
        protocol, packet = frame[20], frame[54:]
    else:
        return None
    if protocol == 17 and len(packet) >= 8:
        return 17, struct.unpack_from(">HH", packet), packet[8:]
    if protocol == 6 and len(packet) >= 20:
        return 6, struct.unpack_from(">HH", packet), packet[(packet[12] >> 4) * 4:]
    return None


def from_office(header, frames):
    seed("capture_file", "pcap", b"\x00\x40" + header + b"".join(
        struct.pack("<IIII", 1, 2, len(f), len(f)) + f for f in frames[:12]))
    count = {}
    for frame in frames:
        found = transport(frame)
        if not found or not found[2]:
            continue
        protocol, ports, data = found
        up = UP if ports[1] < ports[0] else DOWN
        for target, wanted, make in [
            ("dns", protocol == 17 and 53 in ports, lambda d: d),
            ("local", protocol == 17 and 5353 in ports, lambda d: d),
            ("dhcp", protocol == 17 and 67 in ports, lambda d: d),
            ("quic_initial", protocol == 17 and 443 in ports and data[0] & 0x80, lambda d: pieces(bytes([up]) + d)),
            ("tls_client", protocol == 6 and data[:1] == b"\x16", lambda d: talk((up, d))),
            ("http1", protocol == 6 and (data[:4] in (b"GET ", b"POST") or data[:5] == b"HTTP/"), lambda d: talk((up, d))),
            ("frame", len(frame) < 700, lambda d: b"\x00" + pieces(frame)),
        ]:
            shape = (target, protocol, up, len(data) // 64)
            if wanted and count.get(shape, 0) < 1 and sum(n for s, n in count.items() if s[0] == target) < 14:
                count[shape] = 1
                seed(target, f"office-{sum(n for s, n in count.items() if s[0] == target):02}", make(data))


def files():
    frame = layers()["plain"][1]
    record = struct.pack(">IIII", 1, 2, len(frame), len(frame)) + frame
    head = struct.pack(">HHIIII", 2, 4, 0, 0, 65535, 1)
    for name, magic in [("big", 0xa1b2c3d4), ("nano", 0xa1b23c4d)]:
        seed("capture_file", name, b"\0\x20" + struct.pack(">I", magic) + head + record * 3)
    seed("capture_file", "modified", b"\0\x20" + struct.pack(">I", 0xa1b2cd34) + head + (record[:16] + bytes(8) + frame) * 2)

    def block(kind, body):
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
    section = block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1))
    interface = block(1, struct.pack("<HHI", 1, 0, 0) + struct.pack("<HHB3x", 9, 1, 9) + struct.pack("<HHQ", 14, 8, 5) + bytes(4))
    packets = [block(6, struct.pack("<IIIII", 0, 1, 2, len(frame), len(frame)) + frame),
               block(3, struct.pack("<I", len(frame)) + frame),
               block(2, struct.pack("<HHIIII", 0, 0, 1, 2, len(frame), len(frame)) + frame)]
    others = [block(4, struct.pack("<HH", 0, 0)), block(5, struct.pack("<III", 0, 1, 2)), block(10, struct.pack("<II", 0x544c534b, 0)),
              block(0xbad, struct.pack("<I", 9) + b"custom")]
    seed("capture_file", "pcapng", b"\0\x30" + section + interface + b"".join(packets + others + packets))


def protocols():
    for name, (link, frame) in layers().items():
        seed("frame", name, bytes([LINKS.index(link)]) + pieces(frame))
    first, last = udp(40000, 53, QUESTION)[:24], udp(40000, 53, QUESTION)[24:]
    seed("frame", "fragments", b"\0" + pieces(eth(0x0800, ip4(17, last, 3)), eth(0x0800, ip4(17, first, 0x2000))))
    hello = next((CORPUS / "tls_client").glob("seed-office-*")).read_bytes()[5:]
    name = lambda text: b"".join(bytes([len(p)]) + p for p in text.split(b".")) + b"\0"
    answer = b"\x12\x34\x81\x80\0\1\0\2\0\0\0\0" + QUESTION[12:] + b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0\x11" + b"\xc0\x11\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\7"
    seed("dns", "answer", answer)
    framed = lambda m: struct.pack(">H", len(m)) + m
    seed("dns_tcp", "two", talk((UP, framed(QUESTION) * 2), (DOWN, framed(answer) * 2)))
    seed("local", "mdns", b"\0\0\x84\0\0\0\0\1\0\0\0\0" + name(b"pc.local") + b"\0\1\x80\1\0\0\0\x78\0\4\xc0\0\2\7")
    seed("local", "nbns", b"\1\2\1\x10\0\1\0\0\0\0\0\0\x20" + b"EBCACACACACACACACACACACACACACACA" + b"\0\0\x20\0\1")
    for kind, text in [("pipelined", b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n" * 2), ("folded", b"GET / HTTP/1.0\nHost:\n b.example\n\n"),
                       ("chunked", b"POST /v1/chat/completions HTTP/1.1\r\nHost: c.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
                       ("absolute", b"GET http://d.example:81/ HTTP/1.1\r\nHost: d.example\r\n\r\n"), ("connect", b"CONNECT e.example:443 HTTP/1.1\r\n\r\n"),
                       ("upgrade", b"GET / HTTP/1.1\r\nHost: f.example\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")]:
        seed("http1", kind, talk((UP, text), (DOWN, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")))
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9).replace(b"\0", b"\0", 1)[:3] + b"\4\0\0\0\0\0"
    block = b"\x82\x86\x84\x41\x09g.example\x7a\x04t/1."
    headers = struct.pack(">I", len(block))[1:] + b"\1\4\0\0\0\1" + block
    seed("h2c", "headers", talk((UP, preface + headers)))
    seed("h2c", "continuation", talk((UP, preface + struct.pack(">I", 5)[1:] + b"\1\0\0\0\0\1" + block[:5]
                                      + struct.pack(">I", len(block) - 5)[1:] + b"\x09\4\0\0\0\1" + block[5:])))
    seed("socks", "v5", talk((UP, b"\5\1\0"), (DOWN, b"\5\0"), (UP, b"\5\1\0\3\x09h.example\1\xbb"), (DOWN, b"\5\0\0\1\0\0\0\0\0\0")))
    seed("socks", "v4a", talk((UP, b"\4\1\1\xbb\0\0\0\1me\0i.example\0")))
    seed("socks", "proxy1", talk((UP, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")))
    seed("socks", "proxy2", talk((UP, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\0\1\0\2")))
    for kind, said in {"smtp": [(DOWN, b"220 m.example\r\n"), (UP, b"EHLO x\r\n"), (DOWN, b"250 STARTTLS\r\n"), (UP, b"STARTTLS\r\n"), (DOWN, b"220 go\r\n")],
                       "imap": [(DOWN, b"* OK\r\n"), (UP, b"a STARTTLS\r\n"), (DOWN, b"a OK\r\n")], "pop3": [(DOWN, b"+OK\r\n"), (UP, b"STLS\r\n"), (DOWN, b"+OK\r\n")],
                       "ftp": [(DOWN, b"220 f\r\n"), (UP, b"AUTH TLS\r\n"), (DOWN, b"234 ok\r\n")], "pg": [(UP, b"\0\0\0\x08\4\xd2\x16\x2f"), (DOWN, b"S")],
                       "ldap": [(UP, b"\x30\x1d\2\1\1\x77\x18\x80\x161.3.6.1.4.1.1466.20037"), (DOWN, b"\x30\x0c\2\1\1\x78\7\x0a\1\0\4\0\4\0")],
                       "xmpp": [(UP, b"<stream:stream to='x'>"), (UP, b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), (DOWN, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")],
                       "mysql": [(DOWN, b"\x0a\0\0\0\x0a8.0.1\0\0\0\0"), (UP, b"\x20\0\0\1\0\x0a\0\0" + bytes(28))]}.items():
        seed("starttls", kind, talk(*said, (UP, hello[:600])))
    der = lambda tag, *inner: (lambda b: bytes([tag]) + (bytes([len(b)]) if len(b) < 128 else b"\x81" + bytes([len(b)])) + b)(b"".join(inner))
    text = lambda t: der(0x1b, t)
    cname = der(0x30, der(0xa0, der(2, b"\1")), der(0xa1, der(0x30, text(b"alice"))))
    request = der(0x6a, der(0x30, der(0xa1, der(2, b"\5")), der(0xa2, der(2, b"\x0a")),
                            der(0xa4, der(0x30, der(0xa0, der(3, b"\0\0\0\0\0")), der(0xa1, cname), der(0xa2, text(b"EXAMPLE.TEST"))))))
    seed("kerberos", "as-req", request)
    seed("kerberos", "tcp", talk((UP, struct.pack(">I", len(request)) + request)))
    user, domain = "alice".encode("utf-16-le"), "CORP".encode("utf-16-le")
    field = lambda data, at: struct.pack("<HHI", len(data), len(data), at)
    logon = (b"NTLMSSP\0\3\0\0\0" + field(b"", 64) * 2 + field(domain, 64) + field(user, 64 + len(domain)) + field(b"", 64) * 2 + b"\5\2\0\2" + domain + user)
    seed("ntlm", "authenticate", logon)
    seed("ntlm", "tds", talk((UP, b"\x11\1" + struct.pack(">H", 8 + len(logon)) + b"\0\0\1\0" + logon)))
    smb = b"\xfeSMB" + b"\x40\0\0\0" + bytes(4) + b"\1\0" + bytes(50) + logon
    seed("ntlm", "smb2", talk((UP, struct.pack(">I", len(smb)) + smb)))
    rpc = b"\5\0\x10\3\x10\0\0\0" + struct.pack("<HH", 24 + len(logon), len(logon)) + bytes(4) + bytes(8) + logon
    seed("ntlm", "rpc", talk((UP, rpc)))
    body = hello[hello.index(b"\x16\3") + 9:][:400] if b"\x16\3" in hello else b""
    message = b"\1" + struct.pack(">I", len(body))[1:] + b"\0\0\0\0\0" + struct.pack(">I", len(body))[1:] + body
    seed("dtls", "hello", pieces(b"\0" + b"\x16\xfe\xfd" + bytes(8) + struct.pack(">H", len(message)) + message))
    for plan, kind in itertools.product([b"", bytes(range(60))], [b"GET / HTTP/1.1\r\nHost: j.example\r\n\r\n", hello[2:900]]):
        seed("tcp_stream", f"{len(plan)}-{len(kind)}", bytes([1, len(plan) // 3]) + plan + struct.pack(">H", len(kind)) + kind + b"HTTP/1.1 200 OK\r\n\r\n")
    seed("quic_crypto", "shuffled", b"\0\x20" + bytes(range(250)))
    seed("ip_defrag", "five", b"\4\1\3\1\2\0\5\0\1\2\3\4" + bytes(200))
    config = (ROOT / "src/config/shadowtap.toml").read_text()
    for n, part in enumerate(config.split("\n[")[:12]):
        lines = [line for line in ("[" + part if n else part).splitlines() if not line.lstrip().startswith("#")]
        seed("config", f"{n:02}", "\n".join(lines).encode())
    seed("config", "policy", b'[default]\nstatus = "tolerated"\n[[rule]]\nservice = "x"\nstatus = "sanctioned"\nuntil = 2026-01-01\nnetworks = ["192.0.2.0/24"]\n')
    seed("signatures", "service", (sorted((ROOT / "signatures").glob("*.toml"))[0]).read_bytes()[:1200])
    seed("signatures", "network", (ROOT / "signatures/network/security-edges.toml").read_bytes()[:900])
    seed("output_escape", "mixed", "a\u202eb\x1b[31m\"\\\n=cmd|\u200b\ufeff\U000e0001\u00e9 ".encode())


if __name__ == "__main__":
    from_office(*office())
    files()
    protocols()
    print(sum(1 for _ in CORPUS.rglob("seed-*")), "seeds")
