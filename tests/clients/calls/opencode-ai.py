from harness import run_tool, said


def chat(token):
    """With the configuration that the code of docs/clients.md has written."""
    return said(["opencode", "run", "--model", "tollgate/gpt-5", "hello"], TOKEN=token)


run_tool(chat)
