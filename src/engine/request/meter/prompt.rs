//! Captured values of a request as valid JSON: one that was cut keeps its form, with all that is whole and the start of a
//! text.

use serde::de::IgnoredAny;

use super::{scanner::Captured, tally::bounded};

/// A captured value as valid JSON: one that is not valid becomes a string of what is there.
pub(super) fn json(value: &Captured) -> String {
    let text = str::from_utf8(&value.bytes).ok().map(str::to_owned);
    let text = if value.is_cut { Some(closed(&value.bytes)) } else { text };
    let valid = text.filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    valid.unwrap_or_else(|| serde_json::Value::from(bounded(&value.bytes, value.bytes.len())).to_string())
}

/// A value that was cut, closed: without the key, number or escape at its end that may be incomplete.
fn closed(bytes: &[u8]) -> String {
    let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let mut scan = Scan::default();
    for (at, byte) in valid.bytes().enumerate() {
        scan.read(byte, at + 1, valid.is_char_boundary(at + 1));
    }
    let mut text = valid[..scan.whole].to_owned();
    if scan.is_in_value() {
        text.push('"');
    }
    text.extend(scan.open.iter().rev());
    text
}

/// A scan for the last place where a value can be closed.
#[derive(Default)]
struct Scan {
    /// The ends of the open containers.
    open: Vec<char>,
    /// The length of what is whole.
    whole: usize,
    string: Option<Text>,
    /// The next string is a key.
    is_key: bool,
}

/// A string that has not ended.
#[derive(Default)]
struct Text {
    is_key: bool,
    /// The characters of an escape that are still to come.
    escape: usize,
    /// The escape at hand, up to its first digits.
    digits: u32,
    is_half: bool,
}

impl Scan {
    fn read(&mut self, byte: u8, end: usize, is_char: bool) {
        if let Some(text) = &mut self.string {
            let goes_on = text.read(byte);
            if !text.is_key && (!goes_on || is_char && text.is_whole()) {
                self.whole = end;
            }
            if !goes_on {
                self.string = None;
            }
            return;
        }
        match byte {
            b'"' => {
                self.string = Some(Text { is_key: self.is_key, ..Text::default() });
                if !self.is_key {
                    self.whole = end;
                }
            }
            b'{' | b'[' => {
                self.open.push(if byte == b'{' { '}' } else { ']' });
                (self.is_key, self.whole) = (byte == b'{', end);
            }
            b'}' | b']' => {
                self.open.pop();
                self.whole = end;
            }
            // What came before it is whole.
            b',' => (self.is_key, self.whole) = (self.open.last() == Some(&'}'), end - 1),
            b':' => self.is_key = false,
            _ => {}
        }
    }

    fn is_in_value(&self) -> bool {
        self.string.as_ref().is_some_and(|text| !text.is_key)
    }
}

impl Text {
    /// Reads the next byte. False at the end of the string.
    fn read(&mut self, byte: u8) -> bool {
        match (self.escape, byte) {
            (0, b'"') => return false,
            (0, b'\\') => self.escape = usize::MAX,
            (0, _) => self.is_half = false,
            (usize::MAX, b'u') => (self.escape, self.digits) = (4, 0),
            (usize::MAX, _) => (self.escape, self.is_half) = (0, false),
            (_, digit) => {
                self.escape -= 1;
                self.digits = self.digits << 4 | char::from(digit).to_digit(16).unwrap_or_default();
                if self.escape == 0 {
                    // Half of a pair of UTF-16 is no character.
                    self.is_half = (0xD800..0xDC00).contains(&self.digits);
                }
            }
        }
        true
    }

    /// True if no escape and no pair of escapes is open.
    fn is_whole(&self) -> bool {
        self.escape == 0 && !self.is_half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value after a cut, for every length.
    fn check(text: &str, expected: &[(&str, &str)]) {
        for (start, closed_text) in expected {
            assert!(text.starts_with(start), "{start}");
            assert_eq!(closed(start.as_bytes()), *closed_text, "{start}");
        }
        for length in 1..text.len() {
            let closed = closed(&text.as_bytes()[..length]);
            let value: Result<serde_json::Value, _> = serde_json::from_str(&closed);
            assert!(value.is_ok(), "{closed} of {}", String::from_utf8_lossy(&text.as_bytes()[..length]));
        }
    }

    #[test]
    fn what_is_cut_is_closed_at_every_length() {
        check(
            r#"[{"role":"user","content":"Hé\"l\u00e9\ud83d\ude00o"}, {"n": [12, {}], "x":{"y":true}}]"#,
            &[
                ("[", "[]"),
                (r#"[{"ro"#, "[{}]"),
                (r#"[{"role":"#, "[{}]"),
                (r#"[{"role":"us"#, r#"[{"role":"us"}]"#),
                (r#"[{"role":"user","#, r#"[{"role":"user"}]"#),
                (r#"[{"role":"user","content":"Hé\"#, r#"[{"role":"user","content":"Hé"}]"#),
                (r#"[{"role":"user","content":"Hé\"l\u00"#, r#"[{"role":"user","content":"Hé\"l"}]"#),
                (
                    r#"[{"role":"user","content":"Hé\"l\u00e9\ud83d\u"#,
                    r#"[{"role":"user","content":"Hé\"l\u00e9"}]"#,
                ),
                (
                    r#"[{"role":"user","content":"Hé\"l\u00e9\ud83d\ude00o"}, {"n": [12, {}"#,
                    r#"[{"role":"user","content":"Hé\"l\u00e9\ud83d\ude00o"}, {"n": [12, {}]}]"#,
                ),
                (
                    r#"[{"role":"user","content":"Hé\"l\u00e9\ud83d\ude00o"}, {"n": [1"#,
                    r#"[{"role":"user","content":"Hé\"l\u00e9\ud83d\ude00o"}, {"n": []}]"#,
                ),
            ],
        );
        check(r#""a text""#, &[(r#""a t"#, r#""a t""#)]);
    }

    #[test]
    fn what_is_no_json_is_a_string() {
        let json = |bytes: &[u8], is_cut| {
            json(&Captured { entry: 0, bytes: bytes.to_vec(), is_cut, is_prompt: true })
        };
        assert_eq!(json(br#"{"a":1}"#, false), r#"{"a":1}"#);
        assert_eq!(json(b"[1,2", true), "[1]");
        assert_eq!(json(b"[1}, 2", true), r#""[1}, 2""#);
        assert_eq!(json(b"nul", true), r#""nul""#);
    }
}
