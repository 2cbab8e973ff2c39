//! Rewrites what only TOML 1.1 allows, so that any reader of TOML 1.0 accepts the result: comments and line ends in inline
//! tables, the escapes `\e` and `\x`, and times without seconds.
//!
//! Never changes the meaning, and keeps every comment: those of an inline table move above the item that holds it.

use super::{Item, Node};

/// Moves the comments of inline tables above the items that hold them. Arrays keep theirs.
pub(super) fn hoist_comments(items: &mut [Item]) {
    for item in items {
        let mut comments = Vec::new();
        take_comments(&mut item.value, &mut comments);
        item.above.append(&mut comments);
    }
}

fn take_comments(value: &mut Node, comments: &mut Vec<String>) {
    match value {
        Node::Scalar(_) => {}
        Node::Array(items, _) => hoist_comments(items),
        Node::Table(items, below) => {
            for item in items {
                comments.append(&mut item.above);
                take_comments(&mut item.value, comments);
                comments.extend(item.beside.take());
            }
            comments.append(below);
        }
    }
}

/// A string with several lines, in quotes, with `\u` in place of `\e` and `\x`.
pub(super) fn with_old_escapes(written: &str) -> String {
    let mut out = String::with_capacity(written.len());
    let mut rest = written;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let taken = match escape.as_bytes().get(1) {
            Some(b'e') => {
                out.push_str("\\u001B");
                2
            }
            Some(b'x') => {
                out.push_str("\\u00");
                2
            }
            // Both characters, so that an escaped backslash begins no escape.
            _ => {
                let taken = escape.chars().take(2).map(char::len_utf8).sum();
                out.push_str(&escape[..taken]);
                taken
            }
        };
        rest = &escape[taken..];
    }
    out.push_str(rest);
    out
}

/// A scalar without quotes; a time has its seconds.
pub(super) fn with_seconds(written: &str) -> String {
    let bytes = written.as_bytes();
    let is_dated = bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
    let start = if is_dated { "1979-05-27T".len() } else { 0 };
    let end = start + "07:32".len();
    let has_time = bytes.get(start + 2) == Some(&b':') && written.is_char_boundary(end);
    if has_time && bytes.get(end) != Some(&b':') {
        format!("{}:00{}", &written[..end], &written[end..])
    } else {
        written.to_owned()
    }
}
