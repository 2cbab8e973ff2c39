//! Finds the caller's token in a client's headers, query and path, under any name and in any of the encodings that
//! servers undo: as it is, percent-encoded, in base64, in JSON strings, with quoted pairs, and these within each other.
//!
//! It guarantees: text without a hit holds the token in none of these forms; its work is linear in the text. It never sees
//! a body. Pure; it allocates only for text that is at least as long as the token and has an escape or a long base64 word.
//!
//! Read next: `decode`, the encodings.

mod decode;

use std::{cell::Cell, fmt};

use http::HeaderName;
use zeroize::Zeroizing;

use super::token::{GENERATED_LEN, is_generated};
use crate::base::secret::Secret;
use decode::{
    Decoded, Times, base64_decoded, form_decoded, percent_decoded, unescaped, without_quoted_pairs,
};

/// The shortest token that is searched for, in bytes: a shorter one occurs in other text by chance. tollgate's own tokens
/// are longer; an imported one may not be.
pub const MIN_TOKEN: usize = 8;
/// The most bytes of a secret that are searched for in short texts.
const MAX_START: usize = 32;
/// Encodings within each other that are undone. Percent-encoding counts once, however often it was applied.
const MAX_LAYERS: Layers = Layers { all: 3, base64: 2 };
/// The most bytes that are decoded for each byte of text. Text that needs more counts as if it held the token: only text
/// that mixes all encodings on purpose does.
const MAX_DECODED: usize = 32;

/// The encodings that may still be undone. Each base64 word is decoded four times, which has to have a bound.
#[derive(Clone, Copy)]
struct Layers {
    all: usize,
    /// Those of them that may be base64.
    base64: usize,
}

/// A search for one token, or for any generated token. Without a token it finds nothing.
#[derive(Clone, Copy)]
pub struct TokenSearch<'t>(Option<Needle<'t>>);

/// The start of a secret: enough to find it in a short text, which may be cut before the secret's end.
#[derive(Clone)]
pub struct SecretStart {
    bytes: Zeroizing<[u8; MAX_START]>,
    length: usize,
}

impl SecretStart {
    /// The start of this secret. None if it is too short to search for.
    pub fn of(secret: &Secret) -> Option<Self> {
        let secret = secret.expose().as_bytes();
        let length = secret.len().min(MAX_START);
        let mut bytes = Zeroizing::new([0; MAX_START]);
        bytes[..length].copy_from_slice(&secret[..length]);
        (length >= MIN_TOKEN).then_some(Self { bytes, length })
    }

    /// True if the text holds it as it is: no encoding is undone, since that costs more than a warm request may.
    pub fn is_in(&self, text: &[u8]) -> bool {
        contains(text, &self.bytes[..self.length])
    }
}

impl fmt::Debug for SecretStart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretStart(***)")
    }
}

/// The text that is searched for.
#[derive(Clone, Copy)]
enum Needle<'t> {
    /// This token.
    Token(&'t [u8]),
    /// Any token of the form of those that tollgate generates.
    Generated,
}

impl<'t> TokenSearch<'t> {
    /// A search for this token, without a vendor's prefix.
    pub fn new(token: Option<&'t Secret>) -> Self {
        Self::of_text(token.map(Secret::expose))
    }

    pub(in crate::request) fn of_text(token: Option<&'t str>) -> Self {
        Self(token.filter(|token| token.len() >= MIN_TOKEN).map(|token| Needle::Token(token.as_bytes())))
    }

    /// A search for any token that tollgate has generated, valid or not.
    pub fn generated() -> Self {
        Self(Some(Needle::Generated))
    }

    /// True if the text holds the token. Case is ignored, and `_` and `-` count as equal: many servers treat them alike in
    /// names.
    pub fn is_in(self, text: &[u8]) -> bool {
        // No encoding is shorter than what it encodes. This is the only test for nearly all text.
        let needle = self.0.filter(|needle| text.len() >= needle.len());
        needle.is_some_and(|needle| Search::new(needle, text).is_in_field(text))
    }

