#!/usr/bin/env python3
"""Measures the latency that clients see with exporters whose receiver works, hangs, refuses, answers 500, or is 2 s slow, beside
none. All gateways run at once, and calls go round them, so that noise of the machine meets all alike. Requires a release
build and python3:

    cargo build --release && benches/exporters.py [--calls 3000] [--binary target/release/tollgate]
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from overload import Gateway, port, request
from start import ROOT

MODES = ("none", "works", "hangs", "refuses", "500", "slow")


async def receive(mode, reader, writer):
    """Reads requests of an exporter, and treats them as the mode says."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            if mode == "hangs":
                await asyncio.sleep(3600)
            if mode == "slow":
                await asyncio.sleep(2)
            status = b"500 Internal Server Error" if mode == "500" else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    except (OSError, EOFError, asyncio.IncompleteReadError):
        writer.close()


def receivers():
    """Starts a receiver for each mode on a thread of its own. Returns their ports; that of `refuses` is closed."""
    ports, started, loop = {mode: port() for mode in MODES}, threading.Event(), asyncio.new_event_loop()

    async def start():
        for mode in MODES:
            if mode not in ("none", "refuses"):
                await asyncio.start_server(lambda r, w, mode=mode: receive(mode, r, w), "127.0.0.1", ports[mode])
        started.set()

    loop.create_task(start())
    threading.Thread(target=loop.run_forever, daemon=True).start()
    started.wait()
    return ports


def gateway(binary, work, mode, receiver):
    """A gateway with both kinds of exporters, but for the mode `none`."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "LLEMTRY_ENABLED", "LLEMTRY_ENDPOINT", "LLEMTRY_AUTH_TOKEN")
    for name in names:
        os.environ.pop(name, None)
    if mode != "none":
        url = f"http://127.0.0.1:{receiver}"
        os.environ.update(zip(names, (url, "true", url, "any")))
    Path(work).mkdir()
    return Gateway(binary, work, workers=1)


class Client:
    """One kept connection of a client."""

    def __init__(self, gateway):
        self.socket = socket.create_connection(("127.0.0.1", gateway.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request, self.took = request(gateway.other), []

    def call(self):
        begun = time.perf_counter()
        self.socket.sendall(self.request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.socket.recv(65536)
        head, body = answer.split(b"\r\n\r\n", 1)
        assert b" 200 " in head, answer
        left = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]) - len(body)
        while left > 0:
            left -= len(self.socket.recv(65536))
        self.took.append((time.perf_counter() - begun) * 1e6)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--binary", default=str(ROOT / "target/release/tollgate"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        ports = receivers()
        gateways = {mode: gateway(given.binary, f"{work}/{mode}", mode, ports[mode]) for mode in MODES}
        try:
            clients = {mode: Client(one) for mode, one in gateways.items()}
            for number in range(given.calls + 100):
                # Each mode follows each other one equally often.
                for mode in MODES[number % len(MODES) :] + MODES[: number % len(MODES)]:
                    clients[mode].call()
            for mode, client in clients.items():
                took = sorted(client.took[100:])
                p50, p99 = statistics.median(took), took[int(len(took) * 0.99)]
                print(f"{mode:8} p50 {p50:7.1f} us, p99 {p99:7.1f} us")
            for mode, one in gateways.items():
                shown = one.run("status", "--all", check=False).stdout
                for line in shown.splitlines():
                    if line.startswith("exporter "):
                        print(f"{mode:8} {line}")
        finally:
            for one in gateways.values():
                one.stop()


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.stderr) from error
