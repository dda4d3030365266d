"""Keys and data keys with short lives, against the running system: plain keys and data keys expire
under load without a caller noticing; an idle key that has expired signs again by rehydration; a
data key that lapses while KMS is away stops its keys at once, and they come back by themselves.

Latencies are printed, not judged: this machine is somebody else's too.
"""

import os
import signal
import statistics
import time
import unittest

from system_under_test import (Caller, SystemTest, await_true, freeze, in_threads, judge, quantile,
                               say)

CALLERS = 8
SIGNATURES_PER_S = 400


def sign(caller, key):
    """(HTTP status, answer, milliseconds) of one signature, judged when it is one."""
    digest = os.urandom(32)
    began = time.monotonic()
    status, answer = caller.call("POST", "/sign", {"keyId": key["keyId"], "digest": digest.hex()})
    took_ms = (time.monotonic() - began) * 1000
    if status == 200:
        judge(key, digest, answer)
    return status, answer, took_ms


def describe(latencies_ms):
    return (f"p50 {statistics.median(latencies_ms):.2f} ms, "
            f"p99 {quantile(latencies_ms, 0.99):.2f} ms, "
            f"most {max(latencies_ms):.2f} ms of {len(latencies_ms)}")


class Life(SystemTest):
    KEYS = 100

    def setUp(self):
        super().setUp()
        caller = Caller(self.system.addresses["http"])
        self.keys = [caller.create() for _ in range(self.KEYS)]
        caller.close()

    def total(self, name):
        return sum(self.system.metrics(name).values())

    def keys_in_state(self, state):
        series = self.system.metrics("key_cache_state")
        return sum(value for labels, value in series.items() if f'state="{state}"' in labels)

    def load(self, seconds):
        """Signs at a steady pace with keys at random. [(second since the start, milliseconds)];
        fails when a signature fails."""
        samples = []
        began = time.monotonic()

        def caller_loop(i):
            caller = Caller(self.system.addresses["http"])
            n = 0
            while (due := began + (n * CALLERS + i) / SIGNATURES_PER_S) < began + seconds:
                time.sleep(max(0, due - time.monotonic()))  # the pace
                key = self.keys[hash((i, n)) % len(self.keys)]
                status, answer, _ = sign(caller, key)
                self.assertEqual(status, 200, f"after {due - began:.1f} s: {answer}")
                samples.append((due - began, (time.monotonic() - due) * 1000))
                n += 1
            caller.close()

        in_threads(CALLERS, caller_loop)
        return samples


