//! Texts as tools and editors write them: line ends, byte order marks, quotes, invisible characters.
//!
//! [`line()`] removes the two that are unambiguous. [`defect`] finds the others, which are refused: a path, a name or a
//! value with one is not what its author meant. No message contains the text itself.

use std::fmt;

/// The byte order mark of UTF-8, as a character.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Pairs of quotes that tools keep around a value.
const QUOTES: [(char, char); 7] =
    [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('„', '“'), ('‘', '’'), ('«', '»')];

/// A defect of a text. Displayed, it is the rest of a sentence about the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Only white space.
    Blank,
    /// A byte order mark at the start.
    ByteOrderMark,
    /// A carriage return at the end.
    CarriageReturn,
    /// A control character or an invisible one, and its position, from one.
    Invisible(char, usize),
    /// A space at the start.
    LeadingSpace,
    /// A space at the end.
    TrailingSpace,
    /// Quotes around the text.
    Quoted,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("holds white space only: write a value"),
            Self::ByteOrderMark => f.write_str("begins with a byte order mark: save it as UTF-8 without one"),
            Self::CarriageReturn => f.write_str(
                "ends with a carriage return: the file that sets it has CRLF line ends, and `sed -i 's/\\r$//' FILE` converts it",
            ),
            Self::Invisible(one, position) if one.is_control() => {
                write!(f, "has the control character U+{:04X} at position {position}: remove it", u32::from(*one))
            }
            Self::Invisible(one, position) => write!(
                f,
                "has the invisible character U+{:04X} at position {position}: type it again, without",
                u32::from(*one)
            ),
            Self::LeadingSpace => f.write_str("begins with a space: remove it"),
            Self::TrailingSpace => f.write_str("ends with a space: remove it"),
            Self::Quoted => f.write_str("is in quotes, which `docker --env-file` keeps: remove them"),
        }
    }
}

/// The first defect of a text that stands on one line. An empty text has none.
pub fn defect(text: &str) -> Option<Defect> {
    let (first, last) = (text.chars().next()?, text.chars().next_back()?);
    if text.chars().all(char::is_whitespace) {
        return Some(Defect::Blank);
    }
    if first == BYTE_ORDER_MARK {
        return Some(Defect::ByteOrderMark);
    }
    if let Some((index, one)) = text.chars().enumerate().find(|(_, one)| is_invisible(*one)) {
        let at_end = one == '\r' && text.trim_end_matches(['\r', '\n']).chars().count() == index;
        return Some(if at_end { Defect::CarriageReturn } else { Defect::Invisible(one, index + 1) });
    }
    match (first, last) {
        (' ', _) => Some(Defect::LeadingSpace),
        (_, ' ') => Some(Defect::TrailingSpace),
        _ if text.chars().nth(1).is_some() && QUOTES.contains(&(first, last)) => Some(Defect::Quoted),
        _ => None,
    }
}

/// A text without its encoding mark and its line end, as editors and `echo` write them: at most one of each. A lone CR is
/// the rest of a CRLF whose LF the reader of the lines took.
pub fn line(text: &str) -> &str {
    let text = without_mark(text);
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// A text without the byte order mark at its start.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// A pasted document without what surrounds it: a byte order mark, white space, a code fence.
pub fn document(text: &str) -> &str {
    let blank = |one: char| one.is_whitespace() || is_invisible(one);
    let text = text.trim_matches(blank);
    let fenced = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    let inner = fenced.and_then(|text| text.split_once('\n')).map(|(_, inner)| inner);
    inner.unwrap_or(text).trim_matches(blank)
}

/// The first character of a pasted document that JSON and TOML do not have outside of strings, and that programs put
/// there: typographic quotes, invisible characters. As a part of a sentence, with line and column.
pub fn odd_character(text: &str) -> Option<String> {
    let is_quote = |one: char| matches!(one, '‘'..='‟' | '«' | '»');
    let is_line_end = |one: char| matches!(one, '\n' | '\r' | '\t');
    let odd = |one: char| is_quote(one) || is_invisible(one) && !is_line_end(one);
    let (row, line) = text.split('\n').enumerate().find(|(_, line)| line.contains(odd))?;
    let (column, one) = line.chars().enumerate().find(|(_, one)| odd(*one))?;
    let what = if is_quote(one) { "typographic quote" } else { "invisible character" };
    let code = u32::from(one);
    Some(format!("the {what} U+{code:04X} stands at line {}, column {}", row + 1, column + 1))
}

/// The reason why bytes are no UTF-8, as the rest of a sentence.
pub fn not_utf8(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "is UTF-16, as PowerShell writes it, and not UTF-8",
        _ => "is not UTF-8",
    }
}

