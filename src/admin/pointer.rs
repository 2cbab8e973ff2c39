//! Faults about one place of a request body: the JSON pointer (RFC 6901) of the place, and the problem there.
//!
//! A value is never repeated: it may be a secret in the wrong place. A key is, unless it looks like a secret.

use serde_json::Value;

use crate::{
    fault::{Cause, Fault},
    secret_scan,
    suggest::{backticked, nearest},
};

/// The longest key that is repeated, in bytes. A longer one may be a secret.
const MAX_KEY: usize = 32;

/// The fault for a problem at a pointer. The empty pointer is the body itself.
pub(super) fn fault(pointer: &str, cause: Cause, problem: impl AsRef<str>) -> Fault {
    Fault::invalid_at(pointer, cause, problem.as_ref())
}

/// The fault for a value of the wrong JSON type.
pub(super) fn wrong_type(pointer: &str, value: &Value, expected: &str) -> Fault {
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    fault(pointer, Cause::WrongType, format!("expected {expected}, got {}", type_in_words(actual)))
}

/// A JSON type with its article.
pub(super) fn type_in_words(name: &str) -> &'static str {
    match name {
        "object" => "an object",
        "array" => "an array",
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "a boolean",
        _ => "null",
    }
}

/// A key as a step of a pointer, escaped. A key that may be a secret is replaced by its length.
pub(super) fn step(key: &str) -> String {
    let safe =
        key.len() <= MAX_KEY && !key.chars().any(char::is_control) && secret_scan::find(key).is_empty();
    if safe { key.replace('~', "~0").replace('/', "~1") } else { format!("(a key of {} bytes)", key.len()) }
}

/// A hint for an unknown key: the nearest known one, or all that are known.
pub(super) fn hint(key: &str, known: &[&str]) -> String {
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "nothing is known here".to_owned(),
        None => format!("known here: {}", backticked(known)),
    }
}
