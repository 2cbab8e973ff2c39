#!/usr/bin/env python3
"""Measures startup with many provider files: wall time until the log line `listening`, CPU time and peak resident memory.
Reports medians of several starts. Requires a release build:

    cargo build --release && benches/start.py
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROVIDER = """#:schema ../schema/provider.schema.json
title    = "Provider {0}"
extends  = "openai-compatible"
base_url = "https://api.p{0}.example.com/openai"
keys_url = "https://console.p{0}.example.com/keys"
"""


def make(directory, count):
    """Creates a directory with the shipped shared files and `count` provider files."""
    providers = Path(directory) / f"providers-{count}"
    providers.mkdir()
    for folder in ("presets", "gateways", "apis"):
        shutil.copytree(ROOT / "providers.d" / folder, providers / folder)
    for index in range(count):
        (providers / f"p{index}.toml").write_text(PROVIDER.format(index))
    return providers


def start(binary, providers, count):
    """Returns wall seconds, CPU seconds and peak MiB. Fails unless every provider is served."""
    with tempfile.TemporaryDirectory() as data:
        command = [binary, "serve", "--providers", providers, "--data", data, "--listen", "127.0.0.1:0"]
        command += ["--workers", "1", "--log-format", "json"]
        begun = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = next((line for line in process.stderr if '"listening"' in line), "{}")
        seconds = time.monotonic() - begun
        if json.loads(line).get("providers") != count:
            raise SystemExit(f"not all of {count} providers are served: {line}")
        stat = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.kill()
        process.wait()
    cpu = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    return seconds, cpu, int(status.split("VmHWM:")[1].split()[0]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target" / "release" / "tollgate")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print("| provider files | to `listening` | CPU time | peak memory |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        for count in (1, 1_000, 10_000):
            providers = make(directory, count)
            rows = [start(args.binary, providers, count) for _ in range(args.rounds)]
            seconds, cpu, peak = (statistics.median(column) for column in zip(*rows))
            print(f"| {count:,} | {seconds:.2f} s | {cpu:.2f} s | {peak:.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
