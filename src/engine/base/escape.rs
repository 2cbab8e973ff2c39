//! Text for people, made safe to show: a value stays on its line, controls no terminal, hides nothing, and is no command
//! to a CI system.
//!
//! It guarantees that [`Lines`] holds no control character but its own line ends, no invisible or direction-changing
//! character, and no line that a CI system runs. Must not be used for what programs read, but for [`json`].

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    ops::Deref,
};

/// Characters that a reader does not see, or that change the order of others: the general categories Cf, Zl and Zp, and
/// all others that are ignorable by default. In order.
const INVISIBLE: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1345f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// True for control characters, and for characters that are invisible or change the direction of others.
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let after = INVISIBLE.partition_point(|(first, _)| *first <= c);
    c.is_control() || INVISIBLE[..after].last().is_some_and(|(_, last)| c <= *last)
}

/// A value within a line: hidden characters as `\n` or `\u{202e}`.
pub fn value(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden, |out, c| out.extend(c.escape_default()))
}

/// A whole line: hidden characters escaped, and no command to a CI system.
pub fn line(text: &str) -> Cow<'_, str> {
    match value(text) {
        Cow::Borrowed(text) => disarmed(text, "\\u{23}", "\\u{73}", Some("\\u{3a}")),
        Cow::Owned(text) => disarmed(&text, "\\u{23}", "\\u{73}", Some("\\u{3a}")).into_owned().into(),
    }
}

/// A JSON text with the same meaning: hidden characters as `\u202e`. Its own line ends stay. It begins no line with a
/// command, since only a string can hold one.
pub fn json(text: &str) -> Cow<'_, str> {
    let escaped = replaced(
        text,
        |c| is_hidden(c) && !c.is_ascii_control() || c == '\u{7f}',
        |out, c| {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // A string takes all that is written to it.
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    );
    match escaped {
        Cow::Borrowed(text) => disarmed(text, "\\u0023", "\\u0073", None),
        Cow::Owned(text) => disarmed(&text, "\\u0023", "\\u0073", None).into_owned().into(),
    }
}

/// The text with a visible character in place of each hidden one that is not ASCII: the renderer shows those itself. Its
/// length stays the same, so that spans stay valid.
pub fn same_length(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        |c| !c.is_ascii() && is_hidden(c),
        |out, c| {
            out.push_str(match c.len_utf8() {
                2 => "\u{b7}",
                3 => "\u{fffd}",
                _ => "\u{b7}\u{b7}",
            });
        },
    )
}

fn replaced(text: &str, is_replaced: impl Fn(char) -> bool, put: impl Fn(&mut String, char)) -> Cow<'_, str> {
    // Most texts are plain: one look at their bytes ends it.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || !text.contains(&is_replaced) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_replaced(c) { put(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// The text without commands to CI systems: `##[...]` and `##name[...]` anywhere (GitHub, Azure, `TeamCity`),
