"""Nothing acknowledged is lost: the gateway is killed with SIGKILL at random moments while 50
callers create keys, the enclaves too in every other round. After each restart every key that was
acknowledged is there, and signs.

BULLA_KILL_ROUNDS says how many rounds (default 6), BULLA_TEST_SEED repeats one run's moments.
"""

import http.client
import os
import threading
import time
import unittest

from system_under_test import Caller, Refused, SystemTest, in_threads, say

CALLERS = 50
ROUNDS = int(os.environ.get("BULLA_KILL_ROUNDS", "6"))
BATCH = 200
RECHECKED_PER_ROUND = 200  # keys of earlier rounds


class KillTest(SystemTest):
    def create_until(self, stop, acknowledged):
        """Creates keys over one connection until told to stop; a lost connection is made again."""
        caller = Caller(self.system.addresses["http"], timeout_s=10)
        while not stop.is_set():
            try:
                acknowledged.append(caller.create())
            except (OSError, http.client.HTTPException, Refused):
                caller.close()  # killed, or not up again yet
                stop.wait(0.01)
        caller.close()

    def round_of_creates(self, kill_after_s, victims):
        """The keys that were acknowledged while the victims were killed."""
        stop = threading.Event()
        acknowledged = []  # list.append is atomic
        threads = [threading.Thread(target=self.create_until, args=(stop, acknowledged))
                   for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        time.sleep(kill_after_s)  # the random moment
        for victim in victims:
            self.system.kill(victim)
        stop.set()
        for thread in threads:
            thread.join()
        return acknowledged

    def check(self, keys):
        """Each key is there, with the same public part, and signs."""
        batches = [keys[i:i + BATCH] for i in range(0, len(keys), BATCH)]
        digest = self.random.randbytes(32)

        def check_batch(i):
            caller = Caller(self.system.addresses["http"])
            for key in batches[i]:
                status, found = caller.call("GET", f"/keys/{key['keyId']}")
                self.assertEqual(status, 200, f"LOST KEY {key}: {found}")
                self.assertEqual(found["publicKey"], key["publicKey"])
                self.assertEqual(found["address"], key["address"])
            caller.sign_batch(batches[i], digest)
            caller.close()

        for first in range(0, len(batches), 4):
            in_threads(min(4, len(batches) - first), lambda i, first=first: check_batch(first + i))

    def test_no_acknowledged_key_is_lost(self):
        keys = []
        for number in range(1, ROUNDS + 1):
            victims = ["gateway"]
            if number % 2 == 0:
                victims += [f"enclave-{i}" for i in range(1, self.system.enclaves + 1)]
                self.random.shuffle(victims)
            kill_after_s = self.random.uniform(0.01, 0.5)
            acknowledged = self.round_of_creates(kill_after_s, victims)
            self.system.await_ready()
            earlier = self.random.sample(keys, min(len(keys), RECHECKED_PER_ROUND))
            self.check(acknowledged + earlier)
            keys += acknowledged
            say(f"round {number} of {ROUNDS}: killed {', '.join(victims)} after "
                f"{kill_after_s * 1000:.0f} ms; {len(acknowledged)} acknowledged keys are there "
                f"and sign ({len(keys)} so far)")
        self.assertEqual(len({key["keyId"] for key in keys}), len(keys))
        self.assertGreater(len(keys), 10 * ROUNDS, "too few keys were made for this to mean much")
        self.check(keys)
        say(f"all {len(keys)} keys are there and sign")


if __name__ == "__main__":
    unittest.main()