/// True for control characters, all white space but the plain space, and characters without width.
fn is_invisible(one: char) -> bool {
    let without_width = matches!(
        one,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | BYTE_ORDER_MARK | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    );
    one.is_control() || without_width || one.is_whitespace() && one != ' '
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defects() {
        let check = |text: &str, expected: Option<Defect>| assert_eq!(defect(text), expected, "{text:?}");
        for good in
            ["", "data", "/a b/c", "say \"x\"", "\"", "\"a\" and b", "größe", "#!$%&'()*+,-./:;<=>?@[]^_{|}~"]
        {
            check(good, None);
        }
        check(" ", Some(Defect::Blank));
        check("\u{a0}\t", Some(Defect::Blank));
        check("data\r", Some(Defect::CarriageReturn));
        check("data\r\n", Some(Defect::CarriageReturn));
        check("da\rta", Some(Defect::Invisible('\r', 3)));
        check("data\n", Some(Defect::Invisible('\n', 5)));
        check("\u{feff}data", Some(Defect::ByteOrderMark));
        check("da\u{feff}ta", Some(Defect::Invisible('\u{feff}', 3)));
        check("da\u{a0}ta", Some(Defect::Invisible('\u{a0}', 3)));
        check("data\u{200b}", Some(Defect::Invisible('\u{200b}', 5)));
        check("\u{202e}data", Some(Defect::Invisible('\u{202e}', 1)));
        check("da\0ta", Some(Defect::Invisible('\0', 3)));
        check("\tdata", Some(Defect::Invisible('\t', 1)));
        check(" data", Some(Defect::LeadingSpace));
        check("data ", Some(Defect::TrailingSpace));
        for quoted in ["\"data\"", "'data'", "`data`", "“data”", "„data“", "‘data’", "«data»", "\"\""]
        {
            check(quoted, Some(Defect::Quoted));
        }
    }

    #[test]
    fn documents_are_unwrapped() {
        let check = |text: &str, expected: &str| assert_eq!(document(text), expected, "{text:?}");
        check("{}", "{}");
        check("\u{feff}{}\r\n", "{}");
        check("\u{a0}\n{\r\n}\u{200b}", "{\r\n}");
        check("```json\n{}\n```\n", "{}");
        check("```\r\n{}\r\n```", "{}");
        check("```", "```");
        check("", "");
    }

    #[test]
    fn odd_characters_have_a_place() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(odd_character(text).as_deref(), expected, "{text:?}");
        };
        check("{\r\n\t\"a\": \"größe\"\n}", None);
        check("{\n “a”: 1}", Some("the typographic quote U+201C stands at line 2, column 2"));
        check("{\u{a0}\"a\": 1}", Some("the invisible character U+00A0 stands at line 1, column 2"));
    }

    #[test]
    fn one_mark_and_one_line_end_are_removed() {
        let check = |text: &str, expected: &str| assert_eq!(line(text), expected, "{text:?}");
        check("value", "value");
        check("value\n", "value");
        check("value\r\n", "value");
        check("value\r", "value");
        check("\u{feff}value\r\n", "value");
        check("value\n\n", "value\n");
        check("value\n\r", "value\n");
        check(" value ", " value ");
        check("\n", "");
        check("", "");
    }
}
