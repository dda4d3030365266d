"""The load of bulla-bench, beside what a test does to the system that bears it."""

import json
import os
import subprocess
import threading

from system_under_test import PATIENCE_S, await_true

CONNECTIONS = 500
RATE = int(os.environ.get("BULLA_TEST_RATE", 2000))  # a second
SECONDS = 6


class Load:
    """Keys are made and the first requests sent at once."""

    def __init__(self, system, seconds=SECONDS, connections=CONNECTIONS, rate=RATE, keys=64):
        self._report = system.data / "load.json"
        self._report.unlink(missing_ok=True)  # of an earlier load
        self._process = subprocess.Popen(
            [system.programs / "bulla-bench", "run", "--target", system.data / "endpoints.json",
             "--connections", str(connections), "--rate", str(rate), "--duration", f"{seconds}s",
             "--warm-up", "1s", "--keys", str(keys), "--json", self._report],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._progress = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._process.stderr:
            self._progress.append(line)

    def await_under_way(self, patience_s=PATIENCE_S):
        """The keys are made, and the measured part has begun."""
        await_true(lambda: any("warm-up" not in line for line in self._progress)
                   or not self.is_under_way(), "a load", patience_s)

    def is_under_way(self):
        return self._process.poll() is None

    def finish(self):
        self._process.wait()
        self._reader.join()
        self._process.stderr.close()
        if not self._report.exists():
            raise AssertionError("bulla-bench:\n" + "".join(self._progress))
        return json.loads(self._report.read_text())