    /// True if a header of this name and value holds it.
    pub fn is_in_header(self, name: &HeaderName, value: &[u8]) -> bool {
        self.is_in(value) || self.is_in(name.as_str().as_bytes())
    }

    /// True if a query, or a part of one, holds it. In a form, `+` is a space.
    pub fn is_in_query(self, query: &[u8]) -> bool {
        self.is_in(query) || self.0.is_some() && query.contains(&b'+') && self.is_in(&form_decoded(query))
    }
}

impl fmt::Debug for TokenSearch<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenSearch(***)")
    }
}

impl Needle<'_> {
    fn len(self) -> usize {
        match self {
            Self::Token(token) => token.len(),
            Self::Generated => GENERATED_LEN,
        }
    }

    /// True if the text holds it as it is.
    fn is_in(self, text: &[u8]) -> bool {
        match self {
            Self::Token(token) => contains(text, token),
            Self::Generated => text.windows(self.len()).any(is_generated),
        }
    }
}

fn contains(text: &[u8], token: &[u8]) -> bool {
    let Some(first) = token.first().map(|byte| folded(*byte)) else { return false };
    let is_token = |part: &[u8]| part.iter().zip(token).all(|(one, other)| folded(*one) == folded(*other));
    text.windows(token.len()).any(|part| folded(part[0]) == first && is_token(part))
}

/// Equal for bytes that count as equal.
fn folded(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

/// One search of one text.
struct Search<'t> {
    needle: Needle<'t>,
    /// The bytes that may still be decoded.
    left: Cell<usize>,
}

impl<'t> Search<'t> {
    fn new(needle: Needle<'t>, text: &[u8]) -> Self {
        Self { needle, left: Cell::new(text.len().saturating_mul(MAX_DECODED)) }
    }

    /// Quoted pairs belong to a field's own syntax, so that they are the outermost encoding.
    fn is_in_field(&self, text: &[u8]) -> bool {
        self.is_in(text, MAX_LAYERS)
            || without_quoted_pairs(text).is_some_and(|decoded| self.is_in_decoded(&decoded, MAX_LAYERS))
    }

    fn is_in(&self, text: &[u8], layers: Layers) -> bool {
        text.len() >= self.needle.len() && (self.needle.is_in(text) || self.is_encoded_in(text, layers))
    }

    /// True if decoded text holds the token, or if too much was decoded.
    fn is_in_decoded(&self, decoded: &Decoded, layers: Layers) -> bool {
        let left = self.left.get().checked_sub(decoded.len());
        self.left.set(left.unwrap_or_default());
        left.is_none() || self.is_in(decoded, layers)
    }

    fn is_encoded_in(&self, text: &[u8], layers: Layers) -> bool {
        let Some(all) = layers.all.checked_sub(1) else { return false };
        let layers = Layers { all, ..layers };
        self.is_percent_encoded_in(text, layers)
            || unescaped(text).is_some_and(|decoded| self.is_in_decoded(&decoded, layers))
            || self.is_in_base64(text, layers)
    }

    fn is_percent_encoded_in(&self, text: &[u8], layers: Layers) -> bool {
        let Some(once) = percent_decoded(text, Times::Once) else { return false };
        match percent_decoded(&once, Times::All) {
            None => self.is_in_decoded(&once, layers),
            // A token may begin with hex digits that a stray `%` before it would take, so that both are tried.
            Some(nested) => self.needle.is_in(&once) || self.is_in_decoded(&nested, layers),
        }
    }

    fn is_in_base64(&self, text: &[u8], layers: Layers) -> bool {
        let Some(base64) = layers.base64.checked_sub(1) else { return false };
        let layers = Layers { base64, ..layers };
        // A word may begin before what is encoded: then one of the four decodings is the right one.
        let mut decodings = (0..4).map_while(|skipped| base64_decoded(text, self.needle.len(), skipped));
        decodings.any(|decoded| self.is_in_decoded(&decoded, layers))
    }
}

#[cfg(test)]
mod tests;
