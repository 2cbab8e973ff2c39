import re

from harness import GATEWAY, run_tool, said

# Nothing that asks, and nothing from elsewhere.
COMMAND = ["aider", "--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings", "--analytics-disable", "--no-fancy-input"]


def chat(token, model, prompt):
    """It tries for a minute: the fourth pause is enough."""
    again = "Retrying in 2.0 seconds" if model.startswith(("status", "cut")) else None
    command = [*COMMAND, "--model", f"openai/{model}", "--message", prompt]
    return shown(said(command, until=again, OPENAI_API_BASE=f"{GATEWAY}/openai/v1", OPENAI_API_KEY=token))


def shown(text):
    """Without its banner and the costs."""
    return re.sub(r"(?s).*Repo-map: disabled|https://aider\.chat/HISTORY\S*|Tokens: .*", "", text)


# Its edits are texts: it has no tools.
run_tool(chat, "gpt-5", reads=False, shown=shown)
