//! Merges YAML of the plainest shape: a snippet of `key: "value"` lines, into a block mapping. Other lines stay as they are.
//!
//! A file is read by its lines. One whose lines at the margin are not all keys, items or comments is refused, and so is one with
//! a quote or a bracket that is closed on a later line: any line could be part of such a value.

use super::{Keys, MergeError, Merged, place, refused};

pub(super) fn merge(text: &str, snippet: &str) -> Result<Merged, MergeError> {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (mut at, mut block) = (0, None);
    for (index, line) in lines.iter().enumerate() {
        check(line, index).and_then(|()| on_one_line(line, &mut block)).map_err(|problem| {
            let at = place(text, at);
            refused(at, problem)
        })?;
        at += line.len();
    }
    let (mut keys, mut appended) = (Keys::default(), Vec::new());
    for line in snippet.lines().filter(|line| !line.is_empty()) {
        let wrong = || MergeError::Snippet(format!("`{line}` is no key with a value"));
        let (key, new) = pair(line).filter(|(_, value)| !value.is_empty()).ok_or_else(wrong)?;
        let found = lines.iter().rposition(|line| pair(line).is_some_and(|(found, _)| found == key));
        let Some(index) = found else {
            keys.add(key);
            appended.push(line);
            continue;
        };
        let old = pair(lines[index]).map_or("", |(_, value)| value);
        let has_content = |line: &&&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let next = lines[index + 1..].iter().find(has_content);
        if next.is_some_and(|line| line.starts_with([' ', '\t', '-']) && !line.starts_with("---"))
            || old.starts_with(['|', '>', '[', '{', '&', '*', '!'])
        {
            return Err(refused(Some((index + 1, 1)), not_of_one_line(key)));
        }
        if plain(old) == plain(new) || !keys.replaces(key, plain(old), plain(new)) {
            continue;
        }
        lines[index] = line;
    }
    if keys.changes.is_empty() {
        return Ok(keys.merged(text.to_owned()));
    }
    let ended = |line: &str| format!("{}\n", line.trim_end_matches(['\r', '\n']));
    // A changed line lost its end, and the last line may have none.
    let text = lines.iter().map(|line| if line.ends_with('\n') { (*line).to_owned() } else { ended(line) });
    let text = text.chain(appended.into_iter().map(ended)).collect();
    Ok(keys.merged(text))
}

/// The problem of a line at the margin that is no key, no item, no comment and no start of a document.
fn check(line: &str, index: usize) -> Result<(), String> {
    let bare = line.trim_end();
    let is_known = bare.is_empty()
        || bare.starts_with(['#', ' ', '-'])
        || pair(bare).is_some()
        || (bare.starts_with('%') && index == 0);
    if bare.starts_with("---") && index > 0 || bare == "..." {
        return Err("it has `---` or `...` after its first line".to_owned());
    }
    if bare.strip_prefix("--- ").is_some_and(|rest| !rest.trim_start().starts_with('#')) {
        return Err("it has a value behind `---`".to_owned());
    }
    if is_known { Ok(()) } else { Err("this line is no key with a value".to_owned()) }
}

fn not_of_one_line(key: &str) -> String {
    format!("the value of `{key}` is not of one line")
}

/// Refuses a line with a quote or a bracket that it does not close. `block` is the column of the key or the item whose value is
/// the block of text that the line may be part of: such text is not looked at.
fn on_one_line(line: &str, block: &mut Option<usize>) -> Result<(), String> {
    let spaced = line.replace('\t', " ");
    let bare = spaced.trim();
    let mut column = line.len() - line.trim_start().len();
    if bare.is_empty() || block.is_some_and(|above| column > above) {
        return Ok(());
    }
    *block = None;
    let (mut value, mut name) = (bare, "");
    loop {
        if value.starts_with("- ") || value.starts_with("? ") {
            let rest = value[1..].trim_start();
            let above = column;
            column += value.len() - rest.len();
            if rest.starts_with(['|', '>']) {
                *block = Some(above);
                return Ok(());
            }
            value = rest;
            continue;
        }
        // An anchor or a tag stands before the value.
        if value.starts_with(['&', '!']) {
            value = value.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
            continue;
        }
        let open =
            || if name.is_empty() { "a value is not of one line".to_owned() } else { not_of_one_line(name) };
        let rest = match value.as_bytes().first() {
            None | Some(b'#') => return Ok(()),
            Some(b'|' | b'>') => {
                *block = Some(column);
                return Ok(());
            }
            Some(quote @ (b'"' | b'\'')) => &value[quote_end(value, *quote).ok_or_else(open)?..],
            Some(b'[' | b'{') => &value[bracket_end(value).ok_or_else(open)?..],
            Some(_) => {
                let plain = value.split(" #").next().unwrap_or_default().trim_end();
                match plain.find(": ").or_else(|| plain.strip_suffix(':').map(str::len)) {
                    Some(end) => &value[end..],
                    None => return Ok(()),
                }
            }
        };
        let Some(after) = rest.trim_start().strip_prefix(':') else { return Ok(()) };
        name = value[..value.len() - rest.len()].trim_matches(['"', '\'']);
        value = after.trim_start();
    }
}

/// The byte after the quote that closes the one at the start.
fn quote_end(text: &str, quote: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match *byte {
            b'\\' if quote == b'"' => at += 1,
            byte if byte == quote && quote == b'\'' && bytes.get(at + 1) == Some(&quote) => at += 1,
            byte if byte == quote => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The byte after the bracket that closes the one at the start.
fn bracket_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        let begins = at > 0 && b" ,:[{".contains(&bytes[at - 1]);
        match *byte {
            quote @ (b'"' | b'\'') if begins => {
                at += quote_end(&text[at..], quote)?;
                continue;
            }
            b'#' if begins => return None,
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth <= 1 => return Some(at + 1),
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The key and the value of a line at the margin, without a comment behind the value.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim_end().split_once(':')?;
    let is_key = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && !key.starts_with('-');
    if !is_key || !(value.is_empty() || value.starts_with([' ', '\t'])) {
        return None;
    }
    let value = value.trim_start();
    let is_quoted = value.starts_with(['"', '\'']);
    let value = if is_quoted { value } else { value.split(" #").next().unwrap_or_default().trim_end() };
    Some((key, if value.starts_with('#') { "" } else { value }))
}

/// A value without its quotes, and without a comment behind them.
fn plain(value: &str) -> &str {
    let quoted = |quote: char| {
        let rest = value.strip_prefix(quote)?;
        let (inside, after) = rest.split_once(quote)?;
        (after.trim_start().is_empty() || after.trim_start().starts_with('#')).then_some(inside)
    };
    quoted('"').or_else(|| quoted('\'')).unwrap_or(value)
}
