"""Slow and hostile clients against the real gateway, while honest callers sign beside them: no
honest request fails, and the gateway's memory stays within what gateway/frontend/limits.h says.

What hostile clients do to the honest callers' latency is printed, not asserted: here both run on
the same few cores as the service.
"""

import contextlib
import json
import multiprocessing
import os
import pathlib
import re
import resource
import select
import shutil
import socket
import statistics
import struct
import subprocess
import threading
import time
import unittest

from system_under_test import Caller, SystemTest, await_true, in_threads, judge, say

HONEST_CALLERS = 3
CALLS_A_STRETCH = 150
PATIENCE_S = 60

KIB = 1024
MIB = 1024 * KIB
# gateway/frontend/limits.h and base/limits.h
CONNECTIONS_MAX = 16 * 1024
NEWCOMERS = 256  # who come when all places are taken
HEADER_BYTES_MAX = 16 * KIB
REQUEST_POOL_BYTES = 256 * MIB
BATCH_ITEMS_MAX = 1024
# What a connection without a request may cost: twice what kHttpConnectionsMax reckons with.
CONNECTION_BYTES = 16 * KIB
# What an allocator may keep or waste, whatever the load.
SLACK_BYTES = 16 * MIB

IDLE_CONNECTIONS = 10_000
IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen when it is known where to
# Of 1024 items of which none is right: 2 KiB that are answered with some 200 KiB.
BAD_BATCH_BODY = '{"items":[' + ",".join(["1"] * BATCH_ITEMS_MAX) + "]}"
BAD_BATCH_ANSWER_BYTES = 256 * KIB  # its answer, and room to grow in


def request_bytes(method, path, body="", *fields):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *fields]
    if body or method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


BAD_BATCH = request_bytes("POST", "/sign/batch", BAD_BATCH_BODY)


def memory(pid, name="VmRSS"):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * KIB


def reset_peak(pid):
    """VmHWM begins anew, at VmRSS."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


# ---- Honest callers ----------------------------------------------------------------------------


def sign_until(stop, address, key, calls, samples):
    caller = Caller(address)
    while not stop.is_set():
        digest = os.urandom(32)
        began = time.monotonic()
        status, answer = caller.call("POST", "/sign", {"keyId": key["keyId"],
                                                       "digest": digest.hex()})
        samples.append((began, time.monotonic() - began))
        if status != 200:
            raise AssertionError(f"an honest request got {status}: {answer}")
        judge(key, digest, answer)
        with calls.get_lock():
            calls.value += 1
    caller.close()


def run_honest_callers(address, key, calls, stop, result):
    """The main function of their process. Sends (what failed, samples)."""
    failures, samples = [], []

    def guarded():
        try:
            sign_until(stop, address, key, calls, samples)
        except BaseException as failure:  # pylint: disable=broad-except
            failures.append(repr(failure))

    threads = [threading.Thread(target=guarded) for _ in range(HONEST_CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.send((failures, samples))


class HonestCallers:
    """Keep-alive connections that sign in a loop and judge each signature, in a process of their
    own, so that what the test does meanwhile does not slow them down more than any neighbour."""

    def __init__(self, address, key):
        context = multiprocessing.get_context("fork")
        self.calls = context.Value("Q", 0)
        self._stop = context.Event()
        self._result, result = context.Pipe(duplex=False)
        self._process = context.Process(target=run_honest_callers,
                                        args=(address, key, self.calls, self._stop, result))
        self._process.start()
        self._outcome = None

    def await_calls(self, more):
        """Returns when that many more are answered, or one has failed."""
        wanted = self.calls.value + more
        await_true(lambda: self.calls.value >= wanted or self._result.poll(), f"{more} signatures")

    def stop(self):
        """([what failed], [(when it began, latency in s)])."""
        if self._outcome is None:
            self._stop.set()
            self._outcome = self._result.recv()
            self._process.join()
        return self._outcome


# ---- Hostile clients ---------------------------------------------------------------------------


def vanish(connection):
    """Closes with a reset: what is on its way is dropped by both sides."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Crowd:
    """Many connections to one listener, from source addresses of their own, since each has only so
    many ports. A context: they vanish at its end."""

    def __init__(self, address, receive_bytes=None):
        host, port = address.rsplit(":", 1)
        self._to = (host, int(port))
        self._receive_bytes = receive_bytes
        self.connections = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self.connections:
            vanish(connection)

    def open(self, count, sending=b""):
        for _ in range(count):
            connection = socket.socket()
            self.connections.append(connection)
            connection.settimeout(PATIENCE_S)
            if self._receive_bytes:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((f"127.0.1.{1 + len(self.connections) // 5000}", 0))
            connection.connect(self._to)
            if sending:
                connection.sendall(sending)
        return self.connections[-count:]

    def polled(self, event):
        """The connections for which poll(2) says so."""
        poll = select.poll()
        by_fd = {connection.fileno(): connection for connection in self.connections}
        for fd in by_fd:
            poll.register(fd, event)
        return [by_fd[fd] for fd, events in poll.poll(0) if events & event]


