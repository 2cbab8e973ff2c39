//! Files that a tool writes and renews, and in which people change what they like.
//!
//! A comment with a mark stands beside each line that the tool wrote. It has a hash of the value: a line whose value has another
//! one, or no mark, is a person's, and stays. The first comment lists the keys that the tool wrote: one that is missing was removed
//! by a person, and stays away. Nothing but the file itself is needed for that. Read next: `tools::import`.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::{
    Block, File, Item, read,
    write::{dotted, flat, write},
};
use crate::base::hex;

/// The start of a comment beside a line that the tool wrote.
const MARK: &str = "# import ";
/// The start of the comment that lists the keys.
const KEYS: &str = "# import keys: ";
/// The comment above it.
const HEAD: &str =
    "# Written by `tollgate import`, which renews lines with `# import` until a person changes their values.";
/// The bytes of a hash in a mark.
const HASH_BYTES: usize = 4;

/// A key with its value, or a test, which is one as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unit {
    block: usize,
    /// The entry; none for the whole table.
    entry: Option<usize>,
}

/// A unit that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its key, with dots between the steps; `test NAME` for a test.
    pub key: String,
    /// Its value before; none if it is new.
    pub before: Option<String>,
    /// Its value now; none if it was removed.
    pub after: Option<String>,
}

/// A person's line that differs from what the tool would write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its key.
    pub key: String,
    /// Its value; none if the person removed it.
    pub value: Option<String>,
    /// What the tool would write.
    pub wanted: String,
}

/// A file that was renewed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewed {
    /// The new text; none if nothing changed. It is not formatted.
    pub text: Option<String>,
    /// What changed.
    pub changes: Vec<Change>,
    /// What a person wrote.
    pub kept: Vec<Kept>,
}

/// The rules of a renewal.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'r> {
    /// Keys on which others depend.
    pub leading: &'r [&'r str],
    /// The starts of the names of those others: they stay as they are if a person changed a leading key.
    pub following: &'r [&'r str],
    /// Keys that are renewed only if others are.
    pub quiet: &'r [&'r str],
}

/// Adds the marks to a text that the tool made. `note`: what stands in the mark of a key, its sources.
pub fn stamp(plain: &str, note: impl Fn(&str) -> Option<String>) -> String {
    let (mut file, named) = read::read(plain);
    let units = units(&file);
    for (key, unit) in &units {
        let Some(hash) = hash(key, &file, *unit) else { continue };
        let note = note(key).map(|note| format!(": {note}")).unwrap_or_default();
        if let Some(item) = marked(&mut file, *unit) {
            item.beside = Some(format!("{MARK}{hash}{note}"));
        }
    }
    let keys: Vec<&str> = units.iter().map(|(key, _)| key.as_str()).collect();
    file.head = vec![HEAD.to_owned(), format!("{KEYS}{}", keys.join(", "))];
    write(&file, named.as_deref())
}

/// True for a file that the tool wrote.
pub fn is_stamped(text: &str) -> bool {
    keys_line(&mut read::read(text).0).is_some()
}

