//! Request bodies: JSON becomes a type. It is validated against the JSON schema that the `OpenAPI` document shows; the
//! fault has the pointer of the first violation, and never a value (see `pointer`).

use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

use jsonschema::{
    ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    operations::{OPERATIONS, SchemaOf},
    pointer::{self, hint, step, type_in_words, wrong_type},
};
use crate::{
    fault::{Cause, Fault},
    name::GroupName,
    suggest::backticked,
};

/// The largest body of a call, in bytes.
pub const MAX_BODY: usize = 256 << 10;

/// The longest wrong enum value that is repeated, in bytes, if it has lower-case letters only: no secret looks so.
const MAX_WORD: usize = 16;

/// The schema and validator of each body type, by the type's schema name.
static VALIDATORS: LazyLock<HashMap<Cow<'static, str>, BodySchema>> = LazyLock::new(|| {
    let bodies = OPERATIONS.iter().filter_map(|operation| operation.body.as_ref());
    bodies.map(|body| ((body.schema.name)(), BodySchema::new(body.schema.generate))).collect()
});

struct BodySchema {
    schema: Value,
    validator: Validator,
}

impl BodySchema {
    fn new(generate: SchemaOf) -> Self {
        let settings = SchemaSettings::draft2020_12();
        let mut generator = settings.into_generator();
        let root = generate(&mut generator);
        let mut schema = root.to_value();
        if let Value::Object(schema) = &mut schema {
            schema.insert("$defs".to_owned(), generator.take_definitions(true).into());
        }
        let validator = jsonschema::options().build(&schema).expect("a generated schema is valid");
        Self { schema, validator }
    }
}

/// A body as a type that the table of operations has.
pub(super) fn parse<T: DeserializeOwned + JsonSchema>(value: Value) -> Result<T, Fault> {
    let body = VALIDATORS.get(&T::schema_name()).expect("every body type is in the table of operations");
    if let Some(error) = body.validator.iter_errors(&value).next() {
        return Err(violation(&body.schema, &error));
    }
    // The schema is generated from the same type. What is left are values that no schema tells apart, such as `1.0`.
    serde_json::from_value(value).map_err(|_| invalid("", "it is not of the form that the schema shows"))
}

fn invalid(path: &str, problem: impl AsRef<str>) -> Fault {
    pointer::fault(path, Cause::InvalidValue, problem)
}

fn violation(schema: &Value, error: &ValidationError<'_>) -> Fault {
    let path = error.instance_path().to_string();
    let path = path.split('/').map(|part| step(&unescape(part))).collect::<Vec<_>>().join("/");
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let key = unexpected.first().map(String::as_str).unwrap_or_default();
            let known = properties(schema, error);
            let path = format!("{path}/{}", step(key));
            pointer::fault(&path, Cause::UnknownKey, format!("unknown key; {}", hint(key, &known)))
        }
        ValidationErrorKind::Required { property } => {
            let path = format!("{path}/{}", property.as_str().unwrap_or_default());
            pointer::fault(&path, Cause::MissingKey, "it is missing")
        }
        ValidationErrorKind::Type { kind } => wrong_type(&path, error.instance(), &expected(kind)),
        // An optional field is `null` or of its type: the first alternative has the error that helps.
        ValidationErrorKind::AnyOf { context } => match context.iter().flatten().next() {
            Some(inner) => violation(schema, inner),
            None => invalid(&path, error.masked().to_string()),
        },
        ValidationErrorKind::Enum { options } => {
            let options: Vec<&str> =
                options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let word = |text: &&str| text.len() <= MAX_WORD && text.bytes().all(|b| b.is_ascii_lowercase());
            let given = error.instance().as_str().filter(word);
            let given = given.map_or_else(|| "it".to_owned(), |given| format!("`{given}`"));
            invalid(&path, format!("{given} is none of {}", backticked(&options)))
        }
        ValidationErrorKind::MinLength { limit: 1 } => invalid(&path, "it is empty"),
        ValidationErrorKind::MaxLength { limit } => {
            invalid(&path, format!("it has more than {limit} characters"))
        }
        ValidationErrorKind::MinItems { limit: 1 } => {
            invalid(&path, "it is empty: leave it out for all, or name one")
        }
        ValidationErrorKind::MaxItems { limit } => {
            invalid(&path, format!("it has more than {limit} entries"))
        }
        ValidationErrorKind::Pattern { pattern } if pattern == GroupName::PATTERN => {
            invalid(&path, GroupName::RULE)
        }
        _ => invalid(&path, error.masked().to_string()),
    }
}

/// The keys that the object with an unknown key may have.
fn properties<'s>(schema: &'s Value, error: &ValidationError<'_>) -> Vec<&'s str> {
    let keyword = error.schema_path().to_string();
    let object = keyword.rfind('/').and_then(|slash| schema.pointer(&keyword[..slash]));
    let properties = object.and_then(|object| object.get("properties")?.as_object());
    properties.into_iter().flat_map(|all| all.keys()).map(String::as_str).collect()
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn expected(kind: &TypeKind) -> String {
    let names: Vec<String> = match kind {
        TypeKind::Single(one) => vec![one.to_string()],
        TypeKind::Multiple(set) => set.iter().map(|one| one.to_string()).collect(),
    };
    names.iter().map(|one| type_in_words(one)).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::payloads::NewUser;

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
