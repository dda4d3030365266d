"""SIGTERM under load: every request that the gateway accepted is answered, and rightly.

Accepted means: sent on a connection that the gateway has not said it will close. What a caller
sends on a connection it opened after the SIGTERM may find nobody.
"""

import json
import os
import signal
import threading
import time
import unittest

from system_under_test import Caller, SystemTest, in_threads, judge, say

CALLERS = 24
KEYS = 24


class DrainTest(SystemTest):
    def test_every_accepted_request_is_answered(self):
        first = Caller(self.system.addresses["http"])
        keys = [first.create() for _ in range(KEYS)]
        first.close()
        gateway = self.system.children()["gateway"]
        terminated = threading.Event()
        answered = []  # one entry per caller: (before, after)
        warmed_up = threading.Barrier(CALLERS + 1, timeout=60)

        def sign_until_closed(i):
            caller = Caller(self.system.addresses["http"])
            counts = [0, 0]
            key = keys[i % KEYS]
            while True:
                digest = os.urandom(32)
                after = terminated.is_set()
                caller.connection.request(
                    "POST", "/sign", f'{{"keyId":"{key["keyId"]}","digest":"{digest.hex()}"}}',
                    {"Content-Type": "application/json"})
                # An end of file here is an accepted request without an answer: it fails the test.
                response = caller.connection.getresponse()
                status, closing = response.status, response.will_close
                body = response.read()
                self.assertEqual(status, 200, body)
                judge(key, digest, json.loads(body))
                counts[after] += 1
                if sum(counts) == 20:
                    warmed_up.wait()
                if closing:
                    self.assertTrue(terminated.is_set(), "closed without a SIGTERM")
                    answered.append(counts)
                    caller.close()
                    return

        def terminate():
            warmed_up.wait()
            time.sleep(self.random.uniform(0, 0.05))  # a random moment
            terminated.set()
            os.kill(gateway, signal.SIGTERM)

        in_threads(CALLERS + 1, lambda i: terminate() if i == CALLERS else sign_until_closed(i))
        self.assertEqual(len(answered), CALLERS)
        say(f"{sum(before for before, _ in answered)} answers before SIGTERM, "
            f"{sum(after for _, after in answered)} after it, none missing, none wrong")

        self.system.await_ready()  # bulla dev has started it again
        caller = Caller(self.system.addresses["http"])
        caller.sign_batch(keys, os.urandom(32))
        caller.close()


if __name__ == "__main__":
    unittest.main()
