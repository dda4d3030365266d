"""A flood of creates beside signatures: no signature is refused for it, keys go on being made, and
what the flood does to the signatures' latency is printed. (It is not asserted: the flood runs on
the same cores as the service.)
"""

import http.client
import threading
import unittest

from load import Load
from system_under_test import Caller, SystemTest, await_true, say

FLOODERS = 64
SECONDS = 5
RATE = 500  # signatures a second
CONNECTIONS = 20


class CreatesTest(SystemTest):
    def flood(self, stop, outcomes):
        caller = Caller(self.system.addresses["http"])
        while not stop.is_set():
            try:
                status, _ = caller.call("POST", "/create", {})
            except (OSError, http.client.HTTPException) as failure:
                status = repr(failure)
            outcomes.append(status)
        caller.close()

    def signatures(self, what, meanwhile=lambda: None):
        load = Load(self.system, SECONDS, CONNECTIONS, RATE)
        load.await_under_way()
        meanwhile()
        report = load.finish()
        say(f"signatures {what}: {report['requests']}, p50 {report['p50_ms']:.2f}, p99 "
            f"{report['p99_ms']:.1f} ms")
        self.assertEqual([report[name] for name in ("failed", "wrong", "dropped")], [0, 0, 0],
                         report["errors"])

    def test_signatures_beside_a_flood_of_creates(self):
        self.signatures("alone")
        stop = threading.Event()
        outcomes = []
        threads = [threading.Thread(target=self.flood, args=(stop, outcomes))
                   for _ in range(FLOODERS)]

        def begin():
            for thread in threads:
                thread.start()
            await_true(lambda: outcomes.count(200) >= 100, "creates under way")
        try:
            self.signatures(f"beside {FLOODERS} that create in a loop", begin)
        finally:
            stop.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        self.assertEqual(set(outcomes) - {200, 429}, set())
        refused = self.system.metrics("bulla_gateway_admission_refusals_total")
        say(f"creates: {outcomes.count(200)} made, {outcomes.count(429)} refused; {refused}")
        await_true(lambda: sum(self.system.metrics("bulla_gateway_in_flight").values()) == 0,
                   "everything is given back")


if __name__ == "__main__":
    unittest.main()
