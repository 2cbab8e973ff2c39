"""Makes the calls of one client in Python, and reports each to `run.py`: what came back, or the exception that the user sees.

usage: harness.py FILE, which is one of calls/*.py

Each file calls `run` with a function that makes its client of a token, and its calls. All of them make the same calls, as far as the
client has them, and all meet the same faults.
"""

import contextlib
import io
import json
import os
import pathlib
import runpy
import subprocess
import sys
import urllib.request

GATEWAY = os.environ["CLIENTS_GATEWAY"]
TOKEN = os.environ["TOKEN"]
# Of a user without a stored key, one that was revoked, and a vendor's key by mistake.
WITHOUT_KEY = os.environ["CLIENTS_WITHOUT_KEY"]
REVOKED = os.environ["CLIENTS_REVOKED"]
VENDORS = "sk-proj-0123456789abcdefghij"
HELLO = [{"role": "user", "content": "hello"}]
# A tool as most describe it, and its parameters for the rest.
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather of a city", "parameters": PARAMETERS}}


def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: its name
    """
    return f"sunny in {city}"


def run(client, calls, chat=None, stream=None, empty=""):
    """Makes the calls, each with a client of its own, then those that fail. `empty` is the token that stands for none."""
    report("the code of docs/clients.md", snippet)
    for name, call in calls.items():
        report(name, lambda: call(client(TOKEN)))
    for name, token in [("no token", empty), ("a vendor's key", VENDORS), ("a revoked token", REVOKED), ("no stored key", WITHOUT_KEY)]:
        report(name, lambda: chat(client(token), "model-1"))
    for name, model in [("429 of the upstream", "status-429"), ("500 of the upstream", "status-500"), ("a slow upstream", "slow")]:
        report(name, lambda: chat(client(TOKEN), model))
    if stream:
        report("a cut in a stream", lambda: stream(client(TOKEN), "cut"))


def run_tool(chat, model, reads=True, cut="cut", shown=str):
    """The same for a command line: `chat(token, model, prompt)` is one run of it. Reading a note is its tool loop. `shown` cuts out of what
    the code of docs/clients.md prints what differs from run to run.
    """
    report("the code of docs/clients.md", lambda: shown(snippet()))
    if reads:
        note = pathlib.Path("note.txt").absolute()
        note.write_text("the text of the note")
        report("a tool loop", lambda: chat(TOKEN, model, f"read {note}"))
    for name, token in [("no token", ""), ("a vendor's key", VENDORS), ("a revoked token", REVOKED), ("no stored key", WITHOUT_KEY)]:
        report(name, lambda: chat(token, model, "hello"))
    models = {"429 of the upstream": "status-429", "500 of the upstream": "status-500", "a slow upstream": "slow", "a cut in a stream": cut}
    for name, faulty in models.items():
        report(name, lambda: chat(TOKEN, faulty, "hello"))


def said(command, until=None, **env):
    """What a command prints, or the end of it and of its errors with the exit code. One that would try for long is ended after `until`."""
    command = subprocess.Popen(command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if until:
        lines = []
        for line in command.stdout:
            lines.append(line)
            if until in line:
                break
        command.terminate()
        command.communicate()
        return plain("".join(lines))
    out, errors = command.communicate()
    return plain(out if command.returncode == 0 else f"exit code {command.returncode}: {out.strip()} {errors.strip()}")


def plain(text):
    """Without the place of the run."""
    return text.strip().replace(os.getcwd(), "~")


def report(name, call):
    try:
        saw = call()
    except Exception as error:
        saw = described(error)
    body = json.dumps({"case": name, "saw": str(saw)}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(urllib.request.Request(f"{GATEWAY}/case", body, {"content-type": "application/json"})).read()


def described(error):
    """The type, the status and the message. Some types have the status in the message alone."""
    statuses = [getattr(error, name, None) for name in ["status_code", "code", "http_status"]]
    status = next((str(status) for status in statuses if isinstance(status, int)), "")
    return f"{type(error).__name__} {status}: {error}".replace(" :", ":")


def snippet():
    """Runs the code of docs/clients.md and returns what it prints."""
    code = os.environ["CLIENTS_SNIPPET"]
    if os.environ["CLIENTS_LANGUAGE"] == "sh":
        return said(["bash", "-euc", code])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/clients.md", "exec"), {"__name__": "__main__"})
    return printed.getvalue().strip()


if __name__ == "__main__":
    sys.modules["harness"] = sys.modules["__main__"]
    runpy.run_path(sys.argv[1], run_name="calls")
