//! Syntax: [`parse`] turns a TOML text into a typed document, and reports all TOML and schema errors: unknown keys,
//! wrong types, values out of range.
//!
//! `compile` gives the values a meaning. Reads no files. Read next: `document`, the keys of the language.

mod catalogue;
mod clients;
mod document;
mod endpoint_set;
mod file_test;
mod language;
mod limits;
mod policy;
mod prices;
mod schema;
mod spans;
mod toml_errors;
mod wire_format;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::de::DeTable;
use toml_parser::{
    Source,
    parser::{Event, EventKind, RecursionGuard, parse_document},
};

use crate::base::{
    budget::{Budget, Used},
    diag::{Code, Diagnostic, Location},
};

pub use crate::language::auth::syntax::Auth;
pub use catalogue::*;
pub use clients::*;
pub use document::*;
pub use endpoint_set::*;
pub use file_test::*;
pub use limits::*;
pub use policy::*;
pub use prices::*;
pub use schema::{Checker, Draft, FileKind, schema, schema_text, toml_key};
pub use spans::{Spans, pointer_step};
pub use wire_format::*;

/// The version of the language that this tollgate supports.
pub const LANGUAGE: u32 = 2;

/// A document with the locations of its keys and values.
#[derive(Debug)]
pub struct Parsed<T> {
    /// The file's path as shown to the user.
    pub file: Arc<str>,
    /// The document.
    pub document: T,
    /// Locations by JSON pointer.
    pub spans: Spans,
    /// The size of the text, in bytes.
    pub size: usize,
    /// The work of parsing, which counts for the file's budget.
    pub used: Used,
}

/// The result of parsing a file: its document, or the outline of a file with TOML or schema errors.
pub type Slot<T> = Result<Parsed<T>, Outline>;

/// A document that has a schema.
pub trait Document: DeserializeOwned {
    /// The schema, ready to check documents.
    fn checker() -> &'static Checker;

    /// Keeps the text that the document was parsed from, if findings about it lie within values.
    fn keep_text(&mut self, _text: &str) {}
}

impl Document for Provider {
    fn checker() -> &'static Checker {
        schema::checker(FileKind::Provider)
    }
}

impl Document for EndpointSet {
    fn checker() -> &'static Checker {
        schema::checker(FileKind::Endpoints)
    }
}

impl Document for Gateway {
    fn checker() -> &'static Checker {
        schema::checker(FileKind::Gateway)
    }
}

impl Document for Api {
    fn checker() -> &'static Checker {
        schema::checker(FileKind::Api)
    }
}

impl Document for Prices {
    fn checker() -> &'static Checker {
        schema::checker(FileKind::Prices)
    }
}

impl Document for Client {
    fn checker() -> &'static Checker {
        schema::checker(FileKind::Client)
    }

    fn keep_text(&mut self, text: &str) {
        text.clone_into(&mut self.source);
    }
}

impl Document for LimitsFile {
    fn checker() -> &'static Checker {
        schema::checker(FileKind::Limits)
    }
}

impl Document for Policy {
    fn checker() -> &'static Checker {
        schema::checker(FileKind::Policy)
    }
}

/// Parses a file. Returns an outline instead of a document if it has TOML or schema errors.
pub fn parse<T: Document>(file: &Arc<str>, text: &str) -> (Slot<T>, Vec<Diagnostic>) {
    parse_with(file, text, |value, spans| T::checker().check(value, spans, file))
}

/// Parses a file whose text is known to have no schema errors. Compiling a schema takes longer than parsing most files.
pub fn parse_known<T: Document>(file: &Arc<str>, text: &str) -> (Slot<T>, Vec<Diagnostic>) {
    parse_with(file, text, |_, _| Vec::new())
}

fn parse_with<T: Document>(
    file: &Arc<str>,
    text: &str,
    check: impl FnOnce(&Value, &Spans) -> Vec<Diagnostic>,
) -> (Slot<T>, Vec<Diagnostic>) {
    let budget = Budget::default();
    let (slot, found) = parse_within(file, text, &budget, check);
    if let Some(over) = budget.finding(&Location::file(file)) {
        let outline = slot.map_or_else(|outline| outline, |(_, _, outline)| outline);
        return (Err(outline), vec![over]);
    }
    let parsed = slot.map(|(document, spans, _)| Parsed {
        file: file.clone(),
        document,
        spans,
        size: text.len(),
        used: budget.used(),
    });
    (parsed, found)
}

/// The parts of a parsed document, and its outline.
type Parts<T> = (T, Spans, Outline);

