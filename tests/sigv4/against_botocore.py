"""Signed requests of a running tollgate, against botocore.

Usage: against_botocore.py TOLLGATE

A client sends requests through tollgate to an upstream that keeps what it gets, byte for byte. botocore signs each of them again, with
the time that tollgate used: `Authorization`, and all headers that it covers, have to be the same.
"""

import datetime
import hashlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.parse

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY_ID, KEY, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "AQoDYXdzEPT//////////wEXAMPLE=="

PROVIDER = """
title       = "{name}"
base_url    = "http://{name}.test:{port}"
path_prefix = "/{name}"

[credentials]
field = [
  {{ name = "keyId" }},
  {{ name = "key" }},
  {{ name = "session", optional = true }},
]

[[auth]]
sign = {{ kind = "aws-sigv4", service = "{service}", region = "eu-west-1", key_id = "{{keyId}}", key = "{{key}}", session = "{{session}}"{more} }}

[endpoint]
get  = {{ method = "GET", path = "/{{rest...}}" }}
post = {{ method = "POST", path = "/{{rest...}}" }}
put  = {{ method = "PUT", path = "/{{rest...}}" }}
"""
SERVICES = {
    "model": ("bedrock", ""),
    "store": ("s3", ', path = "once"'),
    "open": ("s3", ', path = "once", payload = "unsigned"'),
}

# Method, target, headers, body. The query is written as botocore sends it: encoded.
REQUESTS = [
    ("GET", "/a/b?z=1&a=2&a=1&A=3&empty=&flag", {}, b""),
    ("GET", "/list?prefix=a%2Fb%20c&list-type=2&delimiter=%2F", {}, b""),
    ("GET", "/utf8?%E1%88%B4=%C3%A9&%C3%A9=1", {}, b""),
    ("GET", "/caf%C3%A9/a%20b/x+y/(1)/a:b/a@b/~x/_y/-z/a,b;c=d", {}, b""),
    ("GET", "/model/eu.anthropic.claude-3-7-sonnet-20250219-v1:0/converse", {}, b""),
    ("POST", "/empty", {}, b""),
    ("POST", "/model/amazon.nova-lite-v1%3A0/converse", {"content-type": "application/json"}, b'{"messages":[]}'),
    ("POST", "/form", {"content-type": "application/x-www-form-urlencoded;   charset=utf-8"}, b"a=1&b=%20"),
    ("POST", "/binary", {"content-type": "application/octet-stream"}, bytes(range(256)) * 9),
    ("POST", "/amz", {"x-amz-target": "Service.Action", "X-Amz-Meta-Two": "  a   b  ", "content-type": "text/plain"}, b"x"),
    ("POST", "/amz-date", {"x-amz-date": "19990101T000000Z", "x-amz-content-sha256": "0", "x-amz-security-token": "t"}, b"x"),
    ("PUT", "/large", {"content-type": "application/octet-stream"}, b"0123456789abcdef" * 300_000),
    ("POST", "/chunked", {"content-type": "application/json", "transfer-encoding": "chunked"}, b'{"a":1}' * 1000),
]


