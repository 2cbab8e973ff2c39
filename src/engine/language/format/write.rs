//! Writes tables and items as a text: one blank line between tables, `=` and trailing comments aligned, an array that does
//! not fit with one item a line. An inline table stays one, on one line but for arrays in it that have comments.

use toml_writer::{ToTomlKey as _, TomlKeyBuilder};

use super::{Block, File, Item, Node};

/// The greatest width of an array on one line, in characters.
const WIDTH: usize = 120;
const INDENT: usize = 4;
/// A key or a line that is longer takes no part in an alignment: all others would grow with it.
const ALIGNED: usize = 4 * WIDTH;

/// The text of a file. `schema`: the line that names its schema.
pub(super) fn write(file: &File, schema: Option<&str>) -> String {
    let mut parts = Vec::new();
    let (head, foot) = (paragraphs(&file.head), paragraphs(&file.foot));
    let mut start: Vec<String> = schema.map(str::to_owned).into_iter().chain(head.clone()).collect();
    let mut blocks = file.blocks.iter().map(block).peekable();
    // The first keys directly follow the schema line, unless the file has comments.
    if head.is_empty() && file.blocks.first().is_some_and(|first| first.header.is_none()) {
        start.extend(blocks.next().unwrap_or_default());
    }
    parts.push(start);
    parts.extend(blocks);
    parts.push(foot);
    let parts: Vec<String> =
        parts.into_iter().filter(|part| !part.is_empty()).map(|part| part.join("\n")).collect();
    if parts.is_empty() { String::new() } else { parts.join("\n\n") + "\n" }
}

/// Comment lines without blank lines at either end, and with single blank lines between.
fn paragraphs(lines: &[String]) -> Vec<String> {
    let lines: Vec<String> = lines.iter().skip_while(|line| line.is_empty()).cloned().collect();
    let mut lines = squeezed(lines);
    lines.truncate(lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1));
    lines
}

fn squeezed(mut lines: Vec<String>) -> Vec<String> {
    lines.dedup_by(|b, a| a.is_empty() && b.is_empty());
    lines
}

/// The lines above an item. The first item has no blank line before its comments.
fn above(lines: &[String], first: bool) -> Vec<String> {
    let lines = squeezed(lines.to_vec());
    let skip = usize::from(first && lines.first().is_some_and(String::is_empty));
    lines[skip..].to_vec()
}

fn block(block: &Block) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(header) = &block.header {
        lines.extend(above(&block.above, true));
        let path = dotted(&header.path);
        let line = if header.array { format!("[[{path}]]") } else { format!("[{path}]") };
        lines.push(with(line, header.beside.as_ref()));
    }
    lines.extend(entries(&block.entries));
    lines.extend(block.below.iter().cloned());
    lines
}

/// The items of a table. Alignment ends at a blank line.
fn entries(all: &[Item]) -> Vec<String> {
    let shown: Vec<Vec<String>> =
        all.iter().enumerate().map(|(at, one)| above(&one.above, at == 0)).collect();
    let starts = (0..all.len()).filter(|at| *at == 0 || shown[*at].iter().any(String::is_empty));
    let starts: Vec<usize> = starts.chain([all.len()]).collect();
    let mut lines = Vec::new();
    for group in starts.windows(2) {
        let group = group[0]..group[1];
        for (above, line) in shown[group.clone()].iter().zip(aligned(&all[group])) {
            lines.extend(above.iter().cloned());
            lines.push(line);
        }
    }
    lines
}

fn aligned(group: &[Item]) -> Vec<String> {
    let keys: Vec<String> = group.iter().map(|entry| dotted(&entry.path)).collect();
    // Dotted and quoted keys are often far longer than plain ones: each kind is aligned separately.
    let kind = |key: &str| usize::from(key.contains('.')) + 2 * usize::from(key.contains(['"', '\'']));
    let mut widths = [0; 4];
    for key in &keys {
        let width = Some(columns(key)).filter(|width| *width <= ALIGNED);
        widths[kind(key)] = width.unwrap_or_default().max(widths[kind(key)]);
    }
    let lines = keys.iter().zip(group).map(|(key, entry)| {
        let pad = widths[kind(key)].saturating_sub(columns(key));
        let start = format!("{key}{} = ", " ".repeat(pad));
        let value = node(&entry.value, 0, columns(&start));
        start + &value
    });
    beside(lines.collect(), group)
}

