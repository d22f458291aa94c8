"""Results as a page with pictures.

In: what run.py measured, and what live.py did if it ran. Out: Markdown, and SVG beside it in a folder of its name.
Never: quotes a rate without what it was measured on; draws a run that does not count.
"""
import html
import math

INK, FAINT, OURS, OTHERS, LINES = "#24292f", "#8c959f", "#0969da", "#afb8c1", ("#0969da", "#8c959f")
FONT = 'font-family="Helvetica, Arial, sans-serif"'
# Pixels: a line of a bar chart, its names, and the drawing beside them.
ROW, NAMES, WIDE = 24, 150, 420


def per_million(row, facts):
    return row["cpu_s"] / facts["frames"] * 1e6


def ratio(result, program):
    rows = result["programs"]
    return rows[program]["cpu_s"] / rows["floor: flow"]["cpu_s"]


def write(where, results, live):
    pictures = where.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    machine, captures = results["machine"], results["captures"]
    lines = [
        "# Performance", "",
        f"Measured on {machine['date']}: {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, Linux {machine['kernel']}, "
        f"large pages {machine['large_pages']}, load {machine['load']:.1f} when the run began. Made by `make bench-peers`, which makes its captures itself; "
        "`make bench-peers ARGS=--quick` tries it out in a few minutes.", "",
        "CPU seconds are those of the whole process, user and system, median of the runs, one worker, warm cache; shadowtap writes to a store as it always does. "
        "Memory is the most that a run had resident; under some 35 MB it is that of the script that measures. Two floors say what the machine asks for the least work: *walk* reads every frame's header, *flow* "
        "also counts frames and bytes by flow in one table that was made for as many, and neither reads a name, orders a segment or ends a flow. A run that fails or misses names is "
        "not counted. What reads far slower than this is measured on a smaller capture of the same kind, with its own floor.", "",
        "Versions: " + " · ".join(f"{name}: {version}" for name, version in sorted(results["versions"].items())) + ".", "",
    ]
    for name, result in captures.items():
        if not name.startswith("growth"):
            lines += table(name, result, pictures, where)
    lines += growth(captures, pictures, where)
    lines += ["## Cores for a link", "", sentence(results, live) or "Not measured in this run.", ""]
    if live:
        lines += live_part(live)
    where.write_text("\n".join(lines), encoding="utf-8")


def table(name, result, pictures, where):
    facts, rows = result["facts"], result["programs"]
    lines = [f"## {name}: {result['shows']}", "",
             f"{facts['frames']:,} frames, {facts['bytes'] / 1e6:,.0f} MB on the wire, {facts['tuples']:,} flows by five-tuple, {facts['named']:,} with a name.", ""]
    if result.get("every_name") is not None:
        held = "each as often as it was written, and no other" if result["every_name"] else "**not** the ones that were written"
        lines += [f"The names that shadowtap reads from it are compared one by one with the generator's list: {held}.", ""]
    lines += ["| program | CPU s a million frames | × floor: flow | memory | names found / present | flows counted / present | |",
              "| --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    for program, row in rows.items():
        of = lambda key, total: "–" if row[key] is None else f"{row[key]:,} / {total:,}"
        spread = f"{row['spread'][0]:.2f} to {row['spread'][1]:.2f} s"
        lines.append(f"| {program} | {per_million(row, facts):.3f} | {ratio(result, program):.1f} | {row['memory'] / 1e6:,.0f} MB | "
                     f"{of('names', facts['named'])} | {of('flows', facts['tuples'])} | {'**not counted**: ' + row['not_counted'] if 'not_counted' in row else spread} |")
    counted = {p: ratio(result, p) for p, row in rows.items() if "not_counted" not in row}
    picture = pictures / f"{name}.svg"
    picture.write_text(bars(f"{name}: CPU time, as a multiple of the floor that only counts flows", counted), encoding="utf-8")
    return lines + ["", f"![{name}]({picture.relative_to(where.parent)})", ""]


def growth(captures, pictures, where):
    sizes = {int(name.split("-")[1]): result for name, result in captures.items() if name.startswith("growth")}
    if len(sizes) < 2:
        return []
    least = sizes[min(sizes)]["programs"]
    lines = ["## Growth with the number of flows", "",
             "60-byte frames drawn evenly from so many flows, the same number of frames each; default configuration.", "",
             "| flows | CPU s a million frames | × the smallest | floor: flow | × its smallest | memory |", "| ---: | ---: | ---: | ---: | ---: | ---: |"]
    series = {"shadowtap": [], "floor: flow": []}
    for size in sorted(sizes):
        facts, rows = sizes[size]["facts"], sizes[size]["programs"]
        cells = []
        for program, points in series.items():
            points.append((size, per_million(rows[program], facts)))
            cells += [f"{points[-1][1]:.3f}", f"{rows[program]['cpu_s'] / least[program]['cpu_s']:.2f}"]
        lines.append(f"| {size:,} | {' | '.join(cells)} | {rows['shadowtap']['memory'] / 1e6:,.0f} MB |")
    picture = pictures / "growth.svg"
    picture.write_text(curves("CPU seconds a million frames, by number of flows", series), encoding="utf-8")
    return lines + ["", f"![growth]({picture.relative_to(where.parent)})", ""]


def sentence(results, live):
    """What the README says, from these figures."""
    mix = results["captures"].get("mix")
    if not mix:
        return None
    facts, row = mix["facts"], mix["programs"]["shadowtap"]
    size = facts["bytes"] / facts["frames"]
    cores = 10e9 / 8 / size * row["cpu_s"] / facts["frames"]
    said = f"{cores:.1f} cores per 10 Gbit/s of this mix from file ({size:.0f} octets a frame on average)"
    if live and live.get("shown_mpps"):
        said += f"; live shown to {live['shown_mpps']:.2f} Mpps over veth, with nothing lost in {live['seconds']} s"
    return said + "."


def live_part(live):
    rows = ["## Live, over veth", "",
            f"A sender in one network namespace, the receiver in another, {live['seconds']} s each, on the same {live['cores']} cores, which the sender shares. "
            f"The sender's ceiling here, into a receiver that does nothing but count flows from its ring: {live['ceiling_mpps']:.2f} Mpps.", "",
            "| receiver | sent | rate | lost | CPU s a million frames |", "| --- | ---: | ---: | ---: | ---: |"]
    rows += [f"| {r['receiver']} | {r['sent']:,} | {r['mpps']:.2f} Mpps | {r['lost']:,} | {r['cpu_s'] / max(r['sent'], 1) * 1e6:.3f} |" for r in live["runs"]]
    return rows + [""]


def frame(title, wide, high, body):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" role="img">'
            f'<title>{html.escape(title)}</title><rect width="{wide}" height="{high}" fill="#ffffff"/>'
            f'<text x="12" y="22" {FONT} font-size="13" font-weight="bold" fill="{INK}">{html.escape(title)}</text>{"".join(body)}</svg>\n')


