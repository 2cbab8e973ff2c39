"""Real clients call tollgate, at a scripted upstream. What the user of each sees of each call stands in expected.json, with the requests
that reached tollgate for it; with UPDATE_EXPECT=1 it is written. The code of docs/clients.md runs as it stands there.

usage: run.py TOLLGATE TOOLS [CLIENT...], alone in a network namespace. TOOLS has what clients.sh installs.
"""

import asyncio
import collections
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

import upstream

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXPECTED = HERE / "expected.json"
DOCUMENT = (ROOT / "docs/clients.md").read_text()
# The places of what is installed, and the clients there. `ai` is called through its packages.
CLIENTS = {
    "tools": "@anthropic-ai/claude-code @openai/codex @google/gemini-cli opencode-ai",
    "aider": "aider-chat",
    "frameworks": "litellm langchain-openai instructor pydantic-ai-slim",
    "browser": "openai @anthropic-ai/sdk groq-sdk",
    "requirements": "openai anthropic groq mistralai cohere google-genai curl",
    "node": "openai @anthropic-ai/sdk groq-sdk @ai-sdk/openai @ai-sdk/anthropic @ai-sdk/groq @ai-sdk/openai-compatible @google/genai @mistralai/mistralai",
}
# The command lines, which are large. One of them has another way to sign in.
COMMANDS = ["tools", "aider"]
PASTED = "@openai/codex with a paste token"
KEYS = ["openai.apiKey", "anthropic.apiKey", *(f"providers.{name}.apiKey" for name in ["groq", "mistral", "cohere", "gemini"])]
HOSTS = "api.openai.com api.anthropic.com api.groq.com api.mistral.ai api.cohere.ai generativelanguage.googleapis.com chatgpt.com".split()
# A page gets none: no answer says `Access-Control-Allow-Credentials`.
COOKIES = "headers of an answer to a request with cookies"
# Cases that a person has to mend, and all that do not succeed.
FOR_A_PERSON = ["no token", "a vendor's key", "a revoked token", "no stored key", "an endpoint that the file lacks"]
FAULTS = [*FOR_A_PERSON, "429 of the upstream", "500 of the upstream", "a cut in a stream", COOKIES]
SNIPPET = "the code of docs/clients.md"
# Codex repeats a request for every status, whatever the answer says, unless `stream_max_retries` is 0 in its configuration.
REPEATS = {"@openai/codex": 5, PASTED: 5}
# It asks for these once or twice, as it happens.
UNCOUNTED = ["GET /openai-codex/codex/models"]
LIMIT = 400  # seconds, of one client: one that hangs, not one on a busy machine
# More than the cores: some wait before they try again.
LANES = 3


