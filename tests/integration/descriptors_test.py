"""Every listener of every daemon, out of file descriptors: none of them spins, none fills its log,
and when there are descriptors again the service is back without a restart.
"""

import http.client
import os
import pathlib
import resource
import socket
import time
import unittest

from system_under_test import Caller, SystemTest, await_true, judge, say

SPARE = 8  # descriptors that each daemon may still open
FLOOD = 64  # connections to each listener: more than the spare ones, fewer than any backlog holds
LOOK_S = 3
CPU_SHARE_MAX = 0.5  # of one core. What spins uses all of it
LOG_BYTES_MAX = 128 * 1024  # a line of each event a second, and a burst: base/log_limiter.h


def descriptors(pid):
    return [int(name) for name in os.listdir(f"/proc/{pid}/fd")]


def cpu_seconds(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


class DescriptorsTest(SystemTest):
    def listeners(self):
        """{name: where it listens}, a (host, port) or a path, of all there are."""
        found = {}
        for name in ("http", "grpc", "admin", "kms"):
            host, port = self.system.addresses[name].rsplit(":", 1)
            found[name] = (host, int(port))
        run = pathlib.Path(self.system.addresses["adminSocket"]).parent
        for path in sorted(run.glob("*.sock")):
            found[path.name] = str(path)
        self.assertEqual(len(found), 4 + 1 + 1 + self.system.enclaves, found)
        return found

    def flood(self, address):
        """Connections that say nothing, as many as the kernel takes."""
        connections = []
        self.addCleanup(lambda: [each.close() for each in connections])
        for _ in range(FLOOD):
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            connection = socket.socket(family, socket.SOCK_STREAM)
            connection.settimeout(5)
            connections.append(connection)
            try:
                connection.connect(address)
            except (BlockingIOError, TimeoutError):
                break  # the backlog is full
        return connections

    def await_signature(self):
        def signs():
            caller = Caller(self.system.addresses["http"], timeout_s=5)
            try:
                digest = os.urandom(32)
                status, answer = caller.call(
                    "POST", "/sign", {"keyId": self.key["keyId"], "digest": digest.hex()})
                if status == 200:
                    judge(self.key, digest, answer)
                return status == 200
            except (OSError, http.client.HTTPException):
                return False
            finally:
                caller.close()
        await_true(signs, "a signature")

    def await_answer(self, address, target):
        def answers():
            caller = Caller(address, timeout_s=5)
            try:
                return caller.call("GET", target)[0] == 200
            except (OSError, http.client.HTTPException):
                return False
            finally:
                caller.close()
        await_true(answers, f"{target} on {address}")

    def log_bytes(self):
        return {log.stem: log.stat().st_size for log in (self.system.data / "logs").glob("*.log")}

    def test_without_descriptors_nothing_spins_and_all_comes_back(self):
        caller = Caller(self.system.addresses["http"])
        self.key = caller.create()
        caller.close()
        daemons = self.system.children()
        limits_before = {}
        for name, pid in daemons.items():
            limits_before[name] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            self.assertEqual(*limits_before[name], f"{name} takes what it is allowed")
            few = max(descriptors(pid)) + 1 + SPARE
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, limits_before[name][1]))
        flood = [connection for address in self.listeners().values()
                 for connection in self.flood(address)]
        for name, pid in daemons.items():
            few = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
            await_true(lambda pid=pid, few=few: len(descriptors(pid)) >= few - 1
                       or max(descriptors(pid)) >= few - 1, f"{name} has no descriptors left")

        cpu_before = {name: cpu_seconds(pid) for name, pid in daemons.items()}
        logs_before = self.log_bytes()
        began = time.monotonic()
        time.sleep(LOOK_S)  # a stretch to measure over, not something to wait for
        elapsed = time.monotonic() - began
        for name, pid in daemons.items():
            share = (cpu_seconds(pid) - cpu_before[name]) / elapsed
            written = self.log_bytes()[name] - logs_before[name]
            say(f"{name}: {share:.1%} of a core, {written} bytes of log in {elapsed:.1f} s")
            self.assertLess(share, CPU_SHARE_MAX, name)
            self.assertLess(written, LOG_BYTES_MAX, name)

        # Back, with no more descriptors than before: those who held them have gone.
        for connection in flood:
            connection.close()
        self.assertEqual(self.system.children(), daemons, "nobody was restarted")
        self.await_signature()
        for target in ("/healthz", "/readyz"):
            self.await_answer(self.system.addresses["admin"], target)
        self.await_answer(self.system.addresses["adminSocket"], "/enclaves")
        self.await_grpc()
        await_true(lambda: self.system.kms_calls(), "bulla-kms answers")
        pauses = self.system.metrics("bulla_accept_pauses_total")
        say(f"pauses: {pauses}")
        self.assertGreater(sum(pauses.values()), 0)
        for name, pid in daemons.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits_before[name])
        # A new connection from each enclave to KMS, through the forwarder.
        self.assertEqual(self.system.children(), daemons)

    def await_grpc(self):
        """HTTP/2's settings are answered."""
        host, port = self.system.addresses["grpc"].rsplit(":", 1)

        def greets():
            try:
                with socket.create_connection((host, int(port)), timeout=5) as connection:
                    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" +
                                       bytes(5))
                    return len(connection.recv(9)) > 0
            except OSError:
                return False
        await_true(greets, "gRPC answers")


if __name__ == "__main__":
    unittest.main()
