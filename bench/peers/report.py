"""The comparison as Markdown and as a plot. Pure functions of the figures."""

import html
import pathlib
import statistics
import sys

from systems import BULLA, SYSTEMS, is_bulla

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "figures"))
import svg  # noqa: E402

# What is a median over the rounds.
MEDIANS = ("held_rate", "throughput", "throughput_p99_ms", "cpu_us", "low_p50_ms", "low_p99_ms")


def summarise(figures, description):
    """What compare.json holds. `figures`: {name: {connections: [figures of each round]}}."""
    rows = []
    for name, by_connections in figures.items():
        for connections, rounds in by_connections.items():
            row = {"name": name, "title": SYSTEMS[name][0], "connections": connections,
                   "lost": sum(r["lost"] for r in rounds),
                   "low_lost": sum(r["low_lost"] for r in rounds),
                   "verified": sum(r["verified"] for r in rounds)}
            for key in MEDIANS:
                row[key] = statistics.median(r[key] for r in rounds)
            row["held_rate_min"] = min(r["held_rate"] for r in rounds)
            row["held_rate_max"] = max(r["held_rate"] for r in rounds)
            row["rounds"] = rounds
            rows.append(row)
    return {**description, "rows": rows}


def of_connections(comparison):
    """(connections, its rows from the fastest down), in order."""
    for connections in sorted({row["connections"] for row in comparison["rows"]}):
        rows = [row for row in comparison["rows"] if row["connections"] == connections]
        yield connections, sorted(rows, key=lambda row: -row["held_rate"])


def share(rows, row):
    """How Bulla's rate stands to the row's, as text."""
    bulla = next((r["held_rate"] for r in rows if r["name"] == BULLA), 0)
    return f"{bulla / row['held_rate']:.2f}" if bulla and row["held_rate"] else "–"


def markdown_of_loops(rows):
    """The table of peer-raw. Its first row is the stock library without verification."""
    if not rows:
        return []
    stock = rows[0]["cpu_us"]
    text = ["## Libraries in a loop, without a network", "",
            "| | threads | CPU µs per signature | × the first | signatures/s |",
            "|---|--:|--:|--:|--:|"]
    text += [f"| {row['name']} | {row['threads']} | {row['cpu_us']:.1f} "
             f"| {row['cpu_us'] / stock:.2f} | {row['per_second']:.0f} |" for row in rows]
    return [*text, ""]


def markdown(comparison):
    machine = comparison["machine"]
    verified = sum(row["verified"] for row in comparison["rows"])
    text = ["# Side by side", ""]
    if comparison["quick"]:
        text += ["**One short round: it shows that everything runs, the figures are noise.**", ""]
    text += [
        f"{comparison['date']}, commit {machine['commit'] or 'unknown'}. {machine['cpu']}, "
        f"{machine['cpus']} CPUs, Linux {machine['kernel']}, Node.js {machine['node'] or 'none'}; "
        f"load average {machine['load_average_before']:.2f} before, "
        f"{machine['load_average_after']:.2f} after.", "",
        f"Services on CPU {comparison['server_cpus']}, the generator on CPU "
        f"{comparison['generator_cpus']}. Medians of {comparison['rounds']} rounds in turn, "
        f"steps of {comparison['seconds']:g} s, {comparison['keys']} keys. {verified} signatures "
        "were checked, all are right.", ""]
    for connections, rows in of_connections(comparison):
        text += [
            f"## {connections} connections", "",
            "| | rate with p99 < 10 ms (open loop) | of the rounds | Bulla is × | "
            "closed loop, /s | its p99, ms | lost in it | CPU µs per signature | "
            f"p50 at {comparison['low_rate']:g}/s, ms | p99, ms | lost |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
        for row in rows:
            text.append(
                f"| {row['title']} | {row['held_rate']:.0f} | {row['held_rate_min']:.0f}–"
                f"{row['held_rate_max']:.0f} | {share(rows, row)} | {row['throughput']:.0f} | "
                f"{row['throughput_p99_ms']:.1f} | {row['lost']} | {row['cpu_us']:.0f} | "
                f"{row['low_p50_ms']:.3f} | {row['low_p99_ms']:.3f} | {row['low_lost']} |")
        text.append("")
    text += markdown_of_loops(comparison["raw"])
    text += ["Lost is refused, failed or dropped. CPU is of all processes of the service, in the "
             "closed loop, over good answers. What each service is and does "
             "not do: bench/peers/README.md.", ""]
    return "\n".join(text)


# The plot: for each number of connections a group of bars.
WIDTH, LEFT, RIGHT = 860, 260, 90
BAR, GAP, TITLE, GROUP = 20, 8, 34, 26


def bar(row, y, scale):
    kind = "a" if is_bulla(row["name"]) else "other"
    width = row["held_rate"] * scale
    middle = y + BAR / 2
    low, high = (LEFT + row[key] * scale for key in ("held_rate_min", "held_rate_max"))
    return [
        f'<text x="{LEFT - 10}" y="{middle + 4:.1f}" text-anchor="end">{html.escape(row["title"])}'
        "</text>",
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>',
        f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>',
        f'<text x="{max(LEFT + width, high) + 8:.1f}" y="{middle + 4:.1f}">{row["held_rate"]:.0f}'
        "</text>"]


def plot(comparison):
    highest = max([row["held_rate_max"] for row in comparison["rows"]] + [1])
    scale = (WIDTH - LEFT - RIGHT) / highest
    parts, y = [], svg.HEAD
    for connections, rows in of_connections(comparison):
        y += GROUP
        parts.append(f'<text class="title" x="12" y="{y + 14}">{connections} connections</text>')
        y += TITLE
        height = len(rows) * (BAR + GAP)
        step = svg.step_of(highest)
        for i in range(int(highest / step) + 1):
            x = LEFT + i * step * scale
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 6}" '
                         f'y2="{y + height}"/>')
            parts.append(f'<text class="small" x="{x:.1f}" y="{y + height + 16}" '
                         f'text-anchor="middle">{i * step:g}</text>')
        for row in rows:
            parts += bar(row, y, scale)
            y += BAR + GAP
        y += 16
    y += 16
    return svg.picture(WIDTH, y, "Signatures a second with p99 < 10 ms",
                       "open loop, every signature checked; median of "
                       f"{comparison['rounds']} rounds, the line is their range; services on CPU "
                       f"{comparison['server_cpus']}", parts)
