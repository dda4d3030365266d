"""What a web page can do to the gateway through a real browser on the same machine: Chromium opens
a page of another site, which tries what pages can try, and one whose name was pointed to the
gateway after it was loaded (DNS rebinding). Neither makes a key, signs, or reads an answer.

Chromium speaks to this machine alone: every name that it may ask for is mapped to 127.0.0.2, where
this test serves the pages.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socketserver
import subprocess
import tempfile
import threading
import unittest

from system_under_test import Caller, SystemTest, await_true, say

PAGES_HOST = "127.0.0.2"
FOREIGN, ALLOWED = "evil.example", "sign.example"
CHROMIUM_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                  "--no-first-run", "--disable-background-networking",
                  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
                  f"--host-resolver-rules=MAP * {PAGES_HOST}, EXCLUDE 127.0.0.1, EXCLUDE localhost"]
PATIENCE_S = 120  # a browser starts slowly beside other work

SCRIPT = """
const json = {'Content-Type': 'application/json'};
const sign = JSON.stringify({keyId: KEY_ID, digest: '11'.repeat(32)});
const outcome = async (what, call) => {
  try {
    const answer = await call();
    const text = answer.text ? await answer.text() : '';
    return [what, answer.type ?? 'sent', answer.status ?? 0, text];
  } catch (error) {
    return [what, 'failed', 0, String(error)];
  }
};
const form = (action, enctype, text) => {
  const name = 'frame' + Math.random();
  document.body.insertAdjacentHTML('beforeend', `<iframe name="${name}"></iframe>`);
  const element = document.createElement('form');
  Object.assign(element, {action, enctype, method: 'post', target: name});
  if (text) {
    const field = document.createElement('input');
    field.name = text.slice(0, -2);  // NAME=VALUE is JSON when it is sent as text
    field.value = '}';
    element.append(field);
  }
  document.body.append(element);
  const loaded = new Promise(done => document.getElementsByName(name)[0].onload = done);
  element.submit();
  return loaded.then(() => ({type: 'form'}));
};
const foreign = base => [
  ['fetch without a body', () => fetch(base + '/create', {method: 'POST', mode: 'no-cors'})],
  ['the same, hiding where from', () => fetch(base + '/create',
    {method: 'POST', mode: 'no-cors', referrerPolicy: 'no-referrer'})],
  ['text that is JSON', () => fetch(base + '/sign', {method: 'POST', mode: 'no-cors', body: sign})],
  ['JSON, with a preflight', () => fetch(base + '/create',
    {method: 'POST', headers: json, body: '{}'})],
  ['beacon', async () => (navigator.sendBeacon(base + '/create'), {type: 'beacon'})],
  ['empty form', () => form(base + '/create', 'application/x-www-form-urlencoded')],
  ['form that is JSON', () => form(base + '/sign', 'text/plain', sign.slice(0, -1) + ',"a":"=')],
  ['reading a key', () => fetch(base + '/keys/' + KEY_ID)],
];
const own = () => [
  ['create', () => fetch('/create', {method: 'POST'})],
  ['create with JSON', () => fetch('/create', {method: 'POST', headers: json, body: '{}'})],
  ['sign', () => fetch('/sign', {method: 'POST', headers: json, body: sign})],
  ['key', () => fetch('/keys/' + KEY_ID)],
];
(async () => {
  const outcomes = [];
  for (const [what, call] of CALLS) outcomes.push(await outcome(what, call));
  await fetch('/report', {method: 'POST', body: JSON.stringify(outcomes)});
})();
"""


class Pages(socketserver.ThreadingTCPServer):
    """Serves one page on 127.0.0.2 and takes its report. With `relay_to`, all else goes byte for
    byte to that address, as if the page's name had been pointed there meanwhile."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port, script, relay_to=None):
        super().__init__((PAGES_HOST, port), PageConnection)
        self.page = f"<!doctype html><body><script>{script}</script>".encode()
        self.relay_to = relay_to
        self.report = None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class PageConnection(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(ConnectionResetError):  # the browser is done
            self.serve()

    def serve(self):
        while head := self.read_head():
            length = next((int(line[15:]) for line in head.split(b"\r\n")
                           if line.lower().startswith(b"content-length:")), 0)
            body = self.rfile.read(length)
            path = head.split()[1]
            if path == b"/page":
                self.answer(b"200 OK", self.server.page)
            elif path == b"/report":
                self.server.report = json.loads(body)
                self.answer(b"200 OK", b"")
            elif self.server.relay_to and path != b"/favicon.ico":
                self.relay(head + body)
            else:
                self.answer(b"404 Not Found", b"")

    def read_head(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return b""
            head += line
        return head

    def answer(self, status, body):
        self.wfile.write(b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s"
                         % (status, len(body), body))

    def relay(self, request):
        host, port = self.server.relay_to.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
        connection.connect()
        connection.sock.sendall(request)
        response = http.client.HTTPResponse(connection.sock)
        response.begin()
        self.answer(b"%d Relayed" % response.status, response.read())
        connection.close()


class WebPagesTest(SystemTest):
    SETTINGS = {"BULLA_ALLOWED_HOSTS": ALLOWED}

    def setUp(self):
        super().setUp()
        self.http = self.system.addresses["http"]
        self.port = int(self.http.rsplit(":", 1)[1])
        caller = Caller(self.http)
        self.key = caller.create()
        caller.close()
        self.made = self.keys()

    def keys(self):
        caller = Caller(self.system.addresses["admin"])
        status, answer = caller.call("GET", "/keys")
        caller.close()
        self.assertEqual(status, 200)
        return len(answer["keys"])

    def answered(self, code):
        """How many requests for a change got that code."""
        return sum(value for labels, value in
                   self.system.metrics("http_grpc_requests_total").items()
                   if f'code="{code}"' in labels and 'protocol="http"' in labels)

    def script(self, calls):
        return (SCRIPT.replace("KEY_ID", json.dumps(self.key["keyId"])).replace("CALLS", calls))

    def open_page(self, pages, name):
        """Has Chromium open the page under that name: {what was tried: (type, status, text)}."""
        program = shutil.which("chromium")
        self.assertIsNotNone(program, "scripts/setup --tests installs chromium")
        with tempfile.TemporaryDirectory(prefix="bulla-chromium-",
                                         ignore_cleanup_errors=True) as own:
            browser = subprocess.Popen(
                [program, *CHROMIUM_FLAGS, f"--user-data-dir={own}",
                 f"http://{name}:{pages.server_address[1]}/page"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={**os.environ, "HOME": own}, start_new_session=True)
            try:
                await_true(lambda: pages.report is not None or browser.poll() is not None,
                           "the page has tried everything", PATIENCE_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(browser.pid, signal.SIGKILL)
                browser.wait()
        self.assertIsNotNone(pages.report, "chromium ended before the page did")
        return {what: tuple(rest) for what, *rest in pages.report}

    def test_a_page_of_another_site_changes_and_reads_nothing(self):
        refused = self.answered("PERMISSION_DENIED")
        for base in (f"http://{self.http}", f"http://localhost:{self.port}"):
            pages = Pages(0, self.script(f"foreign({json.dumps(base)})"))
            self.addCleanup(pages.close)
            outcomes = self.open_page(pages, FOREIGN)
            say(f"{FOREIGN} to {base}: "
                f"{ {what: kind for what, (kind, _, _) in outcomes.items()} }")
            for what, (_, status, text) in outcomes.items():
                self.assertEqual(status, 0, what)
                self.assertNotIn(self.key["publicKey"], text, what)
            self.assertEqual(self.keys(), self.made)
        # They did arrive, five of a page at least: what the browser itself kept back shows nothing.
        await_true(lambda: self.answered("PERMISSION_DENIED") - refused >= 2 * 5,
                   "the requests have arrived and were refused")

    def test_a_page_whose_name_was_pointed_here_reads_nothing(self):
        pages = Pages(self.port, self.script("own()"), relay_to=self.http)
        self.addCleanup(pages.close)
        outcomes = self.open_page(pages, FOREIGN)
        say(f"{FOREIGN}, pointed here: {outcomes}")
        self.assertEqual(len(outcomes), 4)
        for what, (_, status, text) in outcomes.items():
            self.assertEqual(status, 421, what)
            self.assertIn("allowed_hosts", text, what)
        self.assertEqual(self.keys(), self.made)

    def test_a_page_of_an_allowed_host_is_served(self):
        """By the same means: what is refused above is refused for its name."""
        pages = Pages(self.port, self.script("own()"), relay_to=self.http)
        self.addCleanup(pages.close)
        outcomes = self.open_page(pages, ALLOWED)
        # Chromium calls itself Mozilla, hence has to say a content type.
        self.assertEqual({what: status for what, (_, status, _) in outcomes.items()},
                         {"create": 415, "create with JSON": 200, "sign": 200, "key": 200})
        self.assertEqual(self.keys(), self.made + 1)


if __name__ == "__main__":
    unittest.main()