fn parse_within<T: Document>(
    file: &Arc<str>,
    text: &str,
    budget: &Budget,
    check: impl FnOnce(&Value, &Spans) -> Vec<Diagnostic>,
) -> (Result<Parts<T>, Outline>, Vec<Diagnostic>) {
    let _ = budget.work(text.len());
    if let Some(too_many) = too_many_keys(file, text) {
        return (Err(Outline::default()), vec![too_many]);
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut found = Vec::new();
    let (value, spans) = spans::walk(file, table.get_ref(), &mut found, budget);
    if !errors.is_empty() {
        let known = spans.unwrap_or_default();
        let errors = toml_errors::diagnose(file, text, &errors, &known, budget);
        return (Err(outline(&value)), errors);
    }
    let spans = match spans {
        Ok(spans) => spans,
        Err(too_much) => return (Err(outline(&value)), vec![too_much]),
    };
    if let Some(newer) = language::newer(file, &value, &spans) {
        return (Err(outline(&value)), vec![newer]);
    }
    found.extend(check(&value, &spans));
    if let Some(language) = language::older(&value) {
        found.extend(language::too_new(file, T::checker().schema(), (&value, language), &spans));
    }
    deduplicate(&mut found);
    if !found.is_empty() {
        return (Err(outline(&value)), found);
    }
    let outline = outline(&value);
    match T::deserialize(&value).or_else(|_| serde_json::from_value(whole(value))) {
        Ok(mut document) => {
            document.keep_text(text);
            (Ok((document, spans, outline)), found)
        }
        Err(error) => {
            // The schema is generated from the same types, so that only values that no schema can reject get here.
            found.push(Diagnostic::new(Code::BadValue, Location::file(file), error.to_string()));
            (Err(Outline::default()), found)
        }
    }
}

/// Replaces `1.0` by `1` everywhere: JSON Schema accepts both as integers, serde does not.
fn whole(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, whole(value))).collect(),
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Number(number) => {
            let text = number.to_string();
            text.strip_suffix(".0")
                .and_then(|text| text.parse::<i64>().ok())
                .map_or(number.into(), Value::from)
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}

/// The greatest number of keys in a file, each part of a dotted key counted: far more than any real file needs.
const MAX_KEYS: usize = 200_000;

/// The depth to which keys are counted.
const MAX_DEPTH: u32 = 80;

/// The finding about a text with too many keys, before anything is made of them.
fn too_many_keys(file: &Arc<str>, text: &str) -> Option<Diagnostic> {
    // Nearly every file has fewer of the characters that follow a key.
    if text.bytes().filter(|byte| matches!(byte, b'.' | b'=' | b']')).count() <= MAX_KEYS {
        return None;
    }
    let tokens = Source::new(text).lex().into_vec();
    let mut keys = 0;
    let mut first_over = None;
    let mut count = |event: Event| {
        if event.kind() == EventKind::SimpleKey {
            keys += 1;
            if keys == MAX_KEYS + 1 {
                first_over = Some(event.span().start()..event.span().end());
            }
        }
    };
    // Deeper ones are an error of the parser proper.
    parse_document(&tokens, &mut RecursionGuard::new(&mut count, MAX_DEPTH), &mut ());
    let at = Location::new(file, first_over?);
    Some(Diagnostic::new(Code::BadValue, at, format!("more than {MAX_KEYS} keys")))
}

/// Checks that a text is TOML; the error is all findings.
pub fn syntax(file: &Arc<str>, text: &str) -> Result<(), Vec<Diagnostic>> {
    if let Some(too_many) = too_many_keys(file, text) {
        return Err(vec![too_many]);
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let budget = Budget::default();
    let (_, spans) = spans::walk(file, table.get_ref(), &mut Vec::new(), &budget);
    if !errors.is_empty() {
        return Err(toml_errors::diagnose(file, text, &errors, &spans.unwrap_or_default(), &budget));
    }
    spans.map(drop).map_err(|too_much| vec![too_much])
}

/// The values of a text that is TOML, whatever its schema says; the error is all findings.
pub fn values(file: &Arc<str>, text: &str) -> Result<Value, Vec<Diagnostic>> {
    syntax(file, text)?;
    let (table, _) = DeTable::parse_recoverable(text);
    Ok(spans::walk(file, table.get_ref(), &mut Vec::new(), &Budget::default()).0)
}

/// The readable part of a provider file with TOML or schema errors.
#[derive(Debug, Clone, Default)]
pub struct Outline {
    /// The preset that it extends.
    pub extends: Option<String>,
    /// The prefix of its client paths.
    pub path_prefix: Option<String>,
    /// Their further prefixes.
    pub path_prefixes: Option<Vec<String>>,
    /// Its credentials section and `shared_with`, without the fields.
    pub credentials: Option<Credentials>,
    /// Its token locations.
    pub caller: Option<Caller>,
}

/// Reads the outline of a document, whatever errors it has.
fn outline(value: &Value) -> Outline {
    let text_at = |key: &str| text_of(value.get(key)?);
    let credentials = value.get("credentials").map(|table| Credentials {
        section: table.get("section").and_then(text_of),
        shared_with: table.get("shared_with").map(texts_of),
        field: None,
    });
    let caller = value.get("caller").map(|table| Caller {
        headers: table.get("headers").map(texts_of),
        query: table.get("query").map(texts_of),
        subprotocol: table.get("subprotocol").map(texts_of),
        schemes: table.get("schemes").map(texts_of),
    });
    Outline {
        extends: text_at("extends"),
        path_prefix: text_at("path_prefix"),
        path_prefixes: value.get("path_prefixes").map(texts_of),
        credentials,
        caller,
    }
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn texts_of(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(text_of).collect()
}

/// Two branches of a schema can both report the wrong type of one value, and an enumeration also its value. Keeps one
/// finding.
fn deduplicate(found: &mut Vec<Diagnostic>) {
    found.sort_by(|a, b| (&a.at, a.code).cmp(&(&b.at, b.code)));
    found.dedup_by(|b, a| {
        b.at == a.at && a.code == Code::WrongType && matches!(b.code, Code::WrongType | Code::BadValue)
    });
}

#[cfg(test)]
mod tests;
