//! The one layout of the files that people write: a text becomes the same text, laid out. Keys in the order of
//! the schema, `=` aligned, one blank line between tables, strings in the simplest quotes, comments with what
//! they belong to.
//!
//! Never changes what a file says: the result is parsed and compared before it is handed out. Reads no files.

mod order;
mod read;
mod write;

use std::sync::Arc;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::{base::diag::Diagnostic, language::syntax};

pub use read::quoted;

/// Why a text is not formatted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatError {
    /// It is not TOML; these are the errors.
    Broken(Vec<Diagnostic>),
    /// What was laid out says something else, or lacks a comment. A fault of this module's.
    Changed,
}

/// A file: lines of comments at its start and its end, and its tables between them.
#[derive(Debug, Default)]
struct File {
    head: Vec<String>,
    blocks: Vec<Block>,
    foot: Vec<String>,
}

/// A table with a header, or the keys before the first one. Lines of comments stand above and below it; an
/// empty one is a blank line.
#[derive(Debug, Default)]
struct Block {
    above: Vec<String>,
    header: Option<Header>,
    entries: Vec<Item>,
    below: Vec<String>,
}

/// `[path]` or `[[path]]`.
#[derive(Debug)]
struct Header {
    path: Vec<String>,
    array: bool,
    beside: Option<String>,
}

/// A key with its value, or an array's item, whose path is empty.
#[derive(Debug)]
struct Item {
    above: Vec<String>,
    path: Vec<String>,
    value: Node,
    beside: Option<String>,
}

/// A value.
#[derive(Debug)]
enum Node {
    /// As it is written.
    Scalar(String),
    /// `[...]`, with the comments before its end.
    Array(Vec<Item>, Vec<String>),
    /// `{...}`, with the comments before its end.
    Table(Vec<Item>, Vec<String>),
}

/// Lays a text out by the schema of its kind. `header` is the first line that it gets if it names no schema.
pub fn format(
    file: &Arc<str>,
    text: &str,
    schema: &Value,
    header: Option<&str>,
) -> Result<String, FormatError> {
    syntax::syntax(file, text).map_err(FormatError::Broken)?;
    let (mut parsed, named) = read::read(text);
    order::order(&mut parsed, schema);
    // One in the middle may have come to stand first.
    let named = named.or_else(|| parsed.take_schema());
    let laid_out = write::write(&parsed, named.as_deref().or(header));
    let added = if named.is_none() { header } else { None };
    if is_same_document(text, &laid_out) && comments(text, added) == comments(&laid_out, None) {
        Ok(laid_out)
    } else {
        Err(FormatError::Changed)
    }
}

/// Whether two texts are the same document.
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
        (DeValue::Datetime(a), DeValue::Datetime(b)) => a == b,
        _ => false,
    }
}

/// All comments of a text and one that is added to it, in no order.
fn comments(text: &str, added: Option<&str>) -> Vec<String> {
    let mut comments = read::comments(text);
    comments.extend(added.map(str::to_owned));
    comments.sort();
    comments
}

#[cfg(test)]
mod tests;
