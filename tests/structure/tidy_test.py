"""Words that have a better one here, and what every file of source has. A ban names what to write
instead. That clang-format and clang-tidy cannot see these is why they stand here.

usage: tidy_test.py SOURCE_DIR
"""

import dataclasses
import pathlib
import re
import sys
import unittest

SOURCE = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else ".")

COLUMNS = 100
CPP = {".h", ".cc", ".c"}
SOURCES = CPP | {".py", ".js", ".proto", ".cmake", ".sh"}  # and scripts, and CMakeLists.txt
# Others wrote these, or they are written as others would write them.
FOREIGN = ("api/google/", "bench/peers/")
NOT_OURS = {"build", "bulla-data", "node_modules", "__pycache__"}  # folders, wherever they are
SECRET_ROOMS = ("crypto/", "kms/", "enclave/", "attest/", "localkms/")

# Who may call Expose(), the one door of a secret (crypto/secret.h). Add a file here when it has to
# see the bytes of a key, and say why in the commit: each is one more place to read for who looks
# after them. Tests, fuzz targets and benchmarks of these rooms may, too.
MAY_EXPOSE = {
    "crypto/aead.cc",            # the key of AES-GCM, and what it opens
    "crypto/key_generation.cc",  # draws it
    "crypto/key_tag.cc",         # its fingerprint
    "crypto/rfc6979.cc",         # the nonce
    "crypto/secret.h",           # the door
    "crypto/secret_arena.cc",    # the same, in locked memory
    "crypto/secret_arena.h",
    "crypto/signer.cc",          # signs with it
    "enclave/dek_table.cc",      # keeps data keys
    "enclave/key_shard.cc",      # keeps plain keys
    "enclave/main.cc",           # the seed of the engine's blinding
    "kms/recipient.cc",          # opens KMS's answer
    "kms/sealed_key.cc",         # seals and opens blobs
    "localkms/key_ring.cc",      # stand-in for KMS: keeps its master keys
    "localkms/key_ring.h",
    "localkms/kms_service.cc",   # the same: makes data keys
}
TESTS_MAY_EXPOSE = re.compile(
    r"^(crypto|enclave|kms|localkms)/\w+_(test|fuzz|bench)\.cc$"
    r"|^tests/(faults|sealing|simulation)/\w+\.cc$")


@dataclasses.dataclass
class Ban:
    pattern: re.Pattern
    instead: str
    example: str          # of what it refuses
    suffixes: frozenset = frozenset(CPP)
    rooms: tuple = ("",)  # folders that it is for
    but: tuple = ()       # beginnings of names that it is not for
    in_comments: bool = False

    def is_for(self, name):
        return (pathlib.PurePath(name).suffix in self.suffixes and name.startswith(self.rooms)
                and not name.startswith((*self.but, *FOREIGN)))


BANS = [
    Ban(re.compile(r"\b(sleep_for|sleep_until|usleep|nanosleep)\b|(?<![\w.])sleep\("),
        "wait for what you wait for (CondVar, Ticker, WakeTimer), else base/await.h",
        "std::this_thread::sleep_for(kLong);", but=("base/await.",)),
    Ban(re.compile(r"_clock::now\(|\bgettimeofday\b|\bstd::time\(|"
                   r"(?<![\w.:>])time\((nullptr|NULL|0|&)|\bCLOCK_(REALTIME|MONOTONIC)"),
        "take `now`, or a Clock&; RealClock asks (base/clock.h)",
        "auto now = std::chrono::steady_clock::now();", but=("base/clock.",)),
    Ban(re.compile(r"\bCLOCK_THREAD_CPUTIME_ID\b"), "ThreadCpuTime() (base/thread.h)",
        "clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);", but=("base/thread.",)),
    Ban(re.compile(r"\b(memcmp|bcmp|strn?cmp)\b"), "ConstantTimeEquals (crypto/secret.h)",
        "if (std::memcmp(a, b, 32) == 0) {", rooms=SECRET_ROOMS),
    Ban(re.compile(r"\b(s?rand|drand48)\("), "base/random.h, or a seeded std::mt19937_64",
        "int i = rand();"),
    Ban(re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b"), "do it, or open an issue",
        "// TO" "DO: later", suffixes=frozenset(SOURCES | {".md", ".yaml", ".txt", ""}),
        in_comments=True),
    Ban(re.compile(r"\btime\.sleep\([^#]*$"),
        "await_true() (system_under_test.py); if time itself is the point: a comment on that line",
        "    time" ".sleep(1)", suffixes=frozenset({".py"})),
]

OPENING = {  # what a file begins with, by its kind
    ".h": re.compile(r"#pragma once\n\n//"),
    ".c": re.compile(r"//"),
    ".proto": re.compile(r"//"),
    ".js": re.compile(r"(#!.*\n)?//"),
    ".py": re.compile(r'(#!.*\n)?"""'),
    ".cmake": re.compile(r"#"),
    ".sh": re.compile(r"#"),
    "": re.compile(r'#!.*\n(#|""")'),
}
OWN_HEADER = re.compile(r'#include "([^"]+)\.h"\n')


def files():
    """{name: text} of every file that is looked at."""
    found = {}
    for path in sorted(SOURCE.rglob("*")):
        name = path.relative_to(SOURCE)
        if not path.is_file() or not NOT_OURS.isdisjoint(name.parts):
            continue
        if name.parts[0].startswith(".") and name.parts[0] != ".ci" or "corpus" in str(name.parent):
            continue
        is_script = path.suffix == "" and path.read_bytes()[:2] == b"#!"
        if is_script or path.suffix in SOURCES | {".md", ".yaml", ".txt"}:
            found[name.as_posix()] = path.read_text(encoding="utf-8")
    return found


