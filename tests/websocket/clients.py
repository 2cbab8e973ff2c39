"""Real clients open WebSockets through tollgate, at a fake upstream: OpenAI's SDK a realtime session and one of responses, the same as
a browser has it, with the token in a subprotocol, and Codex a whole turn. The provider file is the shipped one.

usage: clients.py TOLLGATE PROVIDERS CODEX
"""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import openai
import websockets
from websockets.asyncio.server import serve

KEY = "sk-fake-0123456789"
TEXT = "Hello from upstream"


async def session(socket):
    """Answers as the API does, as far as the clients ask."""
    path, headers = socket.request.path, socket.request.headers
    assert path in ["/v1/realtime?model=gpt-realtime", "/v1/responses"], path
    assert headers["Authorization"] == f"Bearer {KEY}", "the stored key is sent"
    offered = headers.get("Sec-WebSocket-Protocol", "")
    assert "openai-insecure-api-key" not in offered, "the caller's token is not sent"
    with contextlib.suppress(websockets.ConnectionClosed):
        if "realtime" in path:
            await send(socket, type="session.created", session={"type": "realtime", "model": "gpt-realtime"})
        async for message in socket:
            if json.loads(message)["type"] == "response.create":
                await (speak if "realtime" in path else respond)(socket)


async def send(socket, **event):
    await socket.send(json.dumps({"event_id": "e", **event}))


async def speak(socket):
    place = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
    for part in [TEXT[:5], TEXT[5:]]:
        await send(socket, type="response.output_text.delta", delta=part, **place)
    await send(socket, type="response.done", response={"id": "r", "object": "realtime.response", "status": "completed", "output": []})


async def respond(socket):
    place = {"item_id": "i", "output_index": 0, "content_index": 0}
    content = [{"type": "output_text", "text": TEXT, "annotations": []}]
    item = {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": content}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2, **details}
    response = {"id": "r", "object": "response", "created_at": 0, "model": "m", "tools": [], "tool_choice": "auto", "parallel_tool_calls": False}
    await send(socket, type="response.created", sequence_number=0, response={**response, "status": "in_progress", "output": []})
    await send(socket, type="response.output_item.added", sequence_number=1, output_index=0, item={**item, "status": "in_progress", "content": []})
    await send(socket, type="response.output_text.delta", sequence_number=2, delta=TEXT, logprobs=[], **place)
    await send(socket, type="response.output_item.done", sequence_number=3, output_index=0, item=item)
    await send(socket, type="response.completed", sequence_number=4, response={**response, "status": "completed", "output": [item], "usage": usage})


async def realtime_of_the_sdk(client):
    async with client.realtime.connect(model="gpt-realtime") as connection:
        created = await connection.recv()
        assert created.type == "session.created", created
        await connection.response.create()
        assert await text_of(connection, "response.done") == TEXT


async def responses_of_the_sdk(client):
    async with client.responses.connect() as connection:
        for _ in range(2):
            await connection.response.create(model="m", input="say hello")
            assert await text_of(connection, "response.completed") == TEXT


async def text_of(connection, last):
    text = ""
    async for event in connection:
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == last:
            return text


async def as_a_browser(port, token):
    protocols = ["realtime", f"openai-insecure-api-key.{token}"]
    url = f"ws://127.0.0.1:{port}/openai/v1/realtime?model=gpt-realtime"
    async with websockets.connect(url, subprotocols=protocols, origin="https://app.example.com") as socket:
        assert socket.subprotocol == "realtime", socket.subprotocol
        assert json.loads(await socket.recv())["type"] == "session.created"
        await socket.close(4000, "bye")
        assert socket.close_code == 4000, socket.close_code


async def turn_of_codex(codex, port, token, home):
    """Codex speaks to the endpoint over a WebSocket alone: the upstream takes no other request."""
    (home / "work").mkdir(parents=True)
    (home / "config.toml").write_text(
        f'''model = "m"
model_provider = "tollgate"
[model_providers.tollgate]
name = "tollgate"
base_url = "http://127.0.0.1:{port}/openai/v1"
env_key = "TOLLGATE_TOKEN"
wire_api = "responses"
supports_websockets = true
'''
    )
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "CODEX_HOME": str(home), "TOLLGATE_TOKEN": token, "no_proxy": "127.0.0.1"}
    command = [codex, "exec", "--skip-git-repo-check", "say hello"]
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    running = await asyncio.create_subprocess_exec(*command, cwd=home / "work", env=env, stdin=none, stdout=pipe, stderr=pipe)
    said, log = await running.communicate()
    assert running.returncode == 0 and said.decode().strip() == TEXT, f"{said.decode()}\n{log.decode()}"


@contextlib.contextmanager
def tollgate(binary, providers, upstream, dir):
    """Runs with the shipped file, at the fake upstream, which has no certificate. Yields the port and a user's token."""
    text = open(f"{providers}/openai.toml").read().replace("https://api.openai.com", f"http://127.0.0.1:{upstream}")
    text = re.sub(r"(?s)\n\[\[test\]\].*", "\n", text).replace('shared_with = ["openai-codex"]\n', "")
    text = re.sub(r"(?m)^gateway\.cloudflare.*\n", "", text)
    (dir / "providers.d").mkdir()
    (dir / "providers.d/openai.toml").write_text(text)
    base = ["--providers", str(dir / "providers.d"), "--data", str(dir / "data")]
    run = lambda *args, **more: subprocess.run([binary, *args, *base], check=True, capture_output=True, text=True, **more)
    token = run("user", "add", "sdk").stdout.strip()
    run("credential", "set", "sdk", "openai.apiKey", input=KEY)
    process = subprocess.Popen([binary, "serve", "--listen", "127.0.0.1:0", "--grace", "100ms", *base], stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if found := re.search(r'"message":"listening","address":"127.0.0.1:(\d+)"', line):
                break
        else:
            sys.exit("tollgate does not listen")
        asyncio.get_running_loop().run_in_executor(None, process.stderr.read)
        yield int(found[1]), token
    finally:
        process.terminate()
        process.wait(40)


async def main():
    binary, providers, codex = map(os.path.abspath, sys.argv[1:4])
    select = lambda _, offered: "realtime" if "realtime" in offered else None
    with tempfile.TemporaryDirectory() as dir:
        dir = pathlib.Path(dir)
        async with serve(session, "127.0.0.1", 0, select_subprotocol=select) as server:
            upstream = server.sockets[0].getsockname()[1]
            with tollgate(binary, providers, upstream, dir) as (port, token):
                client = openai.AsyncOpenAI(api_key=token, base_url=f"http://127.0.0.1:{port}/openai/v1")
                await realtime_of_the_sdk(client)
                await responses_of_the_sdk(client)
                await as_a_browser(port, token)
                await turn_of_codex(codex, port, token, dir / "codex")
    print(f"clients: openai {openai.__version__}, a browser's subprotocols, Codex: ok")


asyncio.run(asyncio.wait_for(main(), 120))
