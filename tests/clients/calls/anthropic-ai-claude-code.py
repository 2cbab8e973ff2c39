from harness import GATEWAY, run_tool, said

# By default it tries eleven times, and gives each session a title beside.
FEWER = {"CLAUDE_CODE_MAX_RETRIES": "2", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def chat(token, model, prompt):
    base = f"{GATEWAY}/anthropic"
    return said(["claude", "--print", "--model", model, prompt], ANTHROPIC_BASE_URL=base, ANTHROPIC_AUTH_TOKEN=token, **FEWER)


run_tool(chat, "claude-sonnet-4-5")
