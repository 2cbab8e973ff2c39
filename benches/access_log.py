#!/usr/bin/env python3
"""Measures the access log's cost on a worker: instructions and CPU time of a warm request on the worker's thread, with and
without it. Requires a release build, valgrind and python3:

    cargo build --release && benches/access_log.py [BINARY]
"""

import re
import signal
import sys
import tempfile
from pathlib import Path

from overload import Gateway
from request import Counted, make_calls
from start import ROOT


class Threads(Counted):
    """A gateway whose server runs in valgrind, which counts each thread apart."""

    options = ("--separate-threads=yes",)


def instructions(binary, access_log, few, many):
    """User-space instructions of a request on the worker's thread. Start and stop cancel out."""

    def worker(calls):
        with tempfile.TemporaryDirectory() as work:
            gateway = Threads(binary, work, workers=1, access_log=access_log)
            try:
                make_calls(gateway, calls)
                gateway.serve.send_signal(signal.SIGTERM)
                gateway.serve.wait(60)
                # The first thread starts the process; of the others, the worker does most.
                files = [file for file in Path(work).glob("counts-*") if not file.name.endswith("-01")]
                totals = (re.search(r"^totals: (\d+)", file.read_text(errors="replace"), re.M) for file in files)
                return max(int(total.group(1)) for total in totals if total)
            finally:
                gateway.stop()

    return (worker(many) - worker(few)) / (many - few)


def cpu(process):
    """CPU nanoseconds of the worker's thread, in user space and in the kernel."""
    threads = Path(f"/proc/{process.pid}/task").iterdir()
    workers = (thread for thread in threads if (thread / "comm").read_text().startswith("worker"))
    return sum(int((worker / "schedstat").read_text().split()[0]) for worker in workers)


def times(binary, count, rounds):
    """CPU microseconds of a request on the worker's thread, with and without the access log: rounds of both by turns."""
    used = {True: 0, False: 0}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        gateways = {}
        try:
            for access_log, work in ((True, one), (False, other)):
                gateways[access_log] = Gateway(binary, work, workers=1, access_log=access_log)
                make_calls(gateways[access_log], count)
            for turn in range(rounds):
                for access_log in (True, False) if turn % 2 else (False, True):
                    begun = cpu(gateways[access_log].serve)
                    make_calls(gateways[access_log], count)
                    used[access_log] += cpu(gateways[access_log].serve) - begun
        finally:
            for gateway in gateways.values():
                gateway.stop()
    return [used[access_log] / rounds / count / 1000 for access_log in (True, False)]


def main():
    binary = sys.argv[1] if sys.argv[1:] else str(ROOT / "target/release/tollgate")
    on, off = (instructions(binary, access_log, 1000, 5000) for access_log in (True, False))
    print(f"worker, a request: {on:,.0f} instructions with the access log, {off:,.0f} without: {on - off:+,.0f}", flush=True)
    on, off = times(binary, 3000, 10)
    print(f"worker, a request: {on:,.2f} us of CPU with the access log, {off:,.2f} without: {on - off:+,.2f}", flush=True)


if __name__ == "__main__":
    main()
