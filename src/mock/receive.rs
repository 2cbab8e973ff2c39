//! Reading a request: its whole body, and as much of its meaning as decides the answer. Nothing but the
//! echo hashes a body, and none is kept beyond what may decide the answer.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::answers::{MODEL, Wants};

/// The largest body that is read.
pub(super) const BODY_MAX_BYTES: u64 = 1 << 30;
/// The largest body that is kept and looked into; a larger one counts as an empty object.
const KEEP_MAX_BYTES: usize = 16 << 20;

/// A request's body after it was read.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) length: u64,
    /// Empty if the body was too large to keep.
    pub(super) kept: Bytes,
    /// In hex; empty if nobody asked for it.
    pub(super) sha256: String,
    pub(super) trailers: HeaderMap,
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    TooLarge,
    Broken(hyper::Error),
}

/// Reads a body to its end.
pub(super) async fn receive(mut body: Incoming, digest: bool) -> Result<Received, Unread> {
    let mut received = Received::default();
    let mut keep = Keep::default();
    let mut hasher = digest.then(Sha256::new);
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let data = match frame.map_err(Unread::Broken)?.into_data() {
            Ok(data) => data,
            Err(frame) => {
                received.trailers = frame.into_trailers().unwrap_or_default();
                continue;
            }
        };
        received.length += data.len() as u64;
        if received.length > BODY_MAX_BYTES {
            return Err(Unread::TooLarge);
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

/// The body so far. One chunk, the usual case, is not copied.
enum Keep {
    One(Bytes),
    Many(Vec<u8>),
    TooLarge,
}

impl Default for Keep {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Keep {
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

/// What a request asks for. Everything else in it is skipped; what does not parse asks for nothing.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Asked {
    model: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// The model that a body names, as JSON, and what shape of answer it wants.
pub(super) fn look_into(body: &[u8]) -> (String, Wants) {
    let asked: Asked = serde_json::from_slice(body).unwrap_or_default();
    let usage = asked.stream_options.and_then(|options| options.include_usage);
    let wants = Wants { stream: asked.stream.unwrap_or(false), usage: usage.unwrap_or(false) };
    let model = asked.model.as_deref().unwrap_or(MODEL);
    (serde_json::to_string(model).expect("a string is always JSON"), wants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let check = |body: &str, model: &str, stream: bool, usage: bool| {
            assert_eq!(look_into(body.as_bytes()), (model.to_owned(), Wants { stream, usage }), "{body}");
        };
        check("", "\"mock-model\"", false, false);
        check("{}", "\"mock-model\"", false, false);
        check("[1,2", "\"mock-model\"", false, false);
        check(r#"{"model":"a\"b","messages":[{"stream":true}]}"#, r#""a\"b""#, false, false);
        check(r#"{"stream":true,"model":"m"}"#, "\"m\"", true, false);
        check(r#"{"stream":null,"stream_options":null}"#, "\"mock-model\"", false, false);
        check(r#"{"stream":true,"stream_options":{"include_usage":true}}"#, "\"mock-model\"", true, true);
    }
}
