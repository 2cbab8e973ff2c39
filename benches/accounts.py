#!/usr/bin/env python3
"""Measures accounts: throughput and latency of a cached caller with 10 and with a million tokens in the store; memory in
both cases and after many callers; and the cost of a flood of wrong tokens. Requires a release build, wrk and python3:

    cargo build --release && benches/accounts.py
"""

import argparse
import hashlib
import re
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from reload import Gateway
from start import ROOT, make

CALL = """
wrk.method = "POST"
wrk.body = '{"model":"any","messages":[]}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
"""
PACED = "function delay() return math.random(5, 35) end"
# Random client addresses, so that the authentication rate limit delays none.
FLOOD = """
math.randomseed(os.time())
local function any(most) return math.random(0, most) end
function delay() return any(%d) end
function request()
  local token = string.format("tg_%%08x%%08x%%08x%%08x%%08x%%08x", any(2^31), any(2^31), any(2^31), any(2^31), any(2^31), any(2^31))
  local from = string.format("%%d.%%d.%%d.%%d", any(255), any(255), any(255), any(255))
  return wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. token, ["X-Forwarded-For"] = from })
end
"""


def token(number):
    return f"tg_{number:048x}"


def seed(data, users, tokens):
    """Inserts users and their tokens directly into the existing database."""
    with sqlite3.connect(data / "tollgate.db") as store:
        store.execute("PRAGMA synchronous = OFF")
        rows = ((f"usr_{number:016x}", f"user {number}", 1) for number in range(users))
        store.executemany("INSERT INTO users (id, name, created_at) VALUES (?, ?, ?)", rows)
        rows = (
            (
                hashlib.sha256(token(number).encode()).hexdigest(),
                f"tok_{number:016x}",
                f"usr_{number % users:016x}",
                token(number)[:11],
                "both",
                number,
            )
            for number in range(tokens)
        )
        insert = "INSERT INTO tokens (hash, id, user_id, prefix, kind, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        store.executemany(insert, rows)
    store.close()


class Seeded(Gateway):
    """A gateway with seeded users and tokens, and one shared credential."""

    def __init__(self, binary, work, users, tokens):
        work = Path(work) / str(tokens)
        work.mkdir()
        self.begun = time.monotonic()
        environment = {"TOLLGATE_DATA": str(work / "data")}
        subprocess.run([binary, "user", "add", "first"], env=environment, check=True, capture_output=True)
        seed(work / "data", users, tokens)
        self.seeded = time.monotonic() - self.begun
        super().__init__(binary, work, make(work, 2))
        try:
            self.run("credential", "set", "bench", "providers.p1.apiKey", stdin="sk-any")
            self.share("sk-of-everybody")
        except BaseException:
            self.stop()
            raise

    def spawn(self, command, *arguments):
        if command == "serve":
            # Lookups in the store are counted in the debug log.
            arguments += ("--trusted-proxies", "127.0.0.1", "--log", "debug")
        return super().spawn(command, *arguments)

    def share(self, key):
        body = f'{{"providers": {{"p1": {{"apiKey": "{key}"}}}}}}'
        head = f"PATCH /admin/credentials/everybody HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}"
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.data / "control.sock"))
            control.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n{body}".encode())
            answer = control.recv(1 << 16)
        if b" 200 " not in answer.split(b"\r\n", 1)[0]:
            raise SystemExit(f"the key was not shared: {answer[:500]}")

    def wait_until_ready(self):
        """Waits until the Bloom filter of token hashes is filled."""
        while "the Bloom filter of token hashes is filled" not in Path(self.log.name).read_text():
            time.sleep(0.01)

    def lookups(self):
        return Path(self.log.name).read_text().count('"a token is looked up"')

    def wrk(self, script, connections, seconds):
        path = Path(self.log.name).with_name(f"{threading.get_ident()}.lua")
        path.write_text(script)
        url = f"http://127.0.0.1:{self.port}/proxy/p1/v1/chat/completions"
        command = ["wrk", "--latency", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", path, url]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def millis(text, percentile):
    value, unit = re.search(rf"^ *{percentile}% +([\d.]+)(us|ms|s)$", text, re.MULTILINE).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def figures(text):
    """Requests per second, p50 and p99 in milliseconds. Fails if any request failed."""
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"requests failed:\n{text}")
    return float(re.search(r"Requests/sec: +([\d.]+)", text).group(1)), millis(text, 50), millis(text, 99)


