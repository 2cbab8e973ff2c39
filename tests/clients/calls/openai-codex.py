import re

from harness import TOKEN, run_tool, said

# By default it makes up to 30 requests.
FEWER = ["-c", "model_providers.tollgate.request_max_retries=1", "-c", "model_providers.tollgate.stream_max_retries=1"]


def chat(token, model, prompt):
    """With the configuration that the code of docs/clients.md has written. Before its errors stands what differs from run to run."""
    more = FEWER if token == TOKEN else []
    text = said(["codex", "exec", *more, "--skip-git-repo-check", "--model", model, prompt], TOKEN=token)
    text = re.sub(r"(?s)Chunk ID: .*?Output:\n", "", text)
    return f"{text.split(':')[0]}: {text[text.index('ERROR'):]}" if "ERROR" in text else text


run_tool(chat, "gpt-5")