def read_to_end(connection):
    """All that comes until the other side closes. OSError: a reset."""
    answer = b""
    while chunk := connection.recv(256 * KIB):
        answer += chunk
    return answer


def read_answers(connection, count):
    """The next answers: [(status, request id, body)]."""
    answers, buffer = [], b""
    while len(answers) < count:
        head, separator, rest = buffer.partition(b"\r\n\r\n")
        length = int(re.search(rb"\r\nContent-Length: (\d+)", head)[1]) if separator else 0
        if not separator or len(rest) < length:
            chunk = connection.recv(256 * KIB)
            if not chunk:
                raise AssertionError(f"closed after {len(answers)} of {count} answers: {buffer}")
            buffer += chunk
            continue
        request_id = re.search(rb"\r\nX-Request-Id: (\S+)", head)[1].decode()
        answers.append((int(head.split()[1]), request_id, rest[:length]))
        buffer = rest[length:]
    return answers


class HostileTest(SystemTest):
    """A system with honest callers on it, whom each test judges at its end."""

    # So short that the test need not wait for the slow; requests of the honest arrive whole.
    SETTINGS = {"BULLA_HTTP_HEADER_TIMEOUT": "2s", "BULLA_HTTP_BODY_TIMEOUT": "2s",
                "BULLA_HTTP_WRITE_TIMEOUT": "2s"}

    def setUp(self):
        super().setUp()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.http = self.system.addresses["http"]
        self.processes = self.system.children()
        self.gateway = self.processes["gateway"]
        caller = Caller(self.http)
        self.key = caller.create()
        caller.close()
        self.get_key = request_bytes("GET", f"/keys/{self.key['keyId']}")
        self.honest = HonestCallers(self.http, self.key)
        self.addCleanup(self.honest.stop)
        self.honest.await_calls(10 * CALLS_A_STRETCH)  # its buffers and pools are there
        self.descriptors = descriptors(self.gateway)
        self.stretches = []  # (kind, calm or hostile, begin, end)

    def tearDown(self):
        failures, samples = self.honest.stop()
        self.assertEqual(failures, [])
        self.assertEqual(self.system.children(), self.processes, "a process has died of it")
        say(f"{len(samples)} signatures for honest callers, none failed, none wrong")
        for kind in dict.fromkeys(stretch[0] for stretch in self.stretches):
            calm, hostile = (
                [latency * 1e3 for began, latency in samples
                 if any(start <= began < end for name, mood, start, end in self.stretches
                        if name == kind and mood == wanted)] for wanted in ("calm", "hostile"))
            if not calm or not hostile:
                continue  # it has failed
            say(f"{kind}: honest median {statistics.median(calm):.2f} ms calm, "
                f"{statistics.median(hostile):.2f} ms beside it, ratio "
                f"{statistics.median(hostile) / statistics.median(calm):.2f}; "
                f"slowest {max(calm):.0f} and {max(hostile):.0f} ms")

    @contextlib.contextmanager
    def stretch(self, kind, mood):
        """What is done in it, and as many honest calls as it takes to tell a median."""
        began = time.monotonic()
        before = self.honest.calls.value
        yield
        self.honest.await_calls(max(1, CALLS_A_STRETCH - (self.honest.calls.value - before)))
        self.stretches.append((kind, mood, began, time.monotonic()))

    def waves(self, kind, attack, bytes_max):
        """attack() twice, each after a calm. The gateway's memory at its peak is at most
        `bytes_max` above what it was before the first, and the second wave's is no higher."""
        before = memory(self.gateway)
        peaks = []
        for _ in range(2):
            with self.stretch(kind, "calm"):
                pass
            reset_peak(self.gateway)
            with self.stretch(kind, "hostile"):
                attack()
            peaks.append(memory(self.gateway, "VmHWM"))
            await_true(lambda: descriptors(self.gateway) <= self.descriptors,
                       "the connections are gone")
        peaks_text = " and ".join(f"{(peak - before) / MIB:+.1f}" for peak in peaks)
        say(f"{kind}: gateway {before / MIB:.1f} MiB before, {peaks_text} MiB in the waves, "
            f"{(memory(self.gateway) - before) / MIB:+.1f} MiB after; "
            f"bound {bytes_max / MIB:+.1f} MiB")
        self.assertLess(max(peaks) - before, bytes_max)
        self.assertLess(peaks[1] - peaks[0], SLACK_BYTES, "each wave leaves something behind")

    def await_accepted(self, count):
        await_true(lambda: descriptors(self.gateway) >= self.descriptors + count,
                   f"{count} connections are accepted")

    def assert_refused(self, connections, *statuses):
        """Each is answered with one of these, and closed."""
        for connection in connections:
            answer = read_to_end(connection)
            self.assertIn(answer[:13], [b"HTTP/1.1 %d " % status for status in statuses])
            self.assertIn(b"\r\nConnection: close\r\n", answer)


