//! The versions of the language. Each key of a later version than the first has its number in the schema, `x-language`. A file
//! that names an earlier one in `language` cannot use it: a tollgate of that time would reject the file.

use std::sync::Arc;

use serde_json::Value;

use super::{LANGUAGE, Spans, pointer_step};
use crate::base::diag::{Code, Diagnostic};

/// The keywords of the schema: of a key, and of the values of an enumeration.
const SINCE: &str = "x-language";
const VALUES_SINCE: &str = "x-language-values";

/// A file for a newer tollgate gets one clear finding instead of one for each key that this tollgate lacks.
pub(super) fn newer(file: &Arc<str>, value: &Value, spans: &Spans) -> Option<Diagnostic> {
    let wanted = number(value)?;
    (wanted > u64::from(LANGUAGE)).then(|| {
        let message = format!("this file wants language {wanted}: this tollgate knows {LANGUAGE}");
        Diagnostic::new(Code::Language, spans.value(file, "/language"), message).help("upgrade tollgate")
    })
}

/// The language of a file for an earlier tollgate.
pub(super) fn older(document: &Value) -> Option<u64> {
    let language = number(document)?;
    (language < u64::from(LANGUAGE)).then_some(language)
}

/// The language that a file names. JSON Schema takes `1.0` for an integer.
fn number(document: &Value) -> Option<u64> {
    let language = document.get("language")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a conversion saturates")]
    language.as_u64().or_else(|| language.as_f64().map(|number| number as u64))
}

/// The keys and values of a file that its language does not have.
pub(super) fn too_new(
    file: &Arc<str>,
    schema: &Value,
    (document, language): (&Value, u64),
    spans: &Spans,
) -> Vec<Diagnostic> {
    let mut walk = Walk { root: schema, language, found: Vec::new() };
    walk.value(schema, document, "");
    let finding = |(pointer, since): (String, u64)| {
        let key = pointer.rsplit('/').next().unwrap_or_default();
        let message = format!("`{key}` needs language {since}, and the file says `language = {language}`");
        let help = format!("write `language = {since}`, or leave `language` out");
        Diagnostic::new(Code::Language, spans.key(file, &pointer), message).help(help)
    };
    walk.found.into_iter().map(finding).collect()
}

struct Walk<'s> {
    root: &'s Value,
    language: u64,
    /// Pointers of keys, each with the language that it needs.
    found: Vec<(String, u64)>,
}

impl<'s> Walk<'s> {
    fn value(&mut self, schema: &'s Value, value: &Value, pointer: &str) {
        let target = schema.get("$ref").and_then(Value::as_str);
        if let Some(target) = target.and_then(|path| self.root.pointer(path.strip_prefix('#')?)) {
            self.value(target, value, pointer);
        }
        // The tables of alternatives: an endpoint is one, or `false`.
        for key in ["then", "else"] {
            schema.get(key).into_iter().for_each(|other| self.value(other, value, pointer));
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            let others = schema.get(key).and_then(Value::as_array).into_iter().flatten();
            others.for_each(|other| self.value(other, value, pointer));
        }
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let known = schema.get("properties").and_then(|known| known.get(key));
                    let Some(of_key) = known.or_else(|| schema.get("additionalProperties")) else { continue };
                    self.key(of_key, value, &format!("{pointer}/{}", pointer_step(key)));
                }
            }
            Value::Array(items) => {
                let Some(of_item) = schema.get("items") else { return };
                for (index, item) in items.iter().enumerate() {
                    self.value(of_item, item, &format!("{pointer}/{index}"));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn key(&mut self, schema: &'s Value, value: &Value, pointer: &str) {
        let of_value = value.as_str().and_then(|text| schema.get(VALUES_SINCE)?.get(text));
        let since = schema.get(SINCE).or(of_value).and_then(Value::as_u64);
        match since.filter(|since| *since > self.language) {
            Some(since) if self.found.iter().all(|(known, _)| known != pointer) => {
                self.found.push((pointer.to_owned(), since));
            }
            Some(_) => {}
            None => self.value(schema, value, pointer),
        }
    }
}
