"""What was measured, as Markdown. Pure functions of figures.json."""

import statistics

COST_CASES = (("http", "HTTP, checked", 2.8), ("http_unverified", "HTTP, unchecked", 1.6),
              ("stream", "stream, checked", 2.2), ("stream_unverified", "stream, unchecked", 0.95))


def ratios(figures, case):
    return [run[f"cost_ratio_{case}"] for run in figures["cost"]]


def of_cost(figures):
    rows = ["| | ratio to the stock call | limit |", "|---|--:|--:|"]
    for case, title, limit in COST_CASES:
        values = ", ".join(f"{ratio:.2f}" for ratio in ratios(figures, case))
        rows.append(f"| {title} | {values} | {limit} |")
    return rows


def of_capacity(figures):
    capacity = figures["capacity"]
    rows = [f"{capacity['capacity_per_s']:.0f} signatures a second held.", "",
            "| due, /s | p50, ms | p99, ms | CPU of gateway and enclave | held |",
            "|--:|--:|--:|--:|---|"]
    for step in sorted(capacity["steps"], key=lambda step: step["rate_per_s"]):
        rows.append(f"| {step['rate_per_s']:.0f} | {step['p50_ms']:.2f} | {step['p99_ms']:.2f} | "
                    f"{step['cpu_percent']:.0f} % | {'yes' if step['held'] else 'no'} |")
    return rows


def of_half(figures):
    rows = ["| rate, /s | requests | failed, dropped | p50, ms | p99, ms | p99.9, ms |",
            "|--:|--:|--:|--:|--:|--:|"]
    for run in figures["half"]:
        rows.append(f"| {run['rate_per_s']:.0f} | {run['requests']} | {run['failed']}, "
                    f"{run['dropped']} | "
                    f"{run['p50_ms']:.2f} | {run['p99_ms']:.2f} | {run['p999_ms']:.2f} |")
    return rows


def of_batching(figures):
    rounds = figures["batching"]

    def median(name, key):
        return statistics.median(row[name][key] for row in rounds)

    rows = [f"{rounds[0]['on']['target_rate_per_s']:.0f} a second over 500 connections, medians of "
            f"{len(rounds)} runs of each, by turns.", "",
            "| batching | crossings a signature | p50, ms | p95, ms | p99, ms |",
            "|---|--:|--:|--:|--:|"]
    for name in ("on", "off"):
        rows.append(f"| {name} | {median(name, 'crossings_per_signature'):.3f}"
                    f" | {median(name, 'p50_ms'):.2f}"
                    f" | {median(name, 'p95_ms'):.2f} | {median(name, 'p99_ms'):.2f} |")
    fewer = 1 - median("on", "crossings_per_signature") / median("off", "crossings_per_signature")
    return [*rows, "", f"Crossings: {100 * fewer:.1f} % fewer."]


def of_alone(figures):
    rounds = figures["alone"]
    on, off = ([row[name]["p50_ms"] for row in rounds] for name in ("on", "off"))
    ratio = statistics.median(a / b for a, b in zip(on, off))
    return [f"One caller, p50, medians of {len(rounds)} runs of each, by turns: "
            f"{statistics.median(on):.3f} ms with batching, {statistics.median(off):.3f} without; "
            f"median of the pairs' ratios {ratio:.3f}."]


def of_memory(figures):
    gate = figures["memory"]
    rows = ["| | limit | measured |", "|---|--:|--:|"]
    for criterion in gate["criteria"]:
        value = "–" if criterion["value"] is None else f"{criterion['value']:.2f}"
        rows.append(f"| {criterion['name']} | {criterion['limit']:g} | {value} |")
    rows += ["", "| after, s | gateway, MiB | enclave, MiB |", "|--:|--:|--:|"]
    samples = gate["memory"]
    for sample in samples[::max(1, len(samples) // 10)]:
        rows.append(f"| {sample['seconds']:.0f} | {sample['gateway_bytes'] / 2**20:.1f} | "
                    f"{sample['enclave_bytes'] / 2**20:.1f} |")
    return rows


TITLES = {"cost": "CPU time of a signature", "capacity": "Capacity", "half": "At half of capacity",
          "batching": "Batching", "alone": "One at a time",
          "memory": "Ten minutes at nine tenths of capacity"}


def machine(figures):
    of = next((part["machine"] for part in [*figures.get("cost", []), figures.get("capacity", {})]
               if "machine" in part), None)
    return "" if of is None else ", ".join(str(value) for value in of.values())


def markdown(figures):
    text = ["# Figures", "", f"{figures['date']}. {machine(figures)}", ""]
    if figures["quick"]:
        text += ["**Very short runs: they show that everything runs, the figures are noise.**", ""]
    for part, title in TITLES.items():
        if part in figures:
            text += [f"## {title}", "", *globals()[f"of_{part}"](figures), ""]
    return "\n".join(text)
