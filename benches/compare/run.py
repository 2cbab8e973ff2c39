#!/usr/bin/env python3
"""Measures tollgate beside nginx, in one run on one machine, and prints a markdown table.

Both take a unary chat completion on loopback, map the caller's token to a key, and pass it to `tollgate mock`.
The figure that counts is CPU time (utime + stime) per request, not the rate: the load generator and the upstream share
the machine. Runs alternate; medians are reported. Requires nginx, wrk and a release build:

    cargo build --release && benches/compare/run.py
"""

import argparse
import atexit
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PROVIDER = """title = "Mock"
extends = "openai-compatible"
base_url = "{scheme}://localhost:{upstream}"
"""
TICKS = os.sysconf("SC_CLK_TCK")
STREAMS = 1000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


class Server:
    """A measured process with its children."""

    def __init__(self, name, port, command, env=None):
        self.name, self.port = name, port
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=quiet, stderr=quiet)
        atexit.register(self.process.kill)
        wait_for(port)

    def pids(self):
        own = str(self.process.pid)
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return [own, *children]

    def cpu(self):
        """CPU seconds so far."""
        stats = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in self.pids()]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / TICKS

    def rss(self):
        """Resident memory in KiB of master and worker. Shared pages count twice."""
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in self.pids()]
        return sum(int(text.split("VmRSS:")[1].split()[0]) for text in texts)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


class Setup:
    """tollgate and nginx in front of one upstream."""

    def __init__(self, binary, directory, tls, mock_flags=()):
        self.binary, self.directory, self.tls = str(binary), Path(directory), tls
        self.directory.mkdir(parents=True, exist_ok=True)
        self.upstream = free_port()
        self.ca = self.directory / "ca.pem"
        command = [self.binary, "mock", "--listen", f"127.0.0.1:{self.upstream}", *mock_flags]
        if tls:
            command += ["--tls", "--tls-name", "localhost", "--ca-out", str(self.ca)]
        self.mock = Server("mock", self.upstream, command)
        self.token = self.accounts()

    def scheme(self):
        return "https" if self.tls else "http"

    def accounts(self):
        providers = self.directory / "providers.d"
        shutil.copytree(ROOT / "providers.d" / "presets", providers / "presets")
        shutil.copytree(ROOT / "providers.d" / "apis", providers / "apis")
        (providers / "mock.toml").write_text(PROVIDER.format(scheme=self.scheme(), upstream=self.upstream))
        self.places = ["--providers", str(providers), "--data", str(self.directory / "data")]
        run = lambda *words, **more: subprocess.run(
            [self.binary, *words, *self.places], check=True, capture_output=True, text=True, **more
        ).stdout
        token = run("user", "add", "bench").strip()
        run("credential", "set", "bench", "providers.mock.apiKey", input="sk-upstream")
        return token

    def tollgate(self):
        port = free_port()
        command = [self.binary, "serve", *self.places, "--listen", f"127.0.0.1:{port}"]
        command += ["--workers", "1", "--access-log", "false"]
        command += ["--ca-file", str(self.ca)] if self.tls else []
        return Server("tollgate", port, command, {"TOLLGATE_LOG": "warn"})

    def nginx(self):
        port = free_port()
        tls = (
            f"proxy_ssl_trusted_certificate {self.ca}; proxy_ssl_verify on;"
            " proxy_ssl_server_name on; proxy_ssl_name localhost; proxy_ssl_protocols TLSv1.3;"
        )
        words = {
            "DIR": self.directory, "LISTEN": port, "UPSTREAM": self.upstream, "SCHEME": self.scheme(),
            "TOKEN": self.token, "TLS": tls if self.tls else "",
        }
        text = (HERE / "nginx.conf.in").read_text()
        for word, value in words.items():
            text = text.replace(f"@{word}@", str(value))
        file = self.directory / "nginx.conf"
        file.write_text(text)
        return Server("nginx", port, [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(file)])

    def contenders(self):
        return [self.tollgate(), self.nginx()]

    def stop(self):
        self.mock.stop()


