//! A secret string inside a JSON document, read without leaving a copy in memory.

use std::{borrow::Cow, ops::Deref};

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// Borrows from the document. A string with escapes has to be copied; the copy is zeroed when it is dropped.
///
/// A type of its own, since serde does not borrow for an `Option<Cow<str>>`.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct JsonSecret<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> From<&'a str> for JsonSecret<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for JsonSecret<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl Deref for JsonSecret<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for JsonSecret<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.0 {
            text.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        token: Option<JsonSecret<'a>>,
    }

    #[test]
    fn only_a_string_with_escapes_is_copied() {
        let check = |json: &str, expected: &str, is_copied: bool| {
            let document: Document<'_> = serde_json::from_str(json).unwrap();
            let token = document.token.unwrap();
            assert_eq!((&*token, matches!(token.0, Cow::Owned(_))), (expected, is_copied), "{json}");
        };
        check(r#"{"token":"abc"}"#, "abc", false);
        check(r#"{"token":"a\"c"}"#, "a\"c", true);
        let absent = |json: &str| serde_json::from_str::<Document<'_>>(json).unwrap().token.is_none();
        assert!(absent(r#"{"token":null}"#) && absent("{}"));
    }
}