/// Renews a file by the text that the tool would write today, with its marks. None if the tool did not write the file.
pub fn renew(there: &str, fresh: &str, rules: Rules<'_>) -> Option<Renewed> {
    let (mut file, named) = read::read(there);
    let (fresh, _) = read::read(fresh);
    let line = keys_line(&mut file)?;
    let known: BTreeSet<String> = line[KEYS.len()..].split(", ").map(|key| key.trim().to_owned()).collect();
    let (old, new) = (units(&file), units(&fresh));
    let find =
        |units: &[(String, Unit)], key: &str| units.iter().find(|(one, _)| one == key).map(|(_, unit)| *unit);
    let mut renewed = Renewed::default();
    for (key, unit) in &new {
        let wanted = value(&fresh, *unit).unwrap_or_default();
        let there = find(&old, key);
        let is_persons = there.map_or_else(|| known.contains(key), |there| !is_own(key, &file, there));
        let is_same = there.and_then(|there| value(&file, there)).as_ref() == Some(&wanted);
        if is_persons && !is_same {
            let value = there.map(|there| value(&file, there).unwrap_or_else(|| "...".to_owned()));
            renewed.kept.push(Kept { key: key.clone(), value, wanted });
        }
    }
    let is_held = renewed.kept.iter().any(|kept| rules.leading.contains(&kept.key.as_str()));
    let stays = |key: &str| is_held && rules.following.iter().any(|start| key.starts_with(start));
    renewed.kept.retain(|kept| !stays(&kept.key));
    let mut gone = Vec::new();
    for (key, unit) in &new {
        let there = find(&old, key);
        if stays(key) || there.map_or_else(|| known.contains(key), |there| !is_own(key, &file, there)) {
            continue;
        }
        renewed.changes.extend(replace(&mut file, there, &fresh, (key, *unit)));
    }
    for (key, unit) in old.iter().filter(|(key, _)| known.contains(key) && find(&new, key).is_none()) {
        if !stays(key) && is_own(key, &file, *unit) && is_bare(&file, *unit) {
            let before = value(&file, *unit);
            renewed.changes.push(Change { key: key.clone(), before, after: None });
            gone.push(*unit);
        }
    }
    if renewed.changes.iter().any(|change| !rules.quiet.contains(&change.key.as_str())) {
        remove(&mut file, &gone);
        let listed = old.iter().filter(|(key, _)| known.contains(key)).map(|(key, _)| key);
        let removed = known.iter().filter(|key| find(&old, key).is_none());
        let mut keys: Vec<&str> = new.iter().map(|(key, _)| key.as_str()).collect();
        let left: Vec<&String> = listed.chain(removed).filter(|key| !keys.contains(&key.as_str())).collect();
        let is_gone = |key: &str| renewed.changes.iter().any(|one| one.key == key && one.after.is_none());
        keys.extend(left.into_iter().map(String::as_str).filter(|key| !is_gone(key)));
        let keys = format!("{KEYS}{}", keys.join(", "));
        *keys_line(&mut file)? = keys;
        renewed.text = Some(write(&file, named.as_deref()));
    } else {
        renewed.changes.clear();
    }
    Some(renewed)
}

/// The comment that lists the keys.
fn keys_line(file: &mut File) -> Option<&mut String> {
    let File { head, blocks, .. } = file;
    let first = blocks.first_mut().map(Block::first_above);
    head.iter_mut().chain(first.into_iter().flatten()).find(|line| line.starts_with(KEYS))
}

/// All units with their keys.
fn units(file: &File) -> Vec<(String, Unit)> {
    let mut units = Vec::new();
    for (at, block) in file.blocks.iter().enumerate() {
        let path = block.header.as_ref().map_or(&[][..], |header| &header.path);
        if block.header.as_ref().is_some_and(|header| header.array) {
            let name = block.entries.iter().find(|entry| entry.path == ["name"]);
            let name = name.and_then(|name| flat(&name.value));
            let name = name.filter(|_| path == ["test"]).map(|name| name.trim_matches('"').to_owned());
            units.extend(name.map(|name| (format!("test {name}"), Unit { block: at, entry: None })));
            continue;
        }
        for (index, entry) in block.entries.iter().enumerate() {
            let key = dotted(&[path, &entry.path].concat());
            units.push((key, Unit { block: at, entry: Some(index) }));
        }
    }
    units
}

/// The value of a unit on one line. None if there are comments in it.
fn value(file: &File, unit: Unit) -> Option<String> {
    let block = &file.blocks[unit.block];
    if let Some(entry) = unit.entry {
        return flat(&block.entries[entry].value);
    }
    let is_plain = |entry: &&Item| {
        entry.above.iter().all(String::is_empty) && (entry.path == ["name"] || entry.beside.is_none())
    };
    let line = |entry: &Item| Some(format!("{} = {}", dotted(&entry.path), flat(&entry.value)?));
    let lines = block.entries.iter().map(|entry| line(Some(entry).filter(is_plain)?));
    Some(lines.collect::<Option<Vec<_>>>()?.join("; "))
}

fn hash(key: &str, file: &File, unit: Unit) -> Option<String> {
    let digest = Sha256::digest(format!("{key} = {}", value(file, unit)?));
    Some(hex::encode(&digest[..HASH_BYTES]))
}

