import base64
import json
import os
import pathlib
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from harness import TOKEN, run_tool, said

LOGIN = pathlib.Path(".codex/auth.json")
CLAIMS = {"email": "a@example.com", "exp": 9999999999, "https://api.openai.com/auth": {"chatgpt_account_id": "made-up", "chatgpt_plan_type": "plus"}}
FEWER = ["-c", "model_providers.tollgate.request_max_retries=1", "-c", "model_providers.tollgate.stream_max_retries=1"]


class Vendor(BaseHTTPRequestHandler):
    """The vendor's token endpoint, which Codex asks after a 401: the steps leave it no refresh token."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = json.dumps({"error": {"code": "refresh_token_invalidated" if not asked["refresh_token"] else "spent"}}).encode()
        self.send_response(401)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def jwt(claims):
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in [{"alg": "RS256"}, claims]) + ".c2ln"


def log_in():
    """What `codex login` writes."""
    tokens = {"id_token": jwt(CLAIMS), "access_token": jwt(CLAIMS), "refresh_token": "a-refresh-token", "account_id": "made-up"}
    LOGIN.parent.mkdir(exist_ok=True)
    LOGIN.write_text(json.dumps({"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": "2026-01-01T00:00:00Z"}))


def chat(token, model, prompt):
    """With the files that the code of docs/clients.md has written, and another token in place of its paste token."""
    pasted = LOGIN.read_text()
    login = json.loads(pasted)
    if token != TOKEN:
        login["tokens"]["access_token"] = token
        LOGIN.write_text(json.dumps(login)) if token else LOGIN.unlink()
    more = FEWER if token == TOKEN else []
    text = said(["codex", "exec", *more, "--skip-git-repo-check", "--model", model, prompt])
    LOGIN.write_text(pasted)
    text = re.sub(r"(?s)Chunk ID: .*?Output:\n", "", text)
    # Lines of its log come when they come.
    errors = [line for line in text.splitlines() if line.startswith("ERROR: ")]
    return f"{text.split(':')[0]}: {' '.join(errors)}" if errors else text


vendor = HTTPServer(("127.0.0.1", 0), Vendor)
threading.Thread(target=vendor.serve_forever, daemon=True).start()
os.environ["CODEX_REFRESH_TOKEN_URL_OVERRIDE"] = f"http://127.0.0.1:{vendor.server_port}/oauth/token"
log_in()
run_tool(chat, "gpt-5")
