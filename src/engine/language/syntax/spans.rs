//! The locations of the keys and values of a TOML document, by JSON pointer (RFC 6901), and the document as JSON, for the
//! check against a schema.

use std::{collections::HashMap, ops::Range, sync::Arc};

use foldhash::fast::FixedState;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::base::{
    budget::Budget,
    diag::{Code, Diagnostic, Location, MAX_FINDINGS},
};

/// The greatest length of a key in bytes: the pointer of every nested key repeats it.
const MAX_KEY_BYTES: usize = 256;

/// The greatest total length of all pointers of a document in bytes, far more than any real file needs.
const MAX_POINTER_BYTES: usize = 16 << 20;

/// The bytes that are kept of each key and value, beside their texts.
const ENTRY_BYTES: usize = 96;

/// Locations of keys and values by JSON pointer.
#[derive(Debug, Default)]
pub struct Spans(HashMap<String, (Range<usize>, Range<usize>), FixedState>);

impl Spans {
    /// True if the document has a value at the pointer.
    pub fn has(&self, pointer: &str) -> bool {
        self.0.contains_key(pointer)
    }

    /// The pointer in the spelling of the document, found ignoring case.
    pub fn spelt(&self, pointer: &str) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|known| known.eq_ignore_ascii_case(pointer))
    }

    /// The key at `pointer`.
    pub fn key_of(&self, pointer: &str) -> Option<Range<usize>> {
        self.0.get(pointer).map(|(key, _)| key.clone())
    }

    /// The key at `pointer`, or at its nearest parent.
    pub fn key(&self, file: &Arc<str>, pointer: &str) -> Location {
        Location::new(file, self.nearest(pointer).map_or(0..0, |(key, _)| key.clone()))
    }

    /// The value at `pointer`, or the key of its nearest parent.
    pub fn value(&self, file: &Arc<str>, pointer: &str) -> Location {
        match self.0.get(pointer) {
            Some((_, value)) => Location::new(file, value.clone()),
            None => self.key(file, pointer),
        }
    }

    fn nearest(&self, pointer: &str) -> Option<&(Range<usize>, Range<usize>)> {
        let mut pointer = pointer;
        loop {
            if let Some(found) = self.0.get(pointer) {
                return Some(found);
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }
}

/// A key as a step of a JSON pointer, escaped.
pub fn pointer_step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The document as JSON, with the locations of its keys and values. A value that JSON cannot represent is a diagnostic. If
/// the keys exceed a bound, the document is cut there, and the error is its only finding.
pub fn walk(
    file: &Arc<str>,
    table: &DeTable<'_>,
    found: &mut Vec<Diagnostic>,
    budget: &Budget,
) -> (Value, Result<Spans, Diagnostic>) {
    let mut walker =
        Walker { file, found, budget, spans: Spans::default(), pointer_bytes: 0, too_much: None };
    let value = walker.table("", table);
    (value, walker.too_much.map_or(Ok(walker.spans), Err))
}

struct Walker<'a> {
    file: &'a Arc<str>,
    found: &'a mut Vec<Diagnostic>,
    budget: &'a Budget,
    spans: Spans,
    pointer_bytes: usize,
    too_much: Option<Diagnostic>,
}

impl Walker<'_> {
    fn table(&mut self, pointer: &str, table: &DeTable<'_>) -> Value {
        let mut map = Map::new();
        for (key, value) in table {
            if key.get_ref().len() > MAX_KEY_BYTES && self.found.len() > MAX_FINDINGS {
                continue;
            }
            if key.get_ref().len() > MAX_KEY_BYTES {
                let message = format!("a key of more than {MAX_KEY_BYTES} bytes");
                self.found.push(Diagnostic::new(
                    Code::BadValue,
                    Location::new(self.file, key.span()),
                    message,
                ));
                continue;
            }
            let (at, step) = (value.span(), pointer_step(key.get_ref()));
            let Some(pointer) = self.keep(pointer, &step, key.span(), &at) else { break };
            let json = self.value(&pointer, &at, value.get_ref());
            map.insert(key.get_ref().to_string(), json);
            self.spans.0.insert(pointer, (key.span(), at));
        }
        Value::Object(map)
    }

    /// The pointer of a key, unless the bound is exceeded.
    fn keep(&mut self, above: &str, step: &str, key: Range<usize>, value: &Range<usize>) -> Option<String> {
        self.pointer_bytes += above.len() + 1 + step.len();
        if self.pointer_bytes > MAX_POINTER_BYTES {
            let message = "too many keys, nested too deep";
            let at = Location::new(self.file, key);
            self.too_much.get_or_insert_with(|| Diagnostic::new(Code::BadValue, at, message));
            return None;
        }
        let is_kept = self.budget.keep(ENTRY_BYTES + above.len() + step.len() + value.len());
        is_kept.then(|| [above, "/", step].concat())
    }

    fn value(&mut self, pointer: &str, at: &Range<usize>, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::from(number),
                Err(_) => self.refuse(at, "a number that does not fit 64 bits", 0.into()),
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>().ok().and_then(finite) {
                Some(number) => number,
                None => self.refuse(at, "a number that is not finite", 0.into()),
            },
            DeValue::Datetime(date) => {
                self.refuse(at, "a date: put it in quotes, as text", date.to_string().into())
            }
            DeValue::Array(items) => items
                .iter()
                .enumerate()
                .map_while(|(index, item)| {
                    let at = item.span();
                    let pointer = self.keep(pointer, &index.to_string(), at.clone(), &at)?;
                    let json = self.value(&pointer, &at, item.get_ref());
                    self.spans.0.insert(pointer, (at.clone(), at));
                    Some(json)
                })
                .collect(),
            DeValue::Table(table) => self.table(pointer, table),
        }
    }

    /// Reports a value that JSON cannot represent, and returns a substitute.
    fn refuse(&mut self, at: &Range<usize>, what: &str, instead: Value) -> Value {
        let at = Location::new(self.file, at.clone());
        if self.found.len() <= MAX_FINDINGS {
            self.found.push(Diagnostic::new(Code::WrongType, at, format!("this is {what}")));
        }
        instead
    }
}

fn finite(number: f64) -> Option<Value> {
    serde_json::Number::from_f64(number).map(Value::Number)
}
