//! The encodings that a search undoes. A token is printable ASCII, so that other characters only have to stay between the
//! others: no decoder has to get them right.

use zeroize::Zeroizing;

/// Decoded text. It may hold the token.
pub(super) type Decoded = Zeroizing<Vec<u8>>;

/// The number of times that percent-encoding is undone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    /// Until nothing is left to decode.
    All,
}

/// None if there is nothing to decode.
pub(super) fn percent_decoded(text: &[u8], times: Times) -> Option<Decoded> {
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
    hex_value(&[*high, *low]).and_then(|value| u8::try_from(value).ok())
}

/// The value of up to eight hex digits.
fn hex_value(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

/// The query with the spaces of a form.
pub(super) fn form_decoded(query: &[u8]) -> Decoded {
    Zeroizing::new(query.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect())
}

/// The text without the backslashes of quoted pairs (RFC 9110, section 5.6.4); none if it has none.
pub(super) fn without_quoted_pairs(text: &[u8]) -> Option<Decoded> {
    backslashes_undone(text, |kind, _| (kind, 0))
}

/// The text with the escapes of JSON strings undone (RFC 8259, section 7), and `\xHH` of other languages; none if it has
/// none.
pub(super) fn unescaped(text: &[u8]) -> Option<Decoded> {
    backslashes_undone(text, |kind, after| {
        let digits = match kind {
            b'u' => 4,
            b'x' => 2,
            // Whichever it is: it is no part of a token, and separates lines of base64.
            b'b' | b'f' | b'n' | b'r' | b't' => return (b' ', 0),
            _ => return (kind, 0),
        };
        match after.get(..digits).and_then(hex_value) {
            Some(value) => (u8::try_from(value).ok().filter(u8::is_ascii).unwrap_or(b'?'), digits),
            None => (kind, 0),
        }
    })
}

/// The text with each backslash and the byte after it replaced by `one(byte, rest)`: a byte, and how many of the rest
/// belong to the escape.
fn backslashes_undone(text: &[u8], one: impl Fn(u8, &[u8]) -> (u8, usize)) -> Option<Decoded> {
    if !text.contains(&b'\\') {
        return None;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if let (b'\\', Some((kind, after))) = (*byte, rest.split_first()) {
            let (decoded, used) = one(*kind, after);
            out.push(decoded);
            rest = &after[used..];
        } else {
            out.push(*byte);
        }
    }
    Some(out)
}

/// The value of each byte as a digit of base64, in the standard and in the URL-safe alphabet; `BLANK` for what may stand
/// between lines, `NO_DIGIT` for all else.
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
    let blanks = b" \t\r\n";
    let mut index = 0;
    while index < blanks.len() {
        digits[blanks[index] as usize] = BLANK;
        index += 1;
    }
    digits
};
const BLANK: u8 = 64;
const NO_DIGIT: u8 = 65;

fn digit(byte: u8) -> u8 {
    DIGITS[usize::from(byte)]
}

/// The words of base64 digits that are long enough to encode so many bytes. A word may have several lines (RFC 2045,
/// section 6.8), whose ends may have become spaces.
fn base64_words(text: &[u8], bytes: usize) -> impl Iterator<Item = &[u8]> {
    let least = (bytes * 4).div_ceil(3);
    let digits = |word: &[u8]| word.iter().filter(|byte| digit(**byte) < BLANK).count();
    text.split(|byte| digit(*byte) == NO_DIGIT)
        .filter(move |word| word.len() >= least && digits(word) >= least)
}

/// The whole bytes that these words encode, each without its first `skipped` digits, and NUL after each; none if there is
/// no such word. In a word, NUL is left out: in UTF-16 it stands beside each ASCII character.
pub(super) fn base64_decoded(text: &[u8], bytes: usize, skipped: usize) -> Option<Decoded> {
    let mut words = base64_words(text, bytes).peekable();
    words.peek()?;
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    for word in words {
        let (mut held, mut bits) = (0_u32, 0);
        for value in word.iter().map(|byte| digit(*byte)).filter(|value| *value < BLANK).skip(skipped) {
            held = held << 6 | u32::from(value);
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                let byte = (held >> bits & 0xff) as u8;
                if byte != 0 {
                    out.push(byte);
                }
            }
        }
        out.push(0);
    }
    Some(out)
}
