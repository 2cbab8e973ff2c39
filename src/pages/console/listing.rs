//! A text with line numbers, in which places are marked. A long text is shown around its marks alone. What looks like a key
//! is masked, as `tollgate check` does.

use std::ops::Range;

use crate::{escape, secret_scan};

/// The lines that are shown at most. A text with as many is shown whole.
const MAX_LINES: usize = 200;
/// The lines above and below a mark in a longer text.
const AROUND: usize = 3;
/// The bytes that are shown at most.
const MAX_BYTES: usize = 32 << 10;
/// The bytes of a line that are shown at most.
const MAX_LINE: usize = 2 << 10;

/// A place to mark: a range of bytes on one or more lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// The bytes of the text.
    pub(super) bytes: Range<usize>,
    /// The line of its begin, from 1.
    pub(super) line: usize,
    /// The index of the finding that it belongs to.
    pub(super) finding: usize,
}

/// A row of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    /// A line.
    Line(Line),
    /// Lines that are left out.
    Gap(usize),
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    /// Its pieces, each with true if it is marked.
    pub(super) pieces: Vec<(String, bool)>,
    /// The findings whose marks begin here.
    pub(super) findings: Vec<usize>,
    /// True if its end is left out.
    pub(super) is_cut: bool,
}

/// The rows of a text.
pub(super) fn rows(text: &str, marks: &[Mark]) -> Vec<Row> {
    let lines = lines(text);
    let shown = shown(lines.len(), marks);
    let (mut rows, mut gap, mut bytes, mut count) = (Vec::new(), 0, 0, 0);
    for (index, range) in lines.into_iter().enumerate() {
        let length = range.len().min(MAX_LINE);
        if !shown[index] || count == MAX_LINES || bytes + length > MAX_BYTES {
            gap += 1;
            continue;
        }
        if gap > 0 {
            rows.push(Row::Gap(std::mem::take(&mut gap)));
        }
        (bytes, count) = (bytes + length, count + 1);
        rows.push(Row::Line(line(text, index + 1, range, marks)));
    }
    if gap > 0 {
        rows.push(Row::Gap(gap));
    }
    rows
}

/// For each line, true if it is shown.
fn shown(lines: usize, marks: &[Mark]) -> Vec<bool> {
    let mut shown = vec![lines <= MAX_LINES; lines];
    for mark in marks {
        let end = (mark.line + AROUND).min(lines);
        let start = mark.line.saturating_sub(AROUND + 1).min(end);
        shown[start..end].fill(true);
    }
    shown
}

/// The bytes of each line, without its end.
fn lines(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let one = |line: &str| {
        let range = start..start + line.trim_end_matches(['\n', '\r']).len();
        start += line.len();
        range
    };
    let mut lines: Vec<_> = text.split_inclusive('\n').map(one).collect();
    // A finding may be about the end of the text, which is a line of its own then.
    if text.is_empty() || text.ends_with('\n') {
        lines.push(text.len()..text.len());
    }
    lines
}

fn line(text: &str, number: usize, range: Range<usize>, marks: &[Mark]) -> Line {
    let end = floor_boundary(text, range.end.min(range.start + MAX_LINE));
    let plain = &text[range.start..end];
    // Of the same length: marks stay where they are.
    let masked = escape::same_length(&secret_scan::mask(plain)).into_owned();
    let here = marks.iter().filter(|mark| mark.bytes.start <= range.end && mark.bytes.end >= range.start);
    let mut is_marked = vec![false; masked.len()];
    let mut has_empty = false;
    for mark in here {
        let first = mark.bytes.start.saturating_sub(range.start).min(masked.len());
        let last = mark.bytes.end.saturating_sub(range.start).min(masked.len());
        is_marked[first..last].fill(true);
        // A place without a character, such as the end of a line.
        has_empty |= mark.line == number && first >= last;
    }
    let mut pieces = pieces(&masked, &is_marked);
    if has_empty && !pieces.iter().any(|(_, is_marked)| *is_marked) {
        pieces.push(("\u{a0}".to_owned(), true));
    }
    let findings = marks.iter().filter(|mark| mark.line == number).map(|mark| mark.finding).collect();
    Line { number, pieces, findings, is_cut: end < range.end }
}

