from harness import GATEWAY, TOOL, run, weather
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


def client(token):
    return {"base_url": f"{GATEWAY}/openai/v1", "api_key": token}


def chat(api, model="model-1"):
    return ChatOpenAI(model=model, **api).invoke("hello").content


def stream(api, model="model-1"):
    return "".join(chunk.content for chunk in ChatOpenAI(model=model, **api).stream("hello"))


def tools(api):
    model = ChatOpenAI(model="model-1", **api).bind_tools([TOOL])
    first = model.invoke("hello")
    call = first.tool_calls[0]
    return model.invoke([HumanMessage("hello"), first, ToolMessage(weather(**call["args"]), tool_call_id=call["id"])]).content


run(
    client,
    {
        "chat": chat,
        "stream": stream,
        "a tool loop": tools,
        "responses": lambda api: ChatOpenAI(model="model-1", use_responses_api=True, **api).invoke("hello").text,
        "embeddings": lambda api: OpenAIEmbeddings(model="model-1", check_embedding_ctx_length=False, **api).embed_query("hello"),
    },
    chat,
    stream,
)