class CrowdsTest(HostileTest):
    def test_honest_callers_beside_crowds(self):
        # What needs least memory first, lest it use what the others have left.
        for kind in (self.vanishing, self.idle_after_a_batch, self.idle, self.over_the_limit):
            with self.subTest(kind.__name__):
                kind()

    def idle(self):
        def attack():
            with Crowd(self.http) as crowd:
                crowd.open(IDLE_CONNECTIONS)
                self.await_accepted(IDLE_CONNECTIONS)
                self.honest.await_calls(CALLS_A_STRETCH)

        self.waves(f"{IDLE_CONNECTIONS} idle connections", attack,
                   IDLE_CONNECTIONS * CONNECTION_BYTES + SLACK_BYTES)

    def idle_after_a_batch(self):
        def attack():
            with Crowd(self.http) as crowd:
                for connection in crowd.open(500):
                    connection.sendall(BAD_BATCH)
                    self.assertEqual(read_answers(connection, 1)[0][0], 200)

        self.waves("500 idle after a batch", attack, 500 * CONNECTION_BYTES + SLACK_BYTES)

    def vanishing(self):
        half = request_bytes("POST", "/sign", "{}")[:-20]

        def attack():
            for sending in (b"", half, BAD_BATCH, self.get_key):
                for _ in range(10):
                    with Crowd(self.http) as crowd:
                        crowd.open(50, sending)

        self.waves("2000 that vanish", attack, SLACK_BYTES)

    def over_the_limit(self):
        with Crowd(self.http) as crowd:
            last = crowd.open(CONNECTIONS_MAX - HONEST_CALLERS)[-1]
            self.await_accepted(CONNECTIONS_MAX - HONEST_CALLERS)
            # The crowd's own make room, the oldest first: for others and for more of the crowd.
            with Crowd(self.http) as extra:
                for connection in extra.open(NEWCOMERS, self.get_key):
                    self.assertEqual(read_answers(connection, 1)[0][0], 200)
            newcomer = Caller(self.http)
            for _ in range(10):
                self.assertEqual(newcomer.call("GET", "/healthz")[0], 404)  # it is served
            newcomer.close()
            last.sendall(self.get_key)
            self.assertEqual(read_answers(last, 1)[0][0], 200)
            self.honest.await_calls(CALLS_A_STRETCH)
        given_up = sum(self.system.metrics("bulla_gateway_http_places_given_up_total").values())
        self.assertGreaterEqual(given_up, NEWCOMERS)
        say(f"{CONNECTIONS_MAX} connections taken by one crowd, {given_up:.0f} of them closed for "
            f"{NEWCOMERS} more and for others")


