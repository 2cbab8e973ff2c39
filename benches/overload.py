#!/usr/bin/env python3
"""Attacks a tollgate with more work than it takes, and measures what another user sees of it: latency before, during and
after, memory, health checks, `tollgate status`. Requires a release build and python3; each attack ends by itself:

    cargo build --release && benches/overload.py                    # all but the soak
    benches/overload.py slow-token silent slow-streams small-memory soak --minutes 30
"""

import argparse
import asyncio
import json
import os
import resource
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from start import ROOT, make

HEAD = "POST /proxy/{provider}/v1/chat/completions{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
HEAD += "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"


def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def limited(files, memory):
    """Sets limits of a child: open files (soft and hard), and memory in MiB (RLIMIT_DATA)."""

    def apply():
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, files)
        if memory:
            resource.setrlimit(resource.RLIMIT_DATA, (memory << 20, memory << 20))

    return apply


class Gateway:
    """A mock upstream, and a tollgate in front of it with two users."""

    def __init__(self, binary, work, files=None, memory=None, workers=2, arguments=(), access_log=False):
        self.binary, self.data = binary, Path(work) / "data"
        self.log = open(Path(work) / "log", "a+")
        providers = make(work, 1)
        self.env = dict(os.environ, TOLLGATE_DATA=str(self.data), TOLLGATE_PROVIDERS=str(providers))
        upstream, self.port, ca = port(), port(), Path(work) / "ca.pem"
        self.mock = self.spawn("mock", "--tls", "--ca-out", ca, "--listen", f"127.0.0.1:{upstream}")
        while not (ca.exists() and ca.stat().st_size):
            time.sleep(0.01)
        self.attacker, self.other = (self.user(name) for name in ("mallory", "ada"))
        serve = ["serve", "--listen", f"127.0.0.1:{self.port}", "--workers", workers]
        serve += ["--access-log", str(access_log).lower()]
        serve += ["--connect-to", f"*=127.0.0.1:{upstream}", "--ca-file", ca, "--log-format", "json", *arguments]
        self.serve = self.spawn(*serve, preexec_fn=limited(files, memory))
        while self.probe("/readyz") is None:
            time.sleep(0.01)

    def spawn(self, *arguments, **more):
        command = [self.binary, *map(str, arguments)]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=self.log, **more)

    def run(self, *arguments, stdin="", check=True):
        command = [self.binary, *map(str, arguments)]
        return subprocess.run(command, env=self.env, input=stdin, capture_output=True, text=True, check=check)

    def user(self, name):
        token = self.run("user", "add", name).stdout.strip()
        self.run("credential", "set", name, "providers.p0.apiKey", stdin="sk-any")
        return token

    def probe(self, path):
        """Milliseconds until a health check is answered by 200; none if it is not within five seconds."""
        begun = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                return (time.monotonic() - begun) * 1000 if b" 200 " in client.recv(64) else None
        except OSError:
            return None

    def status(self):
        """Milliseconds that `tollgate status` takes; none if it fails."""
        begun = time.monotonic()
        done = self.run("status", check=False)
        return (time.monotonic() - begun) * 1000 if done.returncode == 0 else None

    def memory(self, name="VmRSS"):
        try:
            status = Path(f"/proc/{self.serve.pid}/status").read_text()
        except OSError:
            return None
        return int(status.split(f"{name}:")[1].split()[0]) / 1024 if f"{name}:" in status else None

    def lives(self):
        return self.serve.poll() is None

    def stop(self):
        for process in (self.serve, self.mock):
            process.kill()
            process.wait()


def request(token, stream=False, query="", provider="p0"):
    body = json.dumps({"model": "any", "messages": [], "stream": stream})
    return HEAD.format(provider=provider, query=query, token=token, length=len(body), body=body).encode()


async def call(gateway, token):
    """Milliseconds of one call on a connection of its own, and its status; 0 if there is none within five seconds."""
    begun = time.monotonic()
    try:
        async with asyncio.timeout(5):
            # Another address than the attacker's.
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, local_addr=("127.0.0.2", 0))
            try:
                writer.write(request(token).replace(b"Host: x", b"Host: x\r\nConnection: close"))
                answer = await reader.read()
            finally:
                writer.close()
        status = int(answer.split(b" ", 2)[1])
    except (OSError, TimeoutError, IndexError):
        status = 0
    return (time.monotonic() - begun) * 1000, status


async def calls(gateway, count=300):
    """Calls of the other user, one after the other: p50 and p99 in milliseconds, and how many failed."""
    done = [await call(gateway, gateway.other) for _ in range(count)]
    took = sorted(took for took, _ in done)
    failed = sum(status != 200 for _, status in done)
    return f"p50 {statistics.median(took):.2f} ms, p99 {took[int(count * 0.99)]:.2f} ms, {failed} of {count} failed"


async def open_streams(gateway, token, count, query, provider="p0"):
    """Opens streams that are never read beyond their head. The sockets, and the number of each status."""
    loop, opened, seen = asyncio.get_running_loop(), [], {}
    gate = asyncio.Semaphore(30)

    async def one():
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        async with gate:
            try:
                async with asyncio.timeout(30):
                    await loop.sock_connect(client, ("127.0.0.1", gateway.port))
                    await loop.sock_sendall(client, request(token, stream=True, query=query, provider=provider))
                    status = (await loop.sock_recv(client, 64)).split(b" ", 2)[1].decode()
            except (OSError, TimeoutError, IndexError) as error:
                status = type(error).__name__
        seen[status] = seen.get(status, 0) + 1
        if status == "200":
            opened.append(client)
        else:
            client.close()

    await asyncio.gather(*(one() for _ in range(count)))
    return opened, seen


