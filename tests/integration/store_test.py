"""The key store in trouble: a full disk, a file that is moved away, a store that is gone, a backup
under load. What cannot be kept is not acknowledged, callers and probes are told why, signing goes
on, and it is over by itself when the cause is.
"""

import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import threading
import unittest

from system_under_test import Caller, Refused, SystemTest, await_true, in_threads, say

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "backup.md"


def documented(name):
    """The shell commands of docs/backup.md below the line `<!-- test: NAME -->`."""
    found = re.search(rf"<!-- test: {name} -->\n\n((?:    .*\n)+)", DOCUMENT.read_text())
    return "".join(line.removeprefix("    ") for line in found[1].splitlines(keepends=True))


class StoreTestCase(SystemTest):
    """A service, and what is asked about its store."""

    def setUp(self):
        super().setUp()
        self.caller = Caller(self.system.addresses["http"])
        self.addCleanup(self.caller.close)

    @property
    def file(self):
        return self.system.data / "bulla.db"

    def admin(self, path):
        caller = Caller(self.system.addresses["admin"])
        try:
            return caller.call("GET", path)
        finally:
            caller.close()

    def run_documented(self, name, **variables):
        """As an operator would, in a shell."""
        subprocess.run(["sh", "-euc", documented(name)], check=True,
                       env={**os.environ, **{key: str(value) for key, value in variables.items()}})

    def create_until_refused(self):
        """What the log has room for is taken."""
        for _ in range(5000):
            status, answer = self.caller.call("POST", "/create", {})
            if status != 200:
                return status, answer["error"]
        raise AssertionError("nothing was refused")

    def expect_unwritable(self, fault, in_message):
        status, error = self.create_until_refused()
        self.assertEqual((status, error["code"]), (503, "UNAVAILABLE"))
        self.assertIn(in_message, error["message"])
        self.assertGreaterEqual(error["retryAfterMs"], 1000)
        status, readiness = self.admin("/readyz")
        self.assertEqual(status, 503)
        self.assertIn(str(self.file), " ".join(readiness["reasons"]))
        self.assertEqual(self.admin("/readyz/sign")[0], 200)
        status, answer = self.admin("/status")
        self.assertFalse(answer["ready"])
        self.assertEqual(answer["store"]["fault"], fault)
        self.assertEqual(self.system.metrics("bulla_store_writable"), {"": 0})
        failures = self.system.metrics("bulla_store_write_failures_total")
        self.assertGreaterEqual(failures[f'fault="{fault}"'], 1)

    def expect_well_again(self):
        await_true(lambda: self.admin("/readyz")[0] == 200, "ready again by itself")
        self.assertTrue(self.admin("/status")[1]["store"]["writable"])
        self.assertEqual(self.system.metrics("bulla_store_writable"), {"": 1})
        return self.caller.create()


