//! Strict JSON: a duplicate key is refused with its pointer. Most parsers keep the last value; the author of the document
//! may have meant the other.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::pointer;
use crate::fault::{Cause, Fault, FaultKind};

/// Parses a whole body.
pub fn parse(text: &[u8]) -> Result<Value, Fault> {
    let duplicate = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict { pointer: String::new(), duplicate: &duplicate }.deserialize(&mut reader);
    value.and_then(|value| reader.end().map(|()| value)).map_err(|_| match duplicate.take() {
        Some(pointer) => pointer::fault(&pointer, Cause::DuplicateKey, "the key is there twice"),
        None => Fault::new(FaultKind::InvalidRequest, "Invalid JSON body").because(Cause::InvalidJson),
    })
}

/// Parses a body that may be left out: an empty one is `{}`.
pub(super) fn parse_optional(text: &[u8]) -> Result<Value, Fault> {
    if text.is_empty() { Ok(Value::Object(Map::new())) } else { parse(text) }
}

/// Reads the value at a pointer, and leaves the pointer of the first duplicate key in `duplicate`: serde's errors carry
/// text only.
struct Strict<'d> {
    pointer: String,
    duplicate: &'d Cell<Option<String>>,
}

impl Strict<'_> {
    fn below(&self, step: impl fmt::Display) -> Self {
        Self { pointer: format!("{}/{step}", self.pointer), duplicate: self.duplicate }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(self.below(all.len()))? {
            all.push(item);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let below = self.below(pointer::step(&key));
            if all.contains_key(&key) {
                self.duplicate.set(Some(below.pointer));
                return Err(A::Error::custom("duplicate key"));
            }
            let value = entries.next_value_seed(below)?;
            all.insert(key, value);
        }
        Ok(all.into())
    }
}
