"""Does docs/metrics.md say what the gateway has at /metrics: each family with its type, its labels
and its help, and no other? The running gateway is asked, so a metric that is added anywhere is
found. `metrics_test.py --write` writes the table of the page anew.
"""

import pathlib
import re
import sys
import unittest

from system_under_test import Caller, SystemTest, await_true

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "metrics.md"
HEAD = "| metric | type | labels | what it says |\n|---|---|---|---|\n"
SERIES = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+")
LABEL = re.compile(r'(\w+)="(?:[^"\\]|\\.)*"')
OF_A_SAMPLE = {"le", "quantile"}  # which bucket of a histogram, not which series


def families(exposition):
    """{name: {"type", "help", "labels"}} of a text in Prometheus' format."""
    found = {}
    family = None
    for line in exposition.splitlines():
        if line.startswith("# "):
            _, kind, name, text = line.split(" ", 3)
            family = found.setdefault(name, {"type": "", "help": "", "labels": set()})
            family[kind.lower()] = text
        else:
            labels = SERIES.fullmatch(line)[2] or ""
            family["labels"].update(set(LABEL.findall(labels)) - OF_A_SAMPLE)
    return found


def table(found):
    rows = ["| `{}` | {} | {} | {} |\n".format(
        name, family["type"], ", ".join(f"`{label}`" for label in sorted(family["labels"])) or "–",
        family["help"].replace("|", "\\|")) for name, family in sorted(found.items())]
    return HEAD + "".join(rows)


class MetricsTest(SystemTest):
    def families(self):
        caller = Caller(self.system.addresses["admin"])
        self.addCleanup(caller.close)
        caller.connection.request("GET", "/metrics")
        return families(caller.connection.getresponse().read().decode())

    def test_the_page_has_what_is_there(self):
        self.system.await_ready()
        # An enclave's own are there once it has answered a probe.
        await_true(lambda: any("enclave" in family["labels"] and "rehydrate" in name
                               for name, family in self.families().items()), "a probe's answer")
        found = self.families()
        for name, family in found.items():
            self.assertTrue(family["help"], name)
            self.assertIn(family["type"], ("counter", "gauge", "histogram", "summary"), name)
        page = PAGE.read_text(encoding="utf-8")
        want = table(found)
        if WRITE:
            PAGE.write_text(page[:page.index(HEAD)] + want, encoding="utf-8")
            return
        self.assertTrue(page.endswith(want), f"{PAGE} should end so (--write does it):\n{want}")


if __name__ == "__main__":
    WRITE = "--write" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--write"]
    unittest.main()