def warm(gateways, rounds, seconds):
    """Medians for each gateway; rounds alternate."""
    seen = [[] for _ in gateways]
    for _ in range(rounds):
        for gateway, rows in zip(gateways, seen):
            rows.append(figures(gateway.wrk(CALL % gateway.token, 32, seconds)))
    return [[statistics.median(column) for column in zip(*rows)] for rows in seen]


def authenticate(gateway, callers):
    """Sends one request for each of `callers` tokens, pipelined in batches of 100."""
    client = socket.create_connection(("127.0.0.1", gateway.port))
    answers = client.makefile("rb")
    for first in range(0, callers, 100):
        numbers = range(first, min(first + 100, callers))
        head = "GET /proxy/nowhere HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n"
        client.sendall("".join(head.format(token(number)) for number in numbers).encode())
        for _ in numbers:
            status, length = answers.readline().split()[1], 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            answers.read(length)
            if status != b"404":
                raise SystemExit(f"a token was not accepted: {status}")
    client.close()


def flood(gateway, seconds, most_delay):
    """Returns the p99 of a paced caller alone and during a flood, wrong tokens sent, store lookups, memory before and after."""
    paced = CALL % gateway.token + PACED
    alone = figures(gateway.wrk(paced, 16, seconds))[2]
    before, resident, texts = gateway.lookups(), gateway.resident(), []
    flooding = threading.Thread(target=lambda: texts.append(gateway.wrk(FLOOD % most_delay, 64, seconds)))
    flooding.start()
    beside = figures(gateway.wrk(paced, 16, seconds))[2]
    flooding.join()
    came = int(re.search(r"(\d+) requests in", texts[0]).group(1))
    refused = int(re.search(r"Non-2xx or 3xx responses: (\d+)", texts[0]).group(1))
    if refused != came:
        raise SystemExit(f"not all wrong tokens were refused:\n{texts[0]}")
    return alone, beside, came, gateway.lookups() - before, resident, gateway.resident()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target" / "release" / "tollgate")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        few = Seeded(arguments.binary, work, 10, 10)
        many = Seeded(arguments.binary, work, arguments.users, arguments.tokens)
        try:
            for gateway in (few, many):
                gateway.wait_until_ready()
            print(f"{arguments.tokens:,} tokens seeded in {many.seeded:.0f} s")
            print(f"resident: 10 tokens {few.resident():.1f} MiB, {arguments.tokens:,} tokens {many.resident():.1f} MiB")
            rows = warm((few, many), arguments.rounds, arguments.seconds)
            for name, (rate, median, tail) in zip(("10", f"{arguments.tokens:,}"), rows):
                print(f"{name} tokens: {rate:,.0f} requests/s, p50 {median:.2f} ms, p99 {tail:.2f} ms", flush=True)
            print(f"ratio: {rows[1][0] / rows[0][0]:.3f} of the requests/s, {rows[1][2] / rows[0][2]:.2f} x the p99")
            begun = time.monotonic()
            authenticate(many, arguments.users)
            seconds = time.monotonic() - begun
            print(f"{arguments.users:,} callers authenticated in {seconds:.1f} s: resident {many.resident():.1f} MiB", flush=True)
            for most_delay in (60, 0):
                alone, beside, came, lookups, before, after = flood(many, 5, most_delay)
                print(f"flood of {came / 5:,.0f} wrong tokens/s: {lookups} of {came:,} looked up, resident {before:.1f} -> {after:.1f} MiB")
                print(f"p99 of a paced caller: alone {alone:.2f} ms, during the flood {beside:.2f} ms: {beside / alone:.2f} x", flush=True)
        finally:
            few.stop()
            many.stop()


if __name__ == "__main__":
    main()
