"""No loop goes over what a temporary pointer points to: `for (x : *streams())` lets go of the
pointer before the first turn (C++20), and what it pointed to may be gone by the second.

usage: loops_test.py SOURCE_DIR
"""

import pathlib
import re
import sys

LOOP = re.compile(r"\bfor \([^;)]*:\s*\*\s*[\w.>:-]+\(")


def faults(text):
    return [number for number, line in enumerate(text.splitlines(), 1) if LOOP.search(line)]


def main():
    assert faults("  for (const auto& stream : *streams()) {") == [1]
    assert faults("  for (int i : *link->streams(now)) {") == [1]
    assert not faults("  for (const auto& stream : *open) {")
    root = pathlib.Path(sys.argv[1])
    files = [f for suffix in ("cc", "h") for f in root.rglob(f"*.{suffix}")
             if not f.is_relative_to(root / "build")]
    assert len(files) > 100, "no files found"
    found = [f"{f.relative_to(root)}:{line}: hold the pointer in a variable first"
             for f in files for line in faults(f.read_text())]
    print("\n".join(found) if found else f"{len(files)} files, no such loop")
    sys.exit(1 if found else 0)


main()
