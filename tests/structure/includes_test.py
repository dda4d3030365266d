"""The rooms' rule of the house, read from the #include lines: who may include whom, and which
outside headers stay inside .cc files or inside a few named files. The CMake link lists say the
same; this catches what they let through (a header that happens to be found, a generated type that
travels).

usage: includes_test.py SOURCE_DIR
"""

import pathlib
import re
import sys
import unittest

SOURCE = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else ".")

# Whose headers a room's files may include, besides its own.
ROOMS = {
    "base": set(),
    "http2": {"base"},
    "crypto": {"base"},
    "attest": {"base"},
    "wire": {"base"},
    "store": {"base"},
    "store/sqlite": {"base", "store"},
    "kms": {"base", "crypto", "attest"},
    "enclave": {"base", "http2", "crypto", "kms", "attest", "wire"},
    "localkms": {"base", "crypto", "kms", "attest"},
    # The gateway's: besides base and wire, which each of them may.
    "gateway/call": {"store"},
    "gateway/frontend": {"gateway/call"},
    "gateway/access": {"gateway/call"},
    "gateway/http": {"gateway/call", "gateway/frontend", "gateway/access"},
    "gateway/grpc": {"gateway/call", "gateway/frontend", "gateway/access", "http2", "bulla",
                     "google", "grpc"},
    "gateway/link": {"gateway/call", "http2", "store"},
    "gateway/unlock": {"gateway/link", "store"},
    "gateway/routing": {"gateway/link", "gateway/unlock", "gateway/call", "store"},
    "gateway/keys": {"gateway/routing", "gateway/link", "gateway/unlock", "gateway/call", "store"},
    "gateway/config": {"gateway/link", "gateway/unlock", "gateway/routing", "gateway/frontend",
                       "gateway/access", "gateway/http", "gateway/grpc"},
    "gateway/admin": {"gateway/call", "gateway/frontend", "gateway/http", "gateway/routing",
                      "gateway/link", "gateway/unlock", "gateway/config", "store"},
    "gateway": {"store/sqlite"},  # main.cc: and all rooms
    "cli": {"base", "attest", "bulla", "google"},
    "bench": {"base", "bulla", "google"},
}
for gateway_room in [name for name in ROOMS if name.startswith("gateway/")]:
    ROOMS[gateway_room] |= {"base", "wire"}
    ROOMS["gateway"] |= {gateway_room, *ROOMS[gateway_room]}
# Beyond that, what the tests of a room need to see it at work.
TESTS = {
    "gateway/http": {"gateway/admin"},     # both of our HTTP listeners obey the RFCs
    "gateway/routing": {"gateway/admin", "gateway/keys"},  # what is shown of it, keys to sign with
}
# Single headers beyond that.
PUBLIC_HALF_OF_CRYPTO = {"crypto/verifier.h", "crypto/address.h"}
FILES = {"cli": PUBLIC_HALF_OF_CRYPTO, "bench": PUBLIC_HALF_OF_CRYPTO}

# Outside headers that no header of ours may include.
CC_ONLY = re.compile(
    r"^(secp256k1\w*\.h|openssl/.*|nghttp2/.*|sqlite3\.h|curl/.*|cbor(/.*)?\.h|CLI/.*)$")
# Rooms that may include them at all.
OUTSIDE_ROOMS = {
    r"^secp256k1\w*\.h$": {"crypto"},
    r"^sqlite3\.h$": {"store/sqlite"},
    r"^openssl/.*": {"crypto", "attest", "kms", "localkms"},
}
# The one file that knows nghttp2: its bounds stand in one place.
NGHTTP2 = re.compile(r"^nghttp2/.*")
NGHTTP2_FILE = "http2/session.cc"
# gRPC and generated protobuf headers: the ends of the streams and the codec between.
GRPC = re.compile(r"^(grpc/|grpcpp/|google/protobuf/).*|.*\.pb\.h$")
GRPC_FILES = re.compile(
    r"^(wire/\w+|gateway/(grpc/\w+|link/(enclave_link|http2_transport)|main)"
    r"|enclave/(server|service|session|main)|bench/(load|transport)/\w+)\.(h|cc)$")

# Not of the house: what Bulla is measured beside, written as others would write it.
PEERS = "bench/peers"

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def files():
    for top in sorted({room.split("/")[0] for room in ROOMS}):
        for suffix in ("*.h", "*.cc"):
            for path in sorted((SOURCE / top).glob("**/" + suffix)):
                if not path.is_relative_to(SOURCE / PEERS):
                    yield path


def room_of(name):
    """The room that a path is in: the innermost of the folders above it that is one."""
    if name.startswith("tests/fakes/"):
        return "tests/fakes"
    folder = name
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        if folder in ROOMS:
            return folder
    return folder


def includes(path):
    """(is it one of ours, what it includes) for each line of the file."""
    for mark, name in INCLUDE.findall(path.read_text(encoding="utf-8")):
        yield mark == '"', name


