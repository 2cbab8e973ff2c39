#!/usr/bin/env python3
"""Counts the user-space instructions of one warm request through a serving tollgate, all of its code: client connection,
authentication, rewriting, upstream connection with TLS, response. Requires a release build, valgrind and python3:

    cargo build --release && benches/request.py [BINARY...]

Two runs of different length are compared, so that start and stop cancel out.
"""

import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from overload import Gateway, request
from start import ROOT


# Three limits that match each request: of requests in a sliding window, of bytes in a month, and of requests at a time.
LIMITS = """
[[limit]]
id       = "minute"
requests = 1_000_000
window   = { sliding = "60s" }

[[limit]]
id     = "month"
bytes  = 1_000_000_000_000
window = { every = "month", tz = "Europe/Berlin" }

[[limit]]
id         = "at-a-time"
concurrent = 100
"""


class Counted(Gateway):
    """A gateway whose server runs in valgrind."""

    options = ()

    def spawn(self, *arguments, **more):
        if arguments[0] != "serve":
            return super().spawn(*arguments, **more)
        self.counts = self.data.parent / "counts"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self.counts}", *self.options]
        command = [*valgrind, self.binary, *map(str, arguments)]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=self.log)


def call(client, head, rest):
    """Makes one call on a kept connection. Returns the bytes after its response."""
    client.sendall(head)
    while b"\r\n\r\n" not in rest:
        rest += received(client)
    answer, _, rest = rest.partition(b"\r\n\r\n")
    if b" 200 " not in answer.split(b"\r\n")[0]:
        raise SystemExit(f"tollgate answered {answer}")
    length = int(re.search(rb"content-length: (\d+)", answer, re.I).group(1))
    while len(rest) < length:
        rest += received(client)
    return rest[length:]


def received(client):
    """The next bytes of the connection, which has not ended."""
    data = client.recv(65536)
    if not data:
        raise SystemExit("tollgate closed the connection")
    return data


def make_calls(gateway, calls):
    """Makes so many calls on one connection, one after the other."""
    head, rest = request(gateway.other), b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
        for _ in range(calls):
            rest = call(client, head, rest)


def instructions(binary, calls, arguments):
    """Instructions of a whole process that serves so many calls."""
    with tempfile.TemporaryDirectory() as work:
        gateway = Counted(binary, work, workers=1, arguments=arguments)
        try:
            make_calls(gateway, calls)
            gateway.serve.send_signal(signal.SIGTERM)
            gateway.serve.wait(60)
            return int(re.search(r"^summary: (\d+)", gateway.counts.read_text(), re.M).group(1))
        finally:
            gateway.stop()


def main():
    for binary in sys.argv[1:] or [ROOT / "target" / "release" / "tollgate"]:
        few, many = 1000, 5000
        with tempfile.TemporaryDirectory() as limits:
            Path(limits, "three.toml").write_text(LIMITS)
            for name, arguments in (
                ("one provider", ()),
                ("beside all built-in ones", ("--catalogue", "all")),
                ("with three limits", ("--limits", limits)),
            ):
                count = (instructions(binary, many, arguments) - instructions(binary, few, arguments)) / (many - few)
                print(f"{binary}, {name}: {count:,.0f} instructions a request", flush=True)


if __name__ == "__main__":
    main()
