import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it is fetched
import litellm
from harness import GATEWAY, HELLO, TOOL, run, weather

litellm.suppress_debug_info = True


def client(token):
    return {"api_base": f"{GATEWAY}/openai/v1", "api_key": token}


def chat(api, model="model-1"):
    return litellm.completion(model=f"openai/{model}", messages=HELLO, **api).choices[0].message.content


def stream(api, model="model-1"):
    chunks = litellm.completion(model=f"openai/{model}", messages=HELLO, stream=True, **api)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def tools(api):
    ask = lambda messages: litellm.completion(model="openai/model-1", messages=messages, tools=[TOOL], **api).choices[0].message
    first = ask(HELLO)
    call = first.tool_calls[0]
    return ask([*HELLO, first, {"role": "tool", "tool_call_id": call.id, "content": weather(**json.loads(call.function.arguments))}]).content


def of_anthropic(api):
    key = {"api_base": f"{GATEWAY}/anthropic", "api_key": api["api_key"]}
    return litellm.completion(model="anthropic/model-1", messages=HELLO, **key).choices[0].message.content


def of_groq(api):
    key = {"api_base": f"{GATEWAY}/proxy/groq/v1", "api_key": api["api_key"]}
    return litellm.completion(model="groq/model-1", messages=HELLO, **key).choices[0].message.content


run(
    client,
    {
        "chat": chat,
        "stream": stream,
        "a tool loop": tools,
        "embeddings": lambda api: litellm.embedding(model="openai/model-1", input=["hello"], **api).data[0]["embedding"],
        "responses": lambda api: litellm.responses(model="openai/model-1", input="hello", **api).output[0].content[0].text,
        "chat of Anthropic": of_anthropic,
        "chat of Groq": of_groq,
    },
    chat,
    stream,
)
