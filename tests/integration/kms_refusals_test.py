"""KMS refuses for good: what is stored of a data key is not what KMS wrapped, and later the KMS key
itself is gone. Callers are told so, the status shows it, KMS is not asked all the time, and what is
mended is taken up when the gateway is told.
"""

import json
import os
import signal
import sqlite3
import subprocess
import time
import unittest

from system_under_test import PATIENCE_S, Caller, SystemTest, await_true, judge, say

DIGEST = bytes(range(32))


class KmsRefusalsTest(SystemTest):

    def database(self):
        return sqlite3.connect(f"{self.system.data}/bulla.db", timeout=10)

    def restart(self):
        """Everything is started anew: every data key has to be opened again."""
        self.system.kill_dev()
        self.system.start()

    def sign(self, key):
        caller = Caller(self.system.addresses["http"])
        try:
            status, answer = caller.call(
                "POST", "/sign", {"keyId": key["keyId"], "digest": DIGEST.hex()})
        finally:
            caller.close()
        if status == 200:
            judge(key, DIGEST, answer)
        return status, answer

    def status(self):
        """(what `bulla status` shows, the same as JSON)."""
        command = [self.system.programs / "bulla", "status", "--data", self.system.data]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        as_json = subprocess.run([*command, "--json"], capture_output=True, text=True,
                                 timeout=PATIENCE_S)
        return shown.stdout, json.loads(as_json.stdout)

    def failures(self, cause):
        return self.system.metrics("bulla_gateway_unlock_failures_total")[f'cause="{cause}"']

    def dek_of(self, key_id):
        database = self.database()
        row = database.execute(
            "SELECT dek_id, wrapped FROM deks JOIN keys USING (dek_id) WHERE key_id = ?",
            (bytes.fromhex(key_id.replace("-", "")),)).fetchone()
        database.close()
        return row

    def key_under_another_dek_than_the_first(self):
        """A key, its data key's id and blob. `bulla dev` signs with its first key at each start."""
        database = self.database()
        first, = database.execute(
            "SELECT dek_id FROM keys ORDER BY created_ms, key_id LIMIT 1").fetchone()
        database.close()
        caller = Caller(self.system.addresses["http"])
        while True:
            key = caller.create()
            dek, wrapped = self.dek_of(key["keyId"])
            if dek != first:
                caller.close()
                return key, dek, wrapped

    def store_wrapped(self, dek, wrapped):
        database = self.database()
        with database:
            database.execute("UPDATE deks SET wrapped = ? WHERE dek_id = ?", (wrapped, dek))
        database.close()

    def test_a_data_key_that_kms_does_not_know(self):
        key, dek, wrapped = self.key_under_another_dek_than_the_first()
        foreign = bytearray(wrapped)
        foreign[-1] ^= 1
        self.store_wrapped(dek, bytes(foreign))
        self.restart()
        caller = Caller(self.system.addresses["http"])
        new = caller.create()
        caller.close()
        self.assertEqual(self.sign(new)[0], 200, "other data keys are open")

        await_true(lambda: "invalid ciphertext" in self.sign(key)[1]["error"]["message"],
                   "callers are told why")
        status, answer = self.sign(key)
        self.assertEqual((status, answer["error"]["code"]), (503, "UNLOCK_REQUIRED"))
        self.assertGreaterEqual(answer["error"]["retryAfterMs"], 30_000)
        shown, as_json = self.status()
        self.assertIn("KMS REFUSES  to open data keys: 1 foreign_ciphertext", shown)
        self.assertTrue(any(enclave.get("unlocksRefused") == {"foreign_ciphertext": 1}
                            for enclave in as_json["enclaves"]), as_json)

        # It was asked for every two seconds, for each enclave.
        before = self.failures("foreign_ciphertext")
        calls_before = self.system.kms_calls()["Decrypt"]
        self.assertGreaterEqual(before, 1)
        watched_s = 10
        end = time.monotonic() + watched_s
        while time.monotonic() < end:
            self.sign(key)
            time.sleep(0.05)  # the pace of this caller
        calls = self.system.kms_calls()["Decrypt"] - calls_before
        say(f"  {calls} calls to KMS in {watched_s} s, for {self.system.enclaves} enclaves and "
            f"callers all the time")
        self.assertLessEqual(calls, 3 * self.system.enclaves)

        self.store_wrapped(dek, wrapped)
        os.kill(self.system.children()["gateway"], signal.SIGHUP)
        await_true(lambda: self.sign(key)[0] == 200, "what was mended is taken up at SIGHUP",
                   patience_s=PATIENCE_S)

    def test_the_kms_key_is_gone(self):
        caller = Caller(self.system.addresses["http"])
        key = caller.create()
        caller.close()
        kept = {file: file.read_bytes() for file in (self.system.data / "kms").glob("*.key")}
        self.assertTrue(kept)
        for file in kept:
            file.unlink()
        for name in ("kms", "enclave-1", "enclave-2"):
            self.system.kill(name)

        def refused():
            _, as_json = self.status()
            return all(enclave.get("sealingRefused") == "key_not_found"
                       for enclave in as_json["enclaves"])
        await_true(refused, "the status says why no enclave is ready")
        self.assertIn("a data key to seal new keys under: key_not_found", self.status()[0])
        self.assertGreaterEqual(self.failures("key_not_found"), 1)

        for file, content in kept.items():
            file.write_bytes(content)
            file.chmod(0o600)
        self.system.kill("kms")
        await_true(lambda: "kms" in self.system.children(), "the KMS is back")
        # Credentials that were renewed, be they the same, have everything tried again.
        def renewed():
            os.utime(self.system.data / "kms" / "credentials.json")
            return self.sign(key)[0] == 200
        await_true(renewed, "what was mended is taken up with renewed credentials")


if __name__ == "__main__":
    unittest.main()