/// The text in pieces that are marked as a whole, or not at all.
fn pieces(text: &str, marked: &[bool]) -> Vec<(String, bool)> {
    let mut pieces: Vec<(String, bool)> = Vec::new();
    for (at, letter) in text.char_indices() {
        match pieces.last_mut() {
            Some((piece, is_marked)) if *is_marked == marked[at] => piece.push(letter),
            _ => pieces.push((letter.to_string(), marked[at])),
        }
    }
    pieces
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(bytes: Range<usize>, line: usize, finding: usize) -> Mark {
        Mark { bytes, line, finding }
    }

    /// The rows as text: marked pieces in brackets, findings after `!`, gaps as `~`.
    fn shown(text: &str, marks: &[Mark]) -> String {
        let one = |row: Row| match row {
            Row::Gap(lines) => format!("~{lines}"),
            Row::Line(Line { number, pieces, findings, is_cut }) => {
                let text =
                    pieces.into_iter().map(|(piece, is)| if is { format!("[{piece}]") } else { piece });
                let findings: Vec<_> = findings.into_iter().map(|finding| format!("!{finding}")).collect();
                let findings = findings.concat();
                format!("{number} {}{}{findings}", text.collect::<String>(), if is_cut { "..." } else { "" })
            }
        };
        rows(text, marks).into_iter().map(one).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn places_are_marked() {
        let check =
            |text: &str, marks: &[Mark], expected: &str| assert_eq!(shown(text, marks), expected, "{text}");
        check("", &[], "1 ");
        check("a = 1\nb", &[mark(0..1, 1, 0)], "1 [a] = 1!0\n2 b");
        check("a\r\nb\r\n", &[mark(3..4, 2, 0)], "1 a\n2 [b]!0\n3 ");
        check("\u{e4} = x", &[mark(0..2, 1, 0), mark(5..6, 1, 1)], "1 [\u{e4}] = [x]!0!1");
        check("abcd", &[mark(0..2, 1, 0), mark(1..3, 1, 1)], "1 [abc]d!0!1");
        check("ab\ncd", &[mark(1..4, 1, 0)], "1 a[b]!0\n2 [c]d");
        check("ab\ncd", &[mark(2..2, 1, 0)], "1 ab[\u{a0}]!0\n2 cd");
        check("ab\n", &[mark(3..3, 2, 0)], "1 ab\n2 [\u{a0}]!0");
        check("ab", &[mark(9..99, 7, 0)], "1 ab");
    }

    #[test]
    fn a_long_text_is_shown_around_its_marks() {
        let text = "x\n".repeat(1000);
        let marks = [mark(0..1, 1, 0), mark(1000..1001, 501, 1)];
        assert_eq!(
            shown(&text, &marks),
            "1 [x]!0\n2 x\n3 x\n4 x\n~493\n498 x\n499 x\n500 x\n501 [x]!1\n502 x\n503 x\n504 x\n~497"
        );
        assert_eq!(shown(&text, &[]), "~1001");
        let all: Vec<_> = (0..1000).map(|index| mark(2 * index..2 * index + 1, index + 1, 0)).collect();
        assert!(shown(&text, &all).ends_with("200 [x]!0\n~801"));
        let long = "x".repeat(MAX_LINE + 1);
        assert!(shown(&long, &[]).ends_with("x..."));
        let many = format!("{}\n", "x".repeat(MAX_LINE)).repeat(500);
        assert!(shown(&many, &[]).len() < MAX_BYTES + 1024);
    }

    #[test]
    fn what_looks_like_a_key_is_masked() {
        let key = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789";
        let text = format!("x = \"{key}\"");
        let shown = shown(&text, &[mark(0..1, 1, 0)]);
        assert!(!shown.contains(key) && shown.starts_with("1 [x] = "), "{shown}");
    }
}
