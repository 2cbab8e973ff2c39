"""tollgate behind nginx and Caddy, with the configurations of docs/behind-a-proxy.md as they stand there.

Usage: check.py TOLLGATE DOCUMENT

Ports, the certificate and the directories of the proxies are the only changes. An upstream of this file goes on only once the client
has confirmed what came before: no step waits for a time. Each proxy also runs with its timeout at one second, to show that the
document's value is what lets a slow answer pass.
"""

import base64
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading

# In seconds: of each wait.
DEADLINE = 20
HOST = "gateway.example.com"
# The client's address. That of the proxies, 127.0.0.1, is a trusted proxy.
CLIENT = "127.0.0.2"
UPLOAD = os.urandom(1 << 20) * 30
CHAT = "/proxy/test/v1/chat/completions"
# An answer's head that is larger than the buffers that proxies have by default.
LARGE = {f"x-large-{number}": "x" * 2000 for number in range(10)}
ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Gate:
    """Passed once it was opened."""

    def __init__(self):
        self.event = threading.Event()

    def open(self):
        self.event.set()

    def wait(self):
        assert self.event.wait(DEADLINE), "the other side did not come so far"


class Upstream(http.server.ThreadingHTTPServer):
    """What a request asks for by its query: `?case=NAME&gate=NAME`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.gates, self.lock, self.seen = {}, threading.Lock(), {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def gate(self, name):
        with self.lock:
            return self.gates.setdefault(name, Gate())

    def handle_error(self, *_):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, piece):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def do_POST(self):
        query = dict(pair.split("=") for pair in self.path.partition("?")[2].split("&"))
        gate = self.server.gate(query["gate"])
        self.server.seen[query["gate"]] = dict(self.headers.items())
        front = self.rfile.peek(1)
        if front and query["case"] == "upload":
            gate.open()
        getattr(self, query["case"])(self.body(), gate)

    def whole(self, text, headers={}):
        self.head(200, {"content-type": "application/json", "content-length": len(text), **headers})
        self.wfile.write(text)

    def stream(self, _, gate, kind="text/event-stream"):
        self.head(200, {"content-type": kind, "transfer-encoding": "chunked"})
        self.chunk(b"data: first\n\n")
        gate.wait()
        self.chunk(b"data: second\n\n")
        self.chunk(b"")

    def lines(self, _, gate):
        self.stream(_, gate, "application/x-ndjson")

    def upload(self, body, _):
        self.whole(hashlib.sha256(body).hexdigest().encode())

    def slow(self, _, gate):
        gate.wait()
        self.whole(b"{}")

    def large(self, _body, _gate):
        self.whole(b"{}", LARGE)

    def left(self, _, gate):
        """The connection of a request whose client has left is closed."""
        self.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        self.chunk(b"data: first\n\n")
        self.connection.settimeout(DEADLINE)
        with contextlib.suppress(ConnectionError):
            if self.connection.recv(1):
                return
        gate.open()
        self.close_connection = True

    def do_GET(self):
        """A WebSocket that returns one message, and closes."""
        accept = base64.b64encode(hashlib.sha1((self.headers["sec-websocket-key"] + ACCEPT).encode()).digest()).decode()
        self.head(101, {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": accept})
        kind, text = frame_of(self.rfile)
        self.wfile.write(bytes([0x80 | kind, len(text)]) + text)
        frame_of(self.rfile)
        self.wfile.write(b"\x88\x02\x03\xe8")
        self.close_connection = True


def frame_of(stream):
    """The kind and the content of a short frame."""
    first, size = stream.read(2)
    mask = stream.read(4) if size & 0x80 else bytes(4)
    text = stream.read(size & 0x7F)
    return first & 0xF, bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))


class Process:
    """A program whose lines are kept, until the end of the block."""

    def __init__(self, command, **options):
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, **options)
        self.lines, self.changed, self.ended = [], threading.Condition(), False
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def line(self, pattern):
        """Waits for a line."""
        found = lambda: next((match for line in self.lines if (match := re.search(pattern, line))), None)
        with self.changed:
            self.changed.wait_for(lambda: self.ended or found(), DEADLINE)
            assert found(), f"no line {pattern}:\n{''.join(self.lines[-20:])}"
            return found()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def block(document, marker):
    """The code that follows a marker of the document."""
    found = re.search(rf"<!-- {marker}: run by tests/proxies.sh -->\n```\w*\n(.*?)^```", document, re.S | re.M)
    assert found, f"the document has no block `{marker}`"
    return found[1]


def replaced(text, pattern, by):
    text, count = re.subn(pattern, by, text)
    assert count, f"the configuration lacks `{pattern}`:\n{text}"
    return text


def tollgate(binary, document, work, upstream):
    """A running tollgate, started by the document's command. Returns the process, its port and a token."""
    (work / "providers.d").mkdir()
    (work / "providers.d/test.toml").write_text(
        f'''title = "Test"
extends = "openai-compatible"
base_url = "http://127.0.0.1:{upstream}"
[endpoint.live]
method = "GET"
path = "/v1/live"
upgrade = "websocket"
'''
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
    env |= {"TOLLGATE_DATA": str(work / "data"), "TOLLGATE_PROVIDERS": str(work / "providers.d"), "TOLLGATE_WORKERS": "1"}
    run = lambda *arguments, **options: subprocess.run(
        [binary, *arguments], cwd=work, env=env, check=True, capture_output=True, text=True, **options
    ).stdout.strip()
    token = run("user", "add", "ada")
    run("credential", "set", "ada", "providers.test.apiKey", input="made-up")
    program, *arguments = replaced(block(document, "serve"), ":8787", ":0").replace("\\\n", " ").split()
    assert program == "tollgate", program
    process = Process([binary, *arguments, "--grace", "100ms", "--log-format", "json"], cwd=work, env=env)
    return process, int(process.line(r'"message":"listening","address":"[^"]*:(\d+)"')[1]), token


def nginx(text, work, port, upstream, short):
    """nginx with the document's server, and its port."""
    text = replaced(text, "listen 443", f"listen 127.0.0.1:{port}")
    text = replaced(text, "127.0.0.1:8787", f"127.0.0.1:{upstream}")
    text = replaced(text, r"/etc/tollgate/tls\.", f"{work}/tls.")
    assert int(re.search(r"proxy_read_timeout +(\d+)s;", text)[1]) > 600, "the timeout is shorter than tollgate's own"
    if short:
        text = replaced(text, r"proxy_read_timeout +\d+s;", "proxy_read_timeout 1s;")
    folder = work / f"nginx-{port}"
    folder.mkdir()
    temporary = "".join(f"{one}_temp_path {folder}/{one};\n" for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    # The workers of a root's nginx have another user, who cannot enter the directory.
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log stderr notice;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{text}}}\n"
    )
    process = Process(["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")])
    process.line("start worker process ")
    return process


