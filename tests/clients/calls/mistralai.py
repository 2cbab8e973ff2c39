import json

from harness import GATEWAY, HELLO, TOOL, run, weather

try:
    from mistralai.client import Mistral
except ImportError:
    from mistralai import Mistral


def client(token):
    return Mistral(server_url=f"{GATEWAY}/proxy/mistral", api_key=token)


def chat(api, model="model-1"):
    return api.chat.complete(model=model, messages=HELLO).choices[0].message.content


def stream(api, model="model-1"):
    return "".join(event.data.choices[0].delta.content or "" for event in api.chat.stream(model=model, messages=HELLO))


def tools(api):
    first = api.chat.complete(model="model-1", messages=HELLO, tools=[TOOL]).choices[0].message
    call = first.tool_calls[0]
    result = {"role": "tool", "name": "weather", "tool_call_id": call.id, "content": weather(**json.loads(call.function.arguments))}
    return api.chat.complete(model="model-1", messages=[*HELLO, first, result], tools=[TOOL]).choices[0].message.content


run(
    client,
    {
        "chat": chat,
        "stream": stream,
        "a tool loop": tools,
        "embeddings": lambda api: api.embeddings.create(model="model-1", inputs=["hello"]).data[0].embedding,
        "models": lambda api: [model.id for model in api.models.list().data],
        "a model": lambda api: api.models.retrieve(model_id="model-1").id,
        "fill in the middle": lambda api: api.fim.complete(model="model-1", prompt="hello").choices[0].message.content,
        "moderations": lambda api: api.classifiers.moderate(model="model-1", inputs=["hello"]).id,
        "text of a picture": lambda api: api.ocr.process(model="model-1", document={"type": "document_url", "document_url": "https://example.com/a.pdf"}).pages[0].markdown,
        "transcriptions": lambda api: api.audio.transcriptions.complete(model="model-1", file={"file_name": "a.wav", "content": b"wav"}).text,
        "file upload": lambda api: api.files.upload(file={"file_name": "a.txt", "content": b"hello"}).id,
        "files": lambda api: [file.id for file in api.files.list().data],
    },
    chat,
    stream,
)
