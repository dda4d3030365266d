"""Strangers at an enclave's door, which vsock leaves open to every process of the parent, while
honest callers sign beside them: what they do on their connections fails no honest request, ejects
no enclave, and grows none beyond its bounds.

Latencies are printed, not asserted: attackers and honest callers share a few cores.
"""

import pathlib
import re
import socket
import struct
import threading
import unittest

from load import Load
from system_under_test import SystemTest, await_true, say

SECONDS = 3
CONNECTIONS = 32
RATE = 500
ATTACKERS = 4  # connections at a time, for each attack
# enclave/server.cc: of each attacker's connection 8 MiB at most, and what an allocator keeps.
MEMORY_BYTES_MAX = ATTACKERS * 8 * 2**20 + 16 * 2**20

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 2, 3, 4, 6, 8, 9)
ACK = END_STREAM = 1
END_HEADERS = 4
PADDED = 8


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def fields(*pairs):
    """Literals, not Huffman-coded, not in the table."""
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
                    for name, value in pairs)


def request(method):
    return fields((b":method", b"POST"), (b":scheme", b"http"),
                  (b":path", b"/bulla.wire.v1.Enclave/" + method), (b":authority", b"enclave"),
                  (b"te", b"trailers"), (b"content-type", b"application/grpc"))


HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0)
PROBE = request(b"Probe")
EMPTY_MESSAGE = bytes(5)
STREAMS = range(1, 2**20, 2)


# ---- What a connection sends after HELLO, without end or until it is closed

def rapid_reset():
    for stream in STREAMS:
        yield (frame(HEADERS, END_HEADERS, stream, PROBE)
               + frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))


def made_to_be_reset():
    for stream in STREAMS:
        yield (frame(HEADERS, END_HEADERS, stream, PROBE)
               + frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 2**31 - 1)))


def malformed_headers():
    for stream in STREAMS:
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, PROBE + fields((b"Upper", b"x")))


def continuations():
    yield frame(HEADERS, END_STREAM, 1, PROBE)
    while True:
        yield frame(CONTINUATION, 0, 1, fields((b"x", b"y")))


def hpack_bomb():
    long = b"\x40\x01x" + b"\x7f\x81\x1e" + b"v" * 3968  # in the table; then it is a byte
    for stream in STREAMS:
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, PROBE + long + b"\xbe" * 10_000)


def pings():
    while True:
        yield frame(PING, 0, 0, bytes(8)) * 100


def settings():
    while True:
        yield frame(SETTINGS, 0, 0, b"\0\3\0\0\0\x64" * 8) * 100


def nothing():
    yield frame(HEADERS, END_HEADERS, 1, request(b"Session"))
    while True:
        yield (frame(DATA, 0, 1) + frame(DATA, PADDED, 1, b"\0") + frame(PRIORITY, 0, 1, bytes(5))
               + frame(0x7E, 0, 1, b"?") + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1))) * 100


def unfinished_messages():
    begun = b"\0" + struct.pack(">I", 60_000) + bytes(16_000 - 5)
    for stream in STREAMS:
        yield frame(HEADERS, END_HEADERS, stream, PROBE)
        yield from (frame(DATA, 0, stream, begun if part == 0 else bytes(16_000))
                    for part in range(3))


def unread_answers():
    """Of a stream that nobody reads: what is asked for is bounded by what is taken."""
    for stream in STREAMS:
        yield (frame(HEADERS, END_HEADERS, stream, request(b"KeysInUse"))
               + frame(DATA, END_STREAM, stream, EMPTY_MESSAGE))


def garbage_frames():
    yield frame(HEADERS, END_HEADERS, 1, request(b"Session"))
    while True:
        yield frame(DATA, 0, 1, b"\0" + struct.pack(">I", 100) + bytes(100))


def no_http2():
    yield b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


ATTACKS = (rapid_reset, made_to_be_reset, malformed_headers, continuations, hpack_bomb, pings,
           settings, nothing, unfinished_messages, unread_answers, garbage_frames, no_http2)


class Attackers:
    """Connect, send, read nothing, until they are closed; then again."""

    def __init__(self, path, attack):
        self._path = path
        self._attack = attack
        self._stop = threading.Event()
        self.closed = 0  # connections that the enclave has ended
        self._threads = [threading.Thread(target=self._run) for _ in range(ATTACKERS)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        while not self._stop.is_set():
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(0.2)
                try:
                    connection.connect(str(self._path))
                    connection.sendall(HELLO)
                    for part in self._attack():
                        if self._stop.is_set():
                            return
                        self._send(connection, part)
                    self._stop.wait(0.2)
                except (BrokenPipeError, ConnectionResetError):
                    self.closed += 1
                except (ConnectionRefusedError, BlockingIOError):
                    self._stop.wait(0.01)  # the backlog is full of us

    def _send(self, connection, part):
        while part and not self._stop.is_set():
            try:
                part = part[connection.send(part):]
            except TimeoutError:
                pass  # it is not listened to; nor will be, since it does not read

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def memory(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024


class HostilePeers(SystemTest):
    def test_they_harm_nobody_else(self):
        enclaves = {name: pid for name, pid in self.system.children().items()
                    if name.startswith("enclave")}
        door = self.system.data / "run" / "enclave-1.sock"
        before = memory(enclaves["enclave-1"])
        for attack in ATTACKS:
            with self.subTest(attack=attack.__name__):
                attackers = Attackers(door, attack)
                try:
                    load = Load(self.system, SECONDS, CONNECTIONS, RATE)
                    report = load.finish()
                    grown = memory(enclaves["enclave-1"]) - before
                    ejected = sum(self.system.metrics("bulla_gateway_enclave_ejected").values())
                finally:
                    attackers.stop()
                say(f"{attack.__name__}: {attackers.closed} connections ended; p50 "
                    f"{report['p50_ms']:.2f}, p99 {report['p99_ms']:.1f} ms; "
                    f"{grown / 2**20:+.1f} MiB")
                lost = {name: report[name] for name in ("failed", "wrong", "dropped")}
                self.assertFalse(any(lost.values()), f"{lost} {report['errors']}")
                self.assertEqual(ejected, 0)
                self.assertLess(grown, MEMORY_BYTES_MAX)
        now = self.system.children()
        self.assertEqual({name: now.get(name) for name in enclaves}, enclaves, "none has ended")
        in_service = "bulla_gateway_enclave_in_service"
        await_true(lambda: sum(self.system.metrics(in_service).values()) == 2, "both serve")


if __name__ == "__main__":
    unittest.main()
