//! Places of values in a JSON document, as an api file writes them: a pointer, a list of pointers, or a table for a count.
//!
//! A pointer is a JSON pointer (RFC 6901) in which `*` stands for every element of an array. `compile` parses it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::json;

use crate::base::usage::Counter;

/// The greatest length of a pointer, in characters.
const MAX_POINTER: usize = 256;
/// The greatest number of pointers in a list.
const MAX_POINTERS: usize = 16;

/// The place of a count: a pointer, a list of pointers of which the first with a value applies, or a table.
#[derive(Debug, Clone)]
pub enum Count {
    /// A pointer, or a list.
    At(Pointers),
    /// A table.
    Table(Box<CountTable>),
}

/// The place of a count, and the way to reckon with it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountTable {
    /// A pointer, or a list of pointers of which the first with a value applies.
    #[schemars(example = &"/usage/prompt_tokens")]
    pub at: Pointers,
    /// Pointers of further counts to add.
    #[schemars(example = &"/usage/tool_tokens")]
    pub plus: Option<Pointers>,
    /// Counters of the same table that this count includes.
    #[serde(default)]
    #[schemars(example = json!(["cache_read"]), schema_with = "counter_names")]
    pub minus: Option<Vec<String>>,
    /// The way to combine several values; `last` by default.
    #[schemars(example = &"sum")]
    pub combine: Option<Combine>,
}

/// The way to combine several values of one pointer: elements of an array, events of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Combine {
    /// The last one.
    Last,
    /// The first one.
    First,
    /// Their sum.
    Sum,
    /// The greatest one.
    Max,
    /// The number of values, of any type.
    Count,
    /// The characters of strings.
    Length,
}

/// A pointer, or a list of pointers of which the first with a value applies.
#[derive(Debug, Clone)]
pub enum Pointers {
    /// One.
    One(String),
    /// A list.
    Several(Vec<String>),
}

impl Default for Pointers {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Pointers {
    /// The pointers, each with the place in the file below that of the key.
    pub fn each(&self) -> impl Iterator<Item = (String, &str)> {
        let (one, several) = match self {
            Self::One(one) => (Some(one), &[][..]),
            Self::Several(several) => (None, several.as_slice()),
        };
        let one = one.into_iter().map(|text| (String::new(), text.as_str()));
        one.chain(several.iter().enumerate().map(|(index, text)| (format!("/{index}"), text.as_str())))
    }
}

/// The schema of `minus`.
fn counter_names(_: &mut SchemaGenerator) -> Schema {
    let names = Counter::ALL.map(Counter::name);
    json_schema!({ "type": "array", "items": { "type": "string", "enum": names }, "maxItems": names.len() })
}

/// The schema of a pointer or a list of pointers.
fn pointers_schema() -> Schema {
    json_schema!({
        "type": ["string", "array"],
        "maxLength": MAX_POINTER,
        "items": { "type": "string", "maxLength": MAX_POINTER },
        "maxItems": MAX_POINTERS,
    })
}

// === impl Pointers and Count: untagged, distinguished by JSON type ===

impl<'de> Deserialize<'de> for Pointers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self::One(text)),
            other => Vec::deserialize(other).map(Self::Several).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Pointers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pointers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        pointers_schema()
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            table @ serde_json::Value::Object(_) => CountTable::deserialize(table)
                .map(|table| Self::Table(Box::new(table)))
                .map_err(de::Error::custom),
            other => Pointers::deserialize(other).map(Self::At).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    // `if` rather than `anyOf`, so that an error inside a table points at its key.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<CountTable>();
        json_schema!({
            "type": ["string", "array", "object"],
            "if": { "type": ["string", "array"] },
            "then": pointers_schema(),
            "else": table,
        })
    }
}