def load(server, token, connections, seconds):
    """Returns CPU microseconds per request, and requests per second."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "request.lua")]
    before = server.cpu()
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}"],
        env={**os.environ, "TOKEN": token}, capture_output=True, text=True, check=True,
    ).stdout
    spent = server.cpu() - before
    if "Non-2xx" in done or "Socket errors" in done:
        sys.exit(f"{server.name} did not answer every request:\n{done}")
    requests = int(done.split(" requests in ")[0].split()[-1])
    rate = float(done.split("Requests/sec:")[1].split()[0])
    return spent * 1e6 / requests, rate


def unary(house, connections, rounds, seconds):
    """Medians of CPU per request and rate for each proxy. Runs alternate."""
    servers = house.contenders()
    seen = {server.name: [] for server in servers}
    for server in servers:
        load(server, house.token, connections, 1)
    for _ in range(rounds):
        for server in servers:
            seen[server.name].append(load(server, house.token, connections, seconds))
    for server in servers:
        server.stop()
    return {name: [statistics.median(column) for column in zip(*rows)] for name, rows in seen.items()}


def open_streams(server, token, count):
    body = b'{"model":"any","stream":true,"messages":[{"role":"user","content":"Say hello, please."}]}'
    head = (
        "POST /proxy/mock/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    streams = []
    for _ in range(count):
        stream = socket.create_connection(("127.0.0.1", server.port), 5)
        stream.settimeout(10)
        stream.sendall(head + body)
        streams.append(stream)
    for stream in streams:
        if not stream.recv(65536).startswith(b"HTTP/1.1 200"):
            sys.exit(f"{server.name} did not open every stream")
    return streams


def memory(house, rounds):
    """Medians of KiB after start, and KiB per open stream. Each round starts new processes."""
    seen = {"tollgate": [], "nginx": []}
    for _ in range(rounds):
        for start in (house.tollgate, house.nginx):
            server = start()
            for stream in open_streams(server, house.token, 1):
                stream.close()
            time.sleep(0.5)
            before = server.rss()
            streams = open_streams(server, house.token, STREAMS)
            time.sleep(2.5)
            seen[server.name].append((before, (server.rss() - before) / STREAMS))
            for stream in streams:
                stream.close()
            server.process.kill() if server.name == "tollgate" else server.process.terminate()
            server.process.wait(20)
    return {name: [statistics.median(column) for column in zip(*rows)] for name, rows in seen.items()}


def row(what, unit, tollgate, nginx):
    print(f"| {what} | {tollgate:.1f} {unit} | {nginx:.1f} {unit} | {tollgate / nginx:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "tollgate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="length of one run of the load generator")
    parser.add_argument("--only", choices=["unary", "tls", "memory"])
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    print("| | tollgate | nginx | tollgate / nginx |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        for part, tls, upstream in (("unary", False, "plain upstream"), ("tls", True, "TLS upstream")):
            if args.only not in (None, part):
                continue
            house = Setup(args.binary, f"{directory}/{part}", tls)
            for connections in (1, 32):
                found = unary(house, connections, args.rounds, args.seconds)
                (cpu, rate), (nginx_cpu, nginx_rate) = found["tollgate"], found["nginx"]
                case = f"unary, {upstream}, {connections} connection{'s' if connections > 1 else ''}"
                row(f"{case}: CPU per request", "µs", cpu, nginx_cpu)
                row(f"{case}: requests a second", "", rate, nginx_rate)
            house.stop()
        if args.only in (None, "memory"):
            house = Setup(args.binary, f"{directory}/memory", False, ["--count", "100000", "--interval", "1s"])
            found = memory(house, min(args.rounds, 3))
            (idle, stream), (nginx_idle, nginx_stream) = found["tollgate"], found["nginx"]
            row("resident after the start", "MiB", idle / 1024, nginx_idle / 1024)
            row(f"memory per open stream, at {STREAMS}", "KiB", stream, nginx_stream)
            house.stop()


if __name__ == "__main__":
    main()
