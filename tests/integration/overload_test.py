"""Twice as much as the enclaves can do: as much as ever is answered, in good time, and the rest is
refused at once and told to come back.

The enclave is made the narrow place, as on a host where it has CPUs of its own: it gets a fifth of
one CPU. `--full` runs a minute of it and prints every figure beside the limit of its line; they
mean something on a machine that does nothing else. Without it, what no noise can break is asserted.
"""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import unittest

from system_under_test import Caller, System, judge, new_random, quantile, say

FULL = "--full" in sys.argv
SECONDS = 60 if FULL else 8
CONNECTIONS = 2000
SHARE = 0.2  # of a CPU, for the enclave


class Throttle:
    """Gives a process a share of one CPU, in short turns. By the kernel (cgroup v1 or v2) where we
    may; else by stopping and continuing it, which other load on the machine makes uneven."""

    PERIOD_S = 0.005

    def __init__(self, pid, share):
        self.pid = pid
        self.share = share
        self.group = None
        self.thread = None
        self.ending = threading.Event()

    def __enter__(self):
        quota, period = int(self.share * self.PERIOD_S * 1e6), int(self.PERIOD_S * 1e6)
        # The weight: what it may have it gets, however busy gateway and generator are.
        for root, files in (
                ("/sys/fs/cgroup/cpu", {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": quota,
                                        "cpu.shares": 262144}),
                ("/sys/fs/cgroup", {"cpu.max": f"{quota} {period}", "cpu.weight": 10000})):
            group = pathlib.Path(root) / f"bulla-overload-{self.pid}"
            try:
                group.mkdir()
                self.group = group
                for name, value in (files | {"cgroup.procs": self.pid}).items():
                    self.write(group / name, value)
                say(f"throttled to {self.share:.0%} of a CPU by {root}")
                return self
            except OSError:
                self.remove_group()
        say(f"throttled to {self.share:.0%} of a CPU by stopping and continuing")
        self.thread = threading.Thread(target=self.stop_and_continue)
        self.thread.start()
        return self

    @staticmethod
    def write(path, value):
        with open(path, "r+", encoding="ascii") as file:  # never a new one
            file.write(str(value))

    def stop_and_continue(self):
        while not self.ending.is_set():
            os.kill(self.pid, signal.SIGSTOP)
            self.ending.wait((1 - self.share) * self.PERIOD_S)
            os.kill(self.pid, signal.SIGCONT)
            self.ending.wait(self.share * self.PERIOD_S)

    def remove_group(self):
        if self.group is not None:
            with contextlib.suppress(OSError):
                self.write(self.group.parent / "cgroup.procs", self.pid)
            with contextlib.suppress(OSError):
                self.group.rmdir()
            self.group = None

    def __exit__(self, *_):
        self.ending.set()
        if self.thread is not None:
            self.thread.join()
        self.remove_group()


