#!/usr/bin/env python3
"""Measures startup with many provider files: wall time until the log line `listening`, CPU time, peak resident memory, and
anonymous memory two seconds later. Reports medians of several starts. With valgrind, also instructions of the main thread.
Requires a release build:

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
FOURTEEN = "anthropic cohere deepseek fireworks gemini groq minimax mistral openai openrouter perplexity together xai zai".split()
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


def select(directory, names):
    """Creates a directory with the shipped shared files, and those of some providers."""
    target = Path(directory) / "selected"
    shutil.copytree(ROOT / "providers.d", target)
    for file in target.glob("*.toml"):
        if file.stem not in names:
            file.unlink()
    if len(list(target.glob("*.toml"))) != len(names):
        raise SystemExit(f"not all of these providers are shipped: {names}")
    return target


def command(binary, providers, data):
    """The command of a server with one worker."""
    command = [binary, "serve", "--providers", providers, "--data", data, "--listen", "127.0.0.1:0"]
    return command + ["--workers", "1", "--log-format", "json"]


def wait_until_ready(process, providers):
    """Waits for the line `listening`. Fails unless every provider is served."""
    line = next((line for line in process.stderr if '"listening"' in line), "{}")
    count = len(list(Path(providers).glob("*.toml")))
    if json.loads(line).get("providers") != count:
        raise SystemExit(f"not all of {count} providers are served: {line}")


def anonymous(pid):
    """The anonymous memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Anonymous:")).split()[1]) / 1024


def start(binary, providers):
    """Returns wall seconds, CPU seconds, peak MiB and anonymous MiB."""
    with tempfile.TemporaryDirectory() as data:
        begun = time.monotonic()
        process = subprocess.Popen(
            command(binary, providers, data), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        wait_until_ready(process, providers)
        seconds = time.monotonic() - begun
        stat = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        time.sleep(2)
        status = Path(f"/proc/{process.pid}/status").read_text()
        kept = anonymous(process.pid)
        process.kill()
        process.wait()
    cpu = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    return seconds, cpu, int(status.split("VmHWM:")[1].split()[0]) / 1024, kept


def instructions(binary, providers):
    """Millions of instructions of the main thread, up to an orderly end after the start; none without valgrind. Its processor
    has no instructions for SHA-256, so that hashing counts for more."""
    if not shutil.which("valgrind"):
        return None
    with tempfile.TemporaryDirectory() as data:
        out = Path(data) / "out"
        valgrind = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={out}"]
        process = subprocess.Popen(
            valgrind + command(binary, providers, data), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        wait_until_ready(process, providers)
        process.terminate()
        process.stderr.read()
        process.wait()
        lines = Path(f"{out}-01").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("totals:")).split()[1]) / 1e6


def row(args, name, providers):
    """Prints the row of a directory."""
    rows = [start(args.binary, providers) for _ in range(args.rounds)]
    seconds, cpu, peak, kept = (statistics.median(column) for column in zip(*rows))
    millions = instructions(args.binary, providers) if args.instructions else None
    counted = f"{millions:,.0f} M" if millions else ""
    print(
        f"| {name} | {seconds:.2f} s | {cpu:.2f} s | {peak:.0f} MiB | {kept:.1f} MiB | {counted} |", flush=True
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target" / "release" / "tollgate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="*", default=(1, 1_000, 10_000))
    parser.add_argument("--instructions", action="store_true", help="count instructions, with valgrind")
    args = parser.parse_args()
    print("| provider files | to `listening` | CPU time | peak | anonymous | instructions |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        row(args, "all that are shipped", ROOT / "providers.d")
        row(args, "14 of them", select(directory, FOURTEEN))
        for count in args.counts:
            row(args, f"{count:,} of five lines", make(directory, count))


if __name__ == "__main__":
    main()
