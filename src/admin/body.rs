//! Bodies of calls: JSON becomes a type, strictly. What is checked is the schema that the `OpenAPI` document shows,
//! and the first thing that does not fit is told with its JSON path. A value is never told: it may be a secret in
//! the wrong place.

use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

use jsonschema::{
    ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::operations::OPERATIONS;
use crate::{
    fault::{Fault, Kind},
    name::GroupName,
    syntax::{backticked, nearest},
};

/// The largest body of a call, in bytes.
pub const MAX_BODY: usize = 256 << 10;

/// Keys longer than this are not repeated: they may be secrets.
const MAX_KEY: usize = 32;

/// Words that are no longer than this, and have small letters alone, are: no secret looks so.
const MAX_WORD: usize = 16;

/// What bodies are held against, by the name of their type.
static CHECKS: LazyLock<HashMap<Cow<'static, str>, Check>> = LazyLock::new(|| {
    let shapes = OPERATIONS.iter().filter_map(|operation| operation.body.as_ref());
    shapes.map(|body| ((body.shape.name)(), Check::new(body.shape.schema))).collect()
});

struct Check {
    schema: Value,
    validator: Validator,
}

impl Check {
    fn new(of: super::operations::SchemaOf) -> Self {
        let settings = SchemaSettings::draft2020_12();
        let mut generator = settings.into_generator();
        let root = of(&mut generator);
        let mut schema = root.to_value();
        if let Value::Object(schema) = &mut schema {
            schema.insert("$defs".to_owned(), generator.take_definitions(true).into());
        }
        let validator = jsonschema::options().build(&schema).expect("a generated schema is valid");
        Self { schema, validator }
    }
}

/// A body's JSON.
pub(super) fn json(body: &[u8]) -> Result<Value, Fault> {
    super::json::read(body)
}

/// The same, where no body is as good as `{}`.
pub(super) fn json_or_nothing(body: &[u8]) -> Result<Value, Fault> {
    if body.is_empty() { Ok(Value::Object(serde_json::Map::new())) } else { json(body) }
}

/// A body as a type that stands in the table of operations.
pub(super) fn parse<T: DeserializeOwned + JsonSchema>(value: Value) -> Result<T, Fault> {
    let check = CHECKS.get(&T::schema_name()).expect("every type of a body stands in the table");
    if let Some(error) = check.validator.iter_errors(&value).next() {
        return Err(told(&check.schema, &error));
    }
    // The schema is made of the same type, so that this is a value that no schema can tell apart, such as `1.0`.
    serde_json::from_value(value).map_err(|_| bad("", "it is not of the form that the schema shows"))
}

/// What is wrong at a JSON path.
pub(super) fn bad(path: &str, problem: impl AsRef<str>) -> Fault {
    let path = if path.is_empty() { "the body" } else { path };
    Fault::new(Kind::InvalidRequest, format!("{path}: {}", problem.as_ref()))
}

/// A step of a JSON path.
pub(super) fn step(key: &str) -> String {
    let good =
        key.len() <= MAX_KEY && !key.chars().any(char::is_control) && crate::leak::find(key).is_empty();
    if good { key.replace('~', "~0").replace('/', "~1") } else { format!("(a key of {} bytes)", key.len()) }
}

/// A hint at what was probably meant, and at what there is.
pub(super) fn hint(key: &str, known: &[&str]) -> String {
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "nothing is known here".to_owned(),
        None => format!("known here: {}", backticked(known)),
    }
}

fn told(schema: &Value, error: &ValidationError<'_>) -> Fault {
    let path = error.instance_path().to_string();
    let path = path.split('/').map(|part| step(&unescaped(part))).collect::<Vec<_>>().join("/");
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let key = unexpected.first().map(String::as_str).unwrap_or_default();
            let owner = error.schema_path().to_string();
            let owner = owner.rfind('/').and_then(|slash| schema.pointer(&owner[..slash]));
            let properties = owner.and_then(|owner| owner.get("properties")?.as_object());
            let known: Vec<&str> =
                properties.into_iter().flat_map(|all| all.keys()).map(String::as_str).collect();
            bad(&format!("{path}/{}", step(key)), format!("unknown key; {}", hint(key, &known)))
        }
        ValidationErrorKind::Required { property } => {
            bad(&format!("{path}/{}", property.as_str().unwrap_or_default()), "it is missing")
        }
        ValidationErrorKind::Type { kind } => wrong_type(&path, error.instance(), &wanted(kind)),
        // What may be left out may be `null`, or what it is.
        ValidationErrorKind::AnyOf { context } => match context.iter().flatten().next() {
            Some(inner) => told(schema, inner),
            None => bad(&path, error.masked().to_string()),
        },
        ValidationErrorKind::Enum { options } => {
            let options: Vec<&str> =
                options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let word = |text: &&str| text.len() <= MAX_WORD && text.bytes().all(|b| b.is_ascii_lowercase());
            let given = error.instance().as_str().filter(word);
            let given = given.map_or_else(|| "it".to_owned(), |given| format!("`{given}`"));
            bad(&path, format!("{given} is none of {}", backticked(&options)))
        }
        ValidationErrorKind::MinLength { limit: 1 } => bad(&path, "it is empty"),
        ValidationErrorKind::MaxLength { limit } => {
            bad(&path, format!("it has more than {limit} characters"))
        }
        ValidationErrorKind::MinItems { limit: 1 } => {
            bad(&path, "it is empty: leave it out for all, or name one")
        }
        ValidationErrorKind::MaxItems { limit } => bad(&path, format!("it has more than {limit} entries")),
        ValidationErrorKind::Pattern { pattern } if pattern == GroupName::PATTERN => {
            bad(&path, GroupName::RULE)
        }
        _ => bad(&path, error.masked().to_string()),
    }
}

fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// It is of another type than wanted.
pub(super) fn wrong_type(path: &str, value: &Value, wanted: &str) -> Fault {
    bad(path, format!("expected {wanted}, got {}", type_of(value)))
}

fn wanted(kind: &TypeKind) -> String {
    let names: Vec<String> = match kind {
        TypeKind::Single(one) => vec![one.to_string()],
        TypeKind::Multiple(set) => set.iter().map(|one| one.to_string()).collect(),
    };
    names.iter().map(|one| in_words(one)).collect::<Vec<_>>().join(" or ")
}

fn in_words(name: &str) -> &'static str {
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

/// What a value is, without the value.
fn type_of(value: &Value) -> &'static str {
    in_words(match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::shape::NewUser;

    /// The schema's pattern and the constructor are two forms of one rule.
    #[test]
    fn group_names_have_one_rule() {
        let long = "a".repeat(65);
        for name in ["a", "0", "a-0-", &long[1..], "", "-a", "A", "a b", "a_b", "\u{e9}", &long] {
            let parsed = parse::<NewUser>(json!({ "name": "ada", "group": name }));
            assert_eq!(parsed.is_ok(), GroupName::new(name).is_some(), "{name}");
        }
    }
}
