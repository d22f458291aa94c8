#!/usr/bin/env python3
"""THIRD-PARTY-NOTICES.md: every crate in the binary, its terms, and the licence texts it came with.

usage: notices.py            fails if the committed file is not that of Cargo.lock
       notices.py --write    writes it

In: `cargo metadata` and the licence files of the crates' sources. Tests and build tools are left out.
"""
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "THIRD-PARTY-NOTICES.md"
TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")
TEXTS = re.compile(r"(?i)^(licen[cs]e|copying|copyright|notice|unlicense)")
JA4 = """\
## JA4 (TLS client fingerprint)

`src/watcher/protocol/ja4.rs` implements JA4 for TLS clients from its published description. No code was taken over.
JA4 is Copyright (c) 2023, FoxIO, LLC, under the BSD 3-Clause License:

> Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
> following conditions are met:
>
> 1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
>    disclaimer.
> 2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the
>    following disclaimer in the documentation and/or other materials provided with the distribution.
> 3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote
>    products derived from this software without specific prior written permission.
>
> THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
> INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
> DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
> SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
> SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY,
> WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
> OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.

The other fingerprints of the JA4+ family have other terms and are not implemented here.

## libpcap

The binary is linked with the system's libpcap (BSD 3-Clause, The Tcpdump Group), which is not part of it.
"""


def shipped():
    """Packages in the binary: reachable from ours over normal dependencies, on the systems we build for."""
    found = {}
    for target in TARGETS:
        done = subprocess.run(
            ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target],
            cwd=ROOT, check=True, capture_output=True, text=True)
        metadata = json.loads(done.stdout)
        packages = {p["id"]: p for p in metadata["packages"]}
        nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
        waiting = [metadata["resolve"]["root"]]
        seen = set(waiting)
        while waiting:
            for dep in nodes[waiting.pop()]["deps"]:
                normal = any(kind["kind"] is None for kind in dep["dep_kinds"])
                macro = any("proc-macro" in t["kind"] for t in packages[dep["pkg"]]["targets"])
                if normal and not macro and dep["pkg"] not in seen:
                    seen.add(dep["pkg"])
                    waiting.append(dep["pkg"])
        found.update((i, packages[i]) for i in seen - {metadata["resolve"]["root"]})
    return sorted(found.values(), key=lambda p: (p["name"], p["version"]))


def licence_texts(package):
    """The licence files to give: all of them, unless MIT is offered and its text is there."""
    folder = pathlib.Path(package["manifest_path"]).parent
    files = sorted(f for f in folder.iterdir() if f.is_file() and TEXTS.match(f.name))
    if " OR " in package["license"].replace("/", " OR ") and " AND " not in package["license"]:
        mit = [f for f in files if "mit" in f.name.lower()]
        files = mit or files
    return [f.read_text(encoding="utf-8", errors="replace").strip() for f in files]


def document():
    packages = shipped()
    rows = ["| crate | version | terms | source |", "| --- | --- | --- | --- |"]
    by_text = {}
    for package in packages:
        name = f"{package['name']} {package['version']}"
        rows.append(f"| {package['name']} | {package['version']} | {package['license']} | {package['repository'] or ''} |")
        for text in licence_texts(package):
            shape = re.sub(r"\s+", " ", text)
            by_text.setdefault(shape, (text, []))[1].append(name)
    parts = [
        "# Third-party notices",
        "What is in the binary besides our own code. Made by `scripts/notices.py --write` from `Cargo.lock`; do not edit.",
        JA4.strip(),
        "## SQLite\n\n`libsqlite3-sys` carries SQLite, which its authors placed in the public domain.",
        "## Zstandard\n\n`zstd-sys` carries Zstandard: Copyright (c) Meta Platforms, Inc. and affiliates, taken under its"
        " BSD 3-Clause terms, which follow below with the crate's own.",
        "## Roboto\n\nReports on paper carry the typeface Roboto: Copyright 2015 Google Inc., taken under the Apache License 2.0"
        " (`LICENSE-APACHE`), unchanged.",
        f"## Crates ({len(packages)})\n\n" + "\n".join(rows),
        "## Licence texts",
    ]
    for text, names in sorted(by_text.values(), key=lambda pair: pair[1]):
        fence = "~~~~"
        parts.append(f"### {', '.join(names)}\n\n{fence}text\n{text}\n{fence}")
    return "\n\n".join(parts) + "\n"


def main():
    wanted = document()
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(wanted, encoding="utf-8")
        print(f"notices: wrote {FILE.name}")
        return 0
    if not FILE.exists() or FILE.read_text(encoding="utf-8") != wanted:
        print("notices: THIRD-PARTY-NOTICES.md is not that of Cargo.lock: scripts/notices.py --write", file=sys.stderr)
        return 1
    print("notices: THIRD-PARTY-NOTICES.md is that of Cargo.lock")
    return 0


if __name__ == "__main__":
    sys.exit(main())
