//! Merges TOML. Comments, order and spaces stay.

use toml_edit::{DocumentMut, Item, TableLike, Value};

use super::{Before, Change, FILE_TOKEN, MergeError, Merged, before, below, place, refused};

pub(super) fn merge(text: &str, snippet: &str) -> Result<Merged, MergeError> {
    let patch: DocumentMut = snippet
        .parse()
        .map_err(|error: toml_edit::TomlError| MergeError::Snippet(error.message().to_owned()))?;
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let at = error.span().and_then(|span| place(text, span.start));
        refused(at, format!("it is not TOML ({})", error.message()))
    })?;
    let mut changes = Vec::new();
    table(document.as_table_mut(), patch.as_table(), "", &mut changes)?;
    let text = match changes.as_slice() {
        [] => text.to_owned(),
        _ if text.trim().is_empty() => format!("{snippet}\n"),
        _ => document.to_string(),
    };
    Ok(Merged { text, changes })
}

fn table(
    into: &mut dyn TableLike,
    patch: &dyn TableLike,
    name: &str,
    changes: &mut Vec<Change>,
) -> Result<(), MergeError> {
    for (key, item) in patch.iter() {
        let name = below(name, key);
        match (into.get_mut(key).filter(|old| !old.is_none()), item.as_table_like()) {
            (None, _) => {
                added(item, &name, changes);
                into.insert(key, unplaced(item.clone()));
            }
            (Some(old), Some(patch)) => match old.as_table_like_mut() {
                Some(old) => table(old, patch, &name, changes)?,
                None => return Err(refused(None, format!("`{name}` is no table"))),
            },
            (Some(Item::Value(old)), None) if !old.is_inline_table() => {
                let Some(new) = item.as_value() else { continue };
                let is_stand_in = new.as_str().is_some_and(|text| text.contains(FILE_TOKEN));
                if plain(old) != plain(new) && !is_stand_in {
                    changes.push(Change { before: before(&name, &plain(old)), key: name });
                    let decor = old.decor().clone();
                    *old = new.clone();
                    *old.decor_mut() = decor;
                }
            }
            (Some(_), None) => return Err(refused(None, format!("`{name}` is a table"))),
        }
    }
    Ok(())
}

fn added(item: &Item, name: &str, changes: &mut Vec<Change>) {
    match item.as_table_like().filter(|table| !table.is_empty()) {
        Some(table) => table.iter().for_each(|(key, item)| added(item, &below(name, key), changes)),
        None => changes.push(Change { key: name.to_owned(), before: Before::Absent }),
    }
}

/// The same item, for the end of another document.
fn unplaced(mut item: Item) -> Item {
    if let Some(table) = item.as_table_mut() {
        table.set_position(None);
        for (_, item) in table.iter_mut() {
            *item = unplaced(std::mem::take(item));
        }
    }
    item
}

/// The value as text, without quotes and what surrounds it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string().trim().to_owned(), str::to_owned)
}
