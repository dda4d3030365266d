"""Behind the real HAProxy the gateway knows its clients apart: by the PROXY protocol, versions 1
and 2, and by X-Forwarded-For and Forwarded; and nobody but the proxy is believed.

The clients are addresses of loopback, 127.0.0.21 and up. What the gateway takes them for is read
off bulla_gateway_clients, the clients that admission has seen within the last second.
"""

import http.client
import os
import shutil
import socket
import subprocess
import threading
import time
import unittest

from system_under_test import Caller, System, await_true, new_random, say

PROXY = "127.0.0.9"  # whence HAProxy connects to the gateway
CLIENTS = [f"127.0.0.{last}" for last in (21, 22, 23)]


class Proxy:
    """HAProxy in front of one listener, `to`: `server` goes to its `server` line, `rules` to its
    frontend. It connects from the address `source`."""

    def __init__(self, folder, to, mode="tcp", server="", rules="", source=PROXY):
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "scripts/setup --tests installs haproxy"
        # HAProxy takes no port of the kernel's choice, but a socket that somebody else has bound.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = "127.0.0.1:%d" % listener.getsockname()[1]
            config = folder / f"haproxy-{listener.getsockname()[1]}.cfg"
            config.write_text(
                f"defaults\n mode {mode}\n timeout connect 10s\n timeout client 60s\n"
                f" timeout server 60s\n"
                f"frontend front\n bind fd@{listener.fileno()}\n default_backend back\n {rules}\n"
                f"backend back\n server gateway {to} source {source} {server}\n",
                encoding="ascii")
            self.process = subprocess.Popen([program, "-db", "-f", config],
                                            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                            pass_fds=[listener.fileno()])

    def close(self):
        self.process.terminate()
        self.process.wait()


class ProxiesTest(unittest.TestCase):
    def start(self, **settings):
        self.random = new_random()
        system = System(settings={"BULLA_PROXIES_TRUSTED": PROXY, **settings})
        self.addCleanup(system.close)
        system.start()
        caller = Caller(system.addresses["http"])
        self.key = caller.create()
        caller.close()
        return system

    def proxy(self, system, to=None, **options):
        """The address of one."""
        proxy = Proxy(system.data, to or system.addresses["http"], **options)
        self.addCleanup(proxy.close)
        return proxy.address

    def clients(self, system):
        return sum(system.metrics("bulla_gateway_clients").values())

    def sign_from(self, address, source, headers=None):
        """The status of a signature asked for from a source address, or None: nobody answers."""
        host, port = address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=10,
                                                source_address=(source, 0))
        try:
            body = '{"keyId": "%s", "digest": "%s"}' % (self.key["keyId"], os.urandom(32).hex())
            connection.request("POST", "/sign", body,
                               {"Content-Type": "application/json", **(headers or {})})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def keep_signing(self, address, headers=None):
        """In threads, from each client, until the test ends; returns when each was answered."""
        stop = threading.Event()
        answered = {source: [] for source in CLIENTS}

        def run(source):
            while not stop.is_set():
                answered[source].append(self.sign_from(address, source, headers))
                time.sleep(0.05)  # the pace of these clients
        threads = [threading.Thread(target=run, args=(source,)) for source in CLIENTS]
        for thread in threads:
            thread.start()

        def end():
            stop.set()
            for thread in threads:
                thread.join()
        self.addCleanup(end)
        await_true(lambda: all(200 in statuses for statuses in answered.values()),
                   "each client is answered")
        return answered

    def check(self, system, address, expected, what, headers=None):
        self.keep_signing(address, headers)
        await_true(lambda: self.clients(system) == expected,
                   f"{what}: {expected} clients, not {self.clients(system)}", patience_s=20)
        say(f"{what}: {len(CLIENTS)} clients are {expected:.0f} to the gateway")

    def test_the_proxy_protocol(self):
        for version in ("send-proxy", "send-proxy-v2"):
            with self.subTest(version):
                system = self.start(BULLA_HTTP_PROXY_PROTOCOL="true")
                address = self.proxy(system, server=version)
                self.check(system, address, len(CLIENTS), version)
                # Who connects past the proxy is not believed.
                host, port = system.addresses["http"].rsplit(":", 1)
                with socket.create_connection((host, int(port)), timeout=10) as liar:
                    liar.sendall(b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n")
                    self.assertEqual(liar.recv(12), b"HTTP/1.1 400")
                self.doCleanups()

    def test_a_proxy_without_a_header_is_not_served(self):
        system = self.start(BULLA_HTTP_PROXY_PROTOCOL="true")
        self.assertIsNone(self.sign_from(self.proxy(system), CLIENTS[0]))

    def test_header_fields(self):
        for field, rule in (("x-forwarded-for", "option forwardfor"),
                            ("forwarded", "http-request add-header Forwarded for=%[src]")):
            with self.subTest(field):
                system = self.start(BULLA_PROXIES_FIELD=field)
                address = self.proxy(system, mode="http", rules=rule)
                # What the client itself writes is in front of what the proxy adds.
                self.check(system, address, len(CLIENTS), field,
                           {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6"})
                self.doCleanups()

    def test_without_settings_the_proxy_is_the_client(self):
        system = self.start()
        address = self.proxy(system, mode="http", rules="option forwardfor")
        self.check(system, address, 1, "no field is set")

    def test_the_proxy_protocol_in_front_of_grpc(self):
        system = self.start(BULLA_GRPC_PROXY_PROTOCOL="true")
        proxy = self.proxy(system, system.addresses["grpc"], server="send-proxy-v2")
        # Each client is a bulla-bench behind a proxy that lends it an address.
        benches = []
        for source in CLIENTS:
            address = self.proxy(system, proxy, source=source)
            benches.append(subprocess.Popen(
                [system.programs / "bulla-bench", "run", "--protocol", "grpc", "--url", address,
                 "--rate", "20", "--connections", "2", "--duration", "8s", "--warm-up", "1s",
                 "--keys", "1"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        try:
            await_true(lambda: self.clients(system) == len(CLIENTS)
                       or any(bench.poll() is not None for bench in benches), "all clients")
            self.assertEqual(self.clients(system), len(CLIENTS))
        finally:
            for bench in benches:
                _, errors = bench.communicate()
                self.assertEqual(bench.returncode, 0, errors.decode())
        say(f"gRPC: {len(CLIENTS)} clients are {len(CLIENTS)} to the gateway")


if __name__ == "__main__":
    unittest.main()
