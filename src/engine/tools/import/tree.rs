//! TOML and JSON as one tree of values, each with its line. Only what an import needs is kept: texts, lists and tables.

use serde::de::IgnoredAny;
use toml::de::{DeTable, DeValue};

use crate::base::written;

/// The deepest nesting that is read.
const DEPTH: usize = 64;

/// A value and the line on which it starts.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) line: usize,
    pub(super) data: Data,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Data {
    Text(String),
    List(Vec<Spot>),
    Table(Vec<(String, Spot)>),
    /// A number, a boolean, a day or `null`.
    Other,
}

/// A text that cannot be read: the line, and a fragment that names the problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: usize,
    pub(super) problem: String,
}

impl Spot {
    /// The value of a key. Of several in JSON, the last one counts.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().rfind(|(one, _)| one == key).map(|(_, spot)| spot)
    }

    /// The value along some keys.
    pub(super) fn at(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |spot, key| spot.get(key))
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            Data::List(_) | Data::Table(_) | Data::Other => None,
        }
    }

    pub(super) fn list(&self) -> &[Self] {
        match &self.data {
            Data::List(items) => items,
            Data::Text(_) | Data::Table(_) | Data::Other => &[],
        }
    }

    pub(super) fn entries(&self) -> &[(String, Self)] {
        match &self.data {
            Data::Table(entries) => entries,
            Data::Text(_) | Data::List(_) | Data::Other => &[],
        }
    }

    /// The texts of a list, or a single text.
    pub(super) fn texts(&self) -> Vec<&str> {
        self.text().into_iter().chain(self.list().iter().filter_map(Self::text)).collect()
    }
}

/// Reads TOML.
pub(super) fn toml(text: &str) -> Result<Spot, Unreadable> {
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line = |offset: usize| ends.partition_point(|end| *end < offset) + 1;
    let table = DeTable::parse(text).map_err(|error| Unreadable {
        line: line(error.span().map_or(0, |span| span.start)),
        problem: written::line(error.message()).to_owned(),
    })?;
    Ok(of_table(table.get_ref(), 1, &line))
}

fn of_table(table: &DeTable<'_>, at: usize, line: &impl Fn(usize) -> usize) -> Spot {
    let entries = table.iter().map(|(key, value)| {
        (key.get_ref().to_string(), of_value(value.get_ref(), line(value.span().start), line))
    });
    Spot { line: at, data: Data::Table(entries.collect()) }
}

fn of_value(value: &DeValue<'_>, at: usize, line: &impl Fn(usize) -> usize) -> Spot {
    let data = match value {
        DeValue::Table(table) => return of_table(table, at, line),
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Array(items) => {
            let item =
                |item: &toml::Spanned<DeValue<'_>>| of_value(item.get_ref(), line(item.span().start), line);
            Data::List(items.iter().map(item).collect())
        }
        DeValue::Boolean(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) => Data::Other,
    };
    Spot { line: at, data }
}

/// Reads JSON.
pub(super) fn json(text: &str) -> Result<Spot, Unreadable> {
    let checked: Result<IgnoredAny, _> = serde_json::from_str(text);
    checked.map_err(|error| {
        let whole = error.to_string();
        let problem = whole.split(" at line ").next().unwrap_or_default().to_owned();
        Unreadable { line: error.line().max(1), problem }
    })?;
    let mut walk = Walk { text, at: 0, line: 1 };
    walk.value(0).ok_or(Unreadable { line: walk.line, problem: format!("nested deeper than {DEPTH} levels") })
}

/// Walks along a text that is JSON.
struct Walk<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl Walk<'_> {
    /// The next byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' | b',' | b':' => {}
                _ => return Some(*byte),
            }
            self.at += 1;
        }
        None
    }

    /// The value here. None if it is nested too deeply.
    fn value(&mut self, depth: usize) -> Option<Spot> {
        let first = self.next()?;
        let line = self.line;
        let data = match first {
            _ if depth > DEPTH => return None,
            b'"' => Data::Text(self.string()),
            b'{' => {
                self.at += 1;
                let mut entries = Vec::new();
                while self.next()? != b'}' {
                    let key = self.string();
                    entries.push((key, self.value(depth + 1)?));
                }
                self.at += 1;
                Data::Table(entries)
            }
            b'[' => {
                self.at += 1;
                let mut items = Vec::new();
                while self.next()? != b']' {
                    items.push(self.value(depth + 1)?);
                }
                self.at += 1;
                Data::List(items)
            }
            _ => {
                let rest = &self.text[self.at..];
                self.at += rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
                Data::Other
            }
        };
        Some(Spot { line, data })
    }

    /// The string here.
    fn string(&mut self) -> String {
        let rest = &self.text[self.at..];
        let mut is_escaped = false;
        let end = rest.bytes().enumerate().skip(1).find(|(_, byte)| {
            let is_end = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            is_end
        });
        let end = end.map_or(rest.len(), |(at, _)| at + 1);
        self.at += end;
        // Half of a surrogate pair is the one thing that the check lets pass.
        serde_json::from_str(&rest[..end]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree on one line: texts with their lines.
    fn shown(spot: &Spot) -> String {
        let all = |items: Vec<String>| items.join(" ");
        match &spot.data {
            Data::Text(text) => format!("{text:?}@{}", spot.line),
            Data::List(items) => format!("[{}]", all(items.iter().map(shown).collect())),
            Data::Table(entries) => {
                format!(
                    "{{{}}}",
                    all(entries.iter().map(|(key, one)| format!("{key}={}", shown(one))).collect())
                )
            }
            Data::Other => format!("-@{}", spot.line),
        }
    }

    fn check(read: Result<Spot, Unreadable>, expected: &str) {
        let seen =
            read.map_or_else(|error| format!("{}: {}", error.line, error.problem), |spot| shown(&spot));
        assert_eq!(seen, expected);
    }

    #[test]
    fn json_has_lines() {
        check(
            json("{\"a\": \"x\\\"y\",\n \"b\": [\n1, \"z\"], \"c\": {}}"),
            "{a=\"x\\\"y\"@1 b=[-@3 \"z\"@3] c={}}",
        );
        check(json("null"), "-@1");
        check(json("[true\n,-1.5e3 , \"\\u00e4\"]"), "[-@1 -@2 \"ä\"@2]");
        check(json("{\n\"a\": }"), "2: expected value");
        check(json(""), "1: EOF while parsing a value");
        check(json("\"\\ud800\""), "\"\"@1");
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        check(json(&deep), "1: nested deeper than 64 levels");
        check(json(&"[".repeat(100_000)), "1: EOF while parsing a list");
    }

    #[test]
    fn toml_has_lines() {
        check(toml("a = \"x\"\n[b]\nc = [\"y\",\n  1]\n"), "{a=\"x\"@1 b={c=[\"y\"@3 -@4]}}");
        check(toml("a = 1\nb = \n"), "2: string values must be quoted, expected literal string");
    }
}