def caddy(text, work, port, upstream, short):
    """Caddy with the document's site, and a certificate of the test's own."""
    text = replaced(text, "127.0.0.1:8787", f"127.0.0.1:{upstream}")
    text = replaced(text, re.escape(HOST) + r" \{\n", f"{HOST} {{\ntls {work}/tls.crt {work}/tls.key\n")
    assert int(re.search(r"response_header_timeout +(\d+)s", text)[1]) > 600, "the timeout is shorter than tollgate's own"
    if short:
        text = replaced(text, r"response_header_timeout +\d+s", "response_header_timeout 1s")
    folder = work / f"caddy-{port}"
    folder.mkdir()
    options = f"admin off\nauto_https disable_redirects\nhttps_port {port}\ndefault_bind 127.0.0.1\n"
    (folder / "Caddyfile").write_text(f"{{\n{options}}}\n{text}")
    env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    process = Process(["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"], env=env)
    process.line("serving initial configuration")
    return process


class Client:
    """Requests to a proxy, or to tollgate itself."""

    def __init__(self, port, token, certificate=None):
        self.port, self.token, self.certificate = port, token, certificate

    def socket(self):
        plain = socket.create_connection(("127.0.0.1", self.port), DEADLINE, (CLIENT, 0))
        if not self.certificate:
            return plain
        return ssl.create_default_context(cafile=self.certificate).wrap_socket(plain, server_hostname=HOST)

    def send(self, method, path, body=None, **headers):
        """The answer, whose body is not read yet."""
        connection = http.client.HTTPConnection(HOST)
        connection.sock = self.socket()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in {"content-length": len(body or b""), **headers}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.connection = connection
        return answer

    def chat(self, case, gate, body=b"{}", **headers):
        headers = {"authorization": f"Bearer {self.token}", "content_type": "application/json", **headers}
        return self.send("POST", f"{CHAT}?case={case}&gate={gate}", body, **headers)