/// `section_start:` anywhere (GitLab), `::` at its start, after blanks (GitHub). `colon` is `None` if it begins no line.
fn disarmed<'t>(text: &'t str, hash: &str, letter: &str, colon: Option<&str>) -> Cow<'t, str> {
    let blanks = text.len() - text.trim_start().len();
    let colon = colon.filter(|_| text[blanks..].starts_with("::"));
    if colon.is_none() && !text.contains("##") && !text.contains("section_") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        match c {
            ':' if at == blanks && colon.is_some() => out.push_str(colon.unwrap_or_default()),
            '#' if is_hash_command(rest) => out.push_str(hash),
            's' if ["section_start:", "section_end:"].iter().any(|mark| rest.starts_with(mark)) => {
                out.push_str(letter);
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The longest name of a command after `##`.
const MAX_COMMAND: usize = 32;

fn is_hash_command(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("##") else { return false };
    let name = rest.bytes().take(MAX_COMMAND).take_while(u8::is_ascii_alphanumeric).count();
    rest.as_bytes().get(name) == Some(&b'[')
}

/// Lines of text for people. Each line is escaped when it is added, so that no value can end one, or begin another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(String);

impl Lines {
    /// Lines from a text of our own, whose values have been escaped: every line end in it is one of ours.
    pub fn split(text: &str) -> Self {
        let mut lines = Self::default();
        lines.extend(text);
        lines
    }

    /// One line.
    pub fn one(text: fmt::Arguments<'_>) -> Self {
        let mut lines = Self::default();
        lines.push(text);
        lines
    }

    /// Adds one line. A line end in a value is escaped.
    pub fn push(&mut self, text: fmt::Arguments<'_>) {
        match text.as_str() {
            Some(text) => self.0.push_str(&line(text)),
            None => self.0.push_str(&line(&text.to_string())),
        }
        self.0.push('\n');
    }

    /// Adds each line of a text of our own, as [`split`](Self::split) does.
    pub fn extend(&mut self, text: &str) {
        text.lines().for_each(|line| self.push(format_args!("{line}")));
    }

    /// Adds all lines of another text.
    pub fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    /// Adds all lines of another text, each behind a margin, but for empty ones.
    pub fn indented(&mut self, margin: &'static str, other: &Self) {
        for line in other.0.lines() {
            self.0.push_str(if line.is_empty() { "" } else { margin });
            self.0.push_str(line);
            self.0.push('\n');
        }
    }

    /// A rendered text that may have colors. Its values have been escaped.
    pub(super) fn rendered(text: &str) -> Self {
        let mut lines = Self::default();
        for line in text.lines() {
            // The renderer's mark of a second file: no reader should take it for a command.
            let line = line.replacen(" ::: ", " --> ", usize::from(line.trim_start().starts_with("::: ")));
            let line = line.as_str();
            lines.0.push_str(&disarmed(line, "\\u{23}", "\\u{73}", Some("\\u{3a}")));
            lines.0.push('\n');
        }
        lines
    }
}

impl Deref for Lines {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.trim_end_matches('\n'))
    }
}

/// An error of several lines.
impl std::error::Error for Lines {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_invisible_characters_are_in_order() {
        assert!(INVISIBLE.iter().all(|(first, last)| first <= last));
        assert!(INVISIBLE.is_sorted_by(|one, next| one.1 < next.0));
    }

    #[test]
    fn a_line_stays_one_line_and_shows_what_it_holds() {
        let check = |text: &str, expected: &str| assert_eq!(line(text), expected, "{text:?}");
        check("plain: ä 日本 ##", "plain: ä 日本 ##");
        check("\u{1b}[31m\r\n\tx\u{7f}", "\\u{1b}[31m\\r\\n\\tx\\u{7f}");
        check("\u{9b}31m \u{85}", "\\u{9b}31m \\u{85}");
        check("a\u{202e}b\u{200b}\u{feff}\u{2066}", "a\\u{202e}b\\u{200b}\\u{feff}\\u{2066}");
        check("\u{e0041}\u{fe0f}\u{2028}", "\\u{e0041}\\u{fe0f}\\u{2028}");
        check("::stop-commands::x", "\\u{3a}:stop-commands::x");
        check(" \u{a0}::x", " \u{a0}\\u{3a}:x");
        check("a ::x", "a ::x");
        check("a ##[add-mask]b", "a \\u{23}#[add-mask]b");
        check("##vso[task.setvariable]", "\\u{23}#vso[task.setvariable]");
        check("###[x]", "#\\u{23}#[x]");
        check("x section_start:1:a section_end:1:a", "x \\u{73}ection_start:1:a \\u{73}ection_end:1:a");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({ "a\u{202e}": "\u{7f}\u{9b}\u{e0041}\n::x ##[y] section_start:1" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let escaped = json(&text);
        assert!(escaped.chars().all(|c| c == '\n' || !is_hidden(c)), "{escaped}");
        assert!(!escaped.contains("##[") && !escaped.contains("section_start:"), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
    }

    #[test]
    fn a_text_of_the_same_length_hides_nothing() {
        let text = "a\u{ad}\u{202e}\u{e0041}\u{1b}\t\r\n";
        let shown = same_length(text);
        assert_eq!((shown.len(), &*shown), (text.len(), "a\u{b7}\u{fffd}\u{b7}\u{b7}\u{1b}\t\r\n"));
    }

    #[test]
    fn a_value_adds_no_line() {
        let mut lines = Lines::default();
        lines.push(format_args!("a `{}`", "b\nc"));
        lines.indented("  ", &Lines::split("x\n\ny\u{1b}"));
        assert_eq!(&*lines, "a `b\\nc`\n  x\n\n  y\\u{1b}\n");
        assert_eq!(lines.to_string(), "a `b\\nc`\n  x\n\n  y\\u{1b}");
    }
}
