"""The scripts hold to the shell's strict mode and to shellcheck, where it is installed.

usage: scripts_test.py SOURCE_DIR
"""

import pathlib
import shutil
import subprocess
import sys
import unittest

SOURCE = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else ".")


def scripts():
    return sorted(p for p in [*(SOURCE / "scripts").iterdir(), SOURCE / ".ci" / "run",
                              SOURCE / "bench" / "peers" / "start"]
                  if p.is_file() and p.read_bytes().startswith(b"#!"))


class Scripts(unittest.TestCase):
    def test_strict_mode_and_executable(self):
        self.assertGreaterEqual(len(scripts()), 5)
        for script in scripts():
            text = script.read_text(encoding="utf-8")
            is_bash = text.startswith("#!/usr/bin/env bash")
            self.assertTrue("set -euo pipefail" in text or not is_bash,
                            f"{script}: set -euo pipefail")
            self.assertTrue(script.stat().st_mode & 0o100, f"{script} is not executable")

    @unittest.skipUnless(shutil.which("shellcheck"), "shellcheck is not installed")
    def test_shellcheck(self):
        bash = [s for s in scripts() if s.read_bytes().startswith(b"#!/usr/bin/env bash")]
        run = subprocess.run(["shellcheck", *bash], capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stdout)


if __name__ == "__main__":
    unittest.main()