def loopback_up():
    """In a new namespace the loopback interface is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1 | 64))  # SIOCSIFFLAGS: up, running


class Relay:
    """Passes bytes to tollgate, counts the request lines, and takes the reports of a client between its calls."""

    def __init__(self, gateway):
        self.gateway, self.lines, self.cases = gateway, [], {}

    async def start(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        first = await reader.read(65536)
        if first.startswith(b"POST /case "):
            return await self.take(first, reader, writer)
        up, down = await asyncio.open_connection("127.0.0.1", self.gateway)
        await asyncio.gather(self.pass_on(first, reader, down, True), self.pass_on(b"", up, writer, False))

    async def pass_on(self, first, reader, writer, counts):
        try:
            while part := first or await reader.read(65536):
                first = b""
                if counts and (line := re.match(rb"([A-Z]+ [^ ?]+)[^ ]* HTTP/\d", part)):
                    self.lines.append(line[1].decode())
                writer.write(part)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def take(self, first, reader, writer):
        while b"\r\n\r\n" not in first:
            first += await reader.read(65536)
        head, _, body = first.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)\ncontent-length: *(\d+)", head)[1])
        while len(body) < length:
            body += await reader.read(65536)
        case = json.loads(body)
        counted = collections.Counter(self.lines)
        requests = ", ".join(line if times == 1 or line in UNCOUNTED else f"{times} x {line}" for line, times in counted.items()) or "no request"
        self.cases[case["case"]] = [requests, plain(case["saw"])]
        self.lines.clear()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        writer.close()


def plain(text):
    """Without what differs from run to run."""
    text = re.sub(r"\b[0-9a-f]{16}\b", "ID", text)
    # Cohere's exceptions begin with all headers.
    text = re.sub(r"headers: \{.*?\}, (?=status_code)", "", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8787", text)
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[\d;]*m", "", text)).strip()


class Gateway:
    """tollgate with the files of the repository, at the upstream, and the tokens of its users."""

    def __init__(self, binary, work):
        self.binary, self.work = binary, work
        authority, certificate = self.certificates()
        self.upstream = upstream.Upstream(certificate, work / "leaf.key")
        at = f"*=127.0.0.1:{self.upstream.server_address[1]}"
        serve = [binary, "serve", "--listen", "127.0.0.1:0", "--grace", "100ms", "--log-format", "json", "--providers", ROOT / "providers.d", "--connect-to", at, "--ca-file", authority]
        self.log = []
        self.process = subprocess.Popen(serve, cwd=work, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r'"message":"listening","address":"127.0.0.1:(\d+)"', line):
                break
        else:
            sys.exit(f"tollgate does not listen\n{''.join(self.log)}")
        self.port = int(found[1])
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()

    def certificates(self):
        """An authority, and the certificate that it gives to the upstream."""
        names = "subjectAltName=" + ",".join(f"DNS:{host}" for host in HOSTS)
        authority, leaf = self.work / "authority.pem", self.work / "leaf.pem"
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split()
        signed = ["-CA", authority, "-CAkey", authority.with_suffix(".key"), "-addext", "basicConstraints=critical,CA:FALSE", "-addext", names]
        for path, more in [(authority, []), (leaf, signed)]:
            command = [*make, "-subj", f"/CN={path.stem}", *more, "-keyout", path.with_suffix(".key"), "-out", path]
            subprocess.run(command, check=True, capture_output=True)
        return authority, leaf

    def __enter__(self):
        try:
            self.env = self.accounts()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def accounts(self):
        """The tokens of a user with all keys, of one without any, and of one that was removed."""
        token, revoked = (self.command("user", "add", name) for name in ["alice", "bob"])
        for name in KEYS:
            self.command("credential", "set", "alice", name, input=upstream.KEY)
        self.command("credential", "set", "alice", "openai.oauth", input=json.dumps(upstream.LOGIN))
        self.command("user", "remove", "bob")
        return {"TOKEN": token, "CLIENTS_WITHOUT_KEY": self.command("user", "add", "carol"), "CLIENTS_REVOKED": revoked}

    def command(self, *args, **more):
        said = subprocess.run([self.binary, *args, "--providers", ROOT / "providers.d"], cwd=self.work, capture_output=True, text=True, **more)
        if said.returncode:
            raise SystemExit(f"tollgate {' '.join(args)}: {said.stderr}")
        return said.stdout.strip()

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


RUNTIMES = {"node": "Node", "browser": "Chromium"}


def file_of(client):
    """Its file below calls/. A page makes the calls that Node makes."""
    place, package = client
    return re.sub("[/ ]", "-", package.lstrip("@")) + (".mjs" if place in RUNTIMES else ".py")


def titled(client):
    place, package = client
    if place in COMMANDS or package == "curl":
        return package
    return f"{package} ({RUNTIMES.get(place, 'Python')})"


def code_of(client):
    """The language and the code below the client's heading in docs/clients.md."""
    found = re.search(rf"(?ms)^### {re.escape(titled(client))}\n.*?^```(\w+)\n(.*?)^```", DOCUMENT)
    return found.groups() if found else sys.exit(f"docs/clients.md has no code for {titled(client)}")


def version_of(client):
    place, package = client
    if package == "curl":
        return subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    if place in RUNTIMES or place == "tools":
        packages = HERE / ("tools/package.json" if place == "tools" else "package.json")
        return json.loads(packages.read_text())["dependencies"][package.split()[0]]
    return re.search(rf"(?m)^{re.escape(package)}(?:\[.*\])?==(.*)$", (HERE / f"{place}.txt").read_text())[1]


