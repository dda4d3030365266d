"""The load tool against the real processes: what it counts is what was due, and every signature is
checked. How fast it went is nobody's business here.
"""

import json
import os
import subprocess
import unittest

from system_under_test import SystemTest, await_true, is_alive, say

RATE = 200
SECONDS = 2
CONNECTIONS = 20


class BenchTest(SystemTest):
    def bench(self, *arguments):
        """(exit status, figures) of one `bulla-bench run`."""
        return self.command("run", "--url", f"http://{self.system.addresses['http']}", *arguments)

    def command(self, *arguments):
        """(exit status, figures) of one `bulla-bench`."""
        figures = self.system.data / "figures.json"
        run = subprocess.run(
            [self.system.programs / "bulla-bench", *arguments, "--json", figures],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
        say(run.stdout + run.stderr)
        self.assertTrue(figures.exists() and figures.stat().st_size > 0, run.stderr)
        return run.returncode, json.loads(figures.read_text())

    def judge(self, figures):
        for name in ("failed", "malformed", "dropped", "wrong", "warm_up_failed", "reconnects"):
            self.assertEqual(figures[name], 0, name)
        self.assertEqual(figures["verified"], figures["requests"])
        quantiles = [figures[f"{name}_ms"] for name in ("p50", "p90", "p99", "p999", "max")]
        self.assertEqual(quantiles, sorted(quantiles))
        self.assertGreater(quantiles[0], 0)

    def test_open_loop_sends_exactly_what_is_due_and_every_signature_is_right(self):
        status, figures = self.bench("--rate", str(RATE), "--duration", f"{SECONDS}s",
                                     "--connections", str(CONNECTIONS), "--warm-up", "500ms")
        self.assertEqual(status, 0)
        self.assertEqual(figures["mode"], "open")
        self.assertEqual(figures["requests"], RATE * SECONDS)
        self.assertEqual(figures["warm_up_requests"], RATE // 2)
        self.judge(figures)

    def test_every_protocol_sends_exactly_what_is_due_and_counts_signatures(self):
        for protocol in (["http-batch", "--batch", "8"], ["grpc"],
                         ["stream", "--batch", "8", "--streams", "2"]):
            with self.subTest(protocol=protocol[0]):
                status, figures = self.command(
                    "run", "--target", self.system.data / "endpoints.json", "--protocol", *protocol,
                    "--rate", str(RATE), "--duration", "1s", "--connections", "4",
                    "--warm-up", "500ms")
                self.assertEqual(status, 0)
                self.assertEqual(figures["protocol"], protocol[0])
                self.assertEqual(figures["requests"], RATE)
                self.judge(figures)

    def test_closed_loops_fill_their_messages(self):
        for protocol in ("http-batch", "stream"):
            with self.subTest(protocol=protocol):
                status, figures = self.command(
                    "run", "--target", self.system.data / "endpoints.json", "--protocol", protocol,
                    "--batch", "16", "--duration", "500ms", "--connections", "2", "--warm-up", "0s")
                self.assertEqual(status, 0)
                self.assertEqual(figures["requests_per_message"], 16)
                self.judge(figures)

    def test_closed_loop_counts_what_it_sent_and_every_signature_is_right(self):
        status, figures = self.bench("--duration", "500ms", "--connections", "4",
                                     "--warm-up", "0s", "--keys", "3")
        self.assertEqual(status, 0)
        self.assertEqual(figures["mode"], "closed")
        self.assertGreaterEqual(figures["requests"], 4)  # one for each connection at least
        self.judge(figures)

    def judge_cost(self, figures, phase):
        parts = figures[phase]
        self.assertGreater(parts["signatures"], 0)
        for name in ("gateway_us", "enclave_us", "stock_us"):
            self.assertGreater(parts[name], 0, name)
        self.assertAlmostEqual(parts["sum_us"], parts["gateway_us"] + parts["enclave_us"])
        self.assertAlmostEqual(figures[f"cost_ratio_{phase}"], parts["sum_us"] / parts["stock_us"])
        self.assertIn(figures[f"cost_ratio_{phase}"], parts["ratios"])
        self.assertGreaterEqual(figures["verified"], parts["signatures"])
        self.assertRegex(figures["stock_library"], r"/libsecp256k1\.so\.1\.[0-9.]+$")

    def test_cost_of_a_running_service_is_of_its_processes_and_the_ratio_of_its_parts(self):
        status, figures = self.command(
            "cost", "--target", self.system.data / "endpoints.json", "--phases",
            "http,stream", "--rounds", "2", "--duration", "300ms", "--connections", "20")
        self.assertEqual(status, 0)
        for phase in ("http", "stream"):
            self.judge_cost(figures, phase)
            self.assertEqual(len(figures[phase]["ratios"]), 2)

    def test_cost_starts_services_of_its_own_and_leaves_nothing_behind(self):
        temporary = self.system.data / "temporary"
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        self.addCleanup(os.environ.pop, "TMPDIR")
        status, figures = self.command("cost", "--rounds", "1", "--duration", "1s",
                                       "--connections", "20")
        self.assertEqual(status, 0)
        for phase in ("http", "http_unverified", "stream", "stream_unverified"):
            self.judge_cost(figures, phase)
        self.assertEqual(list(temporary.iterdir()), [])

    def test_capacity_is_the_highest_step_that_held(self):
        status, figures = self.command(
            "capacity", "--target", self.system.data / "endpoints.json", "--from", "1000",
            "--duration", "300ms", "--warm-up", "100ms", "--connections", "20")
        self.assertEqual(status, 0)
        held = [step["rate_per_s"] for step in figures["steps"] if step["held"]]
        self.assertEqual(figures["capacity_per_s"], max(held, default=0))
        self.assertIn(False, [step["held"] for step in figures["steps"]])
        for step in figures["steps"]:
            within = (step["p99_ms"] < figures["p99_max_ms"]
                      and step["lost_percent"] < figures["lost_max_percent"]
                      and step["cpu_percent"] < figures["cpu_max_percent"])
            self.assertEqual(step["held"], within, step)

    def test_no_rate_holds_what_nothing_can(self):
        status, figures = self.command(
            "capacity", "--target", self.system.data / "endpoints.json", "--from", "100",
            "--p99-max", "0.001", "--duration", "100ms", "--warm-up", "0s", "--connections", "4")
        self.assertEqual(status, 0)
        self.assertEqual(figures["capacity_per_s"], 0)

    def test_the_gate_says_how_each_criterion_was_met_or_missed(self):
        status, figures = self.command(
            "gate", "--target", self.system.data / "endpoints.json", "--rate", str(RATE),
            "--duration", f"{SECONDS}s", "--warm-up", "500ms", "--connections", str(CONNECTIONS))
        self.assertEqual(figures["requests"], RATE * SECONDS)
        self.judge(figures)
        names = [criterion["name"] for criterion in figures["criteria"]]
        self.assertEqual(names, ["p99_ms", "lost_percent", "cpu_percent", "engine_q_depth"])
        for criterion in figures["criteria"]:
            self.assertIsNotNone(criterion["value"], criterion)
            self.assertEqual(criterion["met"], criterion["value"] < criterion["limit"], criterion)
        self.assertEqual(figures["passed"], all(c["met"] for c in figures["criteria"]))
        self.assertEqual(status, 0 if figures["passed"] else 5)
        self.assertGreaterEqual(len(figures["memory"]), 2)
        for sample in figures["memory"]:
            self.assertGreater(sample["gateway_bytes"], 0)
            self.assertGreater(sample["enclave_bytes"], 0)

    def test_a_gate_at_a_share_of_the_capacity_measures_that_first(self):
        status, figures = self.command("gate", "--share", "0.1", "--duration", "300ms",
                                       "--warm-up", "100ms", "--connections", "20")
        self.assertIn(status, (0, 5))
        self.assertAlmostEqual(figures["target_rate_per_s"], figures["capacity_per_s"] * 0.1,
                               delta=0.5)

    def test_the_matrix_has_a_row_for_each_cell_and_keeps_its_report(self):
        reports = self.system.data / "reports"
        status, figures = self.command(
            "matrix", "--workers", "2", "--batching", "on,off", "--checks", "none",
            "--rate", str(RATE), "--duration", "1s", "--closed-duration", "1s",
            "--connections", "4", "--reports", reports)
        self.assertEqual(status, 0)
        cells = [(row["workers"], row["batching"]) for row in figures["rows"]]
        self.assertEqual(cells, [(1, "on"), (1, "off"), (2, "on"), (2, "off")])
        for row in figures["rows"]:
            self.assertAlmostEqual(row["cost_ratio"], row["cpu_us"] / row["stock_us"])
            self.assertGreater(row["closed_rate_per_s"], 0)
            self.assertGreaterEqual(row["crossings_per_signature"], 0)
        self.assertGreaterEqual(figures["machine"]["cpus"], 1)
        kept = sorted(reports.iterdir())
        self.assertEqual([file.suffix for file in kept], [".json", ".txt"])
        self.assertEqual(json.loads(kept[0].read_text()), figures)
        self.assertRegex(kept[0].name,
                         rf"^\d{{4}}-\d\d-\d\d-\d{{4}}-matrix-{figures['commit']}\.")

    def test_a_killed_bench_leaves_neither_processes_nor_data(self):
        temporary = self.system.data / "temporary"
        temporary.mkdir()
        bench = subprocess.Popen(
            [self.system.programs / "bulla-bench", "gate", "--rate", "100"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(temporary)})
        with bench:
            await_true(lambda: any(temporary.glob("*/endpoints.json")), "its service is there")
            endpoints = next(temporary.glob("*/endpoints.json"))
            pids = json.loads(endpoints.read_text())["pids"].values()
            bench.kill()
        await_true(lambda: not any(temporary.iterdir()), "the data are removed")
        await_true(lambda: not any(map(is_alive, pids)), "the service has stopped")

    def test_reports_are_written_as_markdown_and_as_a_page(self):
        markdown, page = (self.system.data / name for name in ("run.md", "run.html"))
        status, figures = self.bench("--rate", str(RATE), "--duration", f"{SECONDS}s",
                                     "--warm-up", "1s", "--markdown", markdown, "--html", page)
        self.assertEqual(status, 0)
        for text in (markdown.read_text(), page.read_text()):
            self.assertIn("POST /sign", text)
            self.assertIn(f"{figures['verified'] + figures['warm_up_requests']} signatures", text)
        self.assertEqual(page.read_text().count("<svg "), 3)

    def test_a_service_that_is_gone_is_a_status_of_its_own(self):
        self.system.stop()
        run = subprocess.run(
            [self.system.programs / "bulla-bench", "run",
             "--url", f"http://{self.system.addresses['http']}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(run.returncode, 3, run.stderr)


if __name__ == "__main__":
    unittest.main()