def expect(found, wanted, what):
    assert found == wanted, f"{what}: {found!r}, not {wanted!r}"


class Checks:
    """What has to hold behind a proxy. A method whose name is a sentence is a check."""

    def __init__(self, name, client, short, direct, upstream, log):
        self.name, self.client, self.short, self.direct = name, client, short, direct
        self.upstream, self.log = upstream, log

    def gate(self, case):
        name = f"{self.name}-{case}"
        return name, self.upstream.gate(name)

    def logged(self, answer):
        """The line of the access log for an answer."""
        return json.loads(self.log.line('.*"message":"request".*' + answer.headers["tollgate-request-id"] + ".*")[0])

    def events_arrive_one_by_one(self):
        for kind in ("stream", "lines"):
            name, gate = self.gate(kind)
            answer = self.client.chat(kind, name)
            expect(answer.readline(), b"data: first\n", "the first event")
            gate.open()
            expect(answer.read(), b"\ndata: second\n\n", "the rest")

    def events_arrive_one_by_one_over_http_2(self):
        name, gate = self.gate("h2")
        command = ["curl", "-sSN", "--http2", "--noproxy", "*", "--cacert", self.client.certificate, "--max-time", str(DEADLINE)]
        command += ["--connect-to", f"{HOST}:443:127.0.0.1:{self.client.port}", "-H", f"authorization: Bearer {self.client.token}"]
        command += ["-d", "{}", "-w", "%{http_version}", f"https://{HOST}{CHAT}?case=stream&gate={name}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
            expect(curl.stdout.readline(), b"data: first\n", "the first event")
            gate.open()
            expect(curl.stdout.read(), b"\ndata: second\n\n2", "the rest, and the version")

    def a_large_upload_passes(self):
        for headers in ({}, {"expect": "100-continue"}):
            answer = self.client.chat("upload", self.name, UPLOAD, **headers)
            expect((answer.status, answer.read()), (200, hashlib.sha256(UPLOAD).hexdigest().encode()), "the upload")

    def an_upload_streams(self):
        """The rest is sent once the upstream has the front."""
        name, gate = self.gate("front")
        connection = http.client.HTTPConnection(HOST)
        connection.sock = self.client.socket()
        connection.putrequest("POST", f"{CHAT}?case=upload&gate={name}")
        connection.putheader("authorization", f"Bearer {self.client.token}")
        connection.putheader("content-length", len(UPLOAD))
        connection.endheaders(UPLOAD[:100_000])
        gate.wait()
        connection.send(UPLOAD[100_000:])
        expect(connection.getresponse().read(), hashlib.sha256(UPLOAD).hexdigest().encode(), "the upload")

    def a_slow_answer_passes(self):
        name, gate = self.gate("slow")
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(self.client.chat("slow", name)), daemon=True)
        waiting.start()
        # The proxy with the short timeout gives up, and the other one does not.
        refused = self.short.chat("slow", f"{name}-short")
        expect((refused.status, refused.headers["tollgate-request-id"]), (504, None), "the proxy with the short timeout")
        assert not answers, "the answer came before it was made"
        gate.open()
        waiting.join(DEADLINE)
        expect([answer.status for answer in answers], [200], "the slow answer")

    def the_client_has_its_own_address(self):
        answer = self.client.chat("upload", self.name, x_forwarded_for="203.0.113.9")
        expect(self.logged(answer)["peer"], CLIENT, "the address in the access log")

    def a_client_that_leaves_is_noticed(self):
        name, gate = self.gate("left")
        answer = self.client.chat("left", name)
        expect(answer.readline(), b"data: first\n", "the first event")
        answer.connection.sock.close()
        answer.close()
        gate.wait()
        expect(self.logged(answer)["end"], "client_left", "the access log")

    def a_large_head_of_a_request_passes(self):
        answer = self.client.chat("upload", self.name, x_large="x" * 20_000)
        expect((answer.status, self.upstream.seen[self.name].get("x-large")), (200, "x" * 20_000), "the head")

    def a_large_head_of_an_answer_passes(self):
        answer = self.client.chat("large", self.name)
        expect({name: answer.headers[name] for name in LARGE}, LARGE, "the head")

    def no_coding_is_asked_for_that_the_client_did_not_name(self):
        self.client.chat("upload", self.name)
        expect(self.upstream.seen[self.name].get("accept-encoding"), None, "accept-encoding")

    def errors_pass_with_their_headers(self):
        answers = [one.send("GET", "/proxy/test/v1/models") for one in (self.direct, self.client)]
        # Each side has these of its own.
        own = {"tollgate-request-id", "x-request-id", "request-id", "date", "connection", "keep-alive", "server", "alt-svc", "content-length", "transfer-encoding"}
        heads = [{name.lower(): value for name, value in one.headers.items() if name.lower() not in own} for one in answers]
        bodies = [json.loads(one.read())["error"] for one in answers]
        expect((answers[1].status, heads[1]), (answers[0].status, heads[0]), "the head of the error")
        expect((bodies[1]["code"], heads[1]["x-should-retry"]), ("missing_token", "false"), "the error")
        assert answers[1].headers["tollgate-request-id"], "the error has no request id"

    def a_refused_upload_has_its_answer(self):
        # Caddy may close the connection before the answer is read: the document says so.
        if self.name == "nginx":
            answer = self.client.chat("upload", self.name, UPLOAD, authorization="Bearer tg_wrong")
            expect((answer.status, json.loads(answer.read())["error"]["code"]), (401, "invalid_token"), "the refusal")

    def a_page_may_send_changes(self):
        body, headers = b"{}", {"cookie": "tollgate=unknown", "content_type": "application/json"}
        codes = []
        for origin in (f"https://{HOST}", "https://evil.example"):
            answer = self.client.send("POST", "/auth/tokens", body, origin=origin, **headers)
            codes.append(json.loads(answer.read())["error"]["code"])
        assert codes[0] != "cross_site" and codes[1] == "cross_site", codes

    def metrics_are_not_public(self):
        answer = self.client.send("GET", "/metrics", user_agent="curl/8")
        expect(answer.status, 401, "the metrics")

    def a_websocket_works(self):
        with self.client.socket() as one:
            one.sendall(
                f"GET /proxy/test/v1/live HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer {self.client.token}\r\n\r\n".encode()
            )
            stream = one.makefile("rb")
            expect(stream.readline().split()[1], b"101", "the handshake")
            while stream.readline().strip():
                pass
            # A mask of zeros changes nothing.
            one.sendall(b"\x81\x85\0\0\0\0hello")
            expect(frame_of(stream), (1, b"hello"), "the message")
            one.sendall(b"\x88\x82\0\0\0\0" + struct.pack("!H", 1000))
            expect(frame_of(stream), (8, struct.pack("!H", 1000)), "the close frame")


