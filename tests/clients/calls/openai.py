import json

import httpx
from harness import GATEWAY, HELLO, TOOL, run, weather
from openai import OpenAI


def client(token):
    return OpenAI(base_url=f"{GATEWAY}/openai/v1", api_key=token)


def chat(api, model="model-1"):
    return api.chat.completions.create(model=model, messages=HELLO).choices[0].message.content


def stream(api, model="model-1"):
    chunks = api.chat.completions.create(model=model, messages=HELLO, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def tools(api):
    messages = list(HELLO)
    first = api.chat.completions.create(model="model-1", messages=messages, tools=[TOOL]).choices[0].message
    call = first.tool_calls[0]
    result = weather(**json.loads(call.function.arguments))
    messages += [first, {"role": "tool", "tool_call_id": call.id, "content": result}]
    return api.chat.completions.create(model="model-1", messages=messages, tools=[TOOL]).choices[0].message.content


def responses_stream(api):
    events = api.responses.create(model="model-1", input="hello", stream=True)
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def responses_tools(api):
    tool = {"type": "function", **TOOL["function"]}
    inputs = [{"role": "user", "content": "hello"}]
    call = api.responses.create(model="model-1", input=inputs, tools=[tool]).output[0]
    inputs += [call, {"type": "function_call_output", "call_id": call.call_id, "output": weather(**json.loads(call.arguments))}]
    return api.responses.create(model="model-1", input=inputs, tools=[tool]).output_text


run(
    client,
    {
        "chat": chat,
        "stream": stream,
        "a tool loop": tools,
        "embeddings": lambda api: api.embeddings.create(model="model-1", input="hello").data[0].embedding,
        "models": lambda api: [model.id for model in api.models.list()],
        "a model": lambda api: api.models.retrieve("model-1").id,
        "completions": lambda api: api.completions.create(model="model-1", prompt="hello").choices[0].text,
        "responses": lambda api: api.responses.create(model="model-1", input="hello").output_text,
        "responses, a stream": responses_stream,
        "responses, a tool loop": responses_tools,
        "a stored response": lambda api: api.responses.retrieve("resp_1").output_text,
        "removal of a response": lambda api: api.responses.delete("resp_1"),
        "conversations": lambda api: api.conversations.create().id,
        "images": lambda api: api.images.generate(model="model-1", prompt="hello").data[0].b64_json,
        "image edits": lambda api: api.images.edit(model="model-1", image=b"png", prompt="hello").data[0].b64_json,
        "speech": lambda api: api.audio.speech.create(model="model-1", voice="alloy", input="hello").content,
        "transcriptions": lambda api: api.audio.transcriptions.create(model="model-1", file=("a.wav", b"wav")).text,
        "translations": lambda api: api.audio.translations.create(model="model-1", file=("a.wav", b"wav")).text,
        "moderations": lambda api: api.moderations.create(input="hello").results[0].flagged,
        "file upload": lambda api: api.files.create(file=("a.txt", b"hello"), purpose="batch").id,
        "files": lambda api: [file.id for file in api.files.list()],
        "file content": lambda api: api.files.content("file-1").content,
        "removal of a file": lambda api: api.files.delete("file-1").deleted,
        "batches": lambda api: [batch.id for batch in api.batches.list()],
        "a batch": lambda api: api.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-1").id,
        "the end of a batch": lambda api: api.batches.cancel("batch-1").id,
        "uploads": lambda api: api.uploads.create(bytes=5, filename="a.txt", mime_type="text/plain", purpose="batch").id,
        "vector stores": lambda api: api.vector_stores.create(name="n").id,
        "fine-tuning": lambda api: [job.id for job in api.fine_tuning.jobs.list()],
        "an endpoint that the file lacks": lambda api: api.get("/nothing", cast_to=httpx.Response),
    },
    chat,
    stream,
)