class StoreTest(StoreTestCase):
    def test_a_file_that_is_moved_away_and_back(self):
        first = self.caller.create()
        aside = self.system.data / "aside.db"
        self.file.rename(aside)
        self.expect_unwritable("gone", "not where it was")
        self.caller.sign_batch([first], self.random.randbytes(32))
        aside.rename(self.file)
        second = self.expect_well_again()
        self.system.stop()
        self.system.dev.stdout.close()
        self.system.start()
        self.caller.close()
        self.caller = Caller(self.system.addresses["http"])
        self.addCleanup(self.caller.close)
        self.caller.sign_batch([first, second], self.random.randbytes(32))

    def test_a_file_that_is_deleted_is_copied_out_of_the_gateway(self):
        keys = [self.caller.create() for _ in range(20)]
        for suffix in ("", "-wal", "-shm"):
            (self.system.data / f"bulla.db{suffix}").unlink()
        self.expect_unwritable("gone", "not where it was")
        self.run_documented("deleted", STORE=self.file, PID=self.system.children()["gateway"])
        self.system.kill("gateway")
        self.system.await_ready()
        self.caller.close()
        self.caller.sign_batch(keys, self.random.randbytes(32))
        self.caller.create()

    def test_a_store_that_is_gone_is_not_replaced_in_silence(self):
        self.caller.create()
        gone = self.system.data / "gone"
        gone.mkdir()
        before = self.admin("/status")[1]["store"]["id"]
        for suffix in ("", "-wal", "-shm"):
            (self.system.data / f"bulla.db{suffix}").rename(gone / f"bulla.db{suffix}")
        self.system.kill("gateway")

        def refused():
            try:
                enclaves = self.admin("/status")[1]["enclaves"]
            except OSError:
                return False  # it is not up again yet
            return all("foreignStore" in enclave for enclave in enclaves)
        await_true(refused, "both enclaves are refused")
        status, readiness = self.admin("/readyz")
        self.assertEqual(status, 503)
        self.assertIn(before, " ".join(readiness["reasons"]))
        store = self.admin("/status")[1]["store"]
        self.assertTrue(store["isNew"])
        self.assertNotEqual(store["id"], before)
        self.caller.close()
        with self.assertRaises(Refused):
            self.caller.create()

        for name in ("enclave-1", "enclave-2"):
            self.system.kill(name)
        await_true(lambda: self.admin("/readyz")[0] == 200, "restarted enclaves are taken")
        self.caller.create()

    def test_a_backup_under_load_is_restored_and_its_keys_sign(self):
        first = [self.caller.create() for _ in range(20)]
        stop = threading.Event()
        made = []

        def load(_):
            caller = Caller(self.system.addresses["http"])
            while not stop.is_set():
                made.append(caller.create())
            caller.close()

        backup = self.system.data / "backup.db"
        loading = threading.Thread(target=in_threads, args=(8, load))
        loading.start()
        try:
            await_true(lambda: len(made) > 100, "the load is on")
            self.run_documented("backup", STORE=self.file, BACKUP=backup)
            in_backup = len(made)
            await_true(lambda: len(made) > in_backup + 100, "the load goes on")
        finally:
            stop.set()
            loading.join()
        self.run_documented("verify", BACKUP=backup)
        self.assertEqual(backup.stat().st_mode & 0o777, 0o600)
        say(f"backed up among {len(made)} creates")

        self.system.stop()
        self.system.dev.stdout.close()
        self.run_documented("restore", STORE=self.file, BACKUP=backup)
        self.system.start()
        self.caller.close()
        self.caller = Caller(self.system.addresses["http"])
        self.addCleanup(self.caller.close)
        with sqlite3.connect(f"file:{self.file}?mode=ro", uri=True) as database:
            there = {row[0].lower() for row in database.execute("SELECT hex(key_id) FROM keys")}
        restored = [key for key in first + made if key["keyId"].replace("-", "") in there]
        self.assertGreaterEqual(len(restored), 120)
        self.caller.sign_batch(first + restored[-50:], self.random.randbytes(32))

    def test_a_copy_of_the_database_alone_has_all_but_the_last_moments(self):
        keys = [self.caller.create() for _ in range(20)]
        copy = self.system.data / "copy.db"

        def all_there():
            shutil.copyfile(self.file, copy)
            with sqlite3.connect(copy) as database:
                return database.execute("SELECT count(*) FROM keys").fetchone()[0] >= len(keys)
        await_true(all_there, "the log was moved into the database while nobody wrote")

    def test_an_idempotency_key_stands_for_one_request(self):
        headers = {"Idempotency-Key": "order-17"}
        first = self.caller.call("POST", "/create", {}, headers)[1]
        self.assertEqual(self.caller.call("POST", "/create", {}, headers)[1], first)
        with sqlite3.connect(self.file) as database:
            database.execute("UPDATE idempotency SET fingerprint = 'create/0' "
                             "WHERE idempotency_key = 'order-17'")
        status, answer = self.caller.call("POST", "/create", {}, headers)
        self.assertEqual((status, answer["error"]["code"]), (400, "INVALID_ARGUMENT"))
        self.assertIn("'order-17'", answer["error"]["message"])
        with sqlite3.connect(self.file) as database:
            database.execute("UPDATE idempotency SET created_ms = created_ms - 24 * 3600 * 1000")
        second = self.caller.call("POST", "/create", {}, headers)[1]
        self.assertNotEqual(second["keyId"], first["keyId"], "a day later the name is free")


class FullDiskTest(StoreTestCase):
    """The data directory is a small disk of its own."""

    def before_start(self):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "bulla-test",
                                  self.system.data], check=False, stderr=subprocess.DEVNULL)
        if mounted.returncode != 0:
            self.skipTest("mounting needs root")
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.system.data], check=True)

    def test_a_full_disk_is_said_and_is_over_when_there_is_room(self):
        first = self.caller.create()
        filler = self.system.data / "filler"
        with self.assertRaises(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        self.expect_unwritable("full", "disk of the key store is full")
        self.caller.sign_batch([first], self.random.randbytes(32))
        filler.unlink()
        second = self.expect_well_again()
        self.caller.sign_batch([first, second], self.random.randbytes(32))


if __name__ == "__main__":
    unittest.main()
