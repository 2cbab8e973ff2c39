import json

import cohere
from harness import GATEWAY, HELLO, TOOL, run, weather


def client(token):
    return cohere.ClientV2(base_url=f"{GATEWAY}/proxy/cohere/native", api_key=token)


def chat(api, model="model-1"):
    return api.chat(model=model, messages=HELLO).message.content[0].text


def stream(api, model="model-1"):
    events = api.chat_stream(model=model, messages=HELLO)
    return "".join(event.delta.message.content.text for event in events if event.type == "content-delta")


def tools(api):
    first = api.chat(model="model-1", messages=HELLO, tools=[TOOL]).message
    call = first.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": weather(**json.loads(call.function.arguments))}
    return api.chat(model="model-1", messages=[*HELLO, first, result], tools=[TOOL]).message.content[0].text


run(
    client,
    {
        "chat": chat,
        "stream": stream,
        "a tool loop": tools,
        "embeddings": lambda api: api.embed(model="model-1", input_type="search_query", texts=["hello"], embedding_types=["float"]).embeddings.float_,
        "rerank": lambda api: [result.index for result in api.rerank(model="model-1", query="hello", documents=["a", "b"]).results],
        "models": lambda api: [model.name for model in api.models.list().models],
        "a model": lambda api: api.models.get("model-1").name,
        "tokens of a text": lambda api: api.tokenize(text="hello", model="model-1", offline=False).tokens,
        "text of tokens": lambda api: api.detokenize(tokens=[1, 2], model="model-1", offline=False).text,
    },
    chat,
    stream,
)
