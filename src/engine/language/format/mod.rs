//! The formatter (`tollgate fmt`): keys in the order of the schema, `=` aligned, one blank line between tables, strings in
//! the simplest quotes, comments next to their keys.
//!
//! Never changes the meaning of a file: the result is parsed and compared with the original. Reads TOML 1.1, and writes what
//! any reader of TOML 1.0 accepts. Reads no files. Read next: `read`, `portable`, `order`, `write`, the steps.

mod order;
mod portable;
mod read;
pub mod stamped;
mod write;

use std::sync::Arc;

use serde_json::Value;
use toml::{
    de::{DeTable, DeValue},
    value::Datetime,
};

use crate::{base::diag::Diagnostic, language::syntax};

pub use read::quoted;

/// The reason why a text cannot be formatted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatError {
    /// It is not TOML.
    Broken(Vec<Diagnostic>),
    /// The result has another meaning, or lacks a comment: a bug of this module.
    Changed,
}

/// A file: comments at its start and its end, and its tables. An empty comment line is a blank line.
#[derive(Debug, Default)]
struct File {
    head: Vec<String>,
    blocks: Vec<Block>,
    foot: Vec<String>,
}

/// A table with a header, or the keys before the first header, with the comments above and below.
#[derive(Debug, Default)]
struct Block {
    above: Vec<String>,
    header: Option<Header>,
    entries: Vec<Item>,
    below: Vec<String>,
}

/// `[path]` or `[[path]]`.
#[derive(Debug, Clone)]
struct Header {
    path: Vec<String>,
    array: bool,
    beside: Option<String>,
}

/// A key with its value, or an item of an array, whose path is empty.
#[derive(Debug, Clone)]
struct Item {
    above: Vec<String>,
    path: Vec<String>,
    value: Node,
    beside: Option<String>,
}

/// A value.
#[derive(Debug, Clone)]
enum Node {
    /// A scalar as written.
    Scalar(String),
    /// `[...]`, with the comments before the closing bracket.
    Array(Vec<Item>, Vec<String>),
    /// `{...}`, with the comments before the closing brace.
    Table(Vec<Item>, Vec<String>),
}

/// Formats a text by the schema of its kind. `header`: the first line to add if the text names no schema.
pub fn format(
    file: &Arc<str>,
    text: &str,
    schema: &Value,
    header: Option<&str>,
) -> Result<String, FormatError> {
    syntax::syntax(file, text).map_err(FormatError::Broken)?;
    let (mut parsed, named) = read::read(text);
    for block in &mut parsed.blocks {
        portable::hoist_comments(&mut block.entries);
    }
    order::order(&mut parsed, schema);
    // After ordering, a schema line from the middle may be at the start.
    let named = named.or_else(|| parsed.take_schema());
    let laid_out = write::write(&parsed, named.as_deref().or(header));
    let added = if named.is_none() { header } else { None };
    if is_same_document(text, &laid_out) && comments(text, added) == comments(&laid_out, None) {
        Ok(laid_out)
    } else {
        Err(FormatError::Changed)
    }
}

/// True if two texts are the same TOML document.
pub fn is_same_document(a: &str, b: &str) -> bool {
    match (DeTable::parse(a), DeTable::parse(b)) {
        (Ok(a), Ok(b)) => same_table(a.get_ref(), b.get_ref()),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

fn same_table(a: &DeTable<'_>, b: &DeTable<'_>) -> bool {
    let same = |((a_key, a), (b_key, b)): (_, _)| a_key == b_key && same_value(a, b);
    let pairs = |table| DeTable::iter(table).map(|(key, value)| (key.get_ref(), value.get_ref()));
    a.len() == b.len() && pairs(a).zip(pairs(b)).all(same)
}

fn same_value(a: &DeValue<'_>, b: &DeValue<'_>) -> bool {
    match (a, b) {
        (DeValue::Table(a), DeValue::Table(b)) => same_table(a, b),
        (DeValue::Array(a), DeValue::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same_value(a.get_ref(), b.get_ref()))
        }
        (DeValue::String(a), DeValue::String(b)) => a == b,
        (DeValue::Boolean(a), DeValue::Boolean(b)) => a == b,
        (DeValue::Integer(a), DeValue::Integer(b)) => a.radix() == b.radix() && a.as_str() == b.as_str(),
        (DeValue::Float(a), DeValue::Float(b)) => a.as_str() == b.as_str(),
        (DeValue::Datetime(a), DeValue::Datetime(b)) => with_seconds(*a) == with_seconds(*b),
        _ => false,
    }
}

/// A moment; TOML 1.1 may leave out the seconds.
fn with_seconds(mut moment: Datetime) -> Datetime {
    if let Some(time) = &mut moment.time {
        time.second = Some(time.second.unwrap_or_default());
    }
    moment
}

/// All comments of a text and an added one, sorted.
fn comments(text: &str, added: Option<&str>) -> Vec<String> {
    let mut comments = read::comments(text);
    comments.extend(added.map(str::to_owned));
    comments.sort();
    comments
}

#[cfg(test)]
mod tests;
