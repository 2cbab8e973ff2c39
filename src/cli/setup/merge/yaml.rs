//! Merges YAML of the plainest shape: a snippet of `key: "value"` lines, into a block mapping. Other lines stay as they are.
//!
//! A file is read by its lines. One whose lines at the margin are not all keys, items or comments is refused.

use super::{Before, Change, FILE_TOKEN, MergeError, Merged, before, place, refused};

pub(super) fn merge(text: &str, snippet: &str) -> Result<Merged, MergeError> {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut at = 0;
    for (index, line) in lines.iter().enumerate() {
        check(line, index).map_err(|problem| refused(place(text, at), problem))?;
        at += line.len();
    }
    let (mut changes, mut appended) = (Vec::new(), Vec::new());
    for line in snippet.lines().filter(|line| !line.is_empty()) {
        let wrong = || MergeError::Snippet(format!("`{line}` is no key with a value"));
        let (key, new) = pair(line).filter(|(_, value)| !value.is_empty()).ok_or_else(wrong)?;
        let found = lines.iter().rposition(|line| pair(line).is_some_and(|(found, _)| found == key));
        let Some(index) = found else {
            changes.push(Change { key: key.to_owned(), before: Before::Absent });
            appended.push(line);
            continue;
        };
        let old = pair(lines[index]).map_or("", |(_, value)| value);
        if plain(old) == plain(new) || plain(new).contains(FILE_TOKEN) {
            continue;
        }
        let goes_on = lines.get(index + 1).is_some_and(|line| line.starts_with([' ', '\t', '-']));
        if goes_on && !lines[index + 1].trim().is_empty()
            || old.starts_with(['|', '>', '[', '{', '&', '*', '!'])
        {
            return Err(refused(Some((index + 1, 1)), format!("the value of `{key}` is not of one line")));
        }
        changes.push(Change { key: key.to_owned(), before: before(key, plain(old)) });
        lines[index] = line;
    }
    if changes.is_empty() {
        return Ok(Merged { text: text.to_owned(), changes });
    }
    let ended = |line: &str| format!("{}\n", line.trim_end_matches(['\r', '\n']));
    // A changed line lost its end, and the last line may have none.
    let text = lines.iter().map(|line| if line.ends_with('\n') { (*line).to_owned() } else { ended(line) });
    let text = text.chain(appended.into_iter().map(ended)).collect();
    Ok(Merged { text, changes })
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
    if is_known { Ok(()) } else { Err("this line is no key with a value".to_owned()) }
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
