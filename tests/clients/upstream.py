"""A scripted upstream that speaks what the clients need, over TLS: the formats of OpenAI, Anthropic, Gemini, Cohere and Mistral.

It finds the format by the path, and misbehaves by the model's name: `status-429` and `status-500` answer so, `cut` breaks a stream
in its middle, `cut-once` only a client's first, `slow` waits before the first byte. Each request has to carry the stored key, and nothing of the client's token.
"""

import base64
import json
import re
import ssl
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def token(claims, signature):
    """A JWT, which nobody verifies."""
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in [{"alg": "RS256"}, claims])
    return ".".join([*parts, signature])


KEY = "stored-key-0123456789"
# A login of ChatGPT. Its access token says whose account it is, and ends with the key.
ACCOUNT = "account-of-the-login"
CLAIMS = {"exp": 9999999999, "https://api.openai.com/auth": {"chatgpt_account_id": ACCOUNT}}
LOGIN = {"tokens": {"access_token": token(CLAIMS, KEY), "refresh_token": "a-refresh-token"}}
TEXT = "Hello from upstream"
WORDS = ["Hello", " from", " upstream"]
VECTOR = [0.25, -0.5]
SLOW = 0.3
# Command lines bring more tools than this of their own, and get a text, unless the request names a note: then the tool that reads files.
MANY = 3
NOTE = re.compile(r"[\w./-]+/note\.txt")
READERS = {
    "Read": lambda path: {"file_path": path},
    "read": lambda path: {"filePath": path},
    "read_file": lambda path: {"file_path": path},
    "exec_command": lambda path: {"cmd": f"cat {path}"},
}
WAV = b"RIFF....WAVE"
PIXEL = base64.b64encode(b"a picture").decode()


def made(schema, root=None):
    """A value that a JSON schema allows."""
    root = root or schema
    if reference := schema.get("$ref"):
        return made(root["$defs"][reference.rsplit("/", 1)[1]], root)
    for choice in schema.get("anyOf", schema.get("oneOf", [])):
        return made(choice, root)
    if "enum" in schema:
        return schema["enum"][0]
    kind = str(schema.get("type", "object")).lower()
    if kind == "object":
        return {name: made(part, root) for name, part in schema.get("properties", {}).items()}
    return {"string": "Paris", "integer": 21, "number": 21.5, "boolean": True, "array": []}.get(kind)


def text_of(content):
    """The text of a message, a result of a tool or their parts, in any of the formats."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(map(text_of, content))
    if isinstance(content, dict):
        for name in ["text", "output", "content", "result", "document", "data", "value"]:
            if name in content:
                return text_of(content[name])
        return json.dumps(content)
    return str(content)


def reply_of(body, tools, result):
    """The text, or the call of a tool: first the tool is called, then its result is repeated."""
    if result is not None:
        return f"The tool returned {text_of(result).strip()}", None
    functions = {one["name"]: one for one in (tool.get("function", tool) for tool in tools or []) if "name" in one}
    if reader := functions.keys() & READERS.keys():
        found = NOTE.search(json.dumps(body))
        name = reader.pop()
        return (None, (name, READERS[name](found[0]))) if found else (TEXT, None)
    if not functions or len(tools) > MANY:
        return TEXT, None
    function = next(iter(functions.values()))
    schema = function.get("parameters") or function.get("input_schema") or function.get("parametersJsonSchema") or function.get("parameters_json_schema") or {}
    return None, (function["name"], made(schema))


def words(text):
    return WORDS if text == TEXT else [text]


# OpenAI's chat, which most speak


def chat(body):
    last = body["messages"][-1]
    text, call = reply_of(body, body.get("tools"), last["content"] if last["role"] == "tool" else None)
    if text == TEXT and (body.get("response_format") or {}).get("type") == "json_schema":
        text = json.dumps(made(body["response_format"]["json_schema"]["schema"]))
    common = {"id": "chatcmpl-1", "created": 1, "model": body["model"], "service_tier": "default"}
    usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    message = {"role": "assistant", "content": text}
    if call:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        message["tool_calls"] = [{"id": "call_123456", "type": "function", "function": function}]
    reason = "tool_calls" if call else "stop"
    if not body.get("stream"):
        return {**common, "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage}
    deltas = [{"role": "assistant", "content": ""}]
    deltas += [{"tool_calls": [{"index": 0, **message["tool_calls"][0]}]}] if call else [{"content": word} for word in words(text)]
    chunk = lambda delta, end: {**common, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
    events = [chunk(delta, None) for delta in deltas] + [chunk({}, reason)]
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append({**common, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    return [data(event) for event in events] + ["data: [DONE]\n\n"]


def completion(body):
    choice = {"index": 0, "text": TEXT, "finish_reason": "stop", "logprobs": None}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"], "choices": [choice]}


def embeddings(body):
    vector = base64.b64encode(struct.pack("<2f", *VECTOR)).decode() if body.get("encoding_format") == "base64" else VECTOR
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    rows = [{"object": "embedding", "index": index, "embedding": vector} for index, _ in enumerate(inputs)]
    usage = {"prompt_tokens": 2, "total_tokens": 2, "completion_tokens": 0}
    return {"id": "e-1", "object": "list", "model": body["model"], "data": rows, "usage": usage}


def model(host):
    """A model as the vendor describes it: Mistral's clients decide by its `type`."""
    kind = "base" if "mistral" in host else "model"
    base = {"id": "model-1", "name": "model-1", "object": "model", "created": 1, "owned_by": "upstream", "type": kind, "capabilities": {}}
    return {**base, "display_name": "Model", "created_at": "2026-01-01T00:00:00Z"}