class SlowTest(HostileTest):
    def test_honest_callers_beside_slow_ones(self):
        # What needs least memory first, lest it use what the others have left.
        for kind in (self.pipelined, self.large_headers, self.answers_not_taken,
                     self.slow_requests, self.large_bodies):
            with self.subTest(kind.__name__):
                kind()

    def slow_requests(self):
        """One byte a second, half a request and then silence, a large header without an end."""
        head = b"POST /sign HTTP/1.1\r\nHost: localhost\r\n"
        begun = [head, head + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n",
                 head + b"Transfer-Encoding: chunked\r\n\r\n"]
        large = head + b"A: " + b"a" * (HEADER_BYTES_MAX - 100 - len(head))

        def attack():
            with Crowd(self.http) as silent, Crowd(self.http) as dripping:
                silent.open(1000, large)
                for text in begun:
                    silent.open(100, text)
                    dripping.open(100, text)
                for byte in b"10\r\n" * PATIENCE_S:
                    if len(dripping.polled(select.POLLIN)) == len(dripping.connections):
                        break
                    for connection in dripping.connections:
                        with contextlib.suppress(OSError):  # it is closed meanwhile
                            connection.send(bytes([byte]))
                    time.sleep(1)  # the pace of these clients
                self.assert_refused(silent.connections, 408)
                # 400: a byte was wrong where it arrived.
                self.assert_refused(dripping.connections, 408, 400)

        # A buffer that doubles, and the one that it was before.
        self.waves("1600 slow requests", attack,
                   1000 * 3 * HEADER_BYTES_MAX + 600 * CONNECTION_BYTES + SLACK_BYTES)

    def large_headers(self):
        head = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: a\r\n" * HEADER_BYTES_MAX

        def attack():
            with Crowd(self.http) as crowd:
                crowd.open(200, head)
                self.assert_refused(crowd.connections, 431)

        self.waves("200 headers of 96 KiB", attack, SLACK_BYTES)

    def large_bodies(self):
        """120 bodies of 3 MiB without an end are more than the pool has."""
        head = (b"POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % (4 * MIB))
        refused = {b"408": 0, b"429": 0, b"": 0}

        def attack():
            with Crowd(self.http) as crowd:
                for connection in crowd.open(120, head):
                    with contextlib.suppress(OSError):  # refused, and gone
                        connection.sendall(b" " * (3 * MIB))
                for connection in crowd.connections:
                    answer = b""
                    with contextlib.suppress(ConnectionResetError):
                        answer = read_to_end(connection)
                    refused[answer[9:12]] += 1

        # The pool, and a body that is in two places while its buffer grows, for each thread.
        self.waves("120 bodies of 3 MiB", attack, REQUEST_POOL_BYTES + 8 * MIB + SLACK_BYTES)
        say(f"of 240 such bodies {refused[b'408']} were refused for their time, "
            f"{refused[b'429']} for want of room, {refused[b'']} did not wait for the answer")
        self.assertGreater(refused[b"408"], 0)

    def answers_not_taken(self):
        def attack():
            with Crowd(self.http, receive_bytes=4096) as crowd:
                crowd.open(40, BAD_BATCH * 40)  # 5 MB of answers: more than the kernel holds
                # None reads. With requests unread, being let go looks like a reset.
                await_true(lambda: len(crowd.polled(select.POLLERR)) == len(crowd.connections),
                           "who does not read is let go")

        self.waves("40 that do not read", attack,
                   40 * (BAD_BATCH_ANSWER_BYTES + CONNECTION_BYTES) + SLACK_BYTES)

    def pipelined(self):
        sign = '{"keyId":"%s","digest":"%s"}' % (self.key["keyId"], "11" * 32)
        kinds = [(200, "POST", "/sign", sign), (400, "POST", "/sign", "{"),
                 (200, "GET", f"/keys/{self.key['keyId']}", ""), (404, "GET", "/nothing", "")]
        wanted = [(kinds[i % 4][0], f"r{i}") for i in range(2000)]
        all_requests = b"".join(request_bytes(*kinds[i % 4][1:], f"X-Request-Id: r{i}")
                                for i in range(len(wanted)))

        def attack():
            with Crowd(self.http) as crowd:
                connections = crowd.open(4)
                in_threads(len(connections), lambda i: connections[i].sendall(all_requests))
                for connection in connections:
                    answers = read_answers(connection, len(wanted))
                    self.assertEqual([answer[:2] for answer in answers], wanted)

        self.waves("4 times 2000 requests in one write", attack, SLACK_BYTES)


# ---- Smuggling ---------------------------------------------------------------------------------

HEAD = b"POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SMUGGLED = request_bytes("GET", "/nothing", "", "X-Request-Id: smuggled")
EMPTY_CHUNKED = b"0\r\n\r\n"
# Heads (without their empty line) and bodies that two readers may end at different places. What
# comes behind is never to be served. The parser's own tests have more of each sort.
AMBIGUOUS = {
    "CL.TE": (b"Content-Length: 5\r\nTransfer-Encoding: chunked", EMPTY_CHUNKED),
    "TE.CL": (b"Transfer-Encoding: chunked\r\nContent-Length: 5", EMPTY_CHUNKED),
    "two lengths": (b"Content-Length: 2\r\nContent-Length: 0", b"{}"),
    "list of lengths": (b"Content-Length: 2, 2", b"{}"),
    "length with plus": (b"Content-Length: +2", b"{}"),
    "length in hex": (b"Content-Length: 0x2", b"{}"),
    "length with minus": (b"Content-Length: -2", b""),
    "length, space, colon": (b"Content-Length : 2", b"{}"),
    "length in a fold": (b"Content-Length:\r\n 2", b"{}"),
    "length behind a fold": (b"X: y\r\n Content-Length: 2", b"{}"),
    "TE, space, colon": (b"Transfer-Encoding : chunked", EMPTY_CHUNKED),
    "TE with tab": (b"Transfer-Encoding:\x0bchunked", EMPTY_CHUNKED),
    "TE in a fold": (b"Transfer-Encoding:\r\n chunked", EMPTY_CHUNKED),
    "TE twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", EMPTY_CHUNKED),
    "TE unknown": (b"Transfer-Encoding: xchunked", EMPTY_CHUNKED),
    "TE identity": (b"Transfer-Encoding: identity\r\nContent-Length: 5", EMPTY_CHUNKED),
    "TE behind a bare CR": (b"X: y\rTransfer-Encoding: chunked", EMPTY_CHUNKED),
    "TE behind a bare LF": (b"X: y\nTransfer-Encoding: chunked", EMPTY_CHUNKED),
    "NUL": (b"X: y\0\r\nContent-Length: 2", b"{}"),
    "chunk size that overflows": (b"Transfer-Encoding: chunked",
                                  b"10000000000000002\r\n{}\r\n" + EMPTY_CHUNKED),
    "chunk size with 0x": (b"Transfer-Encoding: chunked", b"0x2\r\n{}\r\n" + EMPTY_CHUNKED),
    "chunk behind a bare LF": (b"Transfer-Encoding: chunked", b"2\n{}\r\n" + EMPTY_CHUNKED),
    "chunk longer than it says": (b"Transfer-Encoding: chunked",
                                  b"1\r\n{}\r\n" + EMPTY_CHUNKED),
    "chunk extension with LF": (b"Transfer-Encoding: chunked", b"2;x\nxx\r\n{}\r\n"
                                + EMPTY_CHUNKED),
    "huge chunk extension": (b"Transfer-Encoding: chunked",
                             b"2;" + b"x" * 20_000 + b"\r\n{}\r\n" + EMPTY_CHUNKED),
    "huge trailers": (b"Transfer-Encoding: chunked", b"0\r\n" + b"A: b\r\n" * 5000 + b"\r\n"),
}
# What has one meaning only: the request behind it is the second one.
CLEAR = {
    "absolute form, another host": b"GET http://elsewhere/keys/x HTTP/1.1\r\n"
                                   b"Host: localhost\r\n\r\n",
    "upgrade to h2c": b"GET /keys/x HTTP/1.1\r\nHost: localhost\r\n"
                      b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                      b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    "lengths in a trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
                            b"Content-Length: 900\r\nTransfer-Encoding: gzip\r\n\r\n",
    "a request as the body": request_bytes("POST", "/sign", SMUGGLED.decode()),
    "a request as the body of a GET": request_bytes("GET", "/keys/x", SMUGGLED.decode()),
    "expectation of a 100": HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "expectation of something": HEAD + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
}


