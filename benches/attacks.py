#!/usr/bin/env python3
"""Attacks one worker through its upstreams and its clients, and prints the latency of other callers before and during each
attack. Runs in a network namespace of its own, with a scripted name server. Requires a release build, python3, unshare, ip:

    cargo build --release && benches/attacks.py [ATTACK...]
"""

import argparse
import asyncio
import multiprocessing
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
INSIDE = "TOLLGATE_ATTACKS_NAMESPACE"
VICTIM, ATTACKER, GATEWAY = 8101, 8102, 8100
HANGING = 100
PROVIDER = """title = "{0}"
base_url = "http://{1}"
path_prefix = "/{0}"
[endpoint.get]
method = "GET"
path = "/{{rest...}}"
[endpoint.post]
method = "POST"
path = "/{{rest...}}"
"""


def enter_namespace():
    """Runs this script again in a namespace: its own loopback, and its own name server."""
    if os.environ.get(INSIDE):
        return
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        (Path(work) / "nsswitch.conf").write_text("hosts: files dns\n")
        lines = "ip link set lo up && " + " && ".join(f"mount --bind {work}/{name} /etc/{name}" for name in ("resolv.conf", "nsswitch.conf"))
        command = ["unshare", "--user", "--map-root-user", "--mount", "--net", "sh", "-c", f'{lines} && exec "$@"', "sh"]
        arguments = [sys.executable, __file__, *sys.argv[1:]]
        sys.exit(subprocess.run(command + arguments, env={**os.environ, INSIDE: "1"}).returncode)


def name_server():
    """Answers 127.0.0.1 for every name, but never for one that begins with `hang`."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        query, client = server.recvfrom(4096)
        if query[13:17] == b"hang":
            continue
        end = query.index(b"\0", 12) + 5
        is_a = query[end - 4 : end - 2] == b"\0\1"
        head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, int(is_a), 0, 0)
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if is_a else b""
        server.sendto(head + query[12:end] + record, client)


class Victim(asyncio.Protocol):
    """An upstream that answers every request with a few bytes. Below `/close`, it then closes the connection."""

    def connection_made(self, transport):
        self.transport, self.buffer, self.chunked = transport, b"", False

    def data_received(self, data):
        if self.chunked:
            return
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            if b"chunked" in head.lower():
                self.chunked = True
                return
            closes = b"/close" in head.split(b"\r\n", 1)[0]
            connection = b"close" if closes else b"keep-alive"
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: " + connection + b"\r\n\r\nok")
            if closes:
                self.transport.close()


def victim_upstream():
    async def run():
        server = await asyncio.get_running_loop().create_server(Victim, "127.0.0.1", VICTIM, backlog=1024)
        await server.serve_forever()

    asyncio.run(run())


def attacking_upstream():
    """Below `/interim`: interim responses without end. Below `/chunks`: chunks of one byte. Below `/digits`: a chunk's size."""
    server = socket.create_server(("127.0.0.1", ATTACKER), backlog=1024)
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 4000
    chunks = b"1\r\nx\r\n" * 20_000

    def serve(client):
        try:
            head = client.recv(1 << 16)
            endless = chunks if b"/chunks" in head else b"0" * 100_000 if b"/digits" in head else interim
            if endless is not interim:
                client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                client.sendall(endless)
        except OSError:
            client.close()

    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


def request(provider, path, token, method="GET", more=""):
    return f"{method} /{provider}/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{more}\r\n".encode()


def status_of(client, sent):
    """Sends a request and reads its whole response, which has a length. Returns the status."""
    client.sendall(sent)
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = client.recv(1 << 16)
        if not piece:
            raise ConnectionError("closed")
        answer += piece
    head, body = answer.split(b"\r\n\r\n", 1)
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(1 << 16)
    return int(head.split()[1])


