"""That the parent cannot hold a key is a property of the gateway's link line: the program neither
contains nor loads secp256k1, and links neither the crypto room nor the kms room.

usage: gateway_link_test.py BUILD_DIR
"""

import pathlib
import re
import subprocess
import sys
import unittest

BUILD = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else "build/release")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(program):
    """Defined and undefined symbols, static and dynamic."""
    path = BUILD / "bin" / program
    return output("nm", path) + output("nm", "--dynamic", path)


def needed(program):
    return re.findall(r"\(NEEDED\).*\[(.+)\]",
                      output("readelf", "--dynamic", BUILD / "bin" / program))


def link_line(program):
    return output("ninja", "-C", BUILD, "-t", "commands", "-s", "bin/" + program)


class GatewayLink(unittest.TestCase):
    def test_no_secp256k1_symbol(self):
        found = [line for line in symbols("bulla-gateway").splitlines() if "secp256k1" in line]
        self.assertEqual(found, [])

    def test_no_secp256k1_library(self):
        self.assertEqual([name for name in needed("bulla-gateway") if "secp256k1" in name], [])

    def test_no_crypto_and_no_kms_room_on_the_link_line(self):
        line = link_line("bulla-gateway")
        self.assertIn("libbulla_gateway_routing.a", line, "this is not the link line")
        for room in ("libbulla_crypto", "libbulla_kms", "libsecp256k1"):
            self.assertNotIn(room, line)

    def test_the_same_looks_find_all_of_it_in_the_enclave(self):
        """Or the tests above would pass for want of looking."""
        self.assertIn("secp256k1_", symbols("bulla-enclave"))
        # The library that scripts/engine builds is static, Debian's is loaded.
        static = "libsecp256k1.a" in link_line("bulla-enclave")
        self.assertTrue(static or [name for name in needed("bulla-enclave") if "secp256k1" in name])
        self.assertIn("libbulla_crypto", link_line("bulla-enclave"))


if __name__ == "__main__":
    unittest.main()