/// The item that has the mark of a unit.
fn marked(file: &mut File, unit: Unit) -> Option<&mut Item> {
    let entries = &mut file.blocks[unit.block].entries;
    match unit.entry {
        Some(entry) => entries.get_mut(entry),
        None => entries.iter_mut().find(|entry| entry.path == ["name"]),
    }
}

/// True if the tool wrote a unit, and nobody changed its value.
fn is_own(key: &str, file: &File, unit: Unit) -> bool {
    let entries = &file.blocks[unit.block].entries;
    let item = match unit.entry {
        Some(entry) => entries.get(entry),
        None => entries.iter().find(|entry| entry.path == ["name"]),
    };
    let mark = item.and_then(|item| item.beside.as_deref()?.strip_prefix(MARK));
    let written = mark.and_then(|mark| mark.split([':', ' ']).next());
    written.is_some() && written == hash(key, file, unit).as_deref()
}

/// True if no comment of a person goes with a unit.
fn is_bare(file: &File, unit: Unit) -> bool {
    let block = &file.blocks[unit.block];
    let blank = |lines: &[String]| lines.iter().all(String::is_empty);
    if let Some(entry) = unit.entry {
        return blank(&block.entries[entry].above);
    }
    let beside = block.header.as_ref().and_then(|header| header.beside.as_ref());
    blank(&block.above) && blank(&block.below) && beside.is_none()
}

/// Replaces or adds a unit. Returns the change; none if it has this value and this mark already.
fn replace(file: &mut File, there: Option<Unit>, fresh: &File, (key, unit): (&str, Unit)) -> Option<Change> {
    let from = &fresh.blocks[unit.block];
    let change = |before: Option<String>| Change { key: key.to_owned(), before, after: value(fresh, unit) };
    let Some(there) = there else {
        add(file, from, unit.entry);
        return Some(change(None));
    };
    let before = value(file, there);
    let mark = |block: &Block, unit: Unit| {
        let index = unit.entry.or_else(|| block.entries.iter().position(|entry| entry.path == ["name"]));
        index.and_then(|index| block.entries[index].beside.clone())
    };
    let block = &mut file.blocks[there.block];
    if before == value(fresh, unit) && mark(block, there) == mark(from, unit) {
        return None;
    }
    match (there.entry, unit.entry) {
        (Some(there), Some(index)) => {
            let (item, new) = (&mut block.entries[there], from.entries[index].clone());
            (item.value, item.beside) = (new.value, new.beside);
        }
        _ => block.entries.clone_from(&from.entries),
    }
    Some(change(before))
}

/// Adds a unit, with the table that it needs.
fn add(file: &mut File, from: &Block, entry: Option<usize>) {
    let Some(entry) = entry else {
        let entries = from.entries.clone();
        file.blocks.push(Block { header: from.header.clone(), entries, ..Block::default() });
        return;
    };
    let path = |block: &Block| block.header.as_ref().map(|header| (header.array, header.path.clone()));
    let at = file.blocks.iter().position(|block| path(block) == path(from)).unwrap_or_else(|| {
        let at = if from.header.is_none() { 0 } else { file.blocks.len() };
        file.blocks.insert(at, Block { header: from.header.clone(), ..Block::default() });
        at
    });
    file.blocks[at].entries.push(from.entries[entry].clone());
}

/// Removes units, and tables that are empty then.
fn remove(file: &mut File, gone: &[Unit]) {
    for unit in gone.iter().rev() {
        match unit.entry {
            Some(entry) => drop(file.blocks[unit.block].entries.remove(entry)),
            None => file.blocks[unit.block].entries.clear(),
        }
    }
    let emptied: BTreeSet<usize> = gone.iter().map(|unit| unit.block).collect();
    let mut at = 0;
    file.blocks.retain(|block| {
        at += 1;
        let has_comments = !block.above.iter().chain(&block.below).all(String::is_empty);
        !emptied.contains(&(at - 1)) || !block.entries.is_empty() || has_comments
    });
}

#[cfg(test)]
mod tests;
