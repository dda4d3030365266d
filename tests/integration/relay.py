"""A Unix socket in front of another, that passes bytes on until it is told to harm them."""

import contextlib
import os
import random
import selectors
import socket
import threading


class Relay:
    """Listens on `path` and passes every connection on to `target`. Its thread is its own; the
    others' calls take effect with the next bytes."""

    CHUNK = 64 * 1024

    def __init__(self, path, target, seed):
        self.path = str(path)
        self._target = str(target)
        self._random = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._peers = {}  # {socket: the other end}
        self._replies = set()  # the sockets that the enclave's bytes come from
        self._to_cut = 0
        self._to_garble = 0
        self.cut = 0
        self.garbled = 0
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(128)
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def cut_mid_frame(self, connections):
        """The next so many connections that carry a reply end in the middle of it."""
        self._to_cut = connections

    def garble(self, replies):
        """In the next so many pieces of replies one byte is another."""
        self._to_garble = replies

    def close(self):
        os.write(self._wake_write, b"x")
        self._thread.join()
        for end in list(self._peers):
            end.close()
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self):
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == self._wake_read:
                    return
                elif key.fileobj in self._peers:
                    self._pass_on(key.fileobj)

    def _accept(self):
        near, _ = self._listener.accept()
        far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            far.connect(self._target)
        except OSError:
            near.close()
            far.close()
            return
        self._peers[near] = far
        self._peers[far] = near
        self._replies.add(far)
        for end in (near, far):
            self._selector.register(end, selectors.EVENT_READ)

    def _pass_on(self, source):
        target = self._peers[source]
        try:
            data = source.recv(self.CHUNK)
            # Short ones are HTTP/2's own housekeeping.
            if source in self._replies and len(data) > 100:
                if self._to_cut > 0:
                    self._to_cut -= 1
                    self.cut += 1
                    target.sendall(data[:len(data) // 2])
                    data = b""
                elif self._to_garble > 0:
                    self._to_garble -= 1
                    self.garbled += 1
                    # From the end, where the signatures are: nearer the front it is HTTP/2 itself
                    # that refuses.
                    at = len(data) - 1 - self._random.randrange(60)
                    data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
            if data:
                target.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (source, target):
                self._selector.unregister(end)
                self._peers.pop(end)
                self._replies.discard(end)
                end.close()
