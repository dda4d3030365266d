"""The services that are compared, each started alone on its CPUs."""

import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build" / "release" / "bin"
START = ROOT / "bench" / "peers" / "start"
PATIENCE_S = 60  # for a start that takes seconds

BULLA = "bulla"
# Name -> (what tables call it, arguments of bench/peers/start, or of `bulla dev` for Bulla's).
SYSTEMS = {
    "bulla": ("Bulla", []),
    "bulla-unchecked": ("Bulla, unchecked", ["--signature-check", "none"]),
    "two-hop-grpc": ("two hops, one gRPC channel", ["two-hop", "--link", "grpc"]),
    "two-hop-shared": ("two hops, one locked connection", ["two-hop", "--link", "shared"]),
    "two-hop-per-request": ("two hops, connection per request",
                            ["two-hop", "--link", "per-request"]),
    "fastify": ("Fastify, one process, unchecked", ["fastify"]),
    "fastify-cluster": ("Fastify, cluster, unchecked", ["fastify", "--cluster"]),
}

# No service: the libraries in a loop.
RAW = "raw"


def is_bulla(name):
    return name.startswith(BULLA)


class Failed(Exception):
    """A service cannot be started."""


def build(name):
    """Nothing when it is there to be started, else why it is not."""
    if is_bulla(name):
        command = [ROOT / "scripts" / "build"]
    else:
        command = [START, "--build-only", RAW if name == RAW else SYSTEMS[name][1][0]]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         check=False)
    if run.returncode == 0:
        return None
    return " ".join((run.stderr or run.stdout).strip().splitlines()[-2:])


def descendants(pid):
    """The process and all below it."""
    found, unread = [], [pid]
    while unread:
        pid = unread.pop()
        found.append(pid)
        for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                unread += map(int, path.read_text().split())
            except OSError:
                pass  # gone meanwhile
    return found


class Running:
    """A service from its start to its end, as a context."""

    def __init__(self, name, cpus):
        self.name = name
        arguments = SYSTEMS[name][1]
        self._data = tempfile.mkdtemp(prefix="compare-")
        if is_bulla(name):
            command = [BIN / "bulla", "dev", "--json", "--data", self._data, "--enclaves", "1",
                       "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                       *arguments]
        else:
            command = [START, "--built", *arguments, "--port", "0"]
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            ["taskset", "--cpu-list", cpus, *command], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self.url = None

    def __enter__(self):
        try:
            self.url = "http://" + self._await_address()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()
        shutil.rmtree(self._data, ignore_errors=True)

    def _await_address(self):
        readable, _, _ = select.select([self._process.stdout], [], [], PATIENCE_S)
        line = self._process.stdout.readline() if readable else ""
        if not line.startswith("{"):
            self._errors.seek(0)
            raise Failed(f"{self.name} did not start: {line}{self._errors.read()[-2000:]}")
        return json.loads(line)["http"]

    def cpu_seconds(self):
        """CPU time of all its processes, to a hundredth of a second."""
        ticks = 0
        for pid in descendants(self._process.pid):
            try:
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
            except OSError:
                continue
            # Behind the name, which may have spaces: the 12th and 13th are user and system time.
            fields = stat.rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")
