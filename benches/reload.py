#!/usr/bin/env python3
"""Measures hot reload: time from saving a file to its first request; duration of a reload of many files; request latency
during reloads; and memory after many reloads with open streams. Requires a release build, wrk and python3:

    cargo build --release && benches/reload.py
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from start import ROOT, make

PACED = """
wrk.method = "POST"
wrk.body = '{"model":"any","messages":[]}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")
function delay() return math.random(5, 35) end
"""


def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Gateway:
    """A mock upstream and a tollgate in front of it, serving a directory of provider files."""

    def __init__(self, binary, work, providers):
        self.binary, self.data = binary, Path(work) / "data"
        self.log = open(Path(work) / "log", "a+")
        self.env = dict(os.environ, TOLLGATE_DATA=str(self.data), TOLLGATE_PROVIDERS=str(providers))
        upstream, self.port, ca = port(), port(), Path(work) / "ca.pem"
        ca.unlink(missing_ok=True)
        self.mock = self.spawn("mock", "--tls", "--ca-out", ca, "--listen", f"127.0.0.1:{upstream}")
        while not (ca.exists() and ca.stat().st_size):
            time.sleep(0.01)
        arguments = ["--listen", f"127.0.0.1:{self.port}", "--workers", "1", "--access-log", "false"]
        arguments += ["--connect-to", f"*=127.0.0.1:{upstream}", "--ca-file", ca, "--log-format", "json"]
        self.token = self.run("user", "add", "bench").strip()
        self.serve = self.spawn("serve", *arguments)
        while self.status("/readyz") != 200:
            time.sleep(0.01)

    def spawn(self, *arguments):
        command = [self.binary, *map(str, arguments)]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=self.log)

    def run(self, *arguments, stdin=""):
        command = [self.binary, *map(str, arguments)]
        return subprocess.run(command, env=self.env, input=stdin, capture_output=True, text=True, check=True).stdout

    def status(self, path):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", path, headers={"Authorization": f"Bearer {getattr(self, 'token', '')}"})
            return connection.getresponse().status
        except ConnectionError:
            return 0

    def reload(self):
        """Reloads through the control socket. Returns the status document."""
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.data / "control.sock"))
            control.sendall(b"POST /admin/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            while piece := control.recv(1 << 16):
                answer += piece
        head, body = answer.split(b"\r\n\r\n", 1)
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise SystemExit(f"a reload failed: {answer[:2000]}")
        return body

    def last_reload_ms(self):
        lines = Path(self.log.name).read_text().splitlines()
        return next(json.loads(line)["ms"] for line in reversed(lines) if '"message":"reloaded' in line)

    def resident(self):
        status = Path(f"/proc/{self.serve.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self):
        for process in (self.serve, self.mock):
            process.kill()
            process.wait()


def save(path, text):
    draft = path.with_suffix(".tmp")
    draft.write_text(text)
    draft.rename(path)


def versions(providers, name="p0"):
    """Generates versions of a file; each has another path for the endpoint `extra`."""
    path = providers / f"{name}.toml"
    text = path.read_text().split("\n[endpoint.extra]")[0]
    number = time.monotonic_ns()
    while True:
        number += 1
        yield path, f'{text}\n[endpoint.extra]\nmethod = "GET"\npath = "/extra{number}"\n', f"/proxy/{name}/extra{number}"


def save_to_served(gateway, providers, saves):
    took = []
    for _, (path, text, route) in zip(range(saves), versions(providers)):
        save(path, text)
        begun = time.monotonic()
        # 401 means that the route exists without a credential.
        while gateway.status(route) == 404:
            time.sleep(0.002)
        took.append((time.monotonic() - begun) * 1000)
    return statistics.median(took), max(took)


def reloads(gateway, providers, rounds):
    """Reload times in milliseconds: one file changed, and the shared preset changed."""
    one, all_files = [], []
    preset = providers / "presets" / "openai-compatible.toml"
    text = preset.read_text()
    for index, (path, other, _) in zip(range(rounds), versions(providers)):
        save(path, other)
        gateway.reload()
        one.append(gateway.last_reload_ms())
        save(preset, f"{text}\n# {index}\n")
        gateway.reload()
        all_files.append(gateway.last_reload_ms())
    return statistics.median(one), statistics.median(all_files)


def latency(gateway, work, seconds):
    script = Path(work) / "paced.lua"
    script.write_text(PACED)
    url = f"http://127.0.0.1:{gateway.port}/proxy/p1/v1/chat/completions"
    command = ["wrk", "--latency", "-t1", "-c16", f"-d{seconds}s", "-s", script, url]
    text = subprocess.run(
        command, env=dict(os.environ, TOKEN=gateway.token), capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"requests failed:\n{text}")
    value = next(line.split()[1] for line in text.splitlines() if line.strip().startswith("99%"))
    for unit, factor in (("us", 0.001), ("ms", 1), ("s", 1000)):
        if value.endswith(unit):
            return float(value.removesuffix(unit)) * factor
    raise SystemExit(f"wrk says {value}")


def during_reloads(gateway, providers, work, seconds):
    """p99 latency in milliseconds, without reloads and during back-to-back reloads of all files."""
    quiet = latency(gateway, work, seconds)
    preset, ended, done = providers / "presets" / "openai-compatible.toml", threading.Event(), []
    text = preset.read_text()

    def work_on():
        while not ended.is_set():
            save(preset, f"{text}\n# {time.monotonic()}\n")
            gateway.reload()
            done.append(1)

    thread = threading.Thread(target=work_on)
    thread.start()
    busy = latency(gateway, work, seconds)
    ended.set()
    thread.join()
    return quiet, busy, len(done)


def streams(gateway, count):
    request = (
        "POST /proxy/p1/v1/chat/completions?mock_count=1000000&mock_interval=1s HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {gateway.token}\r\nContent-Length: 15\r\n\r\n" + '{"stream": true'
    )
    opened = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", gateway.port))
        client.sendall(request.encode())
        client.recv(64)
        opened.append(client)
    return opened


def memory(gateway, providers, count, steps):
    """Resident MiB after each number of reloads in `steps`, with open streams."""
    opened, figures, done = streams(gateway, count), [], 0
    texts = versions(providers)
    for step in steps:
        while done < step:
            path, text, _ = next(texts)
            save(path, text)
            gateway.reload()
            done += 1
        figures.append((step, gateway.resident()))
    for client in opened:
        client.close()
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target" / "release" / "tollgate")
    parser.add_argument("--files", type=int, nargs="*", default=[14, 10_000])
    parser.add_argument("--saves", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--reloads", type=int, nargs="*", default=[0, 100, 500, 1000])
    parser.add_argument("--streams", type=int, default=100)
    arguments = parser.parse_args()
    for count in arguments.files:
        with tempfile.TemporaryDirectory() as work:
            providers = make(work, count)
            gateway = Gateway(arguments.binary, work, providers)
            gateway.run("credential", "set", "bench", "providers.p1.apiKey", stdin="sk-any")
            try:
                median, most = save_to_served(gateway, providers, arguments.saves)
                print(f"{count} files: save to served: median {median:.0f} ms, at most {most:.0f} ms", flush=True)
                one, all_files = reloads(gateway, providers, arguments.rounds)
                print(f"{count} files: a reload: one changed {one:.0f} ms, all changed {all_files:.0f} ms", flush=True)
                quiet, busy, done = during_reloads(gateway, providers, work, arguments.seconds)
                print(f"{count} files: p99 {quiet:.2f} ms, during {done} reloads {busy:.2f} ms: {busy / quiet:.2f} x", flush=True)
                if count <= 1000:
                    for step, mib in memory(gateway, providers, arguments.streams, arguments.reloads):
                        print(f"{count} files, {arguments.streams} streams: after {step} reloads {mib:.1f} MiB", flush=True)
            finally:
                gateway.stop()


if __name__ == "__main__":
    main()
