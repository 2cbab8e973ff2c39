//! Rust source as text: separates code from comments and literals, and finds words and used modules.

use std::collections::BTreeSet;

/// Rust without comments. Without `texts`, string literals are emptied.
pub(super) fn code(source: &str, texts: bool) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (taken, kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), false)
        } else if let Some(length) = string_literal(rest, out.chars().next_back()) {
            (length, texts)
        } else if first == '\'' {
            (char_literal(rest), true)
        } else {
            (first.len_utf8(), true)
        };
        if kept {
            out.push_str(&rest[..taken]);
        } else {
            out.push_str("\"\"");
        }
        rest = &rest[taken..];
    }
    out
}

/// The length of a string literal, also a raw one, at the start of `text`.
fn string_literal(text: &str, before: Option<char>) -> Option<usize> {
    let after_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let raw = text.strip_prefix('r').filter(|_| !after_word || before == Some('b'));
    if let Some(tail) = raw {
        let hashes = tail.len() - tail.trim_start_matches('#').len();
        if tail[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = 1 + hashes + 1;
            return Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()));
        }
    }
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 2),
            _ => {}
        }
    }
    Some(text.len())
}

/// The length of a character literal, or of the quote of a lifetime.
fn char_literal(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            let from = escaped + text[escaped..].chars().next().map_or(1, char::len_utf8);
            text[from..].find('\'').map_or(1, |at| from + at + 1)
        }
        (Some(_), Some((close, '\''))) => close + 1,
        _ => 1,
    }
}

/// The words of a text, in lower case: `FooBar`, `foo_bar` and `"foo-bar"` are `foo bar`.
pub(super) fn words(text: &str) -> String {
    let mut out = String::from(" ");
    let mut before = ' ';
    for c in text.chars() {
        let starts_word = c.is_uppercase() && before.is_lowercase();
        if (starts_word || !c.is_alphanumeric()) && !out.ends_with(' ') {
            out.push(' ');
        }
        if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        }
        before = c;
    }
    if !out.ends_with(' ') {
        out.push(' ');
    }
    out
}

/// The first names after `root::`, those in braces included.
pub(super) fn used_modules(code: &str, root: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for tail in code.split(&format!("{root}::")).skip(1) {
        match tail.strip_prefix('{') {
            None => used.extend(first_word(tail)),
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in list.chars() {
                    match c {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => used.extend(first_word(&std::mem::take(&mut item))),
                        _ if depth == 0 => item.push(c),
                        _ => {}
                    }
                }
                used.extend(first_word(&item));
            }
        }
    }
    used
}

fn first_word(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[test]
fn code_and_words() {
    let check = |source: &str, all: &str, bare: &str| {
        assert_eq!(code(source, true), all, "{source}");
        assert_eq!(code(source, false), bare, "{source}");
    };
    check("a // b\nc", "a \"\"\nc", "a \"\"\nc");
    check("a(\"b // c\")", "a(\"b // c\")", "a(\"\")");
    check(r#""a\"b" c"#, r#""a\"b" c"#, "\"\" c");
    check("r#\"a\"b\"# c", "r#\"a\"b\"# c", "\"\" c");
    check("'\"' 'a \"b\"", "'\"' 'a \"b\"", "'\"' 'a \"\"");
    check("'\\'' \"b\"", "'\\'' \"b\"", "'\\'' \"\"");
    assert_eq!(words("FooBar foo_bar \"x-API2\""), " foo bar foo bar x api2 ");
}

#[test]
fn used_modules_are_found() {
    let check = |code: &str, expected: &[&str]| {
        assert_eq!(
            used_modules(code, "crate").iter().map(String::as_str).collect::<Vec<_>>(),
            expected,
            "{code}"
        );
    };
    check("use crate::a::B;", &["a"]);
    check(
        "use crate::{\n    a,\n    b::{self, C},\n    d::E,\n};\nlet x = crate::f::g();",
        &["a", "b", "d", "f"],
    );
    check("use std::x;", &[]);
}
