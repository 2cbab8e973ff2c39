//! The echo response: the received request as JSON, for tests of what a proxy sends.

use bytes::Bytes;
use http::{HeaderMap, request::Parts};
use serde::Serialize;

use super::{counts::Snapshot, receive::Received};

/// Maximum size of a body that is included as text.
const SHOW_MAX_BYTES: usize = 64 << 10;

#[derive(Serialize)]
struct Echo<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    version: String,
    /// In order of receipt; fields with equal names are grouped.
    headers: Vec<(&'a str, String)>,
    body: Body<'a>,
    trailers: Vec<(&'a str, String)>,
    /// The TLS server name.
    server_name: Option<&'a str>,
    /// The number of the connection, from 1.
    connection: u64,
    counts: Snapshot,
}

#[derive(Serialize)]
struct Body<'a> {
    length: u64,
    sha256: &'a str,
    /// Present if the body is valid UTF-8 and at most `SHOW_MAX_BYTES` long.
    text: Option<&'a str>,
}

/// Returns the echo of a request.
pub(super) fn describe(
    head: &Parts,
    received: &Received,
    connection: (u64, Option<&str>),
    counts: Snapshot,
) -> Bytes {
    let (connection, server_name) = connection;
    let shown = received.kept.len() as u64 == received.length && received.kept.len() <= SHOW_MAX_BYTES;
    let text = std::str::from_utf8(&received.kept).ok().filter(|_| shown);
    let echo = Echo {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        version: format!("{:?}", head.version),
        headers: pairs(&head.headers),
        body: Body { length: received.length, sha256: &received.sha256, text },
        trailers: pairs(&received.trailers),
        server_name,
        connection,
        counts,
    };
    serde_json::to_vec(&echo).expect("strings and numbers are always JSON").into()
}

fn pairs(fields: &HeaderMap) -> Vec<(&str, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.as_str(), text(value))).collect()
}
