from google import genai
from google.genai import types
from harness import GATEWAY, run, weather


def client(token):
    return genai.Client(api_key=token, http_options=types.HttpOptions(base_url=f"{GATEWAY}/proxy/gemini"))


def chat(api, model="model-1"):
    return api.models.generate_content(model=model, contents="hello").text


def stream(api, model="model-1"):
    return "".join(chunk.text for chunk in api.models.generate_content_stream(model=model, contents="hello"))


run(
    client,
    {
        "chat": chat,
        "stream": stream,
        "a tool loop": lambda api: api.models.generate_content(model="model-1", contents="hello", config={"tools": [weather]}).text,
        "embeddings": lambda api: api.models.embed_content(model="model-1", contents="hello").embeddings[0].values,
        "count of tokens": lambda api: api.models.count_tokens(model="model-1", contents="hello").total_tokens,
        "models": lambda api: [model.name for model in api.models.list()],
        "a model": lambda api: api.models.get(model="model-1").name,
        "files": lambda api: [file.name for file in api.files.list()],
    },
    chat,
    stream,
)
