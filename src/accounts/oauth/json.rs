//! The fields of an answer in JSON (RFC 6749, section 5.1). A field that does not matter cannot make the answer invalid,
//! whatever its value, its depth or the size of its numbers.
//!
//! Pure. Nothing is copied but the tokens, which are zeroed when they are dropped.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Deserializer as JsonDeserializer;
use zeroize::Zeroizing;

use super::answer::{Field, Fields, TokenName};
use crate::accounts::json_secret::JsonSecret;

/// The fields of an object. None if the text is no valid JSON, or has a token twice.
pub(super) fn fields(text: &str) -> Option<Fields> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let (mut access_token, mut refresh_token) = (None, None);
    let mut fields = Fields::default();
    for Member { depth, key, value } in Members::of(text) {
        let Some(key) = parsed::<JsonSecret<'_>>(key) else { continue };
        match (depth, &*key) {
            (1, "access_token") if access_token.is_none() => access_token = Some(token(value)),
            (1, "refresh_token") if refresh_token.is_none() => refresh_token = Some(token(value)),
            (1, "access_token" | "refresh_token") => return None,
            (1, "expires_in") => fields.expires_in = parsed(value),
            (1, "error") => fields.error = parsed(value),
            (_, name) if is_content(value) => fields.note_stray(TokenName::of(name)),
            _ => {}
        }
    }
    fields.access_token = access_token.unwrap_or_default();
    fields.refresh_token = refresh_token.unwrap_or_default();
    Some(fields)
}

/// The first value in a text. None if its type is another one, or it is too large a number.
fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    JsonDeserializer::from_str(text).into_iter().next()?.ok()
}

fn token(text: &str) -> Field {
    parsed::<JsonField<'_>>(text).map_or(Field::Other, Field::from)
}

/// True if a value may be, or contain, a token.
fn is_content(value: &str) -> bool {
    value.starts_with(['{', '[']) || value.starts_with('"') && !value.starts_with("\"\"")
}

/// The members of all objects in a valid JSON text, at any depth.
struct Members<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

struct Member<'a> {
    /// One for the members of the outermost object.
    depth: usize,
    /// The key, in its quotes.
    key: &'a str,
    /// The text from its value on.
    value: &'a str,
}

impl<'a> Members<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// The string that begins here, in its quotes.
    fn string(&mut self) -> &'a str {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                break;
            }
        }
        self.text.get(start..self.at).unwrap_or_default()
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        loop {
            match self.text.as_bytes().get(self.at)? {
                b'"' => {
                    let key = self.string();
                    let rest = self.text.get(self.at..)?.trim_start();
                    if let Some(value) = rest.strip_prefix(':') {
                        return Some(Member { depth: self.depth, key, value: value.trim_start() });
                    }
                    continue;
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
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
