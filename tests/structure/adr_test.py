"""Every decision in docs/adr says what became of it and when it was made, under its title:

    # 7. The title

    Status: accepted. Date: 2026-11-22.

The numbers have no gap, so that none was lost, and whoever speaks of an ADR speaks of one that
there is.

usage: adr_test.py SOURCE_DIR
"""

import datetime
import pathlib
import re
import sys
import unittest

SOURCE = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else ".")
NAME = re.compile(r"^(\d{4})-[a-z0-9-]+\.md$")
HEAD = re.compile(
    r"\A# (?P<number>\d+)\. \S[^\n]*\n\nStatus: "
    r"(?:proposed|accepted|rejected|"
    r"superseded by \[ADR (?P<by>\d+)\]\((?P<link>[^)\n]+)\)[^\n]*)\. "
    r"Date: (?P<date>\d{4}-\d\d-\d\d)\.\n\n")
MENTION = re.compile(r"\bADRs? (\d+)")
# Where ADRs are spoken of.
TEXTS = ("*.md", "*.h", "*.cc", "*.c", "*.py", "*.proto", "CMakeLists.txt")


def head_fault(name, text, others):
    """What is wrong with the head of ADR `name`, one of the files `others`; None if nothing is."""
    head = HEAD.match(text)
    if not head:
        return "want '# N. Title', an empty line, 'Status: accepted. Date: YYYY-MM-DD.'"
    if int(head["number"]) != int(name[:4]):
        return f"has the number {head['number']} in its title"
    try:
        datetime.date.fromisoformat(head["date"])
    except ValueError:
        return f"{head['date']} is no date"
    if head["link"] is not None:
        if head["link"] not in others or int(head["link"][:4]) != int(head["by"]):
            return f"is superseded by {head['link']}, which is not ADR {head['by']}"
    return None


class Adrs(unittest.TestCase):
    def setUp(self):
        self.files = {p.name: p for p in sorted((SOURCE / "docs" / "adr").glob("*.md"))}

    def test_each_has_status_and_date(self):
        self.assertGreater(len(self.files), 10, "no ADRs found; is the source directory right?")
        faults = [f"{name}: {fault}" for name, path in self.files.items()
                  if (fault := head_fault(name, path.read_text(encoding="utf-8"), self.files))]
        self.assertEqual(faults, [], "\n" + "\n".join(faults))

    def test_the_numbers_have_no_gap(self):
        for name in self.files:
            self.assertRegex(name, NAME)
        self.assertEqual([int(name[:4]) for name in self.files],
                         list(range(1, len(self.files) + 1)))

    def test_whoever_names_one_names_one_that_there_is(self):
        faults = []
        for pattern in TEXTS:
            for path in SOURCE.rglob(pattern):
                name = path.relative_to(SOURCE)
                if {"build", "node_modules"} & set(name.parts) or name.name == "adr_test.py":
                    continue
                faults += [f"{name}: ADR {number}" for number in
                           MENTION.findall(path.read_text(encoding="utf-8"))
                           if not 1 <= int(number) <= len(self.files)]
        self.assertEqual(faults, [], "\n" + "\n".join(faults))


class TheRuleItself(unittest.TestCase):
    OTHERS = ("0001-a.md", "0002-b.md", "0007-c.md")

    def test_it_refuses(self):
        for text in [
            "# 7. Title\n\n**Decision.** Without a status.\n",
            "# 7. Title\n\nStatus: accepted.\n\nWithout a date.\n",
            "# 7. Title\n\nStatus: fine. Date: 2026-11-22.\n\nWhat is fine?\n",
            "# 7. Title\n\nStatus: accepted. Date: 2026-11-31.\n\nNo such day.\n",
            "# 6. Title\n\nStatus: accepted. Date: 2026-11-22.\n\nAnother number.\n",
            "# 7. Title\n\nStatus: superseded by [ADR 2](0003-d.md). Date: 2026-11-22.\n\nNone.\n",
            "# 7. Title\n\nStatus: superseded by [ADR 2](0001-a.md). Date: 2026-11-22.\n\nNot 2.\n",
        ]:
            self.assertIsNotNone(head_fault("0007-c.md", text, self.OTHERS), text)

    def test_it_allows(self):
        for status in ["accepted", "proposed",
                       "superseded by [ADR 2](0002-b.md), but for what it says of x"]:
            text = f"# 7. Title\n\nStatus: {status}. Date: 2026-11-22.\n\n**Decision.** So.\n"
            self.assertIsNone(head_fault("0007-c.md", text, self.OTHERS), text)


if __name__ == "__main__":
    unittest.main()
