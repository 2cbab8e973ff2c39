"""The cases of the Autobahn test suite, once through tollgate and once without it, in both roles.

The peer of the suite is an echo server, then an echo client, of the library `websockets`. The verdict on each case has to be the
same on both ways: a relay that changes no frame changes no verdict. `kosoku` runs Autobahn's own case files on Python 3.

usage: conformance.py TOLLGATE [CASE ...]
"""

import asyncio
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import kosoku
import websockets
from websockets.asyncio.server import serve

CASES = sys.argv[2:] or None
# In seconds. All of the suite takes a few minutes.
DEADLINE = 600
FAILED = {"FAILED", "ERROR", "UNCLEAN", "WRONG CODE", "FAILED BY CLIENT"}


async def echo(socket):
    with contextlib.suppress(websockets.ConnectionClosed):
        async for message in socket:
            await socket.send(message)


OPTIONS = {"max_size": None, "ping_interval": None, "close_timeout": 5}


def port_of(server):
    return server.sockets[0].getsockname()[1]


class Tollgate:
    """A running tollgate whose provider `ws` leads to a port of this machine."""

    def __init__(self, binary, upstream):
        self.dir = tempfile.TemporaryDirectory()
        root = pathlib.Path(self.dir.name)
        (root / "providers.d").mkdir()
        (root / "providers.d/ws.toml").write_text(
            f'''title = "WebSocket"
base_url = "http://127.0.0.1:{upstream}"
path_prefix = "/ws"
caller = {{ query = ["key"] }}
[endpoint.any]
method = "GET"
path = "/{{rest...}}"
upgrade = "websocket"
'''
        )
        self.base = ["--providers", str(root / "providers.d"), "--data", str(root / "data")]
        added = subprocess.run([binary, "user", "add", "suite", *self.base], check=True, capture_output=True, text=True)
        self.token = added.stdout.strip()
        arguments = ["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--grace", "100ms", *self.base]
        self.process = subprocess.Popen([binary, *arguments], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.search(r'"message":"listening","address":"127.0.0.1:(\d+)"', line):
                self.port = int(found[1])
                break
        asyncio.get_running_loop().run_in_executor(None, self.process.stderr.read)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.dir.cleanup()


def verdicts(results):
    # Whether a message before a broken frame is echoed depends on the pieces that bytes come in: both are conformant.
    strict = lambda verdict: "OK" if verdict == "NON-STRICT" else verdict
    return {one.case_id: (strict(one.behavior.value), one.behavior_close.value) for one in results}


async def settled(results):
    """The results, also if there is a failure among them."""
    try:
        return verdicts(await results)
    except kosoku.FailureError as failed:
        return verdicts(failed.results)


async def against_server(url):
    return await settled(kosoku.run_fuzzingclient(url, CASES))


async def against_client(connect):
    """`connect`: makes the URL of a path and the headers for it, from the address of the suite's server."""
    async with kosoku.run_fuzzingserver(CASES, port=0) as server:
        with contextlib.ExitStack() as stack:
            url, headers = connect(stack, server.port)
            async with websockets.connect(url("getCaseCount"), additional_headers=headers, **OPTIONS) as socket:
                count = int(await socket.recv())
            for case in range(1, count + 1):
                with contextlib.suppress(websockets.InvalidHandshake, OSError, TimeoutError):
                    path = f"runCase?case={case}&agent=tollgate"
                    async with websockets.connect(url(path), additional_headers=headers, **OPTIONS) as socket:
                        await echo(socket)
            with contextlib.suppress(websockets.WebSocketException, OSError):
                async with websockets.connect(url("updateReports?agent=tollgate"), additional_headers=headers) as socket:
                    await socket.wait_closed()
            return await settled(asyncio.wait_for(server.get_result(), 60))


def compare(role, direct, relayed):
    differ = {case: (direct.get(case), relayed.get(case)) for case in direct | relayed if direct.get(case) != relayed.get(case)}
    failed = sorted(case for case, verdict in relayed.items() if FAILED & set(verdict))
    print(f"{role}: {len(relayed)} cases through tollgate, {len(differ)} with another verdict than without it")
    if failed:
        print(f"  failed by the library `websockets` on both ways: {', '.join(set(failed) - set(differ))}")
    for case, (without, through) in sorted(differ.items()):
        print(f"  {case}: {without} without tollgate, {through} through it")
    return not differ and len(direct) > 0


async def main():
    binary = os.path.abspath(sys.argv[1])
    # Many cases wait: the two ways run side by side.
    async with serve(echo, "127.0.0.1", 0, **OPTIONS) as server:
        with Tollgate(binary, port_of(server)) as tollgate:
            direct, relayed = await asyncio.gather(
                against_server(f"ws://127.0.0.1:{port_of(server)}/echo"),
                # The suite sends no headers of ours.
                against_server(f"ws://127.0.0.1:{tollgate.port}/ws/echo?key={tollgate.token}"),
            )
    good = compare("client of the suite", direct, relayed)

    def straight(_, port):
        return lambda path: f"ws://127.0.0.1:{port}/{path}", {}

    def through(stack, port):
        tollgate = stack.enter_context(Tollgate(binary, port))
        headers = {"Authorization": f"Bearer {tollgate.token}"}
        return lambda path: f"ws://127.0.0.1:{tollgate.port}/ws/{path}", headers

    direct, relayed = await asyncio.gather(against_client(straight), against_client(through))
    good &= compare("server of the suite", direct, relayed)
    return good


sys.exit(0 if asyncio.run(asyncio.wait_for(main(), DEADLINE)) else 1)
