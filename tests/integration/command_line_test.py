"""What every program owes its user on the command line: a wrong one ends with status 2; an output
that is lost is no success, and a key whose id is lost with it is named; folders may have any name;
what nohup has ignored stays ignored.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from system_under_test import PATIENCE_S, RELEASE, Caller, SystemTest, await_true

PROGRAMS = pathlib.Path(os.environ.get("BULLA_BIN", RELEASE))
USAGE = 2
OUTPUT_LOST = 6
KEY_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"


def run(program, *arguments, stdout=subprocess.PIPE, **options):
    """The process, ended."""
    return subprocess.run([PROGRAMS / program, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          stdout=stdout, stderr=subprocess.PIPE, text=True, check=False,
                          timeout=PATIENCE_S, **options)


def run_onto_a_full_disk(program, *arguments):
    with open("/dev/full", "w", encoding="ascii") as full:
        return run(program, *arguments, stdout=full)


def subcommands(program, *path):
    """Of `program`, as its help lists them."""
    text = run(program, *path, "--help").stdout
    if "\nSubcommands:\n" not in text:
        return []
    lines = text.split("\nSubcommands:\n")[1].split("\n\n")[0].splitlines()
    return [line.split()[0] for line in lines if re.match(r"  \w", line)]


class WrongCommandLine(unittest.TestCase):
    def test_ends_with_one_status_in_all_programs(self):
        for program, *arguments in (
                ("bulla",), ("bulla", "--no-such"), ("bulla", "fly"), ("bulla", "sign", "x"),
                ("bulla", "dev", "--enclaves", "0"), ("bulla", "dev", "--http", ":8080"),
                ("bulla", "dev", "--data", ""), ("bulla", "create", "--url", "https://x"),
                ("bulla-gateway",), ("bulla-gateway", "--no-such"), ("bulla-gateway", "x"),
                ("bulla-enclave",), ("bulla-enclave", "--no-such"),
                ("bulla-kms",), ("bulla-kms", "--data", "/tmp", "--listen", "8080"),
                ("bulla-bench",), ("bulla-bench", "run", "--rate", "x"),
                ("bulla-bench", "run", "--url", "https://x")):
            with self.subTest(program=program, arguments=arguments):
                ended = run(program, *arguments)
                self.assertEqual(ended.returncode, USAGE, ended.stderr)
                self.assertEqual(ended.stdout, "")
                self.assertRegex(ended.stderr, "(--help|such as)",
                                 "what to do next")
                self.assertTrue(ended.stderr)

    def test_of_the_scripts_too(self):
        root = pathlib.Path(__file__).parents[2]
        for script in ("build", "test", "setup", "engine", "lint", "coverage"):
            with self.subTest(script=script):
                ended = subprocess.run([root / "scripts" / script, "--no-such"],
                                       stdin=subprocess.DEVNULL, capture_output=True, check=False,
                                       timeout=PATIENCE_S)
                self.assertEqual(ended.returncode, USAGE, ended.stderr)


class Version(SystemTest):
    """A process can be traced to the source that it was built from."""

    def test_every_program_says_what_it_was_built_from(self):
        said = set()
        for program in ("bulla", "bulla-gateway", "bulla-enclave", "bulla-kms", "bulla-bench"):
            ended = run(program, "--version")
            self.assertEqual(ended.returncode, 0, ended.stderr)
            head, commit, compiler, engine = ended.stdout.splitlines()
            self.assertRegex(head, rf"^{program} \d+\.\d+\.\d+$")
            self.assertRegex(commit, r"^commit: ([0-9a-f]{12}(-dirty)?|unknown)$")
            self.assertRegex(compiler, r"^compiler: \w+ \d+\.\d+\.\d+, \w+")
            self.assertRegex(engine, r"^signing engine: libsecp256k1 \d+\.\d+\.\d+, ")
            said.add((head.split()[1], commit, compiler, engine))
        self.assertEqual(len(said), 1, "built together, they say the same")

    def test_a_running_gateway_says_the_same(self):
        head, commit, compiler, _ = run("bulla-gateway", "--version").stdout.splitlines()
        want = {"version": head.split()[1], "commit": commit.removeprefix("commit: "),
                "compiler": compiler.removeprefix("compiler: ")}
        caller = Caller(self.system.addresses["admin"])
        self.addCleanup(caller.close)
        self.assertEqual(caller.call("GET", "/status")[1]["build"], want)
        labels = ",".join(f'{name}="{want[name]}"' for name in sorted(want))
        self.assertEqual(self.system.metrics("bulla_build_info"), {labels: 1})
        status = run("bulla", "status", "--data", self.system.data).stdout
        self.assertIn(f"\ngateway {want['version']}, commit {want['commit']}\n", status)


class LostOutput(SystemTest):
    """Every sub-command with its standard output on a disk that is full."""

    def commands(self, key, digest, signature):
        """{sub-command: arguments that make it print something}."""
        once = ["--duration", "200ms", "--keys", "1", "--connections", "1"]
        bench = [*once, "--warm-up", "10ms"]
        own = ["--target", self.system.data / "endpoints.json"]
        third = f"unix:{self.system.data}/run/enclave-3.sock"
        data = ["--data", self.system.data]
        return {
            "bulla": {
                ("dev",): ["--smoke", "--json", "--data", self.system.data / "another"],
                ("create",): data,
                ("sign",): [key, digest, *data],
                ("verify",): [key, digest, signature, *data],
                ("keys",): data,
                ("status",): data,
                ("enclaves",): data,
                ("enclaves", "list"): data,
                ("enclaves", "add"): [third, *data],
                ("enclaves", "weight"): [third, "50", *data],
                ("enclaves", "drain"): [third, *data],
                ("enclaves", "remove"): [third, *data],
            },
            "bulla-bench": {
                ("run",): [*own, *bench],
                ("cost",): [*own, "--phases", "http", "--rounds", "1", *bench],
                ("capacity",): [*own, "--from", "1", "--p99-max", "0.001", *bench],
                ("gate",): [*own, "--rate", "10", *bench],
                ("matrix",): ["--workers", "1", "--batching", "on", "--checks", "none",
                              "--closed-duration", "200ms", "--reports", self.system.data, *once],
            },
        }

    def test_of_every_command_is_no_success(self):
        made = json.loads(run("bulla", "create", "--json", "--data", self.system.data).stdout)
        digest = "11" * 32
        signed = json.loads(run("bulla", "sign", made["keyId"], digest, "--json", "--data",
                                self.system.data).stdout)
        third = self.system.start_enclave("enclave-3")
        self.addCleanup(third.wait)
        self.addCleanup(third.kill)
        commands = self.commands(made["keyId"], digest, signed["signature"])
        for program, its in commands.items():
            self.assertEqual(set(subcommands(program)), {path[0] for path in its})
            for path, arguments in its.items():
                with self.subTest(program=program, path=path):
                    ended = run_onto_a_full_disk(program, *path, *arguments)
                    self.assertNotEqual(ended.returncode, 0, ended.stderr)
                    self.assertIn("standard output cannot be written", ended.stderr)
                    ended = run_onto_a_full_disk(program, *path, "--help")
                    self.assertEqual(ended.returncode, OUTPUT_LOST, ended.stderr)
        self.assertEqual(set(subcommands("bulla", "enclaves")),
                         {path[1] for path in commands["bulla"] if len(path) > 1})
        for program in ("bulla-gateway", "bulla-enclave", "bulla-kms"):
            self.assertEqual(run_onto_a_full_disk(program, "--help").returncode, OUTPUT_LOST)

    def test_of_create_names_the_key_that_was_made(self):
        for more in ([], ["--json"]):
            ended = run_onto_a_full_disk("bulla", "create", "--data", self.system.data, *more)
            self.assertEqual(ended.returncode, OUTPUT_LOST)
            key = re.search(KEY_ID, ended.stderr).group()
            self.assertEqual(run("bulla", "keys", key, "--data", self.system.data).returncode, 0)

    def test_of_create_is_known_before_where_it_can_be(self):
        def keys():
            return run("bulla", "keys", "--data", self.system.data).stdout

        before = keys()
        with open("/dev/null", encoding="ascii") as read_only:
            ended = run("bulla", "create", "--data", self.system.data, stdout=read_only)
        self.assertEqual(ended.returncode, OUTPUT_LOST)
        closed = subprocess.run(
            ["/bin/sh", "-c", 'exec "$0" "$@" >&-', PROGRAMS / "bulla", "create", "--data",
             self.system.data], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            check=False, timeout=PATIENCE_S)
        self.assertEqual(closed.returncode, OUTPUT_LOST, closed.stderr)
        reader, writer = os.pipe()
        os.close(reader)
        ended = run("bulla", "create", "--data", self.system.data, stdout=writer)
        os.close(writer)
        self.assertEqual(ended.returncode, OUTPUT_LOST)
        self.assertEqual(keys(), before)


class Folders(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bulla-it-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def smoke(self, data, **options):
        return run("bulla", "dev", "--smoke", "--json", "--enclaves", "1", f"--data={data}",
                   **options)

    def test_of_any_name_are_taken(self):
        for name in ('a "quote"', "it's", "back\\slash", "two\nlines", "tab\t#: {a}, [b]", "ü 🔑",
                     "-o", "a weight=b", "%41?x=1"):
            with self.subTest(name=name):
                ended = self.smoke(name, cwd=self.folder)
                self.assertEqual(ended.returncode, 0, ended.stderr)
                self.assertEqual(json.loads(ended.stdout)["dataDir"], str(self.folder / name))

    def test_that_cannot_be_are_refused_in_words(self):
        self.assertEqual(self.smoke("").returncode, USAGE)
        gone = self.folder / "gone"
        gone.mkdir()
        here = os.open(gone, os.O_RDONLY)
        gone.rmdir()
        ended = self.smoke("data", preexec_fn=lambda: os.fchdir(here))
        os.close(here)
        self.assertEqual(ended.returncode, 1, ended.stderr)
        self.assertIn("(ENOENT)", ended.stderr)
        ended = self.smoke(os.fsdecode(b"\xff"), cwd=self.folder)
        self.assertEqual(ended.returncode, USAGE, ended.stderr)

    def test_a_program_that_is_missing_is_named(self):
        programs = self.folder / "bin"
        programs.mkdir()
        shutil.copy(PROGRAMS / "bulla", programs)
        ended = subprocess.run([programs / "bulla", "dev", "--smoke", "--data", self.folder / "d"],
                               stdin=subprocess.DEVNULL, capture_output=True, text=True,
                               check=False, timeout=PATIENCE_S)
        self.assertEqual(ended.returncode, 1)
        self.assertIn(f"{programs}/bulla-enclave: No such file or directory (ENOENT)", ended.stderr)

    def test_a_port_in_use_is_said_with_its_errno(self):
        for listener in ("http", "grpc", "admin"):
            with self.subTest(listener=listener), socket.create_server(("127.0.0.1", 0)) as taken:
                address = "127.0.0.1:%d" % taken.getsockname()[1]
                ended = run("bulla", "dev", "--smoke", "--enclaves", "1", "--data",
                            self.folder / listener, f"--{listener}", address)
                self.assertEqual(ended.returncode, 1)
                self.assertIn(f"{listener} listener {address}: Address already in use (EADDRINUSE);"
                              " next: ", ended.stderr)


class Signals(SystemTest):
    def test_what_was_ignored_at_the_start_stays_ignored(self):
        for ignored in (signal.SIGHUP, signal.SIGINT):
            with tempfile.TemporaryDirectory(prefix="bulla-it-") as data:
                dev = subprocess.Popen(
                    [PROGRAMS / "bulla", "dev", "--json", "--enclaves", "1", "--data", data,
                     *[word for name in ("http", "grpc", "admin")
                       for word in (f"--{name}", "127.0.0.1:0")]],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                    preexec_fn=lambda number=ignored: signal.signal(number, signal.SIG_IGN))
                self.addCleanup(dev.stdout.close)
                self.addCleanup(dev.kill)
                self.assertTrue(dev.stdout.readline())
                dev.send_signal(ignored)
                self.assertEqual(run("bulla", "create", "--data", data).returncode, 0)
                self.assertIsNone(dev.poll())
                dev.terminate()
                self.assertEqual(dev.wait(PATIENCE_S), 0)

    def test_without_that_a_hangup_stops_everything(self):
        self.system.dev.send_signal(signal.SIGHUP)
        self.assertEqual(self.system.dev.wait(PATIENCE_S), 0)
        await_true(lambda: not (self.system.data / "endpoints.json").exists(), "it is gone")


if __name__ == "__main__":
    unittest.main()