/// Adds trailing comments, those of successive lines in one column.
fn beside(mut lines: Vec<String>, group: &[Item]) -> Vec<String> {
    let mut start = 0;
    while start < group.len() {
        let run = group[start..].iter().take_while(|entry| entry.beside.is_some()).count();
        let last = |line: &String| columns(line.rsplit('\n').next().unwrap_or_default());
        let width = lines[start..start + run].iter().map(last).filter(|width| *width <= ALIGNED).max();
        let width = width.unwrap_or_default();
        for (line, entry) in lines[start..start + run].iter_mut().zip(&group[start..]) {
            let pad = width.saturating_sub(last(line));
            line.push_str(&" ".repeat(pad));
            *line = with(std::mem::take(line), entry.beside.as_ref());
        }
        start += run + 1;
    }
    lines
}

fn with(line: String, beside: Option<&String>) -> String {
    match beside {
        Some(comment) => format!("{line} {comment}"),
        None => line,
    }
}

pub(super) fn dotted(path: &[String]) -> String {
    let keys: Vec<String> = path.iter().map(|key| key_of(key)).collect();
    keys.join(".")
}

fn key_of(key: &str) -> String {
    let builder = TomlKeyBuilder::new(key);
    let simplest =
        builder.as_unquoted().or_else(|| builder.as_basic_pretty()).or_else(|| builder.as_literal());
    simplest.unwrap_or_else(|| builder.as_basic()).to_toml_key()
}

/// A value. `used`: the columns before it; `indent`: that of its further lines.
fn node(node: &Node, indent: usize, used: usize) -> String {
    match (node, flat(node)) {
        (Node::Scalar(text), _) => text.clone(),
        (Node::Array(_, _), Some(line)) if used + columns(&line) <= WIDTH => line,
        (Node::Array(items, below), _) => lines_of(items, below, indent),
        (Node::Table(_, _), Some(line)) => line,
        (Node::Table(items, _), None) => {
            // TOML 1.0 has no line end between the braces, but for those in a value.
            let items: Vec<_> =
                items.iter().map(|item| named(item, self::node(&item.value, indent, used))).collect();
            format!("{{ {} }}", items.join(", "))
        }
    }
}

/// A value on one line. None if it has comments.
pub(super) fn flat(node: &Node) -> Option<String> {
    let (items, below, open, close) = match node {
        Node::Scalar(text) => return Some(text.clone()),
        Node::Array(items, below) => (items, below, "[", "]"),
        Node::Table(items, below) => (items, below, "{ ", " }"),
    };
    let bare = |item: &Item| item.above.is_empty() && item.beside.is_none();
    if !below.is_empty() || !items.iter().all(bare) {
        return None;
    }
    if items.is_empty() {
        return Some(format!("{}{}", open.trim(), close.trim()));
    }
    let items: Option<Vec<String>> = items.iter().map(|item| Some(named(item, flat(&item.value)?))).collect();
    Some(format!("{open}{}{close}", items?.join(", ")))
}

fn named(item: &Item, value: String) -> String {
    if item.path.is_empty() { value } else { format!("{} = {value}", dotted(&item.path)) }
}

/// An array with one item a line.
fn lines_of(items: &[Item], below: &[String], indent: usize) -> String {
    let margin = " ".repeat(indent + INDENT);
    let mut lines = vec!["[".to_owned()];
    for item in items {
        lines.extend(item.above.iter().map(|comment| format!("{margin}{comment}")));
        let used = indent + INDENT + columns(&named(item, String::new())) + 1;
        let text = named(item, node(&item.value, indent + INDENT, used));
        lines.push(with(format!("{margin}{text},"), item.beside.as_ref()));
    }
    lines.extend(below.iter().map(|comment| format!("{margin}{comment}")));
    lines.push(format!("{}]", " ".repeat(indent)));
    lines.join("\n")
}

fn columns(text: &str) -> usize {
    text.chars().count()
}
