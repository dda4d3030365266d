"""The search for the highest rate, and the reports of a comparison.

usage: compare_test.py
"""

import os
import pathlib
import sys
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import measuring  # noqa: E402
import report  # noqa: E402
import systems  # noqa: E402


class HighestRate(unittest.TestCase):
    def search(self, limit, guess, resolution=0.03):
        tried = []

        def try_rate(rate):
            tried.append(rate)
            return rate <= limit
        return measuring.highest_rate(try_rate, guess, resolution), tried

    def test_it_is_found_from_below_and_from_above(self):
        for guess in (1, 100, 990, 1000, 1010, 5000, 50_000):
            found, tried = self.search(1000, guess)
            self.assertLessEqual(found, 1000)
            self.assertGreater(found * 1.03, 1000)
            self.assertIn(found, tried)

    def test_what_never_holds_is_zero(self):
        self.assertEqual(self.search(-1, 1000)[0], 0)

    def test_it_ends_where_everything_holds(self):
        found, tried = self.search(float("inf"), 1000)
        self.assertEqual(found, max(tried))
        self.assertLessEqual(len(tried), measuring.STEPS_MAX)


class Holds(unittest.TestCase):
    GOOD = {"p99_ms": 9.9, "failed": 0, "dropped": 0, "requests": 1000, "verified": 1000}

    def test_late_lost_and_silent_do_not_hold(self):
        self.assertTrue(measuring.holds(self.GOOD))
        self.assertTrue(measuring.holds({**self.GOOD, "failed": 1}))
        for change in ({"p99_ms": 10}, {"failed": 1, "dropped": 1}, {"verified": 0}):
            self.assertFalse(measuring.holds({**self.GOOD, **change}), change)


def round_of(rate):
    return {"held_rate": rate, "throughput": 2 * rate, "throughput_p99_ms": 20.0, "cpu_us": 99.4,
            "low_p50_ms": 0.2, "low_p99_ms": 0.5, "lost": 1, "low_lost": 0, "verified": 1000}


COMPARISON = report.summarise(
    {"fastify": {64: [round_of(1000), round_of(3000), round_of(1200)]},
     "bulla": {64: [round_of(3600), round_of(3500), round_of(9000)]}},
    {"date": "2026-01-02", "server_cpus": "0", "generator_cpus": "1", "rounds": 3, "seconds": 3,
     "low_rate": 500, "keys": 16, "quick": False,
     "raw": [{"name": "stock", "threads": 1, "cpu_us": 25.0, "per_second": 40000},
             {"name": "other", "threads": 2, "cpu_us": 500.0, "per_second": 4000}],
     "machine": {"cpu": "a <CPU>", "cpus": 2, "kernel": "6", "node": "v20", "commit": "abc",
                 "load_average_before": 0.0, "load_average_after": 0.0}})


class Report(unittest.TestCase):
    def test_rates_are_medians_and_their_ratio_is_given(self):
        text = report.markdown(COMPARISON)
        self.assertIn("| Fastify, one process, unchecked | 1200 | 1000–3000 | 3.00 |", text)
        self.assertIn("| Bulla | 3600 | 3500–9000 | 1.00 |", text)
        self.assertIn("6000 signatures", text)
        self.assertLess(text.index("| Bulla |"), text.index("| Fastify"))

    def test_loops_stand_beside_the_stock_library(self):
        self.assertIn("| other | 2 | 500.0 | 20.00 | 4000 |", report.markdown(COMPARISON))
        self.assertNotIn("in a loop", report.markdown({**COMPARISON, "raw": []}))

    def test_a_service_that_holds_no_rate_has_no_ratio(self):
        none = report.summarise({"fastify": {64: [round_of(0)]}, "bulla": {64: [round_of(1)]}},
                                {**COMPARISON, "rounds": 1})
        self.assertIn("| 0 | 0–0 | – |", report.markdown(none))
        xml.etree.ElementTree.fromstring(report.plot(none))

    def test_the_plot_is_well_formed_and_has_each_service(self):
        root = xml.etree.ElementTree.fromstring(report.plot(COMPARISON))
        bars = root.findall("{http://www.w3.org/2000/svg}rect")
        self.assertEqual([b.get("class") for b in bars], ["a", "other"])
        ours, peers = (float(bar.get("width")) for bar in bars)
        self.assertAlmostEqual(ours, 3 * peers, delta=1)


class Descendants(unittest.TestCase):
    def test_this_process_is_one_of_its_own(self):
        self.assertIn(os.getpid(), systems.descendants(os.getpid()))


if __name__ == "__main__":
    unittest.main()
