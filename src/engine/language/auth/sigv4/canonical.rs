//! The canonical request: the text that client and service both derive from a request, and that the signature covers.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>, "Create a canonical
//! request". It works on the head as it is sent: what a service decodes and encodes again comes out the same.

use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderMap, HeaderName, Method};

use crate::base::hex;

/// The form of the path in the canonical request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathForm {
    /// Dot segments and empty segments are resolved.
    pub(super) normalized: bool,
    /// The path as it is sent is percent-encoded once more.
    pub(super) encoded_twice: bool,
}

impl PathForm {
    /// The form of most services.
    pub(super) const TWICE: Self = Self { normalized: true, encoded_twice: true };
    /// The form of object stores, whose keys may hold empty and dot segments.
    pub(super) const ONCE: Self = Self { normalized: false, encoded_twice: false };
}

/// A canonical request.
#[derive(Debug)]
pub(super) struct CanonicalRequest {
    /// The text that is hashed. A header may bring bytes that are no UTF-8.
    pub(super) text: Vec<u8>,
    /// The names of the headers in it, in order, with a semicolon between them.
    pub(super) signed_headers: String,
}

/// The canonical request of a head. `payload` is the hash of the body, or the word in its place. `covers` selects headers.
pub(super) fn request(
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    payload: &str,
    form: PathForm,
    covers: impl Fn(&HeaderName) -> bool,
) -> CanonicalRequest {
    let (sent_path, sent_query) = target.split_once('?').unwrap_or((target, ""));
    let covered: BTreeMap<&str, Vec<u8>> = headers
        .keys()
        .filter(|name| covers(name))
        .map(|name| (name.as_str(), values(headers, name)))
        .collect();
    let signed_headers = covered.keys().copied().collect::<Vec<_>>().join(";");
    let mut text = format!("{method}\n{}\n{}\n", path(sent_path, form), query(sent_query)).into_bytes();
    for (name, value) in &covered {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend_from_slice(value);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("\n{signed_headers}\n{payload}").as_bytes());
    CanonicalRequest { text, signed_headers }
}

/// All lines of a header as one value: each trimmed, with single spaces.
fn values(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let line = |value: &http::HeaderValue| {
        let words = value.as_bytes().split(|byte| matches!(byte, b' ' | b'\t'));
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(&b' ')
    };
    headers.get_all(name).iter().map(line).collect::<Vec<_>>().join(&b',')
}

/// The canonical path of a path as it is sent.
pub(super) fn path(sent: &str, form: PathForm) -> String {
    let path = if form.normalized { normalized(sent) } else { Cow::Borrowed(sent) };
    let path = if path.is_empty() { "/" } else { &*path };
    let mut out = String::with_capacity(path.len() + 8);
    if form.encoded_twice {
        for byte in path.bytes() {
            if byte == b'/' { out.push('/') } else { encode_byte(byte, &mut out) }
        }
        return out;
    }
    // An encoded slash is no separator, and stays encoded.
    for (byte, was_encoded) in decoded(path) {
        if byte == b'/' && !was_encoded { out.push('/') } else { encode_byte(byte, &mut out) }
    }
    out
}

/// The path without dot segments and empty segments.
fn normalized(path: &str) -> Cow<'_, str> {
    let is_odd = |segment: &str| matches!(segment, "" | "." | "..");
    let segments = || path.split('/').skip(1);
    let last = segments().count().saturating_sub(1);
    if !segments()
        .enumerate()
        .any(|(index, segment)| is_odd(segment) && (index < last || !segment.is_empty()))
    {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in segments() {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let ends_in_slash = path.ends_with(['/']) && !kept.is_empty();
    Cow::Owned(format!("/{}{}", kept.join("/"), if ends_in_slash { "/" } else { "" }))
}

/// The canonical query of a query as it is sent: every name and value encoded, sorted by both.
pub(super) fn query(sent: &str) -> String {
    let pairs = sent.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (component(name), component(value))
        })
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// A name or value with everything encoded but unreserved characters.
fn component(sent: &str) -> String {
    let mut out = String::with_capacity(sent.len());
    decoded(sent).for_each(|(byte, _)| encode_byte(byte, &mut out));
    out
}

/// The bytes of a percent-encoded text; true for those that were encoded. A `%` without two digits stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = (u8, bool)> + '_ {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let pair = rest.first_chunk::<3>().filter(|chunk| chunk[0] == b'%');
        let pair = pair.and_then(|chunk| hex::decode::<1>(str::from_utf8(&chunk[1..]).ok()?));
        let (byte, len) = pair.map_or((*rest.first()?, 1), |[byte]| (byte, 3));
        rest = &rest[len..];
        Some((byte, len == 3))
    })
}

fn encode_byte(byte: u8, out: &mut String) {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        out.push(char::from(byte));
    } else {
        out.push('%');
        out.push_str(&hex::encode(&[byte]).to_ascii_uppercase());
    }
}
