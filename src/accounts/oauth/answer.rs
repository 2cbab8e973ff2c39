//! The fields of a token endpoint's answer, in every form that a server may send: JSON or a form, in any character
//! encoding that contains ASCII or is UTF-16, with or without a byte order mark.
//!
//! Pure. The text is zeroed when it is dropped; no error contains any of it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::accounts::json_secret::JsonSecret;

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
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The fields of the answer. The error completes the sentence "The token endpoint's response".
    pub(super) fn fields(&self) -> Result<Fields, &'static str> {
        let coded = |coding: &str| !matches!(coding.trim().to_ascii_lowercase().as_str(), "" | "identity");
        if self.content_encoding.split(',').any(coded) {
            return Err("has a content coding, though the request asked for none");
        }
        let text = text(&self.body);
        let text = text.trim();
        if text.starts_with('{') {
            // A document that is complete is understood, even if its connection broke afterwards.
            return json(text).ok_or(self.incomplete.unwrap_or("is not the expected JSON"));
        }
        if let Some(reason) = self.incomplete {
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

/// A JSON object (RFC 6749, section 5.1).
fn json(text: &str) -> Option<Fields> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow, default)]
        access_token: JsonField<'a>,
        #[serde(borrow, default)]
        refresh_token: JsonField<'a>,
        expires_in: Option<Value>,
        error: Option<Value>,
    }
    let document: Document<'_> = serde_json::from_str(text).ok()?;
    let Document { access_token, refresh_token, expires_in, error } = document;
    Some(Fields { access_token: access_token.into(), refresh_token: refresh_token.into(), expires_in, error })
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
            _ => continue,
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

/// A token in a JSON document. A number counts as its digits.
#[derive(Default)]
enum JsonField<'a> {
    #[default]
    Absent,
    Text(JsonSecret<'a>),
    Number(u64),
    Other,
}

impl From<JsonField<'_>> for Field {
    fn from(field: JsonField<'_>) -> Self {
        match field {
            JsonField::Absent => Self::Absent,
            JsonField::Text(text) => Zeroizing::new((*text).to_owned()).into(),
            JsonField::Number(number) => Zeroizing::new(number.to_string()).into(),
            JsonField::Other => Self::Other,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonField<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = JsonField<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a token")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(JsonField::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(JsonField::Text(text.to_owned().into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(JsonField::Absent)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(JsonField::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(JsonField::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(JsonField::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(JsonField::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(JsonField::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(JsonField::Other)
    }
}
