"""Made tokens of a running tollgate, against other implementations.

Usage: against_libraries.py TOLLGATE

A client sends requests through tollgate to an upstream and a token endpoint that keep what they get. PyJWT verifies each JWT with
the public half of its key, cryptography computes the fingerprint, and the libraries of vendors make their own token requests.
"""

import base64
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
import time
import urllib.parse

import google.auth.transport.requests
import ibm_cloud_sdk_core.token_managers.iam_token_manager as iam
import jwt
import msal
from cryptography.hazmat.primitives import serialization as formats
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from databricks.sdk import oauth
from google.oauth2 import service_account

SECRET = "s3cr&t+=%/~:'end"
SHARED = "a-shared-secret-of-more-than-32-bytes"
TENANT = "00000000-0000-0000-0000-000000000001"
SCOPE = "https://www.example.com/auth/cloud-platform"
# Where google-auth's tokens come from; it is also the audience of its assertions.
AUDIENCE = "https://oauth2.googleapis.com/token"


class Server(threading.Thread):
    """Answers every request as an upstream and as a token endpoint, and keeps it."""

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
            headers = {}
            while line := stream.readline().strip(b"\r\n"):
                name, value = line.decode("latin-1").split(":", 1)
                headers[name.lower()] = value.strip()
            body = stream.read(int(headers.get("content-length", 0)))
            self.seen.append((method, target, headers, body))
            now = int(time.time())
            answer = {"access_token": "made", "token": "made", "token_type": "Bearer", "expires_in": 3600}
            answer = json.dumps({**answer, "expiration": now + 3600, "expires_at": now + 3600}).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n\r\n"
            stream.write(head.encode() + answer)
            stream.flush()

    def take(self):
        seen, self.seen = self.seen, []
        return seen


class Tollgate:
    """A tollgate with one user, and a provider for each case."""

    def __init__(self, binary, work, port, providers):
        os.mkdir(f"{work}/providers")
        for name, text in providers.items():
            open(f"{work}/providers/{name}.toml", "w").write(text)
        self.env = {**os.environ, "TOLLGATE_DATA": f"{work}/data", "TOLLGATE_PROVIDERS": f"{work}/providers"}
        self.binary = binary
        self.token = self.run("user", "add", "ada", stderr=subprocess.DEVNULL)
        arguments = ["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--allow-private", "true"]
        arguments += ["--connect-to", f"*=127.0.0.1:{port}"]
        self.server = subprocess.Popen([binary, *arguments], env=self.env, stderr=subprocess.PIPE, text=True)
        for line in self.server.stderr:
            if found := re.search(r'"message":"listening","address":"([^"]+)"', line):
                break
        self.log = []
        threading.Thread(target=lambda: self.log.extend(self.server.stderr), daemon=True).start()
        self.client = http.client.HTTPConnection(found.group(1), timeout=20)

    def run(self, *args, **more):
        done = subprocess.run([self.binary, *args], env=self.env, text=True, stdout=subprocess.PIPE, **more)
        assert done.returncode == 0, (args, done)
        return done.stdout.strip()

    def store(self, provider, **fields):
        self.run("credential", "set", "ada", f"providers.{provider}", input=json.dumps(fields), stderr=subprocess.PIPE)

    def get(self, provider):
        self.client.request("GET", f"/{provider}/v1/models", headers={"authorization": f"Bearer {self.token}"})
        answer = self.client.getresponse()
        text = answer.read()
        assert answer.status == 200, (provider, answer.status, text, self.log[-3:])


def provider(name, port, fields, token, header='{ authorization = "Bearer {secret}" }'):
    fields = ", ".join("{ " + field + " }" for field in fields)
    return f"""
title       = "{name}"
base_url    = "http://{name}.test:{port}"
path_prefix = "/{name}"
credentials = {{ field = [{fields}] }}
auth        = [{{ token = "made", set = {header} }}]
endpoint    = {{ models = {{ method = "GET", path = "/v1/models" }} }}

[token.made]
{token}
"""


JWT = """jwt = {{ alg = "{alg}", key = "{{key}}", kid = "{{keyId}}", ttl = "30m", headers = {{ x5t = "{{keyId|lower}}" }}, claims = {{ iss = "{{account|upper}}{fingerprint}", aud = ["one", "{{account}}"], n = 7, flag = true, deep = {{ account = "a {{account}}" }}, jti = {{ gen = "uuid" }} }} }}"""


def pem(key, form=formats.PrivateFormat.PKCS8):
    return key.private_bytes(formats.Encoding.PEM, form, formats.NoEncryption()).decode()


def line(key, form=formats.PrivateFormat.PKCS8):
    """The base64 of a PEM: a field that is no document has no line breaks."""
    return "".join(pem(key, form).splitlines()[1:-1])


