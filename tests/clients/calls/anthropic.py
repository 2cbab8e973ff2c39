from anthropic import Anthropic
from harness import GATEWAY, HELLO, PARAMETERS, run, weather

TOOL = {"name": "weather", "description": "The weather of a city", "input_schema": PARAMETERS}


def client(token):
    return Anthropic(base_url=f"{GATEWAY}/anthropic", api_key=token)


def ask(api, messages=HELLO, model="model-1", **more):
    return api.messages.create(model=model, max_tokens=10, messages=messages, **more)


def chat(api, model="model-1"):
    return ask(api, model=model).content[0].text


def stream(api, model="model-1"):
    with api.messages.stream(model=model, max_tokens=10, messages=HELLO) as events:
        return "".join(events.text_stream)


def tools(api):
    call = ask(api, tools=[TOOL]).content[0]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": weather(**call.input)}
    messages = [*HELLO, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    return ask(api, messages, tools=[TOOL]).content[0].text


def batch(api):
    one = {"custom_id": "a", "params": {"model": "model-1", "max_tokens": 10, "messages": HELLO}}
    return api.messages.batches.create(requests=[one]).id


run(
    client,
    {
        "chat": chat,
        "stream": stream,
        "a tool loop": tools,
        "with a token for authorization": lambda _: chat(Anthropic(base_url=f"{GATEWAY}/anthropic", auth_token=_.api_key)),
        "count of tokens": lambda api: api.messages.count_tokens(model="model-1", messages=HELLO).input_tokens,
        "models": lambda api: [model.id for model in api.models.list()],
        "a model": lambda api: api.models.retrieve("model-1").id,
        "a batch": batch,
        "batches": lambda api: [batch.id for batch in api.messages.batches.list()],
        "file upload": lambda api: api.beta.files.upload(file=("a.txt", b"hello")).id,
        "files": lambda api: [file.id for file in api.beta.files.list()],
    },
    chat,
    stream,
)