def text(x, y, words, anchor="start", ink=INK):
    return f'<text x="{x:.0f}" y="{y:.0f}" {FONT} font-size="12" text-anchor="{anchor}" fill="{ink}">{html.escape(words)}</text>'


def bars(title, ratios):
    """Bars over a logarithmic scale that begins at a tenth of the floor."""
    most = max(10, *ratios.values())
    length = lambda value: max(2, WIDE * math.log10(max(value, 0.1) * 10) / math.log10(most * 10))
    body = []
    for index, (name, value) in enumerate(sorted(ratios.items(), key=lambda item: item[1])):
        y = 40 + index * ROW
        body.append(text(NAMES - 8, y + 15, name, "end"))
        body.append(f'<rect x="{NAMES}" y="{y + 3}" width="{length(value):.0f}" height="{ROW - 8}" fill="{OURS if name == "shadowtap" else OTHERS}"/>')
        body.append(text(NAMES + length(value) + 6, y + 15, f"{value:.1f}"))
    return frame(title, NAMES + WIDE + 70, 52 + ROW * len(ratios), body)


def curves(title, series):
    """Lines over a logarithmic x; y begins at zero."""
    left, top, wide, high = 60, 44, 480, 200
    points = [point for line in series.values() for point in line]
    xs, most = [math.log10(x) for x, _ in points], max(y for _, y in points) * 1.1
    low, span = min(xs), max(max(xs) - min(xs), 1e-9)
    place = lambda x, y: (left + wide * (math.log10(x) - low) / span, top + high * (1 - y / most))
    body = [f'<path d="M{left} {top}V{top + high}H{left + wide}" fill="none" stroke="{FAINT}"/>']
    for part in range(5):
        y = most * part / 4
        body.append(text(left - 6, place(points[0][0], y)[1] + 4, f"{y:.2f}", "end", FAINT))
    for size in sorted({x for x, _ in points}):
        body.append(text(place(size, 0)[0], top + high + 18, f"{size:,}", "middle", FAINT))
    for (name, line), color in zip(series.items(), LINES):
        path = " ".join(f"{x:.0f},{y:.0f}" for x, y in (place(*point) for point in line))
        body.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        body += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{color}"/>' for x, y in (place(*point) for point in line)]
        body.append(text(place(*line[-1])[0] + 8, place(*line[-1])[1] + 4, name, ink=color))
    return frame(title, left + wide + 110, top + high + 36, body)