def models(host):
    """In `data`, and in Cohere's `models`."""
    return {"object": "list", "data": [model(host)], "models": [model(host)], "has_more": False, "first_id": "model-1", "last_id": "model-1"}


# OpenAI's responses


def responses(body):
    items = body["input"] if isinstance(body["input"], list) else []
    outputs = [item["output"] for item in items if item.get("type") == "function_call_output"]
    text, call = reply_of(body, body.get("tools"), outputs[-1] if outputs else None)
    if call:
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_123456", "name": call[0], "arguments": json.dumps(call[1]), "status": "completed"}
    else:
        content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 3, "output_tokens": 3, "total_tokens": 6, **details}
    common = {"id": "resp_1", "object": "response", "created_at": 1, "model": body["model"], "tools": [], "tool_choice": "auto", "parallel_tool_calls": False}
    common |= {"error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "temperature": 1, "top_p": 1}
    done = {**common, "status": "completed", "output": [item], "usage": usage}
    if not body.get("stream"):
        return done
    place = {"item_id": item["id"], "output_index": 0}
    events = [{"type": "response.created", "response": {**common, "status": "in_progress", "output": []}}]
    if call:
        events.append({"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": "", "status": "in_progress"}})
        events.append({"type": "response.function_call_arguments.delta", "delta": item["arguments"], **place})
        events.append({"type": "response.function_call_arguments.done", "arguments": item["arguments"], "name": call[0], **place})
    else:
        place["content_index"] = 0
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        events.append({"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress", "content": []}})
        events.append({"type": "response.content_part.added", "part": part, **place})
        events += [{"type": "response.output_text.delta", "delta": word, "logprobs": [], **place} for word in words(text)]
        events.append({"type": "response.output_text.done", "text": text, "logprobs": [], **place})
        events.append({"type": "response.content_part.done", "part": {**part, "text": text}, **place})
    events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    events.append({"type": "response.completed", "response": done})
    return [event({**one, "sequence_number": number}) for number, one in enumerate(events)]


# Anthropic's messages


