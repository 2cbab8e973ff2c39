import json
import pathlib
import re

from harness import GATEWAY, run_tool, said

# By default it tries ten times.
SETTINGS = {"security": {"auth": {"selectedType": "gemini-api-key"}}, "general": {"maxAttempts": 2}}


def chat(token, model, prompt):
    """Around the error is what differs from machine to machine."""
    pathlib.Path(".gemini/settings.json").write_text(json.dumps(SETTINGS))
    command = ["gemini", "--skip-trust", "--model", model, "--prompt", prompt]
    text = said(command, GOOGLE_GEMINI_BASE_URL=f"{GATEWAY}/proxy/gemini", GEMINI_API_KEY=token)
    return f"{text.split(':')[0]}: {found[0]}" if (found := re.search(r"(Api|Type)Error: .*|When using Gemini .*", text)) else text


run_tool(chat, "gemini-2.5-flash")