def keys():
    """Provider, algorithm, the key as it is stored, and the key that verifies."""
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    ed_key = ed25519.Ed25519PrivateKey.generate()
    traditional = formats.PrivateFormat.TraditionalOpenSSL
    yield "rsa", "RS256", line(rsa_key), rsa_key.public_key()
    yield "rsa-pkcs1", "RS256", line(rsa_key, traditional), rsa_key.public_key()
    yield "ec", "ES256", line(ec_key), ec_key.public_key()
    yield "ed", "EdDSA", line(ed_key), ed_key.public_key()
    yield "hmac", "HS256", SHARED, SHARED


def fingerprint(public):
    der = public.public_bytes(formats.Encoding.DER, formats.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def check_jwt(tollgate, server, case):
    name, alg, stored, public = case
    tollgate.store(name, account="acme", keyId="K-1", key=stored)
    tollgate.get(name)
    tollgate.get(name)
    requests = server.take()
    made = [headers["authorization"].removeprefix("Bearer ") for _, _, headers, _ in requests]
    assert len(made) == 2 and made[0] == made[1], "a token is made once"
    claims = jwt.decode(made[0], public, algorithms=[alg], audience="acme")
    header = jwt.get_unverified_header(made[0])
    assert header == {"alg": alg, "typ": "JWT", "kid": "K-1", "x5t": "k-1"}, header
    issued, expires, jti = claims.pop("iat"), claims.pop("exp"), claims.pop("jti")
    assert abs(issued - time.time()) < 60 and expires - issued == 1800, (issued, expires)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", jti), jti
    issuer = "ACME" + ("" if alg == "HS256" else ".SHA256:" + fingerprint(public))
    wanted = {"iss": issuer, "aud": ["one", "acme"], "n": 7, "flag": True, "deep": {"account": "a acme"}}
    assert claims == wanted, claims


def form(body):
    fields = urllib.parse.parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
    assert len(fields) == len(dict(fields)), fields
    return dict(fields)


def check_request(name, ours, theirs, only_theirs=()):
    """Both token requests are the same, but for parameters of the library's own."""
    (method, target, headers, body), (their_method, their_target, their_headers, their_body) = ours, theirs
    assert (method, target) == (their_method, their_target), (name, ours[:2], theirs[:2])
    for header in ("authorization", "content-type"):
        assert headers.get(header) == their_headers.get(header), (name, header, headers, their_headers)
    sent, wanted = form(body), form(their_body)
    for parameter in only_theirs:
        wanted.pop(parameter)
    assert sent.keys() == wanted.keys(), (name, sent, wanted)
    return sent, wanted


def made_with(tollgate, server, name, **fields):
    """The token request of tollgate, and the header of the request that it was for."""
    tollgate.store(name, **fields)
    tollgate.get(name)
    call, request = server.take()
    assert request[2]["authorization"] == "Bearer made", request
    return call


def check_google(tollgate, server):
    key = rsa.generate_private_key(65537, 2048)
    account = {"type": "service_account", "client_email": "robot@acme.example", "private_key": pem(key)}
    account |= {"private_key_id": "abc123", "project_id": "acme", "token_uri": f"http://127.0.0.1:{server.port}/token"}
    ours = made_with(tollgate, server, "google", serviceAccount=account)
    credentials = service_account.Credentials.from_service_account_info(account, scopes=[SCOPE])
    credentials.refresh(google.auth.transport.requests.Request())
    (theirs,) = server.take()
    sent, wanted = check_request("google-auth", ours, theirs)
    assert sent["grant_type"] == wanted["grant_type"]
    ours, theirs = sent["assertion"], wanted["assertion"]
    assert jwt.get_unverified_header(ours) == jwt.get_unverified_header(theirs)
    read = lambda text: jwt.decode(text, key.public_key(), algorithms=["RS256"], audience=AUDIENCE)
    ours, theirs = read(ours), read(theirs)
    assert abs(ours.pop("iat") - theirs.pop("iat")) < 60 and abs(ours.pop("exp") - theirs.pop("exp")) < 60
    assert ours == theirs, (ours, theirs)


class Answer:
    status_code, headers = 200, {}

    def __init__(self, **fields):
        self.text = json.dumps(fields)

    def raise_for_status(self):
        pass


class Kept:
    """The HTTP client of msal: it keeps the token request."""

    def get(self, url, **_):
        base = f"https://login.microsoftonline.com/{TENANT}"
        endpoints = {"token_endpoint": f"{base}/oauth2/v2.0/token", "authorization_endpoint": f"{base}/oauth2/v2.0/authorize"}
        return Answer(**endpoints, issuer=f"https://login.microsoftonline.com/{TENANT}/v2.0")

    def post(self, url, params=None, data=None, headers=None, **_):
        body = urllib.parse.urlencode(data).encode()
        headers = {name.lower(): value for name, value in headers.items()}
        self.sent = ("POST", urllib.parse.urlsplit(url).path, headers, body)
        return Answer(access_token="made", token_type="Bearer", expires_in=3600)

    def close(self):
        pass


def check_entra(tollgate, server):
    ours = made_with(tollgate, server, "entra", tenant=TENANT, clientId="app-1", clientSecret=SECRET)
    kept = Kept()
    application = msal.ConfidentialClientApplication(
        "app-1",
        client_credential=SECRET,
        authority=f"https://login.microsoftonline.com/{TENANT}",
        http_client=kept,
        instance_discovery=False,
    )
    answer = application.acquire_token_for_client(["https://cognitiveservices.azure.com/.default"])
    assert answer["access_token"] == "made", answer
    theirs = kept.sent
    theirs[2].setdefault("content-type", "application/x-www-form-urlencoded")
    sent, wanted = check_request("msal", ours, theirs, {"client_info"} & form(theirs[3]).keys())
    wanted["scope"] = sent["scope"] if sent["scope"] in wanted["scope"].split(" ") else wanted["scope"]
    assert sent == wanted, (sent, wanted)


def check_iam(tollgate, server):
    ours = made_with(tollgate, server, "iam", apiKey=SECRET)
    iam.IAMTokenManager(SECRET, url=f"http://127.0.0.1:{server.port}").request_token()
    (theirs,) = server.take()
    sent, wanted = check_request("ibm-cloud-sdk-core", ours, theirs, ["response_type"])
    assert sent == wanted, (sent, wanted)


def check_machine(tollgate, server):
    ours = made_with(tollgate, server, "machine", clientId="app-1", clientSecret=SECRET)
    source = oauth.ClientCredentials(
        "app-1", SECRET, f"http://127.0.0.1:{server.port}/oidc/v1/token", scopes="all-apis", use_header=True
    )
    assert source.token().access_token == "made"
    (theirs,) = server.take()
    sent, wanted = check_request("databricks-sdk", ours, theirs)
    assert sent == wanted, (sent, wanted)


def providers(port):
    text = lambda name: f'name = "{name}", kind = "text"'
    secret = lambda name: f'name = "{name}"'
    files = {}
    for name, alg, _, _ in keys():
        mark = "" if alg == "HS256" else ".SHA256:{fingerprint}"
        token = JWT.format(alg=alg, fingerprint=mark)
        files[name] = provider(name, port, [text("account"), text("keyId"), secret("key")], token)
    reply = 'reply = { token = "/access_token", expires_in = "/expires_in" }'
    parts = 'parts = { email = "/client_email", key = "/private_key", kid = "/private_key_id" }'
    files["google"] = provider(
        "google",
        port,
        ['name = "serviceAccount", kind = "json", ' + parts],
        f"""jwt = {{ alg = "RS256", key = "{{serviceAccount.key}}", kid = "{{serviceAccount.kid}}", ttl = "1h", claims = {{ iss = "{{serviceAccount.email}}", aud = "{AUDIENCE}", scope = "{SCOPE}" }} }}
request = {{ url = "http://oauth2.test:{port}/token", form = {{ grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion = "{{jwt}}" }} }}
{reply}""",
    )
    files["entra"] = provider(
        "entra",
        port,
        ['name = "tenant", kind = "text", pattern = "[0-9a-f-]{36}"', text("clientId"), secret("clientSecret")],
        f"""request = {{ url = "http://login.test:{port}/{{tenant}}/oauth2/v2.0/token", form = {{ grant_type = "client_credentials", client_id = "{{clientId}}", client_secret = "{{clientSecret}}", scope = "https://cognitiveservices.azure.com/.default" }} }}
{reply}""",
    )
    files["iam"] = provider(
        "iam",
        port,
        [secret("apiKey")],
        f"""request = {{ url = "http://iam.test:{port}/identity/token", form = {{ grant_type = "urn:ibm:params:oauth:grant-type:apikey", apikey = "{{apiKey}}" }} }}
reply = {{ token = "/access_token", expires_at = "/expiration" }}""",
    )
    files["machine"] = provider(
        "machine",
        port,
        [text("clientId"), secret("clientSecret")],
        f"""request = {{ url = "http://workspace.test:{port}/oidc/v1/token", basic = {{ username = "{{clientId}}", password = "{{clientSecret}}" }}, form = {{ grant_type = "client_credentials", scope = "all-apis" }} }}
{reply}""",
    )
    return files


def main():
    server = Server()
    server.start()
    with tempfile.TemporaryDirectory() as work:
        tollgate = Tollgate(sys.argv[1], work, server.port, providers(server.port))
        try:
            cases = list(keys())
            for case in cases:
                check_jwt(tollgate, server, case)
            print(f"{len(cases)} JWTs are verified by PyJWT")
            for check in (check_google, check_entra, check_iam, check_machine):
                check(tollgate, server)
            print("4 token requests are those of google-auth, msal, ibm-cloud-sdk-core and databricks-sdk")
        finally:
            tollgate.server.terminate()
            tollgate.server.wait()


main()
