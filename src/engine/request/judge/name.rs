//! Names of keys, and those that some parsers take for them.
//!
//! It guarantees: a name that no function here calls a look-alike is read as the key by no parser that compares without case
//! (Unicode simple folding, or the upper and lower case of each character), or ends strings at NUL; in forms and queries, also
//! by none that trims names, reads brackets as arrays, or replaces characters by `_`.

use crate::language::compile::metering::places::Places;

/// True if some parsers take the key of an object for that name. The same name is none: compare it before.
pub(super) fn is_like(key: &str, name: &str) -> bool {
    let (text, has_nul) = key.split_once('\0').map_or((key, false), |(text, _)| (text, true));
    // Each character of the key stands for one of the name, which is ASCII.
    (has_nul || key != name) && equals_folded(text, name)
}

/// True if some parsers take the field of a form for that name. The same name is none.
pub(super) fn is_field_like(field: &str, name: &str) -> bool {
    let text = field.split('\0').next().unwrap_or_default().trim();
    let front = text.split(['[', '.']).next().unwrap_or_default().trim_end();
    field != name && [text, front].into_iter().any(|one| equals_folded(&mangled(one), &mangled(name)))
}

/// True if the query names the model: it could be read in place of the body's.
pub fn query_names_model(query: Option<&str>, places: &Places) -> bool {
    let Some(query) = query else { return false };
    query.split(['&', ';', '?']).any(|pair| {
        let field = decoded(pair.split('=').next().unwrap_or_default());
        places.model_keys().any(|name| field == name || is_field_like(&field, name))
    })
}

fn equals_folded(text: &str, name: &str) -> bool {
    let folded = name.chars().map(|one| one.to_ascii_lowercase());
    text.chars().map(folded_char).eq(folded)
}

/// The lower-case ASCII letter that some comparison takes a character for.
fn folded_char(one: char) -> char {
    match one {
        // LATIN SMALL LETTER LONG S, KELVIN SIGN: simple folding.
        '\u{17F}' => 's',
        '\u{212A}' => 'k',
        // LATIN CAPITAL LETTER I WITH DOT ABOVE, LATIN SMALL LETTER DOTLESS I: comparison by upper and lower case.
        '\u{130}' | '\u{131}' => 'i',
        _ => one.to_ascii_lowercase(),
    }
}

/// The name with the characters that some parsers of forms replace.
fn mangled(name: &str) -> String {
    name.replace(['.', ' ', '['], "_")
}

/// A part of a query without its escapes. What is no escape stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = bytes.get(at + 1..at + 3).and_then(|digits| Some((hex(digits[0])?, hex(digits[1])?)));
        match (byte, escape) {
            (b'%', Some((high, low))) => {
                out.push(high << 4 | low);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
