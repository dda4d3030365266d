"""An enclave joins and leaves under load: keys in use are where they are asked for.

BULLA_TEST_KEYS=100000 BULLA_TEST_RATE=4000 for more than the default.
"""

import os
import re
import unittest

from load import Load
from system_under_test import Caller, SystemTest, await_true, say

KEYS = int(os.environ.get("BULLA_TEST_KEYS", 10_000))
SECONDS = int(os.environ.get("BULLA_TEST_SECONDS", 25))
THIRD = "enclave-3"
HIT_RATE_MIN = 0.95
CROSS_ENCLAVE_MAX = 0.05
FAILED_MAX = 0.001


class MigrationTest(SystemTest):
    def admin(self, method, body=None):
        caller = Caller(self.system.addresses["adminSocket"])
        status, answer = caller.call(method, "/enclaves", body)
        caller.close()
        self.assertLess(status, 300, answer)
        return answer

    def weight_of_third(self):
        """None: it is not there."""
        weights = [enclave["weight"] for enclave in self.admin("GET")["enclaves"]
                   if enclave["address"].endswith(f"{THIRD}.sock")]
        return weights[0] if weights else None

    def counted(self):
        return {name: sum(self.system.metrics(name).values())
                for name in ("bulla_gateway_blobs_sent_total", "cross_enclave_route_total",
                             "bulla_gateway_keys_loaded_ahead_total", "pool_exhausted_total")}

    def acquire_quantile(self, share):
        """The upper bound, in ms, of the bucket of pool_acquire_latency_ms that has it."""
        buckets = {float(re.search('le="(.*)"', labels)[1].replace("+Inf", "inf")): count
                   for labels, count in
                   self.system.metrics("pool_acquire_latency_ms_bucket").items()}
        total = max(buckets.values())
        return min(bound for bound, count in buckets.items() if count >= share * total)

    def test_keys_are_where_they_are_asked_for(self):
        process = self.system.start_enclave(THIRD)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        third = {"address": f"unix:{self.system.data / 'run' / THIRD}.sock"}
        load = Load(self.system, SECONDS, keys=KEYS)
        load.await_under_way(patience_s=60 + KEYS / 500)  # they are made first
        before = self.counted()

        self.admin("POST", third)
        await_true(lambda: self.weight_of_third() == 100, "it has its share", SECONDS)
        joined = self.counted()
        say(f"  joined: {joined['bulla_gateway_keys_loaded_ahead_total']:.0f} keys loaded ahead")
        self.admin("DELETE", third)
        await_true(lambda: self.weight_of_third() is None, "it has left", SECONDS)
        self.assertTrue(load.is_under_way(), "the load was over before: BULLA_TEST_SECONDS")

        report = load.finish()
        after = self.counted()
        counts = {name: after[name] - before[name] for name in after}
        requests = report["requests"]
        missed = counts["bulla_gateway_blobs_sent_total"] / requests
        crossed = counts["cross_enclave_route_total"] / requests
        say(f"  {KEYS} keys, {requests} requests: hit rate {1 - missed:.4%} "
            f"({HIT_RATE_MIN:.0%} wanted), cross-enclave {crossed:.4%} ({CROSS_ENCLAVE_MAX:.0%} "
            f"allowed), {counts['bulla_gateway_keys_loaded_ahead_total']:.0f} keys loaded ahead, "
            f"pool exhausted {after['pool_exhausted_total']:.0f}, acquired within "
            f"{self.acquire_quantile(0.95) * 1000:.0f} us (p95, upper bound); {report['failed']} "
            f"failed, p50 {report['p50_ms']:.2f}, p99 {report['p99_ms']:.1f} ms")
        say(f"  retried, by reason: {self.system.metrics('retry_total')}")
        self.assertEqual((report["wrong"], report["dropped"]), (0, 0), report["errors"])
        # A stalling host can hold an enclave up for longer than a signature waits for its key.
        self.assertLessEqual(set(report["errors"]), {"UNLOCK_REQUIRED", "RETRY_LATER"})
        self.assertLess(report["failed"], FAILED_MAX * requests, report["errors"])
        self.assertGreater(1 - missed, HIT_RATE_MIN)
        self.assertLess(crossed, CROSS_ENCLAVE_MAX)
        self.assertEqual(after["pool_exhausted_total"], 0)
        self.assertGreater(counts["bulla_gateway_keys_loaded_ahead_total"], KEYS / 10)


if __name__ == "__main__":
    unittest.main()
