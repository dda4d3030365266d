"""What operators do while signatures flow: an enclave is taken in, given another share of the keys,
drained and let go, with `bulla enclaves` and by editing the gateway's file; and a file that is
wrong. No request fails for it.
"""

import json
import os
import re
import signal
import subprocess
import unittest

from load import Load
from system_under_test import SystemTest, await_true, say

CONNECTIONS = 50
RATE = int(os.environ.get("BULLA_TEST_RATE", 500))  # a second
KEYS = 512  # so that shares of them are near to those of the weights
SECONDS = 3
THIRD = "enclave-3"
REFUSED = 4  # exit status of `bulla`


class OperationsTest(SystemTest):
    SETTINGS = {"BULLA_REBALANCING_STEP_INTERVAL": "20ms"}  # ten of them for a change

    def setUp(self):
        super().setUp()
        self.run_dir = self.system.data / "run"
        self.file = self.run_dir / "gateway.yaml"
        self.addresses = [f"unix:{self.run_dir / name}.sock"
                          for name in ("enclave-1", "enclave-2", THIRD)]
        self.third = self.addresses[2]
        process = self.system.start_enclave(THIRD)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def bulla(self, *arguments):
        """(exit status, what it printed, what it complained)."""
        done = subprocess.run(
            [self.system.programs / "bulla", *arguments, "--data", self.system.data],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def done(self, *arguments):
        status, out, err = self.bulla(*arguments)
        self.assertEqual(status, 0, err)
        return out

    def enclaves(self):
        """{address: its status}."""
        listed = json.loads(self.done("enclaves", "list", "--json"))["enclaves"]
        return {enclave["address"]: enclave for enclave in listed}

    def await_weight(self, weight):
        await_true(lambda: self.enclaves()[self.third]["weight"] == weight, f"a weight of {weight}")

    def weights(self):
        return [enclave["weight"] for enclave in self.enclaves().values()]

    def await_third_in_service(self):
        await_true(lambda: self.enclaves().get(self.third, {}).get("available"), "it is in service")

    def edit(self, enclaves):
        """The file with other enclaves, as an editor leaves it."""
        before, rest = self.file.read_text().split("enclaves:\n")
        rest = rest[rest.index("kms_forwarder:"):]
        fresh = self.file.with_suffix(".new")
        fresh.write_text(before + "enclaves:\n" +
                         "".join(f"  - {json.dumps(text)}\n" for text in enclaves) + rest)
        fresh.rename(self.file)

    def under_load(self, what, step=lambda: None):
        """No request fails. The share of each enclave in the signatures."""
        before = self.signatures()
        load = Load(self.system, SECONDS, CONNECTIONS, RATE, KEYS)
        load.await_under_way()
        step()
        outlasted = load.is_under_way()
        report = load.finish()
        lost = {name: report[name] for name in ("failed", "wrong", "dropped", "warm_up_failed")}
        self.assertFalse(any(lost.values()), f"{lost} {report['errors']}")
        shares = self.shares_since(before, report["requests"] + report["warm_up_requests"])
        say(f"{what}: {report['requests']} requests, none failed; p50 {report['p50_ms']:.2f}, p99 "
            f"{report['p99_ms']:.1f}, longest {report['max_ms']:.0f} ms; shares of the signatures "
            + ", ".join(f"{share:.0%}" for share in shares.values())
            + ("" if outlasted else " (the load ended before the step did)"))
        return shares

    def signatures(self):
        """{address: signatures}, as each enclave last reported."""
        return {address: enclave.get("signatures", 0)
                for address, enclave in self.enclaves().items()}

    def shares_since(self, before, signatures):
        """Of so many that were made since."""
        def signed():
            return {address: count - before.get(address, 0)
                    for address, count in self.signatures().items()}

        # An enclave that was let go meanwhile took its count along.
        gone = sum(1 for address in before if address not in self.signatures())
        await_true(lambda: gone or sum(signed().values()) >= signatures, "reports of all of it")
        total = sum(signed().values()) or 1
        return {address: count / total for address, count in signed().items()}

    def test_by_command(self):
        for verb, address, code in (("add", self.addresses[0], "ALREADY_EXISTS"),
                                    ("drain", self.third, "NOT_FOUND")):
            status, _, err = self.bulla("enclaves", verb, address)
            self.assertEqual(status, REFUSED)
            self.assertIn(code, err)

        def add():
            self.assertIn("this lasts until", self.done("enclaves", "add", self.third))
            self.await_third_in_service()
            self.await_weight(100)

        def halve():
            self.done("enclaves", "weight", self.third, "50")
            self.await_weight(50)

        def drain():
            self.done("enclaves", "drain", self.third)
            self.await_weight(0)
            await_true(lambda: self.enclaves()[self.third]["inFlight"] == 0, "nothing in flight")

        def remove():
            self.done("enclaves", "remove", self.third)
            await_true(lambda: self.third not in self.enclaves(), "removed")

        self.under_load("added", add)
        full = self.under_load("with three")[self.third]
        self.under_load("weight 50", halve)
        half = self.under_load("with two and a half")[self.third]
        self.under_load("drained", drain)
        drained = self.under_load("with two and a drained one")[self.third]
        self.under_load("removed", remove)

        def add_and_remove_at_once():
            add()
            remove()  # it is drained first

        self.under_load("added again, removed undrained", add_and_remove_at_once)
        self.assertLess(half, full)
        self.assertLess(drained, 0.01)

    def test_by_the_file(self):
        first_two = self.addresses[:2]

        def add():
            self.edit([*first_two, f"{self.third} weight=50"])
            self.await_third_in_service()
            self.await_weight(50)
            self.assertEqual(self.weights(), [100, 100, 50])

        def drain_then_remove():
            self.edit([*first_two, f"{self.third} weight=0"])
            os.kill(self.system.children()["gateway"], signal.SIGHUP)
            await_true(lambda: self.weights() == [100, 100, 0], "drained")
            self.edit(first_two)
            await_true(lambda: self.third not in self.enclaves(), "removed")

        self.under_load("added in the file", add)
        self.under_load("drained and removed in the file", drain_then_remove)

    def test_a_file_that_is_wrong(self):
        good = self.file.read_text()

        def spoil():
            self.edit([self.addresses[0], f"{self.third} weight=1001"])
            await_true(lambda: "CONFIGURATION REFUSED" in self.done("status"), "it is refused")
            self.assertIn("weight=N with N from 0 to 1000", self.done("status"))
            self.assertEqual(self.weights(), [100, 100])

        def mend():
            self.file.write_text(good + "idempotency_ttl: 25h\n")
            # And nothing of the ports, which the kernel chose and `bulla dev` wrote down.
            await_true(
                lambda: re.search("needs a restart: idempotency_ttl$", self.done("status"), re.M),
                "it is taken")
            self.assertNotIn("REFUSED", self.done("status"))

        self.under_load("wrong file", spoil)
        self.under_load("mended file", mend)
        self.assertEqual(self.weights(), [100, 100])


if __name__ == "__main__":
    unittest.main()
