//! Texts that people give: names of users and of tokens, and notes of addresses.

use thiserror::Error;

use crate::name::UserId;

const MAX_NAME_CHARS: usize = 100;

/// A user's name or a token's label: 1 to 100 printable characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(pub(super) String);

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadName {
    /// Empty or too long.
    #[error("a name has 1 to {MAX_NAME_CHARS} characters")]
    Length,
    /// An unprintable character, or blanks at an end.
    #[error("a name has printable characters only, and no blanks at its ends")]
    Character,
    /// It looks like an id.
    #[error("a name cannot look like a user id: choose another")]
    LooksLikeId,
}

impl DisplayName {
    /// The name, if it is well-formed.
    pub fn new(text: &str) -> Result<Self, BadName> {
        if !(1..=MAX_NAME_CHARS).contains(&text.chars().count()) {
            return Err(BadName::Length);
        }
        if text.trim() != text || !text.chars().all(is_printable) {
            return Err(BadName::Character);
        }
        if UserId::new(text).is_some() {
            return Err(BadName::LooksLikeId);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A note of a user's address: at most 100 printable characters. It restricts nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressNote(pub(super) String);

/// Why a note is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a note has at most {MAX_NAME_CHARS} characters, all of them printable")]
pub struct BadNote;

impl AddressNote {
    /// The note, if it is well-formed.
    pub fn new(text: &str) -> Result<Self, BadNote> {
        let good = text.chars().count() <= MAX_NAME_CHARS && text.chars().all(is_printable);
        good.then(|| Self(text.to_owned())).ok_or(BadNote)
    }

    /// The note as text.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// True if it is neither a control character nor one that hides or reorders its neighbours.
pub fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}
