from harness import GATEWAY, run_tool, said


def chat(token):
    return said(["claude", "--print", "hello"], ANTHROPIC_BASE_URL=f"{GATEWAY}/anthropic", ANTHROPIC_AUTH_TOKEN=token)


run_tool(chat)
