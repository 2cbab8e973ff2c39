import re

from harness import GATEWAY, run_tool, said


def chat(token):
    """With the settings that the code of docs/clients.md has written. Around the error is what differs from machine to machine."""
    command = ["gemini", "--skip-trust", "--model", "gemini-2.5-flash", "--prompt", "hello"]
    text = said(command, GOOGLE_GEMINI_BASE_URL=f"{GATEWAY}/proxy/gemini", GEMINI_API_KEY=token)
    return f"{text.split(':')[0]}: {found[0]}" if (found := re.search(r"ApiError: .*", text)) else text


run_tool(chat)
