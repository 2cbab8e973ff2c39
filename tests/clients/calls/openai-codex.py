from harness import run_tool, said


def chat(token):
    """With the configuration that the code of docs/clients.md has written. Before its errors stands what differs from run to run."""
    text = said(["codex", "exec", "--skip-git-repo-check", "hello"], TOKEN=token)
    return f"{text.split(':')[0]}: {text[text.index('ERROR'):]}" if "ERROR" in text else text


run_tool(chat)
