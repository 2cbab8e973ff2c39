#!/usr/bin/env python3
"""Measures `tollgate check` with the shipped files, 1,000 and 10,000 files: wall time, CPU time and peak resident memory.
Reports medians of several runs. Requires a release build:

    cargo build --release && benches/check.py
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from start import ROOT, make


def check(binary, providers):
    """Returns wall seconds, CPU seconds and peak MiB. Fails if a file has an error."""
    begun = time.monotonic()
    process = subprocess.Popen([binary, "check", providers], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"`{providers}` has errors")
    return time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target" / "release" / "tollgate")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print("| provider files | to the exit | CPU time | peak memory |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        cases = {"the shipped": ROOT / "providers.d"}
        cases |= {f"{count:,}": make(directory, count) for count in (1_000, 10_000)}
        for name, providers in cases.items():
            rows = [check(args.binary, providers) for _ in range(args.rounds)]
            seconds, cpu, peak = (statistics.median(column) for column in zip(*rows))
            print(f"| {name} | {seconds:.3f} s | {cpu:.3f} s | {peak:.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
