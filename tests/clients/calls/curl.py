import json
import subprocess
import tempfile

from harness import GATEWAY, HELLO, run

SIZE = 30 * 1024 * 1024


def client(token):
    return token


def curl(token, path, *args):
    head = ["-sS", "--max-time", "30", "-H", f"authorization: Bearer {token}"] if token else ["-sS", "--max-time", "30"]
    run = subprocess.run(["curl", *head, "-w", " (HTTP/%{http_version} %{http_code})", *args, GATEWAY + path], capture_output=True, text=True)
    return run.stdout if run.returncode == 0 else f"exit code {run.returncode}: {run.stderr.strip()}"


def chat(token, model="model-1", *args):
    body = json.dumps({"model": model, "messages": HELLO})
    return curl(token, "/openai/v1/chat/completions", "-H", "content-type: application/json", "-d", body, *args)


def stream(token, model="model-1"):
    body = json.dumps({"model": model, "messages": HELLO, "stream": True})
    return curl(token, "/openai/v1/chat/completions", "-N", "-H", "content-type: application/json", "-d", body)


def upload(token, *args):
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(SIZE)
        return curl(token, "/openai/v1/files", "-F", "purpose=batch", "-F", f"file=@{file.name};filename=a.bin", *args)


run(
    client,
    {
        "chat": chat,
        "stream": stream,
        "Expect: 100-continue": lambda token: chat(token, "model-1", "-H", "expect: 100-continue", "--expect100-timeout", "20"),
        "HTTP/2 with prior knowledge": lambda token: chat(token, "model-1", "--http2-prior-knowledge"),
        "a form of 30 MB": upload,
        "a form of 30 MB, with Expect": lambda token: upload(token, "-H", "expect: 100-continue"),
        "a form of 30 MB over HTTP/2": lambda token: upload(token, "--http2-prior-knowledge"),
        "a form of 30 MB over HTTP/2 that is refused": lambda token: upload("", "--http2-prior-knowledge"),
        "models": lambda token: curl(token, "/openai/v1/models"),
    },
    chat,
    stream,
)
