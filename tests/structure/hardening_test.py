"""What is shipped is hardened, the signing engine's library included: every object was compiled
with the options of cmake/compile_options.txt, and every program shows what they and the linker's
are for.

usage: hardening_test.py SOURCE_DIR BUILD_DIR
"""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

BUILD = pathlib.Path(sys.argv.pop())
SOURCE = pathlib.Path(sys.argv.pop())
PROGRAMS = ("bulla", "bulla-bench", "bulla-enclave", "bulla-gateway", "bulla-kms")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def options(whom):
    lines = (SOURCE / "cmake" / "compile_options.txt").read_text(encoding="utf-8").splitlines()
    return [line.split(" ", 1)[1] for line in lines if line.split(" ", 1)[0] == whom]


def compile_commands():
    commands = json.loads((BUILD / "compile_commands.json").read_text(encoding="utf-8"))
    return [(command["file"], shlex.split(command["command"])) for command in commands]


def features(path):
    """What the object's notes say of CET: one line for each object in an archive."""
    return re.findall(r"x86 feature: (.*)", output("readelf", "--notes", path))


class Options(unittest.TestCase):
    def test_every_object_is_compiled_with_them(self):
        wanted = options("all") + options("gcc") + options("optimised")
        self.assertGreaterEqual(len(wanted), 8)
        for file, command in compile_commands():
            missing = [option for option in wanted if option not in command]
            self.assertEqual(missing, [], file)

    def test_the_engines_library_is_made_with_them(self):
        stamp = SOURCE / "build" / "engine" / "stamp"
        if not stamp.exists():
            self.skipTest("scripts/engine has built no library: the installed one signs")
        made_with = stamp.read_text(encoding="utf-8").split()
        wanted = options("all") + options("gcc") + options("optimised")
        self.assertEqual([option for option in wanted if option not in made_with], [])

    def test_the_compiler_check_can_fail(self):
        """The options of GCC are there for something: the check's program goes wrong without."""
        source = SOURCE / "cmake" / "checks" / "stores_are_kept.c"
        if "12.2" not in output("gcc", "-dumpfullversion"):
            self.skipTest("this is about GCC 12.2")
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / "check"
            for more, status in (((), 1), (options("gcc"), 0)):
                subprocess.run(["gcc", "-O2", *more, source, "-o", program], check=True)
                self.assertEqual(subprocess.run([program], check=False).returncode, status, more)


class Programs(unittest.TestCase):
    def test_every_program_is_hardened(self):
        for name in PROGRAMS:
            program = BUILD / "bin" / name
            dynamic = output("readelf", "--wide", "--dynamic", program)
            headers = output("readelf", "--wide", "--program-headers", program)
            symbols = output("nm", "--dynamic", program)
            with self.subTest(name):
                self.assertRegex(dynamic, r"FLAGS_1\).*PIE")
                self.assertRegex(dynamic, r"FLAGS_1\).*NOW|BIND_NOW")
                self.assertIn("GNU_RELRO", headers)
                self.assertRegex(headers, r"GNU_STACK .* RW ")
                self.assertIn("__stack_chk_fail", symbols)
                self.assertRegex(symbols, r"__\w+_chk\b")
                self.assertEqual(features(program), ["IBT, SHSTK"])

    def test_what_is_marked_for_cet_was_compiled_for_it(self):
        """The linker marks a program as it is told, whatever it is made of."""
        archives = sorted(BUILD.rglob("libbulla_*.a"))
        engine = SOURCE / "build" / "engine" / "lib" / "libsecp256k1.a"
        if engine.exists():
            archives.append(engine)
        self.assertGreaterEqual(len(archives), 8)
        for archive in archives:
            members = output("ar", "t", archive).split()
            self.assertEqual(features(archive), ["IBT, SHSTK"] * len(members), archive.name)


if __name__ == "__main__":
    unittest.main()
