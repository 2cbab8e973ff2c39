//! JSON read strictly: a key that is there twice is refused with its path, since whoever wrote it meant one of the two.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::body::{bad, step};
use crate::fault::{Fault, Kind};

/// The value that a text is.
pub(super) fn read(text: &[u8]) -> Result<Value, Fault> {
    let twice = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Once { path: String::new(), twice: &twice }.deserialize(&mut reader);
    value.and_then(|value| reader.end().map(|()| value)).map_err(|_| match twice.take() {
        Some(path) => bad(&path, "the key is there twice"),
        None => Fault::new(Kind::InvalidRequest, "Invalid JSON body"),
    })
}

/// What reads a value at a path; and where the key is that was there before, once there is one.
struct Once<'t> {
    path: String,
    twice: &'t Cell<Option<String>>,
}

impl Once<'_> {
    fn below(&self, step: impl fmt::Display) -> Self {
        Self { path: format!("{}/{step}", self.path), twice: self.twice }
    }
}

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
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
            let below = self.below(step(&key));
            if all.contains_key(&key) {
                self.twice.set(Some(below.path));
                return Err(A::Error::custom("a key is there twice"));
            }
            let value = entries.next_value_seed(below)?;
            all.insert(key, value);
        }
        Ok(all.into())
    }
}
