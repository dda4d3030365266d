"""Bad input, as an outsider sends it: each gets a JSON error of the table, and the processes that
got it are the ones that ran before.
"""

import json
import socket
import unittest

from system_under_test import Caller, SystemTest, judge, say

BODY_BYTES_MAX = 4 * 1024 * 1024
RANDOM_BODIES = 10_000
STATUSES = {"INVALID_ARGUMENT": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403,
            "INVALID_KEY": 404, "PAYLOAD_TOO_LARGE": 413, "RETRY_LATER": 429,
            "UNLOCK_REQUIRED": 503, "UNAVAILABLE": 503, "INTERNAL": 500}


class BadRequestsTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.caller = Caller(self.system.addresses["http"])
        self.addCleanup(self.caller.close)
        self.key = self.caller.create()
        self.processes = self.system.children()

    def tearDown(self):
        digest = bytes(31) + b"\1"
        status, answer = self.caller.call("POST", "/sign",
                                          {"keyId": self.key["keyId"], "digest": digest.hex()})
        self.assertEqual(status, 200, answer)
        judge(self.key, digest, answer)
        self.assertEqual(self.system.children(), self.processes, "a process has died of it")

    def refused(self, method, path, body, code, headers=None, status=None):
        """Sends the body as it is; expects that error, and a connection that still works."""
        self.caller.connection.request(
            method, path, body, {"Content-Type": "application/json", **(headers or {})})
        response = self.caller.connection.getresponse()
        answer = json.loads(response.read())
        what = f"{method} {path} {str(body)[:80]}: {answer}"
        self.assertEqual(answer["error"]["code"], code, what)
        self.assertEqual(response.status, status or STATUSES[code], what)
        self.assertTrue(answer["error"]["message"], what)
        self.assertEqual(answer["error"]["requestId"], response.headers["X-Request-Id"], what)

    def sign_body(self, **changes):
        body = {"keyId": self.key["keyId"], "digest": "11" * 32, **changes}
        return json.dumps({name: value for name, value in body.items() if value is not ...})

    def test_digests_of_the_wrong_kind(self):
        for digest in ["", "0x", "11" * 31, "11" * 33, "1" * 63, "11" * 1_000_000, "zz" * 32,
                       "0x" + "11" * 31 + "1g", "0x0x" + "11" * 31, None, 7, True, [], {},
                       ["11" * 32], ...]:
            self.refused("POST", "/sign", self.sign_body(digest=digest), "INVALID_ARGUMENT")

    def test_key_ids_of_the_wrong_kind(self):
        for key_id in ["", "x", "0190a7c0", self.key["keyId"] + "0", None, 7, [], ...]:
            self.refused("POST", "/sign", self.sign_body(keyId=key_id), "INVALID_ARGUMENT")
        unknown = "01900000-0000-7000-8000-000000000000"
        self.refused("POST", "/sign", self.sign_body(keyId=unknown), "INVALID_KEY")
        self.refused("GET", f"/keys/{unknown}", None, "INVALID_KEY")
        self.refused("GET", "/keys/not-a-uuid", None, "INVALID_ARGUMENT")

    def test_fields_and_headers_that_are_not_in_the_contract(self):
        self.refused("POST", "/sign", self.sign_body(digset="11"), "INVALID_ARGUMENT")
        self.refused("POST", "/sign", self.sign_body(tenantId="a"), "INVALID_ARGUMENT")
        self.refused("POST", "/create", '{"curve":"p256"}', "INVALID_ARGUMENT")
        for path, body in [("/sign", self.sign_body()), ("/create", "{}")]:
            self.refused("POST", path, body, "INVALID_ARGUMENT", {"tenant-id": "a"})

    def test_json_that_is_malformed_or_nested_deeply(self):
        for body in ["{", "[]", "null", "\"x\"", "{}x", "{\"keyId\":}", "\xff".encode("latin-1"),
                     "[" * 100_000, "{\"a\":" * 100_000, self.sign_body() * 2,
                     self.sign_body()[:-1] + ',"digest":"' + "22" * 32 + '"}']:
            self.refused("POST", "/sign", body, "INVALID_ARGUMENT")

    def test_paths_methods_and_content_types(self):
        for method, path, body in [("GET", "/sign", None), ("PUT", "/create", "{}"),
                                   ("DELETE", f"/keys/{self.key['keyId']}", None),
                                   ("POST", "/", "{}"), ("POST", "/sign/", "{}"),
                                   ("GET", "/keys", None), ("GET", "/../etc/passwd", None)]:
            self.caller.connection.request(method, path, body,
                                           {"Content-Type": "application/json"})
            response = self.caller.connection.getresponse()
            answer = json.loads(response.read())
            self.assertIn(response.status, (404, 405, 400), f"{method} {path}: {answer}")
            self.assertIn(answer["error"]["code"], STATUSES)
        self.caller.connection.request("POST", "/sign", self.sign_body(),
                                       {"Content-Type": "text/plain"})
        response = self.caller.connection.getresponse()
        self.assertIn(response.status, (400, 415))
        self.assertEqual(json.loads(response.read())["error"]["code"], "INVALID_ARGUMENT")

    def raw(self, request, end_of_input=True):
        """Sends bytes and returns everything that comes back."""
        host, port = self.system.addresses["http"].rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            try:
                connection.sendall(request)
                if end_of_input:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # refused before all of it was sent; the answer is still to be read
            answer = b""
            try:
                while chunk := connection.recv(65536):
                    answer += chunk
            except ConnectionResetError:
                pass
            return answer

    def test_a_body_over_the_limit(self):
        head = (f"POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {BODY_BYTES_MAX + 1}\r\n\r\n").encode()
        answer = self.raw(head, end_of_input=False)
        self.assertIn(b" 413 ", answer.split(b"\r\n")[0])
        self.assertIn(b"PAYLOAD_TOO_LARGE", answer)

    def test_requests_that_are_no_http_or_end_early(self):
        whole = (f"POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 f"Content-Length: {len(self.sign_body())}\r\n\r\n{self.sign_body()}").encode()
        for cut in range(0, len(whole), 7):
            answer = self.raw(whole[:cut])
            self.assertNotIn(b" 200 ", answer.split(b"\r\n")[0], whole[:cut])
        for garbage in [b"\0" * 100, b"\x16\x03\x01\x02\x00\x01\x00", b"SSH-2.0-x\r\n\r\n",
                        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
                        b"POST /sign HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                        b"POST /sign HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                        b"POST /sign HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
                        b"POST /sign HTTP/1.1\r\nContent-Length: 2\r\n"
                        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]:
            answer = self.raw(garbage)
            self.assertNotIn(b" 200 ", answer.split(b"\r\n")[0], garbage[:60])

    def test_random_bodies(self):
        good = self.sign_body().encode()
        for i in range(RANDOM_BODIES):
            if i % 2 == 0:
                body = self.random.randbytes(self.random.randrange(0, 300))
            else:  # a good body with a few bytes changed
                body = bytearray(good)
                for _ in range(self.random.randrange(1, 5)):
                    body[self.random.randrange(len(body))] = self.random.randrange(256)
            path = self.random.choice(["/sign", "/sign/batch", "/create"])
            self.caller.connection.request("POST", path, bytes(body),
                                           {"Content-Type": "application/json"})
            response = self.caller.connection.getresponse()
            answer = json.loads(response.read())
            if response.status == 200:  # a changed digit of the digest is a digest; so is {} a body
                continue
            self.assertEqual(response.status, STATUSES[answer["error"]["code"]], bytes(body))
            self.assertIn(response.status, (400, 404), bytes(body))
        say(f"{RANDOM_BODIES} random bodies, none did harm")


if __name__ == "__main__":
    unittest.main()
