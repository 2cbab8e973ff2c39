import instructor
from harness import GATEWAY, HELLO, run
from openai import OpenAI
from pydantic import BaseModel


class Weather(BaseModel):
    city: str
    degrees: int


def client(token):
    return instructor.from_openai(OpenAI(base_url=f"{GATEWAY}/openai/v1", api_key=token))


def chat(api, model="model-1"):
    return api.create(model=model, messages=HELLO, response_model=Weather)


def stream(api, model="model-1"):
    return list(api.create_partial(model=model, messages=HELLO, response_model=Weather))[-1]


run(client, {"chat": chat, "stream": stream}, chat, stream)
