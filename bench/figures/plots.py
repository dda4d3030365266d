"""What was measured, as SVG pictures. Pure functions of figures.json."""

import html
import statistics

import svg
import tables

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 64, 130, 64, 52
LINE = 15  # of text


def lines(title, subtitle, x_title, y_title, curves, limit=None):
    """`curves`: {(class, name): [(x, y), ...]}."""
    points = [point for curve in curves.values() for point in curve]
    x_max = max(x for x, _ in points) or 1
    y_max = max([y for _, y in points] + [limit or 0]) * 1.05 or 1
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(x, y):
        return LEFT + x / x_max * (right - LEFT), bottom - y / y_max * (bottom - TOP)

    parts = []
    for i in range(int(y_max / svg.step_of(y_max)) + 1):
        value = i * svg.step_of(y_max)
        _, y = at(0, value)
        parts += [f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>',
                  f'<text class="small" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
                  f'{value:g}</text>']
    for i in range(int(x_max / svg.step_of(x_max)) + 1):
        value = i * svg.step_of(x_max)
        x, _ = at(value, 0)
        parts.append(f'<text class="small" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">'
                     f'{value:g}</text>')
    parts += [f'<text class="small" x="{right}" y="{HEIGHT - 12}" text-anchor="end">'
              f'{html.escape(x_title)}</text>',
              f'<text class="small" x="12" y="{TOP - 4}">{html.escape(y_title)}</text>']
    if limit is not None:
        _, y = at(0, limit)
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
    label_y = None
    for (kind, name), curve in sorted(curves.items(), key=lambda item: item[1][-1][1]):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in curve))
        x, y = at(*curve[-1])
        label_y = y if label_y is None else min(y, label_y - LINE)  # from below, none over another
        parts += [f'<polyline class="{kind} line" points="{path}"/>',
                  f'<text class="{kind} label" x="{x + 8:.1f}" y="{label_y + 4:.1f}">'
                  f'{html.escape(name)}</text>']
    return svg.picture(WIDTH, HEIGHT, title, subtitle, parts)


def of_cost(figures):
    bar, gap, left, top = 26, 18, 190, 76
    values = {case: tables.ratios(figures, case) for case, _, _ in tables.COST_CASES}
    x_max = max([limit for _, _, limit in tables.COST_CASES] + [max(v) for v in values.values()])
    scale = (WIDTH - left - RIGHT) / x_max
    parts = []
    for i, (case, title, limit) in enumerate(tables.COST_CASES):
        y, ratio = top + i * (bar + gap), statistics.median(values[case])
        x = left + limit * scale
        parts += [f'<text x="{left - 10}" y="{y + 18}" text-anchor="end">'
                  f'{html.escape(title)}</text>',
                  f'<rect class="{"a" if "unverified" in case else "b"}" x="{left}" y="{y}" '
                  f'width="{ratio * scale:.1f}" height="{bar}" rx="2"/>',
                  f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 5}" '
                  f'y2="{y + bar + 5}"/>',
                  f'<text x="{x + 8:.1f}" y="{y + 18}">{ratio:.2f} (limit {limit})</text>']
    return svg.picture(WIDTH, top + len(tables.COST_CASES) * (bar + gap), "CPU time of a signature",
                       "gateway and enclave together; 1 is one secp256k1_ecdsa_sign of Debian's "
                       "library in the same run", parts)


def of_capacity(figures):
    best = {}  # a step that broke was tried again
    for step in figures["capacity"]["steps"]:
        rate = step["rate_per_s"]
        if rate not in best or step["p99_ms"] < best[rate]["p99_ms"]:
            best[rate] = step
    steps = [best[rate] for rate in sorted(best)]
    return lines("Latency by rate",
                 "POST /sign over 500 connections, open loop; the line is the limit of 10 ms",
                 "signatures a second", "ms",
                 {("a", "p50"): [(s["rate_per_s"], s["p50_ms"]) for s in steps],
                  ("b", "p99"): [(s["rate_per_s"], s["p99_ms"]) for s in steps]}, limit=10)


def of_memory(figures):
    samples = figures["memory"]["memory"]
    return lines("Memory under load",
                 f"resident, at {figures['memory']['target_rate_per_s']:.0f} a second",
                 "seconds", "MiB",
                 {("a", "gateway"): [(s["seconds"], s["gateway_bytes"] / 2**20) for s in samples],
                  ("b", "enclave"): [(s["seconds"], s["enclave_bytes"] / 2**20) for s in samples]})


def pictures(figures):
    """{name: svg} of the parts that there are."""
    return {part: globals()[f"of_{part}"](figures) for part in ("cost", "capacity", "memory")
            if part in figures}
