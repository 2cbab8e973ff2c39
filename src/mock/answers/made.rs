//! Responses that are made for each request: as many embeddings as there are inputs, files and batches by their ids, sounds
//! and pictures.
//!
//! There is no state: a file that was uploaded is not kept, and every id has a file.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{CREATED, INPUT_TOKENS, MODEL, served::Served};

/// The most inputs, documents and pictures that are answered.
const MAX_ITEMS: usize = 2048;
const VECTOR: [f32; 8] = [0.125, -0.25, 0.5, -0.0625, 0.75, 0.03125, -0.375, 0.0];
const DAY: &str = "2025-06-15T15:06:40Z";
const TEXT: &str = "The mock says the same each time.";
/// A picture of one pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mMwTpv5HwAENAIyhHMY8AAAAABJRU5ErkJggg==";
/// The line that each file holds: the result of a request in a batch.
const LINE: &str = "{\"id\":\"batch_req_mock1\",\"custom_id\":\"request-1\",\"response\":{\"status_code\":200,\"body\":{}},\"error\":null}\n";
/// The bytes of a file that was not uploaded.
const FILE_BYTES: u64 = LINE.len() as u64;

/// A response.
#[derive(Debug)]
pub(in super::super) enum Made {
    Json(Value),
    /// A media type, and bytes.
    Other(&'static str, Bytes),
}

/// What a response is made of.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Asked<'r> {
    pub(in super::super) path: &'r str,
    /// The body, if it is JSON.
    pub(in super::super) json: &'r Value,
    /// The body.
    pub(in super::super) body: &'r [u8],
    /// The length of the body, which may be too long to be kept.
    pub(in super::super) length: u64,
}

/// Makes the response of an endpoint that has no shape.
pub(in super::super) fn made(served: Served, asked: Asked<'_>) -> Made {
    let body = asked.json;
    let id = |after: &str| segment_after(asked.path, after);
    Made::Json(match served {
        Served::Speech => return Made::Other("audio/wav", silence()),
        Served::FileContent => return Made::Other("application/jsonl", LINE.into()),
        Served::Embeddings => embeddings(body),
        Served::EmbedContent => json!({ "embedding": { "values": VECTOR } }),
        Served::EmbedContents => {
            let all: Vec<Value> =
                (0..count(&body["requests"])).map(|_| json!({ "values": VECTOR })).collect();
            json!({ "embeddings": all })
        }
        Served::EmbedV2 => embed(body),
        Served::Rerank => rerank(body),
        Served::Transcription => json!({
            "text": TEXT, "language": "en",
            "usage": { "type": "tokens", "input_tokens": INPUT_TOKENS, "output_tokens": 8, "total_tokens": INPUT_TOKENS + 8 },
        }),
        Served::Images => json!({ "created": CREATED, "data": [{ "b64_json": PIXEL }] }),
        Served::Upload => {
            let (name, bytes) = upload(asked);
            file("file-mock00000000000000000001", &name, bytes)
        }
        Served::Files => list(&file("file-mock00000000000000000001", "mock.jsonl", FILE_BYTES)),
        Served::File => file(id("files"), "mock.jsonl", FILE_BYTES),
        Served::DeletedFile => {
            json!({ "id": id("files"), "object": "file", "type": "file_deleted", "deleted": true })
        }
        Served::NewBatch => batch("batch_mock00000000000000000001", "completed", body),
        Served::CancelledBatch => batch(id("batches"), "cancelling", body),
        Served::Batches => list(&batch("batch_mock00000000000000000001", "completed", body)),
        Served::Batch => batch(id("batches"), "completed", body),
        // The others have a shape.
        _ => model(id("models")),
    })
}

/// The segment after the last one of this name.
fn segment_after<'p>(path: &'p str, name: &str) -> &'p str {
    let mut segments = path.rsplit('/');
    let mut after = "";
    while let Some(segment) = segments.next().filter(|segment| *segment != name) {
        after = segment;
    }
    after
}

/// The model of a path: the segment after `models`, without a verb.
pub(in super::super) fn model_of(path: &str) -> &str {
    let segment = segment_after(path, "models");
    segment.rsplit_once(':').map_or(segment, |(model, _)| model)
}

/// The number of items: those of a list, or one value.
fn count(items: &Value) -> usize {
    items.as_array().map_or(1, Vec::len).min(MAX_ITEMS)
}

fn model(id: &str) -> Value {
    json!({
        "id": id, "object": "model", "type": "model", "display_name": "Mock Model", "created": CREATED,
        "created_at": DAY, "owned_by": "mock", "name": format!("models/{id}"), "displayName": "Mock Model",
        "supportedGenerationMethods": ["generateContent"],
    })
}

