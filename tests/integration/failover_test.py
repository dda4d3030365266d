"""One of two enclaves is killed, frozen, slowed, cut off or garbled under the load of 500
connections. No signature is wrong, none is left unanswered, hardly one fails, and the gateway is
connected again as soon as the enclave is there.
"""

import os
import signal
import threading
import time
import unittest

from load import Load
from relay import Relay
from system_under_test import System, SystemTest, await_true, freeze, new_random, say

SIGN_TIMEOUT_MS = 1000  # the default of sign_timeout
FAILED_MAX = 0.001  # of the requests, for a kill and a restart
FIRST = "enclave-1"
CONNECTED_WITHIN_S = 0.2


class Connections(threading.Thread):
    """Watches how long after a new process of an enclave the gateway has its streams again."""

    def __init__(self, system, name):
        super().__init__()
        self._system = system
        self._name = name
        self.took_s = None

    def run(self):
        system = self._system
        pid = system.children().get(self._name)
        await_true(lambda: system.children().get(self._name) not in (None, pid), "a new process")
        socket = system.data / "run" / f"{self._name}.sock"
        began = time.monotonic()

        def listening():
            with open("/proc/net/unix", encoding="ascii") as table:
                return any(line.rstrip().endswith(str(socket)) and line.split()[3] == "00010000"
                           for line in table)

        await_true(listening, "the enclave listens")
        listens = time.monotonic()
        say(f"  {self._name} listens {listens - began:.3f} s after it was started")
        await_true(lambda: self._streams() >= 16, "its streams are open again")
        self.took_s = time.monotonic() - listens

    def _streams(self):
        series = self._system.metrics("active_conns")
        return sum(value for labels, value in series.items() if f"{self._name}.sock" in labels)


class FailoverTest(SystemTest):
    def under_load(self, harm, failed_max=None):
        load = Load(self.system)
        load.await_under_way()
        harm()
        report = load.finish()
        failed = report["failed"] / report["requests"]
        say(f"  {report['requests']} requests: {report['failed']} failed ({failed:.4%}: "
            f"{report['errors']}), {report['dropped']} dropped; p50 {report['p50_ms']:.2f}, p99 "
            f"{report['p99_ms']:.1f}, longest {report['max_ms']:.0f} ms; retried "
            f"{self.system.metrics('retry_total')}")
        self.assertEqual(report["wrong"], 0, "a wrong signature")
        self.assertEqual(report["dropped"], 0, "left unanswered")
        self.assertGreater(report["verified"], report["requests"] // 2)
        if failed_max is not None:
            self.assertLess(failed, failed_max, report["errors"])
        return report

    def signal(self, name, number):
        os.kill(self.system.children()[name], number)

    def test_killed_and_started_again(self):
        watch = Connections(self.system, FIRST)
        watch.start()
        self.under_load(lambda: self.system.kill(FIRST), FAILED_MAX)
        watch.join()
        say(f"  connected {watch.took_s * 1000:.0f} ms after it listened (with its sealing key "
            f"from KMS; {CONNECTED_WITHIN_S * 1000:.0f} allowed)")
        self.assertIsNotNone(watch.took_s)

    def test_terminated_and_started_again(self):
        self.under_load(lambda: self.signal(FIRST, signal.SIGTERM), FAILED_MAX)
        self.system.await_ready()

    def test_frozen(self):
        def stand_still():
            freeze(self.system.children()[FIRST])
            try:
                await_true(lambda: self.ejected() == 1, "it is ejected")
                time.sleep(1.5)  # how long it stays frozen
            finally:
                self.signal(FIRST, signal.SIGCONT)

        self.under_load(stand_still)
        await_true(lambda: self.ejected() == 0, "it is trusted again")

    def test_slowed(self):
        def slow():
            for _ in range(50):
                self.signal(FIRST, signal.SIGSTOP)
                time.sleep(0.03)  # how long it stands still
                self.signal(FIRST, signal.SIGCONT)
                time.sleep(0.01)  # and runs

        self.under_load(slow)

    def ejected(self):
        """How many enclaves are not sent anything, ejected or gone."""
        serving = self.system.metrics("bulla_gateway_enclave_in_service")
        ejected = self.system.metrics("bulla_gateway_enclave_ejected")
        return sum(1 for name, value in serving.items() if value == 0 or ejected[name] == 1)


class RelayedTest(FailoverTest):
    """The first enclave is reached through a relay that does harm."""

    def setUp(self):
        self.random = new_random()
        self.system = System()
        self.addCleanup(self.system.close)
        self.addCleanup(self.show_logs_of_a_failure)
        run = self.system.data / "run"
        run.mkdir(mode=0o700)
        self.relay = Relay(self.system.data / "relay.sock", run / f"{FIRST}.sock",
                           self.random.random())
        self.addCleanup(self.relay.close)
        self.system.settings["BULLA_ENCLAVES"] = (
            f"unix:{self.relay.path},unix:{run / 'enclave-2.sock'}")
        self.system.start()

    test_killed_and_started_again = None
    test_terminated_and_started_again = None
    test_frozen = None
    test_slowed = None

    def test_cut_in_the_middle_of_a_frame(self):
        self.under_load(lambda: self.relay.cut_mid_frame(20), FAILED_MAX)
        self.assertEqual(self.relay.cut, 20)

    def test_garbled_replies(self):
        self.under_load(lambda: self.relay.garble(20))
        self.assertEqual(self.relay.garbled, 20)


if __name__ == "__main__":
    unittest.main()