async def calls_of(client, gateway, tools, work):
    """Runs one client and returns its cases."""
    relay = await Relay(gateway.port).start()
    home = work / f"{client[0]}-{file_of(client)}"
    home.mkdir()
    url = f"http://127.0.0.1:{relay.port}"
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "CLIENTS_GATEWAY": url, "CHROMIUM": shutil.which("chromium") or "", **gateway.env}
    language, code = code_of(client)
    env |= {"CLIENTS_LANGUAGE": language, "CLIENTS_SNIPPET": code.replace("http://127.0.0.1:8787", url)}
    env["PATH"] = f"{tools / 'tools/node_modules/.bin'}:{tools / 'aider/bin'}:{env['PATH']}"
    if client[0] not in RUNTIMES:
        place = "requirements" if client[0] == "tools" else client[0]
        command = [tools / place / "bin/python", HERE / "harness.py", HERE / "calls" / file_of(client)]
    else:
        for source in [*HERE.glob("*.mjs"), *(HERE / "calls").glob("*.mjs")]:
            (home / source.name).write_text(source.read_text())
        page = client[0] == "browser"
        (home / "host.mjs").symlink_to("page.mjs" if page else "node.mjs")
        (home / "node_modules").symlink_to(tools / "node/node_modules")
        command = ["node", home / "browser.mjs", file_of(client).removesuffix(".mjs")] if page else ["node", home / file_of(client)]
    process = await asyncio.create_subprocess_exec(*command, cwd=home, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), LIMIT)
    except asyncio.TimeoutError:
        process.kill()
        said, _ = await process.communicate()
        said += f"\nended after {LIMIT} s".encode()
    finally:
        if process.returncode is None:
            process.kill()
    return relay.cases, "" if process.returncode == 0 else said.decode()


def number(requests):
    """The number of requests that a case names, without preflights of a browser."""
    lines = [line for line in requests.split(", ") if requests != "no request" and not line.startswith("OPTIONS ")]
    return sum(int(found[1]) if (found := re.match(r"(\d+) x ", line)) else 1 for line in lines)


def check(client, cases, failed, expected):
    """The differences between the cases of a client and what is expected of them, and what may be expected of none."""
    faults = [f"it ended with a failure:\n{failed}"] if failed else []
    enough = number(cases.get(SNIPPET, ["no request"])[0]) + REPEATS.get(client[1], 0)
    for name, (requests, saw) in cases.items():
        if name in FOR_A_PERSON and number(requests) > enough:
            faults.append(f"{name}: the client tries again, and no retry helps: {requests}")
        if name not in FAULTS and re.match(r"\w*(Error|Exception)\b|exit code", saw):
            faults.append(f"{name}: {saw}")
    for name in {**expected, **cases}:
        if cases.get(name) != expected.get(name):
            faults.append(f"{name}:\n  expected {expected.get(name)}\n  got      {cases.get(name)}")
    return [f"{titled(client)}: {fault}" for fault in faults]


def write(expected):
    """One line for each case."""
    text = lambda value: json.dumps(value, ensure_ascii=False)
    clients = [
        f"{text(client)}: {{\n" + ",\n".join(f"  {text(name)}: {text(case)}" for name, case in cases.items()) + "\n}"
        for client, cases in sorted(expected.items())
    ]
    EXPECTED.write_text("{\n" + ",\n".join(clients) + "\n}\n")


async def main():
    binary, tools, only = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:]
    loopback_up()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    places = {place: packages for place, packages in CLIENTS.items() if only != ["libraries"] or place not in COMMANDS}
    only = [] if only == ["libraries"] else only
    clients = [(place, package) for place, packages in places.items() for package in packages.split()]
    clients += [("tools", PASTED)] if "tools" in places else []
    clients = [client for client in clients if not only or titled(client) in only or file_of(client) in only]
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    updates, faults, table = os.environ.get("UPDATE_EXPECT") == "1", [], []
    with tempfile.TemporaryDirectory() as work:
        lanes = asyncio.Semaphore(LANES)

        async def one(client):
            async with lanes:
                cases, failed = await calls_of(client, gateway, tools, pathlib.Path(work))
            if updates:
                expected[titled(client)] = cases
            found = check(client, cases, failed, expected.get(titled(client), {}))
            row = [titled(client), version_of(client), str(len(cases)), "FAILED" if found else "ok"]
            print("\n".join([" ".join(row), *found]), flush=True)
            faults.extend(found)
            table.append(row)

        with Gateway(binary, pathlib.Path(work)) as gateway:
            await asyncio.gather(*map(one, clients))
            faults.extend(dict.fromkeys(gateway.upstream.faults))
    if updates:
        write(expected)
    for row in table:
        if row[0] != "curl" and not re.search(rf"(?m)^\| {re.escape(row[0])} \| {re.escape(row[1])} \|", DOCUMENT):
            faults.append(f"docs/clients.md: its table has no row `| {row[0]} | {row[1]} |`")
    print("\n| client | version | calls | result |\n|---|---|---|---|")
    print("\n".join(f"| {' | '.join(row)} |" for row in sorted(table)))
    if faults:
        sys.exit("\n" + "\n".join(faults))


if __name__ == "__main__":
    asyncio.run(main())