fn embeddings(body: &Value) -> Value {
    // A list of numbers is one input.
    let input = &body["input"];
    let inputs = if input.get(0).is_some_and(Value::is_number) { 1 } else { count(input) };
    let vector = if body["encoding_format"] == "base64" {
        let bytes: Vec<u8> = VECTOR.iter().flat_map(|number| number.to_le_bytes()).collect();
        json!(BASE64_STANDARD.encode(bytes))
    } else {
        json!(VECTOR)
    };
    let row = |index| json!({ "object": "embedding", "index": index, "embedding": vector });
    json!({
        "id": "embd-mock00000000000000000001", "object": "list", "data": (0..inputs).map(row).collect::<Vec<_>>(),
        "model": body["model"].as_str().unwrap_or(MODEL),
        "usage": { "prompt_tokens": INPUT_TOKENS, "total_tokens": INPUT_TOKENS },
    })
}

fn embed(body: &Value) -> Value {
    let inputs =
        ["texts", "inputs", "images"].into_iter().find_map(|key| body.get(key)).unwrap_or(&Value::Null);
    let vectors: Vec<Value> = (0..count(inputs)).map(|_| json!(VECTOR)).collect();
    json!({
        "id": "embd-mock00000000000000000001", "embeddings": { "float": vectors }, "texts": body["texts"],
        "response_type": "embeddings_by_type",
        "meta": { "api_version": { "version": "2" }, "billed_units": { "input_tokens": INPUT_TOKENS } },
    })
}

/// The last document counts most.
fn rerank(body: &Value) -> Value {
    let documents = count(&body["documents"]);
    let top = body["top_n"].as_u64().and_then(|top| usize::try_from(top).ok()).unwrap_or(documents);
    let result = |index: usize| json!({ "index": index, "relevance_score": 0.5 });
    json!({
        "id": "rerank-mock00000000000000000001", "model": body["model"].as_str().unwrap_or(MODEL),
        "results": (0..documents).rev().take(top).map(result).collect::<Vec<_>>(),
        "usage": { "total_tokens": INPUT_TOKENS },
        "meta": { "api_version": { "version": "2" }, "billed_units": { "search_units": 1 } },
    })
}

fn file(id: &str, name: &str, bytes: u64) -> Value {
    json!({
        "id": id, "object": "file", "type": "file", "bytes": bytes, "size_bytes": bytes, "created_at": CREATED,
        "filename": name, "mime_type": "application/jsonl", "purpose": "batch", "status": "processed",
        "sample_type": "batch_request", "source": "upload",
    })
}

fn batch(id: &str, status: &str, body: &Value) -> Value {
    json!({
        "id": id, "object": "batch", "type": "message_batch", "status": status, "processing_status": "ended",
        "endpoint": body["endpoint"].as_str().unwrap_or("/v1/chat/completions"),
        "input_file_id": body["input_file_id"].as_str().unwrap_or("file-mock00000000000000000001"),
        "output_file_id": "file-mock00000000000000000002", "completion_window": "24h", "created_at": CREATED,
        "request_counts": {
            "total": 1, "completed": 1, "failed": 0,
            "processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0,
        },
    })
}

fn list(item: &Value) -> Value {
    let id = &item["id"];
    json!({ "object": "list", "data": [item], "has_more": false, "first_id": id, "last_id": id, "total": 1 })
}

/// The name and the size of the file in a form. A form that was not kept has the size of its body.
fn upload(asked: Asked<'_>) -> (String, u64) {
    let unknown = ("upload".to_owned(), asked.length);
    let after = |text: &[u8], mark: &[u8]| {
        text.windows(mark.len()).position(|part| part == mark).map(|at| at + mark.len())
    };
    let Some(name_at) = after(asked.body, b"filename=\"") else { return unknown };
    let rest = &asked.body[name_at..];
    let name = rest.split(|byte| *byte == b'"').next().unwrap_or_default();
    let Some(start) = after(rest, b"\r\n\r\n") else { return unknown };
    let content = &rest[start..];
    let end = after(content, b"\r\n--").map_or(content.len(), |at| at - 4);
    (String::from_utf8_lossy(name).into_owned(), end as u64)
}

/// A WAV file with a hundredth of a second of silence.
fn silence() -> Bytes {
    const RATE: u32 = 8000;
    const SAMPLES: u32 = RATE / 100;
    let mut wav = Vec::with_capacity(44 + 2 * SAMPLES as usize);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + 2 * SAMPLES).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&RATE.to_le_bytes());
    wav.extend_from_slice(&(2 * RATE).to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&(2 * SAMPLES).to_le_bytes());
    wav.resize(wav.len() + 2 * SAMPLES as usize, 0);
    wav.into()
}
