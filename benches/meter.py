#!/usr/bin/env python3
"""Compares an endpoint that is metered with the same one with `metered = false`: instructions and CPU time of an exchange, and
memory of an open stream. Shapes: an SSE stream of 500 events of chat completions with usage, a stream of 4,000 such events, and
a unary answer with 4 KiB of text. Requires a release build, valgrind and python3:

    cargo build --release && benches/meter.py [BINARY]
"""

import asyncio
import json
import os
import re
import signal
import socket
import sys
import tempfile
from pathlib import Path

from overload import Gateway, open_streams
from request import Counted, received
from start import ROOT

OFF = """#:schema ../schema/provider.schema.json
title    = "Provider without a meter"
extends  = "openai-compatible"
base_url = "https://api.p1.example.com/openai"

[endpoint.chat]
metered = false
"""
SHAPES = {"stream of 500": (True, "mock_count=498&mock_size=16"), "unary, 4 KiB": (False, "mock_count=1&mock_size=4096")}


def with_both(kind):
    """That kind of gateway, with a second provider, `p1`, whose chat endpoint is not metered."""

    class Both(kind):
        def user(self, name):
            Path(self.env["TOLLGATE_PROVIDERS"], "p1.toml").write_text(OFF)
            token = super().user(name)
            self.run("credential", "set", name, "providers.p1.apiKey", stdin="sk-any")
            return token

    return Both


def request(token, provider, shape):
    """A call of about 1 KiB that asks for usage."""
    stream, query = SHAPES[shape]
    asked = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    messages = [{"role": "user", "content": "Why is the sky blue? " * 40}]
    body = json.dumps({"model": "any", "messages": messages, "max_tokens": 1000, **asked})
    head = f"POST /proxy/{provider}/v1/chat/completions?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def call(client, bytes_sent):
    """Makes one call on a kept connection, and reads its answer."""
    client.sendall(bytes_sent)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += received(client)
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise SystemExit(f"tollgate answered {answer}")
    length = re.search(rb"content-length: (\d+)", head, re.I)
    while len(body) < int(length.group(1)) if length else not body.endswith(b"\r\n0\r\n\r\n"):
        body += received(client)


def calls(gateway, provider, shape, count):
    sent = request(gateway.other, provider, shape)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
        for _ in range(count):
            call(client, sent)


def instructions(binary, provider, shape, few, many):
    """User-space instructions of an exchange, of all threads. Start and stop cancel out."""

    def whole(count):
        with tempfile.TemporaryDirectory() as work:
            gateway = with_both(Counted)(binary, work, workers=1)
            try:
                calls(gateway, provider, shape, count)
                gateway.serve.send_signal(signal.SIGTERM)
                gateway.serve.wait(60)
                return int(re.search(r"^summary: (\d+)", gateway.counts.read_text(), re.M).group(1))
            finally:
                gateway.stop()

    return (whole(many) - whole(few)) / (many - few)


def cpu(process):
    """CPU seconds of a process, in user space and in the kernel."""
    stat = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def times(binary, shape, count, rounds):
    """CPU microseconds of an exchange, with and without a meter: rounds of both by turns."""
    used = {"p0": 0.0, "p1": 0.0}
    with tempfile.TemporaryDirectory() as work:
        gateway = with_both(Gateway)(binary, work, workers=1)
        try:
            calls(gateway, "p0", shape, count)
            for turn in range(rounds):
                for provider in ("p0", "p1") if turn % 2 else ("p1", "p0"):
                    begun = cpu(gateway.serve)
                    calls(gateway, provider, shape, count)
                    used[provider] += cpu(gateway.serve) - begun
        finally:
            gateway.stop()
    return [used[provider] / rounds / count * 1e6 for provider in ("p0", "p1")]


async def stream_memory(binary, provider, count):
    """KiB of resident memory of an open stream whose client has read the head."""
    with tempfile.TemporaryDirectory() as work:
        off = ["--max-requests-per-token", 0, "--max-requests-per-user", 0, "--max-connections-per-address", 0]
        gateway = with_both(Gateway)(binary, work, files=(20_000, 20_000), workers=1, arguments=off)
        try:
            calls(gateway, provider, "stream of 500", 20)
            begun = gateway.memory("RssAnon")
            query = "?mock_count=100000&mock_size=16&mock_interval=1s"
            opened, seen = await open_streams(gateway, gateway.attacker, count, query, provider)
            await asyncio.sleep(3)
            if seen != {"200": count}:
                raise SystemExit(f"not all streams are open: {seen}")
            grown = gateway.memory("RssAnon") - begun
            for client in opened:
                client.close()
            return grown * 1024 / count
        finally:
            gateway.stop()


def main():
    binary = sys.argv[1] if sys.argv[1:] else str(ROOT / "target/release/tollgate")
    for shape, few, many, count in (("stream of 500", 20, 120, 200), ("unary, 4 KiB", 200, 1200, 2000)):
        on, off = (instructions(binary, provider, shape, few, many) for provider in ("p0", "p1"))
        print(f"{shape}: {on:,.0f} instructions metered, {off:,.0f} not: {on / off - 1:+.1%}", flush=True)
        on, off = times(binary, shape, count, 8)
        print(f"{shape}: {on:,.1f} us of CPU metered, {off:,.1f} not: {on / off - 1:+.1%}", flush=True)
    on, off = (asyncio.run(stream_memory(binary, provider, 1000)) for provider in ("p0", "p1"))
    print(f"open stream: {on:.2f} KiB metered, {off:.2f} not: {on - off:+.2f} KiB", flush=True)


if __name__ == "__main__":
    main()