class ExpiryUnderLoad(Life):
    SETTINGS = {"BULLA_DEK_TTL_SOFT": "4s", "BULLA_DEK_TTL_HARD": "8s"}
    SHORT_LIVES = ("key_policy:\n  plain_key:\n    ttl_soft: 2s\n    ttl_hard: 3s\n"
                   "    refresh_window: 500ms\n")
    ROUNDS, SECONDS = 2, 5

    def use_policy(self, lines, expiring):
        """Waits until it is in force in both enclaves, and no effect of the change is left."""
        caller = Caller(self.system.addresses["http"])

        def refreshes_go_on():
            before = self.total("bulla_enclave_key_refreshes_total")
            until = time.monotonic() + 2.5  # longer than a short life, and a probe
            while time.monotonic() < until:
                caller.sign_batch(self.keys, os.urandom(32))
            return self.total("bulla_enclave_key_refreshes_total") - before >= self.KEYS
        file = self.system.data / "run" / "gateway.yaml"
        self.image = getattr(self, "image", None) or file.read_text()
        file.write_text(self.image + lines)
        await_true(lambda: refreshes_go_on() == expiring, "the policy is in force")
        caller.close()

    def test_keys_and_data_keys_expire_under_load_and_nobody_notices(self):
        decrypts = self.system.kms_calls()["Decrypt"]
        samples = {False: [], True: []}
        refreshes = 0
        for _ in range(self.ROUNDS):
            for expiring in (False, True):
                self.use_policy(self.SHORT_LIVES if expiring else "", expiring)
                before = self.total("bulla_enclave_key_refreshes_total")
                samples[expiring] += [ms for _, ms in self.load(self.SECONDS)]
                if expiring:
                    refreshes += self.total("bulla_enclave_key_refreshes_total") - before
        decrypts = self.system.kms_calls()["Decrypt"] - decrypts
        say(f"plain keys that live 15 m: {describe(samples[False])}")
        say(f"plain keys that live 2 s:  {describe(samples[True])}; {refreshes:.0f} refreshes")
        say(f"no request failed; KMS renewed data keys {decrypts} times meanwhile")
        # Every key signs several times a second and lives 2 s at most.
        self.assertGreaterEqual(refreshes, self.ROUNDS * 2 * self.KEYS)
        # Two enclaves with a data key each, open in both, renewed every four seconds or so.
        self.assertGreaterEqual(decrypts, self.ROUNDS * 2 * self.SECONDS // 4)


class IdleExpiry(Life):
    SETTINGS = {"BULLA_PLAIN_KEY_TTL_SOFT": "500ms", "BULLA_PLAIN_KEY_TTL_HARD": "500ms",
                "BULLA_PLAIN_KEY_REFRESH_WINDOW": "100ms"}

    def test_an_idle_key_that_expired_signs_again_by_rehydration(self):
        await_true(lambda: self.keys_in_state("COOL") >= self.KEYS, "every plain key is wiped")
        self.assertEqual(self.keys_in_state("WARM"), 0)
        decrypts = self.system.kms_calls()["Decrypt"]
        rehydrated = self.total("rehydrate_total")
        caller = Caller(self.system.addresses["http"])
        cold, warm = [], []
        for key in self.keys:
            for latencies in (cold, warm):
                status, answer, took_ms = sign(caller, key)
                self.assertEqual(status, 200, answer)
                latencies.append(took_ms)
        caller.close()
        await_true(lambda: self.total("rehydrate_total") - rehydrated >= self.KEYS,
                   "the rehydrations are counted")
        self.assertEqual(self.system.kms_calls()["Decrypt"], decrypts)
        say(f"first signature after expiry: {describe(cold)}; the next: {describe(warm)}")


class HotPolicy(Life):
    SETTINGS = {"BULLA_PLAIN_KEY_TTL_SOFT": "50s", "BULLA_PLAIN_KEY_TTL_HARD": "1m",
                "BULLA_PLAIN_KEY_REFRESH_WINDOW": "10s"}

    def policies_refused(self):
        caller = Caller(self.system.addresses["admin"])
        _, status = caller.call("GET", "/status")
        caller.close()
        return [enclave.get("policyRefused", "") for enclave in status["enclaves"]]

    def test_a_tighter_policy_takes_effect_while_running_and_a_looser_one_is_refused_by_name(self):
        file = self.system.data / "run" / "gateway.yaml"
        image = file.read_text()
        self.assertEqual(self.keys_in_state("COOL"), 0)
        began = time.monotonic()
        file.write_text(image + "key_policy:\n  plain_key:\n    ttl_hard: 200ms\n")
        await_true(lambda: self.keys_in_state("COOL") >= self.KEYS,
                   "the tighter TTL wipes every key")
        say(f"a tighter TTL in the file: every key is COOL {time.monotonic() - began:.1f} s later")

        file.write_text(image + "key_policy:\n  plain_key:\n    ttl_hard: 2m\n")
        await_true(lambda: all(self.policies_refused()), "both enclaves refuse the looser TTL")
        refusal = self.policies_refused()[0]
        self.assertIn("plain_key.ttl_hard", refusal)
        say(f"a looser one: \"{refusal}\"")
        # What was in force before still is.
        caller = Caller(self.system.addresses["http"])
        self.assertEqual(sign(caller, self.keys[0])[0], 200)
        await_true(lambda: self.keys_in_state("WARM") == 0, "the key is wiped after 200 ms again")

        file.write_text(image)
        await_true(lambda: not any(self.policies_refused()), "the image's own policy is back")
        self.assertEqual(sign(caller, self.keys[0])[0], 200)
        caller.close()
        await_true(lambda: self.keys_in_state("WARM") == 1, "the key stays WARM")


class DekLapse(Life):
    SETTINGS = {"BULLA_DEK_TTL_SOFT": "2s", "BULLA_DEK_TTL_HARD": "3s"}

    def test_without_kms_a_lapsed_data_key_stops_its_keys_and_they_come_back_by_themselves(self):
        caller = Caller(self.system.addresses["http"])

        def renewed():  # while KMS is there
            status, answer, took_ms = sign(caller, self.random.choice(self.keys))
            self.assertEqual(status, 200, f"after {took_ms:.0f} ms: {answer}")
            return self.system.kms_calls()["Decrypt"] >= 8
        await_true(renewed, "both data keys are renewed in both enclaves")
        kms = self.system.children()["kms"]
        freeze(kms)
        stopped_at = time.monotonic()
        try:
            def refused(key):
                status, answer, took_ms = sign(caller, key)
                if status == 200:
                    return None
                self.assertEqual((status, answer["error"]["code"]), (503, "UNLOCK_REQUIRED"))
                self.assertGreaterEqual(answer["error"]["retryAfterMs"], 50)
                return took_ms
            await_true(lambda: all(refused(key) is not None for key in self.keys),
                       "the data keys lapse")
            say(f"KMS stopped; every key is refused {time.monotonic() - stopped_at:.1f} s later")
            say(f"refusals: {describe([refused(key) for key in self.keys])}")
            # KMS stays away for a while, and callers keep asking.
            until = time.monotonic() + 5
            while time.monotonic() < until:
                self.assertIsNotNone(refused(self.random.choice(self.keys)))
        finally:
            os.kill(kms, signal.SIGCONT)
        back_at = time.monotonic()
        await_true(lambda: all(sign(caller, key)[0] == 200 for key in self.keys),
                   "every key signs again")
        say(f"KMS back; every key signs {time.monotonic() - back_at:.2f} s later")
        await_true(lambda: caller.call("POST", "/create", {})[0] == 200, "keys can be made again")
        caller.close()


if __name__ == "__main__":
    unittest.main()
