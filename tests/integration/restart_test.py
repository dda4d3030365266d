"""Everything is killed and started again: old keys sign, KMS is asked once per data key and
enclave, and never for a signature. And `bulla dev` takes everything that it started with it.
"""

import unittest

from system_under_test import Caller, SystemTest, await_true, is_alive, say

KEYS = 100
SIGNATURES = 2000


class RestartTest(SystemTest):
    def test_old_keys_sign_after_everything_was_killed(self):
        caller = Caller(self.system.addresses["http"])
        keys = [caller.create() for _ in range(KEYS)]
        caller.close()
        deks = self.system.deks_in_use()
        self.assertGreaterEqual(deks, 1)

        gone = self.system.kill_dev()
        self.assertEqual(len(gone), self.system.enclaves + 2)
        for name, pid in gone.items():
            self.assertFalse(is_alive(pid), f"{name} outlived bulla dev")
        say(f"killed bulla dev; {', '.join(sorted(gone))} went with it")

        self.system.start()
        wanted = deks * self.system.enclaves
        caller = Caller(self.system.addresses["http"])
        caller.sign_batch(keys, self.random.randbytes(32))
        await_true(lambda: self.system.kms_calls()["Decrypt"] >= wanted,
                   "every enclave has opened every data key in use")
        before = self.system.kms_calls()
        self.assertEqual(before["Decrypt"], wanted, f"{deks} data keys, calls: {before}")

        for _ in range(SIGNATURES // KEYS):
            caller.sign_batch(keys, self.random.randbytes(32))
        self.assertEqual(self.system.kms_calls(), before, "signatures asked KMS for something")
        caller.close()
        say(f"{KEYS} old keys signed {SIGNATURES} times; KMS was asked for {wanted} Decrypts "
            f"({deks} data keys, {self.system.enclaves} enclaves) before, for nothing during it")

    def test_a_second_dev_on_the_same_directory_is_refused(self):
        first = self.system.dev
        with self.assertRaises(AssertionError):
            self.system.start()
        self.assertEqual(self.system.dev.returncode, 1)
        self.system.dev.stdout.close()
        self.system.dev = first
        caller = Caller(self.system.addresses["http"])
        caller.create()
        caller.close()

    def test_a_folder_that_was_there_keeps_its_mode(self):
        self.system.stop()
        self.system.data.chmod(0o755)
        self.system.dev.stdout.close()
        self.system.start()
        self.assertEqual(self.system.data.stat().st_mode & 0o777, 0o755)
        self.assertEqual((self.system.data / "run").stat().st_mode & 0o777, 0o700)

    def test_sigterm_stops_everything_with_status_0(self):
        children = self.system.children()
        self.system.stop()
        self.assertEqual(self.system.dev.returncode, 0)
        self.assertEqual([name for name, pid in children.items() if is_alive(pid)], [])
        self.assertFalse((self.system.data / "endpoints.json").exists())


if __name__ == "__main__":
    unittest.main()
