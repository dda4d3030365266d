"""The real processes, started by the real `bulla dev` on free ports over a fresh data directory,
and the means to call, kill and judge them. Python's standard library only; signatures are judged by
libsecp256k1 itself.
"""

import ctypes
import ctypes.util
import http.client
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

RELEASE = pathlib.Path(__file__).resolve().parents[2] / "build" / "release" / "bin"
PATIENCE_S = 60  # for things that take well under a second on an idle machine

_began = time.monotonic()


def say(text):
    """Progress, for whoever watches."""
    print(f"[{time.monotonic() - _began:6.1f} s] {text}", flush=True)


def new_random():
    """The randomness of a test. Its seed is printed, and taken from BULLA_TEST_SEED."""
    seed = int(os.environ.get("BULLA_TEST_SEED", random.SystemRandom().randrange(2**32)))
    say(f"BULLA_TEST_SEED={seed}")
    return random.Random(seed)


def await_true(condition, what, patience_s=PATIENCE_S):
    """Asks every 10 ms until the condition holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s} s: {what}")
        time.sleep(0.01)  # between two looks


class Verifier:
    """ECDSA verification by libsecp256k1, which refuses a high s. Thread-safe."""

    def __init__(self):
        self._lib = ctypes.CDLL(ctypes.util.find_library("secp256k1"))
        self._lib.secp256k1_context_create.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._lib.secp256k1_context_create(0x101))

    def verify(self, public_key, digest, signature):
        point = ctypes.create_string_buffer(64)
        parsed = ctypes.create_string_buffer(64)
        return (
            self._lib.secp256k1_ec_pubkey_parse(
                self._context, point, public_key, ctypes.c_size_t(len(public_key))) == 1
            and self._lib.secp256k1_ecdsa_signature_parse_compact(
                self._context, parsed, signature) == 1
            and self._lib.secp256k1_ecdsa_verify(self._context, parsed, digest, point) == 1)


VERIFIER = Verifier()


def unhex(text):
    assert text.startswith("0x"), text
    return bytes.fromhex(text[2:])


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout_s):
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Caller:
    """One keep-alive connection to an HTTP listener, HOST:PORT or the path of a Unix socket. For
    one thread."""

    def __init__(self, address, timeout_s=PATIENCE_S):
        if address.startswith("/"):
            self.connection = UnixConnection(address, timeout_s)
            return
        host, port = address.rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)

    def call(self, method, path, body=None, headers=None):
        """(status, parsed body). OSError or HTTPException when there is no answer."""
        self.connection.request(method, path, None if body is None else json.dumps(body),
                                {"Content-Type": "application/json", **(headers or {})})
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def close(self):
        self.connection.close()

    def create(self):
        status, key = self.call("POST", "/create", {})
        if status != 200:
            raise Refused(status, key)
        return key

    def sign_batch(self, keys, digest):
        """Signs one digest under each key, patiently, and judges each signature."""
        waiting = list(keys)
        deadline = time.monotonic() + PATIENCE_S
        while waiting:
            items = [{"keyId": key["keyId"], "digest": digest.hex()} for key in waiting]
            status, answer = self.call("POST", "/sign/batch", {"items": items})
            if status in (429, 503):
                results = [answer] * len(waiting)
            elif status == 200:
                results = answer["results"]
            else:
                raise Refused(status, answer)
            again = []
            for key, result in zip(waiting, results, strict=True):
                if "signature" in result:
                    judge(key, digest, result)
                elif "retryAfterMs" in result["error"]:
                    again.append(key)
                else:
                    raise Refused(200, {**result, "keyId": key["keyId"]})
            if again and time.monotonic() > deadline:
                raise AssertionError(f"{len(again)} keys cannot sign: {result}")
            if again:
                time.sleep(0.05)  # what retryAfterMs asks for at least
            waiting = again


class Refused(Exception):
    """The service answered, but not with what was asked for."""


def judge(key, digest, answer):
    if not VERIFIER.verify(unhex(key["publicKey"]), digest, unhex(answer["signature"])):
        raise AssertionError(f"WRONG SIGNATURE of key {key['keyId']}: {answer}")


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def freeze(pid):
    """SIGSTOP; returns when each of its threads stands still. Until one of them has taken the
    signal, and on a busy machine that lasts, the others go on."""
    def stands_still(thread):
        return (thread / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "TtZ"
    os.kill(pid, signal.SIGSTOP)
    await_true(lambda: all(map(stands_still, pathlib.Path(f"/proc/{pid}/task").iterdir())),
               f"process {pid} stands still")


def lasting_port():
    """A free port that nobody is given who asks for any, so that it is free again after a restart:
    the kernel hands out those of ip_local_port_range, to listeners on port 0 and to callers."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as text:
        first, last = map(int, text.read().split())
    ports = [*range(10_000, first), *range(last + 1, 65_536)]
    while True:
        port = random.SystemRandom().choice(ports)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class System:
    """One data directory and, while started, the service on it."""

    def __init__(self, enclaves=2, settings=None):
        """`settings`: environment variables for the daemons, as docs/config.md names them."""
        self.enclaves = enclaves
        self.settings = settings or {}
        self.programs = pathlib.Path(os.environ.get("BULLA_BIN", RELEASE))
        self.data = pathlib.Path(tempfile.mkdtemp(prefix="bulla-it-"))
        self.dev = None
        self.addresses = {}

    def start(self):
        for name in ("http", "grpc", "admin"):
            self.addresses.setdefault(name, f"127.0.0.1:{lasting_port()}")
        ports = [argument for name in ("http", "grpc", "admin")
                 for argument in (f"--{name}", self.addresses[name])]
        with open(self.data / "dev.log", "ab") as log:
            self.dev = subprocess.Popen(
                [self.programs / "bulla", "dev", "--json", "--data", self.data,
                 "--enclaves", str(self.enclaves), *ports],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env={**os.environ, **self.settings})
        line = self.dev.stdout.readline()
        if not line:
            self.dev.wait()
            raise AssertionError("bulla dev did not start:\n" + self.log_tails())
        self.addresses = {name: value for name, value in json.loads(line).items()
                          if name in ("http", "grpc", "admin", "adminSocket", "kms")}

    def start_enclave(self, name):
        """One more, as `bulla dev` starts its own, on run/NAME.sock. The gateway does not know of
        it."""
        run = self.data / "run"
        config = run / f"{name}.yaml"
        config.write_text((run / "enclave-2.yaml").read_text().replace("enclave-2.sock",
                                                                       f"{name}.sock"))
        ready = run / f"{name}.json"
        with open(self.data / "logs" / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [self.programs / "bulla-enclave", "--config", config, "--ready-file", ready],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        await_true(lambda: ready.exists() or process.poll() is not None, f"{name} is ready")
        return process

    def children(self):
        """{name: pid}: "gateway", "kms", "enclave-1"..., of those that run now."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(stat[1]) != self.dev.pid or stat[0] == "Z":
                    continue
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"--ready-file" in arguments:
                ready = arguments[arguments.index(b"--ready-file") + 1].decode()
                found[pathlib.Path(ready).stem] = int(entry.name)
        return found

    def await_ready(self):
        """Every child runs, and the gateway says that it is ready."""
        def ready():
            if len(self.children()) != self.enclaves + 2:
                return False
            caller = Caller(self.addresses["admin"], timeout_s=5)
            try:
                caller.connection.request("GET", "/readyz")
                return caller.connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False
            finally:
                caller.close()
        if self.dev.poll() is not None:
            raise AssertionError("bulla dev has ended:\n" + self.log_tails())
        await_true(ready, "the service is ready again")

    def kill(self, name):
        """SIGKILL for one child; returns when it is dead."""
        pid = self.children().get(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            await_true(lambda: not is_alive(pid), f"{name} is dead")

    def kill_dev(self):
        """SIGKILL for `bulla dev` alone; waits until what it started is gone too."""
        orphans = self.children()
        watched = {os.pidfd_open(pid): name for name, pid in orphans.items()}
        self.dev.kill()
        self.dev.wait()
        deadline = time.monotonic() + PATIENCE_S
        try:
            while watched and time.monotonic() < deadline:
                for fd in select.select(list(watched), [], [], 1)[0]:
                    os.close(fd)
                    del watched[fd]
        finally:
            for fd in watched:
                os.close(fd)
        if watched:
            raise AssertionError(f"still running: {sorted(watched.values())}")
        return orphans

    def kms_calls(self):
        """{operation: calls} since bulla-kms started."""
        host, port = self.addresses["kms"].rsplit(":", 1)
        context = ssl.create_default_context(cafile=self.data / "kms" / "tls" / "ca.pem")
        # The certificate is for the name that enclaves use, not for this address.
        context.check_hostname = False
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=10)
        try:
            connection.request("GET", "/stats")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def metrics(self, name):
        """{labels as text: value} of one metric of the gateway's."""
        caller = Caller(self.addresses["admin"])
        caller.connection.request("GET", "/metrics")
        lines = caller.connection.getresponse().read().decode().splitlines()
        caller.close()
        series = [re.fullmatch(re.escape(name) + r"(?:\{(.*)\})? (\S+)", line) for line in lines]
        return {match[1] or "": float(match[2]) for match in series if match}

    def deks_in_use(self):
        database = sqlite3.connect(f"file:{self.data}/bulla.db?mode=ro", uri=True)
        try:
            return database.execute("SELECT count(DISTINCT dek_id) FROM keys").fetchone()[0]
        finally:
            database.close()

    def log_tails(self):
        logs = [self.data / "dev.log", *sorted((self.data / "logs").glob("*.log"))]
        return "\n".join(f"--- {log.name}\n" + "\n".join(
            log.read_text(errors="replace").splitlines()[-15:]) for log in logs if log.exists())

    def stop(self):
        if self.dev is None or self.dev.poll() is not None:
            return
        self.dev.terminate()
        try:
            self.dev.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.dev.kill()
            self.dev.wait()

    def close(self):
        self.stop()
        if self.dev is not None:
            self.dev.stdout.close()
        shutil.rmtree(self.data, ignore_errors=True)


class SystemTest(unittest.TestCase):
    """A test with a running system of its own."""

    SETTINGS = {}  # of its daemons: see System

    def setUp(self):
        self.random = new_random()
        self.system = System(settings=self.SETTINGS)
        self.addCleanup(self.system.close)
        self.addCleanup(self.show_logs_of_a_failure)  # cleanups run last to first
        self.before_start()
        self.system.start()
        say(f"{self.id()}: started on {self.system.addresses['http']}")

    def before_start(self):
        """For what a test does to the data directory first."""

    def run(self, result=None):
        self._result = result
        self._problems_before = self._problems()
        return super().run(result)

    def _problems(self):
        return len(self._result.failures) + len(self._result.errors) if self._result else 0

    def show_logs_of_a_failure(self):
        if self._problems() > self._problems_before:
            print(self.system.log_tails(), file=sys.stderr)


def quantile(values, share):
    """The value below which `share` of them lie."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def in_threads(count, work):
    """Runs work(i) in threads; raises what the first that failed raised."""
    failures = []

    def guarded(i):
        try:
            work(i)
        except BaseException as failure:  # pylint: disable=broad-except
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