class Upstream(threading.Thread):
    """Answers every request, and keeps it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.seen = []

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection.makefile("rwb"),), daemon=True).start()

    def serve(self, stream):
        while first := stream.readline():
            method, target, _ = first.decode().split(" ")
            headers = []
            while line := stream.readline().strip(b"\r\n"):
                name, value = line.decode("latin-1").split(":", 1)
                headers.append((name.lower(), value.strip()))
            fields = dict(headers)
            if fields.get("transfer-encoding") == "chunked":
                body = b""
                while size := int(stream.readline(), 16):
                    body += stream.read(size)
                    stream.readline()
                stream.readline()
            else:
                body = stream.read(int(fields.get("content-length", 0)))
            self.seen.append((method, target, headers, body))
            stream.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            stream.flush()


def expected(service, sent, body, session):
    """The headers that botocore signs the request with."""
    method, target, headers, _ = sent
    fields = dict(headers)
    covered = [(n, v) for n, v in headers if n in ("host", "content-type") or n.startswith("x-amz-")]
    ours = ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token")
    kept = {name: value for name, value in covered if name not in ours}
    time = datetime.datetime.strptime(fields["x-amz-date"], "%Y%m%dT%H%M%SZ")
    assert abs((datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - time).total_seconds()) < 60
    botocore.auth.get_current_datetime = lambda *_: time
    request = AWSRequest(method=method, url=f"http://{fields['host']}{target}", headers=kept, data=body)
    signer = botocore.auth.SigV4Auth
    if service == "s3":
        signer = botocore.auth.S3SigV4Auth
    else:
        # botocore leaves this header to clients of services that need it.
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    signer(Credentials(KEY_ID, KEY, session), service, "eu-west-1").add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def encoded(target):
    """The target with the path as botocore sends it to object stores. It signs the path as it is, and they encode it again."""
    path, question, query = target.partition("?")
    return urllib.parse.quote(urllib.parse.unquote(path), safe="/~") + question + query


def unsigned(signer):
    """The same signer, for bodies that are not signed."""
    return type("Unsigned", (signer,), {"_should_sha256_sign_payload": lambda *_: False})


def check(name, service, request, sent, session):
    method, target, headers, body = request
    assert sent[0] == method and sent[1] == target, (sent[:2], request[:2])
    assert sent[3] == body, "the body passes byte for byte"
    fields = dict(sent[2])
    if name == "open":
        botocore.auth.S3SigV4Auth, signer = unsigned(botocore.auth.S3SigV4Auth), botocore.auth.S3SigV4Auth
    wanted = expected(service, sent, body, session)
    if name == "open":
        botocore.auth.S3SigV4Auth = signer
    for header in ("authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"):
        assert fields.get(header) == wanted.get(header), f"{name} {method} {target}: {header}\n{fields}\n{wanted}"
    chunked = headers.get("transfer-encoding") == "chunked"
    streams = name == "open" and chunked
    assert ("transfer-encoding" in fields) == streams, "a body that is hashed has a known length"


def main():
    binary = sys.argv[1]
    upstream = Upstream()
    upstream.start()
    with tempfile.TemporaryDirectory() as work:
        os.mkdir(f"{work}/providers")
        for name, (service, more) in SERVICES.items():
            text = PROVIDER.format(name=name, port=upstream.port, service=service, more=more)
            open(f"{work}/providers/{name}.toml", "w").write(text)
        env = {**os.environ, "TOLLGATE_DATA": f"{work}/data", "TOLLGATE_PROVIDERS": f"{work}/providers"}
        run = lambda *args, **more: subprocess.run(
            [binary, *args], env=env, check=True, text=True, stdout=subprocess.PIPE, **more
        ).stdout.strip()
        token = run("user", "add", "ada", stderr=subprocess.DEVNULL)
        for name in SERVICES:
            run("credential", "set", "ada", f"providers.{name}", input=json.dumps({"keyId": KEY_ID, "key": KEY}))
        arguments = ["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--allow-private", "true"]
        arguments += ["--connect-to", f"*=127.0.0.1:{upstream.port}"]
        server = subprocess.Popen([binary, *arguments], env=env, stderr=subprocess.PIPE, text=True)
        try:
            for line in server.stderr:
                if found := re.search(r'"message":"listening","address":"([^"]+)"', line):
                    break
            threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()
            client = http.client.HTTPConnection(found.group(1))
            count = 0
            for session in (None, SESSION):
                for name, (service, _) in SERVICES.items():
                    if session:
                        stored = {"keyId": KEY_ID, "key": KEY, "session": session}
                        run("credential", "set", "ada", f"providers.{name}", input=json.dumps(stored))
                    for method, target, headers, body in REQUESTS:
                        if service == "s3":
                            target = encoded(target)
                        request = (method, target, headers, body)
                        headers = {"authorization": f"Bearer {token}", **headers}
                        data = [body] if headers.get("transfer-encoding") else body
                        client.request(method, f"/{name}{target}", data, headers, encode_chunked=True)
                        answer = client.getresponse()
                        text = answer.read()
                        assert answer.status == 200, (name, request[:2], answer.status, text)
                        check(name, service, request, upstream.seen.pop(), session)
                        count += 1
            print(f"{count} requests are signed as botocore signs them")
        finally:
            server.terminate()
            server.wait()


main()