class Watch:
    """What a process has resident, in MiB, and what the limit is, sample by sample."""

    def __init__(self, system, pid):
        self.system = system
        self.pid = pid
        self.memory = [self.resident()]
        self.limits = []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def resident(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def watch(self):
        while not self.ending.wait(0.2):
            self.memory.append(self.resident())
            self.limits.append(self.system.metrics("bulla_gateway_in_flight_max")[""])

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()


class Client:
    """Callers in a closed loop from one source address, who count what becomes of them."""

    def __init__(self, address, source, key, rng):
        self.address = address
        self.source = source
        self.key = key
        self.rng = rng
        self.lock = threading.Lock()
        self.latencies_ms = []
        self.refused = 0
        self.hints_missing = 0
        self.wrong = []
        self.ending = threading.Event()
        self.threads = []

    def start(self, callers):
        self.threads = [threading.Thread(target=self.call_until_end) for _ in range(callers)]
        for thread in self.threads:
            thread.start()

    def call_until_end(self):
        caller = Caller(self.address)
        host, port = self.address.rsplit(":", 1)
        caller.connection = http.client.HTTPConnection(
            host, int(port), timeout=60, source_address=(self.source, 0))
        while not self.ending.is_set():
            with self.lock:
                digest = self.rng.randbytes(32)
            began = time.monotonic()
            status, answer = caller.call("POST", "/sign",
                                         {"keyId": self.key["keyId"], "digest": digest.hex()})
            took_ms = (time.monotonic() - began) * 1000
            with self.lock:
                self.count(status, answer, digest, took_ms)
            # As a well-behaved caller would, and not to fill the CPU with ourselves.
            self.ending.wait(0.01)
        caller.close()

    def count(self, status, answer, digest, took_ms):
        if status == 200:
            self.latencies_ms.append(took_ms)
            if len(self.latencies_ms) % 50 == 1:
                judge(self.key, digest, answer)
        elif status == 429 and answer["error"]["code"] == "RETRY_LATER":
            self.refused += 1
            self.hints_missing += not 50 <= answer["error"].get("retryAfterMs", 0) <= 200
        else:
            self.wrong.append((status, answer))

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def success(self):
        return len(self.latencies_ms) / max(len(self.latencies_ms) + self.refused, 1)


def print_table(rows):
    """rows: (what, value, unit, limit as text, met)."""
    say("")
    for what, value, unit, limit, met in rows:
        say(f"{what:<44} {value:>12.1f} {unit:<6} {limit:<12} {'met' if met else 'MISSED'}")


class OverloadTest(unittest.TestCase):
    def setUp(self):
        self.random = new_random()
        # A check that costs more: fewer signatures are twice the capacity, so that generator and
        # gateway have CPU to spare. A timeout that no stalling host reaches: all that is not
        # answered well is to be a refusal.
        self.system = System(enclaves=1, settings={
            "BULLA_SIGNATURE_CHECK": "verify", "BULLA_WORKERS": "1", "BULLA_SIGN_TIMEOUT": "10s"})
        self.addCleanup(self.system.close)
        self.system.start()
        children = self.system.children()
        self.gateway = children["gateway"]
        throttle = Throttle(children["enclave-1"], SHARE)
        throttle.__enter__()
        self.addCleanup(throttle.__exit__)

    def bench(self, *arguments):
        figures = self.system.data / "figures.json"
        run = subprocess.run(
            [self.system.programs / "bulla-bench", "run", "--url",
             f"http://{self.system.addresses['http']}", "--json", figures, *map(str, arguments)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        return json.loads(figures.read_text())

    def refusals(self):
        series = self.system.metrics("bulla_gateway_admission_refusals_total")
        return {labels.split('"')[1]: count for labels, count in series.items()}

    def capacities(self):
        """Signatures a second in a closed loop that keeps the enclave busy, three times."""
        rates = [self.bench("--connections", 100, "--duration", "3s" if FULL else "1s",
                            "--warm-up", "500ms")["rate_per_s"] for _ in range(3)]
        say(f"capacity: {', '.join(f'{rate:.0f}' for rate in rates)} a second")
        return rates

    def paced(self, rate, seconds, *arguments):
        return self.bench("--connections", CONNECTIONS, "--rate", f"{rate:.0f}",
                          "--duration", f"{seconds}s", *arguments)

    def test_at_twice_the_capacity_as_much_is_answered_and_the_rest_refused_at_once(self):
        capacities = self.capacities()
        capacity = quantile(capacities, 0.5)
        unloaded = self.paced(0.5 * capacity, SECONDS // 2, "--warm-up", "1s")
        before = self.refusals()
        rate = 2 * capacity
        while True:
            with Watch(self.system, self.gateway) as watch:
                loaded = self.paced(rate, SECONDS, "--warm-up", "2s")
            if loaded["failed"] > 0:
                break
            rate *= 2  # the capacity was measured in a bad moment
            self.assertLess(rate, 50_000, "nothing is refused at any rate")
        after = self.paced(0.5 * capacity, 2, "--warm-up", "1s")
        refusals = {reason: count - before[reason] for reason, count in self.refusals().items()}
        say(f"refusals by reason: {refusals}; errors: {loaded['errors']}")

        grown = max(watch.memory) - watch.memory[len(watch.memory) // 3]
        capacity = quantile(capacities + self.capacities(), 0.5)  # a host has its moods
        answered = loaded["rate_per_s"] / capacity * 100
        slower = loaded["p99_ms"] / unloaded["p99_ms"]
        print_table([
            ("answered, of the capacity", answered, "%", ">= 90", answered >= 90),
            ("p50 of what is answered", loaded["p50_ms"], "ms", "", True),
            ("p99 of what is answered", loaded["p99_ms"], "ms", "", True),
            ("p99 unloaded", unloaded["p99_ms"], "ms", "", True),
            ("p99 over unloaded p99", slower, "times", "< 10", slower < 10),
            ("p50 of refusals", loaded["failed_p50_ms"], "ms", "", True),
            ("p99 of refusals", loaded["failed_p99_ms"], "ms", "< 5", loaded["failed_p99_ms"] < 5),
            ("lag of the generator, p99", loaded["lag_p99_ms"], "ms", "", True),
            ("limit of signatures in flight, median", quantile(watch.limits, 0.5), "", "", True),
            ("growth of the gateway, from a third on", grown, "MiB", "< 16", grown < 16),
            ("refused from a second after the overload on", after["failed"], "", "0",
             after["failed"] == 0),
            ("p99 in the two seconds after", after["p99_ms"], "ms", "", True)])

        self.assertEqual(set(loaded["errors"]), {"RETRY_LATER"})
        for figures in (unloaded, loaded, after):
            for name in ("malformed", "wrong", "dropped", "reconnects"):
                self.assertEqual(figures[name], 0, name)
        self.assertGreaterEqual(answered, 50)
        self.assertLess(grown, 64)
        if FULL:
            self.assertGreaterEqual(answered, 90)
            self.assertLess(slower, 10)
            self.assertLess(loaded["failed_p99_ms"], 5)
            self.assertEqual(after["failed"], 0)

    def test_a_small_client_is_hardly_hurt_by_one_that_asks_for_everything(self):
        address = self.system.addresses["http"]
        caller = Caller(address)
        key = caller.create()
        caller.close()
        capacity = max(self.capacities())

        def small_client():
            client = Client(address, "127.0.0.2", key, self.random)
            client.start(10)
            return client

        alone = small_client()
        time.sleep(2)  # how long it is watched
        alone.stop()
        before = self.refusals()
        greedy = subprocess.Popen(
            [self.system.programs / "bulla-bench", "run", "--url", f"http://{address}", "--json",
             self.system.data / "greedy.json", "--connections", "400", "--rate",
             f"{2 * capacity:.0f}", "--duration", f"{SECONDS}s", "--warm-up", "1s"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with greedy:
            greedy.stderr.readline()  # its first second of load
            beside = small_client()
            greedy.communicate(timeout=300)
            beside.stop()
        self.assertEqual(greedy.returncode, 0)
        figures = json.loads((self.system.data / "greedy.json").read_text())
        refusals = {reason: count - before[reason] for reason, count in self.refusals().items()}
        say(f"refusals by reason: {refusals}")

        ratio = quantile(beside.latencies_ms, 0.5) / quantile(alone.latencies_ms, 0.5)
        greedy_success = figures["requests"] - figures["failed"]
        print_table([
            ("small client beside a greedy one: success", beside.success() * 100, "%", "> 99",
             beside.success() > 0.99),
            ("greedy client: success", greedy_success / figures["requests"] * 100, "%", "", True),
            ("small client: p50 alone", quantile(alone.latencies_ms, 0.5), "ms", "", True),
            ("small client: p50 beside", quantile(beside.latencies_ms, 0.5), "ms", "", True),
            ("small client: p99 beside", quantile(beside.latencies_ms, 0.99), "ms", "", True),
            ("small client: p50 beside over alone", ratio, "times", "", True),
            ("greedy client: p50", figures["p50_ms"], "ms", "", True)])
        for client in (alone, beside):
            self.assertEqual(client.wrong, [])
            self.assertEqual(client.hints_missing, 0)
            self.assertGreater(len(client.latencies_ms), 0)
        # Its ten calls are below its share, half of 64 at least: fairness never refuses them. What
        # is left is the enclave's own limit, in the moment in which that shrinks.
        self.assertGreater(beside.success(), greedy_success / figures["requests"])
        if FULL:
            self.assertGreater(beside.success(), 0.99)


if __name__ == "__main__":
    if FULL:
        sys.argv.remove("--full")
    unittest.main()
