//! Names as newtypes, so that a provider's name is not passed where a user's id is meant.
//! A name that exists is well-formed: the constructors are the only check.

use std::{fmt, sync::Arc};

/// The name of a provider, preset, gateway or api: its file's stem, `[a-z0-9][a-z0-9-]*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Arc<str>);

impl FileName {
    /// Longest name, in bytes. It stands in paths, metrics and log lines.
    pub const MAX_LEN: usize = 64;

    /// The name, if `stem` is well-formed.
    pub fn new(stem: &str) -> Option<Self> {
        let mut bytes = stem.bytes();
        let first = bytes.next()?;
        let lower_or_digit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let good = lower_or_digit(first)
            && bytes.all(|b| lower_or_digit(b) || b == b'-')
            && stem.len() <= Self::MAX_LEN;
        good.then(|| Self(stem.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The id of a user: `usr_` and 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// The id, if `text` is well-formed.
    pub fn new(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("usr_")?;
        let good = hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        good.then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names() {
        let check = |stem: &str, good: bool| assert_eq!(FileName::new(stem).is_some(), good, "{stem}");
        for good in ["a", "0", "open-ai", "gpt4-", &"x".repeat(64)] {
            check(good, true);
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "é", "a/b", &"x".repeat(65)] {
            check(bad, false);
        }
    }

    #[test]
    fn user_ids() {
        let check = |text: &str, good: bool| assert_eq!(UserId::new(text).is_some(), good, "{text}");
        check("usr_0123456789abcdef", true);
        for bad in ["", "usr_", "usr_0123456789ABCDEF", "usr_0123456789abcde", "usr_0123456789abcdef0"] {
            check(bad, false);
        }
    }
}
