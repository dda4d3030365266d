"""The tables and pictures of made-up figures: they hold what was measured, and are well-formed.

usage: figures_test.py
"""

import pathlib
import sys
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import plots  # noqa: E402
import svg  # noqa: E402
import tables  # noqa: E402


def run(p50, p95=2.0, crossings=1.0):
    return {"requests": 1000, "failed": 3, "dropped": 4, "rate_per_s": 7000.0,
            "target_rate_per_s": 7001.0, "p50_ms": p50, "p95_ms": p95, "p99_ms": 4.5,
            "p999_ms": 9.25, "crossings_per_signature": crossings}


def step(rate, p99, held):
    return {"rate_per_s": rate, "p50_ms": 0.5, "p99_ms": p99, "cpu_percent": 40.0, "held": held}


FIGURES = {
    "date": "2026-01-02", "quick": False,
    "cost": [{f"cost_ratio_{case}": ratio for case, _, _ in tables.COST_CASES}
             | {"machine": {"cpu": "A <CPU>"}} for ratio in (1.11, 1.37, 1.22)],
    "capacity": {"capacity_per_s": 1500.0,
                 "steps": [step(1000, 2.0, True), step(1500, 40.0, False), step(1500, 8.0, True)]},
    "half": [run(1.25)],
    "batching": [{"on": run(1.0, crossings=0.5), "off": run(2.0, crossings=2.0)}],
    "alone": [{"on": run(0.5), "off": run(0.4)}, {"on": run(0.6), "off": run(0.6)},
              {"on": run(0.9), "off": run(1.0)}],
    "memory": {"target_rate_per_s": 1350.0,
               "criteria": [{"name": "p99_ms", "limit": 10, "value": 3.5},
                            {"name": "engine_q_depth", "limit": 1, "value": None}],
               "memory": [{"seconds": 60.0 * i, "gateway_bytes": 2**24, "enclave_bytes": 2**25}
                          for i in range(11)]},
}


class Tables(unittest.TestCase):
    def test_each_part_says_what_was_measured(self):
        text = tables.markdown(FIGURES)
        for wanted in ("1.11, 1.37, 1.22", "1500 signatures a second held", "| 3, 4 |", "9.25",
                       "75.0 % fewer", "ratios 1.000", "| engine_q_depth | 1 | – |",
                       "| 600 | 16.0 | 32.0 |"):
            self.assertIn(wanted, text)

    def test_parts_that_were_not_measured_are_left_out(self):
        text = tables.markdown({"date": "2026-01-02", "quick": True, "half": FIGURES["half"]})
        self.assertIn("At half of capacity", text)
        self.assertNotIn("Batching", text)
        self.assertIn("noise", text)


class Pictures(unittest.TestCase):
    def test_they_are_well_formed(self):
        pictures = plots.pictures(FIGURES)
        self.assertEqual(set(pictures), {"cost", "capacity", "memory"})
        for picture in pictures.values():
            xml.etree.ElementTree.fromstring(picture)

    def test_a_bar_is_as_long_as_its_median(self):
        root = xml.etree.ElementTree.fromstring(plots.of_cost(FIGURES))
        bars = [float(rect.get("width")) for rect in root.iter("{http://www.w3.org/2000/svg}rect")]
        self.assertEqual(len(bars), 4)
        self.assertAlmostEqual(bars[0] * 2.8 / 1.22, plots.WIDTH - 190 - plots.RIGHT, delta=1)

    def test_of_a_rate_that_was_tried_twice_the_better_try_is_drawn(self):
        root = xml.etree.ElementTree.fromstring(plots.of_capacity(FIGURES))
        p99 = [line for line in root.iter("{http://www.w3.org/2000/svg}polyline")][1]
        self.assertEqual(len(p99.get("points").split()), 2)

    def test_grid_lines_are_at_round_numbers_and_not_many(self):
        for highest in (0.7, 1, 9.9, 10, 32, 16_000):
            step_size = svg.step_of(highest)
            self.assertIn(f"{step_size:.0e}"[0], "125")
            self.assertTrue(2 <= highest / step_size <= 10, (highest, step_size))


if __name__ == "__main__":
    unittest.main()
