//! Finds the caller's token in a client's headers, query and path, under any name and in any of the encodings that
//! servers undo: as it is, percent-encoded, in base64, with quoted pairs, and these within each other.
//!
//! It guarantees: text without a hit holds the token in none of these forms. It never sees a body. Pure; it allocates only
//! for text that is at least as long as the token and has an escape or a long base64 word.

use std::fmt;

use http::HeaderName;
use zeroize::Zeroizing;

use crate::base::secret::Secret;

/// The shortest token that is searched for, in bytes: a shorter one occurs in other text by chance. tollgate's own tokens
/// are longer; an imported one may not be.
pub const MIN_TOKEN: usize = 8;
/// The shortest part after a token's last `-` that is searched for instead of the whole, in bytes: the rest may be a
/// vendor's prefix, without which the token is as good.
const MIN_LAST_PART: usize = 16;
/// Encodings within each other that are undone. Percent-encoding counts once, however often it was applied.
const MAX_LAYERS: Layers = Layers { all: 3, base64: 2 };

/// The encodings that may still be undone. Each base64 word is decoded four times, which has to have a bound.
#[derive(Clone, Copy)]
struct Layers {
    all: usize,
    /// Those of them that may be base64.
    base64: usize,
}

/// A search for one token. Without a token it finds nothing.
#[derive(Clone, Copy)]
pub struct TokenSearch<'t>(Option<&'t [u8]>);

impl<'t> TokenSearch<'t> {
    /// A search for the token as the client presented it.
    pub fn new(token: Option<&'t Secret>) -> Self {
        let searched = token.map(|token| {
            let whole = token.expose();
            let last = whole.rsplit_once('-').map(|(_, last)| last);
            last.filter(|last| last.len() >= MIN_LAST_PART).unwrap_or(whole)
        });
        Self(searched.filter(|text| text.len() >= MIN_TOKEN).map(str::as_bytes))
    }

    /// True if the text holds the token. Case is ignored.
    pub fn is_in(self, text: &[u8]) -> bool {
        self.0.is_some_and(|token| {
            // No encoding is shorter than what it encodes. This is the only test for nearly all text.
            text.len() >= token.len() && is_in_field(text, token)
        })
    }

    /// True if a header of this name and value holds it.
    pub fn is_in_header(self, name: &HeaderName, value: &[u8]) -> bool {
        self.is_in(value) || self.is_in(name.as_str().as_bytes())
    }
}

impl fmt::Debug for TokenSearch<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenSearch(***)")
    }
}

/// Quoted pairs belong to a field's own syntax, so that they are the outermost encoding.
fn is_in_field(text: &[u8], token: &[u8]) -> bool {
    is_in(text, token, MAX_LAYERS)
        || text.contains(&b'\\') && is_in(&without_quoted_pairs(text), token, MAX_LAYERS)
}

fn is_in(text: &[u8], token: &[u8], layers: Layers) -> bool {
    text.len() >= token.len() && (contains(text, token) || is_encoded_in(text, token, layers))
}

fn contains(text: &[u8], token: &[u8]) -> bool {
    let Some((first, last_start)) = token.first().zip(text.len().checked_sub(token.len())) else {
        return false;
    };
    let starts = text[..=last_start].iter().enumerate().filter(|(_, byte)| byte.eq_ignore_ascii_case(first));
    starts.map(|(at, _)| &text[at..at + token.len()]).any(|part| part.eq_ignore_ascii_case(token))
}

fn is_encoded_in(text: &[u8], token: &[u8], layers: Layers) -> bool {
    let Some(all) = layers.all.checked_sub(1) else { return false };
    let layers = Layers { all, ..layers };
    let percent = percent_decoded(text, Times::Once);
    // A token may begin with hex digits that a stray `%` before it would take, so that both are tried.
    let nested = percent.as_ref().and_then(|once| percent_decoded(once, Times::All));
    [percent, nested].into_iter().flatten().any(|decoded| is_in(&decoded, token, layers))
        || layers.base64.checked_sub(1).is_some_and(|base64| {
            let layers = Layers { base64, ..layers };
            let decoded = |word: &[u8]| is_in(&base64_decoded(word), token, layers);
            // A word may begin before what is encoded: then one of the four decodings is the right one.
            base64_words(text, token.len()).any(|word| (0..4).any(|at| decoded(&word[at..])))
        })
}

/// Decoded text. It may hold the token.
type Decoded = Zeroizing<Vec<u8>>;

/// The number of times that percent-encoding is undone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Once,
    /// Until nothing is left to decode.
    All,
}

/// None if there is nothing to decode.
fn percent_decoded(text: &[u8], times: Times) -> Option<Decoded> {
    if !text.contains(&b'%') || !text.windows(3).any(|three| last_escape(three).is_some()) {
        return None;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    // Bytes before this one are not decoded any further.
    let mut fixed = 0;
    for byte in text {
        out.push(*byte);
        while let Some(byte) = last_escape(&out[fixed..]) {
            let start = out.len() - 3;
            out.truncate(start);
            out.push(byte);
            if times == Times::Once {
                fixed = out.len();
            }
        }
    }
    Some(out)
}

/// The byte of the `%XX` that the text ends with.
fn last_escape(text: &[u8]) -> Option<u8> {
    let [.., b'%', high, low] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// The text without the backslashes of quoted pairs (RFC 9110, section 5.6.4).
fn without_quoted_pairs(text: &[u8]) -> Decoded {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        out.push(if *byte == b'\\' { *rest.next().unwrap_or(byte) } else { *byte });
    }
    out
}

/// The value of each byte as a digit of base64, in the standard and in the URL-safe alphabet; `NO_DIGIT` for no digit.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < 64 {
        digits[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    digits[b'-' as usize] = 62;
    digits[b'_' as usize] = 63;
    digits
};
const NO_DIGIT: u8 = 64;

/// The words of base64 digits that are long enough to encode so many bytes.
fn base64_words(text: &[u8], bytes: usize) -> impl Iterator<Item = &[u8]> {
    let words = text.split(|byte| DIGITS[usize::from(*byte)] == NO_DIGIT);
    words.filter(move |word| word.len() >= (bytes * 4).div_ceil(3))
}

/// The whole bytes that a word encodes.
fn base64_decoded(word: &[u8]) -> Decoded {
    let mut out = Zeroizing::new(Vec::with_capacity(word.len()));
    let (mut held, mut bits) = (0_u32, 0);
    for byte in word {
        held = held << 6 | u32::from(DIGITS[usize::from(*byte)]);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits & 0xff) as u8);
        }
    }
    out
}

#[cfg(test)]
mod tests;
