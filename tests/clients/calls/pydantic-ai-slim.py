from harness import GATEWAY, run, weather
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


def client(token):
    return token


def model_of(token, model="model-1", kind=OpenAIChatModel):
    return kind(model, provider=OpenAIProvider(base_url=f"{GATEWAY}/openai/v1", api_key=token))


def chat(token, model="model-1"):
    return Agent(model_of(token, model)).run_sync("hello").output


def stream(token, model="model-1"):
    return "".join(Agent(model_of(token, model)).run_stream_sync("hello").stream_text(delta=True))


def of_anthropic(token):
    provider = AnthropicProvider(base_url=f"{GATEWAY}/anthropic", api_key=token)
    return Agent(AnthropicModel("model-1", provider=provider)).run_sync("hello").output


run(
    client,
    {
        "chat": chat,
        "stream": stream,
        "a tool loop": lambda token: Agent(model_of(token), tools=[weather]).run_sync("hello").output,
        "responses": lambda token: Agent(model_of(token, kind=OpenAIResponsesModel)).run_sync("hello").output,
        "chat of Anthropic": of_anthropic,
    },
    chat,
    stream,
)