def main(binary, path):
    document = pathlib.Path(path).read_text()
    failed = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        work = pathlib.Path(folder)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test"]
        command += ["-addext", f"subjectAltName=DNS:{HOST}", "-keyout", work / "tls.key", "-out", work / "tls.crt"]
        subprocess.run(command, check=True, capture_output=True)
        upstream = Upstream()
        log, port, token = tollgate(binary, document, work, upstream.server_address[1])
        stack.enter_context(log)
        direct = Client(port, token)
        for start in (nginx, caddy):
            name = start.__name__
            clients = []
            for short in (False, True):
                front = free_port()
                stack.enter_context(start(block(document, name), work, front, port, short))
                clients.append(Client(front, token, str(work / "tls.crt")))
            checks = Checks(name, *clients, direct, upstream, log)
            for check in [check for check in vars(Checks) if "_" in check.strip("_")]:
                try:
                    getattr(checks, check)()
                except (AssertionError, OSError, KeyError, ValueError, TypeError, http.client.HTTPException) as error:
                    failed.append(f"{name}, {check.replace('_', ' ')}: {type(error).__name__}: {error}")
    if failed:
        sys.exit("\n".join(failed))
    print("proxies: nginx and Caddy pass all of it")


if __name__ == "__main__":
    main(*sys.argv[1:])
