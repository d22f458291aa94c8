#!/usr/bin/env python3
"""The code map of ARCHITECTURE.md: a line a file, from the first sentence of its module doc.

usage: codemap.py            fails if a file of src/ is missing from the map or a line names none
       codemap.py --write    renews the map between its two marks
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- map -->", "<!-- end of map -->"


def first_sentence(path):
    doc = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("//!"):
            break
        if not line[3:].strip():
            break
        doc.append(line[3:].strip())
    text = " ".join(doc)
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", text)[0] if text else "Tests." if "test" in path.name else ""


def code_map():
    lines, folder = [], None
    for path in sorted((ROOT / "src").rglob("*.rs"), key=lambda p: (p.parent.as_posix(), p.name != "mod.rs", p.name)):
        if path.parent != folder:
            folder = path.parent
            lines += ["", f"**{folder.relative_to(ROOT).as_posix()}/**", ""]
        lines.append(f"- `{path.name}` {first_sentence(path)}")
    return "\n".join([BEGIN, *lines, "", END])


def main():
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = before + code_map() + after
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if page != wanted:
        print("codemap: the map in ARCHITECTURE.md is not that of src/: scripts/codemap.py --write", file=sys.stderr)
        return 1
    print("codemap: the map in ARCHITECTURE.md is that of src/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
