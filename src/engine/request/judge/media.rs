//! The content type of a request: the way in which its body is judged.
//!
//! It guarantees: a body that is judged as JSON has a content type that no lenient parser takes for a form, and the other way
//! round; and none names another character set than UTF-8.

use super::{Unjudgeable, parameters::Parsed};

/// The longest boundary, in bytes: RFC 2046, section 5.1.1.
const MAX_BOUNDARY: usize = 70;

/// The kind of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    /// `multipart/form-data`, with its boundary.
    Multipart(Vec<u8>),
    /// `application/x-www-form-urlencoded`.
    UrlEncoded,
}

/// The kind of a body with this content type.
pub(super) fn of(content_type: Option<&[u8]>) -> Result<Media, Unjudgeable> {
    let value = content_type.unwrap_or_default().trim_ascii();
    if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return Err(Unjudgeable::ContentType);
    }
    let lower = value.to_ascii_lowercase();
    let count = |text: &[u8]| lower.windows(text.len()).filter(|one| *one == text).count();
    let is_multipart = lower.starts_with(b"multipart/form-data");
    let parsed = Parsed::of(value);
    if is_multipart && (count(b"boundary=") != 1 || count(b"boundary*") > 0) {
        return Err(Unjudgeable::Boundary);
    }
    let malformed = if is_multipart { Unjudgeable::Boundary } else { Unjudgeable::ContentType };
    let parsed = parsed.ok_or(malformed)?;
    // A charset that a lenient parser finds is one that this one found.
    if !parsed.is_utf8() || count(b"charset") > parsed.all("charset").len() {
        return Err(Unjudgeable::Charset);
    }
    if parsed.essence.eq_ignore_ascii_case(b"multipart/form-data") {
        return boundary(&parsed).map(Media::Multipart);
    }
    if parsed.essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        let is_plain = parsed.parameters.len() == parsed.all("charset").len();
        return if is_plain { Ok(Media::UrlEncoded) } else { Err(Unjudgeable::ContentType) };
    }
    let names_form = [b"urlencoded".as_slice(), b"form-data"].iter().any(|text| count(text) > 0);
    if names_form { Err(Unjudgeable::ContentType) } else { Ok(Media::Json) }
}

fn boundary(parsed: &Parsed<'_>) -> Result<Vec<u8>, Unjudgeable> {
    if parsed.parameters.len() > 1 + parsed.all("charset").len() {
        return Err(Unjudgeable::ContentType);
    }
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+/:=?".contains(byte);
    match *parsed.all("boundary") {
        [value] if (1..=MAX_BOUNDARY).contains(&value.len()) && value.iter().all(is_plain) => {
            Ok(value.to_vec())
        }
        _ => Err(Unjudgeable::Boundary),
    }
}
