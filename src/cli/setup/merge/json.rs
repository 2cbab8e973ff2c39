//! Merges JSON. Only the bytes of changed members change, so that numbers, spaces and order stay.
//!
//! JSON with comments is refused: which of two readings of a file counts is not decided here.

use std::ops::Range;

use serde_json::{Map, Value};

use super::{Keys, MergeError, Merged, below, place, refused};

pub(super) fn merge(text: &str, snippet: &str) -> Result<Merged, MergeError> {
    let patch: Map<String, Value> =
        serde_json::from_str(snippet).map_err(|error| MergeError::Snippet(error.to_string()))?;
    let (source, is_new) = if text.trim().is_empty() { ("{}", true) } else { (text, false) };
    if let Err(error) = serde_json::from_str::<Value>(source) {
        return Err(unreadable(source, &error));
    }
    let open = blanks(source, 0);
    if !source[open..].starts_with('{') {
        return Err(refused(place(source, open), "it holds no JSON object"));
    }
    let mut merge = Merge { text: source, edits: Vec::new(), keys: Keys::default() };
    merge.object(open, &patch, "")?;
    let Merge { mut edits, keys, .. } = merge;
    if is_new && !keys.changes.is_empty() {
        return Ok(keys.merged(format!("{snippet}\n")));
    }
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut text = text.to_owned();
    for (range, new) in edits {
        text.replace_range(range, &new);
    }
    Ok(keys.merged(text))
}

fn unreadable(text: &str, error: &serde_json::Error) -> MergeError {
    let problem = error.to_string();
    let problem = problem.split(" at line ").next().unwrap_or_default();
    let has_comments = text.lines().any(|line| line.trim_start().starts_with("//")) || text.contains("/*");
    let comments = if has_comments { "; JSON with comments is not changed" } else { "" };
    refused(Some((error.line(), error.column())), format!("it is not JSON ({problem}){comments}"))
}

struct Merge<'t> {
    /// Valid JSON.
    text: &'t str,
    edits: Vec<(Range<usize>, String)>,
    keys: Keys,
}

/// A member of an object.
struct Member {
    key: String,
    /// The blanks before the key.
    lead: Range<usize>,
    value: Range<usize>,
}

impl Merge<'_> {
    /// Merges into the object that begins at a byte.
    fn object(&mut self, open: usize, patch: &Map<String, Value>, name: &str) -> Result<(), MergeError> {
        let (members, close) = members(self.text, open);
        let mut added = Vec::new();
        for (key, value) in patch {
            let name = below(name, key);
            // Of two with the same key, readers take the last.
            let Some(member) = members.iter().rev().find(|member| member.key == *key) else {
                added.push((key, value));
                self.added(&name, value);
                continue;
            };
            self.member(member, value, &name)?;
        }
        if !added.is_empty() {
            let edit = self.insertion((open, close), members.last(), &added);
            self.edits.push(edit);
        }
        Ok(())
    }

    fn member(&mut self, member: &Member, value: &Value, name: &str) -> Result<(), MergeError> {
        let old = &self.text[member.value.clone()];
        match value {
            Value::Object(patch) if old.starts_with('{') => self.object(member.value.start, patch, name),
            Value::Object(_) => {
                Err(refused(place(self.text, member.value.start), format!("`{name}` is no object")))
            }
            _ if old.starts_with('{') => {
                Err(refused(place(self.text, member.value.start), format!("`{name}` is an object")))
            }
            value => {
                let old: Value = serde_json::from_str(old).unwrap_or_default();
                let plain = |value: &Value| match value {
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
                if old != *value && self.keys.replaces(name, &plain(&old), &plain(value)) {
                    self.edits.push((member.value.clone(), value.to_string()));
                }
                Ok(())
            }
        }
    }

    fn added(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                members.iter().for_each(|(key, value)| self.added(&below(name, key), value));
            }
            _ => self.keys.add(name),
        }
    }

    /// The edit that adds members to an object, in the layout of its last one.
    fn insertion(
        &self,
        (open, close): (usize, usize),
        last: Option<&Member>,
        added: &[(&String, &Value)],
    ) -> (Range<usize>, String) {
        let line = self.text[..open].rfind('\n').map_or(0, |end| end + 1);
        let outer = &self.text[line..blanks(self.text, line).min(open)];
        let inner = format!("\n{outer}  ");
        let lead = last.map_or(inner.as_str(), |last| &self.text[last.lead.clone()]);
        let member = |(key, value): &(&String, &Value)| {
            let key = Value::from(key.as_str());
            match lead.rfind('\n') {
                Some(end) => {
                    let pretty = format!("{value:#}").replace('\n', &format!("\n{}", &lead[end + 1..]));
                    format!("{lead}{key}: {pretty}")
                }
                None => format!("{lead}{key}: {value}"),
            }
        };
        let members: Vec<String> = added.iter().map(member).collect();
        match last {
            Some(last) => (last.value.end..last.value.end, format!(",{}", members.join(","))),
            None => (open + 1..close, format!("{}\n{outer}", members.join(","))),
        }
    }
}

/// The members of the object that begins at a byte of valid JSON, and the byte of its end.
fn members(text: &str, open: usize) -> (Vec<Member>, usize) {
    let mut members = Vec::new();
    let mut at = open + 1;
    loop {
        let start = blanks(text, at);
        if !text[start..].starts_with('"') {
            return (members, start);
        }
        let key_end = string_end(text, start);
        let value = blanks(text, blanks(text, key_end) + 1);
        let end = value_end(text, value);
        let key = serde_json::from_str(&text[start..key_end]).unwrap_or_default();
        members.push(Member { key, lead: at..start, value: value..end });
        at = blanks(text, end);
        if text[at..].starts_with(',') {
            at += 1;
        }
    }
}

/// The first byte from `at` that is no blank of JSON.
fn blanks(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    at + rest.find(|c| !matches!(c, ' ' | '\t' | '\r' | '\n')).unwrap_or(rest.len())
}

/// The byte after the string that begins at `at`.
fn string_end(text: &str, at: usize) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(at + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// The byte after the value that begins at `at`.
fn value_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut index, mut depth) = (at, 0_usize);
    while let Some(byte) = bytes.get(index) {
        match byte {
            b'"' => {
                index = string_end(text, index);
                if depth == 0 {
                    return index;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return index + depth,
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return index,
            _ => {}
        }
        index += 1;
    }
    text.len()
}
