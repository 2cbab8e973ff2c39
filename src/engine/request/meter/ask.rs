//! Requests that ask for usage: the key to insert, and the filter that takes the event out that the upstream sends for it.
//!
//! It guarantees: the client gets what it would have got. A body that cannot be changed safely passes as it is, and so does
//! an event that may be another one. Read next: `filter`, then `event`, the check of one event.

mod event;
mod filter;

use http::{HeaderMap, header};

use crate::{
    language::compile::metering::Ask,
    request::splice::{Document, Splice, SpliceProblem},
};

pub use filter::{ExtraFilter, MAX_HELD};

/// Headers with a digest of the body, also as trailers: RFC 9530 and its predecessors, and those of signing clients.
pub const DIGESTS: [&str; 7] = [
    "content-digest",
    "repr-digest",
    "unencoded-digest",
    "digest",
    "content-md5",
    "x-amz-content-sha256",
    "x-ms-content-sha256",
];

/// The headers of a signed message (RFC 9421, section 4).
const SIGNATURES: [&str; 2] = ["signature", "signature-input"];

/// Removes digests of a body that was changed.
pub fn remove_digests(headers: &mut HeaderMap) {
    for name in DIGESTS {
        headers.remove(name);
    }
}

/// True if the body of a message may be changed: it has no content coding, and is not signed.
pub fn is_changeable(headers: &HeaderMap) -> bool {
    // RFC 9110, section 8.4.1: `identity` is no content coding.
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
        && !SIGNATURES.iter().any(|name| headers.contains_key(*name))
}

/// The replacement that makes a request ask for usage; none if it asks already, or is not to ask. A key with a value other
/// than `null` and `false` asks.
pub fn ask(ask: &Ask, body: &[u8]) -> Result<Option<Splice>, SpliceProblem> {
    let document = Document::parse(body)?;
    if let Some(when) = &ask.when
        && document.find(when)? != Some(b"true")
    {
        return Ok(None);
    }
    match document.find(&ask.at)? {
        None | Some(b"null" | b"false") => document.splice(&ask.at, &ask.value).map(Some),
        // The client has asked in its own way, and wants to see the answer to it.
        Some(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
