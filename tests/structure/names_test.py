"""No program has two types of one name: the linker would take either for the other without a word,
and objects of one layout would be used as objects of another (the one-definition rule).

usage: names_test.py SOURCE_DIR
"""

import collections
import pathlib
import re
import sys

# The rooms that each program is linked from; their tests add tests/fakes.
PROGRAMS = {
    "bulla-enclave": ["base", "http2", "crypto", "wire", "attest", "kms", "enclave"],
    "bulla-gateway": ["base", "http2", "wire", "store", "gateway"],
    "bulla-kms": ["base", "crypto", "attest", "kms", "localkms"],
    "bulla": ["base", "crypto", "cli"],
    "bulla-bench": ["base", "crypto", "bench"],
}
NAMESPACE = re.compile(r"^namespace ([\w:]+) \{", re.MULTILINE)
TYPE = re.compile(r"^(?:class|struct|enum class)(?: BULLA_\w+(?:\([^)]*\))?)? (\w+)(?: final)?"
                  r"(?: : [^;]*)?\s*\{", re.MULTILINE)


def main():
    root = pathlib.Path(sys.argv[1])
    faults = []
    types = 0
    for program, rooms in PROGRAMS.items():
        places = collections.defaultdict(list)
        for header in (h for room in [*rooms, "tests/fakes"] for h in (root / room).rglob("*.h")):
            text = header.read_text()
            spaces = NAMESPACE.findall(text)
            for name in TYPE.findall(text):
                places["::".join([*spaces[-1:], name])].append(str(header.relative_to(root)))
                types += 1
        faults += [f"{program}: {name} is defined in {' and in '.join(files)}"
                   for name, files in places.items() if len(files) > 1]
    print("\n".join(faults) if faults else f"{types} types, no two of one name in a program")
    assert types > 100, "the pattern finds no types any more"
    sys.exit(1 if faults else 0)


main()
