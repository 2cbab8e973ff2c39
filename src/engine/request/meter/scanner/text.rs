//! Strings of JSON: their end, and their escapes.

use memchr::memchr2;

/// The place of the first `"` or `\` from a place on, or else the end of the bytes.
#[inline]
pub(super) fn quote_or_escape(bytes: &[u8], from: usize) -> usize {
    /// Longer strings are worth the call of a search in vectors.
    const NEAR: usize = 16;
    let mut at = from;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        if at - from >= NEAR {
            return at + memchr2(b'"', b'\\', &bytes[at..]).unwrap_or(bytes.len() - at);
        }
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ each(b'"')) | zeros(word ^ each(b'\\'));
        if found != 0 {
            return at + (found.trailing_zeros() >> 3) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len())
}

/// A byte in each place of a word.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The high bit of each byte that is zero. The lowest such bit is exact; above it there may be others.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(each(1)) & !word & each(0x80)
}

/// The character of an escape of one character.
#[inline]
pub(super) fn simple(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' | b'/' => byte,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    })
}

/// The state of an escape.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unescape {
    stage: Stage,
    /// The digits of `\u` so far.
    unit: u16,
    /// The first half of a surrogate pair whose second half may follow; none: 0.
    high: u16,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Outside,
    Backslash,
    Digits(u8),
}

impl Unescape {
    /// True within an escape.
    pub(super) fn is_open(self) -> bool {
        self.stage != Stage::Outside
    }

    /// True after the first half of a surrogate pair.
    #[inline]
    pub(super) fn is_in_pair(self) -> bool {
        self.high != 0
    }

    /// A backslash.
    pub(super) fn open(&mut self) {
        self.stage = Stage::Backslash;
    }

    /// The next byte of an escape. False if it is none.
    pub(super) fn push(&mut self, byte: u8, emit: &mut impl FnMut(char)) -> bool {
        if let Stage::Digits(count) = self.stage {
            let Some(digit) = char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok())
            else {
                return false;
            };
            self.unit = (self.unit << 4) | digit;
            self.stage = Stage::Digits(count + 1);
            if count == 3 {
                self.stage = Stage::Outside;
                self.unit_ended(emit);
            }
            return true;
        }
        if byte == b'u' {
            (self.stage, self.unit) = (Stage::Digits(0), 0);
            return true;
        }
        let Some(one) = simple(byte) else { return false };
        self.stage = Stage::Outside;
        self.flush(emit);
        emit(char::from(one));
        true
    }

    /// Ends a surrogate pair without its second half.
    pub(super) fn flush(&mut self, emit: &mut impl FnMut(char)) {
        if core::mem::take(&mut self.high) != 0 {
            emit(char::REPLACEMENT_CHARACTER);
        }
    }

    fn unit_ended(&mut self, emit: &mut impl FnMut(char)) {
        if self.high != 0 && (0xDC00..0xE000).contains(&self.unit) {
            let pair = [core::mem::take(&mut self.high), self.unit];
            char::decode_utf16(pair).flatten().for_each(emit);
            return;
        }
        self.flush(emit);
        if (0xD800..0xDC00).contains(&self.unit) {
            self.high = self.unit;
        } else {
            emit(char::from_u32(u32::from(self.unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_string_is_found_at_every_distance() {
        for length in 0..80 {
            for special in [b'"', b'\\'] {
                for filler in [b'a', 0xFF, 0, 0x21, 0x23, 0x5B, 0x5D] {
                    let mut bytes = vec![filler; length];
                    assert_eq!(quote_or_escape(&bytes, 0), length);
                    bytes.push(special);
                    bytes.extend([special; 9]);
                    assert_eq!(quote_or_escape(&bytes, 0), length);
                    assert_eq!(quote_or_escape(&bytes, length / 2), length);
                }
            }
        }
        assert_eq!(quote_or_escape(b"", 0), 0);
    }

    #[test]
    fn escapes_become_characters() {
        let check = |escaped: &str, expected: Option<&str>| {
            let mut text = String::new();
            let mut unescape = Unescape::default();
            let mut is_good = true;
            for byte in escaped.bytes() {
                if unescape.is_open() {
                    is_good &= unescape.push(byte, &mut |one| text.push(one));
                } else {
                    unescape.open();
                }
            }
            unescape.flush(&mut |one| text.push(one));
            assert_eq!(is_good.then_some(text.as_str()), expected, "{escaped}");
        };
        check(r#"\"\\\/\b\f\n\r\t"#, Some("\"\\/\u{8}\u{c}\n\r\t"));
        check(r"\u0041\u00e9\u20AC", Some("Aé€"));
        check(r"\ud83d\ude00", Some("😀"));
        check(r"\ud83d", Some("\u{fffd}"));
        check(r"\ud83d\n", Some("\u{fffd}\n"));
        check(r"\ude00", Some("\u{fffd}"));
        check(r"\ud83d\ud83d\ude00", Some("\u{fffd}😀"));
        check(r"\x", None);
        check(r"\u00g0", None);
    }
}