def messages(body):
    last = body["messages"][-1]["content"]
    results = [block for block in last if block.get("type") == "tool_result"] if isinstance(last, list) else []
    text, call = reply_of(body, body.get("tools"), results[-1]["content"] if results else None)
    block = {"type": "tool_use", "id": "toolu_1", "name": call[0], "input": call[1]} if call else {"type": "text", "text": text}
    usage = {"input_tokens": 3, "output_tokens": 3}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [block]}
    message |= {"stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None, "usage": usage}
    if not body.get("stream"):
        return message
    start = {**block, "input": {}} if call else {**block, "text": ""}
    deltas = [{"type": "input_json_delta", "partial_json": json.dumps(call[1])}] if call else [{"type": "text_delta", "text": word} for word in words(text)]
    events = [{"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}]
    events.append({"type": "content_block_start", "index": 0, "content_block": start})
    events += [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    events.append({"type": "content_block_stop", "index": 0})
    events.append({"type": "message_delta", "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None}, "usage": usage})
    events.append({"type": "message_stop"})
    return [event(one) for one in events]


MESSAGE_BATCH = {
    "id": "batch_1", "type": "message_batch", "processing_status": "ended", "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z",
    "archived_at": None, "cancel_initiated_at": None, "ended_at": None, "results_url": None,
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
}


# Gemini


def gemini(body):
    last = body["contents"][-1]["parts"][-1]
    tools = [function for tool in body.get("tools", []) for function in tool.get("functionDeclarations", [])]
    text, call = reply_of(body, tools, last["functionResponse"]["response"] if "functionResponse" in last else None)
    part = lambda one: {"candidates": [{"content": {"role": "model", "parts": [one]}, "index": 0}]}
    parts = [part({"functionCall": {"name": call[0], "args": call[1]}})] if call else [part({"text": word}) for word in words(text)]
    parts[-1]["candidates"][0]["finishReason"] = "STOP"
    parts[-1]["usageMetadata"] = {"promptTokenCount": 3, "candidatesTokenCount": 3, "totalTokenCount": 6}
    return parts


def generate(body):
    parts = gemini(body)
    if len(parts) > 1:
        parts[-1]["candidates"][0]["content"]["parts"] = [{"text": TEXT}]
    return parts[-1]


GEMINI_MODEL = {"name": "models/model-1", "displayName": "Model", "supportedGenerationMethods": ["generateContent"]}


# Cohere


def cohere_chat(body):
    last = body["messages"][-1]
    text, call = reply_of(body, body.get("tools"), last["content"] if last["role"] == "tool" else None)
    reason = "TOOL_CALL" if call else "COMPLETE"
    usage = {"billed_units": {"input_tokens": 3, "output_tokens": 3}, "tokens": {"input_tokens": 3, "output_tokens": 3}}
    if not body.get("stream"):
        message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        if call:
            function = {"name": call[0], "arguments": json.dumps(call[1])}
            message = {"role": "assistant", "tool_plan": "look", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
        return {"id": "c-1", "finish_reason": reason, "message": message, "usage": usage}
    events = [{"type": "message-start", "id": "c-1", "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}}]
    events.append({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}})
    events += [{"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}} for word in words(text)]
    events.append({"type": "content-end", "index": 0})
    events.append({"type": "message-end", "id": "c-1", "delta": {"finish_reason": reason, "usage": usage}})
    return [event(one) for one in events]


def cohere_embed(body):
    inputs = body.get("texts") or body.get("inputs") or []
    return {"id": "e-1", "embeddings": {"float": [VECTOR for _ in inputs]}, "texts": inputs, "response_type": "embeddings_by_type"}


def rerank(body):
    order = range(len(body["documents"]) - 1, -1, -1)
    return {"id": "r-1", "results": [{"index": index, "relevance_score": 0.5} for index in order], "meta": {"api_version": {"version": "2"}}}


# The rest


FILE = {"id": "file-1", "object": "file", "bytes": 5, "created_at": 1, "filename": "a.txt", "purpose": "batch", "status": "processed"}
MISTRAL_FILE = {**FILE, "sample_type": "batch_request", "source": "upload"}
ANTHROPIC_FILE = {"id": "file-1", "type": "file", "filename": "a.txt", "mime_type": "text/plain", "size_bytes": 5, "created_at": "2026-01-01T00:00:00Z"}
BATCH = {"id": "batch-1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1", "completion_window": "24h", "status": "validating", "created_at": 1}
UPLOAD = {"id": "upload-1", "object": "upload", "bytes": 5, "created_at": 1, "expires_at": 2, "filename": "a.txt", "purpose": "batch", "status": "pending"}
VECTOR_STORE = {"id": "vs-1", "object": "vector_store", "created_at": 1, "name": "n", "status": "completed", "usage_bytes": 0, "last_active_at": None, "metadata": {}}
VECTOR_STORE |= {"file_counts": {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0}}
JOB = {"id": "job-1", "object": "fine_tuning.job", "created_at": 1, "model": "m", "status": "running", "organization_id": "o", "result_files": [], "seed": 1, "training_file": "file-1"}
MODERATION = {"id": "modr-1", "model": "m", "results": [{"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}]}
IMAGES = {"created": 1, "data": [{"b64_json": PIXEL}]}
CONVERSATION = {"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}
FIM = {"id": "f-1", "object": "chat.completion", "model": "m", "created": 1, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
FIM |= {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}]}
OCR = {"model": "m", "usage_info": {"pages_processed": 1}, "pages": [{"index": 0, "markdown": TEXT, "images": [], "dimensions": None}]}

ANSWERS = [
    ("POST", r"/v1/fim/completions", FIM),
    ("POST", r".*/chat/completions", chat),
    ("POST", r".*/v1/completions", completion),
    ("POST", r".*/embeddings", embeddings),
    ("POST", r".*/(v1|codex)/responses", responses),
    ("GET", r".*/codex/models", {"models": []}),
    ("GET", r".*/v1/responses/resp_1", lambda _: responses({"model": "m", "input": ""})),
    ("DELETE", r".*/v1/responses/resp_1", {"id": "resp_1", "object": "response", "deleted": True}),
    ("POST", r"/v1/messages", messages),
    ("POST", r"/v1/messages/count_tokens", {"input_tokens": 3}),
    ("POST", r"/v1/messages/batches", MESSAGE_BATCH),
    ("GET", r"/v1/messages/batches", {"data": [MESSAGE_BATCH], "has_more": False, "first_id": "batch_1", "last_id": "batch_1"}),
    ("POST", r"/v1(?:beta)?/models/[^/]*:generateContent", generate),
    ("POST", r"/v1(?:beta)?/models/[^/]*:streamGenerateContent", lambda body: [data(part) for part in gemini(body)]),
    ("POST", r"/v1(?:beta)?/models/[^/]*:batchEmbedContents", lambda body: {"embeddings": [{"values": VECTOR} for _ in body["requests"]]}),
    ("POST", r"/v1(?:beta)?/models/[^/]*:embedContent", {"embedding": {"values": VECTOR}}),
    ("POST", r"/v1(?:beta)?/models/[^/]*:countTokens", {"totalTokens": 3}),
    ("GET", r"/v1(?:beta)?/models/.+", GEMINI_MODEL),
    ("GET", r"/v1(?:beta)?/models", {"models": [GEMINI_MODEL]}),
    ("GET", r"/v1(?:beta)?/files", {"files": [{"name": "files/1", "mimeType": "text/plain"}]}),
    ("POST", r"/v2/chat", cohere_chat),
    ("POST", r"/v2/embed", cohere_embed),
    ("POST", r"/v2/rerank", rerank),
    ("POST", r"/v1/tokenize", {"tokens": [1, 2], "token_strings": ["a", "b"]}),
    ("POST", r"/v1/detokenize", {"text": TEXT}),
    ("POST", r".*/images/(generations|edits|variations)", IMAGES),
    ("POST", r".*/audio/speech", WAV),
    ("POST", r".*/audio/(transcriptions|translations)", {"text": TEXT, "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}, "language": "en"}),
    ("POST", r".*/moderations", MODERATION),
    ("POST", r".*/ocr", OCR),
    ("GET", r".*/files/file-1/content", b"hello"),
    ("DELETE", r".*/files/file-1", {"id": "file-1", "object": "file", "deleted": True, "type": "file_deleted"}),
    ("POST", r".*/batches(/batch-1/cancel)?", BATCH),
    ("GET", r".*/batches/batch-1", BATCH),
    ("GET", r".*/batches", {"object": "list", "data": [BATCH], "has_more": False}),
    ("POST", r"/v1/uploads", UPLOAD),
    ("POST", r"/v1/vector_stores", VECTOR_STORE),
    ("GET", r"/v1/fine_tuning/jobs", {"object": "list", "data": [JOB], "has_more": False}),
    ("POST", r"/v1/conversations", CONVERSATION),
]


def size_of_file(form):
    """The size of the file in a form, 0 without one."""
    found = re.search(rb"(?s)filename=[^\r]*\r\n(?:[^\r]+\r\n)*\r\n(.*)\r\n--", form)
    return len(found[1]) if found else 0


def files(host, method, path, body):
    """Files differ by the host alone."""
    one = ANTHROPIC_FILE if "anthropic" in host else MISTRAL_FILE if "mistral" in host else FILE
    if method == "POST":
        return {**one, "size_bytes" if "anthropic" in host else "bytes": body["bytes"]}
    if path.endswith("file-1"):
        return one
    return {"object": "list", "data": [one], "has_more": False, "total": 1, "first_id": "file-1", "last_id": "file-1"}


def data(value):
    return f"data: {json.dumps(value)}\n\n"


def event(value):
    return f"event: {value['type']}\n{data(value)}"


ERRORS = {429: ("rate_limit_error", "too many requests for the upstream"), 500: ("api_error", "the upstream is out of order")}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer()

    do_POST = do_DELETE = do_GET

    def answer(self):
        raw = self.body()
        path = self.path.split("?")[0]
        self.server.look(self.command, self.path, self.headers)
        body = json.loads(raw) if raw and "json" in self.headers.get("content-type", "") else {"bytes": size_of_file(raw)}
        model = str(body.get("model", "")) + path
        if found := re.search(r"status-(\d+)", model):
            return self.fail(int(found[1]))
        if "slow" in model:
            time.sleep(SLOW)
        reply = self.find(path, body)
        if reply is None:
            self.server.faults.append(f"the upstream has no answer for {self.command} {self.path}")
            return self.fail(500)
        if isinstance(reply, list):
            return self.stream(reply, cut="cut" in model and not ("once" in model and self.server.again(self.headers["user-agent"])))
        if isinstance(reply, bytes):
            return self.whole(200, reply, "application/octet-stream")
        self.whole(200, json.dumps(reply).encode(), "application/json", cut="cut" in model)

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def find(self, path, body):
        host = self.headers["host"]
        if re.fullmatch(r".*/v1/files(/file-1)?", path) and self.command != "DELETE" and "google" not in host:
            return files(host, self.command, path, body)
        if re.fullmatch(r".*/v1/models(/model-1)?", path) and self.command == "GET" and "google" not in host:
            return (models if path.endswith("models") else model)(host)
        for method, pattern, reply in ANSWERS:
            if method == self.command and re.fullmatch(pattern, path):
                return reply(body) if callable(reply) else reply
        return None

    def fail(self, status):
        kind, message = ERRORS.get(status, ("api_error", f"status {status}"))
        error = {"type": kind, "message": message, "code": status, "status": "UNAVAILABLE"}
        body = {"type": "error", "error": error}
        if "cohere" in self.headers["host"]:
            body = {"message": message}
        self.whole(status, json.dumps(body).encode(), "application/json", more={"retry-after": "0", "retry-after-ms": "1"})

    def whole(self, status, body, kind, cut=False, more={}):
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": len(body), "x-ratelimit-remaining-requests": 9, **more}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def stream(self, events, cut):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for one in events[: len(events) // 2] if cut else events:
            self.wfile.write(f"{len(one.encode()):x}\r\n{one}\r\n".encode())
            self.wfile.flush()
        if cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")


class Upstream(ThreadingHTTPServer):
    """Answers on a port of its own until the process ends. `faults` are what should not have come."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, certificate, key):
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.faults, self.cut_once = [], set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def look(self, method, path, headers):
        head = f"{path}\n{headers}"
        if KEY not in head:
            self.faults.append(f"{method} {path} came without the stored key")
        if "chatgpt.com" in headers["host"] and headers["chatgpt-account-id"] != ACCOUNT:
            self.faults.append(f"{method} {path} came without the account of the login")
        if re.search(r"\btg_[0-9A-Za-z]{8}", head):
            self.faults.append(f"{method} {path} came with the client's token")

    def again(self, client):
        """Whether this client was cut once."""
        known = client in self.cut_once
        self.cut_once.add(client)
        return known

    def handle_error(self, *_):
        """A client that leaves is no fault of the upstream."""
