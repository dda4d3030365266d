"""Keys that no enclave has: 500 callers on one of them, 500 callers on 500 of them under one data
key, and a storm of callers while the data key cannot be opened.
"""

import os
import signal
import sqlite3
import threading
import time
import unittest

from system_under_test import (Caller, SystemTest, await_true, freeze, in_threads, judge, quantile,
                               say)

CALLERS = 500
STORM_CALLERS = 50
STORM_S = 10
PATIENCE_S = 30


class ColdKeysTest(SystemTest):
    # Otherwise the data keys would be open before anybody asks.
    SETTINGS = {"BULLA_UNLOCK_DEKS_AHEAD_MAX": "0"}

    def keys_under_one_dek(self, count):
        """So many keys, all sealed under one data key."""
        made = {}
        lock = threading.Lock()

        def make(_):
            caller = Caller(self.system.addresses["http"])
            for _ in range(3 * count // 20):
                key = caller.create()
                with lock:
                    made[key["keyId"]] = key
            caller.close()

        in_threads(20, make)
        database = sqlite3.connect(f"file:{self.system.data}/bulla.db?mode=ro", uri=True)
        by_dek = {}
        for dek, key in database.execute("SELECT hex(dek_id), hex(key_id) FROM keys"):
            by_dek.setdefault(dek, []).append(key.lower())
        first, = database.execute(
            "SELECT hex(dek_id) FROM keys JOIN idempotency USING (key_id) "
            "WHERE idempotency_key = 'bulla-dev-first-key'").fetchone()
        database.close()
        del by_dek[first]  # `bulla dev` has it opened at each start
        by_hex = {key_id.replace("-", ""): key for key_id, key in made.items()}
        most = max(by_dek.values(), key=len)
        self.assertGreaterEqual(len(most), count)
        return [by_hex[key] for key in most if key in by_hex][:count]

    def restart(self):
        """Everything is started anew: every key is cold, every data key closed."""
        self.system.kill_dev()
        self.system.start()

    def sum_of(self, name):
        return sum(self.system.metrics(name).values())

    def sign_as_told(self, key, digest):
        """Signs, and comes back when told to. Returns how long it took, in seconds."""
        caller = Caller(self.system.addresses["http"])
        began = time.monotonic()
        while True:
            status, answer = caller.call(
                "POST", "/sign", {"keyId": key["keyId"], "digest": digest.hex()})
            if status == 200:
                break
            self.assertIn(status, (429, 503), answer)
            self.assertLess(time.monotonic() - began, PATIENCE_S, answer)
            time.sleep(answer["error"]["retryAfterMs"] / 1000)  # as told
        caller.close()
        judge(key, digest, answer)
        return time.monotonic() - began

    def all_at_once(self, keys):
        gate = threading.Barrier(len(keys))
        took = []

        def sign(i):
            digest = i.to_bytes(32, "big")
            gate.wait()
            took.append(self.sign_as_told(keys[i], digest))

        in_threads(len(keys), sign)
        return took

    def test_callers_on_one_key_and_on_many_under_one_data_key(self):
        keys = self.keys_under_one_dek(CALLERS)
        self.restart()
        before = self.system.kms_calls().get("Decrypt", 0)
        await_true(lambda: self.sum_of("rehydrate_total") >= 1, "the first key is reported")
        rehydrated_before = self.sum_of("rehydrate_total")
        loads_before = self.sum_of("bulla_gateway_blobs_sent_total")
        took = self.all_at_once([keys[0]] * CALLERS)
        # The reports come with the probes, once a second.
        await_true(lambda: self.sum_of("bulla_enclave_signatures_total") >= CALLERS, "a report")
        calls = self.system.kms_calls()["Decrypt"] - before
        loads = self.sum_of("bulla_gateway_blobs_sent_total")
        rehydrated = self.sum_of("rehydrate_total") - rehydrated_before
        loads -= loads_before
        say(f"  {CALLERS} callers on one cold key: {loads:.0f} load, {rehydrated:.0f} rehydration, "
            f"{calls} KMS calls; the last after {max(took):.3f} s")
        # One each on a machine that runs: a call that an enclave has not answered after 100 ms is
        # retried in the other, which then opens the data key and the key too.
        self.assertLessEqual(rehydrated, self.system.enclaves)
        self.assertLessEqual(calls, self.system.enclaves)
        # Once more in vain, while the data key is closed.
        self.assertLessEqual(loads, 2 * self.system.enclaves)

        self.restart()
        before = self.system.kms_calls().get("Decrypt", 0)
        took = self.all_at_once(keys)
        calls = self.system.kms_calls()["Decrypt"] - before
        say(f"  {CALLERS} callers on {CALLERS} cold keys under one data key: {calls} KMS calls for "
            f"{self.system.enclaves} enclaves; the last after {max(took):.3f} s")
        self.assertLessEqual(calls, self.system.enclaves)

    def test_a_storm_while_the_data_key_cannot_be_opened(self):
        keys = self.keys_under_one_dek(200)
        self.restart()
        freeze(self.system.children()["kms"])
        sent_before = self.sum_of("batch_size_hist_sum")
        end = time.monotonic() + STORM_S
        received = [0] * STORM_CALLERS
        latencies = [[] for _ in range(STORM_CALLERS)]

        def storm(i):
            caller = Caller(self.system.addresses["http"])
            while time.monotonic() < end:
                began = time.monotonic()
                status, answer = caller.call(
                    "POST", "/sign", {"keyId": keys[(i * 37 + received[i]) % len(keys)]["keyId"],
                                      "digest": os.urandom(32).hex()})
                latencies[i].append(time.monotonic() - began)
                received[i] += 1
                self.assertEqual((status, answer["error"]["code"]), (503, "UNLOCK_REQUIRED"))
            caller.close()

        try:
            in_threads(STORM_CALLERS, storm)
        finally:
            os.kill(self.system.children()["kms"], signal.SIGCONT)
        unlocks = self.sum_of("unlock_bg_rate")
        took = self.all_at_once(keys[:100])
        await_true(lambda: self.sum_of("bulla_enclave_signatures_total") >= 100, "a report")
        # Those 100 are in both counts, with their own retries.
        sent = self.sum_of("batch_size_hist_sum") - sent_before
        asked = sum(count for labels, count in
                    self.system.metrics("http_grpc_requests_total").items()
                    if 'method="sign"' in labels and 'protocol="http"' in labels)
        everything = sorted(latency for one in latencies for latency in one)
        say(f"  {sum(received)} requests in {STORM_S} s, all UNLOCK_REQUIRED (p50 "
            f"{quantile(everything, 0.5) * 1000:.1f} ms, "
            f"p99 {quantile(everything, 0.99) * 1000:.1f}); {sent:.0f} sent to enclaves for "
            f"{asked:.0f} asked: {sent / asked:.3f} (1.2 allowed); "
            f"{unlocks:.0f} unlocks begun; usable again {max(took):.2f} s after KMS")
        self.assertLess(sent, 1.2 * asked)


if __name__ == "__main__":
    unittest.main()