def ambiguous_requests():
    """{name: the request}."""
    requests = {name: HEAD + fields + b"\r\n\r\n" + body
                for name, (fields, body) in AMBIGUOUS.items()}
    requests["TE in HTTP/1.0"] = requests["TE unknown"].replace(b"xchunked", b"chunked").replace(
        b"HTTP/1.1", b"HTTP/1.0")
    requests["bare LF all over"] = (HEAD + b"Content-Length: 2\r\n\r\n").replace(
        b"\r\n", b"\n") + b"{}"
    return requests


class SmugglingTest(HostileTest):
    def test_what_is_behind_an_ambiguous_request_is_not_served(self):
        with Crowd(self.http) as crowd:
            for name, request in ambiguous_requests().items():
                with self.subTest(name):
                    connection, = crowd.open(1, request + SMUGGLED)
                    answer = read_to_end(connection)
                    self.assertRegex(answer, rb"^HTTP/1.1 4\d\d ")
                    self.assertEqual(answer.count(b"HTTP/1.1 "), 1, answer)
                    self.assertNotIn(b"X-Request-Id: smuggled", answer)
                    self.assertIn(b"\r\nConnection: close\r\n", answer)

    def test_what_is_behind_a_clear_request_is_the_second(self):
        with Crowd(self.http) as crowd:
            for name, request in CLEAR.items():
                with self.subTest(name):
                    second = request_bytes("GET", "/nothing", "", "Connection: close",
                                           "X-Request-Id: second")
                    connection, = crowd.open(1, request + second)
                    answer = read_to_end(connection)
                    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
                    self.assertEqual(answer.count(b"HTTP/1.1 "), 2, answer)
                    self.assertEqual(answer.count(b"X-Request-Id: second\r\n"), 1, answer)
                    self.assertNotIn(b"X-Request-Id: smuggled", answer)

    def test_answers_never_shift_behind_a_proxy(self):
        for option in ("", "option accept-invalid-http-request"):
            with self.subTest(option), self.proxy(option) as address:
                self.check_behind(address)

    @contextlib.contextmanager
    def proxy(self, option):
        """HAProxy, which shares its connections to the gateway among its callers. Its address."""
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        self.assertIsNotNone(program, "scripts/setup --tests installs haproxy")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = self.system.data / "haproxy.cfg"
            config.write_text(
                "defaults\n mode http\n timeout connect 10s\n timeout client 10s\n"
                f" timeout server 10s\n {option}\n"
                f"listen front\n bind fd@{listener.fileno()}\n http-reuse always\n"
                f" server gateway {self.http}\n", encoding="ascii")
            process = subprocess.Popen([program, "-db", "-f", config],
                                       pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL)
            try:
                yield "127.0.0.1:%d" % listener.getsockname()[1]
            finally:
                process.terminate()
                process.wait()

    def check_behind(self, proxy):
        """Callers of the proxy, each with its own question, while others try to shift answers."""
        done = threading.Event()
        answers, statuses = [], {}

        def ask(i):
            caller = Caller(proxy)
            while not done.is_set():
                digest, request_id = os.urandom(32), f"{i}-{len(answers)}"
                caller.connection.request(
                    "POST", "/sign",
                    '{"keyId":"%s","digest":"%s"}' % (self.key["keyId"], digest.hex()),
                    {"Content-Type": "application/json", "X-Request-Id": request_id})
                response = caller.connection.getresponse()
                body = response.read()
                self.assertEqual(response.status, 200, body)
                self.assertEqual(response.headers["X-Request-Id"], request_id)
                judge(self.key, digest, json.loads(body))
                answers.append(request_id)
            caller.close()

        def attack():
            try:
                for name, request in {**ambiguous_requests(), **CLEAR}.items():
                    for _ in range(10):
                        with Crowd(proxy) as crowd:
                            connection, = crowd.open(1, request + SMUGGLED * 2)
                            first = connection.recv(256 * KIB)[9:12]
                            statuses.setdefault(first.decode(), set()).add(name)
            finally:
                done.set()

        in_threads(4, lambda i: attack() if i == 3 else ask(i))
        say(f"{len(answers)} answers through the proxy went to whom they belong; ambiguous and odd "
            f"requests got {({status: len(names) for status, names in statuses.items()})}")
        self.assertTrue(answers)


