"""Who may change which enclaves there are. An enclave is sent the gateway's credentials for KMS, so
another user of the host tries to become one: over the admin listener's TCP port, over its Unix
socket, and from an address that only the machine's own user should listen on. Runs as root, and the
attacker as nobody.
"""

import json
import os
import pathlib
import re
import socket
import stat
import subprocess
import tempfile
import threading
import unittest

from system_under_test import Caller, SystemTest, say

NOBODY = 65534


def as_nobody(work):
    """What work() returns, run in a process of another user. JSON; an OSError as its errno."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = work()
        except OSError as failure:
            answer = {"errno": failure.errno}
        except BaseException as failure:  # pylint: disable=broad-except
            answer = {"failure": repr(failure)}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(child, 0)
    return answer


class Trap:
    """Listens where the attacker wants the gateway to connect to, and counts who does."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "tcp:127.0.0.1:%d" % self.listener.getsockname()[1]
        self.caught = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        try:
            while True:
                connection, _ = self.listener.accept()
                self.caught.append(connection)
        except OSError:
            pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@unittest.skipUnless(os.geteuid() == 0, "becomes another user")
class AdminAccessTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.trap = Trap()
        self.addCleanup(self.trap.close)
        self.socket = self.system.addresses["adminSocket"]

    def change(self, address, method="POST", body=None):
        body = body or {"address": self.trap.address}

        def work():
            caller = Caller(address, timeout_s=10)
            try:
                return caller.call(method, "/enclaves", body)
            finally:
                caller.close()
        return work

    def enclaves(self):
        caller = Caller(self.system.addresses["admin"])
        try:
            return [each["address"] for each in caller.call("GET", "/enclaves")[1]["enclaves"]]
        finally:
            caller.close()

    def assert_nothing_happened(self, before):
        self.assertEqual(self.enclaves(), before)
        self.assertEqual(self.trap.caught, [], "the gateway has connected to the attacker")

    def test_nobody_changes_the_enclaves_over_tcp(self):
        before = self.enclaves()
        for method in ("POST", "PATCH", "DELETE"):
            body = {"address": self.trap.address if method == "POST" else before[0], "weight": 1}
            if method == "DELETE":
                del body["weight"]
            status, answer = as_nobody(self.change(self.system.addresses["admin"], method, body))
            self.assertEqual(status, 403, answer)
            self.assertIn(self.socket, answer["error"]["message"])
        # root neither: TCP does not say who calls.
        status, _ = self.change(self.system.addresses["admin"])()
        self.assertEqual(status, 403)
        self.assert_nothing_happened(before)

    def test_nobody_changes_the_enclaves_over_the_socket(self):
        before = self.enclaves()
        self.assertEqual(stat.S_IMODE(os.stat(self.socket).st_mode), 0o600)
        # The folders above may let others pass: the socket's own mode holds.
        for folder in (self.system.data, pathlib.Path(self.socket).parent):
            os.chmod(folder, 0o711)
        self.assertEqual(as_nobody(self.change(self.socket)), {"errno": 13})
        # Even with the mode gone, the kernel says who calls.
        os.chmod(self.socket, 0o666)
        status, answer = as_nobody(self.change(self.socket))
        self.assertEqual(status, 403, answer)
        self.assert_nothing_happened(before)
        # Whose it is may, as before.
        status, answer = self.change(self.socket, "PATCH", {"address": before[0], "weight": 90})()
        self.assertEqual(status, 200, answer)

    def test_nobody_uses_the_commands(self):
        before = self.enclaves()
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            bulla = pathlib.Path(folder) / "bulla"  # the build may lie where nobody may look
            bulla.write_bytes((self.system.programs / "bulla").read_bytes())
            bulla.chmod(0o755)
            for data in (self.system.data, pathlib.Path(self.socket).parent):
                os.chmod(data, 0o711)
            for verb in ("add", "drain", "remove"):
                done = subprocess.run(
                    [bulla, "enclaves", verb, self.trap.address, "--admin-socket", self.socket],
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                    user=NOBODY, group=NOBODY, extra_groups=[])
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertIn("root and the gateway's own user", done.stderr)
        self.assert_nothing_happened(before)

    def test_production_takes_no_address_on_this_host(self):
        """By command, at the start and from a changed file."""
        self.system.stop()
        config = self.system.data / "run" / "gateway.yaml"
        text = config.read_text()
        for platform, address in (("nitro", self.trap.address), ("nitro", "unix:/tmp/e.sock"),
                                  ("nitro", "vsock:3:7000"), ("simulated", "tcp:10.0.0.1:7000")):
            config.write_text(
                re.sub(r"enclaves:\n(  - .*\n)+", f"enclaves:\n  - {json.dumps(address)}\n",
                       text.replace("platform: simulated", f"platform: {platform}")))
            done = subprocess.run(
                [self.system.programs / "bulla-gateway", "--config", config],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(f"got {address}", done.stderr)
            say(f"{platform}: {address} is refused")


if __name__ == "__main__":
    unittest.main()
