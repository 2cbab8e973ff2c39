//! Merges TOML. Comments, order and spaces stay.

use toml_edit::{DocumentMut, Item, TableLike, Value};

use super::{Keys, MergeError, Merged, below, has_crlf, place, refused};

pub(super) fn merge(text: &str, snippet: &str) -> Result<Merged, MergeError> {
    let patch: DocumentMut = snippet
        .parse()
        .map_err(|error: toml_edit::TomlError| MergeError::Snippet(error.message().to_owned()))?;
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let at = error.span().and_then(|span| place(text, span.start));
        refused(at, format!("it is not TOML ({})", error.message()))
    })?;
    let mut keys = Keys::default();
    table(document.as_table_mut(), patch.as_table(), "", &mut keys)?;
    if !keys.changes.is_empty() && text.contains("\r\n") && !has_crlf(text) {
        // The document does not remember which line had which end.
        return Err(refused(None, "some of its lines end in CRLF, and some in LF"));
    }
    let text = match keys.changes.as_slice() {
        [] => text.to_owned(),
        _ if text.trim().is_empty() => format!("{snippet}\n"),
        _ => document.to_string(),
    };
    Ok(keys.merged(text))
}

fn table(
    into: &mut dyn TableLike,
    patch: &dyn TableLike,
    name: &str,
    keys: &mut Keys,
) -> Result<(), MergeError> {
    for (key, item) in patch.iter() {
        let name = below(name, key);
        match (into.get_mut(key).filter(|old| !old.is_none()), item.as_table_like()) {
            (None, _) => {
                added(item, &name, keys);
                into.insert(key, unplaced(item.clone()));
            }
            (Some(old), Some(patch)) => match old.as_table_like_mut() {
                Some(old) => table(old, patch, &name, keys)?,
                None => return Err(refused(None, format!("`{name}` is no table"))),
            },
            (Some(Item::Value(old)), None) if !old.is_inline_table() => {
                let Some(new) = item.as_value() else { continue };
                if plain(old) != plain(new) && keys.replaces(&name, &plain(old), &plain(new)) {
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

fn added(item: &Item, name: &str, keys: &mut Keys) {
    match item.as_table_like().filter(|table| !table.is_empty()) {
        Some(table) => table.iter().for_each(|(key, item)| added(item, &below(name, key), keys)),
        None => keys.add(name),
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