# ---- gRPC --------------------------------------------------------------------------------------

# HTTP/2, RFC 9113: frame types.
HEADERS, RST_STREAM, SETTINGS, PING = 1, 3, 4, 6
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name, value):
    """A header field of HPACK, RFC 7541, 6.2.2: without index, without Huffman."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0)
CALL_FIELDS = b"".join(literal(name, value) for name, value in [
    (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/bulla.v1.Signer/SignStream"),
    (b":authority", b"test"), (b"content-type", b"application/grpc"), (b"te", b"trailers")])


def await_pings(connections):
    """What was sent before is behind the gateway's reader."""
    answer = frame(PING, 1, 0, b"bullapng")
    for connection in connections:
        connection.sendall(frame(PING, 0, 0, b"bullapng"))
    for connection in connections:
        received = b""
        while answer not in received:
            chunk = connection.recv(256 * KIB)
            if not chunk:
                raise AssertionError("the gateway has closed the connection")
            received = received[-len(answer):] + chunk


class GrpcTest(HostileTest):
    # What an idle connection may cost: twice what kGrpcConnectionsMax reckons with.
    CONNECTION_BYTES = 80 * KIB
    # http2/limits.h: kPeerResetsBurst.
    RESETS_MAX = 100

    def test_honest_callers_beside_idle_connections(self):
        def attack():
            with Crowd(self.system.addresses["grpc"]) as crowd:
                await_pings(crowd.open(1000, PREFACE))

        self.waves("1000 idle gRPC connections", attack,
                   1000 * self.CONNECTION_BYTES + SLACK_BYTES)

    def test_rapid_reset(self):
        """Streams that are opened and cancelled at once, as in CVE-2023-44487: whoever does that
        loses the connection after a hundred, and honest callers see nothing of it."""
        streams, connections = 1000, 4
        cancel = struct.pack(">I", 8)
        flood = b"".join(frame(HEADERS, END_HEADERS, 2 * i + 1, CALL_FIELDS)
                         + frame(RST_STREAM, 0, 2 * i + 1, cancel) for i in range(streams))

        def attack():
            for _ in range(5):
                before = self.streams_ended()
                with Crowd(self.system.addresses["grpc"]) as crowd:
                    for connection in crowd.open(connections, PREFACE):
                        with contextlib.suppress(ConnectionError):  # closed with bytes unread
                            connection.sendall(flood)
                            read_to_end(connection)
                taken = self.streams_ended() - before
                self.assertGreaterEqual(taken, connections * self.RESETS_MAX)
                self.assertLess(taken, connections * 2 * self.RESETS_MAX)

        self.waves(f"5 times {connections * streams} streams opened and reset", attack, SLACK_BYTES)

    def streams_ended(self):
        return sum(count for labels, count in
                   self.system.metrics("http_grpc_requests_total").items()
                   if 'method="sign_stream",protocol="grpc"' in labels)


if __name__ == "__main__":
    unittest.main()
