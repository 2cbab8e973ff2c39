//! Reads a request body and parses the fields that select the response. The body is hashed only for the echo, and kept
//! only up to `KEEP_MAX_BYTES`.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::{Deserialize, de::IgnoredAny};
use sha2::{Digest, Sha256};

use super::answers::{MODEL, ResponseOptions};

/// Maximum size of a body.
pub(super) const BODY_MAX_BYTES: u64 = 1 << 30;
/// Maximum size of a body that is kept and parsed. A larger one is treated as an empty object.
const KEEP_MAX_BYTES: usize = 16 << 20;

/// A request body, read to its end.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) length: u64,
    /// Empty if the body was too large to keep.
    pub(super) kept: Bytes,
    /// In hex; empty if no digest was requested.
    pub(super) sha256: String,
    pub(super) trailers: HeaderMap,
}

/// An error while reading a body.
#[derive(Debug)]
pub(super) enum ReadError {
    TooLarge,
    Broken(hyper::Error),
}

/// Reads a body to its end, hashing it if `digest` is set.
pub(super) async fn receive(mut body: Incoming, digest: bool) -> Result<Received, ReadError> {
    let mut received = Received::default();
    let mut keep = BodyBuffer::default();
    let mut hasher = digest.then(Sha256::new);
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let data = match frame.map_err(ReadError::Broken)?.into_data() {
            Ok(data) => data,
            Err(frame) => {
                received.trailers = frame.into_trailers().unwrap_or_default();
                continue;
            }
        };
        received.length += data.len() as u64;
        if received.length > BODY_MAX_BYTES {
            return Err(ReadError::TooLarge);
        }
        if let Some(hasher) = &mut hasher {
            hasher.update(&data);
        }
        keep = keep.with(data);
    }
    received.kept = keep.into_bytes();
    received.sha256 = hasher.map(|hasher| format!("{:x}", hasher.finalize())).unwrap_or_default();
    Ok(received)
}

/// The body so far. A single chunk, the usual case, is not copied.
enum BodyBuffer {
    One(Bytes),
    Many(Vec<u8>),
    TooLarge,
}

impl Default for BodyBuffer {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl BodyBuffer {
    fn with(self, data: Bytes) -> Self {
        let mut many = match self {
            Self::One(first) if first.is_empty() => return Self::One(data),
            Self::One(first) => first.to_vec(),
            Self::Many(many) => many,
            Self::TooLarge => return Self::TooLarge,
        };
        if many.len() + data.len() > KEEP_MAX_BYTES {
            return Self::TooLarge;
        }
        many.extend_from_slice(&data);
        Self::Many(many)
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(many) => many.into(),
            Self::TooLarge => Bytes::new(),
        }
    }
}

/// The fields that select a response. Others are ignored; a body that does not parse has none of them.
#[derive(Deserialize, Default)]
#[serde(default)]
struct RequestBody {
    model: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// Read only by a request that has them.
    tools: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// Returns the requested model as JSON, and the requested response options.
pub(super) fn parse_body(body: &[u8]) -> (String, ResponseOptions) {
    let asked: RequestBody = serde_json::from_slice(body).unwrap_or_default();
    let usage = asked.stream_options.and_then(|stream| stream.include_usage);
    let options = ResponseOptions {
        stream: asked.stream.unwrap_or(false),
        usage: usage.unwrap_or(false),
        tools: asked.tools.is_some(),
    };
    let model = asked.model.as_deref().unwrap_or(MODEL);
    (serde_json::to_string(model).expect("a string is always JSON"), options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_bodies() {
        let check = |body: &str, model: &str, stream: bool, usage: bool| {
            let tools = body.contains("tools");
            let expected = ResponseOptions { stream, usage, tools };
            assert_eq!(parse_body(body.as_bytes()), (model.to_owned(), expected), "{body}");
        };
        check("", "\"mock-model\"", false, false);
        check("{}", "\"mock-model\"", false, false);
        check("[1,2", "\"mock-model\"", false, false);
        check(r#"{"model":"a\"b","messages":[{"stream":true}]}"#, r#""a\"b""#, false, false);
        check(r#"{"stream":true,"model":"m"}"#, "\"m\"", true, false);
        check(r#"{"tools":[{"a":1}],"model":"m"}"#, "\"m\"", false, false);
        check(r#"{"stream":null,"stream_options":null}"#, "\"mock-model\"", false, false);
        check(r#"{"stream":true,"stream_options":{"include_usage":true}}"#, "\"mock-model\"", true, true);
    }
}
