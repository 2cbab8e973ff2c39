//! Orders tables and keys as the schema's properties. Names that the author chooses (endpoints, headers, vars) and items
//! of arrays keep the author's order.

use std::collections::HashMap;

use serde_json::Value;

use super::{Block, File, Item, Node, read::after_last_blank};
use crate::language::syntax::pointer_step;

/// The rank of a name among its siblings: by the schema, then by first occurrence.
type Rank = (usize, usize);

/// Puts all tables and keys in order.
pub(super) fn order(file: &mut File, schema: &Value) {
    let root = Shape { root: schema, here: Some(schema) };
    sort_blocks(&mut file.blocks, root);
    for block in &mut file.blocks {
        let path = block.header.iter().flat_map(|header| &header.path);
        let shape = path.fold(root, |shape, key| shape.child(key));
        sort_entries(&mut block.entries, shape);
    }
    // Comments that a blank line separates from the first key belong to the file.
    if let Some(first) = file.blocks.first_mut() {
        let above = first.first_above();
        let own = above.split_off(after_last_blank(above));
        file.head.append(above);
        *above = own;
    }
}

/// The sort key of a table: for each part of its path the rank, and its index in an array of tables.
type SortKey = Vec<(Rank, usize)>;

/// Sorts tables: each follows its parent, and items of an array of tables keep their order.
fn sort_blocks(blocks: &mut Vec<Block>, root: Shape<'_>) {
    // By pointer: the order of first occurrence, and the number of items of an array of tables so far.
    let (mut seen, mut count) = (HashMap::<String, usize>::new(), HashMap::<String, usize>::new());
    let mut keyed: Vec<(SortKey, Block)> = Vec::with_capacity(blocks.len());
    for block in blocks.drain(..) {
        let (mut key_path, mut shape, mut pointer) = (SortKey::new(), root, String::new());
        let keys = block.header.as_ref().map_or(&[][..], |header| &header.path);
        for (depth, key) in keys.iter().enumerate() {
            pointer = format!("{pointer}/{}", pointer_step(key));
            let next = seen.len();
            let first = *seen.entry(pointer.clone()).or_insert(next);
            let entries = count.entry(pointer.clone()).or_default();
            let opens = block.header.as_ref().is_some_and(|header| header.array) && depth + 1 == keys.len();
            *entries += usize::from(opens);
            key_path.push(((shape.rank(key), first), *entries));
            pointer = format!("{pointer}/{entries}");
            shape = shape.child(key);
        }
        keyed.push((key_path, block));
    }
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    blocks.extend(keyed.into_iter().map(|(_, block)| block));
}

fn sort_entries(entries: &mut Vec<Item>, shape: Shape<'_>) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut keyed: Vec<(Vec<Rank>, Item)> = Vec::with_capacity(entries.len());
    for mut entry in entries.drain(..) {
        let (mut key_path, mut shape, mut pointer) = (Vec::new(), shape, String::new());
        for key in &entry.path {
            pointer = format!("{pointer}/{}", pointer_step(key));
            let next = seen.len();
            let first = *seen.entry(pointer.clone()).or_insert(next);
            key_path.push((shape.rank(key), first));
            shape = shape.child(key);
        }
        sort_within(&mut entry.value, shape);
        keyed.push((key_path, entry));
    }
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries.extend(keyed.into_iter().map(|(_, entry)| entry));
}

fn sort_within(node: &mut Node, shape: Shape<'_>) {
    match node {
        Node::Scalar(_) => {}
        Node::Array(items, _) => items.iter_mut().for_each(|item| sort_within(&mut item.value, shape)),
        Node::Table(entries, _) => sort_entries(entries, shape),
    }
}

/// The schema of a table, if there is one.
#[derive(Clone, Copy)]
struct Shape<'s> {
    root: &'s Value,
    here: Option<&'s Value>,
}

impl<'s> Shape<'s> {
    fn rank(self, key: &str) -> usize {
        let properties = self.here.and_then(|here| here.get("properties")?.as_object());
        properties.and_then(|known| known.keys().position(|one| one == key)).unwrap_or(usize::MAX)
    }

    fn child(self, key: &str) -> Self {
        let below = |here: &'s Value| {
            let known = here.get("properties").and_then(|known| known.get(key));
            known.or_else(|| here.get("additionalProperties")).and_then(|child| self.table(child))
        };
        Self { here: self.here.and_then(below), ..self }
    }

    /// The schema of the table behind a reference, in an array, or in the branch for tables.
    fn table(self, schema: &'s Value) -> Option<&'s Value> {
        if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
            return self.table(self.root.pointer(path.strip_prefix('#')?)?);
        }
        match schema.get("items").or_else(|| schema.get("else")) {
            Some(inner) => self.table(inner),
            None => Some(schema),
        }
    }
}