def is_source(name):
    return pathlib.PurePath(name).suffix in SOURCES | {""} or name.endswith("CMakeLists.txt")


def opens_with_a_paragraph(name, text):
    """A file says what it is for before it does anything; a .cc file of a header may leave that to
    the header, which it includes first, and so may the header's tests."""
    suffix = pathlib.PurePath(name).suffix
    if name.endswith("CMakeLists.txt"):
        return True  # a list of links, most of them: Rooms.cmake says what they mean
    if suffix != ".cc":
        return OPENING[suffix].match(text) is not None
    if text.startswith("//"):
        return True
    stem = re.sub(r"(_test|_fuzz|_bench)?\.cc$", "", name)
    own = OWN_HEADER.match(text)
    return own is not None and own[1] == stem


def without_comment(line):
    return re.sub(r"(^|\s)//.*", "", line)


def faults(name, text):
    """What is wrong with a file, a line each."""
    bans = [ban for ban in BANS if ban.is_for(name)]
    for number, line in enumerate(text.splitlines(), 1):
        for ban in bans:
            if found := ban.pattern.search(line if ban.in_comments else without_comment(line)):
                yield f"{name}:{number}: {found[0]}: {ban.instead}"
        if is_source(name) and len(line) > COLUMNS and not name.startswith("api/google/"):
            yield f"{name}:{number}: {len(line)} columns, at most {COLUMNS}"
    if is_source(name) and not name.startswith("api/google/"):
        if not opens_with_a_paragraph(name, text):
            yield f"{name}: begin with a paragraph: what problem, what idea"
    if pathlib.PurePath(name).suffix in CPP and re.search(r"\bExpose\(", text):
        if name not in MAY_EXPOSE and not TESTS_MAY_EXPOSE.match(name):
            yield f"{name}: Expose(): who may see secrets is in MAY_EXPOSE of tidy_test.py"


class Tidy(unittest.TestCase):
    def test_the_tree_is(self):
        tree = files()
        self.assertGreater(len(tree), 400, "the tree was not found; is the source directory right?")
        found = [fault for name, text in tree.items() for fault in faults(name, text)]
        self.assertEqual(found, [], "\n" + "\n".join(found))

    def test_who_may_expose_does(self):
        tree = files()
        self.assertEqual([name for name in sorted(MAY_EXPOSE)
                          if "Expose(" not in tree.get(name, "")], [])


class TheRuleItself(unittest.TestCase):
    """Each ban refuses an example of what it bans."""

    def assert_refused(self, name, text):
        self.assertNotEqual(list(faults(name, text)), [], f"{name}: {text}")

    def assert_taken(self, name, text):
        self.assertEqual(list(faults(name, text)), [], name)

    def test_it_refuses(self):
        for ban in BANS:
            name = ban.rooms[0] + "x" + (".py" if ban.suffixes == {".py"} else ".h")
            self.assert_refused(name, "#pragma once\n\n// X.\n" + ban.example + "\n")
        for name, line in [
                ("gateway/x.cc", "::usleep(3);"), ("gateway/x.cc", "  sleep(1);"),
                ("gateway/x.cc", "std::chrono::system_clock::now()"), ("cli/x.cc", "time(nullptr)"),
                ("base/x.cc", "::clock_gettime(CLOCK_MONOTONIC, &time);"),
                ("kms/x.cc", "return memcmp(a, b, n);"), ("enclave/x.cc", "key.Expose()"),
                ("gateway/link/x.cc", "key.Expose(slot)"), ("README.md", "FIX" "ME"),
                ("base/x.cc", "x" * (COLUMNS + 1)), ("scripts/x", "#" * (COLUMNS + 1)),
                ("tests/integration/x.py", "time" ".sleep(0.1)")]:
            opening = '"""X."""' if name.endswith(".py") else "// X."
            self.assert_refused(name, f"{opening}\n{line}\n")
        for name, text in [
                ("base/x.h", "#pragma once\n\n#include <new>\n"), ("base/x.cc", "#include <new>\n"),
                ("base/x.cc", '#include "base/y.h"\n'), ("base/x_test.cc", "#include <new>\n"),
                ("tests/x.py", "import os\n"), ("api/x.proto", 'syntax = "proto3";\n'),
                ("scripts/x", "#!/usr/bin/env bash\nset -euo pipefail\n")]:
            self.assert_refused(name, text)

    def test_it_takes(self):
        for name, text in [
                ("base/await.cc", '#include "base/await.h"\n\nsleep_for(duration);\n'),
                ("base/clock.h", "#pragma once\n\n// X.\nstd::chrono::steady_clock::now();\n"),
                ("gateway/x.cc", "// X.\nsleep_forever = Time(0); runtime(0);\n"),
                ("gateway/x.cc", "// X.\nWait();  // no sleep_for here\n"),
                ("gateway/x.cc", "// X.\nif (memcmp(a, b, n) == 0) {\n"),
                ("crypto/secret.cc", '#include "crypto/secret.h"\n\nCRYPTO_memcmp(a, b, n)\n'),
                ("base/x_test.cc", '#include "base/x.h"\n'),
                ("crypto/signer.cc", '#include "crypto/signer.h"\n\nkey.Expose()\n'),
                ("kms/x_test.cc", '#include "kms/x.h"\n\nkey.Expose()\n'),
                ("tests/x.py", '"""X."""\ntime.sleep(1)  # the pace of these clients\n'),
                ("base/x.cc", "// " + "x" * (COLUMNS - 3) + "\n")]:
            self.assert_taken(name, text)


if __name__ == "__main__":
    unittest.main()
