#!/usr/bin/env python3
"""Terminal text to a picture (SVG), so that what the README shows is real output.

usage: picture.py TEXT.txt PICTURE.svg [--lines N]   only the first N lines, and a last one that says so
"""
import html
import re
import sys
import unicodedata

FONT_PX, CELL_PX, LINE_PX, EDGE_PX = 14, 8.43, 19, 18
# Plain spaces would be drawn as one.
NO_BREAK = "\u00a0"
PAPER, INK, FAINT, BAR = "#14181f", "#d5dae3", "#8b95a5", "#232a35"
# Words of the summary that carry a verdict; everything else is plain ink.
COLORS = (
    (re.compile(r"^\s*(FORBIDDEN|Forbidden)\b.*"), "#ff7b72"),
    (re.compile(r"^\s*(NOT YET REVIEWED|Not yet reviewed|UNREVIEWED|Unreviewed)\b.*"), "#f2cc60"),
    (re.compile(r"^\s*(ALLOWED|Allowed)\b.*"), "#7ee787"),
    (re.compile(r"^\s*(CANDIDATES|Candidates)\b.*"), "#79c0ff"),
    (re.compile(r"^\s*(COVERAGE|Coverage|What could not be seen|NOT SEEN)\b.*"), "#d2a8ff"),
    (re.compile(r"^\s*\$ .*"), "#ffffff"),
)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def width(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def color(line):
    for pattern, ink in COLORS:
        if pattern.match(line):
            return ink, "bold"
    return INK, "normal"


def main():
    arguments = [a for a in sys.argv[1:] if a != "--lines"]
    if len(arguments) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    lines = [ESCAPES.sub("", line.rstrip()) for line in open(arguments[0], encoding="utf-8")]
    while lines and not lines[0]:
        lines.pop(0)
    if len(arguments) == 3 and len(lines) > int(arguments[2]):
        rest = len(lines) - int(arguments[2])
        lines = lines[:int(arguments[2])] + [f"… {rest} more lines"]
    lines = ["$ shadowtap scan office.pcap.zst", ""] + lines
    wide = round(max(map(width, lines)) * CELL_PX + 2 * EDGE_PX)
    high = len(lines) * LINE_PX + 2 * EDGE_PX + 24
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}">',
        "<title>Summary of a scan, from the real output</title>",
        f'<rect width="{wide}" height="{high}" rx="8" fill="{PAPER}"/>',
        f'<rect width="{wide}" height="28" rx="8" fill="{BAR}"/><rect y="20" width="{wide}" height="8" fill="{BAR}"/>',
        *(f'<circle cx="{20 + 18 * i}" cy="14" r="5" fill="{FAINT}"/>' for i in range(3)),
        f'<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{FONT_PX}" xml:space="preserve">',
    ]
    for number, line in enumerate(lines):
        if line:
            ink, weight = color(line)
            y = 28 + EDGE_PX + number * LINE_PX + 10
            # The length is given, so that columns stand even where the font is another one.
            text = html.escape(line).replace(" ", NO_BREAK)
            long = round(width(line) * CELL_PX, 1)
            out.append(f'<text x="{EDGE_PX}" y="{y}" fill="{ink}" font-weight="{weight}" textLength="{long}" '
                       f'lengthAdjust="spacingAndGlyphs">{text}</text>')
    out += ["</g>", "</svg>", ""]
    with open(arguments[1], "w", encoding="utf-8") as file:
        file.write("\n".join(out))
    print(f"picture: wrote {arguments[1]}, {len(lines)} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
