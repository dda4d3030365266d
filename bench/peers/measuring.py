"""What is measured of one service: bulla-bench, and the search for the highest rate that holds."""

import json
import pathlib
import subprocess
import tempfile
import time

BENCH = pathlib.Path(__file__).resolve().parents[2] / "build" / "release" / "bin" / "bulla-bench"
P99_MAX_MS = 10
LOST_SHARE_MAX = 0.001  # failed or dropped
STEPS_MAX = 30

_began = time.monotonic()


class Failed(Exception):
    """A figure that means nothing: a wrong signature, or a service that has gone."""


def say(text):
    print(f"[{time.monotonic() - _began:5.0f} s] {text}", flush=True)


def run_bench(system, connections, arguments, rate, seconds):
    """The figures of one `bulla-bench run`; a closed loop where the rate is None."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = ["taskset", "--cpu-list", arguments.generator_cpus, BENCH, "run",
                   "--url", system.url, "--connections", str(connections),
                   "--keys", str(arguments.keys), "--seed", str(arguments.seed),
                   "--duration", f"{round(seconds * 1000)}ms",
                   "--warm-up", f"{round(arguments.warm_up * 1000)}ms", "--json", file.name]
        if rate is not None:
            command += ["--rate", f"{rate:.1f}"]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             check=False)
        if run.returncode != 0:
            raise Failed(f"{system.name}: bulla-bench ended with {run.returncode}: "
                         f"{(run.stdout + run.stderr)[-2000:]}")
        figures = json.load(file)
    if figures["wrong"] > 0 or figures["malformed"] > 0:
        raise Failed(f"{system.name}: a signature is wrong")
    return figures


def holds(figures):
    lost = figures["failed"] + figures["dropped"]
    return (figures["p99_ms"] < P99_MAX_MS and figures["verified"] > 0
            and lost <= LOST_SHARE_MAX * figures["requests"])


def highest_rate(try_rate, guess, resolution):
    """The highest rate for which try_rate(rate) is true, known to a share of `resolution`: in steps
    away from the guess until it is between two rates, then by halves. 0 when none holds."""
    good, bad, rate = 0.0, None, guess
    for _ in range(STEPS_MAX):
        if try_rate(rate):
            good = max(good, rate)
        else:
            bad = rate if bad is None else min(bad, rate)
        if bad is None:
            rate = good * (1.25 if good <= guess else 1.6)
        elif good == 0:
            if bad < guess / 100:
                return 0.0
            rate = bad * 0.7
        elif bad / good <= 1 + resolution:
            return good
        else:
            rate = (good + bad) / 2
    return good


def measure(system, connections, arguments):
    """The figures of one service in one round."""
    verified = 0

    def run(rate=None, seconds=arguments.seconds):
        nonlocal verified
        figures = run_bench(system, connections, arguments, rate, seconds)
        verified += figures["verified"]
        return figures

    def try_rate(rate):
        # Twice: a machine that does something else for 10 ms is not the service's fault.
        for _ in range(2):
            figures = run(rate)
            good = holds(figures)
            say(f"  {rate:8.0f}/s  p50 {figures['p50_ms']:8.3f} ms  p99 {figures['p99_ms']:8.3f} ms"
                f"  {'holds' if good else 'does not hold'}")
            if good:
                return True
        return False

    def answered(figures):
        return figures["verified"] + figures["warm_up_requests"] - figures["warm_up_failed"]

    run()  # code is loaded and compiled, pools are filled
    before = system.cpu_seconds()
    closed = run()
    cpu = system.cpu_seconds() - before
    low = run(arguments.low_rate, 2 * arguments.seconds)  # few requests a second, so longer
    say(f"  closed loop {closed['rate_per_s']:.0f}/s, {closed['failed']} refused;  "
        f"at {arguments.low_rate:g}/s p50 {low['p50_ms']:.3f} ms, p99 {low['p99_ms']:.3f} ms")
    held = highest_rate(try_rate, 0.85 * closed["rate_per_s"], arguments.resolution)
    return {
        "held_rate": held,
        "throughput": closed["rate_per_s"],
        "throughput_p99_ms": closed["p99_ms"],
        "cpu_us": cpu / max(answered(closed), 1) * 1e6,
        "low_p50_ms": low["p50_ms"],
        "low_p99_ms": low["p99_ms"],
        "lost": closed["failed"] + closed["dropped"],
        "low_lost": low["failed"] + low["dropped"],
        "verified": verified,
    }
