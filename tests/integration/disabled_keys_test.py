"""A key that somebody disables in the store, with SQL from outside, while it is in use: in force in
the gateway and forgotten in the enclaves, across restarts, until it is enabled again.
"""

import os
import signal
import sqlite3
import time
import unittest

from system_under_test import Caller, SystemTest, await_true, is_alive, judge, say

DIGEST = bytes(range(32))


class DisabledKeysTest(SystemTest):

    def execute(self, sql, key):
        """By hand, in the database of the running service."""
        database = sqlite3.connect(f"{self.system.data}/bulla.db", timeout=10)
        with database:
            changed = database.execute(
                sql, (bytes.fromhex(key["keyId"].replace("-", "")),)).rowcount
        database.close()
        self.assertEqual(changed, 1)

    def sign(self, caller, key):
        """200, or the error's status and code."""
        status, answer = caller.call(
            "POST", "/sign", {"keyId": key["keyId"], "digest": DIGEST.hex()})
        if status == 200:
            judge(key, DIGEST, answer)
            return 200
        return status, answer["error"]["code"]

    def await_answer(self, caller, key, wanted, what):
        began = time.monotonic()
        await_true(lambda: self.sign(caller, key) == wanted, what)
        took = time.monotonic() - began
        say(f"  {what}: after {took * 1000:.0f} ms")

    def keys_held(self):
        """Keys in the enclaves, whatever their state, as the last probes have it."""
        return sum(self.system.metrics("key_cache_state").values())

    def test_a_disabled_key_signs_nowhere_until_it_is_enabled(self):
        caller = Caller(self.system.addresses["http"])
        key = caller.create()
        other = caller.create()
        self.assertEqual(self.sign(caller, key), 200)
        self.assertEqual(self.sign(caller, other), 200)
        await_true(lambda: self.keys_held() >= 3, "the enclaves report both, and bulla dev's own")
        held = self.keys_held()

        self.execute("UPDATE keys SET enabled = 0 WHERE key_id = ?", key)
        self.await_answer(caller, key, (404, "INVALID_KEY"), "disabled")
        await_true(lambda: self.keys_held() == held - 1, "plain key and blob are forgotten")
        self.assertEqual(self.sign(caller, other), 200)
        self.assertEqual(sum(self.system.metrics("bulla_gateway_disabled_keys").values()), 1)

        caller.close()
        gateway = self.system.children()["gateway"]
        os.kill(gateway, signal.SIGKILL)
        await_true(lambda: not is_alive(gateway), "the gateway is gone")
        self.system.await_ready()
        caller = Caller(self.system.addresses["http"])
        self.assertEqual(self.sign(caller, key), (404, "INVALID_KEY"))

        self.execute("UPDATE keys SET enabled = 1 WHERE key_id = ?", key)
        self.await_answer(caller, key, 200, "enabled again")
        self.execute("DELETE FROM keys WHERE key_id = ?", other)
        self.await_answer(caller, other, (404, "INVALID_KEY"), "removed from the store")
        caller.close()

    def test_what_was_disabled_while_no_gateway_ran_is_forgotten_by_the_enclaves(self):
        caller = Caller(self.system.addresses["http"])
        key = caller.create()
        self.assertEqual(self.sign(caller, key), 200)
        await_true(lambda: self.keys_held() >= 2, "the enclaves report it")
        held = self.keys_held()
        caller.close()
        gateway = self.system.children()["gateway"]
        self.execute("UPDATE keys SET enabled = 0 WHERE key_id = ?", key)
        os.kill(gateway, signal.SIGKILL)
        await_true(lambda: not is_alive(gateway), "the gateway is gone")
        self.system.await_ready()
        caller = Caller(self.system.addresses["http"])
        self.assertEqual(self.sign(caller, key), (404, "INVALID_KEY"))
        await_true(lambda: 0 < self.keys_held() <= held - 1, "plain key and blob are forgotten")
        caller.close()


if __name__ == "__main__":
    unittest.main()