def fault(name, included, ours):
    """What is wrong with `name` (a path in the tree) including `included`, or None."""
    room = room_of(name)
    is_test = re.search(r"_(test|fuzz|bench)\.cc$", name) is not None
    if ours and "/" in included and not GRPC.match(included):
        other = room_of(included)
        allowed = (other == room or other in ROOMS[room] or included in FILES.get(room, ())
                   or (is_test and (other in TESTS.get(room, ()) or other == "tests/fakes")))
        if not allowed:
            return f"room {room} may not include room {other}"
    if ours and "/" not in included:
        return "write the room: #include \"room/file.h\""
    if name.endswith(".h") and CC_ONLY.match(included):
        return "only a .cc file may include this library"
    if NGHTTP2.match(included) and name != NGHTTP2_FILE:
        return f"only {NGHTTP2_FILE} may include this library"
    if not is_test:
        for pattern, rooms in OUTSIDE_ROOMS.items():
            if re.match(pattern, included) and room not in rooms:
                return f"only {', '.join(sorted(rooms))} may include this library"
        if GRPC.match(included) and not GRPC_FILES.match(name):
            return "gRPC and generated types stay in wire/, the servers and the streams' ends"
    return None


class Includes(unittest.TestCase):
    def test_every_room_includes_only_what_it_may(self):
        faults = []
        count = 0
        for path in files():
            name = path.relative_to(SOURCE).as_posix()
            for ours, included in includes(path):
                count += 1
                reason = fault(name, included, ours)
                if reason:
                    faults.append(f"{name} includes {included}: {reason}")
        self.assertGreater(count, 100, "the tree was not found; is the source directory right?")
        self.assertEqual(faults, [], "\n" + "\n".join(faults))

    def test_every_folder_with_code_is_a_room(self):
        """One with a list of links is a room; one without is part of the room above it."""
        folders = {p.parent.relative_to(SOURCE).as_posix() for p in files()}
        folders |= {p.parent.relative_to(SOURCE).parts[0] for p in SOURCE.glob("*/*.cc")}
        lists = {folder for folder in folders if (SOURCE / folder / "CMakeLists.txt").exists()}
        tops = {folder for folder in folders if "/" not in folder}
        self.assertEqual((lists | tops) - set(ROOMS) - {"tests"}, set(),
                         "add the room to ROOMS here and to the house's description")

    def test_no_two_rooms_include_each_other(self):
        reached = {}

        def reach(room, way):
            self.assertNotIn(room, way, "a circle: " + " -> ".join([*way, room]))
            if room not in reached:
                reached[room] = True
                for other in ROOMS.get(room, ()):
                    reach(other, [*way, room])

        for room in ROOMS:
            reach(room, [])

    def test_headers_guard_themselves(self):
        missing = [p.as_posix() for p in files()
                   if p.suffix == ".h" and "#pragma once" not in p.read_text(encoding="utf-8")]
        self.assertEqual(missing, [])


class TheRuleItself(unittest.TestCase):
    """Each ban refuses an example of what it bans."""

    def test_it_refuses(self):
        for name, included, ours in [
            ("gateway/routing/router.cc", "crypto/signer.h", True),
            ("gateway/routing/router.cc", "kms/nsm.h", True),
            ("gateway/routing/router.cc", "enclave/engine.h", True),
            ("gateway/routing/router.cc", "gateway/http/json.h", True),
            ("gateway/link/stream_pool.h", "gateway/routing/fleet.h", True),
            ("gateway/http/exchange.cc", "gateway/routing/router.h", True),
            ("gateway/http/exchange.cc", "gateway/grpc/server.h", True),
            ("gateway/call/call_list.h", "gateway/frontend/der.h", True),
            ("gateway/access/admission_test.cc", "gateway/http/json.h", True),
            ("enclave/engine.cc", "gateway/routing/router.h", True),
            ("enclave/engine.cc", "store/key_store.h", True),
            ("store/key_store.h", "store/sqlite/store.h", True),
            ("store/sqlite/store.cc", "crypto/secret.h", True),
            ("cli/commands.cc", "crypto/signer.h", True),
            ("base/bytes.cc", "wire/errors.h", True),
            ("crypto/signer.h", "secp256k1.h", False),
            ("kms/client.h", "openssl/ssl.h", False),
            ("http2/session.h", "nghttp2/nghttp2.h", False),
            ("http2/connection.cc", "nghttp2/nghttp2.h", False),
            ("http2/connection.cc", "wire/address.h", True),
            ("gateway/routing/router.cc", "secp256k1.h", False),
            ("gateway/routing/router.cc", "openssl/evp.h", False),
            ("gateway/call/ip_address.cc", "sqlite3.h", False),
            ("enclave/engine.cc", "secp256k1.h", False),
            ("gateway/routing/router.h", "grpcpp/grpcpp.h", False),
            ("gateway/routing/hash_ring.cc", "wire/enclave.pb.h", True),
            ("cli/commands.cc", "sibling.h", True),
        ]:
            self.assertIsNotNone(fault(name, included, ours), f"{name} includes {included}")

    def test_it_allows(self):
        for name, included, ours in [
            ("gateway/routing/router.cc", "store/key_store.h", True),
            ("gateway/main.cc", "store/sqlite/store.h", True),
            ("gateway/admin/server.cc", "gateway/http/json.h", True),
            ("gateway/http/server_test.cc", "tests/fakes/fake_signer_service.h", True),
            ("enclave/engine.cc", "crypto/signer.h", True),
            ("cli/commands.cc", "crypto/verifier.h", True),
            ("crypto/signer.cc", "secp256k1.h", False),
            ("http2/session.cc", "nghttp2/nghttp2.h", False),
            ("gateway/grpc/server.cc", "grpcpp/grpcpp.h", False),
            ("base/log.cc", "fmt/format.h", False),
        ]:
            self.assertIsNone(fault(name, included, ours), f"{name} includes {included}")


if __name__ == "__main__":
    unittest.main()
