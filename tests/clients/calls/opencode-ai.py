import json
import os
import pathlib

from harness import run_tool, said

# Beside the first answer it asks for a title of the session, and may end before that request leaves.
os.environ["OPENCODE_CONFIG_CONTENT"] = json.dumps({"agent": {"title": {"disable": True}}})


def chat(token, model, prompt):
    """With the configuration that the code of docs/clients.md has written, and further models."""
    written = pathlib.Path("opencode.json")
    configuration = json.loads(written.read_text())
    configuration["provider"]["tollgate"]["models"][model] = {}
    written.write_text(json.dumps(configuration))
    return said(["opencode", "run", "--model", f"tollgate/{model}", prompt], TOKEN=token)


# After a cut it tries again, without end.
run_tool(chat, "gpt-5", cut="cut-once")
