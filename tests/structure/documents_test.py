"""What the documents point to is there, and the tests' table of contents has every suite.

usage: documents_test.py SOURCE_DIR
"""

import pathlib
import re
import sys
import unittest

SOURCE = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else ".")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```$|^    .*?$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def documents():
    return [path for path in sorted(SOURCE.rglob("*.md"))
            if not {"build", "node_modules"} & set(path.relative_to(SOURCE).parts)]


def anchors(text):
    """The names by which the headings of a page can be linked to."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in HEADING.findall(text)}


def dead_links(path, text):
    """The links in `text`, of the document at `path`, that lead nowhere; those out of the tree are
    not followed."""
    for link in LINK.findall(CODE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        page = (path.parent / target).resolve() if target else path
        if not page.exists():
            yield link
        elif anchor and anchor not in anchors(text if page == path
                                              else page.read_text(encoding="utf-8")):
            yield link


class Documents(unittest.TestCase):
    def test_links_lead_somewhere(self):
        self.assertGreater(len(documents()), 10, "no documents found")
        dead = [f"{path.relative_to(SOURCE)}: {link}"
                for path in documents()
                for link in dead_links(path, path.read_text(encoding="utf-8"))]
        self.assertEqual(dead, [], "\n" + "\n".join(dead))

    def test_the_tests_are_all_in_their_readme(self):
        text = (SOURCE / "tests" / "README.md").read_text(encoding="utf-8")
        suites = [f"[{path.name}/]" for path in (SOURCE / "tests").iterdir()
                  if path.is_dir() and any(path.glob("*.*"))]
        suites += [f"`{path.name}`" for path in (SOURCE / "tests" / "integration").glob("*_test.py")
                   if path.name != "system_under_test.py"]
        self.assertGreater(len(suites), 20)
        self.assertEqual([suite for suite in suites if suite not in text], [])


class TheRuleItself(unittest.TestCase):
    def test_it_refuses_and_allows(self):
        page = SOURCE / "tests" / "README.md"
        for link, is_dead in [("no_such_file.md", True), ("../README.md", False),
                              ("../README.md#words", False), ("../README.md#no-such-words", True),
                              ("#seeds", False), ("#no-such-seeds", True),
                              ("https://example.org/x", False)]:
            with self.subTest(link=link):
                found = list(dead_links(page, f"# Seeds\nSee [there]({link}), not `[x](no_such)`."))
                self.assertEqual(found, [link] if is_dead else [])


if __name__ == "__main__":
    unittest.main()
