//! Answers of pages: their headers, and compression.

use std::io::Write;

use askama::Template;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The policy of all pages: nothing from elsewhere, no inline script or style, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The answer to a request for a page or an asset.
#[derive(Debug)]
pub struct PageResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those of the body's coding.
    pub headers: HeaderMap,
    body: Bytes,
    /// The body in gzip, if it was compressed ahead.
    compressed: Option<Bytes>,
}

impl PageResponse {
    /// A body that is compressed already.
    pub(super) fn compressed(body: Bytes, compressed: Bytes) -> Self {
        Self { status: StatusCode::OK, headers: safe_headers(), body, compressed: Some(compressed) }
    }

    /// A rendered page.
    pub(super) fn html(status: StatusCode, template: &impl Template) -> Self {
        // A template fails only if the text it writes to does, or a value that it shows.
        let (status, body) = match template.render() {
            Ok(body) => (status, body),
            Err(error) => {
                tracing::error!(%error, "a page could not be rendered");
                (StatusCode::INTERNAL_SERVER_ERROR, "This page could not be drawn: see the log.".to_owned())
            }
        };
        let mut headers = safe_headers();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self { status, headers, body: body.into(), compressed: None }
    }

    /// The answer to a form: the browser shows the page at `path` then.
    pub fn see_other(path: &str) -> Self {
        let mut headers = safe_headers();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(path) = HeaderValue::try_from(path) {
            headers.insert(header::LOCATION, path);
        }
        Self { status: StatusCode::SEE_OTHER, headers, body: Bytes::new(), compressed: None }
    }

    /// The body, in gzip if the client takes that; then with its header.
    pub fn into_body(self, takes_gzip: bool) -> (StatusCode, HeaderMap, Bytes) {
        let Self { status, mut headers, body, compressed } = self;
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if !takes_gzip || body.is_empty() {
            return (status, headers, body);
        }
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        (status, headers, compressed.unwrap_or_else(|| gzip(&body)))
    }
}

/// The headers that every answer has.
fn safe_headers() -> HeaderMap {
    let fixed = HeaderValue::from_static;
    let pairs: [(HeaderName, HeaderValue); 6] = [
        (header::CONTENT_SECURITY_POLICY, fixed(POLICY)),
        (header::X_FRAME_OPTIONS, fixed("DENY")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), fixed("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), fixed("same-origin")),
    ];
    pairs.into_iter().collect()
}

/// Bytes in gzip (RFC 1952).
pub(super) fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(5));
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail").into()
}
