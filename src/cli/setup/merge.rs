//! Merges a snippet of configuration into the text of a file: its keys are set, and all else stays as it is, comments and
//! order included.
//!
//! It guarantees that merging a second time changes nothing, and that a text which it cannot parse is refused. Pure: it reads
//! and writes no file. Read next: `files`, which does.

mod json;
mod toml;
mod yaml;

/// The stand-in for a token in files. It never replaces a value, which may be a token.
pub(super) const FILE_TOKEN: &str = "YOUR-TOLLGATE-TOKEN";
/// The longest old value that is shown.
const MAX_SHOWN: usize = 60;

/// A language of files that snippets are merged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Json,
    Toml,
    Yaml,
}

/// The result of a merge.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    /// The new text.
    pub(super) text: String,
    /// The keys that were set, in the order of the snippet.
    pub(super) changes: Vec<Change>,
    /// The keys whose token stayed, since the snippet has only a stand-in for one.
    pub(super) kept: Vec<String>,
}

/// The keys that a merge looked at.
#[derive(Default)]
struct Keys {
    changes: Vec<Change>,
    kept: Vec<String>,
}

impl Keys {
    /// Decides about a key that has another value. Returns true if the new one replaces it. A stand-in replaces only an empty one.
    fn replaces(&mut self, key: &str, old: &str, new: &str) -> bool {
        let is_stand_in = new.contains(FILE_TOKEN);
        let is_kept = is_stand_in && !old.trim().is_empty();
        if is_kept {
            if !old.contains(FILE_TOKEN) {
                self.kept.push(key.to_owned());
            }
            return false;
        }
        let before = if is_stand_in { Before::Absent } else { before(key, old) };
        self.changes.push(Change { key: key.to_owned(), before });
        true
    }

    fn add(&mut self, key: &str) {
        self.changes.push(Change { key: key.to_owned(), before: Before::Absent });
    }

    fn merged(self, text: String) -> Merged {
        Merged { text, changes: self.changes, kept: self.kept }
    }
}

/// A key that was set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The key with those above it, with dots between them.
    pub(super) key: String,
    /// The value that it had.
    pub(super) before: Before,
}

/// The value that a key had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// It had none.
    Absent,
    /// A value that may be shown.
    Shown(String),
    /// A value that may be a secret.
    Hidden,
}

/// The reason why nothing was merged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MergeError {
    /// The snippet is not in its language.
    Snippet(String),
    /// The text cannot take it: the line and the column, if they are known, and the problem.
    Text { at: Option<(usize, usize)>, problem: String },
}

impl Language {
    /// The language of a step.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            "yaml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// Merges a snippet into a text. An empty text becomes the snippet.
pub(super) fn merge(language: Language, text: &str, snippet: &str) -> Result<Merged, MergeError> {
    let merge = match language {
        Language::Json => json::merge,
        Language::Toml => toml::merge,
        Language::Yaml => yaml::merge,
    };
    let mut merged = merge(text, snippet)?;
    if !merged.changes.is_empty() && has_crlf(text) {
        merged.text = merged.text.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    // A text of a shape that was not thought of is left alone.
    match merge(&merged.text, snippet) {
        Ok(again) if again.changes.is_empty() => Ok(merged),
        _ => Err(refused(None, "it has a shape that cannot be changed safely")),
    }
}

/// True if all lines end in CRLF.
fn has_crlf(text: &str) -> bool {
    text.contains("\r\n") && text.matches('\n').count() == text.matches("\r\n").count()
}

fn refused(at: Option<(usize, usize)>, problem: impl Into<String>) -> MergeError {
    MergeError::Text { at, problem: problem.into() }
}

/// The line and the column of a byte, from 1.
fn place(text: &str, at: usize) -> Option<(usize, usize)> {
    let before = text.get(..at)?;
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    Some((before.matches('\n').count() + 1, before[start..].chars().count() + 1))
}

/// The name of a key below another.
fn below(path: &str, key: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte);
    let key = if !key.is_empty() && key.bytes().all(is_plain) { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The old value of a key, as far as it may be shown: no secret, and of a URL the origin alone.
fn before(key: &str, value: &str) -> Before {
    let key = key.to_ascii_lowercase();
    let is_secret =
        ["key", "token", "secret", "auth", "password", "credential"].iter().any(|word| key.contains(word));
    if is_secret || value.contains('@') || value.len() > MAX_SHOWN {
        return Before::Hidden;
    }
    match value.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let more = if host.len() < rest.len() { "/..." } else { "" };
            Before::Shown(format!("{scheme}://{host}{more}"))
        }
        None if value.starts_with("sk-") || value.starts_with("tg_") || value.len() > 30 => Before::Hidden,
        None => Before::Shown(value.to_owned()),
    }
}

#[cfg(test)]
mod tests;
