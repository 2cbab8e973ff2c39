//! Where each key and value of a TOML document stands, by JSON pointer (RFC 6901), and the document as
//! JSON, which is what schemas speak of.

use std::{collections::HashMap, ops::Range, sync::Arc};

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::diag::{At, Code, Diagnostic};

/// Places of keys and values by JSON pointer.
#[derive(Debug, Default)]
pub struct Spans(HashMap<String, (Range<usize>, Range<usize>)>);

impl Spans {
    /// Whether the document has something there.
    pub fn has(&self, pointer: &str) -> bool {
        self.0.contains_key(pointer)
    }

    /// The key at `pointer`, or the nearest one above it.
    pub fn key(&self, file: &Arc<str>, pointer: &str) -> At {
        At::new(file, self.nearest(pointer).map_or(0..0, |(key, _)| key.clone()))
    }

    /// The value at `pointer`, or the nearest key above it.
    pub fn value(&self, file: &Arc<str>, pointer: &str) -> At {
        match self.0.get(pointer) {
            Some((_, value)) => At::new(file, value.clone()),
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

/// One step of a JSON pointer, escaped.
pub fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The document as JSON, with the places of all it holds. What JSON cannot say is a diagnostic.
pub fn walk(file: &Arc<str>, table: &DeTable<'_>, found: &mut Vec<Diagnostic>) -> (Value, Spans) {
    let mut walker = Walker { file, found, spans: Spans::default() };
    let value = walker.table("", table);
    (value, walker.spans)
}

struct Walker<'a> {
    file: &'a Arc<str>,
    found: &'a mut Vec<Diagnostic>,
    spans: Spans,
}

impl Walker<'_> {
    fn table(&mut self, pointer: &str, table: &DeTable<'_>) -> Value {
        let mut map = Map::new();
        for (key, value) in table {
            let pointer = format!("{pointer}/{}", step(key.get_ref()));
            self.spans.0.insert(pointer.clone(), (key.span(), value.span()));
            let value = self.value(&pointer, value.get_ref());
            map.insert(key.get_ref().to_string(), value);
        }
        Value::Object(map)
    }

    fn value(&mut self, pointer: &str, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::from(number),
                Err(_) => self.refuse(pointer, "a number that does not fit 64 bits", 0.into()),
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>().ok().and_then(finite) {
                Some(number) => number,
                None => self.refuse(pointer, "a number that is not finite", 0.into()),
            },
            DeValue::Datetime(date) => {
                self.refuse(pointer, "a date: put it in quotes, as text", date.to_string().into())
            }
            DeValue::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| {
                    let pointer = format!("{pointer}/{index}");
                    self.spans.0.insert(pointer.clone(), (item.span(), item.span()));
                    self.value(&pointer, item.get_ref())
                })
                .collect(),
            DeValue::Table(table) => self.table(pointer, table),
        }
    }

    /// Tells of a value that JSON cannot say, and goes on with the nearest that it can.
    fn refuse(&mut self, pointer: &str, what: &str, instead: Value) -> Value {
        let at = self.spans.value(self.file, pointer);
        self.found.push(Diagnostic::new(Code::WrongType, at, format!("this is {what}")));
        instead
    }
}

fn finite(number: f64) -> Option<Value> {
    serde_json::Number::from_f64(number).map(Value::Number)
}
