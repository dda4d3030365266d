"""Each hot setting is changed while signatures flow: by replacing the gateway's file as Kubernetes
replaces a ConfigMap's, and back again with SIGHUP. It is in force within a second, no request
fails, and nothing wants a restart for it. A file that is wrong changes nothing.
"""

import os
import signal
import time
import unittest

from load import Load
from system_under_test import Caller, SystemTest, await_true, freeze, say

CONNECTIONS = 50
RATE = int(os.environ.get("BULLA_TEST_RATE", 500))  # a second
IN_FORCE_S = 1
LATE_S = 0.5  # for a machine that has other work too

# Another value than the default for each, which no request notices.
CHANGES = {
    "admission.in_flight_max": "5000",
    "admission.wait_max": "60ms",
    "batch.size_max": "16",
    "batch.wait_max": "400us",
    "create_timeout": "4s",
    "drain_timeout": "9s",
    "http.body_timeout": "29s",
    "http.header_timeout": "9s",
    "http.idle_timeout": "70s",
    "http.write_timeout": "29s",
    "log_level": "debug",
    "pool.streams_max": "30",
    "pool.streams_min": "18",
    "rebalancing.step_interval": "400ms",
    "retry.budget_requests": "8",
    "retry.count_max": "1",
    "retry.per_try_timeout": "150ms",
    "retry.timeout": "250ms",
    "retry_hint.max": "150ms",
    "retry_hint.min": "60ms",
    "sign_timeout": "2s",
    "unlock.concurrency_max": "5",
    "unlock.rate_max": "90",
}
# Tests of their own: operations_test, key_life_test.
ELSEWHERE = ("enclaves", "key_policy.")


class HotSettingsTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.file = self.system.data / "run" / "gateway.yaml"
        self.first = self.file.read_text()
        self.admin = Caller(self.system.addresses["admin"])
        self.addCleanup(self.admin.close)
        self.versions = 0
        # As the kubelet lays a ConfigMap out: gateway.yaml -> ..data/gateway.yaml, ..data -> ..N
        self.swap({})
        link = self.file.with_suffix(".link")
        link.symlink_to("..data/gateway.yaml")
        link.rename(self.file)

    def swap(self, changes):
        """The file with these on top of what it had first; in place at one moment."""
        self.versions += 1
        folder = self.file.parent / f"..{self.versions}"
        folder.mkdir()
        (folder / self.file.name).write_text(
            self.first + "".join(f"{key}: {value}\n" for key, value in changes.items()))
        link = self.file.parent / "..data_tmp"
        link.symlink_to(folder.name)
        link.rename(self.file.parent / "..data")

    def hangup(self):
        os.kill(self.system.children()["gateway"], signal.SIGHUP)

    def status(self):
        code, status = self.admin.call("GET", "/status")
        self.assertEqual(code, 200)
        return status

    def settings(self):
        return self.status()["settings"]

    def await_settings(self, wanted, patience_s):
        """Seconds until all of them are in force."""
        began = time.monotonic()
        await_true(lambda: all(self.settings()[key] == value for key, value in wanted.items()),
                   f"{wanted} in force", patience_s)
        return time.monotonic() - began

    def test_each_setting_under_load(self):
        usual = self.settings()
        self.assertEqual({key for key in usual if not key.startswith(ELSEWHERE)}, set(CHANGES),
                         "each hot setting has another value here")
        load = Load(self.system, seconds=4 + 2 * len(CHANGES), connections=CONNECTIONS, rate=RATE)
        load.await_under_way()
        took = {"swap": [], "SIGHUP": []}
        for key, value in CHANGES.items():
            self.assertNotEqual(usual[key], value, key)
            self.swap({key: value})
            took["swap"].append(self.await_settings({key: value}, IN_FORCE_S + LATE_S))
            self.swap({})
            self.hangup()
            took["SIGHUP"].append(self.await_settings({key: usual[key]}, IN_FORCE_S + LATE_S))
            self.assertNotIn("configNeedsRestart", self.status(), key)
        self.swap(CHANGES)
        self.await_settings(CHANGES, IN_FORCE_S + LATE_S)
        self.assertTrue(load.is_under_way(), "the load outlasts the changes")
        report = load.finish()
        lost = {name: report[name] for name in ("failed", "wrong", "dropped", "warm_up_failed")}
        self.assertFalse(any(lost.values()), f"{lost} {report['errors']}")
        say(f"{len(CHANGES)} settings changed and changed back, {report['requests']} requests, "
            "none failed; in force after " + ", ".join(
                f"{max(seconds) * 1000:.0f} ms at most by {how}" for how, seconds in took.items()))

    def test_behaviour_follows(self):
        idle = Caller(self.system.addresses["http"], timeout_s=10)
        self.addCleanup(idle.close)
        key = idle.create()
        began = time.monotonic()
        self.swap({"http.idle_timeout": "100ms", "admission.in_flight_max": "77"})
        self.assertEqual(idle.connection.sock.recv(1), b"", "it waited when the time-out changed")
        self.assertLess(time.monotonic() - began, IN_FORCE_S + LATE_S)
        await_true(lambda: self.system.metrics("bulla_gateway_in_flight_max") == {"": 77},
                   "the bound")

        hinted = {"sign_timeout": "1ms", "retry_hint.min": "4711ms", "retry_hint.max": "4711ms"}
        self.swap(hinted)
        self.await_settings(hinted, IN_FORCE_S + LATE_S)
        enclaves = [pid for name, pid in self.system.children().items()
                    if name.startswith("enclave-")]
        for pid in enclaves:
            freeze(pid)
        caller = Caller(self.system.addresses["http"])
        self.addCleanup(caller.close)
        try:
            code, answer = caller.call("POST", "/sign",
                                       {"keyId": key["keyId"], "digest": "11" * 32})
        finally:
            for pid in enclaves:
                os.kill(pid, signal.SIGCONT)
        self.assertEqual(code, 503, answer)
        self.assertEqual(answer["error"]["retryAfterMs"], 4711)

    def test_a_drain_ends_when_the_setting_says(self):
        gateway = self.system.children()["gateway"]
        changed = {"drain_timeout": "50ms", "http.header_timeout": "59s"}
        self.swap(changed)
        self.await_settings(changed, IN_FORCE_S + LATE_S)
        begun = Caller(self.system.addresses["http"])
        self.addCleanup(begun.close)
        begun.connection.connect()
        # A request that has begun is waited for.
        begun.connection.sock.sendall(b"POST /sign HTTP/1.1\r\nHost: localhost\r\n")
        began = time.monotonic()
        os.kill(gateway, signal.SIGTERM)
        await_true(lambda: self.system.children().get("gateway") != gateway,
                   "the end of the drain, which by default is ten seconds later", 5)
        say(f"drain_timeout 50ms: ended {time.monotonic() - began:.1f} s after SIGTERM")

    def test_a_file_that_is_wrong_changes_nothing(self):
        self.swap({"sign_timeout": "2s"})
        self.await_settings({"sign_timeout": "2s"}, IN_FORCE_S + LATE_S)
        self.swap({"sign_timeout": "3s", "retry_hint.min": "300ms"})  # over retry_hint.max
        self.hangup()
        await_true(lambda: "retry_hint.max" in self.status().get("configRefused", ""), "refused")
        self.assertEqual(self.settings()["sign_timeout"], "2s")
        self.assertEqual(self.settings()["retry_hint.min"], "50ms")


if __name__ == "__main__":
    unittest.main()