def call_victim(results, path, token, seconds):
    """Four callers, each with a pause of 5 ms between requests. Puts latencies in ms, and the number of failures."""
    latencies, failures, end = [], [], time.monotonic() + seconds

    def caller():
        client = socket.create_connection(("127.0.0.1", GATEWAY))
        client.settimeout(30)
        while time.monotonic() < end:
            begun = time.monotonic()
            try:
                good = status_of(client, request("good", path, token)) == 200
            except (OSError, ValueError):
                good, client = False, socket.create_connection(("127.0.0.1", GATEWAY))
                client.settimeout(30)
            latencies.append((time.monotonic() - begun) * 1000)
            if not good:
                failures.append(begun)
            time.sleep(0.005)

    threads = [threading.Thread(target=caller) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put((sorted(latencies), len(failures)))


def measure(path, token, seconds):
    results = multiprocessing.Queue()
    process = multiprocessing.Process(target=call_victim, args=(results, path, token, seconds))
    process.start()
    latencies, failures = results.get()
    process.join()
    at = lambda share: latencies[min(int(len(latencies) * share), len(latencies) - 1)]
    return f"p50 {at(0.5):8.2f} ms  p99 {at(0.99):8.2f} ms  max {latencies[-1]:8.2f} ms  {failures} of {len(latencies)} failed"


def repeat(count, act):
    """Runs `act(number)` in so many threads, again and again, until the process is ended."""

    def loop(number):
        while True:
            try:
                act(number)
            except (OSError, ValueError):
                time.sleep(0.01)

    for number in range(count):
        threading.Thread(target=loop, args=(number,), daemon=True).start()
    threading.Event().wait()


def connected():
    client = socket.create_connection(("127.0.0.1", GATEWAY))
    client.settimeout(60)
    return client


def hang_one(token):
    """100 looping callers of one provider whose name server hangs."""
    repeat(100, lambda _: status_of(connected(), request("hang0", "x", token)))


def hang_many(token):
    """One looping caller of each of 100 providers whose name servers hang."""
    repeat(HANGING, lambda number: status_of(connected(), request(f"hang{number}", "x", token)))


def read_all(path, token):
    client, buffer = connected(), bytearray(1 << 20)
    client.sendall(request("bad", path, token))
    while client.recv_into(buffer):
        pass


def interim(token):
    """4 looping callers of an upstream that sends interim responses without end."""
    repeat(4, lambda _: read_all("interim", token))


def chunks(token):
    """4 callers of an upstream that sends chunks of one byte without end."""
    repeat(4, lambda _: read_all("chunks", token))


def digits(token):
    """4 looping callers of an upstream that sends the size of a chunk without end."""
    repeat(4, lambda _: read_all("digits", token))


def send_all(head, piece):
    client = connected()
    client.sendall(head)
    threading.Thread(target=drain, args=(client,), daemon=True).start()
    while True:
        client.sendall(piece)


def drain(client):
    try:
        while client.recv(1 << 20):
            pass
    except OSError:
        pass


def upload(token):
    """4 clients that send chunks of one byte without end."""
    head = request("good", "sink", token, "POST", "Transfer-Encoding: chunked\r\n")
    repeat(4, lambda _: send_all(head, b"1\r\nx\r\n" * 10_000))


def upload_digits(token):
    """4 clients that send the size of a chunk without end."""
    head = request("good", "sink", token, "POST", "Transfer-Encoding: chunked\r\n")
    repeat(4, lambda _: send_all(head, b"0" * 100_000))


def rest_digits(token):
    """The same for a request without a route."""
    head = request("nowhere", "x", token, "POST", "Transfer-Encoding: chunked\r\n")
    repeat(4, lambda _: send_all(head, b"0" * 100_000))


def trailers(token):
    """4 clients without a token that send requests with 60 kB of trailers, pipelined."""
    lines = b"".join(b"X-%02d: %s\r\n" % (number, b"a" * 650) for number in range(90))
    whole = request("good", "x", "none", "POST", "Transfer-Encoding: chunked\r\n") + b"1\r\nx\r\n0\r\n" + lines + b"\r\n"
    repeat(4, lambda _: send_all(b"", whole * 4))


def blank(token):
    """4 clients that send blank lines instead of a request, two bytes at a time."""

    def act(_):
        client = connected()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(30_000):
            client.sendall(b"\r\n")

    repeat(4, act)


def pipelined(token):
    """4 clients that send requests without a route, pipelined."""
    repeat(4, lambda _: send_all(b"", request("nowhere", "x", token) * 1000))


ATTACKS = {
    attack.__name__: attack
    for attack in (
        hang_one, hang_many, interim, chunks, digits, upload, upload_digits, rest_digits, trailers, blank, pipelined,
    )
}


class Gateway:
    def __init__(self, binary, work):
        providers = Path(work) / "providers.d"
        providers.mkdir()
        self.env = {**os.environ, "TOLLGATE_DATA": f"{work}/data", "TOLLGATE_PROVIDERS": str(providers)}
        hosts = {"good": f"good.test:{VICTIM}", "cold": f"cold.test:{VICTIM}", "bad": f"127.0.0.1:{ATTACKER}"}
        hosts.update({f"hang{number}": f"hang{number}.test:{VICTIM}" for number in range(HANGING)})
        for name, host in hosts.items():
            (providers / f"{name}.toml").write_text(PROVIDER.format(name, host))
        self.binary = binary
        self.token = subprocess.run([binary, "user", "add", "bench"], env=self.env, capture_output=True, text=True, check=True).stdout.strip()
        command = [binary, "serve", "--listen", f"127.0.0.1:{GATEWAY}", "--workers", "1", "--allow-private", "true"]
        command += ["--access-log", "false", "--log-format", "json"]
        self.log = open(f"{work}/log", "w+")
        self.process = subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=self.log)
        end = time.monotonic() + 10
        while '"listening"' not in Path(self.log.name).read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"tollgate does not serve:\n{Path(self.log.name).read_text()}")
            time.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.wait()


def cold(token):
    """One call of a provider that nobody has called before. Returns its status and time."""
    begun = time.monotonic()
    status = status_of(connected(), request("cold", "x", token))
    return f"first call of another provider: {status} after {(time.monotonic() - begun) * 1000:.0f} ms"


def run(name, binary, seconds):
    with tempfile.TemporaryDirectory() as work:
        gateway = Gateway(binary, work)
        try:
            # The name is looked up again and again: no connection is kept.
            path = "close" if name.startswith("hang") else "x"
            print(f"{name}: {ATTACKS[name].__doc__}")
            print(f"    before  {measure(path, gateway.token, seconds / 2)}", flush=True)
            attack = multiprocessing.Process(target=ATTACKS[name], args=(gateway.token,), daemon=True)
            attack.start()
            time.sleep(1)
            if name.startswith("hang"):
                print(f"    {cold(gateway.token)}", flush=True)
            print(f"    during  {measure(path, gateway.token, seconds)}", flush=True)
            attack.kill()
            attack.join()
            print(f"    after   {measure(path, gateway.token, seconds / 2)}", flush=True)
        finally:
            gateway.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=", ".join(ATTACKS))
    parser.add_argument("--binary", default=ROOT / "target" / "release" / "tollgate")
    parser.add_argument("--seconds", type=float, default=8)
    arguments = parser.parse_args()
    unknown = set(arguments.attacks) - set(ATTACKS)
    if unknown:
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")
    enter_namespace()
    servers = [multiprocessing.Process(target=server, daemon=True) for server in (name_server, victim_upstream, attacking_upstream)]
    for server in servers:
        server.start()
    for name in arguments.attacks or ATTACKS:
        run(name, arguments.binary, arguments.seconds)


if __name__ == "__main__":
    main()
