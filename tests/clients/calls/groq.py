import json

from groq import Groq
from harness import GATEWAY, HELLO, TOOL, run, weather


def client(token):
    return Groq(base_url=f"{GATEWAY}/proxy/groq", api_key=token)


def chat(api, model="model-1"):
    return api.chat.completions.create(model=model, messages=HELLO).choices[0].message.content


def stream(api, model="model-1"):
    chunks = api.chat.completions.create(model=model, messages=HELLO, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def tools(api):
    call = api.chat.completions.create(model="model-1", messages=HELLO, tools=[TOOL]).choices[0].message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": weather(**json.loads(call.function.arguments))}
    messages = [*HELLO, {"role": "assistant", "tool_calls": [call.to_dict()]}, result]
    return api.chat.completions.create(model="model-1", messages=messages, tools=[TOOL]).choices[0].message.content


run(
    client,
    {
        "chat": chat,
        "stream": stream,
        "a tool loop": tools,
        "embeddings": lambda api: api.embeddings.create(model="model-1", input="hello").data[0].embedding,
        "models": lambda api: [model.id for model in api.models.list().data],
        "a model": lambda api: api.models.retrieve("model-1").id,
        "speech": lambda api: api.audio.speech.create(model="model-1", voice="v", input="hello", response_format="wav").read(),
        "transcriptions": lambda api: api.audio.transcriptions.create(model="model-1", file=("a.wav", b"wav")).text,
        "translations": lambda api: api.audio.translations.create(model="model-1", file=("a.wav", b"wav")).text,
        "file upload": lambda api: api.files.create(file=("a.txt", b"hello"), purpose="batch").id,
        "files": lambda api: [file.id for file in api.files.list().data],
        "batches": lambda api: [batch.id for batch in api.batches.list().data],
    },
    chat,
    stream,
)
