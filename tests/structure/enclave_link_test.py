"""What runs beside the keys is small: the enclave neither contains nor loads gRPC's library, nor
what comes with it. It speaks gRPC by http2/ (ADR 24).

usage: enclave_link_test.py BUILD_DIR
"""

import pathlib
import re
import subprocess
import sys
import unittest

BUILD = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else "build/release")
FOREIGN = ("libgrpc", "libgpr", "libupb", "libcares", "libre2", "libaddress_sorting")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def loaded(program):
    """Libraries, those that others of them need among them."""
    return re.findall(r"^\s*(\S+) =>", output("ldd", BUILD / "bin" / program), re.MULTILINE)


def of_grpc(program):
    symbols = output("nm", "--dynamic", "--demangle", BUILD / "bin" / program)
    return ([name for name in loaded(program) if name.startswith(FOREIGN)]
            + [line for line in symbols.splitlines() if "grpc::" in line])


class EnclaveLink(unittest.TestCase):
    def test_the_enclave_has_nothing_of_grpc(self):
        self.assertEqual(of_grpc("bulla-enclave"), [])
        self.assertIn("libnghttp2.so.14", loaded("bulla-enclave"))

    def test_the_same_looks_find_it_where_it_is(self):
        """Or the test above would pass for want of looking."""
        found = of_grpc("bulla-bench")
        self.assertIn("libgrpc++.so.1.51", found)
        self.assertTrue([line for line in found if "grpc::" in line])


if __name__ == "__main__":
    unittest.main()
