"""A release is rolled out: the enclaves are restarted one after the other, then two gateways behind
a load balancer, while callers sign who do as they are told: what is refused for now, or was on a
connection that ended before the answer, is signed again, since signing is idempotent. In the end no
signature is missing.
"""

import collections
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

from system_under_test import (PATIENCE_S, Caller, SystemTest, await_true, is_alive, judge,
                               lasting_port, quantile, say)

CALLERS = 50
KEYS = 50
RETRY_STATUSES = (429, 502, 503)  # 502: the load balancer's, for an answer that was cut off
RETRY_MS = 50  # where the load balancer answers, which does not say how long


class Callers:
    """Sign, each on a connection of its own, until they are told to stop."""

    def __init__(self, address, keys):
        self._address = address
        self._keys = keys
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._signed = 0
        self._took_s = []
        self._again = collections.Counter()
        self._failures = []
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def signed(self):
        with self._lock:
            return self._signed

    def await_more(self, count=20 * CALLERS):
        """So many signatures from now on."""
        goal = self.signed() + count
        await_true(lambda: self.signed() >= goal or self._failures, "signatures")

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def finish(self):
        """(signatures, {why some were asked for again: how often}, seconds each took)"""
        self.stop()
        if self._failures:
            raise AssertionError(f"{len(self._failures)} callers failed: {self._failures[0]}")
        return self._signed, dict(self._again), self._took_s

    def _run(self, i):
        key = self._keys[i % len(self._keys)]
        caller = None
        try:
            while not self._stop.is_set():
                caller = self._sign(caller, key)
        except Exception as failure:  # pylint: disable=broad-except
            self._failures.append(repr(failure))
        finally:
            if caller is not None:
                caller.close()

    def _sign(self, caller, key):
        """One signature, however often it has to be asked for. The connection to go on with."""
        digest = os.urandom(32)
        began = time.monotonic()
        while True:
            caller, why, wait_ms = self._try(caller or Caller(self._address), key, digest)
            if why is None:
                break
            with self._lock:
                self._again[why] += 1
            if time.monotonic() - began > PATIENCE_S:
                raise AssertionError(f"not signed within {PATIENCE_S} s: {why}")
            time.sleep(wait_ms / 1000)  # as told
        with self._lock:
            self._signed += 1
            self._took_s.append(time.monotonic() - began)
        return caller

    @staticmethod
    def _try(caller, key, digest):
        """(connection or None, why it is to be asked for again or None, after which wait)"""
        try:
            caller.connection.request(
                "POST", "/sign", f'{{"keyId":"{key["keyId"]}","digest":"{digest.hex()}"}}',
                {"Content-Type": "application/json"})
            response = caller.connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as ended:
            caller.close()
            return None, type(ended).__name__, RETRY_MS
        if response.will_close:
            caller.close()
            caller = None
        if response.status in RETRY_STATUSES:
            return caller, response.status, int(response.headers.get("retry-after-ms", RETRY_MS))
        if response.status != 200:
            raise AssertionError(f"{response.status}: {body}")
        judge(key, digest, json.loads(body))
        return caller, None, 0


class SecondGateway:
    """Another instance on the same store and the same enclaves, on ports of its own."""

    def __init__(self, system):
        self._system = system
        self._run = system.data / "run"
        self.config = self._run / "gateway-2.yaml"
        text = (self._run / "gateway.yaml").read_text()
        for name in ("http", "grpc", "admin"):
            text = text.replace(system.addresses[name], f"127.0.0.1:{lasting_port()}")
        # The enclaves' way to KMS is the first one's; a way of its own is not asked for.
        for socket in ("kms-forwarder", "admin"):
            text = text.replace(f"{socket}.sock", f"{socket}-2.sock")
        self.config.write_text(text)
        self.addresses = {}
        self.process = None

    def start(self):
        ready = self._run / "gateway-2.json"
        ready.unlink(missing_ok=True)
        with open(self._system.data / "logs" / "gateway-2.log", "ab") as log:
            self.process = subprocess.Popen(
                [self._system.programs / "bulla-gateway", "--config", self.config, "--ready-file",
                 ready], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        await_true(lambda: ready.exists() or self.process.poll() is not None, "a second gateway")
        if self.process.poll() is not None:
            raise AssertionError("the second gateway has ended:\n" + self._system.log_tails())
        self.addresses = json.loads(ready.read_text())

    def stop(self):
        """SIGTERM, to which it answers what it has accepted."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class LoadBalancer:
    """HAProxy, which asks each gateway's admin listener whether it is ready. It retries nothing."""

    def __init__(self, system, gateways):
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise AssertionError("scripts/setup --tests installs haproxy")
        servers = "".join(
            f" server gateway-{i} {addresses['http']} check addr 127.0.0.1 port "
            f"{addresses['admin'].rsplit(':', 1)[1]} inter 100ms fall 1 rise 1\n"
            for i, addresses in enumerate(gateways, 1))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = "127.0.0.1:%d" % listener.getsockname()[1]
            config = system.data / "haproxy.cfg"
            config.write_text(
                "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n"
                " timeout server 60s\n retries 0\n"
                f"listen front\n bind fd@{listener.fileno()}\n balance roundrobin\n"
                f" option httpchk GET /readyz\n{servers}", encoding="ascii")
            self.process = subprocess.Popen([program, "-db", "-f", config],
                                            pass_fds=[listener.fileno()],
                                            stderr=subprocess.DEVNULL)

    def close(self):
        self.process.kill()
        self.process.wait()


class RollingRestartTest(SystemTest):
    def setUp(self):
        super().setUp()
        first = Caller(self.system.addresses["http"])
        self.keys = [first.create() for _ in range(KEYS)]
        first.close()

    def callers(self, address):
        callers = Callers(address, self.keys)
        self.addCleanup(callers.stop)
        callers.await_more()
        return callers

    def report(self, what, callers):
        signed, again, took_s = callers.finish()
        say(f"{what}: {signed} signatures on {CALLERS} connections, none missing, none wrong; "
            f"asked for again: {again or 'none'}; p50 {quantile(took_s, 0.5) * 1000:.0f}, p99 "
            f"{quantile(took_s, 0.99) * 1000:.0f}, longest {max(took_s) * 1000:.0f} ms")

    def restart(self, name):
        """SIGTERM; returns when it was started again and is available to the gateway."""
        before = self.system.children()[name]
        os.kill(before, signal.SIGTERM)
        await_true(lambda: not is_alive(before), f"{name} has ended")
        self.system.await_ready()
        await_true(self.all_serve, f"{name} serves again")

    def all_serve(self):
        admin = Caller(self.system.addresses["admin"])
        try:
            enclaves = admin.call("GET", "/enclaves")[1]["enclaves"]
        except (OSError, http.client.HTTPException):
            return False
        finally:
            admin.close()
        return all(enclave["available"] for enclave in enclaves)

    def test_enclaves_one_after_the_other(self):
        callers = self.callers(self.system.addresses["http"])
        for name in ("enclave-1", "enclave-2"):
            self.restart(name)
            callers.await_more()
        self.report("both enclaves restarted", callers)

    def test_gateways_one_after_the_other(self):
        second = SecondGateway(self.system)
        self.addCleanup(second.close)
        second.start()
        balancer = LoadBalancer(self.system, [self.system.addresses, second.addresses])
        self.addCleanup(balancer.close)
        callers = self.callers(balancer.address)
        self.restart("gateway")
        callers.await_more()
        second.stop()
        callers.await_more()  # of the first alone
        second.start()
        callers.await_more()
        self.report("both gateways restarted", callers)


if __name__ == "__main__":
    unittest.main()