def report(name, gateway):
    shown = [f"{key} {value:.1f} MiB" for key in ("VmRSS", "RssAnon", "RssFile", "VmData") if (value := gateway.memory(key)) is not None]
    print(f"  {name}: {', '.join(shown) or 'the process is gone'}", flush=True)


def answers(gateway):
    shown = lambda value: "no answer" if value is None else f"{value:.0f} ms"
    print(f"  /readyz {shown(gateway.probe('/readyz'))}, status {shown(gateway.status())}", flush=True)


ENDLESS = "?mock_count=300000&mock_size=200"


async def slow_token(gateway):
    """One token with 500 slowly read streams."""
    print("  another user before:", await calls(gateway), flush=True)
    opened, seen = await open_streams(gateway, gateway.attacker, 500, ENDLESS)
    await asyncio.sleep(2)
    print(f"  500 slow streams of one token: {seen}")
    print("  another user during:", await calls(gateway), flush=True)
    answers(gateway)
    report("during", gateway)
    for client in opened:
        client.close()
    await asyncio.sleep(1)
    print("  another user after:", await calls(gateway), flush=True)


async def silent(gateway):
    """1,100 connections that never send anything."""
    print("  another user before:", await calls(gateway), flush=True)
    opened = []
    for _ in range(1100):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", gateway.port))
        opened.append(client)
    await asyncio.sleep(1)
    print("  another user during:", await calls(gateway), flush=True)
    answers(gateway)
    for client in opened:
        client.close()
    print("  another user after:", await calls(gateway), flush=True)


async def slow_streams(gateway, count):
    """Thousands of slow streams: memory before, during, after."""
    report("before", gateway)
    begun = gateway.memory()
    opened, seen = await open_streams(gateway, gateway.attacker, count, ENDLESS)
    await asyncio.sleep(5)
    report(f"during, {seen}", gateway)
    if opened and gateway.lives():
        print(f"  per stream: {(gateway.memory() - begun) * 1024 / len(opened):.1f} KiB")
        answers(gateway)
    for client in opened:
        client.close()
    for seconds in (2, 15, 15):
        await asyncio.sleep(seconds)
        await calls(gateway, 20)
        report("after", gateway)
    print("  lives:", gateway.lives(), flush=True)


async def exchange(gateway, token, line, body=""):
    """A call of tollgate's own API; its document."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    answer = await reader.read()
    writer.close()
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


async def mixed(gateway, number):
    """One of nine calls: six to the provider, a wrong token, a look at the account, a token made and revoked."""
    try:
        async with asyncio.timeout(20):
            match number % 9:
                case 6:
                    await call(gateway, f"wrong-{number}")
                case 7:
                    await exchange(gateway, gateway.other, "GET /auth/creds")
                case 8:
                    made = await exchange(gateway, gateway.other, "POST /auth/tokens", "{}")
                    await exchange(gateway, gateway.other, f"DELETE /auth/tokens/{made['id']}")
                case _:
                    await call(gateway, gateway.other if number % 2 else gateway.attacker)
    except (OSError, TimeoutError, KeyError, ValueError) as error:
        print(f"  call {number}: {error!r}", flush=True)


async def soak(gateway, minutes, rate):
    """Mixed calls at a steady rate; memory once a minute."""
    begun, running, sent = time.monotonic(), set(), 0
    report("before", gateway)
    while time.monotonic() < begun + minutes * 60 and gateway.lives():
        if sent % (60 * rate) == 0:
            report(f"{time.strftime('%H:%M:%S')} after {sent} calls", gateway)
        task = asyncio.create_task(mixed(gateway, sent))
        running.add(task)
        task.add_done_callback(running.discard)
        sent += 1
        await asyncio.sleep(max(0, begun + sent / rate - time.monotonic()))
    await asyncio.gather(*running)
    report(f"after {sent} calls", gateway)


ATTACKS = {
    "slow-token": (slow_token, {"files": (1024, 1024)}),
    "silent": (silent, {"files": (1024, 1024)}),
    "slow-streams": (slow_streams, {}),
    "small-memory": (slow_streams, {"memory": 700}),
    "soak": (soak, {}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attacks", nargs="*", default=["slow-token", "silent", "slow-streams", "small-memory"])
    parser.add_argument("--binary", default=ROOT / "target" / "release" / "tollgate")
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=int, default=9, help="calls a second of the soak")
    parser.add_argument("--unlimited", action="store_true", help="no limits per token, user and address")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    for name in arguments.attacks:
        attack, limits = ATTACKS[name]
        amounts = {"slow-streams": [arguments.streams], "small-memory": [2200], "soak": [arguments.minutes, arguments.rate]}
        amount = amounts.get(name, [])
        more = ["--max-requests-per-token", 0, "--max-requests-per-user", 0, "--max-connections-per-address", 0]
        with tempfile.TemporaryDirectory() as work:
            more = more if arguments.unlimited else []
            gateway = Gateway(arguments.binary, work, workers=arguments.workers, arguments=more, **limits)
            print(f"{name}: {attack.__doc__}", flush=True)
            try:
                asyncio.run(attack(gateway, *amount))
            finally:
                gateway.stop()


if __name__ == "__main__":
    main()
