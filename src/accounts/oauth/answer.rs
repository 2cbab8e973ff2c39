//! The fields of a token endpoint's answer, in every form that a server may send: JSON or a form, in any character
//! encoding that contains ASCII or is UTF-16, with or without a byte order mark, compressed or not.
//!
//! Pure. The text is zeroed when it is dropped; no error contains any of it.

use std::fmt;

use serde_json::Value;
use zeroize::Zeroizing;

use super::{coding, json};

/// An answer as it was received.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceivedAnswer {
    /// The status code.
    pub status: u16,
    /// The `Content-Type` field; empty if there is none.
    pub content_type: String,
    /// The `Content-Encoding` field; empty if there is none.
    pub content_encoding: String,
    /// The body, or the part that was received.
    pub body: Zeroizing<Vec<u8>>,
    /// The reason why the rest of the body is missing.
    pub incomplete: Option<&'static str>,
}

/// The fields that matter.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) access_token: Field,
    pub(super) refresh_token: Field,
    pub(super) expires_in: Option<Value>,
    pub(super) error: Option<Value>,
    /// True if a field of another name, or inside another one, looks like an access token.
    pub(super) stray_access_token: bool,
    /// The same for a refresh token.
    pub(super) stray_refresh_token: bool,
}

/// The kind of token that the name of a field suggests.
#[derive(Clone, Copy)]
pub(super) enum TokenName {
    Access,
    Refresh,
    Other,
}

/// A field with a token.
#[derive(Default)]
pub(super) enum Field {
    /// Absent, null or empty.
    #[default]
    Absent,
    /// A token.
    Text(Zeroizing<String>),
    /// A value that is no token, such as an object.
    Other,
}

impl fmt::Debug for ReceivedAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, content_type, body, .. } = self;
        write!(formatter, "ReceivedAnswer({status}, {content_type:?}, {} bytes)", body.len())
    }
}

impl ReceivedAnswer {
    /// True for a successful status.
    pub(in crate::accounts) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body without its content coding. The error completes the sentence "The token endpoint's reply".
    pub(in crate::accounts) fn decoded(&self) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        if let Some(reason) = self.incomplete {
            return Err(reason);
        }
        // Some servers name a content coding, and apply none.
        if self.body.first() == Some(&b'{') {
            return Ok(self.body.clone());
        }
        match coding::decoded(&self.body, &self.content_encoding)? {
            Some(decoded) => decoded.incomplete.map_or(Ok(decoded.body), Err),
            None => Ok(self.body.clone()),
        }
    }

    /// The fields of the answer. The error completes the sentence "The token endpoint's response".
    pub(super) fn fields(&self) -> Result<Fields, &'static str> {
        // First as it is: some servers name a content coding, and apply none.
        let plain = self.parsed(&self.body, self.incomplete);
        if plain.is_ok() || self.body.is_empty() {
            return plain;
        }
        match coding::decoded(&self.body, &self.content_encoding)? {
            Some(decoded) => self.parsed(&decoded.body, self.incomplete.or(decoded.incomplete)),
            None => plain,
        }
    }

    fn parsed(&self, body: &[u8], incomplete: Option<&'static str>) -> Result<Fields, &'static str> {
        let text = text(body);
        let text = text.trim_matches(|character: char| character.is_whitespace() || character == '\0');
        if text.starts_with('{') {
            // A document that is complete is understood, even if its connection broke afterwards.
            return json::fields(text).ok_or(incomplete.unwrap_or("is not the expected JSON"));
        }
        if let Some(reason) = incomplete {
            return Err(reason);
        }
        if text.is_empty() {
            return Err("is empty");
        }
        let may_be_form = matches!(
            self.media_type().as_str(),
            "" | "application/x-www-form-urlencoded" | "text/plain" | "application/octet-stream"
        );
        may_be_form.then(|| form(text)).flatten().ok_or("is neither the expected JSON nor a form")
    }

    fn media_type(&self) -> String {
        let (essence, _) = self.content_type.split_once(';').unwrap_or((&self.content_type, ""));
        essence.trim().to_ascii_lowercase()
    }
}

impl Fields {
    /// Notes a token that is not where the standard puts it.
    pub(super) fn note_stray(&mut self, name: TokenName) {
        match name {
            TokenName::Access => self.stray_access_token = true,
            TokenName::Refresh => self.stray_refresh_token = true,
            TokenName::Other => {}
        }
    }
}

impl TokenName {
    /// Whatever its case, its separators and its prefix: `refreshToken`, `NEW-REFRESH-TOKEN`, `refresh`.
    pub(super) fn of(name: &str) -> Self {
        let letters = name.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase());
        let letters: Vec<u8> = letters.collect();
        match () {
            () if letters.ends_with(b"refreshtoken") || letters == b"refresh" => Self::Refresh,
            () if letters.ends_with(b"accesstoken") => Self::Access,
            () => Self::Other,
        }
    }
}

/// The body as text. Its first bytes show its encoding (RFC 4627, section 3), so that a wrong `charset` does no harm.
/// Tokens are ASCII: other characters may be lost.
fn text(body: &[u8]) -> Zeroizing<String> {
    // A byte becomes three at most. The buffer must not grow, or else copies of the secret stay behind.
    let mut text = Zeroizing::new(String::with_capacity(3 * body.len()));
    match body {
        [0xff, 0xfe, rest @ ..] => push_utf16(&mut text, rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => push_utf16(&mut text, rest, u16::from_be_bytes),
        [0, 1..=u8::MAX, ..] => push_utf16(&mut text, body, u16::from_be_bytes),
        [1..=u8::MAX, 0, ..] => push_utf16(&mut text, body, u16::from_le_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => push_utf8(&mut text, rest),
        _ => push_utf8(&mut text, body),
    }
    text
}

fn push_utf8(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

fn push_utf16(text: &mut String, bytes: &[u8], unit: fn([u8; 2]) -> u16) {
    let (pairs, _) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| unit(*pair));
    text.extend(char::decode_utf16(units).map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

/// A form, as some endpoints answer. None if it has no known field, or has one twice.
fn form(text: &str) -> Option<Fields> {
    let (mut fields, mut known) = (Fields::default(), Vec::new());
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let value = Zeroizing::new(value.into_owned());
        match &*name {
            "access_token" => fields.access_token = value.into(),
            "refresh_token" => fields.refresh_token = value.into(),
            "expires_in" => fields.expires_in = Some(Value::from(value.as_str())),
            "error" => fields.error = Some(Value::from(value.as_str())),
            other => {
                if !value.is_empty() {
                    fields.note_stray(TokenName::of(other));
                }
                continue;
            }
        }
        if known.contains(&name) {
            return None;
        }
        known.push(name);
    }
    known.iter().any(|name| name != "expires_in").then_some(fields)
}

impl From<Zeroizing<String>> for Field {
    fn from(text: Zeroizing<String>) -> Self {
        if text.is_empty() { Self::Absent } else { Self::Text(text) }
    }
}
